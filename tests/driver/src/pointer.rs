//! What the driver knows of an address.

use crate::code::{Code, Outcome};
use crate::driver::Driver;

/// The value of an attribute, as large as cuda.h says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Word(u32),
    Long(u64),
}

const HOST: u32 = 1; // CU_MEMORYTYPE_HOST
const DEVICE: u32 = 2; // CU_MEMORYTYPE_DEVICE
const NO_DEVICE: i32 = -2; // CU_DEVICE_INVALID

/// `CUpointer_attribute`, by its numbers in cuda.h.
mod attribute {
    pub const CONTEXT: u32 = 1;
    pub const MEMORY_TYPE: u32 = 2;
    pub const DEVICE_POINTER: u32 = 3;
    pub const HOST_POINTER: u32 = 4;
    pub const SYNC_MEMOPS: u32 = 6;
    pub const BUFFER_ID: u32 = 7;
    pub const IS_MANAGED: u32 = 8;
    pub const DEVICE_ORDINAL: u32 = 9;
    pub const IS_IPC_CAPABLE: u32 = 10;
    pub const RANGE_START: u32 = 11;
    pub const RANGE_SIZE: u32 = 12;
    pub const MAPPED: u32 = 13;
}

/// What `cuPointerGetAttributes` says of an address that is no pointer of the driver.
pub(crate) fn unknown(attribute: u32) -> Outcome<Value> {
    Ok(match attribute {
        attribute::CONTEXT
        | attribute::DEVICE_POINTER
        | attribute::HOST_POINTER
        | attribute::BUFFER_ID
        | attribute::RANGE_START
        | attribute::RANGE_SIZE => Value::Long(0),
        attribute::DEVICE_ORDINAL => Value::Word(NO_DEVICE as u32),
        attribute::MEMORY_TYPE
        | attribute::SYNC_MEMOPS
        | attribute::IS_MANAGED
        | attribute::IS_IPC_CAPABLE
        | attribute::MAPPED => Value::Word(0),
        _ => return Err(Code::NOT_SUPPORTED),
    })
}

impl Driver {
    /// Whether the driver knows an address.
    pub fn knows(&self, address: u64) -> bool {
        self.find(address).is_some() || self.find_pinned(address).is_some()
    }

    /// `cuPointerGetAttribute`
    pub fn pointer_attribute(&self, address: u64, attribute: u32) -> Outcome<Value> {
        let (start, bytes, context, on_host) = match self.find(address) {
            Some((start, allocation)) => (start, allocation.bytes, allocation.context, false),
            None => {
                let (start, bytes) = self.find_pinned(address).ok_or(Code::INVALID_VALUE)?;
                (start, bytes as u64, self.pinned[&start].0, true)
            }
        };
        Ok(match attribute {
            attribute::CONTEXT => Value::Long(context),
            attribute::MEMORY_TYPE => Value::Word(if on_host { HOST } else { DEVICE }),
            attribute::HOST_POINTER if !on_host => return Err(Code::INVALID_VALUE),
            attribute::DEVICE_POINTER | attribute::HOST_POINTER => Value::Long(address),
            attribute::BUFFER_ID | attribute::RANGE_START => Value::Long(start),
            attribute::RANGE_SIZE => Value::Long(bytes),
            attribute::DEVICE_ORDINAL => Value::Word(self.context(context)?.device as u32),
            attribute::MAPPED => Value::Word(1),
            attribute::SYNC_MEMOPS | attribute::IS_MANAGED | attribute::IS_IPC_CAPABLE => {
                Value::Word(0)
            }
            _ => return Err(Code::NOT_SUPPORTED),
        })
    }
}
