//! Launches: their geometry, their schedule, and what they report.

use std::collections::BTreeMap;

use crate::error::{Error, Kind};
use crate::memory::Memory;
use crate::module::{Entry, Module};
use crate::op::LANES;
use crate::race::Readers;
use crate::random::Random;
use crate::schedule::Cluster;

/// A launch of a kernel. Start from [`Launch::new`] and set the fields that matter.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The name of the kernel.
    pub entry: String,
    /// CTAs along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a CTA along x, y and z.
    pub block: [u32; 3],
    /// CTAs of a cluster along x, y and z; `None`: what the kernel is compiled for, else single CTAs.
    pub cluster: Option<[u32; 3]>,
    /// Dynamic shared memory in bytes.
    pub dynamic_shared: u32,
    /// The bytes of all parameters, as [`Params`] lays them out.
    pub params: Vec<u8>,
    /// The schedule: the order of clusters and warps, how long each runs, which lanes of a diverged
    /// warp go first, when asynchronous copies happen. The same seed gives the same run.
    pub seed: u64,
    /// Errors of up to 2 units in the last place on `ex2`, `lg2`, `rcp` and the other
    /// approximations in single precision, by this seed. `None`: correctly rounded.
    pub noise: Option<u64>,
    /// Run only these clusters, counted along x, then y, then z; empty: all.
    pub only: Vec<u64>,
    /// Whether shuffles, votes and their kind order accesses to memory between the lanes of their
    /// mask. The CUDA guide promises that of `__syncwarp` alone; `false` holds a kernel to it.
    pub shuffles_order: bool,
    /// The most instructions (of warps) that the launch may execute.
    pub limit: u64,
    /// The most shared memory of a CTA in bytes, static and dynamic.
    pub most_shared: u64,
}

impl Launch {
    /// One thread of a kernel without parameters.
    pub fn new(entry: &str) -> Self {
        Launch {
            entry: entry.to_owned(),
            grid: [1; 3],
            block: [1; 3],
            cluster: None,
            dynamic_shared: 0,
            params: Vec::new(),
            seed: 0,
            noise: None,
            only: Vec::new(),
            limit: 1 << 30,
            shuffles_order: true,
            most_shared: 227 * 1024,
        }
    }

    /// Executes the kernel until every thread has exited.
    ///
    /// # Errors
    /// The first fault. Memory then holds what was written until that point.
    pub fn run(&self, module: &Module, memory: &mut Memory) -> Result<Stats, Error> {
        let entry = module.entry(&self.entry)?;
        let geometry = self.geometry(entry).map_err(|mut error| {
            error.kernel.clone_from(&self.entry);
            error
        })?;
        memory.remove_variables();
        for variable in &module.variables {
            let content = variable.content.as_deref().unwrap_or(&[]);
            memory.place(&variable.name, variable.address, content);
        }
        memory.clear_records();
        let mut random = Random::new(self.seed);
        let mut clusters = geometry.clusters(&self.only);
        random.shuffle(&mut clusters);
        let mut readers = Readers::new();
        let mut counts = vec![(0, 0); entry.code.len()];
        let mut steps = 0;
        for number in 0..clusters.len() {
            let order = &clusters[..=number];
            let cluster = Cluster::new(self, entry, geometry, memory, &mut readers, &mut random);
            steps = cluster.run(order, &mut counts, steps)?;
        }
        Ok(Stats::new(entry, &counts))
    }

    fn geometry(&self, entry: &Entry) -> Result<Geometry, Error> {
        let refuse = |what: String| Err(Error::new(Kind::Launch, what));
        let cluster = self.cluster.or(entry.cluster).unwrap_or([1; 3]);
        let threads: u64 = self.block.iter().map(|&n| u64::from(n)).product();
        let ctas: u64 = cluster.iter().map(|&n| u64::from(n)).product();
        if threads == 0 || threads > 1024 {
            return refuse(format!("a CTA of {threads} threads, allowed are 1 to 1024"));
        }
        if entry.exact_threads.is_some_and(|exact| exact != self.block) {
            return refuse(format!("the block must be {:?}", entry.exact_threads));
        }
        if entry.most_threads().is_some_and(|most| threads > u64::from(most)) {
            let most = entry.most_threads();
            return refuse(format!("a CTA of {threads} threads, the kernel allows {most:?}"));
        }
        if entry.cluster.is_some_and(|fixed| fixed != cluster) {
            return refuse(format!("the cluster must be {:?}", entry.cluster));
        }
        if ctas == 0 || ctas > 16 {
            return refuse(format!("a cluster of {ctas} CTAs, allowed are 1 to 16"));
        }
        if self.grid.iter().zip(cluster).any(|(&grid, cluster)| grid == 0 || grid % cluster != 0) {
            return refuse(format!("grid {:?} of clusters {cluster:?}", self.grid));
        }
        if self.params.len() as u64 != entry.parameter_bytes {
            let (given, needed) = (self.params.len(), entry.parameter_bytes);
            return refuse(format!("{given} bytes of parameters, the kernel takes {needed}"));
        }
        let shared = entry.static_shared() + u64::from(self.dynamic_shared);
        if shared > self.most_shared {
            return refuse(format!("{shared} bytes of shared memory, limit {}", self.most_shared));
        }
        let Launch { grid, block, dynamic_shared, .. } = *self;
        Ok(Geometry { grid, block, cluster, dynamic_shared })
    }
}

/// The shape of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub dynamic_shared: u32,
}

impl Geometry {
    /// Threads of a CTA.
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Warps of a CTA.
    pub fn warps(&self) -> usize {
        (self.threads() as usize).div_ceil(LANES)
    }

    /// The id of the first CTA of each cluster.
    fn clusters(&self, only: &[u64]) -> Vec<[u32; 3]> {
        let mut along = self.grid;
        along.iter_mut().zip(self.cluster).for_each(|(grid, cluster)| *grid /= cluster);
        let count: u64 = along.iter().map(|&n| u64::from(n)).product();
        let place = |number: u64| {
            let x = number % u64::from(along[0]);
            let y = number / u64::from(along[0]) % u64::from(along[1]);
            let z = number / u64::from(along[0]) / u64::from(along[1]);
            let [cx, cy, cz] = self.cluster;
            [x as u32 * cx, y as u32 * cy, z as u32 * cz]
        };
        match only {
            [] => (0..count).map(place).collect(),
            only => only.iter().copied().filter(|&number| number < count).map(place).collect(),
        }
    }
}

/// A number as three, x first.
pub(crate) fn unravel(number: u32, shape: [u32; 3]) -> [u32; 3] {
    [number % shape[0], number / shape[0] % shape[1], number / shape[0] / shape[1]]
}

/// The parameters of a kernel, each aligned to its size, as C lays them out.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<u8>);

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes at a multiple of `alignment`.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8], alignment: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        self.0.extend(bytes);
        self
    }

    /// Adds an address or another value of 64 bits.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes(), 8)
    }

    /// Adds a value of 32 bits.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes(), 4)
    }

    /// Adds a value of 32 bits.
    #[must_use]
    pub fn f32(self, value: f32) -> Self {
        self.bytes(&value.to_le_bytes(), 4)
    }

    /// The bytes, for [`Launch::params`].
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// What a launch executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions of warps and of lanes, by opcode with modifiers. Instructions whose predicate
    /// was false for all lanes count for the warp.
    pub by_opcode: BTreeMap<String, (u64, u64)>,
    /// Instructions of warps.
    pub instructions: u64,
    /// Instructions of lanes: of those whose predicate was true.
    pub lane_instructions: u64,
    /// Approximations of the special function unit, of lanes.
    pub mufu: u64,
    /// Loads of 16 or more bytes from global memory, of lanes.
    pub wide_loads: u64,
    /// Stores of 16 or more bytes to global memory, of lanes.
    pub wide_stores: u64,
    /// Barriers of CTAs, of warps.
    pub barriers: u64,
}

impl Stats {
    fn new(entry: &Entry, counts: &[(u64, u64)]) -> Self {
        use crate::op::{Op, Space};
        let mut stats = Stats::default();
        for (instruction, &(warps, lanes)) in entry.code.iter().zip(counts) {
            stats.instructions += warps;
            stats.lane_instructions += lanes;
            let opcode = stats.by_opcode.entry(instruction.opcode.clone()).or_default();
            *opcode = (opcode.0 + warps, opcode.1 + lanes);
            match &instruction.op {
                Op::Mufu { .. } => stats.mufu += lanes,
                Op::Load { space: Space::Global, bytes, to, .. }
                    if *bytes as usize * to.len() >= 16 =>
                {
                    stats.wide_loads += lanes;
                }
                Op::Store { space: Space::Global, bytes, from, .. }
                    if *bytes as usize * from.len() >= 16 =>
                {
                    stats.wide_stores += lanes;
                }
                Op::Barrier { .. } => stats.barriers += warps,
                _ => {}
            }
        }
        stats
    }
}
