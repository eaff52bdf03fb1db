//! A piece of memory: its bytes, which of them have been written, and who touched them last.

use crate::race::Record;

/// What is known about a byte.
pub(crate) const UNWRITTEN: u8 = 0;
pub(crate) const WRITTEN: u8 = 1;
/// Between variables.
pub(crate) const OUTSIDE: u8 = 2;
/// Part of an mbarrier, which only its instructions may touch.
pub(crate) const MBARRIER: u8 = 3;

/// Consecutive bytes.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    pub data: Vec<u8>,
    pub state: Vec<u8>,
    /// One record per byte; empty until somebody asks for them.
    pub records: Vec<Record>,
}

impl Bytes {
    pub fn new(length: usize, fill: u8, state: u8) -> Self {
        Bytes { data: vec![fill; length], state: vec![state; length], records: Vec::new() }
    }

    /// The records of a range.
    pub fn records(&mut self, start: usize, length: usize) -> &mut [Record] {
        if self.records.is_empty() {
            self.records = vec![Record::default(); self.data.len()];
        }
        &mut self.records[start..start + length]
    }

    /// The value of up to 8 bytes.
    pub fn get(&self, start: usize, length: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(&self.data[start..start + length]);
        u64::from_le_bytes(bytes)
    }

    pub fn set(&mut self, start: usize, length: usize, value: u64) {
        self.data[start..start + length].copy_from_slice(&value.to_le_bytes()[..length]);
    }

    /// The first byte of a range that is not in a state.
    pub fn first_not(&self, start: usize, length: usize, state: u8) -> Option<u8> {
        self.state[start..start + length].iter().copied().find(|&found| found != state)
    }
}
