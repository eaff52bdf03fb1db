//! Contexts: primary ones, which the process shares, and others; which is current on a thread.

use std::collections::BTreeMap;

use crate::code::{Code, Outcome};
use crate::driver::Driver;
use crate::stream::Stream;
use crate::table::Handle;
use crate::thread;

/// A context.
#[derive(Debug)]
pub(crate) struct Context {
    pub device: usize,
    pub flags: u32,
    /// What every call returns since a kernel went wrong.
    pub fault: Option<Code>,
    /// The stream 0, or 1.
    pub legacy: Handle,
    /// The stream 2 of each thread.
    pub per_thread: BTreeMap<u64, Handle>,
    /// The last work of blocking streams that were destroyed before it was done.
    pub orphans: Vec<u64>,
    pub limits: BTreeMap<u32, u64>,
}

impl Driver {
    /// The context of the calling thread.
    pub fn current(&self) -> Outcome<Handle> {
        let handle = self.current_or_faulted()?;
        self.healthy(handle).map(|()| handle)
    }

    /// The same, though a kernel may have gone wrong in it.
    pub fn current_or_faulted(&self) -> Outcome<Handle> {
        let top = thread::stack(self.life, |stack| stack.last().copied());
        let handle = top.ok_or(Code::INVALID_CONTEXT)?;
        self.context(handle).map(|_| handle)
    }

    pub fn context(&self, handle: Handle) -> Outcome<&Context> {
        self.contexts.get(handle).map_err(|_| Code::CONTEXT_IS_DESTROYED)
    }

    pub fn context_mut(&mut self, handle: Handle) -> Outcome<&mut Context> {
        self.contexts.get_mut(handle).map_err(|_| Code::CONTEXT_IS_DESTROYED)
    }

    /// An error if a kernel went wrong in a context.
    pub fn healthy(&self, handle: Handle) -> Outcome {
        self.context(handle)?.fault.map_or(Ok(()), Err)
    }

    /// The same for the current context, when something has been given back.
    pub fn after_release(&self) -> Outcome {
        self.current().map(|_| ())
    }

    fn make(&mut self, handle: Handle, device: usize, flags: u32) {
        let legacy = self.streams.insert(Stream::implicit(handle, true));
        let context = Context {
            device,
            flags,
            fault: None,
            legacy,
            per_thread: BTreeMap::new(),
            orphans: Vec::new(),
            limits: BTreeMap::new(),
        };
        self.contexts.put(handle, context);
    }

    /// `cuDevicePrimaryCtxRetain`
    pub fn retain(&mut self, ordinal: i32) -> Outcome<Handle> {
        let device = self.device(ordinal)?;
        device.retained += 1;
        let (number, primary) = (device.ordinal, device.primary);
        let (first, flags) = (device.retained == 1, device.primary_flags);
        if first {
            self.make(primary, number, flags);
        }
        self.note(|| format!("context={primary:#x}"));
        Ok(primary)
    }

    /// `cuDevicePrimaryCtxRelease`
    pub fn release(&mut self, ordinal: i32) -> Outcome {
        let device = self.device(ordinal)?;
        if device.retained == 0 {
            return Err(Code::INVALID_CONTEXT);
        }
        device.retained -= 1;
        let (last, primary) = (device.retained == 0, device.primary);
        if last { self.end(primary) } else { Ok(()) }
    }

    /// `cuDevicePrimaryCtxReset`: everything in it is gone, its users keep it.
    pub fn reset_primary(&mut self, ordinal: i32) -> Outcome {
        let device = self.device(ordinal)?;
        let (number, primary) = (device.ordinal, device.primary);
        let (retained, flags) = (device.retained, device.primary_flags);
        if retained > 0 {
            self.end(primary)?;
            self.make(primary, number, flags);
        }
        Ok(())
    }

    /// `cuDevicePrimaryCtxSetFlags`
    pub fn set_primary_flags(&mut self, ordinal: i32, flags: u32) -> Outcome {
        let device = self.device(ordinal)?;
        device.primary_flags = flags;
        let (retained, primary) = (device.retained > 0, device.primary);
        if retained {
            self.context_mut(primary)?.flags = flags;
        }
        Ok(())
    }

    /// `cuCtxCreate`: the new context becomes the current one.
    pub fn create_context(&mut self, flags: u32, ordinal: i32) -> Outcome<Handle> {
        let device = self.device(ordinal)?.ordinal;
        let handle = self.contexts.reserve();
        self.make(handle, device, flags);
        thread::stack(self.life, |stack| stack.push(handle));
        self.note(|| format!("context={handle:#x}"));
        Ok(handle)
    }

    /// `cuCtxDestroy`
    pub fn destroy_context(&mut self, handle: Handle) -> Outcome {
        self.contexts.get(handle).map_err(|_| Code::INVALID_CONTEXT)?;
        if self.devices.iter().any(|device| device.primary == handle) {
            return Err(Code::INVALID_CONTEXT);
        }
        thread::stack(self.life, |stack| {
            if stack.last() == Some(&handle) {
                stack.pop();
            }
        });
        self.end(handle)
    }

    /// Destroys a context with what is in it; that is a leak where the program could have freed it.
    fn end(&mut self, handle: Handle) -> Outcome {
        self.run_context(handle);
        let faulted = self.context(handle)?.fault.is_some();
        let addresses: Vec<u64> =
            self.allocations.iter().filter(|(_, a)| a.context == handle).map(|(&a, _)| a).collect();
        let mut left = Vec::new();
        for address in addresses {
            left.push(self.describe(address));
            self.forget(address);
        }
        self.streams.remove_where(|stream| stream.context == handle && stream.implicit);
        left.extend(self.streams.remove_where(|stream| stream.context == handle));
        self.drop_captures();
        left.extend(self.events.remove_where(|event| event.context == handle));
        left.extend(self.modules.remove_where(|image| image.context == handle));
        self.functions.remove_where(|function| function.context == handle);
        self.pinned.retain(|address, (context, pages)| {
            if *context == handle {
                left.push(format!("{} bytes of host memory at {address:#x}", pages.bytes()));
            }
            *context != handle
        });
        self.contexts.remove(handle)?;
        if !faulted {
            let name = self.contexts.name(handle);
            self.left.extend(left.iter().map(|what| format!("{what}, destroyed with {name}")));
        }
        Ok(())
    }

    /// `cuCtxPushCurrent`
    pub fn push(&mut self, handle: Handle) -> Outcome {
        self.contexts.get(handle).map_err(|_| Code::INVALID_CONTEXT)?;
        thread::stack(self.life, |stack| stack.push(handle));
        Ok(())
    }

    /// `cuCtxPopCurrent`
    pub fn pop(&mut self) -> Outcome<Handle> {
        thread::stack(self.life, Vec::pop).ok_or(Code::INVALID_CONTEXT)
    }

    /// `cuCtxSetCurrent`: replaces the top of the stack, or removes it.
    pub fn set_current(&mut self, handle: Handle) -> Outcome {
        if handle != 0 {
            self.contexts.get(handle).map_err(|_| Code::INVALID_CONTEXT)?;
        }
        thread::stack(self.life, |stack| {
            stack.pop();
            if handle != 0 {
                stack.push(handle);
            }
        });
        Ok(())
    }

    /// `cuCtxGetCurrent`; 0: none.
    pub fn get_current(&self) -> Handle {
        thread::stack(self.life, |stack| stack.last().copied()).unwrap_or(0)
    }

    /// `cuCtxSynchronize`
    pub fn synchronise_context(&mut self) -> Outcome {
        let context = self.current()?;
        self.disturbs_captures()?;
        self.run_context(context);
        self.healthy(context)
    }

    /// `cuCtxSetLimit`, of any of the seven that are known.
    pub fn set_limit(&mut self, limit: u32, value: u64) -> Outcome {
        let context = self.current()?;
        if limit > 6 {
            return Err(Code::UNSUPPORTED_LIMIT);
        }
        self.context_mut(context)?.limits.insert(limit, value);
        Ok(())
    }

    /// `cuCtxGetLimit`; what was not set is a kilobyte, the usual stack.
    pub fn get_limit(&self, limit: u32) -> Outcome<u64> {
        let context = self.context(self.current()?)?;
        let value = context.limits.get(&limit).copied();
        if limit > 6 { Err(Code::UNSUPPORTED_LIMIT) } else { Ok(value.unwrap_or(1024)) }
    }
}
