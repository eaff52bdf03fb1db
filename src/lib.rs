//! Cross entropy.

mod args;
mod call;
#[cfg(feature = "capi")]
mod capi;
mod context;
mod cpu;
mod device;
mod dtype;
mod error;
mod plan;
mod problem;
mod tensor;
mod view;
mod workspace;

pub use args::{Args, BackwardArgs, Denominator};
pub use context::{Context, ContextOptions, ParallelFor};
pub use cpu::reference;
pub use device::{Device, DeviceKind};
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use half::{bf16, f16};
pub use plan::Plan;
pub use problem::{EmptyMean, Outputs, Problem, Reduction};
pub use tensor::Tensor;
pub use view::{Layout, View, ViewMut};
pub use workspace::Workspace;
