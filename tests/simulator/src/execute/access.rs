//! Loads, stores and atomics, every one checked: where, how aligned, whether written, and whether
//! ordered after whoever touched the bytes before.

use crate::bytes::{Bytes, MBARRIER, OUTSIDE, UNWRITTEN, WRITTEN};
use crate::clocks::lanes;
use crate::error::{Fault, Kind};
use crate::execute::Warp;
use crate::execute::world::World;
use crate::module::{LOCAL_WINDOW, PARAMETERS, SHARED_BITS, SHARED_WINDOW, VARIABLES};
use crate::op::{Address, LANES, Lanes, Op, Order, Space};
use crate::race::View;
use crate::types::{extend, mask};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Global(u64),
    Shared { cta: usize, offset: u64 },
    Local(u64),
    Parameter(u64),
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Read(Order),
    Write {
        strong: bool,
    },
    /// An atomic read and write.
    Update,
}

/// The place of an address, seen from a CTA.
pub(crate) fn place(
    world: &World<'_>,
    space: Space,
    address: u64,
    own: usize,
) -> Result<Place, Fault> {
    let shared = |address: u64| {
        let address = address & mask(32);
        let rank = (address >> SHARED_BITS) as usize;
        let cta = if rank == 0 { own } else { rank - 1 };
        if cta >= world.ctas.len() {
            let what = format!("the cluster has no CTA of rank {cta}");
            return Err(Fault::new(Kind::Cluster, what).address(address));
        }
        Ok(Place::Shared { cta, offset: address & mask(SHARED_BITS) })
    };
    match space {
        Space::Global => Ok(Place::Global(address)),
        Space::Shared => shared(address),
        Space::Local => Ok(Place::Local(address)),
        Space::Param => Ok(Place::Parameter(address)),
        Space::Generic if !(SHARED_WINDOW..VARIABLES).contains(&address) => {
            Ok(Place::Global(address))
        }
        Space::Generic if address < LOCAL_WINDOW => shared(address - SHARED_WINDOW),
        Space::Generic if address < PARAMETERS => Ok(Place::Local(address)),
        Space::Generic => Ok(Place::Parameter(address)),
    }
}

/// The addresses of all lanes.
pub(crate) fn addresses(warp: &Warp, world: &World<'_>, at: Address) -> Lanes {
    warp.get(world.entry, at.base).map(|base| base.wrapping_add_signed(at.offset))
}

pub(super) fn execute(
    warp: &mut Warp,
    world: &mut World<'_>,
    op: &Op,
    active: u32,
) -> Result<(), Fault> {
    world.clocks.touch(warp.index);
    match *op {
        Op::Load { space, bytes, sign, ref to, at, order } => {
            let addresses = addresses(warp, world, at);
            let mut out = [[0; LANES]; 8];
            let (size, length) = (bytes as usize, bytes as usize * to.len());
            let act = Act::Read(order);
            for lane in lanes(active) {
                let (from, start) = touch(warp, world, space, addresses[lane], length, act, lane)
                    .map_err(|fault| fault.lane(lane).address(addresses[lane]))?;
                for (part, out) in out.iter_mut().enumerate().take(to.len()) {
                    let value = from.get(start + part * size, size);
                    out[lane] = match sign {
                        Some(bits) => extend(value, bits) as u64,
                        None => value,
                    };
                }
            }
            for (out, to) in out.iter().zip(to) {
                if let Some(to) = *to {
                    warp.put(to, active, out);
                }
            }
        }
        Op::Store { space, bytes, ref from, at, strong } => {
            let addresses = addresses(warp, world, at);
            let (size, length) = (bytes as usize, bytes as usize * from.len());
            let mut values = [[0; LANES]; 8];
            for (values, &from) in values.iter_mut().zip(from) {
                *values = *warp.get(world.entry, from);
            }
            let act = Act::Write { strong };
            for lane in lanes(active) {
                let (to, start) = touch(warp, world, space, addresses[lane], length, act, lane)
                    .map_err(|fault| fault.lane(lane).address(addresses[lane]))?;
                for (part, values) in values.iter().enumerate().take(from.len()) {
                    to.set(start + part * size, size, values[lane]);
                }
                to.state[start..start + length].fill(WRITTEN);
            }
        }
        Op::Atomic { space, bytes, to, at, b, c, f } => {
            let addresses = addresses(warp, world, at);
            let (b, c) = (*warp.get(world.entry, b), *warp.get(world.entry, c));
            let size = bytes as usize;
            let mut out = [0; LANES];
            // The lanes come in any order.
            let turn = world.random.below(LANES);
            for lane in (0..LANES).map(|lane| (lane + turn) % LANES) {
                if active >> lane & 1 == 0 {
                    continue;
                }
                let (bytes, start) =
                    touch(warp, world, space, addresses[lane], size, Act::Update, lane)
                        .map_err(|fault| fault.lane(lane).address(addresses[lane]))?;
                let bits = mask(8 * size as u32);
                out[lane] = bytes.get(start, size);
                bytes.set(start, size, f(out[lane], b[lane] & bits, c[lane] & bits));
            }
            if let Some(to) = to {
                warp.put(to, active, &out);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Checks an access of a lane, and gives the bytes and the place within them.
fn touch<'w>(
    warp: &'w mut Warp,
    world: &'w mut World<'_>,
    space: Space,
    address: u64,
    length: usize,
    act: Act,
    lane: usize,
) -> Result<(&'w mut Bytes, usize), Fault> {
    let place = place(world, space, address, warp.cta)?;
    if !address.is_multiple_of(length as u64) {
        let what = format!("access of {length} bytes at an address that is not a multiple of them");
        return Err(Fault::new(Kind::Misaligned, what));
    }
    let thread = warp.thread(lane);
    match place {
        Place::Global(_) | Place::Shared { .. } => {
            if let Place::Shared { cta, .. } = place
                && cta != warp.cta
            {
                visit(world, cta, thread)?;
            }
            check(world, place, length, act, Who::Thread(thread), &mut warp.hint)?;
            bytes(world, place, &mut warp.hint, length)
        }
        Place::Local(address) => {
            let local = &mut warp.local;
            let start = address.wrapping_sub(LOCAL_WINDOW) as usize;
            let inside = |b: &Bytes| start < b.data.len() && start + length <= b.data.len();
            let Some(bytes) = local.get_mut(lane).filter(|b| inside(b)) else {
                return Err(Fault::new(Kind::OutOfBounds, "outside local memory"));
            };
            let state = bytes.first_not(start, length, WRITTEN);
            let read = !matches!(act, Act::Write { .. });
            match state {
                Some(OUTSIDE) => Err(Fault::new(Kind::OutOfBounds, "outside local memory")),
                Some(_) if read => {
                    Err(Fault::new(Kind::Uninitialised, "nobody wrote this local memory"))
                }
                _ => Ok((bytes, start)),
            }
        }
        Place::Parameter(address) => {
            let start = address.wrapping_sub(PARAMETERS) as usize;
            let end = world.parameters.len();
            if start >= end || start + length > end || !matches!(act, Act::Read(_)) {
                let what = format!("{length} bytes at {start} of {end} bytes of parameters");
                return Err(Fault::new(Kind::OutOfBounds, what));
            }
            warp.local.resize_with(LANES + 1, || Bytes::new(0, 0, WRITTEN));
            let copy = &mut warp.local[LANES];
            copy.data.resize(end, 0);
            copy.data.copy_from_slice(world.parameters);
            Ok((copy, start))
        }
    }
}

/// Who makes an access: a thread, or an agent with its knowledge.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    Thread(usize),
    Agent(&'a [u32], usize, u32),
}

/// Notes that a thread touches the shared memory of a peer.
pub(crate) fn visit(world: &mut World<'_>, cta: usize, thread: usize) -> Result<(), Fault> {
    let first = cta * world.geometry.warps() * LANES;
    let threads = world.geometry.threads() as usize;
    let met = world.cluster.waited[thread] > 0
        || (first..first + threads).any(|other| world.clocks.knows(thread, other, 1));
    let name = world.name(first);
    let peer = &mut world.ctas[cta];
    if !met {
        let what = format!("touches shared memory of a CTA that may not have started ({name})");
        return Err(Fault::new(Kind::Cluster, what));
    }
    if peer.live == 0 {
        let what = format!("touches shared memory of a CTA that has exited ({name})");
        return Err(Fault::new(Kind::Cluster, what));
    }
    peer.visitors.insert(thread, world.clocks.now(thread));
    Ok(())
}

/// Bounds, state and order of an access to global or shared memory.
pub(crate) fn check(
    world: &mut World<'_>,
    place: Place,
    length: usize,
    act: Act,
    who: Who<'_>,
    hint: &mut usize,
) -> Result<(), Fault> {
    let write = !matches!(act, Act::Read(_));
    let read = !matches!(act, Act::Write { .. });
    if let Place::Shared { cta, offset } = place {
        let shared = &world.ctas[cta].shared;
        let (start, end) = (offset as usize, shared.data.len());
        if start >= end
            || start + length > end
            || shared.state[start..start + length].contains(&OUTSIDE)
        {
            let state = &shared.state;
            let at =
                (start..start + length).find(|&at| state.get(at).is_none_or(|&s| s == OUTSIDE));
            let at = at.unwrap_or(start) as u64;
            let name = if write { "write" } else { "read" };
            let what =
                format!("{name} of {length} bytes of shared memory, {}", world.shared_name(at));
            return Err(Fault::new(Kind::OutOfBounds, what));
        }
        if shared.state[start..start + length].contains(&MBARRIER) {
            let what =
                format!("touches an mbarrier as if it were data: {}", world.shared_name(offset));
            return Err(Fault::new(Kind::Barrier, what));
        }
    }
    let World { memory, ctas, clocks, readers, .. } = world;
    let (bytes, start) = match place {
        Place::Global(address) => memory.access(address, length as u64, write, hint)?,
        Place::Shared { cta, offset } => (&mut ctas[cta].shared, offset as usize),
        Place::Local(_) | Place::Parameter(_) => return Ok(()),
    };
    let unwritten = read && bytes.first_not(start, length, WRITTEN).is_some();
    let view = match who {
        Who::Thread(thread) => View::Thread(clocks, thread),
        Who::Agent(snapshot, agent, clock) => View::Agent(snapshot, agent, clock),
    };
    let records = bytes.records(start, length, readers);
    let order = match act {
        Act::Read(order) => readers.read(records, view, order),
        Act::Write { strong } => readers.write(records, view, strong),
        Act::Update => readers.write(records, view, true),
    };
    let name = |world: &World<'_>| match place {
        Place::Shared { offset, .. } => world.shared_name(offset),
        Place::Global(address) => world.memory.describe(address),
        _ => String::new(),
    };
    if unwritten {
        let first = bytes.state[start..start + length].iter().position(|&s| s == UNWRITTEN);
        let first = first.unwrap_or(0) as u64;
        let what = match place {
            Place::Shared { offset, .. } => world.shared_name(offset + first),
            Place::Global(address) => world.memory.describe(address + first),
            _ => String::new(),
        };
        let what = format!("read of {length} bytes, of which nobody wrote {what}");
        return Err(Fault::new(Kind::Uninitialised, what));
    }
    if let Err(conflict) = order {
        let act = if write { "write" } else { "read" };
        let relation = match conflict.constant {
            true => "conflicts, whatever the order, as reads with .nc do, with",
            false => "is not ordered after",
        };
        let (name, other) = (name(world), world.describe(conflict));
        let what = format!("{act} of {length} bytes of {name} {relation} {other}");
        return Err(Fault::new(Kind::Race, what));
    }
    Ok(())
}

/// The bytes of an access that has been checked.
pub(crate) fn bytes<'w>(
    world: &'w mut World<'_>,
    place: Place,
    hint: &mut usize,
    length: usize,
) -> Result<(&'w mut Bytes, usize), Fault> {
    match place {
        Place::Shared { cta, offset } => Ok((&mut world.ctas[cta].shared, offset as usize)),
        Place::Global(address) => world.memory.access(address, length as u64, false, hint),
        Place::Local(_) | Place::Parameter(_) => {
            Err(Fault::new(Kind::OutOfBounds, "not global or shared memory"))
        }
    }
}

/// `mapa` and `getctarank`.
pub(super) fn map(
    warp: &mut Warp,
    world: &mut World<'_>,
    op: &Op,
    active: u32,
) -> Result<(), Fault> {
    let entry = world.entry;
    let space = |generic: bool| if generic { Space::Generic } else { Space::Shared };
    let mut out = [0; LANES];
    match *op {
        Op::MapShared { to, a, rank, generic } => {
            let (a, rank) = (*warp.get(entry, a), *warp.get(entry, rank));
            for lane in lanes(active) {
                let found = place(world, space(generic), a[lane], warp.cta)?;
                let Place::Shared { offset, .. } = found else {
                    let what = "mapa of an address outside shared memory";
                    return Err(Fault::new(Kind::Cluster, what).lane(lane).address(a[lane]));
                };
                if rank[lane] as usize >= world.ctas.len() {
                    let what = format!("the cluster has no CTA of rank {}", rank[lane]);
                    return Err(Fault::new(Kind::Cluster, what).lane(lane));
                }
                let window = if generic { SHARED_WINDOW } else { 0 };
                out[lane] = window + ((rank[lane] + 1) << SHARED_BITS | offset);
            }
            warp.put(to, active, &out);
        }
        Op::CtaRank { to, a, generic } => {
            let a = *warp.get(entry, a);
            for lane in lanes(active) {
                if let Place::Shared { cta, .. } = place(world, space(generic), a[lane], warp.cta)?
                {
                    out[lane] = cta as u64;
                }
            }
            warp.put(to, active, &out);
        }
        _ => {}
    }
    Ok(())
}
