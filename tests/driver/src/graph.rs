//! Graphs: made by captures, run any number of times.

use std::sync::Arc;

use crate::code::{Code, Outcome};
use crate::driver::Driver;
use crate::queue::{Op, Work};
use crate::table::Handle;

/// Work of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub context: Handle,
    pub op: Op,
    /// Nodes before it.
    pub after: Vec<usize>,
}

/// A graph.
#[derive(Debug)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
}

/// What was made of a graph to run it.
#[derive(Debug)]
pub(crate) struct Executable {
    nodes: Arc<[Node]>,
    /// The end of its last launch, before which the next one does not begin.
    last: Option<u64>,
}

impl Driver {
    /// `cuGraphInstantiate`
    pub fn instantiate(&mut self, graph: Handle) -> Outcome<Handle> {
        self.current()?;
        let nodes = self.graphs.get(graph)?.nodes.as_slice().into();
        let handle = self.executables.insert(Executable { nodes, last: None });
        self.note(|| format!("executable={handle:#x}"));
        Ok(handle)
    }

    /// `cuGraphLaunch`
    pub fn launch_graph(&mut self, handle: Handle, stream: Handle) -> Outcome {
        let stream = self.stream(stream)?;
        let Executable { nodes, last } = self.executables.get(handle)?;
        let (nodes, last) = (Arc::clone(nodes), *last);
        for node in nodes.iter() {
            if let Op::Kernel(kernel) = &node.op
                && self.modules.get(kernel.module).is_err()
            {
                self.violation(format!("a graph launches {}, which was unloaded", kernel.name()));
                return Err(Code::INVALID_VALUE);
            }
        }
        if let Some(capture) = self.active_capture(stream)? {
            return self.capture_nodes(capture, stream, &nodes);
        }
        self.refuse_implicit_dependency(stream)?;
        let mut before = self.predecessors(stream)?;
        before.extend(last);
        let mut ids = Vec::with_capacity(nodes.len());
        for Node { context, op, after } in nodes.iter().cloned() {
            let mut after: Vec<u64> = after.iter().map(|&at| ids[at]).collect();
            if after.is_empty() {
                after.clone_from(&before);
            }
            ids.push(self.queue.push(Work { context, op, after }));
        }
        ids.extend(before);
        self.enqueue(stream, Op::Join, ids)?;
        self.executables.get_mut(handle)?.last = self.streams.get(stream)?.last;
        Ok(())
    }
}
