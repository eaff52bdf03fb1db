//! Work on all cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What became of some work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Items whose work panicked.
    pub failures: usize,
    /// Time on processors, of all threads: it does not grow with what else runs on the machine.
    pub time: Duration,
}

/// Does `work` with every item; a failure does not keep others from their turn.
pub fn each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) -> Done {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Done::default());
    let worker = || {
        let begin = processor_time();
        let mut failures = 0;
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            failures += usize::from(catch_unwind(AssertUnwindSafe(|| work(item))).is_err());
        }
        let mut done = done.lock().unwrap();
        done.failures += failures;
        done.time += processor_time() - begin;
    };
    std::thread::scope(|scope| {
        for _ in 0..cores().min(items.len()) {
            scope.spawn(worker);
        }
    });
    done.into_inner().unwrap()
}

/// How many threads work.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Time that this thread has run.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().map_or(0, |first| first.parse().unwrap_or(0)))
}
