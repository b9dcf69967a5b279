-- Builds by schedule.

create type cron_interval as enum ('daily', 'weekly', 'monthly');

create table cron (
    repo_id bigint not null references repo on delete cascade,
    branch text not null,
    every cron_interval not null,
    -- True: nothing is built when a build of the branch, other than one of a cron, began within the last 24 hours.
    skip_if_recent boolean not null,
    -- The runs are due at whole intervals after this time.
    created_at timestamptz not null default now(),
    next_at timestamptz not null default now(),
    last_at timestamptz,
    -- The delivery that the last run made; null if there was a recent build.
    last_request text,
    primary key (repo_id, branch)
);
create index cron_next on cron (next_at);
