-- How far trainings are, how long jobs take, and GPU hours with their budgets.

-- The place of a running training, as its log says. A row of another attempt than the running one says nothing.
create table progress (
    job_id bigint primary key references job on delete cascade,
    attempt int not null,
    step bigint not null,
    -- Total number of steps, if it is known.
    steps bigint,
    -- The last loss, and its step.
    loss double precision,
    loss_step bigint,
    -- Time that a step of this attempt takes; null until two looks saw different steps.
    seconds_per_step double precision,
    at timestamptz not null default now(),
    check ((loss is null) = (loss_step is null))
) with (fillfactor = 50);

-- When the build's status last told of that.
alter table build add column progress_told_at timestamptz;

-- Hash of what a job does. Jobs of a repository with the same one take about as long.
alter table job add column recipe bytea;
create index job_passed on job (repo_id, recipe, id desc) where verdict = 'passed';

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
