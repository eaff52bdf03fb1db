//! Events.

use crate::code::{Code, Outcome};
use crate::driver::Driver;
use crate::queue::Op;
use crate::table::Handle;

/// `CU_EVENT_DISABLE_TIMING`
const DISABLE_TIMING: u32 = 2;

/// An event.
#[derive(Debug)]
pub(crate) struct Event {
    pub context: Handle,
    flags: u32,
    state: State,
    /// When it came, in microseconds of the queue's clock.
    pub time: f64,
}

#[derive(Clone, Debug)]
enum State {
    Never,
    /// This work.
    Recorded(u64),
    /// These nodes of a capture.
    Captured {
        capture: u64,
        nodes: Vec<usize>,
    },
}

impl Driver {
    /// `cuEventCreate`
    pub fn create_event(&mut self, flags: u32) -> Outcome<Handle> {
        let context = self.current()?;
        if flags > 7 {
            return Err(Code::INVALID_VALUE);
        }
        let event = Event { context, flags, state: State::Never, time: 0.0 };
        let handle = self.events.insert(event);
        self.note(|| format!("event={handle:#x}"));
        Ok(handle)
    }

    /// `cuEventDestroy`: who waits for it goes on waiting.
    pub fn destroy_event(&mut self, handle: Handle) -> Outcome {
        let event = self.events.remove(handle)?;
        self.healthy(event.context)
    }

    /// `cuEventRecord`
    pub fn record(&mut self, handle: Handle, stream: Handle) -> Outcome {
        let stream = self.stream(stream)?;
        let context = self.streams.get(stream)?.context;
        if self.events.get(handle)?.context != context {
            return Err(Code::INVALID_HANDLE);
        }
        let capturing = self.active_capture(stream)?;
        self.refuse_implicit_dependency(stream)?;
        let state = match capturing {
            Some(capture) => State::Captured { capture, nodes: self.tails(capture, stream) },
            None => State::Recorded(self.queue.next()), // which may be done at once
        };
        self.events.get_mut(handle)?.state = state;
        if capturing.is_some() { Ok(()) } else { self.submit(stream, Op::Record { event: handle }) }
    }

    /// The stream has come to where an event was recorded, perhaps not for the last time.
    pub fn arrive(&mut self, handle: Handle, work: u64) {
        let now = self.queue.clock;
        if let Ok(event) = self.events.get_mut(handle)
            && matches!(event.state, State::Recorded(last) if last == work)
        {
            event.time = now;
        }
    }

    /// `cuStreamWaitEvent`: for what was recorded last before this call.
    pub fn wait_event(&mut self, stream: Handle, handle: Handle) -> Outcome {
        let stream = self.stream(stream)?;
        let state = self.events.get(handle)?.state.clone();
        let capturing = self.active_capture(stream)?;
        match state {
            State::Never => Ok(()),
            State::Captured { capture, nodes } => self.join_capture(stream, capture, &nodes),
            State::Recorded(_) if capturing.is_some() => {
                capturing.into_iter().for_each(|capture| self.invalidate(capture));
                Err(Code::STREAM_CAPTURE_ISOLATION)
            }
            State::Recorded(id) => {
                self.refuse_implicit_dependency(stream)?;
                let mut after = self.predecessors(stream)?;
                after.push(id);
                self.enqueue(stream, Op::Join, after)
            }
        }
    }

    /// The work that an event stands for, which must not be part of a capture.
    fn recorded(&mut self, handle: Handle) -> Outcome<Option<u64>> {
        let event = self.events.get(handle)?;
        self.healthy(event.context)?;
        match event.state {
            State::Never => Ok(None),
            State::Recorded(id) => Ok(Some(id)),
            State::Captured { capture, .. } => {
                self.invalidate(capture);
                Err(Code::CAPTURED_EVENT)
            }
        }
    }

    /// `cuEventSynchronize`
    pub fn synchronise_event(&mut self, handle: Handle) -> Outcome {
        let work = self.recorded(handle)?;
        self.disturbs_captures()?;
        self.run_until(work.as_slice());
        self.healthy(self.events.get(handle)?.context)
    }

    /// `cuEventQuery`
    pub fn query_event(&mut self, handle: Handle) -> Outcome {
        let work = self.recorded(handle)?;
        self.disturbs_captures()?;
        let done = self.poll(work);
        self.healthy(self.events.get(handle)?.context)?;
        if done { Ok(()) } else { Err(Code::NOT_READY) }
    }

    /// `cuEventElapsedTime`, in milliseconds.
    pub fn elapsed(&mut self, start: Handle, end: Handle) -> Outcome<f32> {
        let mut times = [0.0; 2];
        for (time, handle) in times.iter_mut().zip([start, end]) {
            let work = self.recorded(handle)?.ok_or(Code::INVALID_HANDLE)?;
            let event = self.events.get(handle)?;
            if event.flags & DISABLE_TIMING != 0 {
                return Err(Code::INVALID_HANDLE);
            }
            if !self.queue.is_done(work) {
                return Err(Code::NOT_READY);
            }
            *time = event.time;
        }
        Ok(((times[1] - times[0]) / 1000.0) as f32)
    }
}
