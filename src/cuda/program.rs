//! Kernels that belong together, loaded.
#![allow(unsafe_code)] // launches

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::CUstream;

use super::code::{Code, Supply};
use super::engine::Origin;
use super::error::refuses_code;
use super::primary::{Entered, Function, Module, Primary};
use super::variant::Variant;
use super::{Error, Result};

/// Kernels that belong together, ready to launch.
#[derive(Debug)]
pub struct Program {
    kernels: Vec<(Variant, Function)>,
    _modules: Vec<Module>, // what the functions are in
}

impl Program {
    /// Obtains the code of kernels and loads it.
    ///
    /// # Errors
    /// Those of compiling and loading; [`Error::NotPrebuilt`].
    pub fn load(variants: Vec<Variant>, primary: &Arc<Primary>, origin: &Origin) -> Result<Self> {
        let (modules, functions) = match origin {
            Origin::Compiler(supply) => {
                let (module, functions) = compiled(&variants, primary, supply)?;
                (vec![module], functions)
            }
            Origin::Prebuilt(prebuilt) => {
                let one = |variant| load(primary, &prebuilt.obtain(variant)?);
                let loaded = variants.iter().map(one).collect::<Result<Vec<_>>>()?;
                let (modules, functions): (_, Vec<_>) = loaded.into_iter().unzip();
                (modules, functions.concat())
            }
        };
        Ok(Program { kernels: variants.into_iter().zip(functions).collect(), _modules: modules })
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

/// Kernels that are compiled together, unless they were before.
fn compiled(
    variants: &[Variant],
    primary: &Arc<Primary>,
    supply: &Supply,
) -> Result<(Module, Vec<Function>)> {
    let mut files: Vec<&str> = variants.iter().map(|variant| variant.program).collect();
    files.sort();
    files.dedup();
    let expressions: Vec<&str> = variants.iter().map(|v| v.expression.as_str()).collect();
    let code = supply.obtain(&files, &expressions)?;
    match load(primary, &code) {
        // It was good for the driver that it was made for.
        Err(Error::Driver { code: refusal, .. }) if code.kept && refuses_code(refusal) => {
            load(primary, &supply.compile(&files, &expressions)?)
        }
        loaded => loaded,
    }
}
