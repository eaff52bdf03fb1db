//! What the tests of `gpu_endurance.rs` are made of.

pub mod exponential;
pub mod far;
pub mod work;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::common::simulated::here_or_elsewhere;

/// Begins the test of this name, if it is for this process. There is one at a time: a capture forbids other
/// threads much, and some take most of the memory.
pub fn begin(name: &str) -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    here_or_elsewhere(name).then(|| ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How much of something: a little, or all of it where `XENT_EXTENDED` is set.
pub fn extent(usual: usize, extended: usize) -> usize {
    if std::env::var_os("XENT_EXTENDED").is_some() { extended } else { usual }
}
