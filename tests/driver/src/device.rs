//! Devices: their limits by compute capability, and their attributes.

use xent_simulator::Memory;

use crate::code::{Code, Outcome};
use crate::config::Config;
use crate::driver::Driver;
use crate::table::Handle;

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub ordinal: usize,
    /// 90 for 9.0.
    pub capability: u32,
    pub limits: Limits,
    /// The handle of its primary context, whether or not there is one now.
    pub primary: Handle,
    /// How often that is retained.
    pub retained: u32,
    pub primary_flags: u32,
    pub memory: Memory,
    /// Bytes in all, and in allocations.
    pub total: u64,
    pub used: u64,
    /// The next address; none is used twice.
    pub next: u64,
}

/// What differs between devices. Sources: "Technical Specifications per Compute Capability" of the
/// CUDA C++ Programming Guide; multiprocessors of a usual card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    capability: u32,
    pub multiprocessors: u32,
    /// Shared memory of a CTA that asks for more than 48 KiB, in KiB.
    pub shared_optin: u32,
    /// Shared memory of a multiprocessor, in KiB.
    pub shared: u32,
    /// Threads of a multiprocessor.
    pub threads: u32,
    /// CTAs of a multiprocessor.
    pub ctas: u32,
    /// CTAs of a cluster, and with the non-portable attribute; 0: no clusters.
    pub cluster: u32,
    pub large_cluster: u32,
}

const fn limits(capability: u32, of_multiprocessor: [u32; 5], cluster: [u32; 2]) -> Limits {
    let [multiprocessors, shared_optin, shared, threads, ctas] = of_multiprocessor;
    let [cluster, large_cluster] = cluster;
    Limits {
        capability,
        multiprocessors,
        shared_optin,
        shared,
        threads,
        ctas,
        cluster,
        large_cluster,
    }
}

/// Ascending; a capability that is not here has the limits of the one before it.
const LIMITS: [Limits; 12] = [
    limits(50, [16, 48, 64, 2048, 32], [0, 0]),
    limits(70, [80, 96, 96, 2048, 32], [0, 0]),
    limits(75, [40, 64, 64, 1024, 16], [0, 0]),
    limits(80, [108, 163, 164, 2048, 32], [0, 0]),
    limits(86, [84, 99, 100, 1536, 16], [0, 0]),
    limits(87, [16, 163, 164, 1536, 16], [0, 0]),
    limits(89, [128, 99, 100, 1536, 24], [0, 0]),
    limits(90, [132, 227, 228, 2048, 32], [8, 16]),
    limits(100, [148, 227, 228, 2048, 32], [8, 16]),
    limits(103, [148, 227, 228, 2048, 32], [8, 16]),
    limits(110, [20, 227, 228, 1536, 24], [8, 16]),
    limits(120, [170, 99, 100, 1536, 24], [8, 8]),
];

/// Along x, y, z.
pub(crate) const MOST_THREADS: [u32; 3] = [1024, 1024, 64];
/// Along x, y, z.
pub(crate) const MOST_CTAS: [u32; 3] = [0x7fff_ffff, 65535, 65535];
/// Of a CTA.
pub(crate) const THREADS: u32 = 1024;
/// Shared memory that a CTA has without asking.
pub(crate) const SHARED: u32 = 48 * 1024;
/// Shared memory that the system keeps of each CTA.
pub(crate) const SHARED_RESERVED: u32 = 1024;
/// Of a multiprocessor.
pub(crate) const REGISTERS: u32 = 65536;
/// Multiprocessors whose CTAs can be in one cluster.
pub(crate) const CLUSTER_GROUP: u32 = 16;

/// Device memory begins here, above every address of the host; each device has as much.
pub(crate) const ADDRESSES: u64 = 1 << 52;

impl Device {
    pub fn new(ordinal: usize, capability: u32, config: &Config, primary: Handle) -> Device {
        let known = LIMITS.iter().rev().find(|limits| limits.capability <= capability);
        let mut limits = *known.unwrap_or(&LIMITS[0]);
        limits.multiprocessors = config.multiprocessors.unwrap_or(limits.multiprocessors).max(1);
        if let Some(most) = config.cluster {
            limits.cluster = limits.cluster.min(most);
            limits.large_cluster = limits.large_cluster.min(most);
        }
        Device {
            ordinal,
            capability,
            limits,
            primary,
            retained: 0,
            primary_flags: 0,
            memory: Memory::new(),
            total: config.memory,
            used: 0,
            next: ADDRESSES * (ordinal as u64 + 1) + 256,
        }
    }

    pub fn name(&self) -> String {
        format!("Simulated GPU of compute capability {}", self.version())
    }

    /// 9.0 of 90.
    pub fn version(&self) -> String {
        format!("{}.{}", self.capability / 10, self.capability % 10)
    }

    pub fn uuid(&self) -> [u8; 16] {
        let mut uuid = *b"xent simulated 0";
        uuid[15] += self.ordinal as u8;
        uuid
    }

    /// The value of a `CUdevice_attribute`, by its number in cuda.h. What is not named here has no
    /// meaning for this device and is 0.
    pub fn attribute(&self, attribute: u32) -> Option<i32> {
        let limits = &self.limits;
        let from = |lowest: u32| i32::from(self.capability >= lowest);
        Some(match attribute {
            1 => THREADS as i32,
            2..=4 => MOST_THREADS[attribute as usize - 2] as i32,
            5..=7 => MOST_CTAS[attribute as usize - 5] as i32,
            8 => SHARED as i32,
            9 => 65536, // constant memory
            10 => 32,   // warp size
            11 => i32::MAX,
            12 | 82 => REGISTERS as i32,
            13 => 1_755_000,                  // clock, kHz
            14 => 512,                        // texture alignment
            15 | 31 | 41 | 78 | 79 | 80 => 1, // overlap, concurrent kernels, UVA, priorities, L1
            16 => limits.multiprocessors as i32,
            33 => self.ordinal as i32 + 1, // PCI bus
            36 => 2_619_000,               // memory clock, kHz
            37 => 5120,                    // bus width
            38 => 50 << 20,                // L2
            39 => limits.threads as i32,
            40 => 3, // copy engines
            75 => (self.capability / 10) as i32,
            76 => (self.capability % 10) as i32,
            81 => (limits.shared * 1024) as i32,
            95 => 1, // cooperative launch
            97 => (limits.shared_optin * 1024) as i32,
            106 => limits.ctas as i32,
            111 => SHARED_RESERVED as i32 * from(80),
            115 => 1, // memory pools
            120 => i32::from(limits.cluster > 0),
            17..161 => 0,
            _ => return None,
        })
    }
}

impl Driver {
    /// A device by its ordinal, which is also its `CUdevice`.
    pub fn device(&mut self, ordinal: i32) -> Outcome<&mut Device> {
        let found = usize::try_from(ordinal).ok().and_then(|at| self.devices.get_mut(at));
        found.ok_or(Code::INVALID_DEVICE)
    }
}
