//! Kernels for NVIDIA GPUs: finding NVRTC, which compiles them, and compiling.
//!
//! Public for the tests and tools of this repository only, and no part of the crate's API. Nothing
//! here needs a GPU or a driver.

pub mod buffer;
pub mod cache;
pub mod code;
pub mod columns;
pub mod compile;
pub mod driver;
pub mod engine;
mod error;
pub mod interop;
pub mod kernels;
pub mod nvrtc;
pub mod params;
pub mod primary;
pub mod report;
pub mod search;
pub mod selection;
pub mod sequence;
pub mod source;
pub mod target;
pub mod variant;

pub use error::{CompileError, Error, Location, Result};
