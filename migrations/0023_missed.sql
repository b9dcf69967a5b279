-- Open pull requests as a check has seen them last, so that one whose webhook never came is noticed.

create table open_pull (
    repo_id bigint not null references repo on delete cascade,
    number int not null,
    -- The commit of its branch, and the branch into which it would be merged.
    sha text not null,
    base text not null,
    primary key (repo_id, number)
);
alter table repo
    add column pulls_checked_at timestamptz,
    -- GitHub's mark of the list, which stays the same until the list changes.
    add column pulls_etag text;

-- GitHub's logs of deliveries: the time to which each was read, by the log's name.
create table delivery_log (
    log text primary key,
    read_to timestamptz not null
);
-- Deliveries that GitHub was asked to send again. Each is asked for once.
create table redelivery (
    id text primary key,
    asked_at timestamptz not null default now()
);

-- For the page of the deliveries: the repository that each is about, as its sender names it, and the scope of the secret
-- that has signed it ('' for that of all repositories).
alter table delivery
    add column repo text,
    add column signed_scope text;
update delivery set repo = owner || '/' || name
from build join repo on repo.id = build.repo_id where build.delivery_id = delivery.id;

-- What became of a delivery, as one word.
create function delivery_result(done_at timestamptz, outcome text, last_error text) returns text
language sql immutable parallel safe as $$
    select case
        when done_at is null then 'open'
        when outcome ~ '^[^ /]+/[^ /]+#[0-9]+$' then 'built'
        when starts_with(outcome, 'refused:') then 'refused'
        when last_error is not null then 'failed'
        else 'none'
    end
$$;
create index delivery_received on delivery (received_at, id);

-- Jobs of the repository that run at once: null for the number of everyone, 0 for any number.
alter table repo add column slots int check (slots >= 0);
