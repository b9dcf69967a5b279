//! The networks of jobs: the egress gateway that holds a network, and the network pool, where spare networks wait for a
//! later job.

pub(super) mod egress_gateway;
pub(super) mod network_pool;
