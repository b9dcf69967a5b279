-- Statuses that GitHub refuses: pauses that grow, an end of the tries, and a pace that a restart does not forget.

alter table wish
    -- Version of the wish that failed last. tries, not_before and failing_since are about this version alone, so a
    -- newer one is due at once.
    add column tried_seq bigint not null default 0,
    -- First failure of that version.
    add column failing_since timestamptz,
    -- Version that is not sent any more; last_error has the reason.
    add column given_up_seq bigint not null default 0;

drop index wish_owed;
create index wish_owed on wish (repo_id) where sent_seq < wanted_seq and given_up_seq < wanted_seq;

-- Requests of the last hour that set a status.
create table status_request (
    at timestamptz not null default now(),
    -- For an answer that asked for a pause: its end.
    quiet_until timestamptz
);
create index status_request_at on status_request (at);
