//! The processor.
#![allow(unsafe_code)] // blocks are addresses

use std::slice;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};
use xent::{Context, Stream};

use super::limits::{self, Line};
use super::{Block, Machine, Result, Run, Seconds, report};
use crate::bench::machine;

pub struct Cpu {
    context: Context,
    /// As many threads as the context has.
    pool: ThreadPool,
}

/// A last cache of unknown size.
const CACHE: usize = 32 << 20;

impl Cpu {
    pub fn new(context: Context, threads: usize) -> Result<Cpu> {
        Ok(Cpu { context, pool: ThreadPoolBuilder::new().num_threads(threads).build()? })
    }
}

impl Block {
    /// Its lines; the last one may be part of it alone.
    fn lines(&self) -> &[Line] {
        // SAFETY: it was made of whole lines.
        unsafe { slice::from_raw_parts(self.address.cast(), self.size.div_ceil(64)) }
    }

    /// The same, to be written by one call at a time.
    #[allow(clippy::mut_from_ref)]
    fn lines_mut(&self) -> &mut [Line] {
        // SAFETY: as above; a block is written by one function at a time, on one thread.
        unsafe { slice::from_raw_parts_mut(self.address.cast(), self.size.div_ceil(64)) }
    }

    #[allow(clippy::mut_from_ref)]
    fn bytes_mut(&self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.address, self.size) }
    }
}

impl Machine for Cpu {
    fn context(&self) -> &Context {
        &self.context
    }

    fn stream(&self) -> Option<Stream<'_>> {
        None
    }

    fn cache(&self) -> usize {
        machine::last_cache().unwrap_or(CACHE)
    }

    fn describe(&self) -> report::Device {
        report::Device {
            kind: report::Kind::Cpu,
            name: machine::processor(),
            threads: Some(self.pool.current_num_threads()),
            compute_capability: None,
            multiprocessors: None,
            memory_bytes: None,
            cache_bytes: machine::last_cache(),
            clocks_mhz: None,
        }
    }

    fn versions(&self) -> Vec<(String, String)> {
        vec![]
    }

    fn allocate(&self, bytes: usize) -> Result<Block> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(bytes.div_ceil(64))?;
        lines.resize(bytes.div_ceil(64), Line([0; 64])); // has its pages now
        let address = lines.as_mut_ptr().cast();
        Ok(Block { address, size: bytes, free: Box::new(move || drop(std::mem::take(&mut lines))) })
    }

    fn write(&self, block: &Block, bytes: &[u8]) -> Result<()> {
        block.bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, block: &Block) -> Result<Vec<u8>> {
        Ok(block.bytes_mut().to_vec())
    }

    fn poison(&self, block: &Block) -> Result<()> {
        block.bytes_mut().fill(0xff);
        Ok(())
    }

    fn copy(&self, from: &Block, to: &Block) -> Result<()> {
        limits::copy(&self.pool, from.lines(), to.lines_mut());
        Ok(())
    }

    fn calls(&self, sets: usize) -> usize {
        sets
    }

    fn time(&self, calls: usize, call: &mut Run<'_>) -> Result<Seconds> {
        let start = Instant::now();
        (0..calls).try_for_each(call)?;
        Ok(Seconds { device: start.elapsed().as_secs_f64() / calls as f64, host: None })
    }
}
