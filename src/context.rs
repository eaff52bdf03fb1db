//! What plans on one device share: its threads, and the compiled kernels of a GPU.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cpu::Processor;
use crate::cpu::parallel::{ParallelFor, Threads};
use crate::cpu::simd::InstructionSet;
use crate::cuda::engine::Engine;
use crate::{Device, DeviceKind, Result};

/// How to make a [`Context`]. The default chooses the device itself and uses all processors.
///
/// ```
/// use xent::{Context, ContextOptions};
///
/// let context = Context::new(ContextOptions::default().threads(2))?;
/// # Ok::<(), xent::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ContextOptions {
    /// The device; `None` is what [`Device::auto`] chooses when the context is made, and the CPU if
    /// that cannot be opened.
    pub device: Option<Device>,
    /// Threads of the CPU path, of which the calling one is the first: 0 shares rayon's global pool, 1
    /// works on the calling thread alone, more starts the others, at most
    /// [`ContextOptions::MAX_THREADS`] in all.
    pub threads: usize,
    /// Takes the place of threads of our own. Excludes `threads`.
    pub parallel_for: Option<Arc<ParallelFor>>,
    /// Where compiled GPU kernels are kept; `None` is the user's cache directory. The CPU keeps
    /// nothing.
    pub cache_directory: Option<PathBuf>,
}

impl ContextOptions {
    /// The largest number of threads that can be asked for.
    pub const MAX_THREADS: usize = Threads::MAX;

    /// Sets the device.
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Sets the number of threads of the CPU path.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets what runs tasks in place of threads of our own.
    pub fn parallel_for(
        mut self,
        run: impl Fn(usize, &(dyn Fn(usize) + Sync)) + Send + Sync + 'static,
    ) -> Self {
        self.parallel_for = Some(Arc::new(run));
        self
    }

    /// Sets where compiled GPU kernels are kept.
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache_directory = Some(directory.into());
        self
    }
}

/// A device with its threads. Cheap to clone; plans keep what they need of it alive.
#[derive(Clone)]
pub struct Context {
    device: Device,
    backend: Backend,
}

/// What computes.
#[derive(Clone)]
pub(crate) enum Backend {
    Cpu(Arc<Processor>),
    Cuda(Arc<Engine>),
}

impl Context {
    /// Makes a context. Starts threads if a number of threads above 1 is asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a number of threads that is too large or
    /// contradicts `parallel_for`; [`Error::Resource`](crate::Error::Resource) if a thread could
    /// not be started; [`Error::Unavailable`](crate::Error::Unavailable) or
    /// [`Error::Cuda`](crate::Error::Cuda) if a GPU that was asked for cannot be used.
    pub fn new(options: ContextOptions) -> Result<Self> {
        let ContextOptions { device, threads, parallel_for, cache_directory } = options;
        let threads = Threads::new(threads, parallel_for)?;
        let processor = Arc::new(Processor { threads, instructions: InstructionSet::chosen()? });
        let open = |device: Device| {
            let backend = match device.kind() {
                DeviceKind::Cpu => Backend::Cpu(Arc::clone(&processor)),
                DeviceKind::Cuda { ordinal } => {
                    Backend::Cuda(Engine::open(ordinal, cache_directory.as_deref())?)
                }
            };
            Ok(Context { device, backend })
        };
        match device {
            Some(device) => open(device),
            // A GPU that is there may have no memory left, say.
            None => open(Device::auto()).or_else(|reason| open(Device::cpu_because(reason))),
        }
    }

    /// The CPU, on rayon's global pool.
    pub fn cpu() -> Self {
        let instructions = InstructionSet::chosen().unwrap_or(InstructionSet::best());
        let processor = Processor { threads: Threads::Shared, instructions };
        Context { device: Device::cpu(), backend: Backend::Cpu(Arc::new(processor)) }
    }

    /// The device that [`Device::auto`] chooses; the CPU if that cannot be opened.
    pub fn auto() -> Self {
        Context::new(ContextOptions::default()).unwrap_or_else(|_| Context::cpu())
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("device", &self.device).finish_non_exhaustive()
    }
}
