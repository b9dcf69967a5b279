-- Comments of people that ask for something, our answers, and our comment on a pull request.

-- What a wish shows at GitHub.
create type wish_kind as enum ('status', 'check_run', 'comment', 'reply', 'reaction');
alter table wish add column kind wish_kind not null default 'status';
update wish set kind = 'check_run' where is_check;
alter table wish drop column is_check;
-- GitHub's number of the check run, once it was made for this build, or of our comment.
alter table wish rename column check_run to shown_id;
alter table wish
    -- SHA-256 of the text that our comment has at GitHub.
    add column shown_hash bytea,
    -- The comment that a reply or a reaction is about; null for a reply to a label.
    add column comment_id bigint;

alter table build
    -- True when the build has a part in our comment on its pull request.
    add column has_comment boolean not null default false,
    -- True when a person has asked for smoke jobs alone. The status of such a build says nothing about the other jobs.
    add column is_smoke boolean not null default false;
create index build_pull_request on build (repo_id, pull_request, id) where pull_request is not null;

-- The line that a problem is in, as the commit has it, for readers who do not see the file.
alter table problem add column source text;

-- Commands of people, so that each is carried out once, and a flood of them is noticed. Rows are kept for two days.
create table command (
    delivery_id text primary key,
    repo_id bigint not null references repo on delete cascade,
    -- Null for a label or a button.
    comment_id bigint,
    pull_request int,
    -- GitHub's number of the person.
    person_id bigint not null,
    -- True when the person had no right to it.
    is_refused boolean not null,
    at timestamptz not null default now(),
    unique (repo_id, comment_id)
);
create index command_at on command (repo_id, at);
