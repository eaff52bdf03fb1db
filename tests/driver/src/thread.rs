//! What belongs to a thread of the caller: its stack of contexts, its mode of capturing.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::Handle;

/// Which captures keep a thread from calls that could disturb them; `CUstreamCaptureMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Global = 0,
    ThreadLocal = 1,
    Relaxed = 2,
}

impl Mode {
    pub fn new(number: u32) -> Option<Mode> {
        [Mode::Global, Mode::ThreadLocal, Mode::Relaxed].into_iter().find(|&m| m as u32 == number)
    }
}

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
    static CALLS_BACK: Cell<bool> = const { Cell::new(false) };
    /// Of which life of the stand-in, and the contexts, the current one last. Never dropped: what a
    /// thread drops when it ends may call the driver, too.
    static STACK: RefCell<(u64, ManuallyDrop<Vec<Handle>>)> =
        const { RefCell::new((0, ManuallyDrop::new(Vec::new()))) };
}

/// A number that no other thread of the process has.
pub(crate) fn number() -> u64 {
    static THREADS: AtomicU64 = AtomicU64::new(1);
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// The contexts of this thread. A reset of the stand-in begins a new life, in which it has none.
pub(crate) fn stack<R>(life: u64, with: impl FnOnce(&mut Vec<Handle>) -> R) -> R {
    STACK.with_borrow_mut(|(of, stack)| {
        if *of != life {
            *of = life;
            stack.clear();
        }
        let result = with(stack);
        if stack.is_empty() {
            stack.shrink_to_fit(); // the thread may be about to end
        }
        result
    })
}

pub(crate) fn mode() -> Mode {
    MODE.get()
}

/// Sets the mode and returns what it was.
pub(crate) fn exchange_mode(mode: Mode) -> Mode {
    MODE.replace(mode)
}

/// Whether this thread runs a function that the driver called: it must not call back.
pub(crate) fn calls_back() -> bool {
    CALLS_BACK.get()
}

/// Runs a function of the caller.
pub(crate) fn call_back(function: impl FnOnce()) {
    CALLS_BACK.set(true);
    function();
    CALLS_BACK.set(false);
}
