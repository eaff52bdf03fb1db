//! Warps and the instructions that they execute.

pub(crate) mod access;
pub(crate) mod asynchronous;
pub(crate) mod barrier;
pub(crate) mod collective;
pub(crate) mod mbarrier;
pub(crate) mod world;

use crate::alu::mufu::mufu;
use crate::bytes::Bytes;
use crate::clocks::lanes;
use crate::error::{Fault, Kind};
use crate::module::Entry;
use crate::op::{Dst, LANES, Lanes, Op, Pred, Special, Src};
use world::World;

/// Lanes of a warp that are at the same instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub pc: u32,
    pub lanes: u32,
}

/// What lanes wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The other lanes of a mask, at the same instruction (`None`: any `bar.warp.sync`).
    Lanes {
        at: Option<u32>,
        mask: u32,
    },
    Barrier {
        id: usize,
    },
    Cluster,
    Mbarrier {
        offset: u64,
        parity: bool,
        phase: u64,
    },
}

/// Lanes that wait.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    pub pc: u32,
    pub lanes: u32,
    pub wait: Wait,
}

/// A lane that goes on behind the instruction at which it waited, with its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wake {
    pub thread: usize,
    pub predicate: Option<(u32, bool)>,
    pub register: Option<(Dst, u64)>,
}

/// 32 threads with their registers.
pub(crate) struct Warp {
    /// Counted over the CTAs of the cluster.
    pub index: usize,
    /// The rank of the CTA.
    pub cta: usize,
    /// Within the CTA.
    pub number: usize,
    pub registers: Vec<Lanes>,
    pub predicates: Vec<u32>,
    /// Lanes that have not exited.
    pub live: u32,
    /// Lanes that there have been.
    pub born: u32,
    pub groups: Vec<Group>,
    pub parked: Vec<Parked>,
    pub local: Vec<Bytes>,
    /// The allocation of the last access.
    pub hint: usize,
}

impl Warp {
    pub fn thread(&self, lane: usize) -> usize {
        self.index * LANES + lane
    }

    pub fn get<'a>(&'a self, entry: &'a Entry, src: Src) -> &'a Lanes {
        match src {
            Src::Register(index) => &self.registers[index as usize],
            Src::Constant(index) => &entry.constants[index as usize],
        }
    }

    pub fn predicate(&self, pred: Pred) -> u32 {
        match pred {
            Pred::Register { index, negated: false } => self.predicates[index as usize],
            Pred::Register { index, negated: true } => !self.predicates[index as usize],
            Pred::Constant(value) => {
                if value {
                    u32::MAX
                } else {
                    0
                }
            }
        }
    }

    pub fn put(&mut self, to: Dst, active: u32, value: &Lanes) {
        let register = &mut self.registers[to.register as usize];
        if active == u32::MAX {
            for (old, new) in register.iter_mut().zip(value) {
                *old = new & to.mask;
            }
        } else {
            for lane in lanes(active) {
                register[lane] = value[lane] & to.mask;
            }
        }
    }

    pub fn put_predicate(&mut self, to: Option<u32>, active: u32, value: u32) {
        if let Some(to) = to {
            let old = &mut self.predicates[to as usize];
            *old = *old & !active | value & active;
        }
    }

    /// Adds lanes at an instruction, to a group that is there if there is one.
    pub fn place(&mut self, pc: u32, lanes: u32) {
        if lanes == 0 {
            return;
        }
        match self.groups.iter_mut().find(|group| group.pc == pc) {
            Some(group) => group.lanes |= lanes,
            None => self.groups.push(Group { pc, lanes }),
        }
    }

    pub fn park(&mut self, pc: u32, lanes: u32, wait: Wait) {
        match self.parked.iter_mut().find(|parked| parked.pc == pc && parked.wait == wait) {
            Some(parked) => parked.lanes |= lanes,
            None => self.parked.push(Parked { pc, lanes, wait }),
        }
    }

    /// A lane goes on.
    pub fn wake(&mut self, wake: Wake) {
        let bit = 1 << (wake.thread % LANES);
        if let Some(at) = self.parked.iter().position(|parked| parked.lanes & bit != 0) {
            let pc = self.parked[at].pc;
            self.parked[at].lanes &= !bit;
            if self.parked[at].lanes == 0 {
                self.parked.swap_remove(at);
            }
            if let Some((to, value)) = wake.predicate {
                self.put_predicate(Some(to), bit, if value { u32::MAX } else { 0 });
            }
            if let Some((to, value)) = wake.register {
                self.put(to, bit, &[value; LANES]);
            }
            self.place(pc + 1, bit);
        }
    }
}

/// Where the group goes after its instruction.
enum Flow {
    /// All its lanes to the next instruction.
    Next,
    /// They have been placed or parked.
    Placed,
}

/// Executes one instruction of the group at this index. A fault carries the group's instruction.
pub(crate) fn step(warp: &mut Warp, world: &mut World<'_>, group: usize) -> Result<(), Fault> {
    let Group { pc, lanes: all } = warp.groups[group];
    let entry = world.entry;
    let Some(instruction) = entry.code.get(pc as usize) else {
        warp.groups.swap_remove(group);
        return barrier::exit(warp, world, all);
    };
    let active = match instruction.guard {
        Some(guard) => all & warp.predicate(guard),
        None => all,
    };
    let count = &mut world.counts[pc as usize];
    count.0 += 1;
    count.1 += u64::from(active.count_ones());
    let flow = match active {
        0 => Flow::Next,
        _ => execute(warp, world, &instruction.op, pc, all, active, group)?,
    };
    if let Flow::Next = flow {
        let next = pc + 1;
        if warp.groups.len() > 1 {
            warp.groups.swap_remove(group);
            warp.place(next, all);
        } else {
            warp.groups[group].pc = next;
        }
    }
    Ok(())
}

fn execute(
    warp: &mut Warp,
    world: &mut World<'_>,
    op: &Op,
    pc: u32,
    all: u32,
    active: u32,
    group: usize,
) -> Result<Flow, Fault> {
    let entry = world.entry;
    let mut out = [0; LANES];
    match *op {
        Op::Nothing => {}
        Op::Unary { to, a, f } => {
            for (out, &a) in out.iter_mut().zip(warp.get(entry, a)) {
                *out = f(a);
            }
            warp.put(to, active, &out);
        }
        Op::Binary { to, a, b, f } => {
            let (a, b) = (warp.get(entry, a), warp.get(entry, b));
            for lane in 0..LANES {
                out[lane] = f(a[lane], b[lane]);
            }
            warp.put(to, active, &out);
        }
        Op::Ternary { to, a, b, c, f } => {
            let (a, b, c) = (warp.get(entry, a), warp.get(entry, b), warp.get(entry, c));
            for lane in 0..LANES {
                out[lane] = f(a[lane], b[lane], c[lane]);
            }
            warp.put(to, active, &out);
        }
        Op::Quaternary { to, a, b, c, d, f } => {
            let (a, b) = (warp.get(entry, a), warp.get(entry, b));
            let (c, d) = (warp.get(entry, c), warp.get(entry, d));
            for lane in 0..LANES {
                out[lane] = f(a[lane], b[lane], c[lane], d[lane]);
            }
            warp.put(to, active, &out);
        }
        Op::Convert { to, a, convert } => {
            for (out, &a) in out.iter_mut().zip(warp.get(entry, a)) {
                *out = convert.apply(a);
            }
            warp.put(to, active, &out);
        }
        Op::Mufu { to, a, f, ty } => {
            let a = warp.get(entry, a);
            for lane in lanes(active) {
                out[lane] = mufu(f, ty, a[lane], world.noise);
            }
            warp.put(to, active, &out);
        }
        Op::Special { to, special } => {
            for lane in lanes(active) {
                out[lane] = read_special(warp, world, special, lane);
            }
            warp.put(to, active, &out);
        }
        Op::Pack { to, ref from, bits } => {
            for (at, &from) in from.iter().enumerate() {
                for (out, part) in out.iter_mut().zip(warp.get(entry, from)) {
                    *out |= part << (at as u32 * bits);
                }
            }
            warp.put(to, active, &out);
        }
        Op::Unpack { ref to, a, bits } => {
            let a = *warp.get(entry, a);
            for (at, &to) in to.iter().enumerate() {
                let Some(to) = to else { continue };
                let part = a.map(|a| a >> (at as u32 * bits) & crate::types::mask(bits));
                warp.put(to, active, &part);
            }
        }
        Op::Select { to, a, b, p } => {
            let p = warp.predicate(p);
            let (a, b) = (warp.get(entry, a), warp.get(entry, b));
            for lane in 0..LANES {
                out[lane] = if p >> lane & 1 == 1 { a[lane] } else { b[lane] };
            }
            warp.put(to, active, &out);
        }
        Op::Compare { p, q, a, b, f, with } => {
            let mut yes = compare(warp.get(entry, a), warp.get(entry, b), f);
            let mut no = !yes;
            if let Some((combine, with)) = with {
                let with = warp.predicate(with);
                (yes, no) = (combine(yes, with), combine(no, with));
            }
            warp.put_predicate(p, active, yes);
            warp.put_predicate(q, active, no);
        }
        Op::ComparePair { p, q, a, b, f } => {
            let (a, b) = (warp.get(entry, a), warp.get(entry, b));
            let low = compare(&a.map(|a| a & 0xffff), &b.map(|b| b & 0xffff), f);
            let high = compare(&a.map(|a| a >> 16), &b.map(|b| b >> 16), f);
            warp.put_predicate(p, active, low);
            warp.put_predicate(q, active, high);
        }
        Op::Set { to, a, b, f, yes } => {
            let found = compare(warp.get(entry, a), warp.get(entry, b), f);
            for (lane, out) in out.iter_mut().enumerate() {
                *out = if found >> lane & 1 == 1 { yes } else { 0 };
            }
            warp.put(to, active, &out);
        }
        Op::Predicate { to, a, b, f } => {
            let value = f(warp.predicate(a), warp.predicate(b));
            warp.put_predicate(Some(to), active, value);
        }
        Op::Branch { to } => {
            warp.groups.swap_remove(group);
            warp.place(pc + 1, all & !active);
            warp.place(to, active);
            return Ok(Flow::Placed);
        }
        Op::BranchIndex { index, ref table } => {
            let index = *warp.get(entry, index);
            warp.groups.swap_remove(group);
            warp.place(pc + 1, all & !active);
            for lane in lanes(active) {
                let Some(&to) = table.get(index[lane] as usize) else {
                    let what = format!("branch index {} of {} targets", index[lane], table.len());
                    return Err(Fault::new(Kind::OutOfBounds, what).lane(lane));
                };
                warp.place(to, 1 << lane);
            }
            return Ok(Flow::Placed);
        }
        Op::Exit => {
            warp.groups.swap_remove(group);
            warp.place(pc + 1, all & !active);
            barrier::exit(warp, world, active)?;
            return Ok(Flow::Placed);
        }
        Op::Trap => {
            let lane = active.trailing_zeros() as usize;
            return Err(Fault::new(Kind::Trap, "trap was executed").lane(lane));
        }
        Op::ActiveMask { to } => warp.put(to, active, &[u64::from(active); LANES]),
        Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } => {
            access::execute(warp, world, op, active)?;
        }
        Op::Collective { .. }
        | Op::Barrier { .. }
        | Op::ClusterArrive { .. }
        | Op::ClusterWait
        | Op::Mbarrier { .. } => {
            warp.groups.swap_remove(group);
            warp.place(pc + 1, all & !active);
            match op {
                Op::Collective { mask, what } => {
                    collective::execute(warp, world, *mask, what, pc, active)?;
                }
                Op::Mbarrier { space, at, what } => {
                    mbarrier::execute(warp, world, *space, *at, what, pc, active)?;
                }
                _ => barrier::execute(warp, world, op, pc, active)?,
            }
            return Ok(Flow::Placed);
        }
        Op::MapShared { .. } | Op::CtaRank { .. } => access::map(warp, world, op, active)?,
        Op::StoreAsync { .. } | Op::Copy { .. } | Op::CommitGroup { .. } | Op::WaitGroup { .. } => {
            asynchronous::execute(warp, world, op, pc, active)?
        }
    }
    Ok(Flow::Next)
}

fn compare(a: &Lanes, b: &Lanes, f: fn(u64, u64) -> bool) -> u32 {
    let mut found = 0;
    for lane in 0..LANES {
        found |= u32::from(f(a[lane], b[lane])) << lane;
    }
    found
}

fn read_special(warp: &Warp, world: &World<'_>, special: Special, lane: usize) -> u64 {
    let geometry = &world.geometry;
    let cta = &world.ctas[warp.cta];
    let thread = (warp.number * LANES + lane) as u32;
    u64::from(match special {
        Special::Tid(axis) => crate::launch::unravel(thread, geometry.block)[axis],
        Special::Ntid(axis) => geometry.block[axis],
        Special::Ctaid(axis) => cta.id[axis],
        Special::Nctaid(axis) => geometry.grid[axis],
        Special::LaneId => lane as u32,
        Special::WarpId => warp.number as u32,
        Special::Nwarpid => 64,
        Special::SmId => cta.id[0] % 132,
        Special::Nsmid => 132,
        Special::GridId => 1,
        Special::Clock => world.steps as u32,
        Special::LaneMask(holds) => (0..32)
            .filter(|&other| holds(other, lane as u32))
            .fold(0, |mask, other| mask | 1 << other),
        Special::ClusterCtarank => warp.cta as u32,
        Special::ClusterNctarank => geometry.cluster.iter().product(),
        Special::ClusterCtaid(axis) => cta.id[axis] % geometry.cluster[axis],
        Special::ClusterNctaid(axis) => geometry.cluster[axis],
        Special::ClusterId(axis) => cta.id[axis] / geometry.cluster[axis],
        Special::Nclusterid(axis) => geometry.grid[axis] / geometry.cluster[axis],
        Special::IsExplicitCluster => u32::from(world.entry.explicit_cluster),
        Special::DynamicSharedSize => geometry.dynamic_shared,
        Special::TotalSharedSize => geometry.dynamic_shared + world.entry.static_shared() as u32,
        Special::Constant(value) => return value,
    })
}
