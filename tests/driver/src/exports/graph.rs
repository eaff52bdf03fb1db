//! Graphs.

use std::ffi::c_char;

use super::{Out, exports, put};
use crate::code::Code;
use crate::graph::Graph;

exports! {
    Usual fn cuGraphCreate(graph: Out<u64>, flags: u32) |driver| {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let graph = graph.ok_or(Code::INVALID_VALUE)?;
        graph.write(driver.graphs.insert(Graph { nodes: Vec::new() }));
        Ok(())
    }

    Release fn cuGraphDestroy(graph: u64) |driver| { driver.graphs.remove(graph).map(|_| ()) }

    Usual fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: Out<usize>) |driver| {
        if !nodes.is_null() {
            return Err(Code::NOT_SUPPORTED); // only their number
        }
        put(count, driver.graphs.get(graph)?.nodes.len())
    }

    Usual fn cuGraphInstantiateWithFlags(executable: Out<u64>, graph: u64, flags: u64) |driver| {
        let _ = flags; // none changes what a launch computes
        let executable = executable.ok_or(Code::INVALID_VALUE)?;
        executable.write(driver.instantiate(graph)?);
        Ok(())
    }

    Usual fn cuGraphInstantiate_v2(
        executable: Out<u64>,
        graph: u64,
        node: *mut u64,
        log: *mut c_char,
        bytes: usize,
    ) |driver| {
        let _ = (node, log, bytes); // for errors, of which there are none
        let executable = executable.ok_or(Code::INVALID_VALUE)?;
        executable.write(driver.instantiate(graph)?);
        Ok(())
    }

    Usual fn cuGraphUpload(executable: u64, stream: u64) = cuGraphUpload_ptsz |driver| {
        driver.executables.get(executable)?;
        driver.stream(stream).map(|_| ())
    }

    Usual fn cuGraphLaunch(executable: u64, stream: u64) = cuGraphLaunch_ptsz |driver| {
        driver.launch_graph(executable, stream)
    }

    Release fn cuGraphExecDestroy(executable: u64) |driver| {
        driver.executables.remove(executable).map(|_| ())
    }
}
