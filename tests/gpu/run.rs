//! Cases, run by the interpreter as the library would run them on a GPU.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use half::{bf16, f16};
use xent::cuda::columns::{Cut, Strided};
use xent::cuda::params::{self, ColumnParams, CountParams, FinishParams, Params};
use xent::cuda::variant::Variant;
use xent::{DType, Denominator, EmptyMean, Outputs, Problem, Reduction};
use xent_simulator::{Error, Fill, Memory, Module};

use super::launch::launch;
use super::{NotCompiled, Patch, build_patched, nvrtc};
use crate::common::{Case, Output, Target};

/// How a case is run, besides its problem.
#[derive(Clone, Debug)]
pub struct How {
    /// 90 for `sm_90`.
    pub arch: u32,
    /// Major version of NVRTC.
    pub nvrtc: u32,
    /// The first logit lies so many elements behind a multiple of 256 bytes.
    pub logits_offset: u64,
    pub dlogits_offset: u64,
    pub targets_offset: u64,
    /// Elements between rows that belong to none.
    pub gap: usize,
    /// Of tensors whose class axis is not the last.
    pub columns: Option<Columns>,
    /// Of the schedule.
    pub seed: u64,
    /// Of errors of the approximations.
    pub noise: Option<u64>,
    pub threads: u32,
    /// Vectors in the registers of a thread, of kernels that keep a row there.
    pub vectors: u32,
    /// What the report holds before.
    pub report: [i64; 4],
    /// What a mean divides by, in device memory; in place of what the case says.
    pub denominator: Option<f32>,
    /// A fault in the kernels.
    pub patch: Option<Patch>,
}

impl Default for How {
    fn default() -> Self {
        How {
            arch: 90,
            nvrtc: 13,
            logits_offset: 0,
            dlogits_offset: 0,
            targets_offset: 0,
            gap: 0,
            columns: None,
            seed: 1,
            noise: None,
            threads: 128,
            vectors: 4,
            report: [0; 4],
            denominator: None,
            patch: None,
        }
    }
}

/// How tensors of shape (outer, classes, inner) lie, with [`How::gap`] elements between classes, and
/// eight times as many between outer indices.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub inner: usize,
    /// Distance of columns; with `transposed`, of classes, whose columns are then farther apart.
    pub step: usize,
    pub transposed: bool,
    /// How many more elements are in a gap of the gradient, and twice as many in one of targets.
    pub more: usize,
    /// Columns of a vector.
    pub width: u32,
}

impl How {
    pub fn inner(&self) -> usize {
        self.columns.map_or(1, |columns| columns.inner)
    }

    /// Strides along (outer, classes, inner) of tensor 0, 1 or 2: logits, gradient, targets.
    fn strides(&self, tensor: usize, problem: &Problem) -> [usize; 3] {
        let classes = problem.classes;
        let tensor = if problem.in_place && tensor == 1 { 0 } else { tensor };
        let gap = self.gap + self.columns.map_or(0, |columns| tensor * columns.more);
        match self.columns {
            None => [classes + gap, 1, 1],
            Some(Columns { inner, step, transposed: false, .. }) => {
                let class = inner * step + gap;
                [classes * class + 8 * gap, class, step]
            }
            Some(Columns { inner, step, transposed: true, .. }) => {
                let column = classes * step + gap;
                [inner * column + 8 * gap, step, column]
            }
        }
    }

    /// How columns are cut into vectors, of one of these widths.
    pub fn cut(&self, problem: &Problem, wants_gradient: bool, widths: &[u32]) -> Cut {
        let strided = |tensor, dtype: DType, offset| {
            let strides = self.strides(tensor, problem);
            Strided { address: 256 + offset * dtype.size() as u64, dtype, strides }
        };
        let dlogits = strided(1, problem.dlogits, self.dlogits_offset);
        let targets = strided(2, problem.targets, self.targets_offset);
        let others = [
            wants_gradient.then_some(dlogits),
            problem.targets_are_probabilities().then_some(targets),
        ];
        let logits = strided(0, problem.logits, self.logits_offset);
        Cut::new(self.inner(), &logits, &others, widths)
    }
}

/// What a run leaves, beside the outputs. Instructions are those of the kernel for the rows.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub report: [i64; 4],
    pub instructions: u64,
    /// Without moves between registers, of which machine code has few.
    pub lane_instructions: u64,
    pub mufu: u64,
    /// Of warps and of lanes, with modifiers.
    pub by_opcode: BTreeMap<String, (u64, u64)>,
}

/// The parsed module of a variant, and the name of its kernel.
pub fn module(how: &How, variant: &Variant) -> (Arc<Module>, String) {
    type Key = (Variant, u32, u32, Option<Patch>);
    type Modules = Mutex<HashMap<Key, (Arc<Module>, String)>>;
    static MODULES: OnceLock<Modules> = OnceLock::new();
    let modules = MODULES.get_or_init(Modules::default);
    let patch = how.patch.filter(|patch| patch.touches(variant.program));
    let key = (variant.clone(), how.arch, how.nvrtc, patch);
    if let Some(found) = modules.lock().unwrap().get(&key) {
        return found.clone();
    }
    let nvrtc = nvrtc(how.nvrtc).or_else(super::any_nvrtc).unwrap();
    let arch = if nvrtc.version().major == 12 { how.arch } else { how.arch.max(75) };
    let kernel = build_patched(nvrtc, variant, arch, false, patch);
    let module = Module::parse(&kernel.ptx).unwrap_or_else(|error| NotCompiled::panic(error));
    let made = (Arc::new(module), kernel.name);
    modules.lock().unwrap().insert(key, made.clone());
    made
}

/// The bytes of numbers as elements of a type.
pub fn encode(x: &[f64], dtype: DType) -> Vec<u8> {
    let bytes = |f: fn(f64) -> Vec<u8>| x.iter().flat_map(|&x| f(x)).collect();
    match dtype {
        DType::F32 => bytes(|x| (x as f32).to_ne_bytes().into()),
        DType::F16 => bytes(|x| f16::from_f64(x).to_ne_bytes().into()),
        DType::BF16 => bytes(|x| bf16::from_f64(x).to_ne_bytes().into()),
        other => panic!("{other}"),
    }
}

fn encode_indices(classes: &[i64], dtype: DType) -> Vec<u8> {
    classes.iter().flat_map(|class| class.to_le_bytes()[..dtype.size()].to_vec()).collect()
}

pub fn decode(bytes: &[u8], dtype: DType) -> Vec<f64> {
    let two = |b: &[u8]| [b[0], b[1]];
    bytes
        .chunks(dtype.size())
        .map(|b| match dtype {
            DType::F32 => f32::from_ne_bytes(b.try_into().unwrap()).into(),
            DType::F16 => f16::from_ne_bytes(two(b)).to_f64(),
            DType::BF16 => bf16::from_ne_bytes(two(b)).to_f64(),
            other => panic!("{other}"),
        })
        .collect()
}

/// A tensor (outer, classes, inner) in device memory. Rows of classes have an inner extent of 1.
#[derive(Clone, Copy)]
struct Matrix {
    at: u64,
    strides: [usize; 3],
    length: usize,
}

/// What the bytes between rows are: a NaN of every type.
const GAP: u8 = 0xff;

struct Device<'a> {
    case: &'a Case,
    how: &'a How,
    memory: Memory,
    trace: Trace,
    last: Trace,
}

impl Device<'_> {
    fn matrix(&mut self, tensor: usize, dtype: DType, offset: u64, x: Option<&[f64]>) -> Matrix {
        let name = ["logits", "dlogits", "targets"][tensor];
        let strides = self.how.strides(tensor, &self.case.problem);
        let size = dtype.size();
        let places = self.places(strides);
        let length = places.iter().max().map_or(0, |last| (last + 1) * size);
        let mut bytes = vec![GAP; length];
        if let Some(x) = x {
            for (element, place) in encode(x, dtype).chunks(size).zip(&places) {
                bytes[place * size..][..size].copy_from_slice(element);
            }
        }
        let at = self.memory.allocate_from(name, &bytes, offset * size as u64).address();
        if x.is_some() {
            self.memory.protect(at, true).unwrap();
        } else {
            for place in places {
                self.memory.forget(at + (place * size) as u64, size).unwrap();
            }
        }
        Matrix { at, strides, length }
    }

    /// The place of every element, row by row.
    fn places(&self, [outer, class, inner]: [usize; 3]) -> Vec<usize> {
        let start = |row: usize| row / self.how.inner() * outer + row % self.how.inner() * inner;
        let row = |row| (0..self.case.problem.classes).map(move |c| start(row) + c * class);
        (0..self.case.rows).flat_map(row).collect()
    }

    fn input(&mut self, name: &str, bytes: &[u8]) -> u64 {
        let at = self.memory.allocate_from(name, bytes, 0).address();
        self.memory.protect(at, true).unwrap();
        at
    }

    fn floats(&mut self, name: &str, x: &Option<Vec<f32>>) -> u64 {
        match x {
            Some(x) => {
                let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_ne_bytes()).collect();
                self.input(name, &bytes)
            }
            None => 0,
        }
    }

    fn output(&mut self, name: &str, wanted: bool, bytes: usize) -> u64 {
        let allocate =
            |memory: &mut Memory| memory.allocate(name, bytes as u64, 0, Fill::Unwritten);
        if wanted { allocate(&mut self.memory).address() } else { 0 }
    }

    fn launch(&mut self, variant: &Variant, rows: u64, params: Vec<u8>) -> Result<(), Error> {
        let stats = launch(self.how, variant, rows, &[], params, &mut self.memory)?;
        self.last.instructions = stats.instructions;
        let moves = stats.by_opcode.iter().filter(|(opcode, _)| opcode.starts_with("mov."));
        let moves: u64 = moves.map(|(_, (_, lanes))| lanes).sum();
        self.last.lane_instructions = stats.lane_instructions - moves;
        self.last.mufu = stats.mufu;
        self.last.by_opcode = stats.by_opcode;
        Ok(())
    }

    fn read_floats(&mut self, at: u64, count: usize) -> Result<Vec<f32>, Error> {
        let bytes = self.memory.read(at, 4 * count)?;
        Ok(bytes.chunks(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect())
    }

    fn read_integers(&mut self, at: u64, count: usize) -> Result<Vec<i64>, Error> {
        let bytes = self.memory.read(at, 8 * count)?;
        Ok(bytes.chunks(8).map(|b| i64::from_ne_bytes(b.try_into().unwrap())).collect())
    }
}

/// A kernel of K5.
pub fn kernel(program: &'static str, name: &str, threads: u32) -> Variant {
    Variant { program, expression: format!("xent::{name}"), threads, cluster: 1, rows: 1 }
}

/// Runs a case with this kernel for its rows; outputs that the problem does not name are empty.
/// `stats`: the gradient alone, from these statistics.
pub fn run(
    case: &Case,
    how: &How,
    variant: &Variant,
    stats: Option<&[f32]>,
) -> Result<(Output, Trace), Error> {
    let (problem, rows, classes) = (&case.problem, case.rows, case.problem.classes);
    let mut device = Device {
        case,
        how,
        memory: Memory::new(),
        trace: Trace::default(),
        last: Trace::default(),
    };
    let d = &mut device;
    let outputs = problem.outputs;
    let has = |output: Outputs| stats.is_none() && outputs.contains(output);
    let wants_gradient = stats.is_some() || outputs.contains(Outputs::DLOGITS);

    let logits = d.matrix(0, problem.logits, how.logits_offset, Some(&case.logits));
    let (targets, targets_strides) = match &case.target {
        Target::Probabilities(q) => {
            let q = d.matrix(2, problem.targets, how.targets_offset, Some(q));
            (q.at, q.strides)
        }
        Target::Classes(y) => (d.input("targets", &encode_indices(y, problem.targets)), [0; 3]),
    };
    let dlogits = match (problem.in_place, wants_gradient) {
        (true, _) => {
            d.memory.protect(logits.at, false).unwrap();
            logits
        }
        (_, true) => d.matrix(1, problem.dlogits, how.dlogits_offset, None),
        _ => Matrix { at: 0, strides: [0; 3], length: 0 },
    };
    let class_weights = d.floats("class_weights", &case.class_weights);
    let row_weights = d.floats("row_weights", &case.row_weights);
    let dloss = d.floats("dloss", &case.dloss);
    let reduced = problem.reduction != Reduction::None;
    let slices = rows.div_ceil(params::SLICE_ROWS as usize);
    let scales = d.output("scales", true, size_of::<params::Scales>());
    let report: Vec<u8> = how.report.iter().flat_map(|x| x.to_ne_bytes()).collect();
    let report = d.input("report", &report);
    d.memory.protect(report, false).unwrap();
    let z_apart = reduced && problem.z_loss != 0.0;
    let row_losses = d.output("row losses", has(Outputs::LOSS), 4 * rows);
    let z_losses = d.output("row z-losses", has(Outputs::LOSS) && z_apart, 4 * rows);
    let correct = d.output("row correct", has(Outputs::CORRECT), rows);
    let given = d.floats("stats", &stats.map(<[f32]>::to_vec));

    // What the mean divides by.
    let by_index = !problem.targets_are_probabilities();
    let mut count = CountParams {
        targets,
        class_weights,
        row_weights,
        scales,
        report,
        rows: rows as i64,
        slices: if by_index { slices as i64 } else { 0 },
        slice_rows: params::SLICE_ROWS,
        classes: classes as u32,
        target_type: params::target_type(problem.targets),
        ignore_index: problem.ignore_index.unwrap_or(0),
        flags: u32::from(problem.ignore_index.is_some()),
        empty_is_zero: u32::from(problem.empty_mean == EmptyMean::Zero),
        sums_weights: u32::from(problem.class_weights && problem.label_smoothing != 0.0),
        ..CountParams::default()
    };
    (count.denominator_kind, count.value) = match (problem.reduction, case.denominator) {
        (Reduction::Mean, _) if how.denominator.is_some() => (params::DENOMINATOR_POINTER, 0.0),
        (Reduction::Mean, Denominator::Value(value)) => (params::DENOMINATOR_VALUE, value),
        (Reduction::Mean, _) => (params::DENOMINATOR_COUNTED, 0.0),
        (Reduction::BatchMean, _) => (params::DENOMINATOR_COUNTED_ROWS, 0.0),
        _ => (params::DENOMINATOR_ONE, 0.0),
    };
    count.denominator = d.floats("denominator", &how.denominator.map(|value| vec![value]));
    if by_index {
        count.counts = d.output("counts", true, slices * params::COUNT_BYTES);
        let counter = kernel("count.cu", "count_targets", 256);
        d.launch(&counter, slices as u64, count.to_bytes())?;
    }
    d.launch(&kernel("count.cu", "make_scales", 512), 1, count.to_bytes())?;

    // The rows.
    let rows_params = Params {
        logits: logits.at,
        dlogits: dlogits.at,
        targets,
        class_weights,
        row_weights,
        dloss,
        scales,
        loss: row_losses,
        z_losses,
        lse: d.output("lse", has(Outputs::LSE), 4 * rows),
        stats: if stats.is_some() {
            given
        } else {
            d.output("stats", has(Outputs::STATS), 8 * rows)
        },
        entropy: d.output("entropy", has(Outputs::ENTROPY), 4 * rows),
        argmax: d.output("argmax", has(Outputs::ARGMAX), 8 * rows),
        correct,
        logits_stride: logits.strides[0] as i64,
        dlogits_stride: dlogits.strides[0] as i64,
        targets_stride: targets_strides[0] as i64,
        rows: rows as i64,
        ..Params::new(problem)
    };
    let mut rows_params = rows_params;
    if problem.reduction == Reduction::None && case.dloss.as_ref().is_some_and(|d| d.len() != 1) {
        rows_params.flags |= params::DLOSS_PER_ROW;
    }
    let (count, rows_bytes) = match how.columns {
        None => (rows as u64, rows_params.to_bytes()),
        Some(Columns { inner, width, .. }) => {
            let cut = how.cut(problem, wants_gradient, &[width]);
            assert_eq!(cut.width, width, "the layout does not allow vectors so wide");
            let columns = ColumnParams {
                rows: rows_params,
                inner: inner as i64,
                vectors: cut.vectors as i64,
                logits_class: logits.strides[1] as i64,
                logits_inner: logits.strides[2] as i64,
                dlogits_class: dlogits.strides[1] as i64,
                dlogits_inner: dlogits.strides[2] as i64,
                targets_class: targets_strides[1] as i64,
                targets_inner: targets_strides[2] as i64,
                shift: cut.shift,
                reserved: 0,
            };
            (cut.total(rows / inner).unwrap(), columns.to_bytes())
        }
    };
    d.launch(variant, count, rows_bytes)?;
    d.trace = std::mem::take(&mut d.last);

    // Their sums.
    let mut output = Output::default();
    if has(Outputs::LOSS) && !reduced {
        output.loss = d.read_floats(row_losses, rows)?;
    }
    if has(Outputs::LOSS) && reduced || has(Outputs::CORRECT) {
        let loss = d.output("loss", has(Outputs::LOSS) && reduced, 4);
        let correct_rows = d.output("correct", has(Outputs::CORRECT), 8);
        let finish = FinishParams {
            losses: if loss != 0 { row_losses } else { 0 },
            z_losses: if loss != 0 { z_losses } else { 0 },
            correct,
            scales,
            sums: d.output("sums", true, slices * params::SUM_BYTES),
            loss,
            correct_rows,
            rows: rows as i64,
            slices: slices as i64,
            slice_rows: params::SLICE_ROWS,
            ..FinishParams::default()
        };
        d.launch(&kernel("finish.cu", "sum_rows", 256), slices as u64, finish.to_bytes())?;
        d.launch(&kernel("finish.cu", "finish_sums", 512), 1, finish.to_bytes())?;
        if loss != 0 {
            output.loss = d.read_floats(loss, 1)?;
        }
        if correct_rows != 0 {
            output.correct = d.read_integers(correct_rows, 1)?[0];
        }
    }
    if has(Outputs::LSE) {
        output.lse = d.read_floats(rows_params.lse, rows)?;
    }
    if has(Outputs::STATS) {
        output.stats = d.read_floats(rows_params.stats, 2 * rows)?;
    }
    if has(Outputs::ENTROPY) {
        output.entropy = d.read_floats(rows_params.entropy, rows)?;
    }
    if has(Outputs::ARGMAX) {
        output.argmax = d.read_integers(rows_params.argmax, rows)?;
    }
    if wants_gradient {
        output.dlogits = d.gradient(&dlogits)?;
    }
    let trace_report = d.read_integers(report, 4)?;
    device.trace.report.copy_from_slice(&trace_report);
    Ok((output, device.trace))
}

impl Device<'_> {
    /// Reads a gradient back; what lies between its elements must be as it was.
    fn gradient(&mut self, dlogits: &Matrix) -> Result<Vec<f64>, Error> {
        let dtype = self.case.problem.dlogits;
        let mut bytes = self.memory.read(dlogits.at, dlogits.length)?;
        let mut gradient = Vec::new();
        for place in self.places(dlogits.strides) {
            let element = &mut bytes[place * dtype.size()..][..dtype.size()];
            gradient.extend_from_slice(element);
            element.fill(GAP);
        }
        assert!(bytes.iter().all(|&byte| byte == GAP), "a write between rows");
        Ok(decode(&gradient, dtype))
    }
}
