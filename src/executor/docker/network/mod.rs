//! The networks of jobs: the egress gateway that holds one, and the pool in which spare ones wait for a next job.

pub(super) mod egress_gateway;
pub(super) mod network_pool;
