-- Restarts: a job that has ended runs again. The end that it had stays, and so do its log and its artifacts.

alter table job add column earlier_attempts int not null default 0 check (earlier_attempts between 0 and attempt);
comment on column job.earlier_attempts is
    'Number of the last attempt before the last restart. As long as attempt is no greater, no attempt of this run has begun.';

-- A restart, with the end of the run that it followed.
create table restart (
    id bigint generated always as identity primary key,
    job_id bigint not null references job on delete cascade,
    -- The token's name.
    requested_by text not null,
    requested_at timestamptz not null default now(),
    -- Last attempt of the run; null if none had begun.
    attempt int,
    verdict verdict not null,
    reason text,
    exit_status bigint,
    runner text,
    started_at timestamptz,
    finished_at timestamptz not null,
    log_length bigint not null
);
create index restart_job on restart (job_id);
