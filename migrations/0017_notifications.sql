-- Webhooks that builds send, in the form of Travis CI.

-- Receivers, and the config for the payload. Null for a build that sends none, as those of a fork's pull requests.
alter table build add column webhooks jsonb;

-- An event of a build, for one receiver.
create table notification (
    id bigint generated always as identity primary key,
    repo_id bigint not null references repo on delete cascade,
    build_id bigint not null references build on delete cascade,
    event text not null check (event in ('started', 'finished', 'canceled', 'errored')),
    -- The build's state of which it tells.
    state build_state not null,
    receiver jsonb not null,
    tries int not null default 0,
    not_before timestamptz not null default now(),
    -- End of the time for which a process has it to itself.
    held_until timestamptz not null default now(),
    created_at timestamptz not null default now(),
    done_at timestamptz,
    -- What came of the last try, in words.
    outcome text,
    constraint done_has_an_outcome check (done_at is null or outcome is not null)
);
create index notification_due on notification (not_before) where done_at is null;
create index notification_open on notification (repo_id) where done_at is null;
create index notification_build on notification (build_id);
create index notification_repo on notification (repo_id);

-- Whatever changes a build's state, in whatever statement, makes its notifications in the same transaction.
create function notify_of_build() returns trigger language plpgsql as $$
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
    from jsonb_array_elements(new.webhooks -> 'receivers') receiver;
    return null;
end $$;
create trigger build_begins_decided after insert on build for each row
    when (new.webhooks is not null and new.state <> 'queued')
    execute function notify_of_build();
create trigger build_changes after update of state on build for each row
    when (new.webhooks is not null and new.state <> 'queued' and new.state is distinct from old.state)
    execute function notify_of_build();

-- The key that signs notifications: RSA, PKCS#8 in DER under the server's seal, and PEM.
create table notification_key (
    only_row boolean primary key default true check (only_row),
    private_key bytea not null,
    public_key text not null,
    created_at timestamptz not null default now()
);
