-- Variables of a repository's settings, which its jobs see. A value is under the server's seal.
create table variable (
    repo_id bigint not null references repo on delete cascade,
    name text not null,
    -- The only branch whose jobs see it; empty for all branches.
    branch text not null,
    value bytea not null,
    -- Public values show in logs, and jobs of forks see them.
    is_public boolean not null,
    changed_at timestamptz not null default now(),
    primary key (repo_id, name, branch)
);
