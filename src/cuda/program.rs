//! Kernels that were compiled together, loaded.
#![allow(unsafe_code)] // launches

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::CUstream;

use super::code::{Code, Supply};
use super::primary::{Entered, Function, Module, Primary};
use super::variant::Variant;
use super::{Error, Result};

/// Kernels of one program, ready to launch.
#[derive(Debug)]
pub struct Program {
    kernels: Vec<(Variant, Function)>,
    _module: Module, // what the functions are in
}

impl Program {
    /// Obtains the code of kernels and loads it.
    ///
    /// # Errors
    /// Those of compiling and loading.
    pub fn load(variants: Vec<Variant>, primary: &Arc<Primary>, supply: &Supply) -> Result<Self> {
        let mut files: Vec<&str> = variants.iter().map(|variant| variant.program).collect();
        files.sort();
        files.dedup();
        let expressions: Vec<&str> = variants.iter().map(|v| v.expression.as_str()).collect();
        let code = supply.obtain(&files, &expressions)?;
        let (module, functions) = match load(primary, &code) {
            // It was good for the driver that it was made for.
            Err(Error::Driver { .. }) if code.kept => {
                load(primary, &supply.compile(&files, &expressions)?)
            }
            loaded => loaded,
        }?;
        Ok(Program { kernels: variants.into_iter().zip(functions).collect(), _module: module })
    }

    /// Puts a kernel on a stream, for so many rows or whatever else it has one of for each.
    ///
    /// # Safety
    /// `params` points to what the kernel takes, and the addresses in there are good for what the
    /// kernel does with them until the stream has run it. The stream is one of this context.
    ///
    /// # Errors
    /// [`Error::Grid`] for more than a launch can have; [`Error::Driver`] if the driver refuses.
    pub unsafe fn launch(
        &self,
        place: usize,
        count: i64,
        entered: &Entered<'_>,
        stream: CUstream,
        params: *const c_void,
    ) -> Result<()> {
        let (variant, function) = &self.kernels[place];
        let grid = variant.grid(count.unsigned_abs()).ok_or(Error::Grid { rows: count })?;
        // SAFETY: the caller's promise.
        unsafe { entered.launch(*function, grid, variant.threads, stream, params) }
    }

    /// The name of a kernel.
    pub fn name(&self, place: usize) -> &str {
        &self.kernels[place].0.expression
    }
}

fn load(primary: &Arc<Primary>, code: &Code) -> Result<(Module, Vec<Function>)> {
    let module = Module::load(primary, &code.image)?;
    let functions = code.names.iter().map(|name| module.function(name)).collect::<Result<_>>()?;
    Ok((module, functions))
}
