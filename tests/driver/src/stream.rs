//! Streams, and what the work of each must come after.

use crate::code::{Code, Outcome};
use crate::driver::Driver;
use crate::queue::{Op, Work};
use crate::table::Handle;
use crate::thread;

/// `CU_STREAM_LEGACY`; 0 is the same, but for calls whose names end in `_ptsz` or `_ptds`.
pub(crate) const LEGACY: Handle = 1;
/// `CU_STREAM_PER_THREAD`
pub(crate) const PER_THREAD: Handle = 2;
/// `CU_STREAM_NON_BLOCKING`
pub(crate) const NON_BLOCKING: u32 = 1;
/// The highest of priorities, which begin at 0.
pub(crate) const MOST_PRIORITY: i32 = -5;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub context: Handle,
    pub flags: u32,
    pub priority: i32,
    /// It belongs to the context or to a thread; the caller did not create it.
    pub implicit: bool,
    legacy: bool,
    /// The work that was submitted last.
    pub last: Option<u64>,
    /// The capture that it takes part in.
    pub capture: Option<u64>,
}

impl Stream {
    /// The legacy stream of a context, or the stream of a thread.
    pub fn implicit(context: Handle, legacy: bool) -> Stream {
        Stream { context, flags: 0, priority: 0, implicit: true, legacy, last: None, capture: None }
    }

    pub fn is_legacy(&self) -> bool {
        self.legacy
    }

    /// Whether it and the legacy stream wait for each other.
    pub fn is_blocking(&self) -> bool {
        !self.legacy && self.flags & NON_BLOCKING == 0
    }
}

impl Driver {
    /// The stream that a handle means, in a context where nothing went wrong.
    pub fn stream(&mut self, handle: Handle) -> Outcome<Handle> {
        let stream = self.stream_or_faulted(handle)?;
        self.healthy(self.streams.get(stream)?.context)?;
        Ok(stream)
    }

    /// The same, though a kernel may have gone wrong there.
    pub fn stream_or_faulted(&mut self, handle: Handle) -> Outcome<Handle> {
        match handle {
            0 if self.per_thread => self.stream_or_faulted(PER_THREAD),
            0 | LEGACY => Ok(self.context(self.current_or_faulted()?)?.legacy),
            PER_THREAD => {
                let context = self.current_or_faulted()?;
                let thread = thread::number();
                if let Some(&stream) = self.context(context)?.per_thread.get(&thread) {
                    return Ok(stream);
                }
                let stream = self.streams.insert(Stream::implicit(context, false));
                self.context_mut(context)?.per_thread.insert(thread, stream);
                Ok(stream)
            }
            handle => self.streams.get(handle).map(|_| handle),
        }
    }

    /// `cuStreamCreate`
    pub fn create_stream(&mut self, flags: u32, priority: i32) -> Outcome<Handle> {
        let context = self.current()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let priority = priority.clamp(MOST_PRIORITY, 0);
        let (legacy, last, capture) = (false, None, None);
        let implicit = false;
        let stream = Stream { context, flags, priority, implicit, legacy, last, capture };
        let handle = self.streams.insert(stream);
        self.note(|| format!("stream={handle:#x}"));
        Ok(handle)
    }

    /// `cuStreamDestroy`: what was submitted is still done.
    pub fn destroy_stream(&mut self, handle: Handle) -> Outcome {
        if handle <= PER_THREAD || self.streams.get(handle)?.implicit {
            return Err(Code::INVALID_HANDLE);
        }
        if let Some(capture) = self.streams.get(handle)?.capture {
            self.invalidate(capture);
        }
        let stream = self.streams.remove(handle)?;
        self.drop_captures();
        if stream.is_blocking() {
            let mut orphans = std::mem::take(&mut self.context_mut(stream.context)?.orphans);
            orphans.extend(stream.last);
            orphans.retain(|&id| !self.queue.is_done(id));
            self.context_mut(stream.context)?.orphans = orphans;
        }
        self.healthy(stream.context)
    }

    /// What the next work of a stream must come after.
    pub fn predecessors(&self, handle: Handle) -> Outcome<Vec<u64>> {
        let stream = self.streams.get(handle)?;
        let context = self.context(stream.context)?;
        let mut found: Vec<u64> = stream.last.into_iter().collect();
        if stream.legacy {
            let others = self
                .streams
                .iter()
                .filter(|(_, other)| other.context == stream.context && other.is_blocking());
            found.extend(others.filter_map(|(_, other)| other.last));
            found.extend(&context.orphans);
        } else if stream.is_blocking() {
            found.extend(self.streams.get(context.legacy)?.last);
        }
        found.retain(|&id| !self.queue.is_done(id));
        Ok(found)
    }

    /// Adds work to a stream, or to the graph that it captures.
    pub fn submit(&mut self, stream: Handle, op: Op) -> Outcome {
        let context = self.streams.get(stream)?.context;
        self.healthy(context)?;
        if let Some(capture) = self.active_capture(stream)? {
            return self.capture_node(capture, stream, op);
        }
        self.refuse_implicit_dependency(stream)?;
        let after = self.predecessors(stream)?;
        self.enqueue(stream, op, after)
    }

    /// Adds work that comes after these, and lets the device go on.
    pub fn enqueue(&mut self, stream: Handle, op: Op, after: Vec<u64>) -> Outcome {
        let context = self.streams.get(stream)?.context;
        let id = self.queue.push(Work { context, op, after });
        self.streams.get_mut(stream)?.last = Some(id);
        self.progress();
        Ok(())
    }

    /// `cuStreamSynchronize`
    pub fn synchronise_stream(&mut self, handle: Handle) -> Outcome {
        let stream = self.stream(handle)?;
        self.refuse_in_capture(stream, Code::STREAM_CAPTURE_UNSUPPORTED)?;
        self.disturbs_captures()?;
        // The legacy stream has come to its end when those that it waits for have.
        let targets = self.predecessors(stream)?;
        self.run_until(&targets);
        self.healthy(self.streams.get(stream)?.context)
    }

    /// `cuStreamQuery`
    pub fn query_stream(&mut self, handle: Handle) -> Outcome {
        let stream = self.stream(handle)?;
        self.refuse_in_capture(stream, Code::STREAM_CAPTURE_UNSUPPORTED)?;
        self.disturbs_captures()?;
        self.poll(None);
        let done = self.predecessors(stream)?.is_empty();
        self.healthy(self.streams.get(stream)?.context)?;
        if done { Ok(()) } else { Err(Code::NOT_READY) }
    }
}
