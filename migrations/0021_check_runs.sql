-- Check runs, which only an App may write. A wish for one is a wish like that for a status.
alter table wish
    add column is_check boolean not null default false,
    -- GitHub's number of the check run, once it was made for this build.
    add column check_run bigint;
-- True when the build has a check run.
alter table build add column has_check_run boolean not null default false;
