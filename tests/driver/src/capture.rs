//! Capturing the work of streams into a graph, and what must not be done meanwhile.

use std::collections::BTreeMap;

use crate::code::{Code, Outcome};
use crate::driver::Driver;
use crate::graph::{Graph, Node};
use crate::queue::Op;
use crate::stream::{LEGACY, Stream};
use crate::table::Handle;
use crate::thread::{self, Mode};

/// A capture that goes on.
#[derive(Debug)]
pub(crate) struct Capture {
    mode: Mode,
    thread: u64,
    /// The stream that it began on.
    origin: Handle,
    nodes: Vec<Node>,
    /// For each stream that takes part, the nodes that its next one comes after.
    tails: BTreeMap<Handle, Vec<usize>>,
    invalid: bool,
}

/// `CUstreamCaptureStatus`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    None = 0,
    Active = 1,
    Invalidated = 2,
}

impl Driver {
    /// `cuStreamBeginCapture`
    pub fn begin_capture(&mut self, stream: Handle, mode: u32) -> Outcome {
        let mode = Mode::new(mode).ok_or(Code::INVALID_VALUE)?;
        let stream = self.stream(stream)?;
        let found = self.streams.get(stream)?;
        if found.is_legacy() {
            return Err(Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        if found.capture.is_some() {
            return Err(Code::ILLEGAL_STATE);
        }
        let capture = Capture {
            mode,
            thread: thread::number(),
            origin: stream,
            nodes: Vec::new(),
            tails: BTreeMap::from([(stream, Vec::new())]),
            invalid: false,
        };
        let id = self.queue.random() | 1;
        self.captures.insert(id, capture);
        self.streams.get_mut(stream)?.capture = Some(id);
        Ok(())
    }

    /// `cuStreamEndCapture`
    pub fn end_capture(&mut self, stream: Handle) -> Outcome<Handle> {
        let stream = self.stream(stream)?;
        let id = self.streams.get(stream)?.capture.ok_or(Code::ILLEGAL_STATE)?;
        let capture = self.captures.get(&id).ok_or(Code::ILLEGAL_STATE)?;
        if capture.mode != Mode::Relaxed && capture.thread != thread::number() {
            return Err(Code::STREAM_CAPTURE_WRONG_THREAD);
        }
        if capture.origin != stream {
            self.invalidate(id);
            return Err(Code::STREAM_CAPTURE_UNMATCHED);
        }
        let unjoined = !capture.is_joined();
        for stream in self.streams.values_mut().filter(|stream| stream.capture == Some(id)) {
            stream.capture = None;
        }
        let capture = self.captures.remove(&id).ok_or(Code::ILLEGAL_STATE)?;
        if capture.invalid {
            return Err(Code::STREAM_CAPTURE_INVALIDATED);
        }
        if unjoined {
            return Err(Code::STREAM_CAPTURE_UNJOINED);
        }
        let nodes = capture.nodes.len();
        let graph = self.graphs.insert(Graph { nodes: capture.nodes });
        self.note(|| format!("graph={graph:#x} of {nodes} nodes"));
        Ok(graph)
    }

    /// `cuStreamIsCapturing`, and the number of the capture.
    pub fn capture_status(&mut self, stream: Handle) -> Outcome<(Status, u64)> {
        let stream = self.stream(stream)?;
        if self.streams.get(stream)?.is_legacy() && self.blocking_capture(stream).is_some() {
            return Err(Code::STREAM_CAPTURE_IMPLICIT);
        }
        Ok(match self.streams.get(stream)?.capture {
            None => (Status::None, 0),
            Some(id) if self.captures.get(&id).is_some_and(|capture| !capture.invalid) => {
                (Status::Active, id)
            }
            Some(_) => (Status::Invalidated, 0),
        })
    }

    /// Whether the next work of a stream goes into a graph.
    pub fn is_capturing(&self, stream: Handle) -> bool {
        self.streams.get(stream).is_ok_and(|stream| stream.capture.is_some())
    }

    /// The capture of a stream; an error if it is none any more.
    pub fn active_capture(&self, stream: Handle) -> Outcome<Option<u64>> {
        let Some(id) = self.streams.get(stream)?.capture else { return Ok(None) };
        match self.captures.get(&id) {
            Some(capture) if !capture.invalid => Ok(Some(id)),
            _ => Err(Code::STREAM_CAPTURE_INVALIDATED),
        }
    }

    /// A capture cannot become a graph any more.
    pub fn invalidate(&mut self, id: u64) {
        if let Some(capture) = self.captures.get_mut(&id) {
            capture.invalid = true;
        }
    }

    /// Forgets captures whose stream is gone.
    pub fn drop_captures(&mut self) {
        let streams = &self.streams;
        self.captures.retain(|_, capture| streams.get(capture.origin).is_ok());
        let captures = &self.captures;
        for stream in self.streams.values_mut() {
            stream.capture = stream.capture.filter(|id| captures.contains_key(id));
        }
    }

    /// Something that a stream cannot do while it captures.
    pub fn refuse_in_capture(&mut self, stream: Handle, code: Code) -> Outcome {
        match self.streams.get(stream)?.capture {
            Some(id) => {
                self.invalidate(id);
                Err(code)
            }
            None => Ok(()),
        }
    }

    /// A capture on a blocking stream of the context of this one.
    fn blocking_capture(&self, stream: Handle) -> Option<u64> {
        let context = self.streams.get(stream).ok()?.context;
        let captures = |stream: &Stream| stream.context == context && stream.is_blocking();
        self.streams.iter().find_map(|(_, s)| if captures(s) { s.capture } else { None })
    }

    /// Work on the legacy stream would wait for streams that capture.
    pub fn refuse_implicit_dependency(&mut self, stream: Handle) -> Outcome {
        match self.blocking_capture(stream) {
            Some(id) if self.streams.get(stream)?.is_legacy() => {
                self.invalidate(id);
                Err(Code::STREAM_CAPTURE_IMPLICIT)
            }
            _ => Ok(()),
        }
    }

    /// A call that may do something in a stream without saying so: which captures forbid it depends
    /// on their modes and the thread's.
    pub fn disturbs_captures(&mut self) -> Outcome {
        let (thread, mode) = (thread::number(), thread::mode());
        let forbids = |capture: &&mut Capture| {
            let mine = capture.thread == thread && capture.mode != Mode::Relaxed;
            let global = capture.mode == Mode::Global;
            match mode {
                Mode::Global => mine || global,
                Mode::ThreadLocal => mine,
                Mode::Relaxed => false,
            }
        };
        let mut refused = false;
        for capture in self.captures.values_mut().filter(forbids) {
            capture.invalid = true;
            refused = true;
        }
        if refused { Err(Code::STREAM_CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    /// The nodes that the next one of a stream comes after.
    pub fn tails(&self, capture: u64, stream: Handle) -> Vec<usize> {
        let tails = self.captures.get(&capture).and_then(|capture| capture.tails.get(&stream));
        tails.cloned().unwrap_or_default()
    }

    /// Adds a node.
    pub fn capture_node(&mut self, capture: u64, stream: Handle, op: Op) -> Outcome {
        let context = self.streams.get(stream)?.context;
        let after = self.tails(capture, stream);
        let capture = self.captures.get_mut(&capture).ok_or(Code::ILLEGAL_STATE)?;
        capture.nodes.push(Node { context, op, after });
        capture.tails.insert(stream, vec![capture.nodes.len() - 1]);
        Ok(())
    }

    /// Adds the nodes of another graph.
    pub fn capture_nodes(&mut self, capture: u64, stream: Handle, nodes: &[Node]) -> Outcome {
        let before = self.tails(capture, stream);
        let capture = self.captures.get_mut(&capture).ok_or(Code::ILLEGAL_STATE)?;
        let first = capture.nodes.len();
        for node in nodes {
            let mut node = node.clone();
            node.after.iter_mut().for_each(|at| *at += first);
            if node.after.is_empty() {
                node.after.clone_from(&before);
            }
            capture.nodes.push(node);
        }
        if !nodes.is_empty() {
            capture.tails.insert(stream, (first..capture.nodes.len()).collect());
        }
        Ok(())
    }

    /// A stream waits for nodes of a capture, and so takes part in it.
    pub fn join_capture(&mut self, stream: Handle, id: u64, nodes: &[usize]) -> Outcome {
        let mine = self.active_capture(stream)?;
        if self.captures.get(&id).is_none_or(|capture| capture.invalid) {
            return Err(Code::CAPTURED_EVENT);
        }
        if mine.is_some_and(|mine| mine != id) {
            mine.into_iter().chain([id]).for_each(|capture| self.invalidate(capture));
            return Err(Code::STREAM_CAPTURE_MERGE);
        }
        if self.streams.get(stream)?.is_legacy() || stream == LEGACY {
            self.invalidate(id);
            return Err(Code::STREAM_CAPTURE_IMPLICIT);
        }
        self.streams.get_mut(stream)?.capture = Some(id);
        if let Some(capture) = self.captures.get_mut(&id) {
            let tails = capture.tails.entry(stream).or_default();
            tails.extend(nodes);
            tails.sort_unstable();
            tails.dedup();
        }
        Ok(())
    }
}

impl Capture {
    /// Whether the stream that it began on comes after everything.
    fn is_joined(&self) -> bool {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = self.tails.get(&self.origin).cloned().unwrap_or_default();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                open.extend(&self.nodes[at].after);
            }
        }
        reached.iter().all(|&reached| reached)
    }
}
