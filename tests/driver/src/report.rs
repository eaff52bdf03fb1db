//! What is left at the end.
#![allow(unsafe_code)] // ends the process from a handler of its exit

use std::fmt::Write;
use std::sync::Once;

use crate::config::CHECK_FAILED;
use crate::driver::{Driver, lock};
use crate::log::say;
use crate::table::Handle;

impl Driver {
    /// What was made and not given back, but for what a broken context keeps.
    pub fn leaks(&self) -> Vec<String> {
        let whole = |context: Handle| self.healthy(context).is_ok();
        let mut found = self.left.clone();
        for device in self.devices.iter().filter(|device| device.retained > 0) {
            let (ordinal, times) = (device.ordinal, device.retained);
            found.push(format!("primary context of device {ordinal}, retained {times} times"));
        }
        let is_primary =
            |context: Handle| self.devices.iter().any(|device| device.primary == context);
        let contexts = self.contexts.iter().filter(|(context, _)| !is_primary(*context));
        found.extend(contexts.map(|(context, _)| self.contexts.name(context)));
        let allocations = self.allocations.iter().filter(|(_, a)| whole(a.context));
        found.extend(allocations.map(|(&address, _)| self.describe(address)));
        let pinned = self.pinned.iter().filter(|(_, (context, _))| whole(*context));
        found.extend(pinned.map(|(address, (_, pages))| {
            format!("{} bytes of host memory at {address:#x}", pages.bytes())
        }));
        let streams = self.streams.iter().filter(|(_, s)| !s.implicit && whole(s.context));
        found.extend(streams.map(|(stream, _)| self.streams.name(stream)));
        let events = self.events.iter().filter(|(_, event)| whole(event.context));
        found.extend(events.map(|(event, _)| self.events.name(event)));
        let modules = self.modules.iter().filter(|(_, image)| whole(image.context));
        found.extend(modules.map(|(module, _)| self.modules.name(module)));
        found.extend(self.graphs.iter().map(|(graph, _)| self.graphs.name(graph)));
        let executables = self.executables.iter();
        found.extend(executables.map(|(executable, _)| self.executables.name(executable)));
        found
    }

    /// Counts of calls, faults, violations, leaks.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let mut lists = vec![("fault", self.calls.faults.clone())];
        lists.push(("violation", self.calls.violations.clone()));
        lists.push(("leak", self.leaks()));
        for (name, count) in &self.calls.by_name {
            let _ = writeln!(text, "{count} {name}"); // into a String
        }
        for (kind, list) in &lists {
            for what in list {
                let _ = writeln!(text, "{kind}: {what}");
            }
        }
        let [faults, violations, leaks] = [0, 1, 2].map(|at: usize| lists[at].1.len());
        let calls = self.calls.number("");
        let _ = writeln!(
            text,
            "{calls} calls, {faults} faults, {violations} violations, {leaks} leaks"
        );
        text
    }
}

/// Has the end of the process reported.
pub(crate) fn at_exit() {
    static ONCE: Once = Once::new();
    extern "C" fn hook() {
        // A function that the driver calls holds the lock.
        if crate::driver::is_owner() && !crate::thread::calls_back() {
            report();
        }
    }
    ONCE.call_once(|| {
        // SAFETY: a function that does not unwind.
        unsafe { libc::atexit(hook) };
    });
}

fn report() {
    let mut driver = lock();
    let summary = driver.summary();
    for line in summary.lines() {
        driver.log(line);
    }
    let wrong = !driver.calls.violations.is_empty() || !driver.leaks().is_empty();
    if driver.config.check && wrong {
        summary.lines().filter(|line| line.contains(": ")).for_each(say);
        drop(driver);
        // SAFETY: ends the process at once; handlers that are left do not run.
        unsafe { libc::_exit(CHECK_FAILED) };
    }
}
