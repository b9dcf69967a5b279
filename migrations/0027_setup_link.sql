-- The link with which the first operator of a fresh service is made.

create table setup_link (
    -- There is one at most.
    is_only boolean primary key default true check (is_only),
    -- SHA-256 of the secret in the link.
    digest bytea not null,
    made_at timestamptz not null default now()
);
