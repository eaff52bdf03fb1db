//! mbarriers: arrivals and bytes are counted, phases end, waiters go on.

use std::rc::Rc;

use super::access::{Act, Place, Who, addresses, check, place, visit};
use super::world::World;
use super::{Wait, Wake, Warp};
use crate::bytes::{MBARRIER, OUTSIDE, UNWRITTEN};
use crate::clocks::{Snapshot, lanes};
use crate::error::{Fault, Kind};
use crate::op::{Address, Mbarrier as What, Space};

/// The state of an mbarrier.
#[derive(Clone, Debug)]
pub(crate) struct Mbarrier {
    /// Arrivals of the next phase and of this one that are missing.
    count: u32,
    pending: u32,
    /// Bytes of this phase that are missing.
    pub bytes: i64,
    pub phase: u64,
    pub gathering: Vec<u32>,
    done: Snapshot,
    pub agent: usize,
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

/// The CTA and offset of an mbarrier.
pub(super) fn locate(
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

pub(super) fn execute(
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
pub(super) fn advance(world: &mut World<'_>, key: (usize, u64)) {
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
