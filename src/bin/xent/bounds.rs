//! The error bounds that the library promises, element by element.
//!
//! With u = 2^-24, t = max z - z >= 0, s the sum of exponentials without one maximum,
//! q = s / (1 + s), and t_mean the mean of t under the softmax without the maximum:
//!
//! * loss of a row: u ((6 + 1.5 t_mean) q + 3 loss), with 5 sum|terms| for 3 loss under weights,
//!   smoothing or probabilities; a softcap adds 4 u max|z|, the z-loss its own terms;
//! * gradient, before it is rounded to its type: u |g| ((8 + 2.5 (t + t_mean q)) p + 6 at a target
//!   that is not the maximum); (8 + 2.5 t_mean) u relative at one that is;
//! * what is summed over rows: the sum of the rows' bounds, and one rounding.
//!
//! There is no absolute floor but 2^-126, below which `f32` is not normal, for results and for p.
//! Classes, counts, and all that belongs to ignored rows are exact. The tests have this file too.

use std::fmt;

use xent::{DType, Denominator, EmptyMean, Outputs, Reduction};

use super::case::{Case, Output, Target, round};

const U: f64 = 1.0 / 16_777_216.0;
const TINY: f64 = 1.175_494_350_822_287_5e-38; // 2^-126

/// Spacing of a type at x.
pub fn ulp(x: f64, dtype: DType) -> f64 {
    let (digits, lowest) = match dtype {
        DType::F32 => (24, -126),
        DType::F16 => (11, -14),
        DType::BF16 => (8, -126),
        _ => (53, -1022),
    };
    let exponent = if x == 0.0 { lowest } else { (x.abs().log2().floor() as i32).max(lowest) };
    2f64.powi(exponent - (digits - 1))
}

/// What is allowed for one row.
pub struct RowBounds {
    pub loss: f64,
    pub lse: f64,
    pub entropy: f64,
    pub exp_sum: f64,
    /// For each class, before the gradient is rounded to its type.
    pub gradient: Vec<f64>,
    /// For each class, what is allowed besides: numbers that are too small to be normal.
    pub gradient_floor: Vec<f64>,
}

/// A row of a case.
pub struct Row<'a> {
    pub case: &'a Case,
    pub index: usize,
}

/// What a run computes, as far as it is judged apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    Loss,
    Lse,
    Stats,
    Gradient,
    Entropy,
    /// Most probable classes, and how many are the target.
    Argmax,
}

impl Quantity {
    pub const ALL: [Quantity; 6] = [
        Quantity::Loss,
        Quantity::Lse,
        Quantity::Stats,
        Quantity::Gradient,
        Quantity::Entropy,
        Quantity::Argmax,
    ];
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Quantity::Loss => "loss",
            Quantity::Lse => "lse",
            Quantity::Stats => "stats",
            Quantity::Gradient => "gradient",
            Quantity::Entropy => "entropy",
            Quantity::Argmax => "argmax",
        })
    }
}

/// An element of an output, and how far it is off.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub quantity: Quantity,
    pub row: usize,
    pub class: usize,
    pub actual: f64,
    pub exact: f64,
    /// The error beyond the rounding to its type, and beyond numbers that are too small to be normal,
    /// by the bound: wrong above 1.
    pub fraction: f64,
}

impl Measure {
    pub fn is_wrong(&self) -> bool {
        self.fraction > 1.0
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measure { quantity, row, class, actual, exact, fraction } = self;
        let error = (actual - exact).abs();
        write!(
            f,
            "{quantity} of row {row}, class {class}: {actual:e}, exactly {exact:e}; error \
             {error:e}, {fraction:.2} times the bound"
        )
    }
}

/// The worst element of each quantity, in the order of [`Quantity::ALL`]; `None` of what was not
/// judged.
#[derive(Clone, Debug, Default)]
pub struct Verdict([Option<Measure>; Quantity::ALL.len()]);

impl Verdict {
    pub fn of(&self, quantity: Quantity) -> Option<Measure> {
        self.0[quantity as usize]
    }

    /// What is beyond its bound.
    pub fn wrong(&self) -> impl Iterator<Item = Measure> {
        self.0.into_iter().flatten().filter(Measure::is_wrong)
    }

    /// Takes in an element.
    fn add(&mut self, measure: Measure) {
        let worst = &mut self.0[measure.quantity as usize];
        if worst.is_none_or(|worst| measure.fraction > worst.fraction) {
            *worst = Some(measure);
        }
    }

    /// Takes in a number of this type that may be off by a bound and a rounding.
    fn near(
        &mut self,
        (quantity, dtype): (Quantity, DType),
        (row, class): (usize, usize),
        actual: f64,
        exact: f64,
        (bound, rounding): (f64, f64),
    ) {
        let same = actual == round(exact, dtype) || actual.is_nan() && exact.is_nan();
        let error = (actual - exact).abs();
        let fraction = match error - rounding {
            _ if same => 0.0,
            // An infinite bound would allow anything.
            _ if !(bound + rounding).is_finite() || error.is_nan() => f64::INFINITY,
            beyond if beyond <= 0.0 => 0.0,
            beyond => beyond / bound,
        };
        self.add(Measure { quantity, row, class, actual, exact, fraction });
    }

    /// Takes in a number that has no error.
    fn equal(&mut self, quantity: Quantity, (row, class): (usize, usize), actual: f64, exact: f64) {
        let fraction = if actual.to_bits() == exact.to_bits() { 0.0 } else { f64::INFINITY };
        self.add(Measure { quantity, row, class, actual, exact, fraction });
    }
}

/// Holds these outputs of a run against the reference.
pub fn judge(case: &Case, outputs: Outputs, output: &Output) -> Verdict {
    use Quantity::{Argmax, Entropy, Gradient, Loss, Lse, Stats};
    const F32: DType = DType::F32;
    let exact = case.reference();
    let problem = &case.problem;
    let classes = problem.classes;
    let has = |output| outputs.contains(output);
    let loss_of_rows = has(Outputs::LOSS) && problem.reduction == Reduction::None;
    let (scale, z_scale) = scales(case);
    let (mut verdict, mut loss_sum) = (Verdict::default(), 0.0);
    for row in 0..case.rows {
        let gradient = match has(Outputs::DLOGITS) {
            true => &output.dlogits[row * classes..(row + 1) * classes],
            false => &[],
        };
        if has(Outputs::ARGMAX) {
            let (actual, exact) = (output.argmax[row], exact.argmax[row]);
            verdict.equal(Argmax, (row, 0), actual as f64, exact as f64);
        }
        if !case.counts(row) {
            let mut zero = |quantity, wanted: bool, actual: &[f32]| {
                if wanted {
                    verdict.equal(quantity, (row, 0), actual[row].into(), 0.0);
                }
            };
            zero(Loss, loss_of_rows, &output.loss);
            zero(Lse, has(Outputs::LSE), &output.lse);
            zero(Entropy, has(Outputs::ENTROPY), &output.entropy);
            for (class, &actual) in gradient.iter().enumerate() {
                verdict.equal(Gradient, (row, class), actual, 0.0);
            }
            continue;
        }
        let bounds = Row { case, index: row }.bounds(exact.lse[row], scale, z_scale);
        loss_sum += bounds.loss;
        let mut near = |quantity, wanted: bool, actual: &[f32], at, exact, bound| {
            if wanted {
                let actual = f64::from(actual[at]);
                verdict.near((quantity, F32), (row, 0), actual, exact, (bound, 0.0));
            }
        };
        if loss_of_rows {
            near(Loss, true, &output.loss, row, exact.loss[row], bounds.loss);
        }
        near(Lse, has(Outputs::LSE), &output.lse, row, exact.lse[row], bounds.lse);
        let entropy = (exact.entropy[row], bounds.entropy);
        near(Entropy, has(Outputs::ENTROPY), &output.entropy, row, entropy.0, entropy.1);
        let (stats, sum) = (has(Outputs::STATS), exact.exp_sum[row]);
        near(Stats, stats, &output.stats, 2 * row + 1, sum, bounds.exp_sum);
        near(Stats, stats, &output.stats, 2 * row, exact.largest[row], 0.0);
        for (class, &actual) in gradient.iter().enumerate() {
            let exact = exact.dlogits[row * classes + class];
            let rounding = 0.5 * ulp(exact, problem.dlogits) + bounds.gradient_floor[class];
            let allowed = (bounds.gradient[class], rounding);
            verdict.near((Gradient, problem.dlogits), (row, class), actual, exact, allowed);
        }
    }
    if has(Outputs::LOSS) && !loss_of_rows {
        let bound = loss_sum * scale.abs().max(z_scale.abs());
        let allowed = (bound, ulp(exact.loss[0], F32));
        verdict.near((Loss, F32), (0, 0), output.loss[0].into(), exact.loss[0], allowed);
    }
    if has(Outputs::CORRECT) {
        verdict.equal(Argmax, (0, 0), output.correct as f64, exact.correct as f64);
    }
    verdict
}

impl Case {
    /// Whether a row is counted.
    fn counts(&self, row: usize) -> bool {
        match &self.target {
            Target::Classes(y) => self.problem.ignore_index != Some(y[row]),
            Target::Probabilities(_) => true,
        }
    }
}

/// 1 / denominators of the mean.
pub fn scales(case: &Case) -> (f64, f64) {
    let problem = &case.problem;
    if problem.reduction != Reduction::Mean {
        return (1.0, 1.0);
    }
    if let Denominator::Value(value) = case.denominator {
        let empty = value == 0.0 && problem.empty_mean == EmptyMean::Zero;
        return if empty { (0.0, 0.0) } else { (1.0 / value, 1.0 / value) };
    }
    let (weight, count) = match &case.target {
        Target::Probabilities(_) => (case.rows as f64, case.rows as f64),
        Target::Classes(y) => {
            let counted = (0..case.rows).filter(|&row| case.counts(row));
            counted.fold((0.0, 0.0), |(weight, count), row| {
                let class = case.class_weights.as_ref().map_or(1.0, |w| w[y[row] as usize].into());
                let own: f64 = case.row_weights.as_ref().map_or(1.0, |w| w[row].into());
                (weight + class * own, count + 1.0)
            })
        }
    };
    match problem.empty_mean {
        EmptyMean::Zero if weight == 0.0 => (0.0, 1.0 / count.max(1.0)),
        _ => (1.0 / weight, 1.0 / count),
    }
}

impl Row<'_> {
    /// `lse`: the exact one. `scale`, `z_scale`: [`scales`] of the case.
    pub fn bounds(&self, lse: f64, scale: f64, z_scale: f64) -> RowBounds {
        let (case, problem) = (self.case, &self.case.problem);
        let classes = problem.classes;
        let (z, slope): (Vec<f64>, Vec<f64>) = case
            .logits_row(self.index)
            .iter()
            .map(|&x| x * problem.logit_scale)
            .map(|x| match problem.softcap {
                None => (x, problem.logit_scale),
                Some(cap) => {
                    (cap * (x / cap).tanh(), problem.logit_scale / (x / cap).cosh().powi(2))
                }
            })
            .unzip();
        let at = (0..classes).fold(0, |best, c| if z[c] > z[best] { c } else { best });
        let t: Vec<f64> = z.iter().map(|x| z[at] - x).collect();
        let e: Vec<f64> = t.iter().map(|t| (-t).exp()).collect();
        let rest = (0..classes).filter(|&c| c != at && e[c] > 0.0);
        let s: f64 = rest.clone().map(|c| e[c]).sum();
        let moment: f64 = rest.map(|c| e[c] * t[c]).sum();
        let t_mean = if s > 0.0 { moment / s } else { 0.0 };
        let q = s / (1.0 + s);
        let log1p_s = s.ln_1p();
        let p: Vec<f64> = e.iter().map(|e| e / (1.0 + s)).collect();
        let largest_z = match problem.softcap {
            Some(_) => z.iter().fold(0.0, |largest: f64, z| largest.max(z.abs())),
            None => 0.0,
        };
        let softmax = (6.0 + 1.5 * t_mean) * q + 4.0 * largest_z;

        // The loss.
        let weight = |c: usize| case.class_weights.as_ref().map_or(1.0, |w| f64::from(w[c]));
        let row_weight = case.row_weights.as_ref().map_or(1.0, |w| f64::from(w[self.index]));
        let smoothing = problem.label_smoothing;
        let share = smoothing / classes as f64;
        let q_target = |c: usize| match &case.target {
            Target::Classes(y) => f64::from(u8::from(y[self.index] == c as i64)),
            Target::Probabilities(q) => q[self.index * classes + c],
        };
        let u = |c: usize| weight(c) * ((1.0 - smoothing) * q_target(c) + share);
        let size = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { (a * b).abs() };
        let terms: f64 = (0..classes).map(|c| size(u(c), log1p_s + t[c])).sum();
        let plain = matches!(case.target, Target::Classes(_))
            && smoothing == 0.0
            && case.class_weights.is_none();
        let largest_weight = (0..classes).fold(0.0, |w: f64, c| w.max(weight(c).abs()));
        let cross_entropy = largest_weight * softmax + if plain { 3.0 } else { 5.0 } * terms;
        let alpha = problem.z_loss.abs();
        let z_loss =
            6.0 * alpha * lse * lse + 4.0 * alpha * lse.abs() * (softmax + z[at].abs() + log1p_s);

        // The gradient.
        let upstream = case
            .dloss
            .as_ref()
            .map_or(1.0, |dloss| f64::from(dloss[if dloss.len() == 1 { 0 } else { self.index }]));
        let unit = (upstream * scale * row_weight).abs();
        let z_unit = (upstream * z_scale * 2.0 * problem.z_loss * lse).abs();
        let mass: f64 = match &case.target {
            Target::Classes(_) => (0..classes).map(weight).sum(),
            Target::Probabilities(_) => (0..classes).map(|c| u(c).abs()).sum(),
        };
        // What p is multiplied by, at most.
        let pull = z_unit
            + unit
                * match &case.target {
                    Target::Classes(_) => largest_weight,
                    Target::Probabilities(_) => mass,
                };
        let (gradient, gradient_floor) = (0..classes)
            .map(|c| {
                let is_target = q_target(c) == 1.0;
                let (of_p, fixed, spread) = match &case.target {
                    Target::Probabilities(_) => (mass.abs() * p[c], u(c).abs(), t[c] + t_mean * q),
                    Target::Classes(y) => {
                        let hit = (1.0 - smoothing) * weight(y[self.index] as usize).abs();
                        let smooth = share * mass.abs() * p[c];
                        let even = share * weight(c).abs();
                        if is_target && c == at {
                            (hit * q + smooth, even, t_mean)
                        } else {
                            let far = if is_target { hit } else { 0.0 };
                            (hit * p[c] + smooth, far + even, t[c] + t_mean * q)
                        }
                    }
                };
                let spread = if spread.is_finite() { spread } else { 0.0 };
                let factor = 8.0 + 2.5 * spread + 4.0 * largest_z;
                let bound = U
                    * slope[c].abs()
                    * (factor * (unit * of_p + z_unit * p[c]) + 6.0 * unit * fixed);
                (bound, TINY * (pull * slope[c].abs()).max(1.0))
            })
            .unzip();

        RowBounds {
            loss: U * (row_weight.abs() * cross_entropy + z_loss) + TINY,
            lse: U * (softmax + 3.0 * lse.abs()) + TINY,
            entropy: U * ((6.0 + 1.5 * t_mean) * q * (1.0 + t_mean) + 5.0 * (log1p_s + moment))
                + U * 8.0 * largest_z * (1.0 + t_mean)
                + 88.0 * TINY, // t exp(-t) where exp(-t) is 2^-126
            exp_sum: U * (4.0 + 1.5 * t_mean + 8.0 * largest_z) * s + TINY,
            gradient,
            gradient_floor,
        }
    }
}
