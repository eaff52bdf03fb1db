//! Executes the PTX that NVRTC emits, without a GPU, and checks every access on the way.
//!
//! A [`Module`] is a PTX text; a [`Memory`] holds allocations of exact size, far apart; a
//! [`Launch`] runs a kernel of the module on the memory and gives [`Stats`], or the first [`Error`]
//! with its place.
//!
//! ```
//! use xent_simulator::{Fill, Launch, Memory, Module, Params};
//!
//! let module = Module::parse(
//!     ".version 8.0
//!      .target sm_80
//!      .address_size 64
//!      .visible .entry twice(.param .u64 to) {
//!          .reg .b32 %r<3>;
//!          .reg .b64 %rd<3>;
//!          ld.param.u64 %rd1, [to];
//!          mov.u32 %r1, %tid.x;
//!          mul.wide.u32 %rd2, %r1, 4;
//!          add.s64 %rd1, %rd1, %rd2;
//!          shl.b32 %r2, %r1, 1;
//!          st.global.u32 [%rd1], %r2;
//!          ret;
//!      }",
//! )?;
//! let mut memory = Memory::new();
//! let to = memory.allocate("to", 4 * 40, 0, Fill::Unwritten);
//! let mut launch = Launch::new("twice");
//! launch.block = [40, 1, 1];
//! launch.params = Params::new().u64(to.address()).finish();
//! let stats = launch.run(&module, &mut memory)?;
//! assert_eq!(memory.read(to.address() + 4 * 39, 4)?, [78, 0, 0, 0]);
//! assert_eq!(stats.by_opcode["st.global.u32"], (2, 40));
//! # Ok::<(), xent_simulator::Error>(())
//! ```
//!
//! The README says what is modelled, what is not, and how to read an error.

mod alu;
mod bytes;
mod clocks;
mod decode;
mod error;
mod execute;
mod launch;
mod lex;
mod memory;
mod module;
mod names;
mod op;
mod parse;
mod race;
mod random;
mod schedule;
mod types;

pub use error::{Error, Kind};
pub use launch::{Launch, Params, Stats};
pub use memory::{Fill, Memory, Pointer, Rule};
pub use module::{Entry, Module};
