-- True for a pull request from another repository, as its payload named both. Names may change later, and another
-- repository may take an old one. Null for builds of before: their names are compared.
alter table build add column from_fork boolean;
