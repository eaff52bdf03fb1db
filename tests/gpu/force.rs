//! The kernels for the rows, each forced upon any problem that it can compute.

use xent::Problem;
use xent::cuda::variant::{self, Variant};

use super::run::How;

/// A kernel. To hold another one to all that the tests ask, add a line to [`KERNELS`].
#[derive(Clone, Copy)]
pub struct Force {
    pub name: &'static str,
    /// For a problem, or (`true`) for its gradient from statistics; `None` where the kernel cannot.
    pub variant: fn(&Problem, bool, &How) -> Option<Variant>,
}

/// All of them.
pub const KERNELS: &[Force] = &[
    Force { name: "stream", variant: stream },
    Force { name: "lanes of 1", variant: |problem, backward, _| lanes(problem, backward, 1) },
    Force { name: "lanes of 2", variant: |problem, backward, _| lanes(problem, backward, 2) },
    Force { name: "lanes of 4", variant: |problem, backward, _| lanes(problem, backward, 4) },
    Force { name: "lanes of 8", variant: |problem, backward, _| lanes(problem, backward, 8) },
    Force { name: "lanes of 16", variant: |problem, backward, _| lanes(problem, backward, 16) },
    Force { name: "lanes of 32", variant: |problem, backward, _| lanes(problem, backward, 32) },
    Force { name: "block", variant: |problem, backward, how| block(problem, backward, how, 1) },
    Force { name: "cluster of 2", variant: |p, backward, how| block(p, backward, how, 2) },
    Force { name: "cluster of 4", variant: |p, backward, how| block(p, backward, how, 4) },
    Force { name: "cluster of 8", variant: |p, backward, how| block(p, backward, how, 8) },
];

fn stream(problem: &Problem, backward: bool, how: &How) -> Option<Variant> {
    Some(variant::stream(problem, backward, how.threads.min(512)))
}

/// With few vectors.
fn lanes(problem: &Problem, backward: bool, lanes: u32) -> Option<Variant> {
    [1, 2, 4, 8].iter().find_map(|&vectors| variant::lanes(problem, backward, lanes, vectors))
}

/// With as many threads and vectors as `how` says, or where they do not hold a row, more.
fn block(problem: &Problem, backward: bool, how: &How, cluster: u32) -> Option<Variant> {
    if cluster > 1 && how.arch < 90 {
        return None;
    }
    let double = |from: u32, most: u32| {
        std::iter::successors(Some(from), move |n| Some(2 * n)).take_while(move |&n| n <= most)
    };
    double(how.threads, 1024)
        .flat_map(|threads| double(how.vectors, 8).map(move |vectors| (threads, vectors)))
        .find_map(|(threads, vectors)| variant::block(problem, backward, threads, vectors, cluster))
}

/// All kernels that can compute a problem, with their names.
pub fn variants(problem: &Problem, backward: bool, how: &How) -> Vec<(&'static str, Variant)> {
    let forced = KERNELS.iter().map(|force| (force.name, (force.variant)(problem, backward, how)));
    forced.filter_map(|(name, variant)| Some((name, variant?))).collect()
}
