//! Exponentials that the pass for the sums keeps for the gradient.
#![allow(unsafe_code)] // memory of a workspace

use std::marker::PhantomData;
use std::slice;

use super::chunk::BLOCKS;
use super::medium::{self, MEDIUM};
use super::narrow::NARROW;
use super::simd::{LANES, Lanes};
use crate::{Outputs, Problem};

/// Memory of one thread for what is kept of some rows, and where rows wait for as many more: those of
/// one half are computed while those of the other wait to be written.
pub(super) struct Keep<'a> {
    halves: [Half<'a>; 2],
    /// Whether rows wait.
    streams: bool,
}

/// Memory for rows that are computed together.
pub(super) struct Half<'a> {
    data: *mut Lanes,
    shape: Shape,
    workspace: PhantomData<&'a mut [u8]>,
}

/// What is kept of a row.
pub(super) struct Kept<'a> {
    /// Exponentials.
    pub e: &'a mut [Lanes],
    /// dz/dx, where it differs between classes.
    pub slope: &'a mut [Lanes],
    /// The references of the exponentials of each chunk.
    pub references: &'a mut [f32],
    /// Its place in its half.
    pub place: usize,
    /// The half of the rows that wait.
    pub waiting: &'a Half<'a>,
}

impl Kept<'_> {
    /// The reference of all exponentials, if it is one.
    pub fn reference(&self) -> Option<f32> {
        let (first, others) = self.references.split_first()?;
        others.iter().all(|other| other == first).then_some(*first)
    }
}

impl<'a> Keep<'a> {
    /// No memory.
    pub fn nothing() -> Self {
        // SAFETY: there are no rows in it.
        unsafe { Keep::new(std::ptr::null_mut(), Shape::NONE, false) }
    }

    /// Memory for rows of this shape. `streams`: past the caches, so that they wait.
    ///
    /// # Safety
    ///
    /// Nothing else may use the [`Shape::lanes`] from `data` on during its lifetime.
    pub unsafe fn new(data: *mut Lanes, shape: Shape, streams: bool) -> Self {
        let half = |data, shape| Half { data, shape, workspace: PhantomData };
        let second = match streams {
            true => half(data.wrapping_add(shape.lanes_of_half()), shape),
            false => half(std::ptr::null_mut(), Shape::NONE),
        };
        Keep { halves: [half(data, shape), second], streams }
    }

    /// The half for the next rows, and that of the last ones, which may wait until the next ones do.
    pub fn turn(&mut self) -> (&mut Half<'a>, &Half<'a>) {
        if self.streams {
            self.halves.swap(0, 1);
        }
        let [next, last] = &mut self.halves;
        (next, last)
    }

    /// The half of the last rows.
    pub fn last(&self) -> &Half<'a> {
        &self.halves[0]
    }
}

impl Half<'_> {
    /// The memory of a row; `None` where nothing is kept.
    pub fn row<'a>(&'a mut self, place: usize, waiting: &'a Half) -> Option<Kept<'a>> {
        let Shape { blocks, slopes, .. } = self.shape;
        if blocks == 0 {
            return None;
        }
        let (data, slopes) = (self.place(place), if slopes { blocks } else { 0 });
        let (chunks, rest) = (blocks.div_ceil(BLOCKS), data.wrapping_add(blocks + slopes));
        // SAFETY: memory of this row, of a thread that has no other part of the row. Any bits are
        // numbers.
        unsafe {
            Some(Kept {
                e: slice::from_raw_parts_mut(data, blocks),
                slope: slice::from_raw_parts_mut(data.wrapping_add(blocks), slopes),
                references: slice::from_raw_parts_mut(rest.cast(), chunks),
                place,
                waiting,
            })
        }
    }

    /// The exponentials of a row, and the slopes, if they are kept.
    pub fn of_row(&self, place: usize) -> (&[Lanes], &[Lanes]) {
        let Shape { blocks, slopes, .. } = self.shape;
        let len = if slopes { 2 * blocks } else { blocks };
        // SAFETY: as above.
        unsafe { slice::from_raw_parts(self.place(place), len) }.split_at(blocks)
    }

    fn place(&self, place: usize) -> *mut Lanes {
        assert!(place < self.shape.rows);
        self.data.wrapping_add(place * self.shape.lanes_of_row())
    }
}

/// What is kept of rows.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The rows of a half.
    rows: usize,
    /// The blocks of a row; 0 where nothing is kept.
    blocks: usize,
    /// Whether slopes are kept too.
    slopes: bool,
}

impl Shape {
    const NONE: Shape = Shape { rows: 0, blocks: 0, slopes: false };

    /// The longest row that is kept.
    const CLASSES: usize = 128 * 1024;

    pub fn new(problem: &Problem) -> Self {
        let keeps = problem.outputs.contains(Outputs::DLOGITS)
            && (NARROW + 1..=Self::CLASSES).contains(&problem.classes);
        if !keeps {
            return Self::NONE;
        }
        Shape {
            rows: if problem.classes <= MEDIUM { medium::ROWS } else { 1 },
            blocks: problem.classes.div_ceil(LANES),
            slopes: problem.softcap.is_some(),
        }
    }

    /// The size of a row, with a reference for each chunk.
    fn lanes_of_row(self) -> usize {
        self.blocks * (1 + usize::from(self.slopes)) + self.blocks.div_ceil(BLOCKS).div_ceil(LANES)
    }

    fn lanes_of_half(self) -> usize {
        self.rows * self.lanes_of_row()
    }

    /// The size of all.
    pub fn lanes(self, streams: bool) -> usize {
        self.lanes_of_half() * if streams { 2 } else { 1 }
    }
}
