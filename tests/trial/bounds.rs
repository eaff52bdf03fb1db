//! What results may be off by: with u = 2^-24, 8 u of the magnitudes of what they are sums of, before
//! they are rounded to their type. Softmax and its logarithm as in `docs` of a cross entropy: u p (8 +
//! 2.5 (t + t_mean q)) and u ((6 + 1.5 t_mean) q + 3 |log p|), with t = max z - z, and q and t_mean of the
//! softmax without its maximum.

use xent::reference::{self, Targets};
use xent::{Clip, DType, Form, Operation, Outputs, Problem, Reduction, Renormalise, Unit};

use super::{Found, Trial};
use crate::common::bounds::ulp;
use crate::common::round;

const U: f64 = 1.0 / 16_777_216.0;
const TINY: f64 = 1.175_494_350_822_287_5e-38; // 2^-126

/// A bound and the rounding to a type.
fn rounded(bound: f64, exact: f64, dtype: DType) -> f64 {
    bound + 0.5 * ulp(exact, dtype) + TINY
}

/// Holds a number of a type to what it may be off by.
fn near(actual: f64, exact: f64, allowed: f64, dtype: DType, of: &dyn Fn() -> String) {
    let same = actual == round(exact, dtype) || actual.is_nan() && exact.is_nan();
    let off = (actual - exact).abs();
    let text = || format!("{actual:e}, exactly {exact:e}, {:.2} times, {}", off / allowed, of());
    assert!(same || off <= allowed, "{}", text());
}

/// The softmax of a row without its maximum: q and t_mean, and t of each class.
struct Spread {
    t: Vec<f64>,
    q: f64,
    mean: f64,
}

impl Spread {
    fn of(z: &[f64]) -> Spread {
        let largest = z.iter().fold(f64::NEG_INFINITY, |a, &z| a.max(z));
        let t: Vec<f64> = z.iter().map(|z| largest - z).collect();
        let sum = |f: &dyn Fn(f64) -> f64| t.iter().map(|&t| f(t)).sum::<f64>();
        let moment = |t: f64| if t.is_finite() { t * (-t).exp() } else { 0.0 };
        let (s, moment) = (sum(&|t| (-t).exp()) - 1.0, sum(&moment));
        let mean = if s > 0.0 { moment / s } else { 0.0 };
        Spread { q: s / (1.0 + s), mean, t }
    }
}

/// Magnitudes of -log p and its derivative, clipped.
fn surprisal(clip: Clip, p: f64, log: f64) -> [f64; 2] {
    let (low, high) = match clip {
        Clip::Range(e) => (e, 1.0 - e),
        Clip::Lower(e) => (e, f64::INFINITY),
        Clip::Logarithm(b) => ((-b).exp(), f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    // p + e is rounded before its logarithm.
    let (p, log, rounded) = match clip {
        Clip::Add(e) => (p + e, (p + e).ln(), 1.0),
        _ => (p, log, 0.0),
    };
    match p {
        p if p < low => [-low.ln(), 0.0],
        p if p > high => [-high.ln(), 0.0],
        p => [if log.is_finite() { log.abs() + rounded } else { 0.0 }, 1.0 / p.abs().max(TINY)],
    }
}

fn finite(x: f64) -> f64 {
    if x.is_finite() { x.abs() } else { 0.0 }
}

impl Trial {
    /// Holds what a GPU found against the reference.
    pub fn check(&self, found: &Found) {
        if self.is_softmax() {
            self.check_softmax(&found.output);
            return self.check_backward_of_softmax(&found.output, &found.backward);
        }
        if self.problem.outputs.contains(Outputs::STATS) {
            return self.check_double_backward(&found.backward);
        }
        self.check_loss(found);
    }

    /// What each loss may be off by, where these are exact.
    pub fn of_losses(&self, exact: &[f64]) -> Vec<f64> {
        let classes = self.problem.classes;
        if self.problem.renormalise != Renormalise::No {
            let allowed = |(row, &exact): (usize, &f64)| {
                rounded(8.0 * U * (exact.abs() + self.mass(row)), exact, DType::F32)
            };
            return exact.iter().enumerate().map(allowed).collect();
        }
        let of_row = |row| (0..classes).map(|class| self.magnitudes(row, class)[0]).sum::<f64>();
        let magnitude = |index| match self.problem.reduction {
            Reduction::Elements => self.magnitudes(index / classes, index % classes)[0],
            Reduction::None | Reduction::RowMean => of_row(index) * self.scale(),
            _ => (0..self.rows()).map(of_row).sum::<f64>() * self.scale(),
        };
        let allowed = |(index, &exact)| rounded(8.0 * U * magnitude(index), exact, DType::F32);
        exact.iter().enumerate().map(allowed).collect()
    }

    /// What each element of a gradient may be off by, where these are exact.
    pub fn of_gradient(&self, exact: &[f64]) -> Vec<f64> {
        let allowed = |(index, &exact): (usize, &f64)| {
            let (row, class) = (index / self.problem.classes, index % self.problem.classes);
            let bound = match self.problem.renormalise {
                Renormalise::No => 8.0 * self.magnitudes(row, class)[1],
                _ => 12.0 * self.of_share(row, class),
            };
            let scale = self.scale() * self.dloss(row, class);
            rounded(U * bound * scale, exact, self.problem.dlogits)
        };
        exact.iter().enumerate().map(allowed).collect()
    }

    fn check_loss(&self, found: &Found) {
        let problem = &self.problem;
        let exact = reference::compute(problem, &self.inputs()).unwrap();
        let allowed = self.of_losses(&exact.loss);
        for (index, (&actual, &exact)) in found.loss.iter().zip(&exact.loss).enumerate() {
            let of = || format!("loss {index} of {self:?}");
            near(actual, exact, allowed[index], DType::F32, &of);
        }
        if problem.outputs.contains(Outputs::LOSS) {
            assert_eq!(found.loss.len(), exact.loss.len());
        }
        if problem.outputs.contains(Outputs::DLOGITS) {
            assert_eq!(found.dlogits.len(), exact.dlogits.len());
        }
        let allowed = self.of_gradient(&exact.dlogits);
        for (index, (&actual, &exact)) in found.dlogits.iter().zip(&exact.dlogits).enumerate() {
            let of = || format!("gradient {index}, x {:e}, of {self:?}", self.logits[index]);
            near(actual, exact, allowed[index], problem.dlogits, &of);
        }
    }

    /// The magnitude of the upstream gradient.
    fn dloss(&self, row: usize, class: usize) -> f64 {
        match self.dloss.as_deref() {
            None => 1.0,
            Some(&[one]) => one.abs(),
            Some(each) if each.len() == self.logits.len() => {
                each[row * self.problem.classes + class].abs()
            }
            Some(each) => each[row].abs(),
        }
    }

    /// The target of a class before smoothing.
    fn target(&self, row: usize, class: usize) -> f64 {
        match self.inputs().targets {
            Targets::None => 0.0,
            Targets::Probabilities(q) => q[row * self.problem.classes + class],
            Targets::Classes(classes) => f64::from(u8::from(classes[row] == class as i64)),
        }
    }

    /// The sum of the targets of a row.
    fn mass(&self, row: usize) -> f64 {
        (0..self.problem.classes).map(|class| self.target(row, class)).sum()
    }

    /// The magnitude of the derivative by a probability of a row that is divided by its sum.
    fn of_share(&self, row: usize, class: usize) -> f64 {
        let (first, classes) = (row * self.problem.classes, self.problem.classes);
        let x = &self.logits[first..first + classes];
        self.target(row, class) / x[class] + self.mass(row) / x.iter().sum::<f64>()
    }

    /// Whether nothing is computed of a row.
    fn is_ignored(&self, row: usize) -> bool {
        self.problem.ignore_index.is_some_and(|index| self.classes[row] == index)
    }

    /// The magnitudes of an element's loss and derivative, with its weights.
    fn magnitudes(&self, row: usize, class: usize) -> [f64; 2] {
        let (problem, at) = (&self.problem, row * self.problem.classes + class);
        if self.is_ignored(row) {
            return [0.0, 0.0];
        }
        let (x, smoothing) = (self.logits[at], problem.label_smoothing);
        let evenly = match problem.operation {
            Operation::BinaryCrossEntropy => 2.0,
            _ => problem.classes as f64,
        };
        let t = (1.0 - smoothing) * self.target(row, class) + smoothing / evenly;
        let [l, dl] = match problem.input {
            Form::LogProbabilities => [finite(x), 1.0],
            _ => surprisal(problem.clip, x, x.ln()),
        };
        let v = self.pos_weights.as_ref().map_or(1.0, |weights| weights[class]);
        let (positive, negative) = ((v * t).abs(), (1.0 - t).abs());
        let (loss, slope) = match (problem.operation, problem.input) {
            (Operation::BinaryCrossEntropy, Form::Logits) => {
                let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                (
                    negative * softplus(x) + positive * softplus(-x),
                    negative * sigmoid(x) + positive * sigmoid(-x),
                )
            }
            (Operation::BinaryCrossEntropy, _) => {
                let [m, dm] = surprisal(problem.clip, 1.0 - x, (-x).ln_1p());
                let slope = match problem.clip {
                    Clip::Logarithm(_) => {
                        (negative * x + positive * (1.0 - x)) / (x * (1.0 - x)).max(1e-12)
                    }
                    _ => positive * dl + negative * dm,
                };
                (positive * l + negative * m, slope)
            }
            (Operation::KlDivergence, _) => {
                let (q, log_q) = if problem.log_targets { (t.exp(), t) } else { (t, t.ln()) };
                let twice = if problem.log_targets { 2.0 } else { 1.0 };
                (q * (finite(log_q) * twice + l), q * dl)
            }
            (Operation::Entropy, Form::LogProbabilities) => (x.exp() * l, x.exp() * (l + 1.0)),
            (Operation::Entropy, _) => (x * l, l + 1.0),
            _ => (t.abs() * l, t.abs() * dl),
        };
        let weight =
            |weights: &Option<Vec<f64>>, at: usize| weights.as_ref().map_or(1.0, |w| w[at].abs());
        let w = weight(&self.class_weights, class)
            * weight(&self.row_weights, row)
            * weight(&self.element_weights, at)
            * if problem.unit == Unit::Bits { std::f64::consts::LOG2_E } else { 1.0 };
        [w * loss, w * slope]
    }

    /// What a loss is divided by, inverted.
    fn scale(&self) -> f64 {
        let problem = &self.problem;
        let (rows, classes) = (self.rows() as f64, problem.classes as f64);
        let elementwise =
            matches!(problem.operation, Operation::BinaryCrossEntropy | Operation::KlDivergence);
        match problem.reduction {
            Reduction::Mean if elementwise => 1.0 / (rows * classes),
            Reduction::Mean if !problem.targets.is_float() && self.has_targets() => {
                let weight = |weights: &Option<Vec<f64>>, at: usize| {
                    weights.as_ref().map_or(1.0, |weights| weights[at])
                };
                let of = |row: usize| {
                    let class = self.classes[row] as usize;
                    weight(&self.class_weights, class) * weight(&self.row_weights, row)
                };
                let counted = (0..self.rows()).filter(|&row| !self.is_ignored(row));
                1.0 / counted.map(of).sum::<f64>().abs()
            }
            Reduction::Mean | Reduction::BatchMean => 1.0 / rows,
            Reduction::RowMean => 1.0 / classes,
            _ => 1.0,
        }
    }

    /// z of each row.
    fn rows_of_z(&self) -> impl Iterator<Item = Vec<f64>> {
        let scale = self.problem.logit_scale;
        let rows = self.logits.chunks(self.problem.classes);
        rows.map(move |row| row.iter().map(|x| x * scale).collect())
    }

    /// What each element of a softmax or its logarithm may be off by, where these are exact.
    pub fn of_softmax(&self, exact: &[f64]) -> Vec<f64> {
        let problem = &self.problem;
        let spreads: Vec<Spread> = self.rows_of_z().map(|z| Spread::of(&z)).collect();
        let allowed = |(at, &exact): (usize, &f64)| {
            let Spread { t, q, mean } = &spreads[at / problem.classes];
            let bound = match problem.operation {
                Operation::LogSoftmax => (6.0 + 1.5 * mean) * q + 3.0 * finite(exact),
                _ => (8.0 + 2.5 * (finite(t[at % problem.classes]) + mean * q)) * exact,
            };
            rounded(U * bound, exact, problem.output)
        };
        exact.iter().enumerate().map(allowed).collect()
    }

    fn check_softmax(&self, output: &[f64]) {
        let exact = reference::compute(&self.problem, &self.inputs()).unwrap().output;
        for (at, allowed) in self.of_softmax(&exact).into_iter().enumerate() {
            let of = || format!("element {at} of {self:?}");
            near(output[at], exact[at], allowed, self.problem.output, &of);
        }
    }

    /// What each element of the backward of a softmax y may be off by, where these are exact.
    pub fn of_backward(&self, y: &[f64], exact: &[f64]) -> Vec<f64> {
        let (problem, g) = (&self.problem, &self.upstream);
        let is_logarithm = problem.operation == Operation::LogSoftmax;
        let part = |(g, y): (&f64, &f64)| (g * if is_logarithm { 1.0 } else { *y }).abs();
        let rows = g.chunks(problem.classes).zip(y.chunks(problem.classes));
        let sums: Vec<f64> = rows.map(|(g, y)| g.iter().zip(y).map(part).sum()).collect();
        let allowed = |(at, &exact): (usize, &f64)| {
            let sum = sums[at / problem.classes];
            let own = if is_logarithm { y[at].exp() } else { y[at] };
            let alone = if is_logarithm { g[at].abs() } else { own * g[at].abs() };
            let bound = 8.0 * U * problem.logit_scale.abs() * (alone + own * sum);
            rounded(bound, exact, problem.dlogits)
        };
        exact.iter().enumerate().map(allowed).collect()
    }

    fn check_backward_of_softmax(&self, y: &[f64], dlogits: &[f64]) {
        let exact = reference::backward(&self.problem, y, &self.upstream).unwrap();
        for (at, allowed) in self.of_backward(y, &exact).into_iter().enumerate() {
            let of = || format!("gradient {at} of {self:?}");
            near(dlogits[at], exact[at], allowed, self.problem.dlogits, &of);
        }
    }

    /// As a gradient's, p is off by 8 + 2.5 (t + t_mean q), in the sum by its mean.
    fn check_double_backward(&self, product: &[f64]) {
        let (problem, v, classes) = (&self.problem, &self.upstream, self.problem.classes);
        let exact = reference::double_backward(problem, &self.inputs(), v).unwrap();
        for (row, z) in self.rows_of_z().enumerate() {
            let p = reference_softmax(&z);
            let Spread { t, q, mean } = Spread::of(&z);
            let off = |class: usize| 16.0 + 2.5 * (finite(t[class]) + 2.0 * mean * q);
            let of_v = |class: usize| p[class] * v[row * classes + class].abs();
            let sum: f64 = (0..classes).map(of_v).sum();
            let sum_off: f64 = (0..classes).map(|class| of_v(class) * off(class)).sum();
            let curvature = self.curvature(row, &z) * problem.logit_scale.powi(2);
            for (class, p) in p.iter().enumerate() {
                let at = row * classes + class;
                let bound = p * curvature * (off(class) * (v[at].abs() + sum) + sum_off);
                let allowed = rounded(U * bound, exact[at], problem.dlogits);
                let of = || format!("row {row}, class {class} of {self:?}");
                near(product[at], exact[at], allowed, problem.dlogits, &of);
            }
        }
    }

    /// sum(u) + 2 a |lse| of a row, with what its loss is multiplied by.
    fn curvature(&self, row: usize, z: &[f64]) -> f64 {
        let (problem, classes) = (&self.problem, self.problem.classes);
        if self.is_ignored(row) {
            return 0.0;
        }
        let weight = |class: usize| self.class_weights.as_ref().map_or(1.0, |w| w[class].abs());
        let smoothing = problem.label_smoothing;
        let mass = |class: usize| {
            let smoothed = (1.0 - smoothing) * self.target(row, class) + smoothing / classes as f64;
            weight(class) * smoothed
        };
        let largest = z.iter().fold(0.0, |a: f64, z| a.max(z.abs()));
        let lse = largest + (classes as f64).ln();
        let of_row = self.row_weights.as_ref().map_or(1.0, |weights| weights[row].abs());
        let mass: f64 = (0..classes).map(mass).sum();
        self.scale() * self.dloss(row, 0) * (mass * of_row + 4.0 * problem.z_loss * (lse + 1.0))
    }
}

fn reference_softmax(z: &[f64]) -> Vec<f64> {
    let problem = Problem::softmax(DType::F64, z.len());
    let inputs = reference::Inputs::new(z, Targets::None);
    reference::compute(&problem, &inputs).unwrap().output
}
