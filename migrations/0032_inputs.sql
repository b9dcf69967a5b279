-- Data sets and models that the service fetches for train jobs. A build decides once what an address means: all its jobs
-- and their attempts have the same.

create table input (
    build_id bigint not null references build on delete cascade,
    -- The address, as the .travis.yml has it.
    source text not null,
    -- The commit of a repository, the SHA-256 of a file, or the state of a folder.
    revision text not null,
    -- SHA-256 of what was fetched: of the file, or of the list of the files. Null until a job has it.
    digest text,
    files bigint,
    bytes bigint,
    decided_at timestamptz not null default now(),
    fetched_at timestamptz,
    primary key (build_id, source),
    constraint fetched_with_its_facts
        check ((digest is null) = (fetched_at is null) and (digest is null) = (files is null) and (digest is null) = (bytes is null))
);
