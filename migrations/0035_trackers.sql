-- Trainings on their way to the experiment tracker of the operator.

create type tracking_state as enum ('waiting', 'tracked', 'failed');

-- A training that the tracker gets. The transaction that records its verdict inserts it.
create table tracking (
    job_id bigint primary key references job on delete cascade,
    -- The attempt whose series are sent.
    attempt int not null,
    state tracking_state not null default 'waiting',
    -- Number of tries. It is the fence: only the last one may write.
    tries int not null default 0,
    not_before timestamptz not null default now(),
    -- End of the time for which a process has it to itself.
    held_until timestamptz not null default now(),
    created_at timestamptz not null default now(),
    done_at timestamptz,
    -- Reason why the last try failed.
    error text,
    -- Page of the run in the tracker.
    url text,
    constraint done_at_its_end check ((state = 'waiting') = (done_at is null)),
    constraint tracked_on_a_page check ((state = 'tracked') <= (url is not null)),
    constraint failed_for_a_reason check ((state = 'failed') <= (error is not null))
);
create index tracking_waiting on tracking (not_before, job_id) where state = 'waiting';

-- A build's `webhooks` also have the rooms of Slack that its `.travis.yml` names, under `slack`.
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
    from (
        select jsonb_array_elements(new.webhooks -> 'receivers') as receiver
        union all
        select jsonb_array_elements(new.webhooks -> 'emails')
        union all
        select jsonb_array_elements(new.webhooks -> 'slack')
        union all
        select jsonb_build_object('chat', name) from unnest(new.chats) as name
    ) as told;
    return null;
end $$;
