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

use super::{Case, Output, Target};
use xent::{DType, Denominator, EmptyMean, Reduction};

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
struct RowBounds {
    loss: f64,
    lse: f64,
    entropy: f64,
    exp_sum: f64,
    /// For each class, the coefficients of the two parts of the bound; see `gradient`.
    gradient: Vec<f64>,
}

struct Row<'a> {
    case: &'a Case,
    index: usize,
}

/// Holds every output of a run against the reference.
pub fn check(case: &Case, output: &Output) {
    let exact = case.reference();
    let problem = &case.problem;
    let classes = problem.classes;
    let mut loss_sum = 0.0;
    let (scale, z_scale) = scales(case);
    for row in 0..case.rows {
        let counted = match &case.target {
            Target::Classes(y) => problem.ignore_index != Some(y[row]),
            Target::Probabilities(_) => true,
        };
        let gradient = &output.dlogits[row * classes..(row + 1) * classes];
        if !counted {
            let zeros = [output.lse[row], output.entropy[row]];
            assert!(zeros.iter().all(|x| x.to_bits() == 0), "ignored row {row}: {zeros:?}");
            assert!(gradient.iter().all(|x| x.to_bits() == 0), "ignored row {row}: {gradient:?}");
            assert_eq!(output.argmax[row], -1);
            if problem.reduction == Reduction::None {
                assert_eq!(output.loss[row].to_bits(), 0);
            }
            continue;
        }
        let bounds = Row { case, index: row }.bounds(exact.lse[row], scale, z_scale);
        if problem.reduction == Reduction::None {
            near("loss", row, output.loss[row], exact.loss[row], bounds.loss, case);
        }
        loss_sum += bounds.loss;
        near("lse", row, output.lse[row], exact.lse[row], bounds.lse, case);
        near("entropy", row, output.entropy[row], exact.entropy[row], bounds.entropy, case);
        let sum = exact.exp_sum[row];
        near("stats s", row, output.stats[2 * row + 1], sum, bounds.exp_sum, case);
        near("stats max", row, output.stats[2 * row], exact.largest[row], 0.0, case);
        assert_eq!(output.argmax[row], exact.argmax[row], "argmax, row {row}");
        for (class, &actual) in gradient.iter().enumerate() {
            let exact = exact.dlogits[row * classes + class];
            let rounding = 0.5 * ulp(exact, problem.dlogits);
            let allowed = bounds.gradient[class] + rounding;
            near_in(problem.dlogits, "dlogits", (row, class), actual, exact, allowed, case);
        }
    }
    if problem.reduction != Reduction::None {
        let allowed = loss_sum * scale.abs().max(z_scale.abs());
        let rounding = ulp(exact.loss[0], DType::F32);
        near("loss", 0, output.loss[0], exact.loss[0], allowed + rounding, case);
    }
    assert_eq!(output.correct, exact.correct);
}

/// 1 / denominators of the mean.
fn scales(case: &Case) -> (f64, f64) {
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
            let counted = (0..case.rows).filter(|&row| problem.ignore_index != Some(y[row]));
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
    fn bounds(&self, lse: f64, scale: f64, z_scale: f64) -> RowBounds {
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
        let gradient = (0..classes)
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
                bound + TINY * (pull * slope[c].abs()).max(1.0)
            })
            .collect();

        RowBounds {
            loss: U * (row_weight.abs() * cross_entropy + z_loss) + TINY,
            lse: U * (softmax + 3.0 * lse.abs()) + TINY,
            entropy: U * ((6.0 + 1.5 * t_mean) * q * (1.0 + t_mean) + 5.0 * (log1p_s + moment))
                + U * 8.0 * largest_z * (1.0 + t_mean)
                + 88.0 * TINY, // t exp(-t) where exp(-t) is 2^-126
            exp_sum: U * (4.0 + 1.5 * t_mean + 8.0 * largest_z) * s + TINY,
            gradient,
        }
    }
}

fn near(what: &str, row: usize, actual: f32, exact: f64, allowed: f64, case: &Case) {
    near_in(DType::F32, what, (row, 0), actual.into(), exact, allowed, case);
}

fn near_in(
    dtype: DType,
    what: &str,
    (row, class): (usize, usize),
    actual: f64,
    exact: f64,
    allowed: f64,
    case: &Case,
) {
    let overflows = super::round(exact, dtype);
    let same = actual == overflows || actual.is_nan() && exact.is_nan();
    let error = (actual - exact).abs();
    // An infinite bound would allow anything.
    assert!(
        same || error <= allowed && allowed.is_finite(),
        "{what} of row {row}, class {class}: {actual:e}, exactly {exact:e}; error {error:e} is {:.2} \
         times the bound, for {:?}, {:?}",
        error / allowed,
        case.problem,
        case.denominator,
    );
}
