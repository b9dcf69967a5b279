-- Messages about rejections of publications.

alter table notification
    drop constraint event_of_a_build_or_of_publications,
    add constraint event_of_a_build_or_of_publications check (
        case when job_id is null then event in ('started', 'finished', 'canceled', 'errored')
            else event in ('approval', 'published', 'failed', 'rejected') end);

create or replace function notify_of_publication() returns trigger language plpgsql as $$
declare
    what text := case new.state when 'unapproved' then 'approval' else new.state::text end;
begin
    -- The decision of a person is told at once, whatever becomes of other places.
    if new.state in ('published', 'failed') then
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

drop trigger publication_ends on publication;
create trigger publication_ends after update of state on publication for each row
    when (new.state in ('published', 'failed', 'rejected') and new.state is distinct from old.state)
    execute function notify_of_publication();
