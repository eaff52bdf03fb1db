//! What the benchmark needs of a device beside the runs themselves: memory, copies, a clock.

mod cpu;
#[cfg(target_os = "linux")]
mod cuda;
#[allow(dead_code)] // what reading alone reaches is for benches/cpu
mod limits;

use xent::{Context, ContextOptions, DeviceKind, Stream};

use super::{Result, report};
use crate::device::Choice;

pub trait Machine {
    fn context(&self) -> &Context;

    /// Where runs are put, on a GPU.
    fn stream(&self) -> Option<Stream<'_>>;

    /// Bytes of the last cache.
    fn cache(&self) -> usize;

    fn describe(&self) -> report::Device;

    /// Names and versions of what it needs beside the library.
    fn versions(&self) -> Vec<(String, String)>;

    /// Memory that begins at a cache line.
    fn allocate(&self, bytes: usize) -> Result<Block>;

    fn write(&self, block: &Block, bytes: &[u8]) -> Result<()>;

    /// Waits for all runs.
    fn read(&self, block: &Block) -> Result<Vec<u8>>;

    /// Fills a block with NaN, in whatever type.
    fn poison(&self, block: &Block) -> Result<()>;

    /// Copies a block to one of the same size, as fast as the device can.
    fn copy(&self, from: &Block, to: &Block) -> Result<()>;

    /// How many calls are timed together, on so many sets of buffers in turn.
    fn calls(&self, sets: usize) -> usize;

    /// Times so many calls together.
    fn time(&self, calls: usize, call: &mut Run<'_>) -> Result<Seconds>;

    fn block_of(&self, bytes: &[u8]) -> Result<Block> {
        let block = self.allocate(bytes.len())?;
        self.write(&block, bytes)?;
        Ok(block)
    }
}

/// The call of this number.
pub type Run<'a> = dyn FnMut(usize) -> Result<()> + 'a;

/// Of one call.
#[derive(Clone, Copy, Debug)]
pub struct Seconds {
    pub device: f64,
    /// What the calling thread took to put it on a stream.
    pub host: Option<f64>,
}

/// Memory of a device.
pub struct Block {
    pub address: *mut u8,
    pub size: usize,
    free: Box<dyn FnMut()>,
}

impl Drop for Block {
    fn drop(&mut self) {
        (self.free)();
    }
}

/// The device that was chosen, with so many threads on the CPU.
pub fn open(choice: Choice, threads: usize, options: ContextOptions) -> Result<Box<dyn Machine>> {
    let context = choice.context(options.threads(threads))?;
    match context.device().kind() {
        #[cfg(target_os = "linux")]
        DeviceKind::Cuda { ordinal } => Ok(Box::new(cuda::Gpu::new(context, ordinal)?)),
        _ => Ok(Box::new(cpu::Cpu::new(context, threads)?)),
    }
}
