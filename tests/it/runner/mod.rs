//! Jobs on their runners: containers, limits, isolation, GPUs, other machines and crashes.

mod budgets;
mod checkout_images;
mod crash;
mod gpu_leases;
mod gpus;
mod hostile;
mod isolation;
mod limits;
mod outage;
mod pool;
mod python;
mod remote;
mod resources;
mod work;
