//! Work that was submitted, and the order in which it is done.
//!
//! Nothing is done when it is submitted. Each piece of work knows what it must come after; whenever
//! somebody waits for something, and now and then in between, a seed chooses among what may be done
//! next. A program that forgot a dependency gets wrong results under some seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::code::Code;
use crate::driver::Driver;
use crate::host::{HostFunction, HostRange};
use crate::launch::Kernel;
use crate::random::Random;
use crate::table::Handle;
use crate::thread;

/// More than this is not left undone, as a device's queues are finite, too.
const MOST_PENDING: usize = 256;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Nothing: others come after it.
    Join,
    Kernel(Arc<Kernel>),
    CopyIn {
        to: u64,
        from: Source,
    },
    CopyOut {
        to: HostRange,
        from: u64,
    },
    Copy {
        to: u64,
        from: u64,
        bytes: u64,
    },
    Fill {
        to: u64,
        pattern: Vec<u8>,
        count: usize,
    },
    Allocate {
        address: u64,
    },
    Free {
        address: u64,
    },
    Record {
        event: Handle,
    },
    Call(HostFunction),
}

/// Where a copy to the device finds its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// They were read when it was submitted.
    Bytes(Arc<[u8]>),
    Host(HostRange),
}

/// Work, and what it comes after.
#[derive(Debug)]
pub(crate) struct Work {
    pub context: Handle,
    pub op: Op,
    pub after: Vec<u64>,
}

/// What is not done yet.
#[derive(Debug)]
pub(crate) struct Queue {
    next: u64,
    pending: BTreeMap<u64, Work>,
    random: Random,
    /// Microseconds since the beginning, as events tell them: by what was done, not by a clock.
    pub clock: f64,
}

/// How to choose, for one wait.
#[derive(Clone, Copy, Debug)]
enum Taste {
    /// Anything.
    Any,
    /// Only what is waited for: everything else comes as late as possible.
    Needed,
    /// What was submitted last comes as early as possible.
    Newest,
}

impl Queue {
    pub fn new(seed: u64) -> Queue {
        Queue { next: 1, pending: BTreeMap::new(), random: Random::new(seed), clock: 0.0 }
    }

    /// The number of the work that is added next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Adds work and returns its number.
    pub fn push(&mut self, work: Work) -> u64 {
        self.next += 1;
        self.pending.insert(self.next - 1, work);
        self.next - 1
    }

    pub fn is_done(&self, id: u64) -> bool {
        !self.pending.contains_key(&id)
    }

    /// How much is not done.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    pub fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// What must be done before these are.
    fn needed(&self, targets: &[u64]) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut open = targets.to_vec();
        while let Some(id) = open.pop() {
            if let Some(work) = self.pending.get(&id)
                && found.insert(id)
            {
                open.extend(&work.after);
            }
        }
        found
    }

    /// What may be done next.
    fn choose(&mut self, taste: Taste, targets: &[u64]) -> Option<u64> {
        let needed = match taste {
            Taste::Needed => Some(self.needed(targets)),
            Taste::Any | Taste::Newest => None,
        };
        let is_ready = |work: &Work| work.after.iter().all(|&id| self.is_done(id));
        let ready: Vec<u64> = self
            .pending
            .iter()
            .filter(|(id, work)| {
                needed.as_ref().is_none_or(|needed| needed.contains(id)) && is_ready(work)
            })
            .map(|(&id, _)| id)
            .collect();
        match taste {
            _ if ready.is_empty() => None,
            Taste::Newest => ready.last().copied(),
            Taste::Any | Taste::Needed => Some(ready[self.random.below(ready.len())]),
        }
    }
}

impl Driver {
    /// Does work until these are done.
    pub fn run_until(&mut self, targets: &[u64]) {
        let tastes = [Taste::Any, Taste::Needed, Taste::Newest];
        let taste = tastes[self.queue.random.below(tastes.len())];
        while targets.iter().any(|&id| !self.queue.is_done(id)) {
            match self.queue.choose(taste, targets) {
                Some(id) => self.execute(id),
                None => return, // not reached: what comes first was submitted first
            }
        }
    }

    /// Does all work of a context.
    pub fn run_context(&mut self, context: Handle) {
        let of_it = |(&id, work): (&u64, &Work)| (work.context == context).then_some(id);
        let targets: Vec<u64> = self.queue.pending.iter().filter_map(of_it).collect();
        self.run_until(&targets);
    }

    /// The device goes on while the host does something else.
    pub fn progress(&mut self) {
        let full = self.queue.pending.len() > MOST_PENDING;
        if (full || self.queue.random.below(4) == 0)
            && let Some(id) = self.queue.choose(Taste::Any, &[])
        {
            self.execute(id);
        }
    }

    /// Somebody asks whether something is done, and may ask until it is.
    pub fn poll(&mut self, id: Option<u64>) -> bool {
        if let Some(next) = self.queue.choose(Taste::Any, &[]) {
            self.execute(next);
        }
        id.is_none_or(|id| self.queue.is_done(id))
    }

    fn execute(&mut self, id: u64) {
        let Some(Work { context, op, .. }) = self.queue.pending.remove(&id) else { return };
        if self.healthy(context).is_err() {
            return; // what a broken context was to do is not done
        }
        self.queue.clock += 1.0;
        if let Err((code, what)) = self.perform(id, op) {
            self.fault(context, code, what);
        }
    }

    fn perform(&mut self, id: u64, op: Op) -> Result<(), (Code, String)> {
        let lost = |what: String| (Code::ILLEGAL_ADDRESS, what);
        match op {
            Op::Join => {}
            Op::Kernel(kernel) => return self.run_kernel(&kernel),
            Op::CopyIn { to, from } => {
                let bytes: Arc<[u8]> = match from {
                    Source::Bytes(bytes) => bytes,
                    Source::Host(range) => range.read().into(),
                };
                self.write(to, &bytes).map_err(lost)?;
            }
            Op::CopyOut { to, from } => {
                let bytes = self.read(from, to.bytes).map_err(lost)?;
                to.write(&bytes);
            }
            Op::Copy { to, from, bytes } => {
                let bytes = self.read(from, bytes as usize).map_err(lost)?;
                self.write(to, &bytes).map_err(lost)?;
            }
            Op::Fill { to, pattern, count } => {
                self.write(to, &pattern.repeat(count)).map_err(lost)?;
            }
            Op::Allocate { address } => {
                self.appear(address).map_err(|code| (code, "an allocation failed".to_owned()))?;
            }
            Op::Free { address } => self.forget(address),
            Op::Record { event } => self.arrive(event, id),
            Op::Call(function) => thread::call_back(|| function.call()),
        }
        Ok(())
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), String> {
        let found = self.find(to).map(|(_, allocation)| allocation.device);
        let device = found.ok_or_else(|| format!("a copy to {to:#x}, where nothing is"))?;
        self.devices[device].memory.write(to, bytes).map_err(|error| error.to_string())
    }

    fn read(&mut self, from: u64, bytes: usize) -> Result<Vec<u8>, String> {
        let found = self.find(from).map(|(_, allocation)| allocation.device);
        let device = found.ok_or_else(|| format!("a copy from {from:#x}, where nothing is"))?;
        self.devices[device].memory.peek(from, bytes).map_err(|error| error.to_string())
    }

    /// Something went wrong on the device: its context is of no use any more.
    fn fault(&mut self, context: Handle, code: Code, what: String) {
        crate::log::say(&what);
        self.log(&format!("fault {}: {what}", code.0));
        self.calls.faults.push(what);
        if let Ok(context) = self.context_mut(context) {
            context.fault.get_or_insert(code);
        }
    }
}
