-- Changes of builds, for the streams of events. A row says that a build or one of its jobs has changed its state; what
-- the state is, the rows of the build and the job say. The order is that of the transactions' ids: a reader reads only
-- rows of transactions before the oldest one that is not over, so that none of them appears behind its place later.
create table build_change (
    xid xid8 not null default pg_current_xact_id(),
    id bigint not null generated always as identity,
    build_id bigint not null,
    job_id bigint,
    at timestamptz not null default now(),
    primary key (xid, id)
);
-- Rows come in the order of their times, so a summary of each range of pages finds the old ones.
create index build_change_at on build_change using brin (at);

create function note_build_change() returns trigger language plpgsql as $$
begin
    if tg_table_name = 'job' then
        insert into build_change (build_id, job_id) values (new.build_id, new.id);
    else
        insert into build_change (build_id) values (new.id);
    end if;
    return null;
end $$;
create trigger build_is_new after insert on build for each row execute function note_build_change();
create trigger build_has_changed after update of state on build for each row
    when (new.state is distinct from old.state) execute function note_build_change();
create trigger job_has_changed after update of state on job for each row
    when (new.state is distinct from old.state) execute function note_build_change();

-- Requests with an idempotency key, and their answers. A row without a status is a request in progress.
create table keyed_request (
    caller text not null,
    route text not null,
    key text not null,
    body_digest bytea not null,
    begun_at timestamptz not null default now(),
    status smallint,
    content_type text,
    answer bytea,
    primary key (caller, route, key),
    check ((status is null) = (answer is null))
);
create index keyed_request_begun on keyed_request (begun_at);
