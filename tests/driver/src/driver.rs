//! The state of the stand-in, behind one lock, and what every call has in common.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::calls::Calls;
use crate::capture::Capture;
use crate::code::{Code, Outcome};
use crate::config::Config;
use crate::context::Context;
use crate::device::Device;
use crate::event::Event;
use crate::function::Function;
use crate::graph::{Executable, Graph};
use crate::host::Pages;
use crate::log::{Log, say};
use crate::memory::Allocation;
use crate::module::Image;
use crate::queue::Queue;
use crate::stream::Stream;
use crate::table::{Handle, Table};
use crate::thread;

/// All that there is.
#[derive(Debug)]
pub(crate) struct Driver {
    pub config: Config,
    pub calls: Calls,
    pub devices: Vec<Device>,
    pub contexts: Table<Context>,
    pub streams: Table<Stream>,
    pub events: Table<Event>,
    pub modules: Table<Image>,
    pub functions: Table<Function>,
    pub graphs: Table<Graph>,
    pub executables: Table<Executable>,
    /// By number.
    pub captures: BTreeMap<u64, Capture>,
    /// Device memory by its first address.
    pub allocations: BTreeMap<u64, Allocation>,
    /// Host memory that the driver gave out, by address, with its context.
    pub pinned: BTreeMap<u64, (Handle, Pages)>,
    pub queue: Queue,
    /// What all kernels executed.
    pub executed: Executed,
    /// What was destroyed because its context was.
    pub left: Vec<String>,
    /// Contexts on threads' stacks belong to one life.
    pub life: u64,
    log: Log,
    note: String,
    initialised: bool,
    /// Whether stream 0 is the thread's, in this call.
    pub per_thread: bool,
}

/// Instructions of single threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Executed {
    pub instructions: u64,
    /// Those of the special function unit.
    pub approximations: u64,
}

/// When a call may be made, and what an injected failure does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before `cuInit`, too.
    Early,
    /// After `cuInit`. A call that fails has no effect.
    Usual,
    /// After `cuInit`. It gives something back, which happens even if it is to fail, as a driver
    /// reports errors of earlier work from such calls.
    Release,
}

/// The process that called `cuInit`; 0: none yet.
static OWNER: AtomicU32 = AtomicU32::new(0);

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::new("")));

/// The state. A panic under the lock leaves it to the next call.
pub(crate) fn lock() -> MutexGuard<'static, Driver> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process initialised the driver.
pub(crate) fn is_owner() -> bool {
    OWNER.load(Ordering::Relaxed) == std::process::id()
}

/// Whether this process is a fork of the one that initialised the driver, which is of no use to it.
fn is_forked() -> bool {
    ![0, std::process::id()].contains(&OWNER.load(Ordering::Relaxed))
}

/// Makes a call: everything that a function of the C ABI does is in `body`.
pub(crate) fn enter(
    name: &'static str,
    phase: Phase,
    arguments: &dyn Fn() -> String,
    body: impl FnOnce(&mut Driver) -> Outcome,
) -> i32 {
    if is_forked() {
        return Code::NOT_INITIALIZED.0; // before the lock, which another thread held perhaps
    }
    if thread::calls_back() {
        return Code::NOT_PERMITTED.0;
    }
    let call = || lock().call(name, phase, arguments, body);
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        say(&format!("{name} panicked"));
        Code::UNKNOWN.0
    })
}

impl Driver {
    /// A driver with these settings, and the environment's for the rest.
    pub fn new(settings: &str) -> Driver {
        static LIVES: AtomicU64 = AtomicU64::new(1);
        let config = Config::read(settings);
        let mut contexts = Table::new("context");
        let devices = config.devices.iter().enumerate();
        let devices = devices
            .map(|(ordinal, &capability)| {
                Device::new(ordinal, capability, &config, contexts.reserve())
            })
            .collect();
        let mut calls = Calls::default();
        let mut driver_errors = Vec::new();
        driver_errors.extend(calls.fail(&config.fail).err());
        calls.forbid(&config.forbid);
        let mut driver = Driver {
            calls,
            devices,
            contexts,
            streams: Table::new("stream"),
            events: Table::new("event"),
            modules: Table::new("module"),
            functions: Table::new("function"),
            graphs: Table::new("graph"),
            executables: Table::new("xgraph"),
            captures: BTreeMap::new(),
            allocations: BTreeMap::new(),
            pinned: BTreeMap::new(),
            queue: Queue::new(config.seed),
            executed: Executed::default(),
            left: Vec::new(),
            life: LIVES.fetch_add(1, Ordering::Relaxed),
            log: Log::open(&config),
            note: String::new(),
            initialised: false,
            per_thread: false,
            config,
        };
        driver.config.errors.extend(driver_errors);
        driver
    }

    fn call(
        &mut self,
        name: &'static str,
        phase: Phase,
        arguments: &dyn Fn() -> String,
        body: impl FnOnce(&mut Driver) -> Outcome,
    ) -> i32 {
        self.note.clear();
        self.per_thread = name.ends_with("_ptsz") || name.ends_with("_ptds");
        let injected = self.calls.count(name);
        let result = match injected {
            _ if phase != Phase::Early && !self.initialised => Err(Code::NOT_INITIALIZED),
            Some(code) if phase == Phase::Release => body(self).and(Err(code)),
            Some(code) => Err(code),
            None => body(self),
        };
        let code = result.err().map_or(0, |code| code.0);
        if self.log.is_open() {
            let thread = thread::number();
            let why = if injected.is_some() { " (injected)" } else { "" };
            let note = std::mem::take(&mut self.note);
            let text = format!("t{thread} {name}({}) -> {code}{why}{note}", arguments());
            self.log.line(&text);
        }
        code
    }

    /// Adds what a call did to its line in the log.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.log.is_open() {
            self.note.push_str(", ");
            self.note.push_str(&text());
        }
    }

    /// Writes a line of its own.
    pub fn log(&mut self, text: &str) {
        self.log.line(text);
    }

    /// `cuInit`.
    pub fn initialise(&mut self, flags: u32) -> Outcome {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        if !self.config.errors.is_empty() {
            say(&self.config.errors.join("; "));
            return Err(Code::UNKNOWN);
        }
        if self.config.init != 0 {
            return Err(Code(self.config.init));
        }
        if self.devices.is_empty() {
            return Err(Code::NO_DEVICE);
        }
        OWNER.store(std::process::id(), Ordering::Relaxed);
        crate::report::at_exit();
        self.initialised = true;
        Ok(())
    }

    /// A violation: something that a program must not do, though a device would let it.
    pub fn violation(&mut self, text: String) {
        say(&text);
        self.log.line(&format!("violation: {text}"));
        self.calls.violations.push(text);
    }
}
