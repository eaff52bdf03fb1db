//! The CUDA path. Public for the tests and tools of this repository only, and no part of the
//! crate's API.
//!
//! * Which kernels: [`selection`] and [`variant`] from a problem and a GPU, with a reason ([`choice`]);
//!   [`columns`] from a call.
//! * Their code: [`search`] and [`nvrtc`] find the compiler, [`target`] says what it makes, [`compile`]
//!   makes it of [`source`], [`cache`] keeps it; [`code`] puts that together. What is in [`stock`] can
//!   be compiled ahead ([`prebuilt`]). No GPU is needed so far.
//! * The GPU: [`driver`], its context and what is done there ([`primary`]), memory ([`buffer`]).
//! * Runs: an [`engine`] loads [`program`]s, of which a plan has its [`kernels`]; [`sequence`] says
//!   what a run launches, with which [`params`]. Tensors are `cast`.

mod around;
pub mod buffer;
pub mod cache;
mod cast;
pub mod choice;
pub mod code;
pub mod columns;
pub mod compile;
pub mod driver;
pub mod engine;
mod error;
pub mod family;
pub mod interop;
pub mod kernels;
pub mod nvrtc;
pub mod params;
pub mod prebuilt;
pub mod primary;
pub mod program;
pub mod report;
pub mod search;
pub mod selection;
pub mod sequence;
pub mod source;
pub mod stock;
pub mod target;
pub mod variant;

pub use error::{CompileError, Error, Location, Result};
