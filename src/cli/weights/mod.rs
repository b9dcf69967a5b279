//! Commands for files of trained weights.

pub(super) mod inspect;
pub(super) mod verify;
