-- How far trainings are, how long jobs take, and GPU hours with their budgets.

-- An attempt that went on with the training of earlier ones, of which this one was the first.
create table resumed_attempt (
    job_id bigint not null references job on delete cascade,
    attempt int not null,
    since_attempt int not null,
    primary key (job_id, attempt),
    check (since_attempt < attempt)
);
