//! Streams and captures.

use std::ffi::c_void;
use std::ptr::null;

use super::{Out, exports, put, put_if};
use crate::code::Code;
use crate::thread::{self, Mode};

exports! {
    Usual fn cuStreamCreate(stream: Out<u64>, flags: u32) |driver| {
        let stream = stream.ok_or(Code::INVALID_VALUE)?;
        stream.write(driver.create_stream(flags, 0)?);
        Ok(())
    }

    Usual fn cuStreamCreateWithPriority(stream: Out<u64>, flags: u32, priority: i32) |driver| {
        let stream = stream.ok_or(Code::INVALID_VALUE)?;
        stream.write(driver.create_stream(flags, priority)?);
        Ok(())
    }

    Release fn cuStreamDestroy_v2(stream: u64) |driver| { driver.destroy_stream(stream) }

    Usual fn cuStreamSynchronize(stream: u64) = cuStreamSynchronize_ptsz |driver| {
        driver.synchronise_stream(stream)
    }

    Usual fn cuStreamQuery(stream: u64) = cuStreamQuery_ptsz |driver| { driver.query_stream(stream) }

    Usual fn cuStreamWaitEvent(stream: u64, event: u64, flags: u32) = cuStreamWaitEvent_ptsz
    |driver| {
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        driver.wait_event(stream, event)
    }

    Usual fn cuStreamGetFlags(stream: u64, flags: Out<u32>) = cuStreamGetFlags_ptsz |driver| {
        let stream = driver.stream(stream)?;
        put(flags, driver.streams.get(stream)?.flags)
    }

    Usual fn cuStreamGetPriority(stream: u64, priority: Out<i32>) = cuStreamGetPriority_ptsz
    |driver| {
        let stream = driver.stream(stream)?;
        put(priority, driver.streams.get(stream)?.priority)
    }

    Usual fn cuStreamGetCtx(stream: u64, context: Out<u64>) = cuStreamGetCtx_ptsz |driver| {
        let stream = driver.stream(stream)?;
        put(context, driver.streams.get(stream)?.context)
    }

    Usual fn cuStreamGetDevice(stream: u64, device: Out<i32>) = cuStreamGetDevice_ptsz |driver| {
        let stream = driver.stream(stream)?;
        let context = driver.streams.get(stream)?.context;
        put(device, driver.context(context)?.device as i32)
    }

    Usual fn cuStreamGetId(stream: u64, id: Out<u64>) = cuStreamGetId_ptsz |driver| {
        put(id, driver.stream(stream)?)
    }

    Usual fn cuStreamBeginCapture_v2(stream: u64, mode: u32) = cuStreamBeginCapture_v2_ptsz
    |driver| {
        driver.begin_capture(stream, mode)
    }

    Usual fn cuStreamEndCapture(stream: u64, graph: Out<u64>) = cuStreamEndCapture_ptsz |driver| {
        let graph = graph.ok_or(Code::INVALID_VALUE)?;
        graph.write(0);
        graph.write(driver.end_capture(stream)?);
        Ok(())
    }

    Usual fn cuStreamIsCapturing(stream: u64, status: Out<u32>) = cuStreamIsCapturing_ptsz
    |driver| {
        put(status, driver.capture_status(stream)?.0 as u32)
    }

    Usual fn cuStreamGetCaptureInfo_v2(
        stream: u64,
        status: Out<u32>,
        id: Out<u64>,
        graph: Out<u64>,
        dependencies: Out<*const c_void>,
        count: Out<usize>,
    ) = cuStreamGetCaptureInfo_v2_ptsz |driver| {
        let (found, number) = driver.capture_status(stream)?;
        put(status, found as u32)?;
        put_if(id, number);
        put_if(graph, 0); // it has no handle before the end of the capture
        put_if(dependencies, null());
        put_if(count, 0);
        Ok(())
    }

    Usual fn cuStreamGetCaptureInfo_v3(
        stream: u64,
        status: Out<u32>,
        id: Out<u64>,
        graph: Out<u64>,
        dependencies: Out<*const c_void>,
        edges: Out<*const c_void>,
        count: Out<usize>,
    ) = cuStreamGetCaptureInfo_v3_ptsz |driver| {
        let (found, number) = driver.capture_status(stream)?;
        put(status, found as u32)?;
        put_if(id, number);
        put_if(graph, 0); // as above
        put_if(dependencies, null());
        put_if(edges, null());
        put_if(count, 0);
        Ok(())
    }

    Usual fn cuThreadExchangeStreamCaptureMode(mode: Option<&mut u32>) |_driver| {
        let mode = mode.ok_or(Code::INVALID_VALUE)?;
        let wanted = Mode::new(*mode).ok_or(Code::INVALID_VALUE)?;
        *mode = thread::exchange_mode(wanted) as u32;
        Ok(())
    }
}
