//! Cases and results as the bytes that `runner.c` reads and writes.

use xent::{DType, Denominator, EmptyMean, Layout, Problem, Reduction, bf16, f16};

/// A case for `runner.c`. Tensors are rows of classes; the layouts say where C finds them.
pub struct Job {
    pub problem: Problem,
    pub logits: (Layout, Vec<f64>),
    pub dlogits: Layout,
    pub targets: Targets,
    pub class_weights: Vec<f64>,
    pub row_weights: Vec<f64>,
    pub dloss: Vec<f64>,
    pub denominator: Denominator,
}

pub enum Targets {
    Classes(Vec<i64>),
    Probabilities(Layout, Vec<f64>),
}

/// What a case came to, as numbers; the gradients as rows of classes.
#[derive(Debug, Default)]
pub struct Done {
    pub loss: Vec<f64>,
    pub lse: Vec<f64>,
    pub stats: Vec<f64>,
    pub dlogits: Vec<f64>,
    pub argmax: Vec<i64>,
    pub correct: i64,
    pub entropy: Vec<f64>,
}

/// The byte of which `runner.c` makes outputs before a run.
const POISON: u8 = 0xA5;

fn encode(x: f64, dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F64 => x.to_ne_bytes().to_vec(),
        DType::F32 => (x as f32).to_ne_bytes().to_vec(),
        DType::F16 => f16::from_f64(x).to_ne_bytes().to_vec(),
        DType::BF16 => bf16::from_f64(x).to_ne_bytes().to_vec(),
        DType::I64 => (x as i64).to_ne_bytes().to_vec(),
        DType::I32 => (x as i32).to_ne_bytes().to_vec(),
        DType::U32 => (x as u32).to_ne_bytes().to_vec(),
        _ => vec![x as u8],
    }
}

fn decode(bytes: &[u8], dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::from_ne_bytes(bytes.try_into().unwrap()),
        DType::F32 => f32::from_ne_bytes(bytes.try_into().unwrap()).into(),
        DType::F16 => f16::from_ne_bytes(bytes.try_into().unwrap()).into(),
        DType::BF16 => bf16::from_ne_bytes(bytes.try_into().unwrap()).into(),
        other => panic!("numbers of type {other}"),
    }
}

fn encode_all(x: &[f64], dtype: DType) -> Vec<u8> {
    x.iter().flat_map(|&x| encode(x, dtype)).collect()
}

fn decode_all(bytes: &[u8], dtype: DType) -> Vec<f64> {
    bytes.chunks(dtype.size()).map(|bytes| decode(bytes, dtype)).collect()
}

/// Where the elements of a tensor are, row by row, in bytes.
fn places(layout: &Layout, dtype: DType) -> impl Iterator<Item = std::ops::Range<usize>> {
    let Layout { outer, classes, inner, strides: [step, along, next] } = *layout;
    let rows = (0..outer * inner).map(move |row| row / inner * step + row % inner * next);
    let elements = rows.flat_map(move |start| (0..classes).map(move |c| start + c * along));
    elements.map(move |element| element * dtype.size()..(element + 1) * dtype.size())
}

fn scatter(x: &[f64], layout: &Layout, dtype: DType) -> Vec<u8> {
    let mut bytes = vec![0xff; layout.span().unwrap() * dtype.size()]; // NaN between the rows
    places(layout, dtype).zip(x).for_each(|(at, &x)| bytes[at].copy_from_slice(&encode(x, dtype)));
    bytes
}

/// The elements; what is between them has not been written.
fn gather(mut bytes: Vec<u8>, layout: &Layout, dtype: DType) -> Vec<f64> {
    let elements = places(layout, dtype).map(|at| decode(&bytes[at], dtype)).collect();
    places(layout, dtype).for_each(|at| bytes[at].fill(POISON));
    assert!(bytes.iter().all(|&byte| byte == POISON), "written between the rows");
    elements
}

/// The xent_dtype of a type.
fn dtype_number(dtype: DType) -> i64 {
    match dtype {
        DType::F32 => 1,
        DType::F16 => 2,
        DType::BF16 => 3,
        DType::F64 => 4,
        other => panic!("logits of type {other}"),
    }
}

/// The xent_target of a type.
fn target_number(dtype: DType) -> i64 {
    match dtype {
        DType::I64 => 0,
        DType::I32 => 1,
        DType::U32 => 2,
        DType::U8 => 3,
        float => 15 + dtype_number(float),
    }
}

impl Job {
    fn companion(&self) -> DType {
        self.problem.logits.companion()
    }

    /// Appends the case.
    pub fn write(&self, out: &mut Vec<u8>) {
        let problem = &self.problem;
        let flags = [
            problem.ignore_index.is_some(),
            problem.empty_mean == EmptyMean::Zero,
            problem.in_place,
            problem.class_weights,
            problem.row_weights,
        ];
        let flags = flags.iter().rev().fold(0, |flags, &flag| flags << 1 | i64::from(flag));
        let strides = |layout: &Layout| layout.strides.map(|stride| stride as i64);
        let target_strides = match &self.targets {
            Targets::Classes(_) => [0; 3],
            Targets::Probabilities(layout, _) => strides(layout),
        };
        let dlogits_size = self.dlogits.span().unwrap() * problem.dlogits.size();
        let (denominator_kind, denominator) = match self.denominator {
            Denominator::Value(value) => (1, value),
            _ => (0, 0.0),
        };
        let mut integers = vec![
            problem.classes as i64,
            dtype_number(problem.logits),
            dtype_number(problem.dlogits),
            target_number(problem.targets),
            match problem.reduction {
                Reduction::Mean => 0,
                Reduction::None => 1,
                Reduction::Sum => 2,
                Reduction::BatchMean => 3,
                Reduction::RowMean => 4,
                Reduction::Elements => 5,
            },
            flags,
            problem.ignore_index.unwrap_or(0),
            self.logits.0.outer as i64,
            self.logits.0.inner as i64,
        ];
        integers.extend(strides(&self.logits.0));
        integers.extend(target_strides);
        integers.extend(strides(&self.dlogits));
        integers.extend([i64::from(self.dloss.len() > 1), denominator_kind, dlogits_size as i64]);
        let reals = [
            problem.label_smoothing,
            problem.logit_scale,
            problem.softcap.unwrap_or(0.0),
            problem.z_loss,
            denominator,
        ];
        out.extend(integers.iter().flat_map(|x| x.to_ne_bytes()));
        out.extend(reals.iter().flat_map(|x| x.to_ne_bytes()));
        let targets = match &self.targets {
            Targets::Classes(classes) => {
                classes.iter().flat_map(|&y| encode(y as f64, problem.targets)).collect()
            }
            Targets::Probabilities(layout, q) => scatter(q, layout, problem.targets),
        };
        for buffer in [
            scatter(&self.logits.1, &self.logits.0, problem.logits),
            targets,
            encode_all(&self.class_weights, self.companion()),
            encode_all(&self.row_weights, self.companion()),
            encode_all(&self.dloss, self.companion()),
        ] {
            out.extend((buffer.len() as i64).to_ne_bytes());
            out.extend(buffer);
        }
    }

    /// Takes the result of the case from the front. Both ways to the gradient have the same bits.
    pub fn read(&self, bytes: &mut &[u8]) -> Done {
        let mut take = || {
            let (size, rest) = bytes.split_at(8);
            let size = i64::from_ne_bytes(size.try_into().unwrap()) as usize;
            let (buffer, rest) = rest.split_at(size);
            *bytes = rest;
            buffer.to_vec()
        };
        let buffers: [Vec<u8>; 8] = std::array::from_fn(|_| take());
        let [loss, lse, stats, dlogits, argmax, correct, entropy, backward] = buffers;
        assert!(dlogits == backward, "fused and separate gradients differ: {:?}", self.problem);
        let t = self.companion();
        let integers = |bytes: &[u8]| {
            let each = bytes.chunks(8).map(|bytes| i64::from_ne_bytes(bytes.try_into().unwrap()));
            each.collect::<Vec<_>>()
        };
        Done {
            loss: decode_all(&loss, t),
            lse: decode_all(&lse, t),
            stats: decode_all(&stats, t),
            dlogits: gather(dlogits, &self.dlogits, self.problem.dlogits),
            argmax: integers(&argmax),
            correct: integers(&correct)[0],
            entropy: decode_all(&entropy, t),
        }
    }
}
