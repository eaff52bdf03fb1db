//! Device memory: allocations, at once and in the order of a stream; page-locked host memory.

use xent_simulator::Fill;

use crate::code::{Code, Outcome};
use crate::device::ADDRESSES;
use crate::driver::Driver;
use crate::host::Pages;
use crate::queue::Op;
use crate::table::Handle;

/// Device memory.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub context: Handle,
    pub device: usize,
    pub bytes: u64,
    /// It came from `cuMemAllocAsync`.
    ordered: bool,
    /// `cuMemFreeAsync` was called; the stream is not there yet.
    freed: bool,
}

/// Addresses between two allocations that belong to none: an index that is wrong by a whole tensor
/// finds nothing.
const GAP: u64 = 1 << 32;

/// As aligned as cudaMalloc promises, and no more.
const ALIGNMENT: u64 = 512;

/// Whether an address is one of a device.
pub(crate) fn is_device(address: u64) -> bool {
    address >= ADDRESSES
}

impl Driver {
    /// `cuMemAlloc`
    pub fn allocate(&mut self, bytes: u64) -> Outcome<u64> {
        let context = self.current()?;
        self.disturbs_captures()?;
        let address = self.reserve(context, bytes, false)?;
        self.appear(address)?;
        Ok(address)
    }

    /// `cuMemAllocAsync`: nothing is there before the stream has come so far.
    pub fn allocate_async(&mut self, bytes: u64, stream: Handle) -> Outcome<u64> {
        let stream = self.stream(stream)?;
        self.refuse_in_capture(stream, Code::NOT_SUPPORTED)?; // nodes of graphs that allocate
        let context = self.streams.get(stream)?.context;
        let address = match self.reserve(context, bytes, true) {
            Err(Code::OUT_OF_MEMORY) => {
                self.run_context(context); // what is freed there may do
                self.reserve(context, bytes, true)?
            }
            other => other?,
        };
        self.submit(stream, Op::Allocate { address })?;
        Ok(address)
    }

    /// Takes bytes and an address from a device.
    fn reserve(&mut self, context: Handle, bytes: u64, ordered: bool) -> Outcome<u64> {
        if bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let number = self.context(context)?.device;
        let device = &mut self.devices[number];
        if bytes > device.total - device.used {
            return Err(Code::OUT_OF_MEMORY);
        }
        device.used += bytes;
        let address = device.next;
        device.next = (address + bytes + GAP).next_multiple_of(ALIGNMENT) + ALIGNMENT / 2;
        let allocation = Allocation { context, device: number, bytes, ordered, freed: false };
        self.allocations.insert(address, allocation);
        self.note(|| format!("pointer={address:#x}"));
        Ok(address)
    }

    /// From now on kernels find it.
    pub fn appear(&mut self, address: u64) -> Outcome {
        let name = self.describe(address);
        let allocation = self.allocations.get(&address).ok_or(Code::INVALID_VALUE)?;
        let fill = self.config.fill.map_or(Fill::Unwritten, Fill::Byte);
        let memory = &mut self.devices[allocation.device].memory;
        let made = memory.allocate_at(&name, address, allocation.bytes, fill);
        made.map(|_| ()).map_err(|_| Code::UNKNOWN)
    }

    /// From now on it is gone.
    pub fn forget(&mut self, address: u64) {
        if let Some(allocation) = self.allocations.remove(&address) {
            let device = &mut self.devices[allocation.device];
            device.used -= allocation.bytes;
            if let Some((pointer, _)) = device.memory.allocation(address) {
                let _ = device.memory.free(pointer); // it was found
            }
        }
    }

    /// `cuMemFree`: waits for all work of the context, unless the memory is a stream's.
    pub fn free(&mut self, address: u64) -> Outcome {
        if address == 0 {
            return Ok(());
        }
        self.current_or_faulted()?;
        self.disturbs_captures()?;
        let allocation = self.allocations.get(&address).filter(|allocation| !allocation.freed);
        let Allocation { context, ordered, .. } = *allocation.ok_or(Code::INVALID_VALUE)?;
        if !ordered {
            self.run_context(context);
        }
        self.forget(address);
        self.after_release()
    }

    /// `cuMemFreeAsync`
    pub fn free_async(&mut self, address: u64, stream: Handle) -> Outcome {
        if address == 0 {
            return Ok(());
        }
        let stream = self.stream_or_faulted(stream)?;
        let context = self.streams.get(stream)?.context;
        if let Err(code) = self.healthy(context) {
            self.forget(address);
            return Err(code);
        }
        self.refuse_in_capture(stream, Code::NOT_SUPPORTED)?;
        let allocation = self.allocations.get_mut(&address).ok_or(Code::INVALID_VALUE)?;
        if std::mem::replace(&mut allocation.freed, true) {
            return Err(Code::INVALID_VALUE);
        }
        self.submit(stream, Op::Free { address })
    }

    /// The allocation that an address lies in, by its first address.
    pub fn find(&self, address: u64) -> Option<(u64, &Allocation)> {
        let (&start, allocation) = self.allocations.range(..=address).next_back()?;
        (address - start < allocation.bytes).then_some((start, allocation))
    }

    /// The device of a range of device memory, which must lie in one allocation.
    pub fn range(&self, address: u64, bytes: u64) -> Outcome<usize> {
        let (start, allocation) = self.find(address).ok_or(Code::INVALID_VALUE)?;
        let inside = bytes <= allocation.bytes - (address - start) && !allocation.freed;
        if inside { Ok(allocation.device) } else { Err(Code::INVALID_VALUE) }
    }

    /// What a report calls an allocation.
    pub fn describe(&self, address: u64) -> String {
        let bytes = self.allocations.get(&address).map_or(0, |allocation| allocation.bytes);
        format!("{bytes} bytes of device memory at {address:#x}")
    }

    /// `cuMemGetInfo`: free and all bytes of the current device.
    pub fn memory_info(&self) -> Outcome<(u64, u64)> {
        let device = &self.devices[self.context(self.current()?)?.device];
        Ok((device.total - device.used, device.total))
    }

    /// `cuMemHostAlloc`
    pub fn allocate_host(&mut self, bytes: usize) -> Outcome<u64> {
        let context = self.current()?;
        self.disturbs_captures()?;
        if bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let pages = Pages::new(bytes);
        let address = pages.address();
        self.pinned.insert(address, (context, pages));
        self.note(|| format!("pointer={address:#x}"));
        Ok(address)
    }

    /// `cuMemFreeHost`: waits for copies that may still use it.
    pub fn free_host(&mut self, address: u64) -> Outcome {
        self.current_or_faulted()?;
        self.disturbs_captures()?;
        let context = self.pinned.get(&address).ok_or(Code::INVALID_VALUE)?.0;
        self.run_context(context);
        self.pinned.remove(&address);
        self.after_release()
    }

    /// Page-locked memory that an address lies in: its first address and its bytes.
    pub fn find_pinned(&self, address: u64) -> Option<(u64, usize)> {
        let (&start, (_, pages)) = self.pinned.range(..=address).next_back()?;
        (address - start < pages.bytes() as u64).then_some((start, pages.bytes()))
    }
}
