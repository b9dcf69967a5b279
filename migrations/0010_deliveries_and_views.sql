-- Deliveries that cannot be forged or replayed, and logs that are not rendered from their start for each reader.

-- SHA-256 of the body of a delivery that asks for a build. The same body under another id is a replay: GitHub's own
-- redeliveries keep their id. Other deliveries have none, so that most of them do not touch this index.
alter table delivery add column body_hash bytea;
create index delivery_body on delivery (body_hash) where body_hash is not null;
update delivery set body_hash = sha256(body)
where octet_length(body) > 0 and (done_at is null or id in (select delivery_id from build where delivery_id is not null));

-- Bytes of the body before its compression with zstd; null for a body that is stored as it is. Postgres would compress it
-- itself, which costs several times as much, and the bytes would go through its log and its buffers first.
alter table delivery add column body_size int check (body_size > 0);

-- Secrets of webhooks, next to those of the configuration. Sealed with the server's key.
create table webhook_secret (
    -- An owner or owner/name in lower case, or '' for all repositories.
    scope text primary key check (scope = lower(scope)),
    secret bytea not null,
    -- The secret before it, which is good until the webhook on GitHub has the new one.
    previous bytea,
    changed_at timestamptz not null default now()
);

-- States of a log's readers at the ends of some lines, so that the next reader starts there.
create table log_checkpoint (
    job_id bigint not null references job on delete cascade,
    attempt int not null,
    -- Offset in the log.
    place bigint not null check (place > 0),
    -- A token of log_view, and the state of the reader of losses as JSON.
    view text not null,
    losses text not null,
    primary key (job_id, attempt, place)
);
