-- The spine: delivery -> build -> job -> log, and the wishes that tell GitHub. Enums mirror src/domain.

create type trigger_kind as enum ('push', 'pull_request', 'tag', 'cron', 'api', 'travis');
create type build_state as enum ('queued', 'running', 'passed', 'failed', 'errored', 'canceled');
create type job_kind as enum ('script', 'smoke', 'train');
create type job_state as enum ('waiting', 'queued', 'running', 'finished');
create type verdict as enum ('passed', 'failed', 'errored', 'canceled', 'timed_out');
create type gpu_state as enum ('free', 'held', 'quarantined');
create type stop as enum ('canceled', 'wall_time', 'silence', 'log_size', 'disk');
create type severity as enum ('info', 'warning', 'error');
create type report_kind as enum ('smoke', 'resources');
create type commit_state as enum ('pending', 'success', 'failure', 'error');

-- One row: which installation this is. Containers carry the id, so that two installations can share a Docker daemon.
create table instance (
    only_row boolean primary key default true check (only_row),
    id uuid not null default gen_random_uuid()
);
insert into instance default values;

create table delivery (
    id text primary key,
    event text not null,
    body bytea not null,
    received_at timestamptz not null default now(),
    tries int not null default 0,
    not_before timestamptz not null default now(),
    done_at timestamptz,
    -- What came of it, in words: the build, or the reason for none.
    outcome text,
    constraint done_has_an_outcome check ((done_at is null) = (outcome is null))
);
create index delivery_open on delivery (not_before) where done_at is null;

create table repo (
    id bigint generated always as identity primary key,
    -- Survives a rename on GitHub; the name does not.
    github_id bigint not null unique,
    owner text not null,
    name text not null,
    private boolean not null,
    default_branch text not null,
    clone_url text not null,
    last_build int not null default 0
);
-- For the `secure:` strings of .travis.yml: RSA, PKCS#8 in DER under the server's seal, and PEM.
create table repo_key (
    repo_id bigint primary key references repo,
    private_key bytea not null,
    public_key text not null,
    created_at timestamptz not null default now()
);
create unique index repo_name on repo (lower(owner), lower(name));

create table build (
    id bigint generated always as identity primary key,
    repo_id bigint not null references repo,
    number int not null,
    -- One delivery gives one build at most.
    delivery_id text unique references delivery,
    kind trigger_kind not null,
    branch text,
    tag text,
    -- The commit that gets the status, and the commit that is built: they differ for a pull request's merge commit.
    sha text not null,
    built_sha text not null,
    before_sha text,
    message text,
    author text,
    sender text,
    compare_url text,
    pull_request int,
    pull_request_title text,
    head_branch text,
    head_repo text,
    draft boolean not null default false,
    -- Finished as soon as the jobs are that may not fail.
    fast_finish boolean not null default false,
    state build_state not null default 'queued',
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    unique (repo_id, number),
    constraint finished_has_a_time check ((state in ('queued', 'running')) = (finished_at is null)),
    constraint pull_request_has_a_head check ((pull_request is null) = (head_branch is null))
);

create table job (
    id bigint generated always as identity primary key,
    build_id bigint not null references build,
    number int not null,
    kind job_kind not null,
    stage text,
    -- Stages run one after the other, in this order.
    stage_order int not null default 0,
    name text,
    allow_failure boolean not null default false,
    config jsonb not null,
    priority smallint not null default 0,
    -- What it needs of its runner beside a slot: GPUs of a memory and class, and labels.
    gpu_count int not null default 0 check (gpu_count between 0 and 64),
    gpu_memory bigint not null default 0,
    gpu_class text,
    labels text[] not null default '{}',
    has_needs boolean not null generated always as (gpu_count > 0 or labels <> '{}') stored,
    state job_state not null default 'queued',
    -- Grows at each claim. A worker shows its attempt to beat, write or finish, so a lost worker cannot.
    attempt int not null default 0,
    worker text,
    lease_until timestamptz,
    not_before timestamptz not null default now(),
    -- Why it is still queued, when that is for want of what it needs; the janitor keeps it true.
    waits_for text,
    cancel_requested boolean not null default false,
    -- Who asked for the cancel and why, or what else ended the job, in words for the log and the page.
    reason text,
    -- Why Trainyard ended the container, once it has decided to.
    stop stop,
    verdict verdict,
    exit_status bigint,
    -- Length of this attempt's stored log in bytes: the offset at which a new follower goes on.
    log_length bigint not null default 0,
    -- Bytes of the container's output that the stored log accounts for. Differs from its length by the hidden secrets.
    output_read bigint not null default 0,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    unique (build_id, number),
    constraint running_has_a_lease check ((state = 'running') = (lease_until is not null)),
    constraint running_has_a_worker check (state <> 'running' or worker is not null),
    constraint finished_has_a_verdict check ((state = 'finished') = (verdict is not null)),
    constraint finished_has_a_time check ((state = 'finished') = (finished_at is not null)),
    constraint only_a_queued_one_waits check (waits_for is null or state = 'queued')
) with (fillfactor = 70);
-- Two queues: who looks for a job without needs does not pass by those that wait for a GPU.
create index job_queue on job (priority desc, id) where state = 'queued' and not has_needs;
create index job_queue_of_needs on job (priority desc, id) where state = 'queued' and has_needs;
create index job_leases on job (lease_until) where state = 'running';

-- Docker engines, as their workers told of them last.
create table runner (
    name text primary key,
    endpoint text not null,
    slots int not null,
    labels text[] not null default '{}',
    seen_at timestamptz not null default now()
);

create table gpu (
    -- As nvidia-smi and Docker know it: of a whole GPU or of a MIG device.
    uuid text primary key,
    runner text not null references runner,
    name text not null,
    class text not null,
    -- In bytes.
    memory bigint not null,
    -- It becomes free only by being seen empty, so a new one and one whose job has ended are not free at once.
    state gpu_state not null default 'quarantined',
    -- The attempt that holds it. A row has room for one, so two jobs cannot hold the same GPU.
    job_id bigint references job,
    attempt int,
    -- Why it is quarantined.
    reason text default 'it was not looked at yet',
    since timestamptz not null default now(),
    constraint held_by_an_attempt check ((state = 'held') = (job_id is not null) and (job_id is null) = (attempt is null)),
    constraint quarantined_for_a_reason check ((state = 'quarantined') = (reason is not null))
);
create index gpu_runner on gpu (runner);
create index gpu_job on gpu (job_id) where job_id is not null;

create table problem (
    build_id bigint not null references build,
    position int not null,
    severity severity not null,
    rule text not null,
    message text not null,
    file text,
    line int,
    col int,
    key text,
    primary key (build_id, position)
);

create table log_chunk (
    job_id bigint not null references job,
    attempt int not null,
    -- Offset of the first byte in the attempt's log, and the number of bytes before compression.
    start bigint not null,
    length int not null check (length > 0),
    -- zstd.
    bytes bytea not null,
    primary key (job_id, attempt, start)
);
alter table log_chunk alter column bytes set storage external;

-- Facts about what a job did, from its log and its outputs.
create table report (
    job_id bigint not null references job,
    kind report_kind not null,
    body jsonb not null,
    primary key (job_id, kind)
);

-- Numbers that a job gave as it went on, as arrays of one length. Of a long job some, as lora/series says.
create table series (
    job_id bigint not null references job,
    name text not null,
    steps bigint[] not null,
    points double precision[] not null,
    primary key (job_id, name),
    constraint as_many_steps_as_points check (cardinality(steps) = cardinality(points))
);

-- What GitHub should show for a commit: the wanted state, not a list of events. A newer wish replaces an unsent one.
create table wish (
    id bigint generated always as identity primary key,
    repo_id bigint not null references repo,
    sha text not null,
    context text not null,
    build_id bigint not null references build,
    state commit_state not null,
    description text not null,
    target_path text not null,
    wanted_seq bigint not null default 1,
    sent_seq bigint not null default 0,
    tries int not null default 0,
    not_before timestamptz not null default now(),
    -- The last refusal, for people who wonder where their status is.
    last_error text,
    unique (repo_id, sha, context),
    check (sent_seq <= wanted_seq)
);
create index wish_owed on wish (not_before) where sent_seq < wanted_seq;

-- What keeps Trainyard from working right now, for the pages: a row is there as long as the trouble is.
create table trouble (
    component text primary key,
    message text not null,
    since timestamptz not null default now()
);
