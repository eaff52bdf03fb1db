//! Barriers of a CTA and of a cluster, and what the exit of threads means for them.

use std::rc::Rc;

use super::{Wait, Wake, Warp};
use crate::clocks::{known, lanes, merge};
use crate::error::{Fault, Kind};
use crate::execute::world::{NamedBarrier, World};
use crate::op::{BarrierMode, LANES, Op};

pub(super) fn execute(
    warp: &mut Warp,
    world: &mut World<'_>,
    op: &Op,
    pc: u32,
    active: u32,
) -> Result<(), Fault> {
    match *op {
        Op::Barrier { mode, id, count, a, aligned, .. } => {
            let ids = warp.get(world.entry, id);
            let first = active.trailing_zeros() as usize;
            let id = ids[first] as usize;
            if lanes(active).any(|lane| ids[lane] as usize != id) || id >= 16 {
                let what = format!("lanes of a warp must name one barrier of 0 to 15, found {id}");
                return Err(Fault::new(Kind::Barrier, what).lane(first));
            }
            let count = count.map(|count| warp.get(world.entry, count)[first] as u32);
            let yes = (warp.predicate(a) & active).count_ones();
            let arrival = Arrival { mode, id, count, yes, aligned };
            arrive(warp, world, arrival, pc, active)
        }
        Op::ClusterArrive { release } => cluster_arrive(warp, world, release, pc, active),
        Op::ClusterWait => cluster_wait(warp, world, pc, active),
        _ => Ok(()),
    }
}

struct Arrival {
    mode: BarrierMode,
    id: usize,
    count: Option<u32>,
    yes: u32,
    aligned: bool,
}

fn arrive(
    warp: &mut Warp,
    world: &mut World<'_>,
    arrival: Arrival,
    pc: u32,
    active: u32,
) -> Result<(), Fault> {
    let first = active.trailing_zeros() as usize;
    let fault = |what: String| Err(Fault::new(Kind::Barrier, what).lane(first));
    let Arrival { mode, id, count, yes, aligned } = arrival;
    if let Some(count) = count
        && (count == 0 || !count.is_multiple_of(32))
    {
        return fault(format!("barrier {id} with {count} threads, which is no multiple of 32"));
    }
    let barrier = &mut world.ctas[warp.cta].barriers[id];
    if !barrier.arrived.is_empty() && barrier.expected != count {
        let name = |count: Option<u32>| count.map_or("all".to_owned(), |count| count.to_string());
        let (now, before) = (name(count), name(barrier.expected));
        return fault(format!("barrier {id} for {now} threads, others arrived for {before}"));
    }
    barrier.expected = count;
    barrier.yes += yes;
    for lane in lanes(active) {
        let thread = warp.index * LANES + lane;
        if barrier.arrived.iter().any(|&(other, _)| other == thread) {
            return fault(format!("arrives at barrier {id} again before it is complete"));
        }
        let elsewhere = |&&(other, at): &&(usize, u32)| other / LANES == warp.index && at != pc;
        if aligned && let Some(&(other, at)) = barrier.arrived.iter().find(elsewhere) {
            let line = world.entry.code[at as usize].line;
            return fault(format!(
                "lane {lane} and lane {} of one warp arrive at barrier {id} at different places \
                 (the other at line {line}): divergent code around a barrier",
                other % LANES
            ));
        }
        barrier.arrived.push((thread, pc));
        if mode != BarrierMode::Arrive {
            barrier.waiting.push(thread);
        }
    }
    if mode == BarrierMode::Arrive {
        warp.place(pc + 1, active);
    } else {
        warp.park(pc, active, Wait::Barrier { id });
    }
    complete(world, warp.cta, id)
}

/// Releases the threads of a barrier if the last one has come.
fn complete(world: &mut World<'_>, cta: usize, id: usize) -> Result<(), Fault> {
    let live = world.ctas[cta].live;
    let missing = world.geometry.threads().next_multiple_of(32) - world.geometry.threads();
    let last = (cta + 1) * world.geometry.warps() - 1;
    let barrier = &mut world.ctas[cta].barriers[id];
    let mut arrived = barrier.arrived.len() as u32;
    let in_last = barrier.arrived.iter().filter(|(thread, _)| thread / LANES == last).count();
    if barrier.expected.is_some() && in_last as u32 + missing == 32 {
        arrived += missing; // a count is one of warps: a partial one counts in full
    }
    let expected = barrier.expected.unwrap_or(live);
    if arrived > expected {
        let what = format!("{arrived} threads arrive at barrier {id}, which is for {expected}");
        return Err(Fault::new(Kind::Barrier, what));
    }
    if arrived == 0 || arrived < expected {
        return Ok(());
    }
    let NamedBarrier { arrived: all, waiting, yes, .. } = std::mem::take(barrier);
    let threads: Vec<usize> = all.iter().map(|&(thread, _)| thread).collect();
    let joint = Rc::new(world.clocks.joint(&threads));
    world.clocks.learn_all(&waiting, &joint);
    threads.iter().for_each(|&thread| world.clocks.advance(thread));
    for thread in waiting {
        let at = all.iter().find(|&&(other, _)| other == thread).map_or(0, |&(_, pc)| pc);
        world.wakes.push(result(&world.entry.code[at as usize].op, thread, yes, arrived));
    }
    Ok(())
}

/// What `bar.red` writes.
fn result(op: &Op, thread: usize, yes: u32, all: u32) -> Wake {
    let Op::Barrier { mode, to, predicate, .. } = *op else {
        return Wake { thread, predicate: None, register: None };
    };
    let holds = if mode == BarrierMode::And { yes == all } else { yes > 0 };
    Wake {
        thread,
        predicate: predicate.map(|to| (to, holds)),
        register: to.map(|to| (to, u64::from(yes))),
    }
}

fn cluster_arrive(
    warp: &mut Warp,
    world: &mut World<'_>,
    release: bool,
    pc: u32,
    active: u32,
) -> Result<(), Fault> {
    let threads: Vec<usize> = lanes(active).map(|lane| warp.thread(lane)).collect();
    for &thread in &threads {
        let cluster = &mut world.cluster;
        if cluster.arrived[thread] > cluster.waited[thread] {
            let what = "arrives at the barrier of the cluster twice without waiting";
            return Err(Fault::new(Kind::Barrier, what).lane(thread % LANES));
        }
        cluster.arrived[thread] += 1;
        cluster.pending -= 1;
    }
    if release {
        merge(&mut world.cluster.gathering, &world.clocks.joint(&threads));
        threads.iter().for_each(|&thread| world.clocks.advance(thread));
    }
    warp.place(pc + 1, active);
    complete_cluster(world);
    Ok(())
}

fn complete_cluster(world: &mut World<'_>) {
    let live: u32 = world.ctas.iter().map(|cta| cta.live).sum();
    let cluster = &mut world.cluster;
    if cluster.pending > 0 || live == 0 {
        return;
    }
    cluster.pending = live;
    cluster.completed += 1;
    cluster.done = Rc::new(std::mem::take(&mut cluster.gathering));
    for thread in std::mem::take(&mut cluster.waiting) {
        cluster.waited[thread] += 1;
        world.clocks.learn(thread, &cluster.done);
        world.wakes.push(Wake { thread, predicate: None, register: None });
    }
}

fn cluster_wait(warp: &mut Warp, world: &mut World<'_>, pc: u32, active: u32) -> Result<(), Fault> {
    let cluster = &mut world.cluster;
    for lane in lanes(active) {
        let thread = warp.index * LANES + lane;
        if cluster.arrived[thread] == cluster.waited[thread] {
            let what = "waits at the barrier of the cluster without having arrived";
            return Err(Fault::new(Kind::Barrier, what).lane(lane));
        }
        if cluster.completed >= cluster.arrived[thread] {
            cluster.waited[thread] += 1;
            world.clocks.learn(thread, &cluster.done);
            warp.place(pc + 1, 1 << lane);
        } else {
            cluster.waiting.push(thread);
            warp.park(pc, 1 << lane, Wait::Cluster);
        }
    }
    Ok(())
}

/// Threads exit. They are already in no group.
pub(super) fn exit(warp: &mut Warp, world: &mut World<'_>, active: u32) -> Result<(), Fault> {
    warp.live &= !active;
    let stranded = warp.parked.iter().find_map(|parked| match parked.wait {
        Wait::Lanes { mask, .. } if mask & active != 0 => Some((mask & active, mask, parked.pc)),
        _ => None,
    });
    if let Some((gone, mask, pc)) = stranded {
        let line = world.entry.code[pc as usize].line;
        let what = format!(
            "lane {} exits while others wait for it at line {line} with mask {mask:#010x}",
            gone.trailing_zeros()
        );
        return Err(Fault::new(Kind::Mask, what).lane(gone.trailing_zeros() as usize));
    }
    let threads: Vec<usize> = lanes(active).map(|lane| warp.thread(lane)).collect();
    let clustered = world.ctas.len() > 1;
    for &thread in &threads {
        let cluster = &mut world.cluster;
        if cluster.arrived[thread] == cluster.completed {
            cluster.pending -= 1;
        }
    }
    if clustered {
        let joint = world.clocks.joint(&threads);
        merge(&mut world.ctas[warp.cta].end, &joint);
    }
    world.ctas[warp.cta].live -= threads.len() as u32;
    complete_cluster(world);
    for id in 0..16 {
        let barrier = &world.ctas[warp.cta].barriers[id];
        if barrier.expected.is_none() && !barrier.arrived.is_empty() {
            complete(world, warp.cta, id)?;
        }
    }
    if world.ctas[warp.cta].live == 0 { end_of_cta(world, warp.cta) } else { Ok(()) }
}

/// A CTA is gone, and its shared memory with it: nobody may still need that.
fn end_of_cta(world: &World<'_>, rank: usize) -> Result<(), Fault> {
    let cta = &world.ctas[rank];
    let late = cta.visitors.iter().filter(|&(&thread, &clock)| known(&cta.end, thread) < clock);
    if let Some((&thread, _)) = late.min_by_key(|&(&thread, _)| thread) {
        let what = format!(
            "exits, but nothing orders that after accesses of {} to its shared memory",
            world.name(thread)
        );
        return Err(Fault::new(Kind::Cluster, what));
    }
    if world.tasks.iter().any(|task| task.uses_shared_of(rank)) {
        let what = "exits while an asynchronous copy from or to its shared memory is under way";
        return Err(Fault::new(Kind::Cluster, what));
    }
    Ok(())
}
