//! Threads of the CPU path. Results never depend on them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::float_env;
use crate::{Error, Result};

/// How often a thread looks whether others have ended before it sleeps: some microseconds.
const SPINS: usize = if cfg!(miri) { 1 } else { 2000 };

/// A way to run tasks on the threads of the program that hosts this library.
///
/// It calls `task(i)` for every i in `0..tasks`, in any order and on any threads, and returns when
/// all of those calls have returned. Results do not depend on how it does so.
pub type ParallelFor = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Send + Sync;

/// Where tasks run.
pub(crate) enum Threads {
    /// The calling thread.
    Calling,
    /// Rayon's global pool, which starts at its first use.
    Shared,
    /// The calling thread, and a pool of our own.
    Own(rayon::ThreadPool),
    /// Threads of the host: one for each processor, for all that we know.
    Host { run: Arc<ParallelFor>, processors: usize },
}

impl Threads {
    /// The largest number of threads of our own.
    pub const MAX: usize = 1024;

    pub fn new(count: usize, host: Option<Arc<ParallelFor>>) -> Result<Self> {
        match (count, host) {
            (0, Some(run)) => {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                Ok(Threads::Host { run, processors })
            }
            (_, Some(_)) => {
                Err(Error::invalid("threads", count, "0 where parallel_for brings the threads"))
            }
            (0, None) => Ok(Threads::Shared),
            (1, None) => Ok(Threads::Calling),
            (2..=Self::MAX, None) => rayon::ThreadPoolBuilder::new()
                .num_threads(count - 1)
                .thread_name(|index| format!("xent-{index}"))
                .build()
                .map(Threads::Own)
                .map_err(|error| Error::Resource { what: format!("{count} threads: {error}") }),
            (_, None) => {
                let allowed = format!("in [0, {}]", Self::MAX);
                Err(Error::invalid("threads", count, allowed))
            }
        }
    }

    /// Calls `task` for every index below `tasks` and returns when all have returned. Each task
    /// runs under the default floating-point environment.
    pub fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        let task = |index| float_env::with_default(|| task(index));
        match self {
            _ if tasks <= 1 => (0..tasks).for_each(task),
            Threads::Calling => (0..tasks).for_each(task),
            Threads::Shared => spread(None, tasks, &task),
            Threads::Own(pool) => spread(Some(pool), tasks, &task),
            Threads::Host { run, .. } => {
                // Each call takes the next task, so that a host that repeats, skips or invents
                // indices still gets every task done exactly once.
                let next = AtomicUsize::new(0);
                let take = |_: usize| {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index < tasks {
                        task(index);
                    }
                };
                run(tasks, &take);
                (next.load(Ordering::Relaxed)..tasks).for_each(&take);
            }
        }
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        match self {
            Threads::Calling => 1,
            Threads::Shared => rayon::current_num_threads(),
            Threads::Own(pool) => 1 + pool.current_num_threads(),
            Threads::Host { processors, .. } => *processors,
        }
    }
}

/// Runs the tasks: the first one on the calling thread, the others on a pool, or on the current one of
/// rayon. A thread that only waited would have to be woken, which may take longer than a task.
fn spread(pool: Option<&rayon::ThreadPool>, tasks: usize, task: &(impl Fn(usize) + Sync)) {
    let done = AtomicUsize::new(1);
    match pool {
        Some(pool) => pool.in_place_scope(|scope| share(scope, tasks, task, &done)),
        None => rayon::in_place_scope(|scope| share(scope, tasks, task, &done)),
    }
}

/// The same in a scope; `done` counts tasks, the first one in advance.
fn share<'a>(
    scope: &rayon::Scope<'a>,
    tasks: usize,
    task: &'a (impl Fn(usize) + Sync),
    done: &'a AtomicUsize,
) {
    for index in 1..tasks {
        scope.spawn(move |_| {
            task(index);
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    task(0);
    // The others end soon. But a thread of rayon may have to run them itself.
    if rayon::current_thread_index().is_none() {
        let all_done = || done.load(Ordering::Relaxed) == tasks;
        (0..SPINS).take_while(|_| !all_done()).for_each(|_| std::hint::spin_loop());
    }
}

/// Pieces of work that no task has taken yet. Neighbours go to one task.
pub(super) struct Queue {
    next: AtomicUsize,
    pieces: usize,
    grain: usize,
}

impl Queue {
    pub fn new(pieces: usize, tasks: usize) -> Self {
        const SHARES: usize = 16; // evens out rows that cost more, and busy processors
        let grain = if tasks <= 1 { pieces } else { pieces / (tasks * SHARES) };
        Queue { next: AtomicUsize::new(0), pieces, grain: grain.max(1) }
    }

    pub fn take(&self) -> Option<Range<usize>> {
        let first = self.next.fetch_add(self.grain, Ordering::Relaxed);
        (first < self.pieces).then(|| first..self.pieces.min(first + self.grain))
    }
}
