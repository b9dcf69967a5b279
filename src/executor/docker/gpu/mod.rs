//! The GPUs of an engine's machine, as `nvidia-smi` reports them.

mod check;
mod nvidia;

pub(in crate::executor) use check::is_gpu_check;
pub use nvidia::NvidiaSmi;
