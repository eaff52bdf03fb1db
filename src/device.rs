//! Where a plan runs.

use std::fmt;
use std::sync::Arc;

use crate::cuda::engine;
use crate::{Error, Result};

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor that runs the program.
    Cpu,
    /// An NVIDIA GPU.
    Cuda {
        /// Its number among the GPUs that the driver shows.
        ordinal: u32,
    },
}

/// A device, and for one that [`Device::auto`] chose, why it is not a GPU.
///
/// Two are equal that are the same kind and number, however they came about.
#[derive(Clone, Debug)]
pub struct Device {
    kind: DeviceKind,
    fallback: Option<Arc<str>>,
}

impl Device {
    /// The processor.
    pub const fn cpu() -> Self {
        Device { kind: DeviceKind::Cpu, fallback: None }
    }

    /// The GPU with this number.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) if there is no such GPU, or something that it
    /// needs is missing: a driver, or NVRTC, which compiles the kernels, or kernels compiled ahead.
    pub fn cuda(ordinal: u32) -> Result<Self> {
        match engine::probe(ordinal) {
            Ok(()) => Ok(Device { kind: DeviceKind::Cuda { ordinal }, fallback: None }),
            Err(Error::Unavailable { what }) => {
                Err(Error::Unavailable { what: format!("CUDA device {ordinal}: {what}") })
            }
            Err(error) => Err(error),
        }
    }

    /// The first GPU where everything that it needs is there, else the CPU;
    /// [`fallback_reason`](Device::fallback_reason) says what was missing.
    ///
    /// A GPU without NVRTC counts, too, where kernels that were compiled ahead suit it. They are those
    /// of common problems: for others, [`Plan::new`](crate::Plan::new) answers with
    /// [`Error::Unavailable`](crate::Error::Unavailable), and the CPU can be asked for.
    ///
    /// ```
    /// let device = xent::Device::auto();
    /// println!("{device}"); // "CUDA 0", or "CPU (libcuda.so.1, the NVIDIA driver, was not found; ...)"
    /// ```
    pub fn auto() -> Self {
        match engine::probe(0) {
            Ok(()) => Device { kind: DeviceKind::Cuda { ordinal: 0 }, fallback: None },
            Err(reason) => Device::cpu_because(reason),
        }
    }

    /// The processor, in the place of a GPU that is not there for a reason.
    pub(crate) fn cpu_because(reason: Error) -> Self {
        Device { kind: DeviceKind::Cpu, fallback: Some(reason.to_string().into()) }
    }

    /// Which device this is.
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Why [`Device::auto`] chose the CPU; `None` for a GPU, and for a device that was asked for.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback.as_deref()
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Device {}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Cpu => f.write_str("CPU")?,
            DeviceKind::Cuda { ordinal } => write!(f, "CUDA {ordinal}")?,
        }
        match &self.fallback {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}
