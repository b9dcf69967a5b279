-- Branches and tags as a check has seen them last, so that a push whose webhook never came is noticed.

create table head (
    repo_id bigint not null references repo on delete cascade,
    -- refs/heads/… or refs/tags/….
    ref text not null,
    sha text not null,
    primary key (repo_id, ref)
);
alter table repo add column heads_checked_at timestamptz;

-- For the question whether a commit was built.
create index build_sha on build (repo_id, sha);
