-- Finished logs and artifacts as objects outside of Postgres: a row says which object has what, or why it has gone.

-- Up to which attempt the logs of a job have been moved out of log_chunk.
alter table job add column archived_attempt int not null default 0;
create index job_unarchived on job (finished_at) where state = 'finished' and archived_attempt < attempt;

-- An attempt's log as an object: zstd frames one after the other.
create table log_object (
    job_id bigint not null references job,
    attempt int not null,
    -- None once it was removed.
    key text unique,
    -- Bytes of the log, and of the object.
    length bigint not null,
    size bigint not null,
    -- Bytes of the log in each frame but the last, and where each frame begins in the object.
    frame int not null check (frame > 0),
    frames bigint[] not null,
    -- Why it was removed, in words for the page.
    removed text,
    primary key (job_id, attempt),
    constraint removed_for_a_reason check ((key is null) = (removed is not null))
);
-- What retention looks through: removed ones stay as a word on the page, and cost nothing more.
create index log_object_kept on log_object (job_id) where key is not null;

-- A file that a job has left, as an object.
create table artifact (
    job_id bigint not null references job,
    attempt int not null,
    path text not null,
    key text unique,
    size bigint not null,
    sha256 bytea not null check (length(sha256) = 32),
    removed text,
    primary key (job_id, attempt, path),
    constraint removed_for_a_reason check ((key is null) = (removed is not null))
);
create index artifact_kept on artifact (job_id) where key is not null;
