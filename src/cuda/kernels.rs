//! The kernels of a plan, chosen and loaded, and how a run launches them.
#![allow(unsafe_code)] // launches

use std::ffi::c_void;
use std::ptr::from_ref;
use std::sync::Arc;

use cudarc::driver::sys::CUstream;

use super::buffer::Buffer;
use super::family;
use super::primary::{Entered, Primary};
use super::program::Program;
use super::selection::{self, Gpu};
use super::sequence::{self, Step};
use super::variant::Variant;
use super::{Result, around};
use crate::call::{Call, Work};
use crate::{Outputs, Problem};

/// Where a kernel is in the program of those [around the rows](super::variant::around_rows).
mod before_and_after {
    pub const COUNT: usize = 0;
    pub const SCALES: usize = 1;
    pub const SUM: usize = 2;
    pub const FINISH: usize = 3;
}

/// Where a kernel is in the program of a problem.
mod own {
    /// Of the cross entropy of logits: for rows; then for columns, one for each width.
    pub const FORWARD: usize = 0;
    pub const BACKWARD: usize = 3;
    pub const DOUBLE_BACKWARD: usize = 6;
    /// Of a softmax.
    pub const OF_OUTPUT: usize = 1;
}

/// The kernels that a problem has for itself, in their order; of the cross entropy of logits, those from
/// `own::BACKWARD` on only if it writes statistics, and that of the double backward without a softcap.
pub fn choose(problem: &Problem, gpu: Gpu) -> Vec<Variant> {
    if !problem.is_fused() {
        return family::variants(problem);
    }
    let separate = problem.outputs.contains(Outputs::STATS).then_some(true);
    let mut variants = Vec::new();
    for backward in [Some(false), separate].into_iter().flatten() {
        variants.push(selection::rows(problem, backward, gpu).variant);
        variants.extend(selection::columns(problem, backward, gpu));
    }
    if separate.is_some() && problem.softcap.is_none() {
        variants.push(family::hessian(problem));
    }
    variants
}

/// Kernels of a plan.
#[derive(Debug)]
pub struct Kernels {
    primary: Arc<Primary>,
    around: Arc<Program>,
    own: Arc<Program>,
}

impl Kernels {
    /// `own`: what [`choose`] chose for the problem.
    pub fn new(primary: &Arc<Primary>, around: Arc<Program>, own: Arc<Program>) -> Self {
        Kernels { primary: Arc::clone(primary), around, own }
    }

    /// The name of the kernel for the rows of a run.
    pub(crate) fn name(&self) -> &str {
        self.own.name(own::FORWARD)
    }

    /// Why it is that one, where there is a choice: to be read behind its name.
    pub(crate) fn reason(&self, problem: &Problem) -> String {
        if !problem.is_fused() {
            return String::new();
        }
        format!("; a row is {}", selection::rows(problem, false, self.primary.gpu()).reason)
    }

    /// The bytes of workspace that a run of so many rows needs.
    pub(crate) fn workspace_size(&self, problem: &Problem, rows: usize) -> usize {
        around::workspace_size(problem, rows)
    }

    /// Allocates memory of the GPU.
    ///
    /// # Errors
    /// [`Error::Driver`](super::Error::Driver) if there is not so much.
    pub(crate) fn allocate(&self, size: usize) -> crate::Result<Buffer> {
        Buffer::allocate(&self.primary, size)
    }

    /// Makes the context of the GPU that of this thread, for one call.
    ///
    /// # Errors
    /// [`Error::Forked`](super::Error::Forked); [`Error::Driver`](super::Error::Driver) if the context
    /// cannot be used.
    pub(crate) fn enter(&self) -> crate::Result<Session<'_>> {
        Ok(Session { kernels: self, entered: self.primary.enter()? })
    }
}

/// The kernels of a plan while their context is that of this thread.
pub(crate) struct Session<'k> {
    kernels: &'k Kernels,
    entered: Entered<'k>,
}

impl Session<'_> {
    /// Puts a call on a stream. Neither allocates nor waits.
    ///
    /// `problem` is the one of these kernels.
    ///
    /// # Errors
    /// [`Error::Driver`](super::Error::Driver) if the driver refuses a launch.
    pub fn run(&self, problem: &Problem, call: &Call) -> crate::Result<()> {
        let backward = call.work == Work::Backward;
        let widths = selection::widths(problem, backward, self.kernels.primary.gpu());
        let done = sequence::run(problem, call, widths, |step| {
            // SAFETY: a call has been checked: its addresses are of this GPU, and who made its views
            // and its stream promised that they are good until the work is done.
            unsafe { self.launch(&step, call.work, call.on_gpu.stream.cast()) }
        });
        Ok(done?)
    }

    /// # Safety
    /// The addresses and the stream are good until the work is done.
    unsafe fn launch(&self, step: &Step, work: Work, stream: CUstream) -> Result<()> {
        let Kernels { around, own, .. } = self.kernels;
        let (rows, tensors) = match work {
            Work::Forward => (own::FORWARD, own::FORWARD),
            Work::Backward => (own::BACKWARD, own::OF_OUTPUT),
            Work::DoubleBackward => (own::DOUBLE_BACKWARD, own::DOUBLE_BACKWARD),
        };
        let (program, place, count, params): (_, _, i64, *const c_void) = match step {
            Step::Count(params) => {
                (around, before_and_after::COUNT, params.slices, from_ref(params).cast())
            }
            Step::Scales(params) => (around, before_and_after::SCALES, 1, from_ref(params).cast()),
            Step::Rows(params) => (own, rows, params.rows, from_ref(params).cast()),
            Step::Columns { params, width, vectors } => {
                (own, rows + 1 + width, *vectors, from_ref(params).cast())
            }
            Step::Tensors(params) => (own, tensors, params.rows.rows, from_ref(params).cast()),
            Step::Elements(params) => {
                (own, own::FORWARD, params.of.rows.rows, from_ref(params).cast())
            }
            Step::Sum(params) => {
                (around, before_and_after::SUM, params.slices, from_ref(params).cast())
            }
            Step::Finish(params) => (around, before_and_after::FINISH, 1, from_ref(params).cast()),
        };
        // SAFETY: the caller's promise; the parameters are those of this kernel.
        unsafe { program.launch(place, count, &self.entered, stream, params) }
    }

    /// Waits for a stream and reads four numbers.
    ///
    /// # Errors
    /// [`Error::Driver`](super::Error::Driver) if the GPU failed.
    pub fn read(&self, from: *const u8, stream: *mut c_void) -> crate::Result<[i64; 4]> {
        let mut bytes = [0u8; 32];
        // SAFETY: a checked address of four numbers, and the caller's stream.
        unsafe { self.entered.read(from.addr() as u64, &mut bytes, stream.cast())? };
        let number = |i: usize| i64::from_ne_bytes(std::array::from_fn(|byte| bytes[8 * i + byte]));
        Ok(std::array::from_fn(number))
    }

    /// What is at an address, if the GPU cannot use it.
    ///
    /// # Errors
    /// [`Error::Driver`](super::Error::Driver) if the context is lost.
    pub fn foreign(&self, address: usize) -> crate::Result<Option<String>> {
        Ok(match self.entered.owner(address as u64)? {
            Some(ordinal) if ordinal == self.kernels.primary.ordinal() => None,
            Some(ordinal) => Some(format!("memory of CUDA {ordinal}")),
            None => Some("memory that the driver does not know".into()),
        })
    }
}
