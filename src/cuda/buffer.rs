//! Memory of a GPU that the library owns.
#![allow(unsafe_code)] // allocates, frees and copies

use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;

use super::primary::Primary;
use crate::view::Memory;
use crate::{DType, Result, View, ViewMut};

/// Bytes in the memory of a GPU, aligned to 256. Dropping it waits for the GPU.
#[derive(Debug)]
pub struct Buffer {
    primary: Arc<Primary>,
    address: u64,
    size: usize,
}

impl Buffer {
    /// Allocates. The contents are arbitrary.
    ///
    /// # Errors
    /// [`Error::Resource`](crate::Error::Resource) if there is not so much memory.
    pub fn allocate(primary: &Arc<Primary>, size: usize) -> Result<Self> {
        let address = primary.enter()?.allocate(size.max(1))?;
        Ok(Buffer { primary: Arc::clone(primary), address, size })
    }

    /// Its first byte, which only the GPU can read.
    pub fn address(&self) -> *mut u8 {
        without_provenance_mut(self.address as usize)
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The number of its GPU.
    pub fn ordinal(&self) -> u32 {
        self.primary.ordinal()
    }

    /// Other memory of the same GPU.
    ///
    /// # Errors
    /// As [`Buffer::allocate`].
    pub(crate) fn another(&self, size: usize) -> crate::Result<Self> {
        Buffer::allocate(&self.primary, size)
    }

    /// A copy.
    ///
    /// # Errors
    /// As [`Buffer::allocate`], and if the context is lost.
    pub(crate) fn duplicate(&self) -> crate::Result<Self> {
        let copy = self.another(self.size)?;
        let entered = self.primary.enter()?;
        entered.synchronize_all()?;
        // SAFETY: both are so long.
        unsafe { entered.copy(copy.address, self.address, self.size, null_mut())? };
        Ok(copy)
    }

    /// So many elements of it, to read.
    pub(crate) fn view(&self, len: usize, dtype: DType) -> View<'_> {
        debug_assert!(len * dtype.size() <= self.size);
        // SAFETY: it is so long, and any bytes are elements. Freeing it waits for the GPU.
        let view = unsafe { View::from_raw(self.address(), len, dtype) };
        view.in_memory(Memory::Gpu(self.ordinal()))
    }

    /// So many elements of it, to write.
    pub(crate) fn view_mut(&mut self, len: usize, dtype: DType) -> ViewMut<'_> {
        debug_assert!(len * dtype.size() <= self.size);
        // SAFETY: as above, and borrowed exclusively.
        let view = unsafe { ViewMut::from_raw(self.address(), len, dtype) };
        view.in_memory(Memory::Gpu(self.ordinal()))
    }

    /// Overwrites it with zeros, and waits until they are there.
    ///
    /// # Errors
    /// [`Error::Cuda`](crate::Error::Cuda) if the context is lost.
    pub fn clear(&self) -> Result<()> {
        let entered = self.primary.enter()?;
        entered.synchronize_all()?;
        // SAFETY: it is so long, and nobody else uses it.
        unsafe {
            entered.clear(self.address, self.size)?;
            entered.synchronize(null_mut())?;
        }
        Ok(())
    }

    /// Overwrites it, after all that the GPU is doing.
    ///
    /// # Errors
    /// [`Error::Cuda`](crate::Error::Cuda) if the context is lost.
    ///
    /// # Panics
    /// If there are more bytes than it holds.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() <= self.size, "{} bytes into {}", bytes.len(), self.size);
        let entered = self.primary.enter()?;
        entered.synchronize_all()?;
        // SAFETY: it is so long, and nobody else uses it.
        Ok(unsafe { entered.write(self.address, bytes, null_mut()) }?)
    }

    /// Reads it, after all that the GPU is doing.
    ///
    /// # Errors
    /// [`Error::Cuda`](crate::Error::Cuda) if the context is lost.
    ///
    /// # Panics
    /// If there are more bytes than it holds.
    pub fn read(&self, bytes: &mut [u8]) -> Result<()> {
        assert!(bytes.len() <= self.size, "{} bytes of {}", bytes.len(), self.size);
        let entered = self.primary.enter()?;
        entered.synchronize_all()?;
        // SAFETY: it is so long.
        Ok(unsafe { entered.read(self.address, bytes, null_mut()) }?)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(entered) = self.primary.enter_to_release() {
            // SAFETY: allocated here. The driver waits for work that uses it.
            let _ = unsafe { entered.free(self.address) };
        }
    }
}
