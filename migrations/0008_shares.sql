-- A fair queue, and an end for every row.

-- Claims go round the repositories, so the queue's indexes begin with the repository. These columns are copies of the
-- build's, which has the foreign key.
alter table job add column repo_id bigint;
update job set repo_id = build.repo_id from build where build.id = build_id;
alter table job alter column repo_id set not null;
comment on column job.priority is
    'From its trigger: 2 a push to the default branch, 1 a push to another branch, 0 a pull request, -1 one of a fork.';

drop index job_queue, job_queue_of_requirements, job_leases;
create index job_queue on job (repo_id, priority desc, id) where state = 'queued' and not has_requirements;
create index job_queue_of_requirements on job (repo_id, preemptible, priority desc, id)
    where state = 'queued' and has_requirements;
-- For the share of each repository. It has no column that a beat changes, so a beat touches no index.
create index job_running on job (repo_id) where state = 'running';

-- When an attempt at one of its jobs ended last: of repositories with equal shares, the one that waits longest is next.
alter table repo add column served_at timestamptz;

-- Everything that belongs to a build goes with it.
alter table job
    drop constraint job_build_id_fkey,
    add constraint job_build_id_fkey foreign key (build_id) references build on delete cascade,
    drop constraint job_gives_way_to_fkey,
    add constraint job_preempted_by_fkey foreign key (preempted_by) references job on delete set null;
alter table problem
    drop constraint problem_build_id_fkey,
    add constraint problem_build_id_fkey foreign key (build_id) references build on delete cascade;
alter table wish
    drop constraint wish_build_id_fkey,
    add constraint wish_build_id_fkey foreign key (build_id) references build on delete cascade;
alter table log_chunk
    drop constraint log_chunk_job_id_fkey,
    add constraint log_chunk_job_id_fkey foreign key (job_id) references job on delete cascade;
alter table report
    drop constraint report_job_id_fkey,
    add constraint report_job_id_fkey foreign key (job_id) references job on delete cascade;
alter table series
    drop constraint series_job_id_fkey,
    add constraint series_job_id_fkey foreign key (job_id) references job on delete cascade;
alter table lost_attempt
    drop constraint lost_attempt_job_id_fkey,
    add constraint lost_attempt_job_id_fkey foreign key (job_id) references job on delete cascade;
alter table log_object
    drop constraint log_object_job_id_fkey,
    add constraint log_object_job_id_fkey foreign key (job_id) references job on delete cascade;
alter table artifact
    drop constraint artifact_job_id_fkey,
    add constraint artifact_job_id_fkey foreign key (job_id) references job on delete cascade;
alter table repo_key
    drop constraint repo_key_repo_id_fkey,
    add constraint repo_key_repo_id_fkey foreign key (repo_id) references repo on delete cascade;
-- A delivery is only the origin of its build, and may go earlier.
alter table build
    drop constraint build_delivery_id_fkey,
    add constraint build_delivery_id_fkey foreign key (delivery_id) references delivery on delete set null;

-- What the cascades look for.
create index wish_build on wish (build_id);
create index job_preempted on job (preempted_by) where preempted_by is not null;

-- What retention looks for, oldest first.
create index build_finished on build (finished_at) where finished_at is not null;
create index delivery_done on delivery (done_at) where done_at is not null;
-- A wish that was sent has the time of that in not_before.
create index wish_sent on wish (not_before) where sent_seq = wanted_seq;

-- What retention looks for in each repository.
alter table log_object add column repo_id bigint;
update log_object set repo_id = job.repo_id from job where job.id = job_id;
alter table log_object alter column repo_id set not null;
alter table artifact add column repo_id bigint;
update artifact set repo_id = job.repo_id from job where job.id = job_id;
alter table artifact alter column repo_id set not null;
drop index log_object_kept, artifact_kept;
create index log_object_kept on log_object (repo_id, job_id) include (size) where key is not null;
create index artifact_kept on artifact (repo_id, job_id) include (size) where key is not null;
create index log_object_oldest on log_object (job_id) where key is not null;
create index artifact_oldest on artifact (job_id) where key is not null;
create index artifact_of_forks on artifact (job_id) where key is not null and strpos(key, '/artifacts/forks/') > 0;
