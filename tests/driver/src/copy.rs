//! Copies and fills, as work of a stream.
//!
//! What a driver does with host memory that is not page-locked: a copy from it has read it when the
//! call returns, a copy to it has written it. Page-locked memory is read and written when the
//! stream comes to the copy, and so is all memory that a graph copies.

use std::sync::Arc;

use crate::code::{Code, Outcome};
use crate::driver::Driver;
use crate::host::HostRange;
use crate::memory::is_device;
use crate::queue::{Op, Source};
use crate::table::Handle;

/// Where a copy goes, as the C ABI puts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The call returns when it is done, or as soon as the host cannot tell.
    Now,
    /// In the order of this stream.
    On(Handle),
}

impl Driver {
    /// Whether a range is page-locked memory.
    fn is_pinned(&self, range: HostRange) -> bool {
        self.find_pinned(range.address).is_some_and(|(start, bytes)| {
            range.address - start + range.bytes as u64 <= bytes as u64
        })
    }

    /// The stream of a copy.
    fn stream_of(&mut self, when: When) -> Outcome<Handle> {
        match when {
            When::Now => {
                self.current()?;
                self.disturbs_captures()?;
                self.stream(0)
            }
            When::On(stream) => self.stream(stream),
        }
    }

    /// Submits work and waits for it.
    fn submit_and_wait(&mut self, stream: Handle, op: Op) -> Outcome {
        self.submit(stream, op)?;
        let stream = self.streams.get(stream)?;
        let (last, context) = (stream.last, stream.context);
        self.run_until(last.as_slice());
        self.healthy(context)
    }

    /// Host to device.
    pub fn copy_in(&mut self, to: u64, from: HostRange, when: When) -> Outcome {
        let stream = self.stream_of(when)?;
        if from.bytes == 0 {
            return Ok(());
        }
        if from.address == 0 || is_device(from.address) {
            return Err(Code::INVALID_VALUE);
        }
        self.range(to, from.bytes as u64)?;
        if self.is_capturing(stream) || self.is_pinned(from) && when != When::Now {
            return self.submit(stream, Op::CopyIn { to, from: Source::Host(from) });
        }
        let op = Op::CopyIn { to, from: Source::Bytes(Arc::from(from.read())) };
        match when {
            When::Now => self.submit_and_wait(stream, op),
            When::On(_) => self.submit(stream, op),
        }
    }

    /// Device to host.
    pub fn copy_out(&mut self, to: HostRange, from: u64, when: When) -> Outcome {
        let stream = self.stream_of(when)?;
        if to.bytes == 0 {
            return Ok(());
        }
        if to.address == 0 || is_device(to.address) {
            return Err(Code::INVALID_VALUE);
        }
        self.range(from, to.bytes as u64)?;
        let op = Op::CopyOut { to, from };
        if self.is_capturing(stream) || self.is_pinned(to) && when != When::Now {
            return self.submit(stream, op);
        }
        self.submit_and_wait(stream, op)
    }

    /// Device to device. The host does not wait for it.
    pub fn copy_within(&mut self, to: u64, from: u64, bytes: u64, when: When) -> Outcome {
        let stream = self.stream_of(when)?;
        if bytes == 0 {
            return Ok(());
        }
        self.range(to, bytes)?;
        self.range(from, bytes)?;
        self.submit(stream, Op::Copy { to, from, bytes })
    }

    /// `cuMemcpy`: the addresses tell what it is.
    pub fn copy(&mut self, to: HostRange, from: HostRange, when: When) -> Outcome {
        match (is_device(to.address), is_device(from.address)) {
            (true, true) => self.copy_within(to.address, from.address, to.bytes as u64, when),
            (true, false) => self.copy_in(to.address, from, when),
            (false, true) => self.copy_out(to, from.address, when),
            (false, false) => Err(Code::NOT_SUPPORTED), // a memcpy through the driver
        }
    }

    /// `cuMemset`: `count` times these 1, 2 or 4 bytes. The host does not wait for it.
    pub fn fill(&mut self, to: u64, pattern: &[u8], count: usize, when: When) -> Outcome {
        let stream = self.stream_of(when)?;
        if count == 0 {
            return Ok(());
        }
        let bytes = (count as u64).checked_mul(pattern.len() as u64);
        self.range(to, bytes.ok_or(Code::INVALID_VALUE)?)?;
        if !to.is_multiple_of(pattern.len() as u64) {
            return Err(Code::INVALID_VALUE);
        }
        self.submit(stream, Op::Fill { to, pattern: pattern.to_vec(), count })
    }
}
