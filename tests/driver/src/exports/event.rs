//! Events.

use super::{Out, exports, put};
use crate::code::Code;

exports! {
    Usual fn cuEventCreate(event: Out<u64>, flags: u32) |driver| {
        let event = event.ok_or(Code::INVALID_VALUE)?;
        event.write(driver.create_event(flags)?);
        Ok(())
    }

    Release fn cuEventDestroy_v2(event: u64) |driver| { driver.destroy_event(event) }

    Usual fn cuEventRecord(event: u64, stream: u64) = cuEventRecord_ptsz |driver| {
        driver.record(event, stream)
    }

    Usual fn cuEventRecordWithFlags(
        event: u64,
        stream: u64,
        flags: u32,
    ) = cuEventRecordWithFlags_ptsz |driver| {
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        driver.record(event, stream)
    }

    Usual fn cuEventQuery(event: u64) |driver| { driver.query_event(event) }

    Usual fn cuEventSynchronize(event: u64) |driver| { driver.synchronise_event(event) }

    Usual fn cuEventElapsedTime(milliseconds: Out<f32>, start: u64, end: u64) |driver| {
        put(milliseconds, driver.elapsed(start, end)?)
    }

    Usual fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: u64, end: u64) |driver| {
        put(milliseconds, driver.elapsed(start, end)?)
    }
}
