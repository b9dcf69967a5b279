-- Jobs that give way to others, jobs that must not begin again, and what became of attempts that did not end their job.

alter type stop add value 'preempted';

alter table job
    -- Whether it gives its GPUs to a job that waits for them, and begins again later.
    add column preemptible boolean not null default false,
    -- The job that it has been told to give way to.
    add column gives_way_to bigint references job,
    -- How many of its attempts gave way: they do not count against the number of times that a job may be lost.
    add column preemptions int not null default 0,
    -- Why this attempt must not be followed by another one, in words; null when it may.
    add column only_once text,
    add constraint only_a_running_one_gives_way check (gives_way_to is null or state = 'running');

-- Attempts that are over without a verdict.
create table lost_attempt (
    job_id bigint not null references job,
    attempt int not null,
    worker text,
    started_at timestamptz,
    ended_at timestamptz not null default now(),
    -- What became of it, in words.
    reason text not null,
    log_length bigint not null,
    primary key (job_id, attempt)
);
