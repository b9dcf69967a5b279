-- Webhooks of Travis CI, which request builds.

-- Who signed a delivery. It decides how the body is read: nobody who signs for one sender can speak for the other.
create type delivery_source as enum ('github', 'travis', 'request');
alter table delivery add column source delivery_source not null default 'github';

-- The build of Travis that requested this one.
alter table build
    add column travis_number text,
    add column travis_url text;
