//! Wake-ups between steps: bells within a process, and notifications between processes.

pub mod bell;
pub mod bell_notify;
