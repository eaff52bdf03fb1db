//! Kernels: their attributes, and how many of their CTAs fit on the device.

use std::sync::Arc;

use xent_simulator::{Entry, Module};

use crate::code::{Code, Outcome};
use crate::device::{CLUSTER_GROUP, Device, REGISTERS, SHARED, SHARED_RESERVED, THREADS};
use crate::driver::Driver;
use crate::launch::Shape;
use crate::table::Handle;

/// A kernel of a module.
#[derive(Debug)]
pub(crate) struct Function {
    pub context: Handle,
    pub module: Handle,
    pub image: Arc<Module>,
    pub name: String,
    /// Dynamic shared memory that launches may have; `None`: what is left of 48 KiB.
    most_dynamic: Option<u32>,
    /// Whether clusters may be larger than every device allows.
    pub large_clusters: bool,
    carveout: i32,
}

impl Function {
    pub fn new(context: Handle, module: Handle, image: Arc<Module>, name: &str) -> Function {
        let name = name.to_owned();
        let (most_dynamic, large_clusters, carveout) = (None, false, -1);
        Function { context, module, image, name, most_dynamic, large_clusters, carveout }
    }

    pub fn entry(&self) -> Outcome<&Entry> {
        self.image.entry(&self.name).map_err(|_| Code::NOT_FOUND)
    }

    pub fn most_threads(&self) -> Outcome<u32> {
        Ok(self.entry()?.most_threads().unwrap_or(THREADS).min(THREADS))
    }

    pub fn most_dynamic(&self) -> Outcome<u32> {
        let fixed = self.entry()?.static_shared() as u32;
        Ok(self.most_dynamic.unwrap_or(SHARED.saturating_sub(fixed)))
    }

    /// PTX does not tell how many registers it takes: 64, or fewer where that many threads would
    /// not have them.
    fn registers(&self) -> Outcome<u32> {
        Ok((REGISTERS / self.most_threads()?).min(64))
    }
}

/// `CUfunction_attribute`, by its numbers in cuda.h.
mod attribute {
    pub const MOST_THREADS: u32 = 0;
    pub const STATIC_SHARED: u32 = 1;
    pub const CONSTANT: u32 = 2;
    pub const LOCAL: u32 = 3;
    pub const REGISTERS: u32 = 4;
    pub const PTX_VERSION: u32 = 5;
    pub const BINARY_VERSION: u32 = 6;
    pub const CACHE_MODE: u32 = 7;
    pub const MOST_DYNAMIC_SHARED: u32 = 8;
    pub const CARVEOUT: u32 = 9;
    pub const CLUSTER_MUST_BE_SET: u32 = 10;
    pub const CLUSTER_WIDTH: u32 = 11;
    pub const CLUSTER_DEPTH: u32 = 13;
    pub const LARGE_CLUSTERS: u32 = 14;
    pub const CLUSTER_SCHEDULING: u32 = 15;
}

impl Driver {
    /// The device of a function, in a context where nothing went wrong.
    fn with_device(&self, handle: Handle) -> Outcome<(&Function, &Device)> {
        let function = self.functions.get(handle)?;
        self.healthy(function.context)?;
        Ok((function, &self.devices[self.context(function.context)?.device]))
    }

    /// `cuFuncGetAttribute`
    pub fn function_attribute(&self, handle: Handle, attribute: u32) -> Outcome<i32> {
        let (function, device) = self.with_device(handle)?;
        let entry = function.entry()?;
        Ok(match attribute {
            attribute::MOST_THREADS => function.most_threads()? as i32,
            attribute::STATIC_SHARED => entry.static_shared() as i32,
            attribute::LOCAL => entry.local() as i32,
            attribute::REGISTERS => function.registers()? as i32,
            attribute::PTX_VERSION => {
                let digits: String =
                    function.image.target().chars().filter(char::is_ascii_digit).collect();
                digits.parse().unwrap_or_default()
            }
            attribute::BINARY_VERSION => device.capability as i32,
            attribute::MOST_DYNAMIC_SHARED => function.most_dynamic()? as i32,
            attribute::CARVEOUT => function.carveout,
            at @ attribute::CLUSTER_WIDTH..=attribute::CLUSTER_DEPTH => {
                let axis = (at - attribute::CLUSTER_WIDTH) as usize;
                entry.cluster().map_or(0, |cluster| cluster[axis] as i32)
            }
            attribute::LARGE_CLUSTERS => function.large_clusters.into(),
            attribute::CONSTANT
            | attribute::CACHE_MODE
            | attribute::CLUSTER_MUST_BE_SET
            | attribute::CLUSTER_SCHEDULING => 0,
            _ => return Err(Code::INVALID_VALUE),
        })
    }

    /// `cuFuncSetAttribute`
    pub fn set_function_attribute(&mut self, handle: Handle, at: u32, value: i32) -> Outcome {
        let (function, device) = self.with_device(handle)?;
        let optin = device.limits.shared_optin * 1024;
        let most = i64::from(optin) - function.entry()?.static_shared() as i64;
        let function = self.functions.get_mut(handle)?;
        match at {
            attribute::MOST_DYNAMIC_SHARED if (0..=most).contains(&value.into()) => {
                function.most_dynamic = Some(value as u32);
            }
            attribute::CARVEOUT if (-1..=100).contains(&value) => function.carveout = value,
            attribute::LARGE_CLUSTERS if (0..=1).contains(&value) => {
                function.large_clusters = value == 1;
            }
            attribute::CLUSTER_SCHEDULING if (0..=2).contains(&value) => {}
            _ => return Err(Code::INVALID_VALUE),
        }
        Ok(())
    }

    /// CTAs of so many threads that a multiprocessor has room for.
    pub fn active_ctas(&self, handle: Handle, threads: u32, dynamic: u64) -> Outcome<u32> {
        let (function, device) = self.with_device(handle)?;
        if threads == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let limits = &device.limits;
        let shared = function.entry()?.static_shared() + dynamic;
        if threads > function.most_threads()? || shared > u64::from(limits.shared_optin) * 1024 {
            return Ok(0);
        }
        let reserved = if device.capability >= 80 { SHARED_RESERVED } else { 0 };
        let by_shared = u64::from(limits.shared) * 1024 / (shared + u64::from(reserved)).max(1);
        let threads = threads.next_multiple_of(32);
        let by_registers = REGISTERS / (function.registers()? * threads);
        let by_threads = limits.threads / threads;
        Ok((by_shared.min(32) as u32).min(by_registers).min(by_threads).min(limits.ctas))
    }

    /// `cuOccupancyMaxActiveClusters`
    pub fn active_clusters(&self, handle: Handle, shape: &Shape) -> Outcome<u32> {
        let (function, device) = self.with_device(handle)?;
        let cluster = shape.cluster.or(function.entry()?.cluster()).unwrap_or([1; 3]);
        let ctas = self.check_cluster(function, device, cluster)?;
        let threads = shape.block.iter().product();
        let each = self.active_ctas(handle, threads, shape.shared.into())?;
        let groups = device.limits.multiprocessors / CLUSTER_GROUP;
        Ok(groups.max(1) * (each * CLUSTER_GROUP.min(device.limits.multiprocessors) / ctas))
    }

    /// `cuOccupancyMaxPotentialClusterSize`
    pub fn largest_cluster(&self, handle: Handle, shape: &Shape) -> Outcome<u32> {
        let (function, device) = self.with_device(handle)?;
        let limits = &device.limits;
        let most = if function.large_clusters { limits.large_cluster } else { limits.cluster };
        let threads = shape.block.iter().product();
        let each = self.active_ctas(handle, threads, shape.shared.into())?;
        Ok(most.min(each * CLUSTER_GROUP).max(1))
    }

    /// The CTAs of a cluster, which the device must allow.
    pub fn check_cluster(
        &self,
        function: &Function,
        device: &Device,
        cluster: [u32; 3],
    ) -> Outcome<u32> {
        let ctas = cluster.iter().map(|&n| u64::from(n)).product::<u64>();
        let limits = &device.limits;
        let most = if function.large_clusters { limits.large_cluster } else { limits.cluster };
        let fixed = function.entry()?.cluster();
        let allowed = ctas == 1 || (1..=u64::from(most)).contains(&ctas);
        if !allowed || fixed.is_some_and(|fixed| fixed != cluster) {
            return Err(Code::INVALID_CLUSTER_SIZE);
        }
        Ok(ctas as u32)
    }
}
