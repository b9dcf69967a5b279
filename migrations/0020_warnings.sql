-- What the job's author should know of the latest attempt, such as that another version of Python ran.
alter table job add column warning text;
