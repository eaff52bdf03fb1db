//! A piece of memory: its bytes, which of them have been written, and who touched them last.

use crate::race::{Readers, Record};

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
    /// One record for every `1 << shift` bytes; empty until somebody asks for them.
    records: Vec<Record>,
    shift: u32,
}

/// Records begin with one for 16 bytes, and are halved where an access needs it.
const SHIFT: u32 = 4;

impl Bytes {
    pub fn new(length: usize, fill: u8, state: u8) -> Self {
        Bytes {
            data: vec![fill; length],
            state: vec![state; length],
            records: Vec::new(),
            shift: SHIFT,
        }
    }

    /// The records of a range.
    pub fn records(&mut self, start: usize, length: usize, readers: &mut Readers) -> &mut [Record] {
        if self.records.is_empty() {
            let count = self.data.len().div_ceil(1 << self.shift);
            self.records = vec![Record::default(); count];
        }
        while (start | length) & ((1 << self.shift) - 1) != 0 {
            readers.doubled(&self.records);
            self.records = self.records.iter().flat_map(|&record| [record; 2]).collect();
            self.shift -= 1;
        }
        &mut self.records[start >> self.shift..(start + length) >> self.shift]
    }

    /// Forgets who touched what.
    pub fn clear_records(&mut self) {
        self.records = Vec::new();
        self.shift = SHIFT;
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
