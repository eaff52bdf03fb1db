//! Which kernel computes a problem on a device, and how it is launched: a pure decision, kept in
//! tables. It depends on nothing but the problem and the device, so that with one plan a row's
//! result does not depend on the rows around it.

use super::choice::{Choice, Ctas, Reason};
use super::target::Capability;
use super::variant::{self, Variant};
use crate::{Outputs, Problem};

/// What is known of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its compute capability.
    pub capability: Capability,
    /// Its streaming multiprocessors.
    pub multiprocessors: u32,
}

/// Several rows per warp: lanes for each row, and the most elements of it for each lane. With 32 a
/// lane has enough to do beside what each row costs; a whole warp may have twice that before a CTA
/// is better. Half of them where an element takes more than its share of a register.
const LANES: &[(u32, u64)] = &[(1, 32), (2, 32), (4, 32), (8, 32), (16, 32), (32, 64)];

/// Rows in the registers of CTAs: how many CTAs, which are a cluster, and threads of each; and
/// vectors of 16 bytes for each thread, the fewer first.
#[derive(Clone, Copy)]
struct Held {
    cluster: u32,
    threads: u32,
    vectors: &'static [u32],
}

const fn held(cluster: u32, threads: u32, vectors: &'static [u32]) -> Held {
    Held { cluster, threads, vectors }
}

/// CTAs of 256 threads: three or four of them share an SM, so that one reads while another writes.
/// 8 CTAs are the largest cluster that every device has which has clusters.
const CLUSTERS: &[Held] = &[
    held(1, 128, &[4, 6, 8]),
    held(1, 256, &[6, 8]),
    held(2, 256, &[6, 8]),
    held(4, 256, &[6, 8]),
    held(8, 256, &[6, 8]),
    held(8, 512, &[6, 8]),
];
/// Where an element takes more than its share of a register: half of the vectors.
const HEAVY_CLUSTERS: &[Held] = &[
    held(1, 128, &[4]),
    held(1, 256, &[4]),
    held(2, 256, &[4]),
    held(4, 256, &[4]),
    held(8, 256, &[4]),
    held(8, 512, &[4]),
];
/// Without clusters, larger CTAs.
const ALONE: &[Held] = &[held(1, 128, &[4, 6, 8]), held(1, 256, &[6, 8]), held(1, 512, &[6, 8])];
const HEAVY_ALONE: &[Held] = &[held(1, 128, &[4]), held(1, 256, &[4]), held(1, 512, &[4])];

/// Below sm_80 the elements of pairs are floats for a while, too.
fn takes_pairs_apart(problem: &Problem, gpu: Gpu) -> bool {
    problem.logits.size() == 2 && gpu.capability < Capability::new(8, 0)
}

/// The table for a problem.
fn table(problem: &Problem, gpu: Gpu, backward: bool) -> &'static [Held] {
    let clusters = gpu.capability >= Capability::new(9, 0);
    let heavy = takes_pairs_apart(problem, gpu) || variant::heavy(problem, backward);
    match (clusters, heavy) {
        (true, false) => CLUSTERS,
        (true, true) => HEAVY_CLUSTERS,
        (false, false) => ALONE,
        (false, true) => HEAVY_ALONE,
    }
}

/// Threads of a CTA that streams rows, from so many bytes of a row on: each has four vectors in
/// flight, several times over.
const STREAM: &[(u64, u32)] = &[(1 << 17, 512), (1 << 14, 256), (0, 128)];

/// The kernel for rows whose classes are neighbours in memory; `backward`: for their gradient from
/// statistics.
pub fn rows(problem: &Problem, backward: bool, gpu: Gpu) -> Choice {
    lanes(problem, backward)
        .or_else(|| spread(problem, backward, gpu))
        .or_else(|| in_registers(problem, backward, gpu))
        .unwrap_or_else(|| stream(problem, backward, gpu))
}

fn lanes(problem: &Problem, backward: bool) -> Option<Choice> {
    LANES.iter().find_map(|&(lanes, elements)| {
        let elements = if variant::heavy(problem, backward) { elements / 2 } else { elements };
        let most = elements * problem.logits.size() as u64 / 16;
        let mut vectors = [1, 2, 4, 8].into_iter().filter(|&vectors| u64::from(vectors) <= most);
        vectors.find_map(|vectors| {
            let variant = variant::lanes(problem, backward, lanes, vectors)?;
            Some(Choice { variant, reason: Reason::Lanes { lanes, vectors } })
        })
    })
}

/// Whether a row would be read twice if nothing held it: for sums, and for a gradient.
fn is_read_twice(problem: &Problem, backward: bool) -> bool {
    let sums = !backward || problem.targets_are_probabilities();
    let gradient = backward || problem.outputs.contains(Outputs::DLOGITS);
    sums && gradient
}

fn in_registers(problem: &Problem, backward: bool, gpu: Gpu) -> Option<Choice> {
    if !is_read_twice(problem, backward) {
        return None;
    }
    table(problem, gpu, backward).iter().find_map(|&Held { cluster, threads, vectors }| {
        vectors.iter().find_map(|&vectors| {
            let variant = variant::block(problem, backward, threads, vectors, cluster)?;
            Some(Choice {
                variant,
                reason: Reason::Held(Ctas { count: cluster, threads, vectors }),
            })
        })
    })
}

/// Few rows: the largest cluster with which all of them run at once, and with a vector for each of
/// its threads. Not for rows that one CTA reads in no time.
fn spread(problem: &Problem, backward: bool, gpu: Gpu) -> Option<Choice> {
    let (rows, bytes) = (problem.expected_rows as u64, row_bytes(problem));
    let suits = |held: &&Held| {
        let ctas = rows.saturating_mul(held.cluster.into());
        let vectors = u64::from(held.threads) * u64::from(held.cluster);
        rows != 0 && ctas <= gpu.multiprocessors.into() && bytes >= 16 * vectors
    };
    let table = table(problem, gpu, backward);
    let clusters = table.iter().filter(|held| held.cluster > 1).filter(suits);
    clusters.rev().find_map(|&Held { cluster, threads, vectors }| {
        [1, 2, 4].iter().chain(vectors).find_map(|&vectors| {
            let variant = variant::block(problem, backward, threads, vectors, cluster)?;
            let ctas = Ctas { count: cluster, threads, vectors };
            Some(Choice { variant, reason: Reason::Few { ctas, rows } })
        })
    })
}

/// The streaming kernel, which computes any problem.
fn stream(problem: &Problem, backward: bool, gpu: Gpu) -> Choice {
    let bytes = row_bytes(problem);
    let threads = STREAM.iter().find(|&&(from, _)| bytes >= from).map_or(128, |row| row.1);
    let size = |held: &Held| {
        held.vectors.iter().max().map_or(0, |&n| 16 * held.cluster * held.threads * n)
    };
    let most = table(problem, gpu, backward).iter().map(size).max().unwrap_or(0);
    let reason = match is_read_twice(problem, backward) {
        true => Reason::TooLong { most_bytes: most.into() },
        false => Reason::ReadOnce,
    };
    Choice { variant: variant::stream(problem, backward, threads), reason }
}

fn row_bytes(problem: &Problem) -> u64 {
    problem.classes as u64 * problem.logits.size() as u64
}

/// The widths of vectors of columns that are worth a kernel each, the widest first.
pub fn widths(problem: &Problem, backward: bool, gpu: Gpu) -> [u32; 2] {
    let apart = takes_pairs_apart(problem, gpu);
    variant::widths(problem, backward).map(|width| if apart { width.div_ceil(2) } else { width })
}

/// The kernels for any other layout, one for each of [`widths`]: logits are read once where they
/// fit.
pub fn columns(problem: &Problem, backward: bool, gpu: Gpu) -> [Variant; 2] {
    widths(problem, backward, gpu).map(|width| {
        let columns = |kept| variant::columns(problem, backward, width, kept);
        columns(true).or_else(|| columns(false)).expect("a width that always fits")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType::{self, BF16, F16, F32};

    const H200: Gpu = Gpu { capability: Capability::new(9, 0), multiprocessors: 132 };
    const A100: Gpu = Gpu { capability: Capability::new(8, 0), multiprocessors: 108 };
    const T4: Gpu = Gpu { capability: Capability::new(7, 5), multiprocessors: 40 };

    fn fused(dtype: DType, classes: usize) -> Problem {
        Problem::new(dtype, classes).outputs(Outputs::LOSS | Outputs::DLOGITS)
    }

    /// The kernel and what follows the options in its name.
    fn choice(problem: &Problem, backward: bool, gpu: Gpu) -> String {
        let expression = rows(problem, backward, gpu).variant.expression;
        let (kernel, arguments) = expression.split_once('<').unwrap();
        let kernel = kernel.strip_prefix("xent::").unwrap();
        let numbers: Vec<&str> = arguments.trim_end_matches('>').split(", ").skip(4).collect();
        format!("{kernel} {}", numbers.join(" x "))
    }

    #[test]
    fn sizes_of_practice() {
        for (problem, gpu, expected) in [
            (fused(F32, 10), H200, "lanes 1 x 4"),
            (fused(BF16, 10), H200, "lanes 1 x 4"),
            (fused(BF16, 128).alignment(16), H200, "lanes 4 x 4"),
            (fused(F32, 128).alignment(16), H200, "lanes 4 x 8"),
            (fused(BF16, 1000).alignment(16), H200, "lanes 32 x 4"),
            (fused(BF16, 1001), T4, "lanes 32 x 4"),
            (fused(BF16, 2048).alignment(16), H200, "lanes 32 x 8"),
            (fused(F16, 4096), H200, "block 128 x 6"),
            (fused(BF16, 32_000), H200, "cluster 256 x 8 x 2"),
            (fused(BF16, 32_000), A100, "block 512 x 8"),
            (fused(F32, 32_000), A100, "stream 256"),
            (fused(BF16, 50_257), H200, "cluster 256 x 8 x 4"),
            (fused(BF16, 128_256), H200, "cluster 256 x 8 x 8"),
            (fused(F32, 128_256), H200, "cluster 512 x 8 x 8"),
            (fused(BF16, 262_144).alignment(128), H200, "cluster 512 x 8 x 8"),
            (fused(F32, 262_144), H200, "stream 512"),
            (fused(BF16, 50_257).softcap(30.0), H200, "cluster 256 x 4 x 8"),
            (fused(BF16, 50_257), T4, "stream 256"),
            (fused(BF16, 16_000), T4, "block 512 x 4"),
            (Problem::new(BF16, 50_257), H200, "stream 256"),
            (fused(BF16, 128_256).expected_rows(8), H200, "cluster 512 x 4 x 8"),
            (Problem::new(BF16, 128_256).expected_rows(8), H200, "cluster 512 x 4 x 8"),
            (fused(BF16, 32_000).expected_rows(60), H200, "cluster 256 x 8 x 2"),
            (fused(BF16, 32_000).expected_rows(20), H200, "cluster 256 x 4 x 4"),
        ] {
            assert_eq!(choice(&problem, false, gpu), expected, "{problem:?} on {gpu:?}");
        }
        // A gradient from statistics reads its logits once; that of probabilities sums them first.
        assert_eq!(choice(&fused(BF16, 50_257), true, H200), "stream 256");
        assert_eq!(choice(&fused(BF16, 32_000).targets(BF16), true, H200), "cluster 256 x 4 x 4");
    }

    #[test]
    fn every_problem_has_a_kernel_that_the_device_has() {
        let sizes = (1..200).chain((8..31).flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1]));
        for classes in sizes {
            for dtype in [F32, F16, BF16] {
                for gpu in [H200, A100, T4] {
                    for rows in [0, 1, 8, 1 << 20] {
                        let problem = fused(dtype, classes).expected_rows(rows);
                        let variant = super::rows(&problem, false, gpu).variant;
                        assert!(variant.cluster == 1 || gpu == H200);
                        assert!(variant.grid(rows as u64).is_some());
                    }
                }
                let options = [fused(dtype, classes), fused(dtype, classes).softcap(30.0)];
                for problem in options {
                    assert_eq!(columns(&problem, false, H200)[1].expression, single(&problem));
                }
            }
        }
    }

    fn single(problem: &Problem) -> String {
        let columns = |kept| variant::columns(problem, false, 1, kept);
        columns(true).or_else(|| columns(false)).unwrap().expression
    }
}
