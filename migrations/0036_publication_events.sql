-- Messages about publications, for the receivers of messages about builds: one for all places of a job.

-- The receivers of a build, by two of its columns.
create function receivers_of(webhooks jsonb, chats text[]) returns setof jsonb language sql stable as $$
    select jsonb_array_elements(webhooks -> 'receivers')
    union all
    select jsonb_array_elements(webhooks -> 'emails')
    union all
    select jsonb_array_elements(webhooks -> 'slack')
    union all
    select jsonb_build_object('chat', name) from unnest(chats) as name
$$;

create or replace function notify_of_build() returns trigger language plpgsql as $$
begin
    insert into notification (repo_id, build_id, event, state, receiver)
    select new.repo_id, new.id,
        case
            when new.state = 'running' then 'started'
            when new.state = 'canceled' then 'canceled'
            -- It had no jobs.
            when new.state = 'errored' and tg_op = 'INSERT' then 'errored'
            else 'finished'
        end,
        new.state, receiver
    from receivers_of(new.webhooks, new.chats) as receiver;
    return null;
end $$;

alter table notification
    -- The job whose publications the event is about; null for an event of the build.
    add column job_id bigint references job on delete cascade,
    drop constraint notification_event_check,
    add constraint event_of_a_build_or_of_publications check (
        case when job_id is null then event in ('started', 'finished', 'canceled', 'errored')
            else event in ('approval', 'published', 'failed') end);
create index notification_job on notification (job_id) where job_id is not null;

create function notify_of_publication() returns trigger language plpgsql as $$
declare
    what text := 'approval';
begin
    if new.state <> 'unapproved' then
        -- Of two places that end at the same time, the later one has to see the end of the other.
        perform pg_advisory_xact_lock(hashtextextended('trainyard.publication', new.job_id));
        if exists (select from publication where job_id = new.job_id and state in ('unapproved', 'waiting')) then
            return null;
        end if;
        what := case
            when exists (select from publication where job_id = new.job_id and state = 'failed') then 'failed'
            else 'published'
        end;
    end if;
    insert into notification (repo_id, build_id, job_id, event, state, receiver)
    select build.repo_id, build.id, job.id, what, build.state, receiver
    from job join build on build.id = job.build_id, receivers_of(build.webhooks, build.chats) as receiver
    where job.id = new.job_id
        -- Another place of the job, in the same transaction.
        and not exists (select from notification told
            where told.job_id = new.job_id and told.event = what and told.created_at = now());
    return null;
end $$;
create trigger publication_is_new after insert on publication for each row
    when (new.state = 'unapproved') execute function notify_of_publication();
-- New weights of a job that runs again need a look of their own.
create trigger publication_waits_again after update of state, attempt on publication for each row
    when (new.state = 'unapproved' and (old.state, old.attempt) is distinct from (new.state, new.attempt))
    execute function notify_of_publication();
create trigger publication_ends after update of state on publication for each row
    when (new.state in ('published', 'failed') and new.state is distinct from old.state)
    execute function notify_of_publication();

-- Readers of the stream of events read the publications of a job again when one has another state.
create function note_publication_change() returns trigger language plpgsql as $$
begin
    insert into build_change (build_id, job_id) select build_id, id from job where id = new.job_id;
    return null;
end $$;
create trigger publication_is_noted after insert on publication for each row
    execute function note_publication_change();
create trigger publication_has_changed after update of state on publication for each row
    when (new.state is distinct from old.state) execute function note_publication_change();
