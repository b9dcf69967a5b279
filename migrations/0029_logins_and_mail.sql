-- People of a provider of OpenID Connect. A subject is unique within its issuer alone.
alter table person
    add column issuer text,
    -- The last login, at which the provider has said that the person is one of its own.
    add column confirmed_at timestamptz,
    drop constraint person_subject_key,
    add constraint person_subject unique (issuer, subject),
    add constraint subject_has_an_issuer check (num_nonnulls(issuer, subject, confirmed_at) in (0, 3));

-- A build's `webhooks` also have the recipients of its emails, and its `chats` also the receivers of signed webhooks, as
-- webhook:NAME.
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
        select jsonb_build_object('chat', name) from unnest(new.chats) as name
    ) as told;
    return null;
end $$;
