-- The GitHub App. GitHub counts requests for each of its tokens on its own.

alter table status_request
    -- GitHub's number of the App's installation; null for the personal token.
    add column installation bigint;

-- The App that `trainyard setup github` has registered.
create table github_app (
    is_only boolean primary key default true check (is_only),
    app_id bigint not null,
    -- Private keys, sealed with the server's key. The previous one stays good until it is ended.
    private_key bytea not null,
    previous_key bytea,
    changed_at timestamptz not null default now()
);
