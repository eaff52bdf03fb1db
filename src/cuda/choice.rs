//! What was chosen for rows, and why, in words.

use std::fmt;

use super::variant::Variant;

/// A kernel for rows, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The kernel.
    pub variant: Variant,
    /// What speaks for it.
    pub reason: Reason,
}

/// How often a row is read, and what decides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Lanes of a warp hold a short row.
    Lanes {
        /// For each row.
        lanes: u32,
        /// Of 16 bytes, in each lane.
        vectors: u32,
    },
    /// The registers of CTAs hold a row.
    Held(Ctas),
    /// Rows are few, so that each may have more CTAs than it needs.
    Few {
        /// Of each row.
        ctas: Ctas,
        /// As many as the problem expects.
        rows: u64,
    },
    /// A row is read for nothing but its sums, or nothing but its gradient.
    ReadOnce,
    /// No registers hold a row.
    TooLong {
        /// The longest row that they would hold.
        most_bytes: u64,
    },
}

/// CTAs that share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ctas {
    /// How many; more than one are a cluster.
    pub count: u32,
    /// Threads of each.
    pub threads: u32,
    /// Of 16 bytes, in the registers of each thread.
    pub vectors: u32,
}

impl fmt::Display for Ctas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ctas { count, threads, vectors } = self;
        match count {
            1 => write!(f, "a CTA")?,
            _ => write!(f, "a cluster of {count} CTAs")?,
        }
        write!(f, " of {threads} threads with {} each", Vectors(*vectors))
    }
}

/// So many.
struct Vectors(u32);

impl fmt::Display for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} vector{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Lanes { lanes: 1, vectors } => {
                write!(f, "read once: a lane of a warp with {} holds a row", Vectors(*vectors))
            }
            Reason::Lanes { lanes, vectors } => {
                let vectors = Vectors(*vectors);
                write!(f, "read once: {lanes} lanes of a warp with {vectors} each hold a row")
            }
            Reason::Held(ctas) => write!(f, "read once: {ctas} holds a row"),
            Reason::Few { ctas, rows } => {
                write!(f, "read once, all {rows} rows at the same time: each has {ctas}")
            }
            Reason::ReadOnce => write!(f, "read once: for its sums alone, or its gradient alone"),
            Reason::TooLong { most_bytes } => {
                write!(f, "read twice: registers hold rows of up to {most_bytes} bytes")
            }
        }
    }
}
