-- The field's standard names: requirements of a job, the runner that has it, preemption, alerts.

alter table job rename column worker to runner;
alter table job rename constraint running_has_a_worker to running_has_a_runner;
alter table job rename column has_needs to has_requirements;
alter index job_queue_of_needs rename to job_queue_of_requirements;
alter table job rename column waits_for to wait_reason;
alter table job rename constraint only_a_queued_one_waits to only_a_queued_job_waits;
alter table job rename column gives_way_to to preempted_by;
alter table job rename constraint only_a_running_one_gives_way to only_a_running_job_is_preempted;

alter table lost_attempt rename column worker to runner;

alter table trouble rename to alert;
alter index trouble_pkey rename to alert_pkey;
