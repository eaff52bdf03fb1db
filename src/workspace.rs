//! Scratch memory of a run.
#![allow(unsafe_code)] // views of raw memory, for callers from C

use std::fmt;
use std::marker::PhantomData;

use crate::cuda::buffer::Buffer;
use crate::view::Memory;
use crate::{Error, Result};

/// Memory for intermediate results, made by [`Plan::workspace`](crate::Plan::workspace) and used
/// again by as many runs as one likes, one at a time. Its contents mean nothing between runs.
pub struct Workspace<'a> {
    data: *mut u8,
    size: usize,
    owner: Owner,
    borrow: PhantomData<&'a mut [u8]>,
}

/// Whose memory a workspace is.
enum Owner {
    Caller,
    Host(#[allow(dead_code)] Vec<Line>), // freed with the workspace
    Gpu(Buffer),
}

impl Owner {
    fn memory(&self) -> Memory {
        match self {
            Owner::Caller => Memory::Unknown,
            Owner::Host(_) => Memory::Host,
            Owner::Gpu(buffer) => Memory::Gpu(buffer.ordinal()),
        }
    }
}

/// The unit of owned memory: as aligned as a workspace has to be.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line(#[allow(dead_code)] [u8; Workspace::ALIGNMENT]);

// SAFETY: a workspace owns its memory or borrows it exclusively, like a `Vec` or `&mut [u8]`.
unsafe impl Send for Workspace<'_> {}
// SAFETY: a shared workspace gives no access to its memory.
unsafe impl Sync for Workspace<'_> {}

impl Workspace<'static> {
    pub(crate) fn allocate(size: usize) -> Result<Self> {
        let (lines, mut owned) = (size.div_ceil(Self::ALIGNMENT), Vec::new());
        let failed = |_| Error::Resource { what: format!("workspace: no memory for {size} bytes") };
        owned.try_reserve_exact(lines).map_err(failed)?;
        owned.resize(lines, Line([0; Self::ALIGNMENT]));
        let data = owned.as_mut_ptr().cast();
        let size = owned.len() * Self::ALIGNMENT;
        Ok(Workspace { data, size, owner: Owner::Host(owned), borrow: PhantomData })
    }

    pub(crate) fn on_gpu(buffer: Buffer) -> Self {
        let (data, size) = (buffer.address(), buffer.size());
        Workspace { data, size, owner: Owner::Gpu(buffer), borrow: PhantomData }
    }
}

impl<'a> Workspace<'a> {
    /// The alignment of a workspace in bytes.
    pub const ALIGNMENT: usize = 256;

    /// A workspace in memory of the caller.
    ///
    /// A null, misaligned or too small one is refused when it is used.
    ///
    /// # Safety
    /// If not null, `data` points to `size` bytes that stay writable, and are neither read nor
    /// written by others, for `'a`.
    pub const unsafe fn from_raw(data: *mut u8, size: usize) -> Self {
        Workspace { data, size, owner: Owner::Caller, borrow: PhantomData }
    }

    /// Size in bytes.
    pub const fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn data(&mut self) -> *mut u8 {
        self.data
    }

    pub(crate) fn memory(&self) -> Memory {
        self.owner.memory()
    }
}

impl fmt::Debug for Workspace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace")
            .field("size", &self.size)
            .field("memory", &self.memory())
            .finish()
    }
}
