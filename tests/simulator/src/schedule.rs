//! Which warp runs when, and what it means when none can.

use std::rc::Rc;

use crate::bytes::{Bytes, OUTSIDE, UNWRITTEN};
use crate::clocks::Clocks;
use crate::error::{Error, Fault, Kind};
use crate::execute::asynchronous::finish;
use crate::execute::world::{AGENTS, ClusterBarrier, Cta, World};
use crate::execute::{Group, Wait, Warp, step};
use crate::launch::{Geometry, Launch};
use crate::memory::Memory;
use crate::module::{Entry, LOCAL_WINDOW};
use crate::op::LANES;
use crate::race::Readers;
use crate::random::{Random, mix};

/// How many instructions a warp runs before another may.
const SLICES: [usize; 5] = [1, 5, 30, 200, 2000];

/// One cluster of a launch.
pub(crate) struct Cluster<'a> {
    launch: &'a Launch,
    entry: &'a Entry,
    geometry: Geometry,
    memory: &'a mut Memory,
    readers: &'a mut Readers,
    random: &'a mut Random,
}

impl<'a> Cluster<'a> {
    pub fn new(
        launch: &'a Launch,
        entry: &'a Entry,
        geometry: Geometry,
        memory: &'a mut Memory,
        readers: &'a mut Readers,
        random: &'a mut Random,
    ) -> Self {
        Cluster { launch, entry, geometry, memory, readers, random }
    }

    /// Runs the last cluster of `order` to its end; returns the instructions of the launch so far.
    pub fn run(
        self,
        order: &[[u32; 3]],
        counts: &mut [(u64, u64)],
        steps: u64,
    ) -> Result<u64, Error> {
        let Cluster { launch, entry, geometry, memory, readers, random } = self;
        let first = order.last().copied().unwrap_or_default();
        let size: u32 = geometry.cluster.iter().product();
        let ctas: Vec<Cta> = (0..size)
            .map(|rank| {
                let within = crate::launch::unravel(rank, geometry.cluster);
                let id = [first[0] + within[0], first[1] + within[1], first[2] + within[2]];
                Cta::new(id, entry, &geometry)
            })
            .collect();
        let all = ctas.len() * geometry.warps();
        let base = (order.len() - 1) * (all * LANES + AGENTS);
        if base + all * LANES + AGENTS >= 1 << 31 {
            return Err(Error::new(Kind::Launch, "too many threads for one launch"));
        }
        readers.begin_cluster(base as u32);
        let mut warps: Vec<Warp> =
            (0..all).map(|index| warp(index, entry, &geometry, random)).collect();
        let cluster = ClusterBarrier {
            arrived: vec![0; all * LANES],
            waited: vec![0; all * LANES],
            pending: size * geometry.threads(),
            completed: 0,
            gathering: Vec::new(),
            done: Rc::default(),
            waiting: Vec::new(),
        };
        let mut world = World {
            entry,
            geometry,
            parameters: &launch.params,
            memory,
            ctas,
            clocks: Clocks::new(all),
            readers,
            random,
            noise: launch.noise.map(mix),
            shuffles_order: launch.shuffles_order,
            wakes: Vec::new(),
            cluster,
            mbarriers: Default::default(),
            tasks: Vec::new(),
            groups: Default::default(),
            agents: 0,
            counts,
            steps,
            order,
        };
        let mut scheduler = Scheduler { launch, unfair: launch.seed % 4 != 0 };
        scheduler.run(&mut warps, &mut world)?;
        Ok(world.steps)
    }
}

/// A warp at the first instruction. Registers hold anything, depending on the seed.
fn warp(index: usize, entry: &Entry, geometry: &Geometry, random: &mut Random) -> Warp {
    let number = index % geometry.warps();
    let left = geometry.threads() as usize - number * LANES;
    let live = if left >= LANES { u32::MAX } else { (1 << left) - 1 };
    let garbage = random.next() & 0xffff;
    let mut local = Vec::new();
    if let Some(last) = entry.local.last() {
        let mut bytes =
            Bytes::new((last.address + last.bytes - LOCAL_WINDOW) as usize, 0xcd, OUTSIDE);
        for variable in &entry.local {
            let start = (variable.address - LOCAL_WINDOW) as usize;
            bytes.state[start..start + variable.bytes as usize].fill(UNWRITTEN);
        }
        local = vec![bytes; LANES];
    }
    Warp {
        index,
        cta: index / geometry.warps(),
        number,
        registers: vec![[garbage; LANES]; entry.registers as usize],
        predicates: vec![random.next() as u32; entry.predicates as usize],
        live,
        born: live,
        groups: vec![Group { pc: 0, lanes: live }],
        parked: Vec::new(),
        local,
        hint: 0,
    }
}

struct Scheduler<'a> {
    launch: &'a Launch,
    /// Lanes that have fallen behind do not always go first.
    unfair: bool,
}

impl Scheduler<'_> {
    fn run(&mut self, warps: &mut [Warp], world: &mut World<'_>) -> Result<(), Error> {
        let mut ready: Vec<usize> = (0..warps.len()).collect();
        loop {
            if !world.tasks.is_empty() && (ready.is_empty() || world.random.below(4) == 0) {
                let at = world.random.below(world.tasks.len());
                let (thread, pc) = world.tasks[at].origin;
                if let Err(fault) = finish(world, at) {
                    let place = Some((&warps[thread / LANES], pc));
                    return Err(self.name(fault.lane(thread % LANES), place, world));
                }
                wake(warps, world, &mut ready);
                continue;
            }
            if ready.is_empty() {
                break;
            }
            let at = world.random.below(ready.len());
            let slice = SLICES[world.random.below(SLICES.len())];
            let index = ready[at];
            for _ in 0..slice {
                let warp = &mut warps[index];
                if warp.groups.is_empty() {
                    break;
                }
                let group = self.choose(warp, world.random);
                let pc = warp.groups[group].pc;
                world.steps += 1;
                if let Err(fault) = step(warp, world, group) {
                    return Err(self.name(fault, Some((&warps[index], pc)), world));
                }
                if !world.wakes.is_empty() {
                    wake(warps, world, &mut ready);
                }
            }
            if world.steps > self.launch.limit {
                let what =
                    format!("more than {} instructions: an endless loop?", self.launch.limit);
                return Err(self.name(Fault::new(Kind::Limit, what), None, world));
            }
            if warps[index].groups.is_empty()
                && let Some(at) = ready.iter().position(|&other| other == index)
            {
                ready.swap_remove(at);
            }
        }
        if warps.iter().any(|warp| warp.live != 0) {
            return Err(deadlock(self.launch, warps, world));
        }
        Ok(())
    }

    /// Lanes that are behind go first, so that they meet the others again; but not always.
    fn choose(&self, warp: &Warp, random: &mut Random) -> usize {
        if warp.groups.len() == 1 {
            return 0;
        }
        if self.unfair && random.below(16) == 0 {
            return random.below(warp.groups.len());
        }
        let behind = warp.groups.iter().enumerate().min_by_key(|(_, group)| group.pc);
        behind.map_or(0, |(at, _)| at)
    }

    fn name(&self, fault: Fault, place: Option<(&Warp, u32)>, world: &World<'_>) -> Error {
        let mut error = Error::new(fault.kind, fault.what);
        error.kernel.clone_from(&self.launch.entry);
        error.address = fault.address;
        error.lane = fault.lane;
        if let Some((warp, pc)) = place {
            error.cta = Some(world.ctas[warp.cta].id);
            error.warp = Some(warp.number as u32);
            if let Some(instruction) = world.entry.code.get(pc as usize) {
                error = error.at(instruction.line, &instruction.text);
            }
        }
        error
    }
}

fn wake(warps: &mut [Warp], world: &mut World<'_>, ready: &mut Vec<usize>) {
    for wake in std::mem::take(&mut world.wakes) {
        let index = wake.thread / LANES;
        if warps[index].groups.is_empty() && !ready.contains(&index) {
            ready.push(index);
        }
        warps[index].wake(wake);
    }
}

/// Who waits where, and for what.
fn deadlock(launch: &Launch, warps: &[Warp], world: &World<'_>) -> Error {
    const MOST: usize = 12;
    let mut lines = Vec::new();
    for warp in warps {
        for parked in &warp.parked {
            let instruction = &world.entry.code[parked.pc as usize];
            let [x, y, z] = world.ctas[warp.cta].id;
            let why = match &parked.wait {
                Wait::Lanes { mask, .. } => {
                    format!("for the other lanes of mask {mask:#010x}")
                }
                Wait::Barrier { id } => {
                    let barrier = &world.ctas[warp.cta].barriers[*id];
                    let live = world.ctas[warp.cta].live;
                    let expected = barrier.expected.unwrap_or(live);
                    let arrived = barrier.arrived.len();
                    format!("for barrier {id}: {arrived} of {expected} threads have arrived")
                }
                Wait::Cluster => {
                    let missing = world.cluster.pending;
                    format!("for the barrier of the cluster: {missing} threads have not arrived")
                }
                Wait::Mbarrier { offset, phase, parity } => {
                    let kind = if *parity { "parity" } else { "phase" };
                    format!("for {kind} {phase} of the mbarrier {}", world.shared_name(*offset))
                }
            };
            lines.push(format!(
                "CTA ({x}, {y}, {z}) warp {} lanes {:#010x} at line {}: {} waits {why}",
                warp.number, parked.lanes, instruction.line, instruction.text
            ));
        }
    }
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let what = format!("nothing can go on\n  {}", lines.join("\n  "));
    let mut error = Error::new(Kind::Deadlock, what);
    error.kernel.clone_from(&launch.entry);
    error
}
