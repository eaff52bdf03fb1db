//! The exponential of the kernels, of every number that it is for.

use std::fmt;
use std::ptr::null_mut;

use rayon::prelude::*;
use xent::{Args, Context, DType, Denominator, Outputs, Plan, Problem, Reduction, Stream};

use crate::common::bounds::{Quantity, judge, ulp};
use crate::common::foreign::Elements;
use crate::common::{Case, Output, Target};

/// What is lower has an exponential that rounds to 0.
const LOWEST: f32 = -104.0;
/// Rows of a run, and those that a thread judges at once.
const ROWS: usize = 1 << 22;
const AT_ONCE: usize = 1 << 12;

const OUTPUTS: Outputs = Outputs::LOSS.union(Outputs::DLOGITS);

/// The largest errors.
#[derive(Clone, Copy)]
pub struct Found {
    numbers: usize,
    /// That of p, where it is a normal number, in units of its last place; and where.
    ulps: (f64, f32),
    /// As fractions of the bounds, beyond the rounding.
    gradient: f64,
    loss: f64,
}

const NOTHING: Found = Found { numbers: 0, ulps: (0.0, 0.0), gradient: 0.0, loss: 0.0 };

impl Found {
    fn and(self, other: Found) -> Found {
        Found {
            numbers: self.numbers + other.numbers,
            ulps: if other.ulps.0 > self.ulps.0 { other.ulps } else { self.ulps },
            gradient: self.gradient.max(other.gradient),
            loss: self.loss.max(other.loss),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { numbers, ulps: (ulps, x), gradient, loss } = self;
        write!(
            f,
            "{numbers} numbers: p = exp(x) / (1 + exp(x)) is off by at most {ulps:.2} ulp, at {x:e}; \
             gradient {gradient:.3}, loss {loss:.3} of its bound"
        )
    }
}

/// Gradients and losses of two classes, 0 and x, for one in `stride` numbers x from 0 down to the
/// lowest. Each is held against its bound.
pub fn scan(context: &Context, stride: usize) -> Found {
    let problem = Problem::new(DType::F32, 2).reduction(Reduction::None).outputs(OUTPUTS);
    let plan = Plan::new(context, &problem).unwrap();
    let first = (-0f32).to_bits();
    let count = (LOWEST.to_bits() - first) as usize / stride + 1;
    let rows = ROWS.min(count);
    let mut workspace = plan.workspace(rows).unwrap();
    let logits = Elements::new(&vec![0f32; 2 * rows]);
    let targets = Elements::new(&vec![0i64; rows]);
    let mut loss = Elements::new(&vec![f32::NAN; rows]);
    let mut dlogits = Elements::new(&vec![f32::NAN; 2 * rows]);
    let mut all = NOTHING;
    for start in (0..count).step_by(rows) {
        let batch = start..count.min(start + rows);
        let number = |index| f32::from_bits(first + (index * stride) as u32);
        let x: Vec<f32> = batch.into_par_iter().map(number).collect();
        let pairs: Vec<f32> = x.par_iter().flat_map_iter(|&x| [0.0, x]).collect();
        logits.write(&pairs, null_mut());
        let args = Args::new(logits.view(), targets.view()).stream(Stream::default());
        let args = args.loss(loss.view_mut()).dlogits(dlogits.view_mut());
        plan.run(args, &mut workspace).unwrap();
        let (loss, dlogits) = (loss.read(null_mut()), dlogits.read(null_mut()));
        let chunks = x.par_chunks(AT_ONCE).zip(loss.par_chunks(AT_ONCE));
        let found = chunks.zip(dlogits.par_chunks(2 * AT_ONCE));
        let found = found.map(|((x, loss), dlogits)| held(&problem, x, loss, dlogits));
        all = all.and(found.reduce(|| NOTHING, Found::and));
    }
    all
}

/// Holds some rows against the reference and the bounds.
fn held(problem: &Problem, x: &[f32], loss: &[f32], dlogits: &[f32]) -> Found {
    let case = Case {
        problem: problem.clone(),
        rows: x.len(),
        logits: x.iter().flat_map(|&x| [0.0, x.into()]).collect(),
        target: Target::Classes(vec![0; x.len()]),
        class_weights: None,
        row_weights: None,
        dloss: None,
        denominator: Denominator::Default,
    };
    let output = Output {
        loss: loss[..x.len()].to_vec(),
        dlogits: dlogits[..2 * x.len()].iter().copied().map(f64::from).collect(),
        ..Output::default()
    };
    let verdict = judge(&case, OUTPUTS, &output);
    if let Some(wrong) = verdict.wrong().next() {
        panic!("x = {:e}: {wrong}", x[wrong.row]);
    }
    let of = |quantity| verdict.of(quantity).map_or(0.0, |worst| worst.fraction);
    let ulps = x.iter().zip(output.dlogits.as_chunks::<2>().0).map(|(&x, &[_, actual])| {
        let e = f64::from(x).exp();
        let exact = e / (1.0 + e);
        let is_normal = exact >= f64::from(f32::MIN_POSITIVE);
        let error = (actual - exact).abs() / ulp(exact, DType::F32);
        (if is_normal { error } else { 0.0 }, x)
    });
    Found {
        numbers: x.len(),
        ulps: ulps.fold((0.0, 0.0), |most, next| if next.0 > most.0 { next } else { most }),
        gradient: of(Quantity::Gradient),
        loss: of(Quantity::Loss),
    }
}
