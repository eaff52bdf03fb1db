//! Where a plan runs.

use std::fmt;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    kind: DeviceKind,
    fallback: Option<&'static str>,
}

const NO_CUDA: &str = "this build of xent has no CUDA runtime";

impl Device {
    /// The processor.
    pub const fn cpu() -> Self {
        Device { kind: DeviceKind::Cpu, fallback: None }
    }

    /// The GPU with this number.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where there is no CUDA runtime, which today is everywhere.
    pub fn cuda(ordinal: u32) -> Result<Self> {
        Err(Error::Unsupported {
            what: format!("CUDA device {ordinal}"),
            instead: format!("{NO_CUDA}, use the CPU"),
        })
    }

    /// The first GPU where everything that it needs is there, else the CPU;
    /// [`fallback_reason`](Device::fallback_reason) says what was missing.
    ///
    /// ```
    /// let device = xent::Device::auto();
    /// println!("{device}"); // "CPU (this build of xent has no CUDA runtime)"
    /// ```
    pub const fn auto() -> Self {
        Device { kind: DeviceKind::Cpu, fallback: Some(NO_CUDA) }
    }

    /// Which device this is.
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Why [`Device::auto`] chose the CPU; `None` for a GPU, and for a device that was asked for.
    pub const fn fallback_reason(&self) -> Option<&'static str> {
        self.fallback
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Cpu => f.write_str("CPU")?,
            DeviceKind::Cuda { ordinal } => write!(f, "CUDA {ordinal}")?,
        }
        match self.fallback {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}
