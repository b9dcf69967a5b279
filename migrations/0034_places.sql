-- Publications to several places, and their approval by people.

create type publication_place as enum ('huggingface', 'release', 's3');

alter table publication add column place publication_place not null default 'huggingface';
alter table publication alter column place drop default;
alter table publication drop constraint publication_pkey;
alter table publication add primary key (job_id, place);

-- Two more states: one before all others, for publications that wait for a person, and the end by that person.
drop index publication_waiting;
alter table publication
    drop constraint done_at_its_end,
    drop constraint published_as_a_commit,
    drop constraint failed_for_a_reason;
alter table publication alter column state drop default;
alter type publication_state rename to publication_state_before;
create type publication_state as enum ('unapproved', 'waiting', 'published', 'failed', 'rejected');
alter table publication alter column state type publication_state using state::text::publication_state;
drop type publication_state_before;

alter table publication
    -- Environment whose people decide; null if nobody has to.
    add column environment text,
    -- Name of the person who has decided.
    add column decided_by text,
    add column decided_at timestamptz,
    add constraint done_at_its_end check ((state in ('unapproved', 'waiting')) = (done_at is null)),
    add constraint published_somewhere check ((state = 'published') <= (url is not null)),
    add constraint failed_for_a_reason check ((state in ('failed', 'rejected')) <= (error is not null)),
    add constraint decided_in_an_environment check ((decided_by is not null) <= (environment is not null)),
    add constraint decided_at_a_time check ((decided_by is null) = (decided_at is null)),
    -- Nothing that needs an approval goes out without one.
    add constraint approved_before check (
        case state when 'unapproved' then environment is not null and decided_by is null
            when 'rejected' then decided_by is not null
            else environment is null or decided_by is not null end);

create index publication_waiting on publication (place, lower(target), job_id) where state = 'waiting';
create index publication_open on publication (state, done_at) where state <> 'published';
