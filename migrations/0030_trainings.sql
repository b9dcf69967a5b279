-- Whole trainings, which report as smoke jobs do, and builds of them alone, which people ask for.

alter type report_kind rename value 'smoke' to 'training';

-- The part of a commit's work that a build does. The status of a build of trainings alone says nothing about other jobs.
create type build_scope as enum ('commit', 'smoke', 'train');
alter table build add column scope build_scope not null default 'commit';
update build set scope = 'smoke' where is_smoke;
alter table build drop column is_smoke;

-- Key pairs of this installation, each with its private half sealed.
alter table notification_key rename to own_key;
alter table own_key drop column only_row;
alter table own_key add column name text not null default 'notifications' primary key;
alter table own_key alter column name drop default;

-- A job whose GPUs did nothing for too long is stopped.
alter type stop add value 'gpu_idle';

-- The newest checkpoint of a whole training, from which its next attempt goes on. The bytes are an object.
create table checkpoint (
    job_id bigint primary key references job on delete cascade,
    -- The attempt that has saved it, and the one that began the training.
    attempt int not null,
    since_attempt int not null,
    -- Path of its folder in the container.
    path text not null,
    key text not null,
    size bigint not null,
    made_at timestamptz not null default now(),
    check (since_attempt <= attempt)
);
create index checkpoint_key on checkpoint (key);
