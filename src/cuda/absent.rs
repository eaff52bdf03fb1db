//! What takes the place of the CUDA path where it is not built: types without a value.

use crate::Error;

/// Declares a type without a value, with its methods.
macro_rules! absent {
    ($name:ident $(<$borrow:lifetime>)?: $($method:ident($($argument:ty),*) -> $result:ty;)*) => {
        #[derive(Debug)]
        pub(crate) struct $name $(<$borrow>)? (
            std::convert::Infallible, // private: nobody warns of dead code
            $(std::marker::PhantomData<&$borrow ()>)?
        );

        impl $(<$borrow>)? $name $(<$borrow>)? {
            $(pub(crate) fn $method(&self $(, _: $argument)*) -> $result {
                match self.0 {}
            })*
        }
    };
}

fn error() -> Error {
    let what = "this build of xent has no CUDA path: it needs the feature cuda, and Linux";
    Error::Unavailable { what: what.into() }
}

pub(crate) mod engine {
    use std::path::Path;
    use std::sync::Arc;

    use super::buffer::Buffer;
    use super::kernels::Kernels;
    use crate::{DType, Problem, Result};

    absent! { Engine:
        allocate(usize) -> Result<Buffer>;
        kernels(&Problem) -> Result<Arc<Kernels>>;
        cast(&Buffer, usize, [DType; 2]) -> Result<Option<Buffer>>;
    }

    pub(crate) fn probe(_ordinal: u32) -> Result<()> {
        Err(super::error())
    }

    impl Engine {
        pub(crate) fn open(_ordinal: u32, _cache_directory: Option<&Path>) -> Result<Arc<Self>> {
            Err(super::error())
        }
    }
}

pub(crate) mod kernels {
    use std::ffi::c_void;

    use super::buffer::Buffer;
    use crate::call::Call;
    use crate::{Problem, Result};

    absent! { Kernels:
        name() -> &str;
        reason(&Problem) -> String;
        workspace_size(&Problem, usize) -> usize;
        allocate(usize) -> Result<Buffer>;
        enter() -> Result<Session<'_>>;
    }

    absent! { Session<'k>:
        run(&Problem, &Call) -> Result<()>;
        foreign(usize) -> Result<Option<String>>;
        read(*const u8, *mut c_void) -> Result<[i64; 4]>;
    }
}

pub(crate) mod buffer {
    use crate::{DType, Result, View, ViewMut};

    absent! { Buffer:
        address() -> *mut u8;
        size() -> usize;
        ordinal() -> u32;
        duplicate() -> Result<Buffer>;
        view(usize, DType) -> View<'_>;
        view_mut(usize, DType) -> ViewMut<'_>;
        clear() -> Result<()>;
        write(&[u8]) -> Result<()>;
        read(&mut [u8]) -> Result<()>;
    }
}
