-- The failure of a delivery's last try, as long as it lasts. A delivery that was given up keeps it.
alter table delivery add column last_error text;
create index delivery_failing on delivery (received_at) where last_error is not null;
