//! What can go wrong, one variant for each thing that a caller would do differently.

use std::fmt;

/// A failed call. Its text names the field, the value and what is allowed.
///
/// A call that fails has written to none of its outputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A value is outside its range, or contradicts another one.
    Invalid {
        /// The field that holds the value.
        field: &'static str,
        /// The value, as text.
        value: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// A buffer that the problem asks for was not given.
    Missing {
        /// The field that holds the buffer.
        field: &'static str,
        /// What asks for it.
        reason: &'static str,
    },
    /// A buffer was given that the problem does not use.
    Unexpected {
        /// The field that holds the buffer.
        field: &'static str,
        /// What would make it welcome.
        reason: &'static str,
    },
    /// A buffer is too short, or of another shape or type than the problem says.
    Mismatch {
        /// The field that holds the buffer.
        field: &'static str,
        /// What was given.
        given: String,
        /// What is needed.
        needed: String,
    },
    /// An address is not a multiple of the alignment that is needed or was promised.
    Misaligned {
        /// The field that holds the address.
        field: &'static str,
        /// The address, or for a promise about strides, the stride in bytes.
        address: usize,
        /// The alignment in bytes.
        alignment: usize,
    },
    /// Two buffers share memory, and at least one of them is written.
    Overlap {
        /// The buffer that is written.
        field: &'static str,
        /// The other one.
        other: &'static str,
    },
    /// The workspace is smaller than the plan asks for.
    WorkspaceTooSmall {
        /// Bytes given.
        given: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The request is sound, but this build, device or plan does not do it.
    Unsupported {
        /// What was asked for.
        what: String,
        /// What works instead.
        instead: String,
    },
    /// Something that computing on a GPU needs is not there.
    Unavailable {
        /// What is missing, and how to get it.
        what: String,
    },
    /// A call of the CUDA driver failed.
    Cuda {
        /// The call and the driver's words.
        what: String,
        /// The driver's result code.
        code: i32,
    },
    /// Threads or memory could not be had from the system.
    Resource {
        /// What failed.
        what: String,
    },
    /// A class index is neither a class nor the ignored index.
    InvalidTarget {
        /// The first row that holds such an index.
        row: usize,
        /// The index.
        value: i64,
        /// The number of classes.
        classes: usize,
    },
}

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn invalid(
        field: &'static str,
        value: impl fmt::Display,
        allowed: impl fmt::Display,
    ) -> Self {
        Error::Invalid { field, value: value.to_string(), allowed: allowed.to_string() }
    }

    pub(crate) fn mismatch(
        field: &'static str,
        given: impl fmt::Display,
        needed: impl fmt::Display,
    ) -> Self {
        Error::Mismatch { field, given: given.to_string(), needed: needed.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid { field, value, allowed } => {
                write!(f, "{field}: {value} is not allowed; it must be {allowed}")
            }
            Error::Missing { field, reason } => write!(f, "{field}: missing, but {reason}"),
            Error::Unexpected { field, reason } => write!(f, "{field}: given, but {reason}"),
            Error::Mismatch { field, given, needed } => {
                write!(f, "{field}: got {given}, but {needed} is needed")
            }
            Error::Misaligned { field, address, alignment } => {
                write!(f, "{field}: {address:#x} is not a multiple of {alignment} bytes")
            }
            Error::Overlap { field, other } => write!(
                f,
                "{field}: shares memory with {other}; outputs must be apart from every other buffer"
            ),
            Error::WorkspaceTooSmall { given, needed } => {
                write!(f, "workspace: {given} bytes given, but {needed} are needed")
            }
            Error::Unsupported { what, instead } => write!(f, "{what}: not supported; {instead}"),
            Error::Unavailable { what } | Error::Cuda { what, .. } | Error::Resource { what } => {
                f.write_str(what)
            }
            Error::InvalidTarget { row, value, classes } => {
                write!(f, "targets: row {row} holds {value}, which is not in [0, {classes})")
            }
        }
    }
}

impl std::error::Error for Error {}
