//! Fused cross entropy: loss, statistics and gradient from one call, over `f32`, `f16` and `bf16`
//! logits with `f32` arithmetic, from Rust and through a C ABI.
//!
//! # How it goes
//!
//! A [`Problem`] says what to compute: types, number of classes, options, and which outputs are
//! wanted. A [`Context`] is a device with its threads. Both make a [`Plan`], which is checked,
//! immutable, and run as often as one likes with the [`Args`] of each call: buffers, strides, the
//! denominator of the mean. Nothing is allocated in a run; a [`Workspace`] is made once.
//!
//! ```
//! use xent::{Args, Context, DType, Outputs, Plan, Problem};
//!
//! let problem = Problem::new(DType::F32, 3)
//!     .ignore_index(-100)
//!     .outputs(Outputs::LOSS | Outputs::DLOGITS | Outputs::CORRECT);
//! let plan = Plan::new(&Context::auto(), &problem)?;
//! let mut workspace = plan.workspace(3)?;
//!
//! let logits = [1.0f32, 2.0, 3.0, 2.0, 4.0, 6.0, 0.0, 0.0, f32::NAN];
//! let targets = [0i64, 2, -100]; // the last row is not counted, and not read
//! let (mut loss, mut dlogits, mut correct) = (0f32, [0f32; 9], 0i64);
//! let args = Args::new(&logits, &targets)
//!     .loss(&mut loss)
//!     .dlogits(&mut dlogits)
//!     .correct(&mut correct);
//! plan.run(args, &mut workspace)?;
//!
//! assert!((loss - 1.2752688).abs() < 1e-6);
//! assert_eq!(dlogits[6..], [0.0; 3]);
//! assert_eq!(correct, 1);
//! # Ok::<(), xent::Error>(())
//! ```
//!
//! Slices, arrays and vectors of `f32`, `f16`, `bf16` (from the crate `half`), `f64` and integers
//! are packed [`View`]s; a [`Layout`] gives them strides and a class axis anywhere. [`Tensor`] is for those who have no
//! tensors yet.
//!
//! # What is computed
//!
//! PyTorch's cross entropy and its options, composed freely: class indices (`i64`, `i32`, `u32`,
//! `u8`) or probabilities (`f32`, `f16`, `bf16`), ignored rows, label smoothing, weights of classes
//! and of rows, a scale and a softcap of the logits, z-loss, and the reductions none, mean and sum.
//! Outputs, in any combination: [`LOSS`](Outputs::LOSS), [`LSE`](Outputs::LSE),
//! [`STATS`](Outputs::STATS), [`DLOGITS`](Outputs::DLOGITS), [`ARGMAX`](Outputs::ARGMAX),
//! [`CORRECT`](Outputs::CORRECT), [`ENTROPY`](Outputs::ENTROPY). The gradient is made in the same
//! pass, or later by [`Plan::backward`] from the statistics, with the same bits. [`Problem`] has
//! the formulas.
//!
//! Deliberately unlike PyTorch: ignored rows are never read, so that a NaN in them poisons
//! nothing; 0 times infinity is 0; the loss of 16-bit logits is `f32`; a smoothing outside \[0, 1\]
//! is an error; the caller may bring the denominator of the mean.
//!
//! # Numerics
//!
//! Errors are bounded relative to each element. With u = 2^-24, t the distance of a logit from the
//! largest one, s the sum of their exponentials without one maximum, q = s / (1 + s), and T the mean
//! of t under the softmax without the maximum:
//!
//! | result | error at most |
//! | --- | --- |
//! | loss of a row | u ((6 + 1.5 T) q + 3 loss) |
//! | gradient p - y, before it is rounded to its type | u ((8 + 2.5 (t + T q)) p + 6 y) |
//! | the same at a target that is the maximum | (8 + 2.5 T) u relative |
//!
//! With weights, smoothing or probabilities 3 loss becomes 5 times the sum of the terms'
//! magnitudes; a softcap adds 4 u max|z|. There is no absolute part, but for
//! numbers below 2^-126: a target that is ahead of
//! 32767 others by 30 has the loss 3.07e-9 and not 0, and three logits of 1e8 have the loss log 3.
//!
//! A row with a NaN, a +inf or nothing but -inf has no softmax: its loss, gradient and entropy are
//! NaN, its argmax is -1, and no other row is touched. A target at -inf has an infinite loss and a
//! finite gradient.
//!
//! Results are equal bit for bit from run to run, on any number of threads, under any rounding
//! mode of the caller, for any strides, and with [`Reduction::None`] whatever the other rows are.
//!
//! # Errors and panics
//!
//! An [`Error`] names the field, the value and what is allowed. Everything is checked, the targets
//! included, before the first output is written. No input makes a run panic.
//!
//! # Crate features
//!
//! * `capi` (default): the C ABI of `include/xent.h`, in the same library.
//! * `cuda` (default): kernels for NVIDIA GPUs, on Linux. Neither the CUDA toolkit nor a driver is
//!   needed to build or to load the library. Nothing runs on a GPU yet.
//! * `header`: makes `include/xent.h` again while building; for developers.

mod args;
mod call;
#[cfg(feature = "capi")]
mod capi;
mod context;
mod cpu;
#[cfg(all(feature = "cuda", target_os = "linux"))]
#[doc(hidden)] // for tests and tools of this repository; no part of the API
pub mod cuda;
#[cfg(not(all(feature = "cuda", target_os = "linux")))]
#[path = "cuda/absent.rs"]
mod cuda;
mod device;
mod dtype;
mod error;
mod log;
mod plan;
mod problem;
mod report;
mod stream;
mod tensor;
mod view;
mod workspace;

pub use args::{Args, BackwardArgs, Denominator};
pub use context::{Context, ContextOptions};
pub use cpu::parallel::ParallelFor;
pub use cpu::reference;
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub use cuda::interop::{Lent, LentMut};
pub use device::{Device, DeviceKind};
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use half::{bf16, f16};
pub use plan::Plan;
pub use problem::{EmptyMean, Outputs, Problem, Reduction};
pub use report::Report;
pub use stream::Stream;
pub use tensor::Tensor;
pub use view::{Layout, View, ViewMut};
pub use workspace::Workspace;

/// The examples of the README run too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
