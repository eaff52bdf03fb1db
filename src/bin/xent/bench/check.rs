//! Whether a contender computes a cell right. What does not gets no speed.

use std::ops::Range;

use rayon::prelude::*;
use xent::{DType, Reduction};

use super::buffers::{Buffers, Call};
use super::cell::{Cell, Mode};
use super::contender::Contender;
use super::device::Machine;
use super::inputs::{Inputs, numbers};
use super::{Result, report};
use crate::bounds::{Row, ulp};

/// A number, and how far off it may be.
#[derive(Clone, Copy, Debug)]
struct Exact {
    value: f64,
    allowed: f64,
}

impl Exact {
    /// Of a number in a type, which is rounded once beside the bound.
    fn new(value: f64, bound: f64, dtype: DType) -> Exact {
        Exact { value, allowed: bound + 0.5 * ulp(value, dtype) }
    }

    /// A NaN is not near.
    fn is_near(&self, actual: f64) -> bool {
        (actual - self.value).abs() <= self.allowed
    }

    /// How far off a number is, in units in the last place.
    fn in_ulp(&self, actual: f64, dtype: DType) -> f64 {
        (actual - self.value).abs() / ulp(self.value, dtype)
    }
}

/// What a cell has to come out as, within the bounds that the library promises.
pub struct Expected {
    /// The mean over all rows.
    loss: Exact,
    /// Of each of the different rows by itself.
    losses: Vec<Exact>,
    /// Of the different rows, as part of the whole.
    gradient: Vec<Exact>,
}

impl Expected {
    pub fn new(inputs: &Inputs) -> Expected {
        let scale = 1.0 / inputs.denominator;
        let (case, dtype) = (&inputs.case, inputs.cell.dtype);
        let exact = case.reference();
        let mut alone = case.clone();
        alone.problem = alone.problem.reduction(Reduction::None);
        let rows: Vec<(Exact, Vec<Exact>)> = (0..inputs.different())
            .into_par_iter()
            .zip(alone.reference().loss)
            .map(|(row, loss)| {
                let counts = f64::from(u8::from(inputs.weight(row) != 0.0));
                let bounds = Row { case, index: row }.bounds(exact.lse[row], scale, scale);
                let elements = bounds.gradient.iter().zip(&bounds.gradient_floor).enumerate();
                let gradient = elements.map(|(class, (bound, floor))| {
                    let value = exact.dlogits[row * inputs.cell.classes + class];
                    Exact::new(value, counts * (bound + floor), dtype)
                });
                let of_row = Exact::new(loss, counts * bounds.loss, DType::F32);
                (of_row, gradient.collect())
            })
            .collect();
        let sum = |of: fn(&Exact) -> f64| -> f64 {
            let of_rows = rows.iter().enumerate();
            of_rows.map(|(row, (loss, _))| inputs.count(row) as f64 * of(loss)).sum()
        };
        let (value, bound) = (sum(|loss| loss.value), sum(|loss| loss.allowed));
        let (losses, gradient): (Vec<Exact>, Vec<Vec<Exact>>) = rows.into_iter().unzip();
        Expected {
            loss: Exact::new(value * scale, bound * scale, DType::F32),
            losses,
            gradient: gradient.concat(),
        }
    }
}

/// What is right or wrong about a contender.
pub struct Verdict {
    pub error: report::Error,
    pub wrong: Option<String>,
}

impl Verdict {
    /// Notes what is wrong, unless something was before.
    fn insist(&mut self, right: bool, wrong: impl FnOnce() -> String) {
        if !right && self.wrong.is_none() {
            self.wrong = Some(wrong());
        }
    }
}

/// The examination of contenders in a cell.
pub struct Check<'a> {
    pub machine: &'a dyn Machine,
    pub buffers: &'a Buffers,
    pub expected: &'a Expected,
}

impl Check<'_> {
    /// Runs a contender on all rows, into memory that is full of NaN, and on each of the different ones
    /// by itself.
    pub fn run(&self, contender: &mut dyn Contender) -> Result<Verdict> {
        let error = report::Error { loss: 0.0, gradient: None };
        let mut verdict = Verdict { error, wrong: None };
        self.prepare(contender.mode())?;
        self.loss(contender, 0..self.buffers.cell.rows, None, self.expected.loss, &mut verdict)?;
        if contender.mode().has_gradient() {
            self.gradient(&mut verdict)?;
        }
        // An error in few rows is not seen in the mean over many.
        self.prepare(contender.mode())?;
        for (row, &exact) in self.expected.losses.iter().enumerate() {
            self.loss(contender, row..row + 1, Some(1.0), exact, &mut verdict)?;
        }
        Ok(verdict)
    }

    /// What a run overwrites.
    fn prepare(&self, mode: Mode) -> Result<()> {
        let (logits, gradient) = &self.buffers.sets[0];
        match mode {
            Mode::InPlace => self.machine.copy(logits, gradient),
            _ => self.machine.poison(gradient),
        }
    }

    /// Runs some rows, and looks at the loss.
    fn loss(
        &self,
        contender: &mut dyn Contender,
        rows: Range<usize>,
        denominator: Option<f64>,
        exact: Exact,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let Check { machine, buffers, .. } = *self;
        machine.poison(&buffers.loss)?;
        machine.poison(&buffers.stats)?;
        let call = Call { buffers, set: 0, rows, denominator, stream: machine.stream() };
        contender.run(&call)?;
        let loss = numbers(&machine.read(&buffers.loss)?, DType::F32)[0];
        verdict.error.loss = verdict.error.loss.max(exact.in_ulp(loss, DType::F32));
        verdict.insist(exact.is_near(loss), || {
            format!("loss of rows {:?}: {loss:e}, exactly {:e}", call.rows, exact.value)
        });
        Ok(())
    }

    /// Looks at every element of the gradient.
    fn gradient(&self, verdict: &mut Verdict) -> Result<()> {
        let Cell { dtype, classes, .. } = self.buffers.cell;
        let all = self.machine.read(&self.buffers.sets[0].1)?;
        let exact = &self.expected.gradient;
        let of_row = |(row, bytes): (usize, &[u8])| {
            let exact =
                exact.chunks(classes).nth(row % (exact.len() / classes)).into_iter().flatten();
            let mut worst = 0f64;
            let mut wrong = None;
            for (class, (actual, exact)) in numbers(bytes, dtype).into_iter().zip(exact).enumerate()
            {
                worst = worst.max(exact.in_ulp(actual, dtype));
                if !exact.is_near(actual) && wrong.is_none() {
                    wrong = Some((row, class, actual, exact.value));
                }
            }
            (worst, wrong)
        };
        let rows = all.par_chunks(classes * dtype.size()).enumerate().map(of_row);
        let (worst, wrong) = rows.reduce(|| (0.0, None), |a, b| (a.0.max(b.0), a.1.or(b.1)));
        verdict.error.gradient = Some(worst);
        if let Some((row, class, actual, exact)) = wrong {
            verdict.insist(false, || {
                format!("gradient of row {row}, class {class}: {actual:e}, exactly {exact:e}")
            });
        }
        Ok(())
    }
}
