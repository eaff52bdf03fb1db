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
    /// Rows that a CTA, or a cluster, works on; of [`columns`], vectors of them.
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
    /// Label smoothing of class indices, or of any targets of a loss that is a sum over elements.
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
    /// Weights of classes, of elements, of positive parts: of losses that are sums over elements.
    pub const WEIGHTS: u32 = 1 << 7;
    /// Losses and upstream gradients are those of elements.
    pub const PER_ELEMENT: u32 = 1 << 8;
    /// Logits of `f32`, all of whose differences may be rounded.
    pub const FLOAT: u32 = 1 << 9;
}

/// An option, or none.
pub(super) fn when(condition: bool, option: u32) -> u32 {
    if condition { option } else { 0 }
}

/// The options of a problem, for a run or for the gradient from statistics.
pub fn options(problem: &Problem, backward: bool) -> u32 {
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
        | when(problem.logits == DType::F32, option::FLOAT)
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

/// Threads that share a column, by the most classes: 16 classes for each are enough that merging
/// costs little beside adding, and few enough to stay in shared memory. A function of the classes
/// alone: what a row becomes depends on it.
const GROUPS: [(usize, u32); 6] =
    [(16, 1), (32, 2), (64, 4), (128, 8), (256, 16), (usize::MAX, 32)];

/// Whether an element takes more registers than the plainest problem's does; `kHeavy` of `cuda/`.
pub fn heavy(problem: &Problem, backward: bool) -> bool {
    let options = options(problem, backward);
    let costly = option::SMOOTHING | option::SOFTCAP | option::ENTROPY;
    problem.targets_are_probabilities() || options & costly != 0
}

/// The widest vectors of columns: 16 bytes of logits; 8 where a column takes many registers.
pub fn widest(problem: &Problem, backward: bool) -> u32 {
    let bytes = if heavy(problem, backward) { 8 } else { 16 };
    bytes / problem.logits.size() as u32
}

/// Widths that are worth a kernel of [`columns`] each, for [`Cut`](super::columns::Cut) to choose
/// from: whole vectors, for images whose extent and place are multiples of them, and single columns,
/// for all else: odd extents, few columns, and strides of any kind.
pub fn widths(problem: &Problem, backward: bool) -> [u32; 2] {
    [widest(problem, backward), 1]
}

/// The kernel for tensors whose class axis is not the last. `width` neighbouring columns, at most
/// [`widest`], make a vector, of which each thread has one; [`Cut`](super::columns::Cut) has the
/// width of a call. `kept`: logits stay in shared memory and are read once, else twice. `None` where
/// they do not fit; all else gives the same bits.
pub fn columns(problem: &Problem, backward: bool, width: u32, kept: bool) -> Option<Variant> {
    let options = options(problem, backward);
    let groups = GROUPS.iter().find(|(most, _)| problem.classes <= *most)?.1;
    let of_thread = problem.classes.div_ceil(groups as usize);
    let chunk = of_thread.next_power_of_two().min(if heavy(problem, backward) { 4 } else { 8 });
    // What comes from statistics reads no more than once.
    let sums = !backward || problem.targets_are_probabilities();
    let held = if kept && sums { of_thread.next_multiple_of(chunk) } else { 0 };
    // Enough threads to hide what one waits for, and lanes to fill sectors of 32 bytes at least.
    let least = if width == 1 { 16 } else { 8 };
    let fits = |lanes: &u32| {
        let size = shared_bytes(problem, options, *lanes, groups, width, held);
        size <= 48 << 10
    };
    let lanes = [128 / groups, 64 / groups, least].into_iter().filter(|&lanes| lanes >= least);
    let lanes = lanes.into_iter().find(fits)?;
    let (arguments, threads) = (arguments(problem, backward), lanes * groups);
    let expression =
        format!("xent::columns<{arguments}, {threads}, {groups}, {width}, {chunk}, {held}>");
    Some(Variant { program: "columns.cu", expression, threads, cluster: 1, rows: lanes })
}

/// Shared memory of a CTA of [`columns`].
fn shared_bytes(
    problem: &Problem,
    options: u32,
    lanes: u32,
    groups: u32,
    width: u32,
    held: usize,
) -> usize {
    let has = |option: u32| usize::from(options & option != 0);
    let probabilities = usize::from(problem.targets_are_probabilities());
    let target = probabilities | has(option::SMOOTHING);
    let argmax = has(option::ARGMAX);
    let part = 2 + has(option::ENTROPY) + 2 * target + argmax + 2 * (probabilities & argmax);
    let factors = if probabilities != 0 { 8 } else { 4 + target };
    let (lanes, threads) = (lanes as usize, (lanes * groups) as usize);
    let (width, size) = (width as usize, problem.logits.size());
    let piece = (width * size).max(4);
    threads * (width * part * 4 + held * piece) + lanes * (width * (4 * factors + 1) + 24) + 64
}

/// The kernels that count before the rows, and sum after them, in their order.
pub fn around_rows() -> [Variant; 4] {
    let kernel = |program, name: &str, threads| Variant {
        program,
        expression: format!("xent::{name}"),
        threads,
        cluster: 1,
        rows: 1,
    };
    [
        kernel("count.cu", "count_targets", 256),
        kernel("count.cu", "make_scales", 512),
        kernel("finish.cu", "sum_rows", 256),
        kernel("finish.cu", "finish_sums", 512),
    ]
}

/// The kernel that casts elements; its rows are elements. `None` for types that no kernel has.
pub fn cast(from: DType, to: DType) -> Option<Variant> {
    let floats = [DType::F32, DType::F16, DType::BF16];
    (floats.contains(&from) && floats.contains(&to)).then(|| Variant {
        program: "cast.cu",
        expression: format!("xent::cast<{}, {}>", element(from), element(to)),
        threads: 256,
        cluster: 1,
        rows: 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_room() {
        use DType::{BF16, F32};
        let of = |dtype, classes| Problem::new(dtype, classes);
        let threads = |problem: &Problem, width, kept| {
            columns(problem, false, width, kept).map(|v| (v.threads, v.rows))
        };
        assert_eq!(threads(&of(BF16, 16), 8, true), Some((64, 64)));
        assert_eq!(threads(&of(BF16, 64), 8, true), Some((128, 32)));
        assert_eq!(threads(&of(BF16, 256), 8, true), Some((128, 8)));
        assert_eq!(threads(&of(BF16, 257), 8, true), None);
        assert_eq!(threads(&of(BF16, 512), 1, true), Some((512, 16)));
        assert_eq!(threads(&of(BF16, 100_000), 8, false), Some((256, 8)));
        assert_eq!(threads(&of(F32, 100_000), 1, false), Some((512, 16)));
        // Every width has a kernel that does not keep its logits.
        for dtype in [BF16, F32] {
            for target in [DType::I64, BF16, F32] {
                for classes in [1, 20, 100_000] {
                    let problem =
                        of(dtype, classes).targets(target).outputs(Outputs::CROSS_ENTROPY);
                    let problem = problem.class_weights(true).softcap(2.0).label_smoothing(0.1);
                    for width in widths(&problem, false) {
                        assert!(columns(&problem, false, width, false).is_some());
                    }
                }
            }
        }
    }

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
