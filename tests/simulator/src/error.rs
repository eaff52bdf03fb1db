//! What a kernel did wrong, and where.

use std::fmt;

/// The kinds of faults, for tests that plant one and expect it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The text is not PTX, or uses something that is not modelled.
    Parse,
    /// The launch does not fit the kernel: parameters, geometry, shared memory.
    Launch,
    /// An access outside every allocation, or across the end of one.
    OutOfBounds,
    /// An address that is not a multiple of the size of its access.
    Misaligned,
    /// A read of bytes that nobody has written.
    Uninitialised,
    /// Two accesses, at least one a write, that nothing orders.
    Race,
    /// All threads that are left wait for something that cannot happen.
    Deadlock,
    /// A `.sync` instruction whose mask names lanes that cannot take part.
    Mask,
    /// A barrier or mbarrier used against its rules.
    Barrier,
    /// Shared memory of a peer that may not have started, or may have exited.
    Cluster,
    /// The kernel executed `trap`.
    Trap,
    /// The kernel executed more instructions than the launch allows.
    Limit,
}

/// A fault, with all that is known about its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What kind of fault it is.
    pub kind: Kind,
    /// The kernel; empty before one is known.
    pub kernel: String,
    /// Line of the PTX text, from 1; 0 where there is none.
    pub line: u32,
    /// The text of the instruction.
    pub text: Box<str>,
    /// `%ctaid` of the thread.
    pub cta: Option<[u32; 3]>,
    /// The warp within its CTA.
    pub warp: Option<u32>,
    /// The lane within its warp.
    pub lane: Option<u32>,
    /// The address of the access.
    pub address: Option<u64>,
    /// What went wrong, in words.
    pub what: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error {
            kind,
            kernel: String::new(),
            line: 0,
            text: Box::default(),
            cta: None,
            warp: None,
            lane: None,
            address: None,
            what: what.into(),
        }
    }

    pub(crate) fn at(mut self, line: usize, text: &str) -> Self {
        if self.line == 0 {
            self.line = line as u32;
            self.text = text.into();
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)?;
        if let Some(address) = self.address {
            write!(f, "\n  address {address:#x}")?;
        }
        if !self.kernel.is_empty() {
            write!(f, "\n  in {}", self.kernel)?;
        }
        if let Some([x, y, z]) = self.cta {
            write!(f, ", CTA ({x}, {y}, {z})")?;
        }
        if let Some(warp) = self.warp {
            write!(f, ", warp {warp}")?;
        }
        if let Some(lane) = self.lane {
            write!(f, ", lane {lane}")?;
        }
        if self.line > 0 {
            write!(f, "\n  PTX line {}: {}", self.line, self.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A fault of one instruction, before its place is known.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: Kind,
    pub what: String,
    pub lane: Option<u32>,
    pub address: Option<u64>,
}

impl Fault {
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Fault { kind, what: what.into(), lane: None, address: None }
    }

    pub fn lane(mut self, lane: usize) -> Self {
        self.lane.get_or_insert(lane as u32);
        self
    }

    pub fn address(mut self, address: u64) -> Self {
        self.address.get_or_insert(address);
        self
    }
}
