//! What the lanes of a warp do together: shuffles, votes, matches, reductions.

use super::{Wait, Warp};
use crate::clocks::lanes;
use crate::error::{Fault, Kind};
use crate::execute::world::World;
use crate::op::{Collective, LANES, Lanes, ShuffleMode, Src, VoteMode};

/// Lanes arrive at a `.sync` instruction; it is executed when the last of its mask has come.
pub(super) fn execute(
    warp: &mut Warp,
    world: &mut World<'_>,
    mask: Option<Src>,
    what: &Collective,
    pc: u32,
    active: u32,
) -> Result<(), Fault> {
    let mask = match mask {
        Some(mask) => common_mask(warp.get(world.entry, mask), active)?,
        None => warp.live,
    };
    let first = active.trailing_zeros() as usize;
    let fault = |what: String| Err(Fault::new(Kind::Mask, what).lane(first));
    if active & !mask != 0 {
        let lane = (active & !mask).trailing_zeros();
        return fault(format!("lane {lane} executes it with mask {mask:#010x}, which lacks it"));
    }
    if mask & !warp.live != 0 {
        let lane = (mask & !warp.live).trailing_zeros();
        let state = if warp.born >> lane & 1 == 1 { "has exited" } else { "does not exist" };
        return fault(format!("mask {mask:#010x} names lane {lane}, which {state}"));
    }
    let at = if matches!(what, Collective::Sync) { None } else { Some(pc) };
    let wait = Wait::Lanes { at, mask };
    let arrived = warp.parked.iter().filter(|p| p.wait == wait).fold(0, |all, p| all | p.lanes);
    if arrived | active != mask {
        warp.park(pc, active, wait);
        return Ok(());
    }
    if world.shuffles_order || matches!(what, Collective::Sync) {
        world.clocks.join_warp(warp.index, mask);
    }
    run(warp, world, what, mask)?;
    warp.place(pc + 1, active);
    if arrived != 0 {
        let mut woken = Vec::new();
        warp.parked.retain(|parked| {
            let released = parked.wait == wait;
            if released {
                woken.push((parked.pc + 1, parked.lanes));
            }
            !released
        });
        woken.into_iter().for_each(|(pc, lanes)| warp.place(pc, lanes));
    }
    Ok(())
}

fn common_mask(masks: &Lanes, active: u32) -> Result<u32, Fault> {
    let first = active.trailing_zeros() as usize;
    let mask = masks[first];
    match lanes(active).find(|&lane| masks[lane] != mask) {
        None => Ok(mask as u32),
        Some(lane) => {
            let what = format!(
                "lane {first} has mask {mask:#010x}, lane {lane} has {:#010x}",
                masks[lane]
            );
            Err(Fault::new(Kind::Mask, what).lane(lane))
        }
    }
}

fn run(warp: &mut Warp, world: &World<'_>, what: &Collective, mask: u32) -> Result<(), Fault> {
    let entry = world.entry;
    let mut out = [0; LANES];
    match *what {
        Collective::Sync => {}
        Collective::Shuffle { mode, to, valid, a, b, c } => {
            let (a, b, c) = (warp.get(entry, a), warp.get(entry, b), warp.get(entry, c));
            let mut in_range = 0;
            for lane in lanes(mask) {
                let (source, inside) = source(mode, lane as u32, b[lane] as u32, c[lane] as u32);
                if mask >> source & 1 == 0 {
                    let what = format!("reads lane {source}, which mask {mask:#010x} lacks");
                    return Err(Fault::new(Kind::Mask, what).lane(lane));
                }
                in_range |= u32::from(inside) << lane;
                out[lane] = a[source as usize];
            }
            if let Some(to) = to {
                warp.put(to, mask, &out);
            }
            warp.put_predicate(valid, mask, in_range);
        }
        Collective::Vote { mode, to, predicate, a } => {
            let yes = warp.predicate(a) & mask;
            let all = match mode {
                VoteMode::All => yes == mask,
                VoteMode::Any => yes != 0,
                VoteMode::Uni => yes == mask || yes == 0,
                VoteMode::Ballot => false,
            };
            if let Some(to) = to {
                warp.put(to, mask, &[u64::from(yes); LANES]);
            }
            warp.put_predicate(predicate, mask, if all { u32::MAX } else { 0 });
        }
        Collective::MatchAny { to, a } => {
            let a = warp.get(entry, a);
            for lane in lanes(mask) {
                let same = lanes(mask).filter(|&other| a[other] == a[lane]);
                out[lane] = same.fold(0, |found, other| found | 1 << other);
            }
            if let Some(to) = to {
                warp.put(to, mask, &out);
            }
        }
        Collective::MatchAll { to, predicate, a } => {
            let a = warp.get(entry, a);
            let first = a[mask.trailing_zeros() as usize];
            let all = lanes(mask).all(|lane| a[lane] == first);
            if let Some(to) = to {
                warp.put(to, mask, &[if all { u64::from(mask) } else { 0 }; LANES]);
            }
            warp.put_predicate(predicate, mask, if all { u32::MAX } else { 0 });
        }
        Collective::Reduce { to, a, f } => {
            let a = warp.get(entry, a);
            let total = lanes(mask).map(|lane| a[lane]).reduce(f).unwrap_or(0);
            warp.put(to, mask, &[total; LANES]);
        }
        Collective::Elect { to, predicate } => {
            let leader = mask.trailing_zeros();
            if let Some(to) = to {
                warp.put(to, mask, &[u64::from(leader); LANES]);
            }
            warp.put_predicate(predicate, mask, 1 << leader);
        }
    }
    Ok(())
}

/// The lane that a lane reads, and whether it lies within the segment that `c` describes; if not,
/// the lane reads itself.
fn source(mode: ShuffleMode, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let b = b & 31;
    let clamp = c & 31;
    let segment = c >> 8 & 31;
    let most = (lane & segment) | (clamp & !segment);
    let least = lane & segment;
    let (source, inside) = match mode {
        ShuffleMode::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= most as i32),
        ShuffleMode::Down => (lane + b, lane + b <= most),
        ShuffleMode::Butterfly => (lane ^ b, (lane ^ b) <= most),
        ShuffleMode::Index => {
            let source = least | (b & !segment);
            (source, source <= most)
        }
    };
    if inside { (source, true) } else { (lane, false) }
}
