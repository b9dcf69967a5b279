-- Statuses that GitHub refused for so long that they are not tried again, for the alert of their repository.
create index wish_given_up on wish (repo_id) where sent_seq < wanted_seq and given_up_seq = wanted_seq;
