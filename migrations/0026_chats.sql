-- Messages to chats of the operator, next to the webhooks that a .travis.yml asks for.

-- Names of the chats that are told of the build.
alter table build add column chats text[] not null default '{}';

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
        select jsonb_build_object('chat', name) from unnest(new.chats) as name
    ) as told;
    return null;
end $$;
drop trigger build_begins_decided on build;
drop trigger build_changes on build;
create trigger build_begins_decided after insert on build for each row
    when ((new.webhooks is not null or new.chats <> '{}') and new.state <> 'queued')
    execute function notify_of_build();
create trigger build_changes after update of state on build for each row
    when ((new.webhooks is not null or new.chats <> '{}') and new.state <> 'queued'
        and new.state is distinct from old.state)
    execute function notify_of_build();
