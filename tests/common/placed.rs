//! Runs with their tensors wherever a test wants them, for logits of every type, compared by bits.
#![allow(unsafe_code)] // views that begin inside a tensor

use half::{bf16, f16};
use xent::{Args, Context, DType, Layout, Outputs, Reduction, Tensor, View, ViewMut};

use super::{Case, Output, Target, context, plan, plan_on, tensor};

/// Where logits, their gradient and probabilities lie in their buffers.
#[derive(Clone, Debug)]
pub struct Place {
    pub layout: Layout,
    /// Elements before the first one.
    pub offset: usize,
}

/// The bits of all outputs; those that the problem does not name are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    pub loss: Vec<u64>,
    pub lse: Vec<u64>,
    pub stats: Vec<u64>,
    /// (rows, classes), whatever the layout.
    pub dlogits: Vec<u64>,
    pub argmax: Vec<u64>,
    pub correct: Vec<u64>,
    pub entropy: Vec<u64>,
}

/// What fills the gaps between the elements of a gradient.
const CANARY: f64 = 123.0;

impl Place {
    pub fn packed(rows: usize, classes: usize) -> Place {
        Place::new(Layout::rows(rows, classes), 0)
    }

    pub fn new(layout: Layout, offset: usize) -> Place {
        Place { layout, offset }
    }

    fn position(&self, row: usize, class: usize) -> usize {
        let Layout { inner, strides, .. } = self.layout;
        let at = [row / inner, class, row % inner];
        self.offset + at.iter().zip(strides).map(|(index, stride)| index * stride).sum::<usize>()
    }

    fn positions(&self) -> impl Iterator<Item = usize> {
        let Layout { outer, classes, inner, .. } = self.layout;
        (0..outer * inner * classes).map(move |i| self.position(i / classes, i % classes))
    }

    /// A buffer with these elements, and `gap` wherever there is none: between, before and after.
    pub fn scatter(&self, elements: &[f64], gap: f64) -> Vec<f64> {
        let mut buffer = vec![gap; self.positions().max().map_or(0, |last| last + 1) + 3];
        self.positions().zip(elements).for_each(|(at, &element)| buffer[at] = element);
        buffer
    }

    /// The elements of a buffer, packed.
    pub fn gather<T: Copy>(&self, buffer: &[T]) -> Vec<T> {
        self.positions().map(|at| buffer[at]).collect()
    }

    /// Asserts that a run has left alone whatever is not an element.
    fn assert_gaps_kept(&self, before: &[u64], after: &[u64]) {
        let mut is_gap = vec![true; after.len()];
        self.positions().for_each(|at| is_gap[at] = false);
        for at in (0..after.len()).filter(|&at| is_gap[at]) {
            assert_eq!(after[at], before[at], "wrote to element {at}, outside {:?}", self.layout);
        }
    }
}

impl Bits {
    /// What they stand for, where the logits are not `f64`.
    pub fn output(&self, dlogits: DType) -> Output {
        let floats = |bits: &[u64]| bits.iter().map(|&bits| f32::from_bits(bits as u32)).collect();
        let gradient = |&bits: &u64| match dlogits {
            DType::F16 => f16::from_bits(bits as u16).to_f64(),
            DType::BF16 => bf16::from_bits(bits as u16).to_f64(),
            _ => f32::from_bits(bits as u32).into(),
        };
        Output {
            loss: floats(&self.loss),
            lse: floats(&self.lse),
            stats: floats(&self.stats),
            dlogits: self.dlogits.iter().map(gradient).collect(),
            argmax: self.argmax.iter().map(|&row| row as i64).collect(),
            correct: self.correct.first().map_or(0, |&rows| rows as i64),
            entropy: floats(&self.entropy),
        }
    }
}

impl Case {
    /// Runs the case packed, on the device of the process.
    pub fn bits(&self) -> Bits {
        self.bits_at(&Place::packed(self.rows, self.problem.classes))
    }

    /// Runs the case with its tensors at a place.
    pub fn bits_at(&self, place: &Place) -> Bits {
        let plan = plan(&self.problem).unwrap();
        self.bits_of(place, |args| plan.run(args, &mut plan.workspace(self.rows).unwrap()))
    }

    /// Runs the case with its tensors at a place, on the threads of a context, or on its GPU.
    pub fn bits_on(&self, context: &Context, place: &Place) -> Bits {
        let plan = plan_on(context, &self.problem).unwrap();
        self.bits_of(place, |args| plan.run(args, &mut plan.workspace(self.rows).unwrap()))
    }

    /// Lets `run` run the case. The gaps of its inputs are NaN; those of its outputs, and the
    /// inputs, must come back as they were.
    pub fn bits_of(&self, place: &Place, run: impl FnOnce(Args<'_>) -> xent::Result<()>) -> Bits {
        let (problem, rows) = (&self.problem, self.rows);
        let (companion, device) = (problem.logits.companion(), context());
        let there = |tensor: Tensor| tensor.to(&device).unwrap();
        let placed = |elements: &[f64], dtype| {
            let buffer = place.scatter(elements, f64::NAN);
            there(tensor(&buffer, dtype, &[buffer.len()]))
        };
        let column = |column: &Option<Vec<f32>>| {
            let wide: Option<Vec<f64>> =
                column.as_ref().map(|c| c.iter().copied().map(f64::from).collect());
            wide.map(|wide| there(tensor(&wide, companion, &[wide.len()])))
        };
        let mut logits = placed(&self.logits, problem.logits);
        let targets = match &self.target {
            Target::Classes(_) => there(self.targets_tensor()),
            Target::Probabilities(q) => placed(q, problem.targets),
        };
        let inputs = [&self.class_weights, &self.row_weights, &self.dloss].map(column);
        let untouched = (logits.clone(), targets.clone(), inputs.clone());
        let [class_weights, row_weights, dloss] = &inputs;

        let canaries = place.scatter(&vec![CANARY; self.logits.len()], CANARY);
        let mut dlogits = there(tensor(&canaries, problem.dlogits, &[canaries.len()]));
        let before = if problem.in_place { bits(&logits) } else { bits(&dlogits) };
        let losses = if problem.reduction == Reduction::None { rows } else { 1 };
        let output = |dtype, len| there(Tensor::zeros(dtype, &[len]).unwrap());
        let mut loss = output(companion, losses);
        let mut lse = output(companion, rows);
        let mut stats = output(companion, 2 * rows);
        let mut entropy = output(companion, rows);
        let (mut argmax, mut correct) = (output(DType::I64, rows), output(DType::I64, 1));

        let wants = |output| problem.outputs.contains(output);
        let target_view = match &self.target {
            Target::Classes(_) => View::from(&targets),
            Target::Probabilities(_) => view(&targets, place.offset).layout(place.layout),
        };
        let mut args = if problem.in_place {
            let logits = view_mut(&mut logits, place.offset).layout(place.layout);
            Args::in_place(logits, target_view)
        } else {
            let logits = view(&logits, place.offset).layout(place.layout);
            let args = Args::new(logits, target_view);
            let dlogits = view_mut(&mut dlogits, place.offset).layout(place.layout);
            if wants(Outputs::DLOGITS) { args.dlogits(dlogits) } else { args }
        };
        args = args.denominator(self.denominator);
        args = if let Some(weights) = class_weights { args.class_weights(weights) } else { args };
        args = if let Some(weights) = row_weights { args.row_weights(weights) } else { args };
        args = if let Some(dloss) = dloss { args.dloss(dloss) } else { args };
        args = if wants(Outputs::LOSS) { args.loss(&mut loss) } else { args };
        args = if wants(Outputs::LSE) { args.lse(&mut lse) } else { args };
        args = if wants(Outputs::STATS) { args.stats(&mut stats) } else { args };
        args = if wants(Outputs::ENTROPY) { args.entropy(&mut entropy) } else { args };
        args = if wants(Outputs::ARGMAX) { args.argmax(&mut argmax) } else { args };
        args = if wants(Outputs::CORRECT) { args.correct(&mut correct) } else { args };
        run(args).unwrap();

        let gradient = if problem.in_place { &logits } else { &dlogits };
        place.assert_gaps_kept(&before, &bits(gradient));
        if !problem.in_place {
            assert_eq!(bits(&logits), bits(&untouched.0), "the logits changed");
        }
        assert_eq!(bits(&targets), bits(&untouched.1), "the targets changed");
        for (input, before) in inputs.iter().zip(&untouched.2) {
            assert_eq!(input.as_ref().map(bits), before.as_ref().map(bits), "an input changed");
        }
        let wanted = |output, tensor: &Tensor| if wants(output) { bits(tensor) } else { vec![] };
        Bits {
            loss: wanted(Outputs::LOSS, &loss),
            lse: wanted(Outputs::LSE, &lse),
            stats: wanted(Outputs::STATS, &stats),
            dlogits: match wants(Outputs::DLOGITS) {
                true => place.gather(&bits(gradient)),
                false => vec![],
            },
            argmax: wanted(Outputs::ARGMAX, &argmax),
            correct: wanted(Outputs::CORRECT, &correct),
            entropy: wanted(Outputs::ENTROPY, &entropy),
        }
    }
}

/// The bits of each element.
pub fn bits(tensor: &Tensor) -> Vec<u64> {
    match tensor.dtype() {
        DType::F32 => each(tensor, |x: f32| x.to_bits().into()),
        DType::F16 => each(tensor, |x: f16| x.to_bits().into()),
        DType::BF16 => each(tensor, |x: bf16| x.to_bits().into()),
        DType::F64 => each(tensor, |x: f64| x.to_bits()),
        DType::I64 => each(tensor, |x: i64| x as u64),
        DType::I32 => each(tensor, |x: i32| x as u64),
        DType::U32 => each(tensor, |x: u32| x.into()),
        DType::U8 => each(tensor, |x: u8| x.into()),
        other => panic!("a buffer of {other}"),
    }
}

fn each<T: xent::Element>(tensor: &Tensor, bits: impl Fn(T) -> u64) -> Vec<u64> {
    tensor.to_vec().unwrap().into_iter().map(bits).collect()
}

/// A tensor from an element on.
pub fn view(tensor: &Tensor, offset: usize) -> View<'_> {
    assert!(offset <= tensor.len());
    let dtype = tensor.dtype();
    let address = tensor.as_ptr().wrapping_add(offset * dtype.size());
    // SAFETY: the rest of the tensor, which is borrowed.
    unsafe { View::from_raw(address, tensor.len() - offset, dtype) }
}

/// The same, to write.
pub fn view_mut(tensor: &mut Tensor, offset: usize) -> ViewMut<'_> {
    assert!(offset <= tensor.len());
    let (dtype, len) = (tensor.dtype(), tensor.len() - offset);
    let address = tensor.as_mut_ptr().wrapping_add(offset * dtype.size());
    // SAFETY: the rest of the tensor, which is borrowed exclusively.
    unsafe { ViewMut::from_raw(address, len, dtype) }
}
