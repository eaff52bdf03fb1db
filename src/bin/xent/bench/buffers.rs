//! The memory of a cell on its device, and the views of it that a run takes.
#![allow(unsafe_code)] // the device may be a GPU, whose memory is an address

use std::ops::Range;

use xent::{DType, Layout, Stream, View, ViewMut};

use super::Result;
use super::cell::Cell;
use super::device::{Block, Machine};
use super::inputs::Inputs;

/// The most sets of logits and gradients that runs take in turn.
const MOST: usize = 64;

/// All that runs of a cell read and write.
pub struct Buffers {
    pub cell: Cell,
    /// Logits and gradient, several times: runs take them in turn, so that a cache that is larger than
    /// one of them does not make the next run faster.
    pub sets: Vec<(Block, Block)>,
    targets: (Block, DType),
    class_weights: Option<Block>,
    row_weights: Option<Block>,
    pub loss: Block,
    pub stats: Block,
}

impl Buffers {
    pub fn new(machine: &dyn Machine, inputs: &Inputs) -> Result<Buffers> {
        let cell = inputs.cell;
        let (size, cached) = (cell.size(), 2 * machine.cache());
        let count = cached.div_ceil(2 * size).clamp(1, MOST);
        let logits = inputs.logits();
        let sets = (0..count).map(|_| Ok((machine.block_of(&logits)?, machine.allocate(size)?)));
        let some = |bytes: Option<Vec<u8>>| bytes.map(|x| machine.block_of(&x)).transpose();
        Ok(Buffers {
            sets: sets.collect::<Result<_>>()?,
            targets: (machine.block_of(&inputs.targets())?, inputs.case.problem.targets),
            class_weights: some(inputs.class_weights())?,
            row_weights: some(inputs.row_weights())?,
            loss: machine.allocate(size_of::<f32>())?,
            stats: machine.allocate(2 * cell.rows * size_of::<f32>())?,
            cell,
        })
    }
}

/// Which buffers a run takes.
#[derive(Clone)]
pub struct Call<'a> {
    pub buffers: &'a Buffers,
    pub set: usize,
    pub rows: Range<usize>,
    /// Of the mean, if it is not the default.
    pub denominator: Option<f64>,
    pub stream: Option<Stream<'a>>,
}

impl<'a> Call<'a> {
    /// Some elements of a block.
    fn some(block: &'a Block, elements: Range<usize>, dtype: DType) -> View<'a> {
        let data = block.address.cast_const().wrapping_add(elements.start * dtype.size());
        assert!(elements.end * dtype.size() <= block.size);
        // SAFETY: so many bytes are there, of numbers for which all bits are valid; the block lives for
        // 'a, and what writes it is put on the same stream.
        unsafe { View::from_raw(data, elements.len(), dtype) }
    }

    fn some_mut(block: &'a Block, elements: Range<usize>, dtype: DType) -> ViewMut<'a> {
        let data = block.address.wrapping_add(elements.start * dtype.size());
        assert!(elements.end * dtype.size() <= block.size);
        // SAFETY: as above. One call at a time has views of a block.
        unsafe { ViewMut::from_raw(data, elements.len(), dtype) }
    }

    /// The elements of the rows, and how they lie.
    fn of_rows(&self) -> (Range<usize>, Layout) {
        let classes = self.buffers.cell.classes;
        let elements = self.rows.start * classes..self.rows.end * classes;
        (elements, Layout::rows(self.rows.len(), classes))
    }

    pub fn logits(&self) -> View<'a> {
        let (elements, layout) = self.of_rows();
        Self::some(&self.buffers.sets[self.set].0, elements, self.buffers.cell.dtype).layout(layout)
    }

    /// Also logits, of a run in place.
    pub fn gradient(&self) -> ViewMut<'a> {
        let (elements, layout) = self.of_rows();
        let block = &self.buffers.sets[self.set].1;
        Self::some_mut(block, elements, self.buffers.cell.dtype).layout(layout)
    }

    pub fn targets(&self) -> View<'a> {
        let (block, dtype) = &self.buffers.targets;
        match dtype {
            DType::F32 => {
                let (elements, layout) = self.of_rows();
                Self::some(block, elements, *dtype).layout(layout)
            }
            _ => Self::some(block, self.rows.clone(), *dtype),
        }
    }

    pub fn class_weights(&self) -> Option<View<'a>> {
        let all = 0..self.buffers.cell.classes;
        self.buffers.class_weights.as_ref().map(|block| Self::some(block, all, DType::F32))
    }

    pub fn row_weights(&self) -> Option<View<'a>> {
        let rows = self.rows.clone();
        self.buffers.row_weights.as_ref().map(|block| Self::some(block, rows, DType::F32))
    }

    pub fn loss(&self) -> ViewMut<'a> {
        Self::some_mut(&self.buffers.loss, 0..1, DType::F32)
    }

    pub fn stats(&self) -> ViewMut<'a> {
        Self::some_mut(&self.buffers.stats, 0..2 * self.rows.len(), DType::F32)
    }

    pub fn stats_to_read(&self) -> View<'a> {
        Self::some(&self.buffers.stats, 0..2 * self.rows.len(), DType::F32)
    }
}
