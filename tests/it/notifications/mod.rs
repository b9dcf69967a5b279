//! Notifications of builds: webhooks in the form of Travis, signed webhooks, emails, and messages to chats.

mod chats;
pub mod hooks;
mod mail;
mod slack;
pub mod webhooks;
