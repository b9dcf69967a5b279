//! The service as its operator sees it: traces, slow statements, the rate of the API, and the state for supervisors.

mod rate;
mod statements;
mod traces;
