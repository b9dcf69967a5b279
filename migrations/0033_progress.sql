-- How far trainings are, how long jobs take, and GPU hours with their budgets.

-- An attempt that went on with the training of earlier ones, of which this one was the first.
create table resumed_attempt (
    job_id bigint not null references job on delete cascade,
    attempt int not null,
    since_attempt int not null,
    primary key (job_id, attempt),
    check (since_attempt < attempt)
);

-- GPUs that attempts have held, for the sums of budgets. Rows outlive their jobs.
create table gpu_use (
    job_id bigint not null,
    attempt int not null,
    repo_id bigint not null references repo on delete cascade,
    -- Login of the person who has asked for the build, in lower case; that of another server follows its name and a colon.
    person text,
    gpus int not null,
    started_at timestamptz not null default now(),
    ended_at timestamptz not null default 'infinity',
    primary key (job_id, attempt)
);
create index gpu_use_ended on gpu_use (ended_at);
create index gpu_use_repo on gpu_use (repo_id);

-- The budgets of the configuration, as the last start has stored them. The first one that fits counts.
create table budget (
    place int primary key,
    -- Patterns of `like`, in lower case.
    repositories text[] not null,
    people text[] not null,
    gpu_hours double precision not null check (gpu_hours > 0),
    per text not null check (per in ('day', 'week', 'month'))
);
