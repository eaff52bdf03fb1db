//! What each thread knows of the past of the others: happens-before, by vector clocks.
//!
//! A thread's own clock counts the points where it published what it did. Within a warp the clocks
//! of all 32 lanes are kept for each lane; of other warps a thread knows what its last barrier gave
//! it, a snapshot that all participants share.

use std::rc::Rc;

use crate::op::LANES;

/// The clock of every thread, and after them of asynchronous agents, as far as it is known.
pub(crate) type Snapshot = Rc<Vec<u32>>;

/// The clocks of the threads of one cluster; thread `32 * warp + lane`, warps counted over all CTAs.
pub(crate) struct Clocks {
    far: Vec<Snapshot>,
    near: Vec<[[u32; LANES]; LANES]>,
    /// Whether a lane may know more than the lanes that it synchronised with.
    dirty: Vec<bool>,
}

impl Clocks {
    pub fn new(warps: usize) -> Self {
        let nothing = Rc::new(Vec::new());
        let mut start = [[0; LANES]; LANES];
        for (lane, row) in start.iter_mut().enumerate() {
            row[lane] = 1;
        }
        Clocks {
            far: vec![nothing; warps * LANES],
            near: vec![start; warps],
            dirty: vec![true; warps],
        }
    }

    /// The clock that an access of the thread carries now.
    pub fn now(&self, thread: usize) -> u32 {
        self.near[thread / LANES][thread % LANES][thread % LANES]
    }

    /// Whether what `other` did at `clock` happened before what `me` does now.
    pub fn knows(&self, me: usize, other: usize, clock: u32) -> bool {
        let near = me / LANES == other / LANES
            && self.near[me / LANES][me % LANES][other % LANES] >= clock;
        near || known(&self.far[me], other) >= clock
    }

    /// Something has happened that the next synchronisation of the warp must pass on.
    pub fn touch(&mut self, warp: usize) {
        self.dirty[warp] = true;
    }

    /// The lanes of a mask wait for one another.
    pub fn join_warp(&mut self, warp: usize, mask: u32) {
        if mask == u32::MAX && !self.dirty[warp] {
            return;
        }
        self.dirty[warp] = mask != u32::MAX;
        let mut joint = [0; LANES];
        let mut far = self.far[warp * LANES + mask.trailing_zeros() as usize].clone();
        for lane in lanes(mask) {
            for (joint, &clock) in joint.iter_mut().zip(&self.near[warp][lane]) {
                *joint = clock.max(*joint);
            }
            let other = &self.far[warp * LANES + lane];
            if !Rc::ptr_eq(&far, other) {
                far = merged(&far, other);
            }
        }
        for lane in lanes(mask) {
            let row = &mut self.near[warp][lane];
            *row = joint;
            row[lane] += 1;
            self.far[warp * LANES + lane] = far.clone();
        }
    }

    /// Everything that a thread knows, itself included.
    pub fn snapshot(&self, thread: usize) -> Snapshot {
        let mut all = Vec::new();
        self.add_to(&mut all, thread);
        Rc::new(all)
    }

    /// Adds what a thread knows to what is known.
    pub fn add_to(&self, all: &mut Vec<u32>, thread: usize) {
        merge(all, &self.far[thread]);
        let first = thread / LANES * LANES;
        merge_at(all, first, &self.near[thread / LANES][thread % LANES]);
    }

    /// What a group of threads knows together.
    pub fn joint(&self, threads: &[usize]) -> Vec<u32> {
        let mut all = Vec::new();
        let mut last: Option<&Snapshot> = None;
        for &thread in threads {
            let far = &self.far[thread];
            if !last.is_some_and(|last| Rc::ptr_eq(last, far)) {
                merge(&mut all, far);
                last = Some(far);
            }
            let first = thread / LANES * LANES;
            merge_at(&mut all, first, &self.near[thread / LANES][thread % LANES]);
        }
        all
    }

    /// A thread has published what it did; what it does next is not part of that.
    pub fn advance(&mut self, thread: usize) {
        let lane = thread % LANES;
        self.near[thread / LANES][lane][lane] += 1;
        self.touch(thread / LANES);
    }

    /// A thread learns what a snapshot holds.
    pub fn learn(&mut self, thread: usize, what: &Snapshot) {
        let far = &self.far[thread];
        if Rc::ptr_eq(far, what) {
            return;
        }
        let adds =
            far.iter().zip(what.iter()).any(|(old, new)| old > new) || far.len() > what.len();
        self.far[thread] = if adds { merged(far, what) } else { what.clone() };
        self.touch(thread / LANES);
    }

    /// Threads of a barrier learn from a snapshot that includes what each of them knew.
    pub fn learn_all(&mut self, threads: &[usize], what: &Snapshot) {
        for &thread in threads {
            self.far[thread] = what.clone();
            self.touch(thread / LANES);
        }
    }
}

/// The clock of a thread or agent in a snapshot.
pub(crate) fn known(snapshot: &[u32], other: usize) -> u32 {
    snapshot.get(other).copied().unwrap_or(0)
}

/// The larger of two clocks, everywhere.
pub(crate) fn merge(all: &mut Vec<u32>, other: &[u32]) {
    merge_at(all, 0, other);
}

fn merge_at(all: &mut Vec<u32>, first: usize, other: &[u32]) {
    if all.len() < first + other.len() {
        all.resize(first + other.len(), 0);
    }
    for (old, &new) in all[first..].iter_mut().zip(other) {
        *old = new.max(*old);
    }
}

fn merged(a: &[u32], b: &[u32]) -> Snapshot {
    let mut all = a.to_vec();
    merge(&mut all, b);
    Rc::new(all)
}

/// The lanes of a mask, from the lowest.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let lane = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        Some(lane)
    })
}
