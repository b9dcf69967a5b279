-- Repositories on other servers than GitHub.

alter type delivery_source add value 'gitea';

-- Each server numbers its repositories on its own.
alter table repo add column forge text not null default 'github';
alter table repo drop constraint repo_github_id_key;
alter table repo add constraint repo_forge_github_id_key unique (forge, github_id);
comment on column repo.forge is 'The server: github, or the name of a [[forge]] of the configuration.';
comment on column repo.github_id is 'The number of the repository on its server.';
