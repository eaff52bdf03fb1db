//! Scratch memory of a run.
#![allow(unsafe_code)] // views of raw memory, for callers from C

use std::fmt;
use std::marker::PhantomData;

/// Memory for intermediate results, made by [`Plan::workspace`](crate::Plan::workspace) and used
/// again by as many runs as one likes, one at a time. Its contents mean nothing between runs.
pub struct Workspace<'a> {
    data: *mut u8,
    size: usize,
    owned: Vec<Line>,
    borrow: PhantomData<&'a mut [u8]>,
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
    pub(crate) fn allocate(size: usize) -> Self {
        let mut owned = vec![Line([0; Self::ALIGNMENT]); size.div_ceil(Self::ALIGNMENT)];
        let data = owned.as_mut_ptr().cast();
        Workspace { data, size: owned.len() * Self::ALIGNMENT, owned, borrow: PhantomData }
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
        Workspace { data, size, owned: Vec::new(), borrow: PhantomData }
    }

    /// Size in bytes.
    pub const fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn data(&mut self) -> *mut u8 {
        self.data
    }
}

impl fmt::Debug for Workspace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace")
            .field("size", &self.size)
            .field("owned", &!self.owned.is_empty())
            .finish()
    }
}
