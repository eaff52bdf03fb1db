//! What plans on one GPU share: its context, the compiler, and the kernels that have been made.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::buffer::Buffer;
use super::cache::Cache;
use super::code::Supply;
use super::driver::Driver;
use super::kernels::{self, Kernels};
use super::nvrtc::Nvrtc;
use super::prebuilt::Prebuilt;
use super::primary::Primary;
use super::program::Program;
use super::search::Surroundings;
use super::target::Target;
use super::variant::{self, Variant};
use super::{Error, Result};
use crate::Problem;

/// A GPU with all that is needed to compute on it.
#[derive(Debug)]
pub struct Engine {
    primary: Arc<Primary>,
    origin: Origin,
    /// Programs, as long as a plan has them.
    known: Mutex<HashMap<Vec<Variant>, Weak<Program>>>,
    /// Those that have cast a tensor.
    pub(super) casts: Mutex<Vec<Arc<Program>>>,
}

/// Checks that the GPU with this number can compute: a driver, the GPU, a compiler that suits both.
/// Takes no share of the GPU's context.
///
/// # Errors
/// The first thing that is missing, with what would help.
pub fn probe(ordinal: u32) -> crate::Result<()> {
    Origin::find(Driver::get()?, ordinal, None)?;
    Ok(())
}

/// Where the code for a GPU comes from.
#[derive(Debug)]
pub enum Origin {
    /// From the compiler, and what it has made before.
    Compiler(Supply),
    /// From a folder, since there is no compiler.
    Prebuilt(Prebuilt),
}

impl Origin {
    /// That of a GPU with its driver: a compiler that suits both, else prebuilt kernels.
    ///
    /// # Errors
    /// The first thing that is missing, with what would help.
    pub fn find(driver: &Driver, ordinal: u32, cache_directory: Option<&Path>) -> Result<Self> {
        let capability = driver.gpu(ordinal)?.capability;
        // NVIDIA's variable for drivers that are to ignore machine code.
        let forced = std::env::var_os("CUDA_FORCE_PTX_JIT").is_some_and(|value| value == "1");
        let surroundings = Surroundings::current();
        let compiler = match Nvrtc::find_for(capability, driver.version(), &surroundings) {
            Ok((nvrtc, target)) => {
                let target = if forced { Target::Ptx(target.capability()) } else { target };
                let cache = Cache::open(cache_directory);
                return Ok(Origin::Compiler(Supply { nvrtc, target, cache, lines: true }));
            }
            Err(error @ (Error::NotFound { .. } | Error::Target { .. })) => error,
            Err(error) => return Err(error), // of the library that was asked for
        };
        match Prebuilt::find(capability, driver.version(), forced) {
            Ok(Some(prebuilt)) => Ok(Origin::Prebuilt(prebuilt)),
            Ok(None) => Err(compiler),
            Err(prebuilt) => Err(Error::NoKernels { compiler: Box::new(compiler), prebuilt }),
        }
    }

    /// What the code is made for.
    pub fn target(&self) -> Target {
        match self {
            Origin::Compiler(supply) => supply.target,
            Origin::Prebuilt(prebuilt) => prebuilt.target(),
        }
    }
}

impl Engine {
    /// Opens the GPU with this number. Compiled kernels are kept in this folder, or the user's.
    ///
    /// # Errors
    /// The first thing that is missing, with what would help.
    pub fn open(ordinal: u32, cache_directory: Option<&Path>) -> Result<Arc<Self>> {
        let origin = Origin::find(Driver::get()?, ordinal, cache_directory)?;
        Ok(Arc::new(Engine {
            primary: Primary::retain(ordinal)?,
            origin,
            known: Mutex::default(),
            casts: Mutex::default(),
        }))
    }

    /// Its context.
    pub fn primary(&self) -> &Arc<Primary> {
        &self.primary
    }

    /// Allocates memory of the GPU.
    ///
    /// # Errors
    /// If there is not so much.
    pub(crate) fn allocate(&self, size: usize) -> crate::Result<Buffer> {
        Buffer::allocate(&self.primary, size)
    }

    /// The kernels of a problem: those of an earlier plan, or from the disk, or compiled.
    ///
    /// # Errors
    /// Those of compiling and loading.
    pub fn kernels(&self, problem: &Problem) -> Result<Arc<Kernels>> {
        let around = self.program(variant::around_rows().into())?;
        let own = self.program(kernels::choose(problem, self.primary.gpu()))?;
        Ok(Arc::new(Kernels::new(&self.primary, around, own)))
    }

    /// A program of these kernels.
    pub(super) fn program(&self, variants: Vec<Variant>) -> Result<Arc<Program>> {
        // Held while compiling: NVRTC compiles one program at a time in any case.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(&variants).and_then(Weak::upgrade) {
            return Ok(program);
        }
        let program = Arc::new(Program::load(variants.clone(), &self.primary, &self.origin)?);
        known.retain(|_, program| program.strong_count() != 0);
        known.insert(variants, Arc::downgrade(&program));
        Ok(program)
    }
}
