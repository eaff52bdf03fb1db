//! Copies that happen some time between their start and the wait for them.

use std::rc::Rc;

use super::Warp;
use super::access::{Act, Place, Who, addresses, bytes, check, place, visit};
use super::mbarrier::{advance, locate};
use super::world::World;
use crate::bytes::WRITTEN;
use crate::clocks::{Snapshot, lanes, merge};
use crate::error::{Fault, Kind};
use crate::op::{Address, Completion, Op, Order, Space};

/// Groups of copies of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    committed: u32,
    agent: usize,
}

/// Who is told that a copy has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Mbarrier { cta: usize, offset: u64 },
    Group { thread: usize, bulk: bool, number: u32 },
}

/// What a task moves.
#[derive(Clone, Debug)]
enum Source {
    Value(Vec<u8>),
    Memory { place: Place, length: usize, zeros: usize },
}

/// A copy under way.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    to: Place,
    from: Source,
    knowledge: Snapshot,
    end: End,
    agent: usize,
    /// The thread that asked for it, and its instruction.
    pub origin: (usize, u32),
}

impl Task {
    pub fn uses_shared_of(&self, rank: usize) -> bool {
        let is = |place: Place| matches!(place, Place::Shared { cta, .. } if cta == rank);
        is(self.to) || matches!(self.from, Source::Memory { place, .. } if is(place))
    }
}

pub(super) fn execute(
    warp: &mut Warp,
    world: &mut World<'_>,
    op: &Op,
    pc: u32,
    active: u32,
) -> Result<(), Fault> {
    for lane in lanes(active) {
        lane_op(warp, world, op, pc, lane).map_err(|fault| fault.lane(lane))?;
    }
    Ok(())
}

fn groups<'w>(
    world: &'w mut World<'_>,
    thread: usize,
    bulk: bool,
) -> Result<&'w mut Groups, Fault> {
    if !world.groups.contains_key(&(thread, bulk)) {
        let agent = world.agent()?;
        world.groups.insert((thread, bulk), Groups { committed: 0, agent });
    }
    let missing = || Fault::new(Kind::Limit, "no group");
    world.groups.get_mut(&(thread, bulk)).ok_or_else(missing)
}

/// The end of a copy on an mbarrier, which must be there.
fn end_on_mbarrier(
    warp: &Warp,
    world: &World<'_>,
    at: Address,
    lane: usize,
) -> Result<(End, usize), Fault> {
    let address = addresses(warp, world, at)[lane];
    let (cta, offset) = locate(warp, world, Space::Shared, address)?;
    match world.mbarriers.get(&(cta, offset)) {
        Some(mbarrier) => Ok((End::Mbarrier { cta, offset }, mbarrier.agent)),
        None => {
            let what = "there is no mbarrier to count the bytes of this copy";
            Err(Fault::new(Kind::Barrier, what).address(address))
        }
    }
}

fn lane_op(
    warp: &mut Warp,
    world: &mut World<'_>,
    op: &Op,
    pc: u32,
    lane: usize,
) -> Result<(), Fault> {
    let thread = warp.thread(lane);
    match *op {
        Op::StoreAsync { bytes, ref from, at, mbarrier } => {
            let address = addresses(warp, world, at)[lane];
            let to = place(world, Space::Shared, address, warp.cta)?;
            let length = bytes as usize * from.len();
            aligned(address, length as u64)?;
            if let Place::Shared { cta, .. } = to
                && cta != warp.cta
            {
                visit(world, cta, thread)?;
            }
            let (end, agent) = end_on_mbarrier(warp, world, mbarrier, lane)?;
            let mut content = Vec::new();
            for &from in from {
                let value = warp.get(world.entry, from)[lane];
                content.extend(&value.to_le_bytes()[..bytes as usize]);
            }
            start(
                world,
                thread,
                Task {
                    to,
                    from: Source::Value(content),
                    knowledge: Rc::default(),
                    end,
                    agent,
                    origin: (thread, pc),
                },
            );
        }
        Op::Copy { to, from, bytes, filled, bulk, completion } => {
            let target = addresses(warp, world, to.1)[lane];
            let source = addresses(warp, world, from.1)[lane];
            let length = warp.get(world.entry, bytes)[lane] as u32;
            let filled = filled.map_or(length, |src| warp.get(world.entry, src)[lane] as u32);
            let unit = if bulk { 16 } else { u64::from(length) };
            if bulk && !length.is_multiple_of(16) {
                let what = format!("copies {length} bytes, which is no multiple of 16");
                return Err(Fault::new(Kind::Misaligned, what));
            }
            if !bulk && (!matches!(length, 4 | 8 | 16) || filled > length) {
                let what = format!("copies {filled} of {length} bytes, not 4, 8 or 16");
                return Err(Fault::new(Kind::Misaligned, what));
            }
            aligned(target, unit)?;
            aligned(source, unit)?;
            let to = place(world, to.0, target, warp.cta)?;
            let from = place(world, from.0, source, warp.cta)?;
            for place in [to, from] {
                if let Place::Shared { cta, .. } = place
                    && cta != warp.cta
                {
                    visit(world, cta, thread)?;
                }
            }
            let (end, agent) = match completion {
                Completion::Mbarrier(at) => end_on_mbarrier(warp, world, at, lane)?,
                Completion::Group { bulk } => {
                    let groups = groups(world, thread, bulk)?;
                    (End::Group { thread, bulk, number: groups.committed }, groups.agent)
                }
            };
            let zeros = (length - filled) as usize;
            let from = Source::Memory { place: from, length: filled as usize, zeros };
            start(
                world,
                thread,
                Task { to, from, knowledge: Rc::default(), end, agent, origin: (thread, pc) },
            );
        }
        Op::CommitGroup { bulk } => groups(world, thread, bulk)?.committed += 1,
        Op::WaitGroup { bulk, pending } => wait(world, thread, bulk, pending)?,
        _ => {}
    }
    Ok(())
}

fn aligned(address: u64, unit: u64) -> Result<(), Fault> {
    if unit == 0 || address.is_multiple_of(unit) {
        return Ok(());
    }
    let what = format!("a copy needs addresses that are multiples of {unit}");
    Err(Fault::new(Kind::Misaligned, what).address(address))
}

fn start(world: &mut World<'_>, thread: usize, mut task: Task) {
    task.knowledge = world.clocks.snapshot(thread);
    world.clocks.advance(thread);
    world.tasks.push(task);
}

/// Ends the copies of all but the latest groups of a thread.
fn wait(world: &mut World<'_>, thread: usize, bulk: bool, pending: u64) -> Result<(), Fault> {
    let Groups { committed, agent } = *groups(world, thread, bulk)?;
    let Some(last) = committed.checked_sub(pending as u32) else { return Ok(()) };
    loop {
        let due = |task: &Task| {
            matches!(task.end, End::Group { thread: t, bulk: b, number }
                if t == thread && b == bulk && number < last)
        };
        let all: Vec<usize> = (0..world.tasks.len()).filter(|&at| due(&world.tasks[at])).collect();
        if all.is_empty() {
            break;
        }
        let at = all[world.random.below(all.len())];
        finish(world, at)?;
    }
    if last > 0 {
        let mut known = vec![0; agent + 1];
        known[agent] = last;
        world.clocks.add_to(&mut known, thread);
        world.clocks.learn(thread, &Rc::new(known));
    }
    Ok(())
}

/// Carries out one of the copies under way, and tells who waits for it.
pub(crate) fn finish(world: &mut World<'_>, at: usize) -> Result<(), Fault> {
    let task = world.tasks.swap_remove(at);
    let clock = match task.end {
        End::Mbarrier { cta, offset } => match world.mbarriers.get(&(cta, offset)) {
            Some(mbarrier) => mbarrier.phase as u32 + 1,
            None => {
                let what = "an asynchronous copy ends on an mbarrier that is gone";
                return Err(Fault::new(Kind::Barrier, what));
            }
        },
        End::Group { number, .. } => number + 1,
    };
    let who = Who::Agent(&task.knowledge, task.agent, clock);
    let content = match task.from {
        Source::Value(content) => content,
        Source::Memory { place, length, zeros } => {
            let mut content = read(world, place, length, who)?;
            content.resize(length + zeros, 0);
            content
        }
    };
    write(world, task.to, &content, who)?;
    if let End::Mbarrier { cta, offset } = task.end
        && let Some(mbarrier) = world.mbarriers.get_mut(&(cta, offset))
    {
        let mut known = task.knowledge.to_vec();
        known.resize(known.len().max(task.agent + 1), 0);
        known[task.agent] = clock;
        merge(&mut mbarrier.gathering, &known);
        mbarrier.bytes -= content.len() as i64;
        advance(world, (cta, offset));
    }
    Ok(())
}

/// Pieces of a range that lie within pages.
fn pieces(place: Place, length: usize) -> Vec<(Place, usize, usize)> {
    const PIECE: usize = 4096;
    let mut found = Vec::new();
    let mut done = 0;
    while done < length {
        let (place, left) = match place {
            Place::Global(address) => {
                let address = address + done as u64;
                (Place::Global(address), PIECE - (address % PIECE as u64) as usize)
            }
            Place::Shared { cta, offset } => {
                (Place::Shared { cta, offset: offset + done as u64 }, length)
            }
            other => (other, length),
        };
        let count = left.min(length - done);
        found.push((place, done, count));
        done += count;
    }
    found
}

fn read(
    world: &mut World<'_>,
    place: Place,
    length: usize,
    who: Who<'_>,
) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::with_capacity(length);
    let mut hint = 0;
    for (place, _, count) in pieces(place, length) {
        check(world, place, count, Act::Read(Order::Weak), who, &mut hint)?;
        let (from, start) = bytes(world, place, &mut hint, count)?;
        content.extend_from_slice(&from.data[start..start + count]);
    }
    Ok(content)
}

fn write(world: &mut World<'_>, place: Place, content: &[u8], who: Who<'_>) -> Result<(), Fault> {
    let mut hint = 0;
    for (place, done, count) in pieces(place, content.len()) {
        check(world, place, count, Act::Write { strong: false }, who, &mut hint)?;
        let (to, start) = bytes(world, place, &mut hint, count)?;
        to.data[start..start + count].copy_from_slice(&content[done..done + count]);
        to.state[start..start + count].fill(WRITTEN);
    }
    Ok(())
}
