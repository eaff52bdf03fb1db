//! What a test asks of the stand-in that is the driver of its process.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // calls the stand-in

use std::ffi::{CString, c_char, c_int};
use std::path::PathBuf;
use std::ptr::null;

use cudarc::driver::sys;

/// The stand-in, of which a process has one.
#[derive(Clone, Copy)]
pub struct StandIn(&'static libloading::Library);

impl StandIn {
    /// That of this process, which [`super::simulated::Machine`] started.
    pub fn here() -> StandIn {
        // SAFETY: loads what the library under test loads too.
        StandIn(unsafe { sys::culib() })
    }

    /// Calls a function of its own that takes a text, or nothing.
    fn call<R>(self, function: &str, text: Option<&str>) -> R {
        let text = text.map(|text| CString::new(text).unwrap());
        let text = text.as_ref().map_or(null(), |text| text.as_ptr());
        // SAFETY: the types are those of its README.
        unsafe {
            let function = self.0.get::<unsafe extern "C" fn(*const c_char) -> R>(function);
            function.unwrap()(text)
        }
    }

    /// How often a function was called; all calls for "".
    pub fn calls(self, name: &str) -> u64 {
        self.call("xent_sim_calls", Some(name))
    }

    /// Which calls fail from now on, as `XENT_SIM_FAIL` says it.
    pub fn fail(self, calls: &str) {
        assert_eq!(self.call::<i32>("xent_sim_fail", Some(calls)), 0);
    }

    /// Which calls are violations from now on.
    pub fn forbid(self, names: &str) {
        self.call::<()>("xent_sim_forbid", Some(names));
    }

    pub fn violations(self) -> u64 {
        self.call("xent_sim_violations", None)
    }

    pub fn leaks(self) -> u64 {
        self.call("xent_sim_leaks", None)
    }

    /// Instructions that threads executed so far, and those of them for the special function unit.
    pub fn executed(self) -> (u64, u64) {
        let mut approximations = 0;
        // SAFETY: writes an integer.
        let instructions = unsafe {
            type Executed = unsafe extern "C" fn(*mut u64) -> u64;
            self.0.get::<Executed>("xent_sim_executed").unwrap()(&mut approximations)
        };
        (instructions, approximations)
    }

    /// The summary: counts of calls, then faults, violations and leaks.
    pub fn report(self) -> String {
        let mut bytes = vec![0u8; 1 << 16];
        // SAFETY: as large as said.
        unsafe {
            type Report = unsafe extern "C" fn(*mut c_char, usize) -> usize;
            let report = self.0.get::<Report>("xent_sim_report").unwrap();
            report(bytes.as_mut_ptr().cast(), bytes.len());
        }
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    /// The counts of calls that a piece of work makes, without those that make none.
    pub fn counts(self, work: impl FnOnce()) -> Vec<(String, u64)> {
        let before = self.all_counts();
        work();
        let old =
            |name: &str| before.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count);
        let now = self.all_counts().into_iter();
        now.map(|(name, count)| (name.clone(), count - old(&name))).filter(|c| c.1 > 0).collect()
    }

    fn all_counts(self) -> Vec<(String, u64)> {
        let report = self.report();
        let lines = report.lines().filter_map(|line| line.split_once(' '));
        let counts = lines.filter_map(|(count, name)| Some((name.to_owned(), count.parse().ok()?)));
        counts.filter(|(name, _): &(String, u64)| name.starts_with("cu")).collect()
    }

    /// The name of the last call that was made to fail, without its version. The process has a log.
    pub fn failed(self) -> String {
        let log = PathBuf::from(std::env::var_os("XENT_SIM_LOG").unwrap());
        let log = std::fs::read_to_string(log).unwrap();
        let line = log.lines().rfind(|line| line.contains("(injected)")).unwrap();
        call(line)
    }
}

/// The name of the call of a line of the log, without its version.
pub fn call(line: &str) -> String {
    let name = line.split([' ', '(']).nth(2).unwrap();
    let (base, version) = name.rsplit_once("_v").unwrap_or((name, ""));
    if version.parse::<u32>().is_ok() { base.into() } else { name.into() }
}

/// Asserts that a call of the driver did what it should.
pub fn ok(code: sys::CUresult) {
    assert_eq!(code as c_int, 0, "{code:?}");
}

/// Ends the process where anything panics, as a program does that is built so: whatever a test of the
/// process catches, or a thread of it does.
pub fn abort_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
}
