-- People, their rights in repositories, their sessions and tokens, and a record of what they changed.

create type access_right as enum ('read', 'write', 'admin');

create table person (
    id bigint generated always as identity primary key,
    -- The login at GitHub as of the last login here, the name of a local user, or what an OpenID provider calls them.
    name text not null,
    -- Each person has one origin: GitHub's number, a password here (argon2id, in PHC's form), or a subject of the OpenID
    -- provider.
    github_id bigint unique,
    password text,
    subject text unique,
    -- An operator, as the operator of this machine has decided. Those of auth.admins are operators, too.
    is_operator boolean not null default false,
    created_at timestamptz not null default now(),
    constraint person_has_one_origin check (num_nonnulls(github_id, password, subject) = 1)
);
create unique index person_local on person (lower(name)) where password is not null;

-- Rights of people in repositories, as GitHub has told or an operator has granted.
create table permission (
    person_id bigint not null references person on delete cascade,
    repo_id bigint not null references repo on delete cascade,
    -- Null where GitHub says that there is none.
    access access_right,
    -- The time of GitHub's answer; null for a right that an operator has granted, which stays.
    checked_at timestamptz,
    primary key (person_id, repo_id),
    constraint granted_is_a_right check (checked_at is not null or access is not null)
);
create index permission_repo on permission (repo_id);

create table session (
    id bigint generated always as identity primary key,
    -- SHA-256 of the cookie's value. The value before it is good for a moment after a change.
    digest bytea not null unique,
    previous bytea unique,
    changed_at timestamptz not null default now(),
    person_id bigint not null references person on delete cascade,
    -- What forms of its pages send back.
    csrf text not null,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);
create index session_person on session (person_id);
create index session_seen on session (seen_at);

create table api_token (
    id bigint generated always as identity primary key,
    person_id bigint not null references person on delete cascade,
    name text not null,
    -- SHA-256 of the token.
    digest bytea not null unique,
    -- The most that it may do. Its person's rights bound it, too.
    scope access_right not null,
    -- Null for all repositories of its person.
    repos bigint[],
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz
);
create index api_token_person on api_token (person_id);

create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    who text not null,
    what text not null,
    target text not null,
    -- The address that the request came from; empty for a command on the machine.
    address text not null
);
create index audit_at on audit (at);

-- When GitHub was last asked whether a public repository still is one.
alter table repo add column visibility_checked_at timestamptz;

-- The credentials with which the App logs people in. The secret is sealed with the server's key.
alter table github_app
    add column client_id text,
    add column client_secret bytea;
