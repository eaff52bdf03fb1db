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
//! let plan = Plan::new(&Context::cpu(), &problem)?;
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
//! are packed [`View`]s; a [`Layout`] gives them strides and a class axis anywhere. [`Tensor`] is for
//! those who have no tensors yet.
//!
//! # On a GPU
//!
//! [`Context::auto`] takes the first NVIDIA GPU if everything that it needs is there, else the CPU;
//! [`Device::fallback_reason`] says what is missing and how to get it. A GPU needs Linux, a driver of
//! CUDA 12.0 or newer, compute capability 7.0 or newer, and NVRTC, which compiles the kernels of a
//! plan when it is made (about a second; then they are kept on disk). Buffers and workspace are then
//! memory of that GPU: a [`Tensor`] that was moved [`to`](Tensor::to) it, a slice of cudarc's (`Lent`,
//! `LentMut`), or any address ([`View::from_raw`]). What is elsewhere is refused; nothing is copied
//! behind the caller's back.
//!
//! ```
//! use xent::{Args, Context, DType, Outputs, Plan, Problem, Tensor};
//!
//! let context = Context::auto();
//! let problem = Problem::new(DType::BF16, 3).outputs(Outputs::LOSS | Outputs::DLOGITS);
//! let plan = Plan::new(&context, &problem)?;
//! let mut workspace = plan.workspace(2)?;
//!
//! let logits = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 2.0, 4.0, 6.0], &[2, 3])?;
//! let logits = logits.to(&context)?.cast(DType::BF16)?;
//! let targets = Tensor::from_slice(&[0i64, 2], &[2])?.to(&context)?;
//! let mut loss = Tensor::zeros_on(&context, DType::F32, &[1])?;
//! let mut dlogits = Tensor::zeros_on(&context, DType::BF16, &[2, 3])?;
//! plan.run(Args::new(&logits, &targets).loss(&mut loss).dlogits(&mut dlogits), &mut workspace)?;
//!
//! assert!((loss.to_vec::<f32>()?[0] - 1.2752688).abs() < 1e-6); // waits for a GPU
//! # Ok::<(), xent::Error>(())
//! ```
//!
//! A run puts its kernels on the caller's [`Stream`] and returns: it allocates nothing, waits for
//! nothing, makes no event, and can be captured in a CUDA graph. The GPU's primary context is used,
//! as PyTorch and the CUDA runtime do, and the calling thread's current context is as it was. A class
//! index that is no class cannot stop a run there: its row is NaN, and a [`Report`] says which it was.
//! Threads may share a plan; runs that overlap in time need workspaces and reports of their own. After
//! a fault of any kernel in the process the driver fails every call, and so does this library with
//! [`Error::Cuda`]; dropping things is still fine. In the child of a fork, a GPU that was in use before
//! is [`Error::Unavailable`].
//!
//! # On a CPU
//!
//! The kernels are compiled for several instruction sets: AVX2 with FMA and F16C, AVX-512, NEON, and
//! what every processor of the target has. A context takes the best one that the processor has; the
//! kernel's name says which. A row is read once: maximum and sums are made in one pass, and what the
//! gradient needs of it is still in the second-level cache, or its exponentials are. A gradient that is
//! too large for the caches is written past them, each row while the next ones are computed. Up to 63
//! classes, 32 rows are computed at a time.
//!
//! Rows are spread over the threads of the context, and where there are few of them, so are the columns
//! of each. A small problem stays on the calling thread. [`ContextOptions::threads`] limits the threads,
//! [`ContextOptions::parallel_for`] takes those of the host program.
//!
//! | variable | effect |
//! | --- | --- |
//! | `XENT_CPU` | vectors to use, in the place of the best: `portable`, `avx2`, `avx512`, `neon` |
//! | `XENT_NVRTC` | file or folder of the NVRTC to use, in the place of the search |
//! | `XENT_CACHE` | folder of compiled kernels, in the place of `~/.cache/xent`; empty: nothing is kept |
//! | `XENT_KERNELS` | folder of kernels that were compiled ahead, for hosts without NVRTC |
//! | `XENT_LOG` | 1: a line on stderr for each plan, with its device, its kernel, and why it is that one |
//! | `CUDA_FORCE_PTX_JIT` | 1: the driver compiles the kernels from PTX, as it does for all programs |
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
//! There is more: an [`Operation`] on logits, log-probabilities or probabilities.
//! [`Problem::softmax`], [`Problem::log_softmax`], [`Problem::nll_loss`],
//! [`Problem::cross_entropy_from_probs`], [`Problem::bce_with_logits`], [`Problem::bce`],
//! [`Problem::kl_div`] and [`Problem::entropy`] are those that have names elsewhere, others have the
//! conventions of Keras, scikit-learn and Caffe. [`Plan::backward`] goes back from the output of a
//! softmax, [`Plan::double_backward`] once more from the gradient of a cross entropy. [`one_hot`] and
//! [`distributions`] make targets.
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
//! | softmax p | u (8 + 2.5 (t + T q)) p |
//! | its logarithm l | u ((6 + 1.5 T) q - 3 l) |
//! | other losses and their gradients | 8 u of the magnitudes of their terms |
//!
//! On a GPU, 1.5 T is 2 T in rows of 16-bit logits some of which are smaller than 2^-12 of the largest one,
//! and not 0. With weights, smoothing or probabilities 3 loss becomes 5 times the sum of the terms'
//! magnitudes; a softcap adds 4 u max|z|. There is no absolute part, but for numbers below 2^-126: a
//! target that is ahead of 32767 others by 30 has the loss 3.07e-9 and not 0, and three logits of 1e8
//! have the loss log 3.
//!
//! A row with a NaN, a +inf or nothing but -inf has no softmax: its loss, gradient and entropy are
//! NaN, its argmax is -1, and no other row is touched. A target at -inf has an infinite loss and a
//! finite gradient.
//!
//! Results are equal bit for bit from run to run, on any number of threads, under any rounding
//! mode of the caller, for any strides, and with [`Reduction::None`] whatever the other rows are. AVX2,
//! AVX-512 and NEON give the same bits, portable vectors, which round products before they are added,
//! give others. On a GPU that holds for one plan on one kind of GPU, and rows that lie alike within 128 bytes; other
//! outputs or options may take another kernel, whose last bits differ. Its bits are not those of the
//! CPU, its bounds are.
//!
//! # Errors and panics
//!
//! An [`Error`] names the field, the value and what is allowed. Everything is checked before the first
//! output is written, on the CPU the targets too. No input makes a run panic.
//!
//! # Crate features
//!
//! * `capi` (default): the C ABI of `include/xent.h`, in the same library.
//! * `cuda` (default): NVIDIA GPUs, on Linux. Neither the CUDA toolkit nor a driver is needed to build
//!   or to load the library.
//! * `cli`: the program `xent`, which says what there is to compute with, and checks what it computes.
//! * `header`: makes `include/xent.h` again while building; for developers.

mod args;
mod call;
#[cfg(feature = "capi")]
mod capi;
mod checks;
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
mod operation;
mod plan;
mod presets;
mod problem;
mod report;
mod site;
mod stream;
mod tensor;
mod view;
mod workspace;

pub use args::{Args, BackwardArgs, Denominator};
pub use context::{Context, ContextOptions};
pub use cpu::labels::{check_distributions, distributions, one_hot};
pub use cpu::parallel::ParallelFor;
pub use cpu::reference;
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub use cuda::interop::{Lent, LentMut};
pub use device::{Device, DeviceKind};
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use half::{bf16, f16};
pub use operation::{Clip, Form, Operation, Renormalise, Unit};
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
