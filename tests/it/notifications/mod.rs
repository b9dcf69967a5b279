//! Notifications of builds: webhooks in the form of Travis, and messages to chats.

mod chats;
mod webhooks;
