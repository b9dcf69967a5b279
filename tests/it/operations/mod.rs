//! The service as its operator sees it: traces, and the rate of the API.

mod rate;
mod traces;
