//! Launches: what a device refuses, and what happens when their turn has come.

use std::sync::Arc;

use xent_simulator::{Kind, Launch, Module};

use crate::code::{Code, Outcome};
use crate::device::{MOST_CTAS, MOST_THREADS, THREADS};
use crate::driver::Driver;
use crate::queue::Op;
use crate::table::Handle;

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared: u32,
    /// `None`: what the kernel is compiled for.
    pub cluster: Option<[u32; 3]>,
    /// Whether it may begin before the work before it has ended, which here it never does.
    pub overlaps: bool,
    /// Whether all CTAs must run at the same time.
    pub cooperative: bool,
}

/// A launch to come.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub module: Handle,
    image: Arc<Module>,
    device: usize,
    launch: Launch,
}

impl Kernel {
    /// The name of the kernel.
    pub fn name(&self) -> &str {
        &self.launch.entry
    }
}

impl Driver {
    /// Size and offset of each parameter of a function, and the bytes of all.
    pub fn parameters(&self, function: Handle) -> Outcome<(Vec<(u64, u64)>, u64)> {
        let entry = self.functions.get(function)?.entry()?;
        Ok((entry.parameters().collect(), entry.parameter_bytes()))
    }

    /// `cuLaunchKernel`, with the bytes of the parameters.
    pub fn launch(
        &mut self,
        handle: Handle,
        shape: &Shape,
        stream: Handle,
        params: Vec<u8>,
    ) -> Outcome {
        let current = self.current()?;
        let stream = self.stream(stream)?;
        let context = self.streams.get(stream)?.context;
        let function = self.functions.get(handle)?;
        if function.context != context || context != current {
            return Err(Code::INVALID_HANDLE);
        }
        self.check_shape(handle, shape)?;
        let function = self.functions.get(handle)?;
        let number = self.context(context)?.device;
        let device = &self.devices[number];
        let mut launch = Launch::new(&function.name);
        (launch.grid, launch.block, launch.cluster) = (shape.grid, shape.block, shape.cluster);
        launch.dynamic_shared = shape.shared;
        launch.params = params;
        launch.most_shared = u64::from(device.limits.shared_optin) * 1024;
        let (module, image) = (function.module, Arc::clone(&function.image));
        let kernel = Kernel { module, image, device: number, launch };
        let Shape { grid, block, cluster, shared, .. } = shape;
        let name = kernel.name().to_owned();
        self.note(|| format!("{name} grid={grid:?} block={block:?} {cluster:?} shared={shared}"));
        self.submit(stream, Op::Kernel(Arc::new(kernel)))
    }

    /// What a device refuses before anything runs.
    fn check_shape(&self, handle: Handle, shape: &Shape) -> Outcome {
        let function = self.functions.get(handle)?;
        let device = &self.devices[self.context(function.context)?.device];
        let within = |sizes: [u32; 3], most: [u32; 3]| {
            sizes.iter().zip(most).all(|(&size, most)| (1..=most).contains(&size))
        };
        let threads: u64 = shape.block.iter().map(|&n| u64::from(n)).product();
        let fits = within(shape.grid, MOST_CTAS)
            && within(shape.block, MOST_THREADS)
            && threads <= u64::from(THREADS.min(function.most_threads()?))
            && shape.shared <= function.most_dynamic()?;
        let shared = function.entry()?.static_shared() + u64::from(shape.shared);
        if !fits || shared > u64::from(device.limits.shared_optin) * 1024 {
            return Err(Code::INVALID_VALUE);
        }
        if shape.overlaps && device.capability < 90 {
            return Err(Code::NOT_SUPPORTED);
        }
        let cluster = shape.cluster.or(function.entry()?.cluster());
        if let Some(cluster) = cluster {
            self.check_cluster(function, device, cluster)?;
            let whole = |(&grid, &cluster): (&u32, &u32)| grid.is_multiple_of(cluster);
            if !shape.grid.iter().zip(&cluster).all(whole) {
                return Err(Code::INVALID_VALUE);
            }
        }
        if shape.cooperative {
            let each = self.active_ctas(handle, threads as u32, shape.shared.into())?;
            let ctas: u64 = shape.grid.iter().map(|&n| u64::from(n)).product();
            if ctas > u64::from(each * device.limits.multiprocessors) {
                return Err(Code::COOPERATIVE_LAUNCH_TOO_LARGE);
            }
        }
        Ok(())
    }

    /// Runs a kernel to its end.
    pub fn run_kernel(&mut self, kernel: &Kernel) -> Result<(), (Code, String)> {
        let mut launch = kernel.launch.clone();
        launch.seed = self.queue.random();
        // A GPU's errors are the same in every launch.
        launch.noise = self.config.noise.then_some(self.config.seed);
        let memory = &mut self.devices[kernel.device].memory;
        match launch.run(&kernel.image, memory) {
            Ok(stats) => {
                self.queue.clock += stats.instructions as f64 / 1000.0;
                self.executed.instructions += stats.lane_instructions;
                self.executed.approximations += stats.mufu;
                Ok(())
            }
            Err(error) => {
                let (code, seen) = code_of(error.kind);
                if !seen {
                    let text = format!("{}: {}", kernel.name(), error.what);
                    self.violation(text);
                }
                Err((code, error.to_string()))
            }
        }
    }
}

/// What a device says of a fault, and whether it would notice.
fn code_of(kind: Kind) -> (Code, bool) {
    match kind {
        Kind::OutOfBounds => (Code::ILLEGAL_ADDRESS, true),
        Kind::Misaligned => (Code::MISALIGNED_ADDRESS, true),
        Kind::Trap => (Code::LAUNCH_FAILED, true),
        Kind::Limit | Kind::Deadlock => (Code::LAUNCH_TIMEOUT, true),
        _ => (Code::LAUNCH_FAILED, false),
    }
}
