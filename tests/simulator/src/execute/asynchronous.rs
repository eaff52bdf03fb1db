//! mbarriers, and copies that happen some time between their start and the wait for them.

use std::rc::Rc;

use super::access::{Act, Place, Who, addresses, bytes, check, place, visit};
use super::{Wait, Wake, Warp};
use crate::bytes::{MBARRIER, OUTSIDE, UNWRITTEN, WRITTEN};
use crate::clocks::{Snapshot, lanes, merge};
use crate::error::{Fault, Kind};
use crate::execute::world::World;
use crate::op::{Address, Completion, Mbarrier as What, Op, Space};

/// The state of an mbarrier.
#[derive(Clone, Debug)]
pub(crate) struct Mbarrier {
    /// Arrivals of the next phase and of this one that are missing.
    count: u32,
    pending: u32,
    /// Bytes of this phase that are missing.
    bytes: i64,
    phase: u64,
    gathering: Vec<u32>,
    done: Snapshot,
    agent: usize,
    /// Who waits for which phase, and the predicate that tells it.
    waiting: Vec<(usize, u32, bool, u64)>,
    /// The thread that made it, and when.
    maker: (usize, u32),
}

impl Mbarrier {
    fn is_over(&self, parity: bool, phase: u64) -> bool {
        if parity { self.phase & 1 != phase & 1 } else { self.phase != phase }
    }
}

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
}

impl Task {
    pub fn uses_shared_of(&self, rank: usize) -> bool {
        let is = |place: Place| matches!(place, Place::Shared { cta, .. } if cta == rank);
        is(self.to) || matches!(self.from, Source::Memory { place, .. } if is(place))
    }
}

/// The CTA and offset of an mbarrier.
fn locate(
    warp: &Warp,
    world: &World<'_>,
    space: Space,
    address: u64,
) -> Result<(usize, u64), Fault> {
    let found = place(world, space, address, warp.cta)?;
    let fault = |kind, what: &str| Err(Fault::new(kind, what).address(address));
    let Place::Shared { cta, offset } = found else {
        return fault(Kind::Barrier, "an mbarrier must lie in shared memory");
    };
    if !offset.is_multiple_of(8) {
        return fault(Kind::Misaligned, "an mbarrier must be aligned to 8 bytes");
    }
    Ok((cta, offset))
}

pub(super) fn mbarrier(
    warp: &mut Warp,
    world: &mut World<'_>,
    space: Space,
    at: Address,
    what: &What,
    pc: u32,
    active: u32,
) -> Result<(), Fault> {
    let addresses = addresses(warp, world, at);
    for lane in lanes(active) {
        let (cta, offset) = locate(warp, world, space, addresses[lane])?;
        let stays = one(warp, world, (cta, offset), what, pc, lane)
            .map_err(|fault| fault.lane(lane).address(addresses[lane]))?;
        if !stays {
            warp.place(pc + 1, 1 << lane);
        }
    }
    Ok(())
}

/// One lane's operation; true if it waits.
fn one(
    warp: &mut Warp,
    world: &mut World<'_>,
    key: (usize, u64),
    what: &What,
    pc: u32,
    lane: usize,
) -> Result<bool, Fault> {
    let thread = warp.thread(lane);
    let fault = |what: &str| Err(Fault::new(Kind::Barrier, what));
    let value = |src| warp.get(world.entry, src)[lane];
    if let What::Init { count } = *what {
        let count = value(count) as u32;
        init(warp, world, key, count, thread)?;
        return Ok(false);
    }
    if key.0 != warp.cta {
        visit(world, key.0, thread)?;
    }
    let Some(mbarrier) = world.mbarriers.get_mut(&key) else {
        return fault("there is no mbarrier: it was not initialised, or invalidated");
    };
    if !world.clocks.knows(thread, mbarrier.maker.0, mbarrier.maker.1) {
        let what = "the initialisation of this mbarrier is not ordered before its use";
        return Err(Fault::new(Kind::Race, what));
    }
    match *what {
        What::Init { .. } => {}
        What::Invalidate => {
            if !mbarrier.waiting.is_empty() {
                return fault("invalidates an mbarrier that others wait for");
            }
            world.mbarriers.remove(&key);
            let start = key.1 as usize;
            world.ctas[key.0].shared.state[start..start + 8].fill(UNWRITTEN);
        }
        What::Arrive { count, expect, to, drop, release } => {
            let entry = world.entry;
            let value = |src| warp.get(entry, src)[lane];
            let count = count.map_or(1, |count| value(count) as u32);
            mbarrier.bytes += expect.map_or(0, |bytes| value(bytes) as u32 as i64);
            if count == 0 || count > mbarrier.pending {
                return fault(&format!(
                    "{count} arrivals, but the phase expects only {} more: used twice in a phase",
                    mbarrier.pending
                ));
            }
            let phase = mbarrier.phase;
            mbarrier.pending -= count;
            if drop {
                mbarrier.count -= count;
            }
            if release {
                world.clocks.add_to(&mut mbarrier.gathering, thread);
                world.clocks.advance(thread);
            }
            if let Some(to) = to {
                warp.put(to, 1 << lane, &[phase; 32]);
            }
            advance(world, key);
        }
        What::ExpectTx { bytes } => {
            mbarrier.bytes += warp.get(world.entry, bytes)[lane] as u32 as i64;
        }
        What::CompleteTx { bytes } => {
            mbarrier.bytes -= warp.get(world.entry, bytes)[lane] as u32 as i64;
            advance(world, key);
        }
        What::Test { to, phase, parity, wait, acquire } => {
            if key.0 != warp.cta {
                return fault("waits for an mbarrier of another CTA");
            }
            let phase = warp.get(world.entry, phase)[lane];
            let over = mbarrier.is_over(parity, phase);
            if over && acquire {
                let done = mbarrier.done.clone();
                world.clocks.learn(thread, &done);
            } else if !over && wait && world.random.below(4) > 0 {
                mbarrier.waiting.push((thread, to, parity, phase));
                warp.park(pc, 1 << lane, Wait::Mbarrier { offset: key.1, parity, phase });
                return Ok(true);
            }
            warp.put_predicate(Some(to), 1 << lane, if over { u32::MAX } else { 0 });
        }
    }
    Ok(false)
}

fn init(
    warp: &mut Warp,
    world: &mut World<'_>,
    key: (usize, u64),
    count: u32,
    thread: usize,
) -> Result<(), Fault> {
    let fault = |kind, what: String| Err(Fault::new(kind, what));
    let (cta, start) = (key.0, key.1 as usize);
    if cta != warp.cta {
        return fault(Kind::Barrier, "initialises an mbarrier of another CTA".into());
    }
    if count == 0 || count >= 1 << 20 {
        return fault(Kind::Barrier, format!("an mbarrier for {count} arrivals"));
    }
    if world.mbarriers.contains_key(&key) {
        return fault(Kind::Barrier, "initialises an mbarrier that is in use".into());
    }
    let shared = &world.ctas[cta].shared;
    if start + 8 > shared.data.len() || shared.state[start..start + 8].contains(&OUTSIDE) {
        return fault(Kind::OutOfBounds, format!("an mbarrier at {}", world.shared_name(key.1)));
    }
    let place = Place::Shared { cta, offset: key.1 };
    let act = Act::Write { strong: false };
    check(world, place, 8, act, Who::Thread(thread), &mut warp.hint)?;
    world.ctas[cta].shared.state[start..start + 8].fill(MBARRIER);
    let agent = world.agent()?;
    let maker = (thread, world.clocks.now(thread));
    let mbarrier = Mbarrier {
        count,
        pending: count,
        bytes: 0,
        phase: 0,
        gathering: Vec::new(),
        done: Rc::new(Vec::new()),
        agent,
        waiting: Vec::new(),
        maker,
    };
    world.mbarriers.insert(key, mbarrier);
    Ok(())
}

/// Ends the phase of an mbarrier if nothing is missing.
fn advance(world: &mut World<'_>, key: (usize, u64)) {
    let Some(mbarrier) = world.mbarriers.get_mut(&key) else { return };
    if mbarrier.pending > 0 || mbarrier.bytes != 0 {
        return;
    }
    mbarrier.phase += 1;
    mbarrier.pending = mbarrier.count;
    mbarrier.done = Rc::new(std::mem::take(&mut mbarrier.gathering));
    let waiting = std::mem::take(&mut mbarrier.waiting);
    for waiter in waiting {
        let (thread, to, parity, phase) = waiter;
        if mbarrier.is_over(parity, phase) {
            world.clocks.learn(thread, &mbarrier.done);
            world.wakes.push(Wake { thread, predicate: Some((to, true)), register: None });
        } else {
            mbarrier.waiting.push(waiter);
        }
    }
}

pub(super) fn execute(
    warp: &mut Warp,
    world: &mut World<'_>,
    op: &Op,
    active: u32,
) -> Result<(), Fault> {
    for lane in lanes(active) {
        lane_op(warp, world, op, lane).map_err(|fault| fault.lane(lane))?;
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

fn lane_op(warp: &mut Warp, world: &mut World<'_>, op: &Op, lane: usize) -> Result<(), Fault> {
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
                Task { to, from: Source::Value(content), knowledge: Rc::default(), end, agent },
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
            start(world, thread, Task { to, from, knowledge: Rc::default(), end, agent });
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
        let mut known = Vec::new();
        known.resize(agent + 1, 0);
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
        check(world, place, count, Act::Read { strong: false }, who, &mut hint)?;
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
