//! Where a call computes, and which memory it can use there.

use crate::view::Memory;
use crate::{Error, Result};

/// What a plan's device tells of itself and of memory.
pub(crate) trait Site {
    /// The number of the GPU; `None` of the processor.
    fn gpu(&self) -> Option<u32>;
    /// What is at an address of nobody knows whose memory, if the device cannot use it.
    fn foreign(&self, address: usize) -> Result<Option<String>>;
    /// The workspace that so many rows need, in bytes.
    fn workspace_size(&self, rows: usize) -> usize;

    /// Refuses memory that the device cannot use, or not in the order of this stream.
    fn reachable(
        &self,
        field: &'static str,
        memory: Memory,
        address: usize,
        stream: usize,
    ) -> Result<()> {
        let of_gpu = |ordinal| format!("memory of CUDA {ordinal}");
        let given = match (memory, self.gpu()) {
            (Memory::Lent(to), Some(_)) if to != stream => {
                let needed = format!("one for the stream of the call, {stream:#x}");
                return Err(Error::mismatch(field, format!("a loan for stream {to:#x}"), needed));
            }
            (Memory::Unknown | Memory::Lent(_), Some(_)) => self.foreign(address)?,
            (Memory::Unknown | Memory::Host, None) => None,
            (Memory::Lent(_), None) => Some("memory of a GPU".into()),
            (Memory::Gpu(own), Some(ordinal)) if own == ordinal => None,
            (Memory::Gpu(other), _) => Some(of_gpu(other)),
            (Memory::Host, Some(_)) => Some("memory of the CPU".into()),
        };
        let needed = || self.gpu().map_or("memory of the CPU".into(), of_gpu);
        given.map_or(Ok(()), |given| Err(Error::mismatch(field, given, needed())))
    }
}

/// Where no plan is: host memory.
pub(crate) struct Host;

impl Site for Host {
    fn gpu(&self) -> Option<u32> {
        None
    }

    fn foreign(&self, _: usize) -> Result<Option<String>> {
        Ok(None)
    }

    fn workspace_size(&self, _: usize) -> usize {
        0
    }
}
