//! Counts of calls: which fail, which were forbidden.

use std::collections::BTreeMap;

use crate::code::Code;

/// What is known of the calls so far.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub by_name: BTreeMap<&'static str, u64>,
    fail: Vec<Failure>,
    forbidden: Vec<String>,
    /// What a program must not do, in words.
    pub violations: Vec<String>,
    /// What kernels did that ended their contexts.
    pub faults: Vec<String>,
}

/// The k-th call, of a name or of any, fails.
#[derive(Debug)]
struct Failure {
    name: Option<String>,
    left: u64,
    code: Code,
}

impl Calls {
    /// Which calls are to fail, counted from now: `k`, `k=code`, `name:k`, `name:k=code`, several
    /// with commas between them. The text that makes no sense is the error.
    pub fn fail(&mut self, text: &str) -> Result<(), String> {
        let parse = |part: &str| {
            let (call, code) = match part.split_once('=') {
                Some((call, code)) => (call, code.trim().parse().ok()?),
                None => (part, Code::UNKNOWN.0),
            };
            let (name, k) = match call.split_once(':') {
                Some((name, k)) => (Some(name.trim().to_owned()), k),
                None => (None, call),
            };
            let left = k.trim().parse().ok().filter(|&k| k > 0)?;
            Some(Failure { name, left, code: Code(code) })
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let found: Option<Vec<Failure>> = parts.map(parse).collect();
        self.fail = found.ok_or_else(|| format!("{text} names no calls to fail"))?;
        Ok(())
    }

    /// Which calls are violations from now on.
    pub fn forbid(&mut self, names: &str) {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        self.forbidden = names.map(str::to_owned).collect();
    }

    /// Counts a call, and says whether it is to fail.
    pub fn count(&mut self, name: &'static str) -> Option<Code> {
        *self.by_name.entry(name).or_default() += 1;
        if self.forbidden.iter().any(|forbidden| same(name, forbidden)) {
            self.violations.push(format!("{name} was called, which is forbidden"));
        }
        let mut code = None;
        for failure in &mut self.fail {
            if failure.left > 0 && failure.name.as_ref().is_none_or(|other| same(name, other)) {
                failure.left -= 1;
                if failure.left == 0 {
                    code = code.or(Some(failure.code));
                }
            }
        }
        code
    }

    /// How often a function was called; all calls for an empty name.
    pub fn number(&self, name: &str) -> u64 {
        let wanted = |(found, _): &(&&'static str, &u64)| name.is_empty() || same(found, name);
        self.by_name.iter().filter(wanted).map(|(_, count)| count).sum()
    }
}

/// Whether a symbol is meant by a name, which may lack the version: `cuMemAlloc` of
/// `cuMemAlloc_v2`.
pub(crate) fn same(symbol: &str, name: &str) -> bool {
    symbol == name || base(symbol) == name
}

/// A symbol's name in cuda.h.
pub(crate) fn base(symbol: &str) -> &str {
    let symbol = symbol.trim_end_matches("_ptsz").trim_end_matches("_ptds");
    match symbol.rsplit_once("_v") {
        Some((base, version)) if version.parse::<u32>().is_ok() => base,
        _ => symbol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_versions_mean_all_of_them() {
        assert!(same("cuMemAlloc_v2", "cuMemAlloc"));
        assert!(same("cuMemcpyHtoDAsync_v2_ptsz", "cuMemcpyHtoDAsync"));
        assert!(!same("cuMemAllocAsync", "cuMemAlloc"));
        assert!(!same("cuStreamGetCaptureInfo_v2", "cuStreamGetCaptureInfo_v3"));
    }

    #[test]
    fn the_call_that_is_named_fails() {
        let mut calls = Calls::default();
        calls.fail("2, cuMemAlloc:2=2").unwrap();
        let mut count = |name| calls.count(name).map(|code| code.0);
        assert_eq!(count("cuMemAlloc_v2"), None);
        assert_eq!(count("cuInit"), Some(999));
        assert_eq!(count("cuMemAlloc_v2"), Some(2));
        assert_eq!(count("cuMemAlloc_v2"), None);
        for wrong in ["0", "x", "a:b", "3=x"] {
            assert!(calls.fail(wrong).is_err(), "{wrong}");
        }
    }
}
