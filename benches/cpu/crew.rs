//! So many threads: the library's, and as many for what it is measured against.

use xent::{Context, ContextOptions, Device};

pub struct Crew {
    pub threads: usize,
    pub context: Context,
    /// For the memory limits.
    pub pool: rayon::ThreadPool,
}

impl Crew {
    pub fn new(threads: usize) -> Crew {
        let options = ContextOptions::default().device(Device::cpu()).threads(threads);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        Crew { threads, context: Context::new(options).unwrap(), pool: pool.build().unwrap() }
    }
}
