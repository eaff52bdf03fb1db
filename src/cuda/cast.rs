//! Casts of tensors on the GPU.
#![allow(unsafe_code)] // launches

use std::ptr::{from_ref, null_mut};
use std::sync::{Arc, PoisonError};

use super::buffer::Buffer;
use super::engine::Engine;
use super::params::CastParams;
use super::variant;
use crate::{DType, Result};

impl Engine {
    /// The first elements of a buffer as another type, after all that the GPU is doing. `None` for
    /// types that no kernel has.
    ///
    /// # Errors
    /// Those of compiling and loading; if there is not so much memory; if the GPU failed.
    pub(crate) fn cast(
        &self,
        elements: &Buffer,
        len: usize,
        [from, to]: [DType; 2],
    ) -> Result<Option<Buffer>> {
        let Some(variant) = variant::cast(from, to) else { return Ok(None) };
        let program = self.program(vec![variant])?;
        // The next cast has it, too.
        let mut casts = self.casts.lock().unwrap_or_else(PoisonError::into_inner);
        if !casts.iter().any(|known| Arc::ptr_eq(known, &program)) {
            casts.push(Arc::clone(&program));
        }
        drop(casts);
        let cast = elements.another(len * to.size())?;
        let entered = self.primary().enter()?;
        entered.synchronize_all()?;
        let params = CastParams {
            from: elements.address().addr() as u64,
            to: cast.address().addr() as u64,
            count: len as i64,
        };
        // SAFETY: so many elements are at both addresses until the stream has been waited for.
        unsafe {
            if len != 0 {
                let params = from_ref(&params).cast();
                program.launch(0, len as i64, &entered, null_mut(), params)?;
            }
            entered.synchronize(null_mut())?;
        }
        Ok(Some(cast))
    }
}
