-- Builds of forks that wait until a person approves them. An approval is for one build, so for one commit.
alter table build
    add column needs_approval boolean not null default false,
    -- Who approved it, and when.
    add column approved_by text,
    add column approved_at timestamptz,
    add constraint approved_by_somebody check ((approved_by is null) = (approved_at is null)),
    add constraint approved_if_needed check (needs_approval or approved_at is null);
create index build_unapproved on build (created_at) where needs_approval and approved_at is null and finished_at is null;
