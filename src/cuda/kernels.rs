//! The kernels of a plan, chosen, compiled and loaded, and how a run launches them.
#![allow(unsafe_code)] // launches

use std::ffi::c_void;
use std::ptr::from_ref;
use std::sync::Arc;

use cudarc::driver::sys::CUstream;

use super::buffer::Buffer;
use super::cache::Cache;
use super::code;
use super::nvrtc::Nvrtc;
use super::primary::{Entered, Function, Module, Primary};
use super::selection::{self, Gpu};
use super::sequence::{self, Step};
use super::target::Target;
use super::variant::{self, Variant};
use super::{Error, Result};
use crate::call::Call;
use crate::{Outputs, Problem};

/// Where a kernel is in the list of a plan's: those around the rows first.
mod place {
    pub const COUNT: usize = 0;
    pub const SCALES: usize = 1;
    pub const SUM: usize = 2;
    pub const FINISH: usize = 3;
    /// For rows; then for columns, one for each of the widths.
    pub const FORWARD: usize = 4;
    pub const BACKWARD: usize = 7;
}

/// The kernels that a plan launches, in the order of [`place`]; without the last if the problem
/// writes no statistics.
pub fn choose(problem: &Problem, gpu: Gpu) -> Vec<Variant> {
    let mut variants = Vec::from(variant::around_rows());
    let separate = problem.outputs.contains(Outputs::STATS).then_some(true);
    for backward in [Some(false), separate].into_iter().flatten() {
        variants.push(selection::rows(problem, backward, gpu));
        variants.extend(selection::columns(problem, backward, gpu));
    }
    variants
}

/// Kernels of a plan, loaded.
#[derive(Debug)]
pub struct Kernels {
    kernels: Vec<(Variant, Function)>,
    primary: Arc<Primary>,
    _module: Module, // what the functions are in
}

impl Kernels {
    /// Compiles kernels, or finds them in the cache, and loads them.
    ///
    /// # Errors
    /// Those of compiling and loading.
    pub fn prepare(
        variants: Vec<Variant>,
        primary: &Arc<Primary>,
        nvrtc: &Nvrtc,
        target: Target,
        cache: &Cache,
    ) -> Result<Self> {
        let mut programs: Vec<&str> = variants.iter().map(|variant| variant.program).collect();
        programs.sort();
        programs.dedup();
        let expressions: Vec<&str> = variants.iter().map(|v| v.expression.as_str()).collect();
        let code = code::obtain(nvrtc, target, &programs, &expressions, cache)?;
        let module = Module::load(primary, &code.image)?;
        let functions = code.names.iter().map(|name| module.function(name));
        let functions = functions.collect::<Result<Vec<_>>>()?;
        let kernels = variants.into_iter().zip(functions).collect();
        Ok(Kernels { kernels, primary: Arc::clone(primary), _module: module })
    }

    /// Puts a run on a stream, or the gradient from statistics. Neither allocates device memory nor
    /// waits.
    ///
    /// `problem` is the one of these kernels.
    ///
    /// # Errors
    /// [`Error::Driver`] if the driver refuses a launch, [`Error::Forked`].
    pub(crate) fn run(&self, problem: &Problem, call: &Call, backward: bool) -> crate::Result<()> {
        let entered = self.primary.enter()?;
        let widths = selection::widths(problem, backward, self.primary.gpu());
        let done = sequence::run(problem, call, backward, widths, |step| {
            // SAFETY: a call has been checked: its addresses are of this GPU, and who made its views
            // and its stream promised that they are good until the work is done.
            unsafe { self.launch(&entered, &step, backward, call.stream.cast()) }
        });
        Ok(done?)
    }

    /// # Safety
    /// The addresses and the stream are good until the work is done.
    unsafe fn launch(
        &self,
        entered: &Entered<'_>,
        step: &Step,
        backward: bool,
        stream: CUstream,
    ) -> Result<()> {
        let rows = if backward { place::BACKWARD } else { place::FORWARD };
        let (place, count, params): (_, i64, *const c_void) = match step {
            Step::Count(params) => (place::COUNT, params.slices, from_ref(params).cast()),
            Step::Scales(params) => (place::SCALES, 1, from_ref(params).cast()),
            Step::Rows(params) => (rows, params.rows, from_ref(params).cast()),
            Step::Columns { params, width, vectors } => {
                (rows + 1 + width, *vectors, from_ref(params).cast())
            }
            Step::Sum(params) => (place::SUM, params.slices, from_ref(params).cast()),
            Step::Finish(params) => (place::FINISH, 1, from_ref(params).cast()),
        };
        let (variant, function) = &self.kernels[place];
        let grid = variant.grid(count.unsigned_abs()).ok_or(Error::Grid { rows: count })?;
        // SAFETY: the caller's promise; the parameters are those of this kernel.
        unsafe { entered.launch(*function, grid, variant.threads, stream, params) }
    }

    /// The name of the kernel for the rows of a run.
    pub(crate) fn name(&self) -> &str {
        &self.kernels[place::FORWARD].0.expression
    }

    /// The bytes of workspace that a run of so many rows needs.
    pub(crate) fn workspace_size(&self, problem: &Problem, rows: usize) -> usize {
        sequence::workspace_size(problem, rows)
    }

    /// Allocates memory of the GPU.
    ///
    /// # Errors
    /// [`Error::Driver`] if there is not so much.
    pub(crate) fn allocate(&self, size: usize) -> crate::Result<Buffer> {
        Buffer::allocate(&self.primary, size)
    }

    /// Waits for a stream and reads four numbers.
    ///
    /// # Errors
    /// [`Error::Driver`] if the GPU failed.
    pub(crate) fn read(&self, from: *const u8, stream: *mut c_void) -> crate::Result<[i64; 4]> {
        let mut bytes = [0u8; 32];
        let entered = self.primary.enter()?;
        // SAFETY: a checked address of four numbers, and the caller's stream.
        unsafe { entered.read(from.addr() as u64, &mut bytes, stream.cast())? };
        let number = |i: usize| i64::from_ne_bytes(std::array::from_fn(|byte| bytes[8 * i + byte]));
        Ok(std::array::from_fn(number))
    }

    /// What is at an address, if the GPU cannot use it.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost, [`Error::Forked`].
    pub(crate) fn foreign(&self, address: usize) -> crate::Result<Option<String>> {
        Ok(match self.primary.enter()?.owner(address as u64)? {
            Some(ordinal) if ordinal == self.primary.ordinal() => None,
            Some(ordinal) => Some(format!("memory of CUDA {ordinal}")),
            None => Some("memory that the driver does not know".into()),
        })
    }

    /// The context that they are loaded into.
    pub fn primary(&self) -> &Arc<Primary> {
        &self.primary
    }
}
