//! Which kernel computes a problem: a pure decision, kept in tables.

use crate::{DType, Outputs, Problem};

/// A kernel, and how it is launched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The file that it is in.
    pub program: &'static str,
    /// It, as C++ names it.
    pub expression: String,
    /// Threads of a CTA.
    pub threads: u32,
    /// CTAs for each row, which form a cluster.
    pub cluster: u32,
    /// Rows that a CTA, or a cluster, works on.
    pub rows: u32,
}

impl Variant {
    /// CTAs along x and y for so many rows. `None` if a grid cannot have as many.
    pub fn grid(&self, rows: u64) -> Option<[u32; 2]> {
        /// Along x, 2^31 - 1 is the limit; a power of two is a multiple of every cluster.
        const X: u64 = 1 << 30;
        const Y: u64 = 65_535;
        let ctas = rows.div_ceil(self.rows.into()).checked_mul(self.cluster.into())?;
        let y = ctas.div_ceil(X);
        (y <= Y).then(|| [ctas.min(X) as u32, y.max(1) as u32])
    }
}

/// What a kernel is compiled for; `Option` of `cuda/prelude.cuh`.
pub mod option {
    /// Label smoothing of class indices.
    pub const SMOOTHING: u32 = 1;
    /// Class weights inside sums over classes.
    pub const CLASS_WEIGHTS: u32 = 1 << 1;
    /// z = k x.
    pub const SCALE: u32 = 1 << 2;
    /// z = c tanh(k x / c).
    pub const SOFTCAP: u32 = 1 << 3;
    /// The entropy.
    pub const ENTROPY: u32 = 1 << 4;
    /// The most probable class, and whether it is the target.
    pub const ARGMAX: u32 = 1 << 5;
    /// The gradient alone, from statistics.
    pub const BACKWARD: u32 = 1 << 6;
}

/// The options of a problem, for a run or for the gradient from statistics.
pub fn options(problem: &Problem, backward: bool) -> u32 {
    let when = |condition: bool, option: u32| if condition { option } else { 0 };
    let wants = |outputs: Outputs| !backward && problem.outputs.intersects(outputs);
    let probabilities = problem.targets_are_probabilities();
    let smoothing = problem.label_smoothing != 0.0;
    let capped = problem.softcap.is_some();
    when(smoothing && !probabilities, option::SMOOTHING)
        | when(problem.class_weights && (smoothing || probabilities), option::CLASS_WEIGHTS)
        | when(problem.logit_scale != 1.0 && !capped, option::SCALE)
        | when(capped, option::SOFTCAP)
        | when(wants(Outputs::ENTROPY), option::ENTROPY)
        | when(wants(Outputs::ARGMAX | Outputs::CORRECT), option::ARGMAX)
        | when(backward, option::BACKWARD)
}

/// How C++ names an element type.
pub fn element(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "xent::half",
        DType::BF16 => "xent::bfloat",
        _ => "float",
    }
}

/// The first four arguments of a kernel's template.
fn arguments(problem: &Problem, backward: bool) -> String {
    let wants_gradient = backward || problem.outputs.contains(Outputs::DLOGITS);
    let gradient = if wants_gradient { element(problem.dlogits) } else { "xent::none" };
    let target = match problem.targets_are_probabilities() {
        true => element(problem.targets),
        false => "xent::classes",
    };
    let logits = element(problem.logits);
    format!("{logits}, {gradient}, {target}, {}", options(problem, backward))
}

/// The streaming kernel, which computes any problem.
pub fn stream(problem: &Problem, backward: bool, threads: u32) -> Variant {
    let arguments = arguments(problem, backward);
    let expression = format!("xent::stream<{arguments}, {threads}>");
    Variant { program: "stream.cu", expression, threads, cluster: 1, rows: 1 }
}

/// Whether so many vectors of 16 bytes hold a row, wherever it begins in a line of `line` bytes.
fn holds(problem: &Problem, line: u64, vectors: u64) -> bool {
    let size = problem.logits.size() as u64;
    let before = line - (problem.alignment as u64).clamp(size, line);
    problem.classes as u64 * size + before <= 16 * vectors
}

/// The kernel that keeps each row in the registers of `lanes` neighbouring lanes of a warp, a power
/// of two up to 32, `vectors` of 16 bytes for each lane. `None` where they do not hold the row,
/// wherever it begins.
pub fn lanes(problem: &Problem, backward: bool, lanes: u32, vectors: u32) -> Option<Variant> {
    /// Of a CTA, as the kernel has them.
    const THREADS: u32 = 128;
    if !holds(problem, 16, u64::from(lanes) * u64::from(vectors)) {
        return None;
    }
    let arguments = arguments(problem, backward);
    let expression = format!("xent::lanes<{arguments}, {lanes}, {vectors}>");
    let rows = THREADS / lanes;
    Some(Variant { program: "registers.cu", expression, threads: THREADS, cluster: 1, rows })
}

/// The kernel that keeps a row in the registers of `cluster` CTAs, `vectors` of 16 bytes for each
/// thread. `None` where they do not hold the row, wherever it begins.
pub fn block(
    problem: &Problem,
    backward: bool,
    threads: u32,
    vectors: u32,
    cluster: u32,
) -> Option<Variant> {
    if !holds(problem, 128, u64::from(threads) * u64::from(vectors) * u64::from(cluster)) {
        return None;
    }
    let arguments = arguments(problem, backward);
    let expression = match cluster {
        1 => format!("xent::block<{arguments}, {threads}, {vectors}>"),
        _ => format!("xent::cluster<{arguments}, {threads}, {vectors}, {cluster}>"),
    };
    Some(Variant { program: "registers.cu", expression, threads, cluster, rows: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_covers_the_rows() {
        let problem = Problem::new(DType::BF16, 60_000);
        let mut variant = block(&problem, false, 512, 8, 2).unwrap();
        assert_eq!(variant.grid(1), Some([2, 1]));
        assert_eq!(variant.grid(1 << 29), Some([1 << 30, 1]));
        assert_eq!(variant.grid((1 << 29) + 1), Some([1 << 30, 2]));
        assert_eq!(variant.grid(65_535 << 29), Some([1 << 30, 65_535]));
        assert_eq!(variant.grid((65_535 << 29) + 1), None);
        assert_eq!(variant.grid(u64::MAX), None);
        (variant.cluster, variant.rows) = (1, 16);
        assert_eq!(variant.grid(1), Some([1, 1]));
        assert_eq!(variant.grid(33), Some([3, 1]));
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused() {
        let problem = |classes| Problem::new(DType::BF16, classes);
        assert!(block(&problem(8192 - 63), false, 128, 8, 1).is_some());
        assert!(block(&problem(8192 - 62), false, 128, 8, 1).is_none());
        assert!(block(&problem(8192 - 62), false, 128, 8, 2).is_some());
        assert!(block(&problem(8192).alignment(128), false, 128, 8, 1).is_some());
        assert!(block(&problem(8193).alignment(128), false, 128, 8, 1).is_none());
        assert!(block(&problem(8192 - 56).alignment(16), false, 128, 8, 1).is_some());
        assert!(block(&problem(8192 - 55).alignment(16), false, 128, 8, 1).is_none());
        assert!(lanes(&problem(2048 - 7), false, 32, 8).is_some());
        assert!(lanes(&problem(2048 - 6), false, 32, 8).is_none());
        assert!(lanes(&problem(2048).alignment(4096), false, 32, 8).is_some());
        assert!(lanes(&problem(2049).alignment(16), false, 32, 8).is_none());
        assert_eq!(lanes(&problem(100), false, 8, 2).unwrap().rows, 16);
    }
}
