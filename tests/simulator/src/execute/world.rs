//! Everything that the warps of one cluster share.

use std::collections::HashMap;

use crate::bytes::{Bytes, OUTSIDE, UNWRITTEN};
use crate::clocks::{Clocks, Snapshot};
use crate::error::{Fault, Kind};
use crate::execute::Wake;
use crate::execute::asynchronous::{Groups, Task};
use crate::execute::mbarrier::Mbarrier;
use crate::launch::Geometry;
use crate::memory::Memory;
use crate::module::Entry;
use crate::op::LANES;
use crate::race::{Conflict, Readers};
use crate::random::Random;

/// Asynchronous agents that a cluster may have: mbarriers, and threads that copy in groups.
pub(crate) const AGENTS: usize = 4096;

/// A barrier of a CTA.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedBarrier {
    /// How many threads it waits for; `None`: all that have not exited.
    pub expected: Option<u32>,
    /// Who has arrived, and at which instruction.
    pub arrived: Vec<(usize, u32)>,
    pub waiting: Vec<usize>,
    /// How many of them brought a true predicate.
    pub yes: u32,
}

/// A CTA of the cluster that runs.
pub(crate) struct Cta {
    pub id: [u32; 3],
    pub shared: Bytes,
    pub live: u32,
    pub barriers: Vec<NamedBarrier>,
    /// Threads of peers that touched its shared memory, and when last.
    pub visitors: HashMap<usize, u32>,
    /// What its exited threads knew.
    pub end: Vec<u32>,
}

impl Cta {
    pub fn new(id: [u32; 3], entry: &Entry, geometry: &Geometry) -> Self {
        let end = entry.dynamic_shared + u64::from(geometry.dynamic_shared);
        let mut shared = Bytes::new(end as usize, 0xcd, OUTSIDE);
        let dynamic = entry.dynamic_shared as usize..end as usize;
        for variable in &entry.shared {
            let start = variable.address as usize;
            shared.state[start..start + variable.bytes as usize].fill(UNWRITTEN);
        }
        shared.state[dynamic].fill(UNWRITTEN);
        Cta {
            id,
            shared,
            live: geometry.threads(),
            barriers: vec![NamedBarrier::default(); 16],
            visitors: HashMap::new(),
            end: Vec::new(),
        }
    }
}

/// The barrier of the cluster.
pub(crate) struct ClusterBarrier {
    /// For each thread, how often it has arrived and how often it has waited.
    pub arrived: Vec<u32>,
    pub waited: Vec<u32>,
    /// Threads that have not arrived in this phase.
    pub pending: u32,
    pub completed: u32,
    pub gathering: Vec<u32>,
    pub done: Snapshot,
    pub waiting: Vec<usize>,
}

pub(crate) struct World<'a> {
    pub entry: &'a Entry,
    pub geometry: Geometry,
    pub parameters: &'a [u8],
    pub memory: &'a mut Memory,
    pub ctas: Vec<Cta>,
    pub clocks: Clocks,
    pub readers: &'a mut Readers,
    pub random: &'a mut Random,
    pub noise: Option<u64>,
    pub shuffles_order: bool,
    /// Lanes of other warps that go on.
    pub wakes: Vec<Wake>,
    pub cluster: ClusterBarrier,
    pub mbarriers: HashMap<(usize, u64), Mbarrier>,
    pub tasks: Vec<Task>,
    pub groups: HashMap<(usize, bool), Groups>,
    /// Numbers of agents.
    pub agents: usize,
    /// Instructions and lanes, for every instruction of the kernel.
    pub counts: &'a mut [(u64, u64)],
    pub steps: u64,
    /// CTA ids of the first CTA of each cluster that has run, in their order.
    pub order: &'a [[u32; 3]],
}

impl World<'_> {
    /// Threads of the cluster, partial warps filled up.
    pub fn threads(&self) -> usize {
        self.ctas.len() * self.geometry.warps() * LANES
    }

    /// A number for a new agent.
    pub fn agent(&mut self) -> Result<usize, Fault> {
        self.agents += 1;
        if self.agents > AGENTS {
            return Err(Fault::new(Kind::Limit, "too many mbarriers or copying threads"));
        }
        Ok(self.threads() + self.agents - 1)
    }

    /// A thread of this cluster in words.
    pub fn name(&self, thread: usize) -> String {
        let threads = self.geometry.warps() * LANES;
        let [x, y, z] = self.ctas[thread / threads].id;
        let within = thread % threads;
        format!("CTA ({x}, {y}, {z}) warp {} lane {}", within / LANES, within % LANES)
    }

    /// The other side of a race in words.
    pub fn describe(&self, conflict: Conflict) -> String {
        let stride = self.threads() + AGENTS;
        let (sequence, thread) =
            (conflict.other as usize / stride, conflict.other as usize % stride);
        let act = if conflict.wrote { "a write" } else { "a read" };
        let here = sequence + 1 == self.order.len();
        match (here, thread < self.threads()) {
            (true, true) => format!("{act} of {}", self.name(thread)),
            (true, false) => format!("{act} of an asynchronous copy"),
            (false, _) => {
                let [x, y, z] = self.order[sequence];
                format!("{act} of another cluster, that of CTA ({x}, {y}, {z})")
            }
        }
    }

    /// The variable in shared memory at an offset.
    pub fn shared_name(&self, offset: u64) -> String {
        for variable in &self.entry.shared {
            if (variable.address..variable.address + variable.bytes).contains(&offset) {
                return format!("{} + {} bytes", variable.name, offset - variable.address);
            }
        }
        let start = self.entry.dynamic_shared;
        let end = start + u64::from(self.geometry.dynamic_shared);
        if (start..end).contains(&offset) {
            return format!("dynamic shared memory + {} bytes", offset - start);
        }
        let mut ranges: Vec<(&str, u64, u64)> = self
            .entry
            .shared
            .iter()
            .map(|v| (v.name.as_str(), v.address, v.address + v.bytes))
            .collect();
        ranges.push(("dynamic shared memory", start, end));
        let distance = |&(_, start, end): &(&str, u64, u64)| {
            start.saturating_sub(offset).max(offset.saturating_sub(end))
        };
        match ranges.into_iter().min_by_key(distance) {
            Some((name, start, _)) if offset < start => {
                format!("{} bytes before {name}", start - offset)
            }
            Some((name, _, end)) => format!("{} bytes past the end of {name}", offset - end),
            None => "no variable".to_owned(),
        }
    }
}
