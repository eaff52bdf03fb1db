//! Counts what the process allocates, on any thread.
#![allow(unsafe_code)] // an allocator

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator, whose every call is passed on as it is. It grows and clears memory
// through `alloc`, by default.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(data, layout) }
    }
}

/// Allocations for each of so many calls.
pub fn per_call(calls: usize, mut work: impl FnMut()) -> f64 {
    let before = COUNT.load(Ordering::Relaxed);
    (0..calls).for_each(|_| work());
    (COUNT.load(Ordering::Relaxed) - before) as f64 / calls as f64
}
