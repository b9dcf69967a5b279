-- Weights of train jobs that go to the Hugging Face Hub.

create type publication_state as enum ('waiting', 'published', 'failed');

-- The publication of a job's weights. The transaction that records the verdict inserts it.
create table publication (
    job_id bigint primary key references job on delete cascade,
    repo_id bigint not null references repo on delete cascade,
    -- The attempt whose files are published.
    attempt int not null,
    -- Repository on the Hub.
    target text not null,
    state publication_state not null default 'waiting',
    -- Number of tries. It is the fence: only the last one may write.
    tries int not null default 0,
    not_before timestamptz not null default now(),
    -- End of the time for which a process has it to itself.
    held_until timestamptz not null default now(),
    created_at timestamptz not null default now(),
    done_at timestamptz,
    -- Reason why the last try failed.
    error text,
    commit_id text,
    url text,
    constraint done_at_its_end check ((state = 'waiting') = (done_at is null)),
    constraint published_as_a_commit check ((state = 'published') <= (commit_id is not null and url is not null)),
    constraint failed_for_a_reason check ((state = 'failed') <= (error is not null))
);
create index publication_waiting on publication (lower(target), job_id) where state = 'waiting';
create index publication_repo on publication (repo_id);
