-- Runners may be served by processes on several machines.
alter table runner add column host text;
comment on column runner.host is 'The machine of the process that serves it.';
