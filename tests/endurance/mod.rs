//! What the tests of `gpu_endurance.rs` are made of.

pub mod exponential;
pub mod far;
pub mod work;

/// How much of something: a little, or all of it where `XENT_EXTENDED` is set.
pub fn extent(usual: usize, extended: usize) -> usize {
    if std::env::var_os("XENT_EXTENDED").is_some() { extended } else { usual }
}
