//! The way of the data: deliveries, plans, the queue, secrets and statuses.

mod checkout;
mod deploy;
mod import;
mod indexes;
mod outbox;
mod payloads;
mod push;
mod queue;
mod secrets;
mod services;
mod settings;
mod statements;
mod statuses;
mod superseded;
