//! A GPU. Its times are those between two events on the stream.
#![allow(unsafe_code)] // blocks are addresses

use std::process::Command;
use std::ptr::without_provenance_mut;
use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::sys::{
    CUdevice_attribute as Attribute, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};
use xent::cuda::driver::Driver;
use xent::cuda::nvrtc::Nvrtc;
use xent::{Context, Stream};

use super::{Block, Machine, Result, Run, Seconds, report};

/// The fewest calls between two events, which take a few microseconds themselves.
const CALLS: usize = 10;

pub struct Gpu {
    context: Context,
    /// The same one, the primary context of the GPU.
    cuda: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    events: [CudaEvent; 2],
}

impl Gpu {
    pub fn new(context: Context, ordinal: u32) -> Result<Gpu> {
        let cuda = CudaContext::new(ordinal as usize)?;
        let event = || cuda.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        Ok(Gpu { context, stream: cuda.new_stream()?, events: [event()?, event()?], cuda })
    }

    fn attribute(&self, attribute: Attribute) -> Option<usize> {
        self.cuda.attribute(attribute).ok().and_then(|value| usize::try_from(value).ok())
    }
}

/// The address as the driver has it.
fn pointer(block: &Block) -> u64 {
    block.address.addr() as u64
}

impl Machine for Gpu {
    fn context(&self) -> &Context {
        &self.context
    }

    fn stream(&self) -> Option<Stream<'_>> {
        // SAFETY: a stream of the primary context, borrowed.
        Some(unsafe { Stream::from_raw(self.stream.cu_stream().cast()) })
    }

    fn cache(&self) -> usize {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE).unwrap_or(64 << 20)
    }

    fn describe(&self) -> report::Device {
        let capability = self.cuda.compute_capability().ok();
        report::Device {
            kind: report::Kind::Cuda,
            name: self.cuda.name().unwrap_or_default(),
            threads: None,
            compute_capability: capability.map(|(major, minor)| format!("{major}.{minor}")),
            multiprocessors: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
            memory_bytes: self.cuda.total_mem().ok(),
            cache_bytes: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
            clocks_mhz: clocks(self.cuda.ordinal()),
        }
    }

    fn versions(&self) -> Vec<(String, String)> {
        let driver = Driver::get().ok().map(|driver| ("CUDA driver", driver.version()));
        let nvrtc = Nvrtc::find().ok().map(|nvrtc| ("NVRTC", nvrtc.version()));
        let found = driver.into_iter().chain(nvrtc);
        found.map(|(name, version)| (name.to_owned(), version.to_string())).collect()
    }

    fn allocate(&self, bytes: usize) -> Result<Block> {
        self.cuda.bind_to_thread()?;
        // SAFETY: in the current context.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }?;
        let cuda = Arc::clone(&self.cuda);
        let free = move || {
            // SAFETY: it was allocated there, once, and waits for what is on the streams.
            cuda.record_err(
                cuda.bind_to_thread().and_then(|()| unsafe { result::free_sync(address) }),
            );
        };
        let address = without_provenance_mut(usize::try_from(address)?);
        Ok(Block { address, size: bytes, free: Box::new(free) })
    }

    fn write(&self, block: &Block, bytes: &[u8]) -> Result<()> {
        assert_eq!(block.size, bytes.len());
        // SAFETY: a block of that size; the bytes are there until it is done.
        unsafe { result::memcpy_htod_async(pointer(block), bytes, self.stream.cu_stream()) }?;
        Ok(self.stream.synchronize()?)
    }

    fn read(&self, block: &Block) -> Result<Vec<u8>> {
        let mut bytes = vec![0; block.size];
        // SAFETY: as above.
        unsafe { result::memcpy_dtoh_async(&mut bytes, pointer(block), self.stream.cu_stream()) }?;
        self.stream.synchronize()?;
        Ok(bytes)
    }

    fn poison(&self, block: &Block) -> Result<()> {
        let stream = self.stream.cu_stream();
        // SAFETY: a block of that size.
        Ok(unsafe { result::memset_d8_async(pointer(block), 0xff, block.size, stream) }?)
    }

    fn copy(&self, from: &Block, to: &Block) -> Result<()> {
        assert_eq!(from.size, to.size);
        let stream = self.stream.cu_stream();
        // SAFETY: blocks of that size.
        Ok(unsafe { result::memcpy_dtod_async(pointer(to), pointer(from), from.size, stream) }?)
    }

    fn calls(&self, sets: usize) -> usize {
        sets.max(CALLS)
    }

    /// Replays a graph of the calls, which wait neither for the calling thread nor to be launched.
    fn time(&self, calls: usize, call: &mut Run<'_>) -> Result<Seconds> {
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let captured = (0..calls).try_for_each(&mut *call);
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0))?;
        captured?;
        let graph = graph.ok_or("nothing was captured")?;
        graph.upload()?;
        let [start, end] = &self.events;
        start.record(&self.stream)?;
        graph.launch()?;
        end.record(&self.stream)?;
        let device = f64::from(start.elapsed_ms(end)?) / 1e3;
        let start = Instant::now();
        (0..calls).try_for_each(call)?;
        let host = start.elapsed().as_secs_f64();
        self.stream.synchronize()?;
        Ok(Seconds { device: device / calls as f64, host: Some(host / calls as f64) })
    }
}

/// As nvidia-smi tells, if it is there and does.
fn clocks(ordinal: usize) -> Option<report::Clocks> {
    let query = "--query-gpu=clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem";
    let mut command = Command::new("nvidia-smi");
    command.args([query, "--format=csv,noheader,nounits", &format!("--id={ordinal}")]);
    let said = command.output().ok().filter(|output| output.status.success())?.stdout;
    let said = String::from_utf8(said).ok()?;
    let numbers: Vec<f64> =
        said.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
    let [sm, memory, sm_max, memory_max] = numbers[..] else { return None };
    Some(report::Clocks { sm, memory, sm_max, memory_max })
}
