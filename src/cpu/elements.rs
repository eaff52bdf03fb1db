//! Losses that are sums over elements: of one row at a time, or of 32 short rows side by side.

use std::ops::Range;

use super::batch::{RowKernel, batches};
use super::chunk;
use super::columns::{read, write};
use super::keep::Keep;
use super::kernel::{Kernel, Target, Totals};
use super::memory::{self, Row};
use super::narrow::NARROW;
use super::numbers::{Affine, InMemory};
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Simd, Vectorised};
use super::terms::{AnyTerm, Term, WithTerm, product};
use super::times;
use super::writer::Writer;
use crate::call::{Per, Strided};
use crate::{Operation, Problem, Reduction, Renormalise, Unit};

/// Computes rows of a sum of terms.
pub(super) struct Elements<'a> {
    /// Problem, call, targets, weights and denominators.
    pub kernel: &'a Kernel<'a>,
    pub term: AnyTerm,
}

impl RowKernel for Elements<'_> {
    #[inline(always)]
    fn rows<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
        _: &mut Keep,
    ) -> Totals {
        let problem = self.kernel.problem;
        let mut sum = 0.0;
        if problem.reads_one_class() {
            for row in rows {
                sum += self.one_class(s, row, scratch);
            }
        } else if problem.renormalise != Renormalise::No {
            for row in rows {
                sum += self.renormalised(s, row, scratch);
            }
        } else if problem.classes <= NARROW {
            for rows in batches(rows, LANES) {
                sum += self.narrow(s, rows, scratch);
            }
        } else {
            for row in rows {
                sum += self.wide(s, row, scratch);
            }
        }
        Totals { cross_entropy: sum, ..Totals::default() }
    }
}

impl Problem {
    /// Whether a row has no other element than that of its target.
    pub(crate) fn reads_one_class(&self) -> bool {
        let of_classes = self.has_class_targets();
        of_classes && self.label_smoothing == 0.0 && self.renormalise == Renormalise::No
    }

    /// What label smoothing leaves of a target, and what it adds; binary terms do so themselves.
    fn smoothed(&self) -> (f32, f32) {
        let smoothing = match self.operation {
            Operation::BinaryCrossEntropy => 0.0,
            _ => self.label_smoothing,
        };
        ((1.0 - smoothing) as f32, (smoothing / self.classes as f64) as f32)
    }

    /// Nats in the unit of the loss, inverted.
    pub(crate) fn per_unit(&self) -> f64 {
        match self.unit {
            Unit::Nats => 1.0,
            Unit::Bits => std::f64::consts::LOG2_E,
        }
    }
}

impl Elements<'_> {
    /// What the sum over a row is multiplied by for the loss.
    pub(super) fn weight(&self, row: usize) -> f64 {
        self.kernel.row_weight(row) * self.kernel.problem.per_unit()
    }

    /// What the derivatives of a row are multiplied by for the gradient, but for upstream gradients of
    /// single elements.
    pub(super) fn unit(&self, row: usize) -> f64 {
        let upstream = match self.kernel.call.dloss {
            Some(dloss) if dloss.per != Per::Element => {
                let row = if dloss.per == Per::Row { row } else { 0 };
                memory::get::<f32>(dloss.data, row).into()
            }
            _ => 1.0,
        };
        self.weight(row) * self.kernel.scale.cross_entropy * upstream
    }

    /// Writes the loss of a row where rows have one, and gives what it adds to the total.
    pub(super) fn finish(&self, row: usize, sum: f64) -> f64 {
        self.finish_weighted(row, times(self.weight(row), sum))
    }

    fn finish_weighted(&self, row: usize, sum: f64) -> f64 {
        if let (Some(loss), Per::Row) = (self.kernel.call.loss, Per::loss(self.kernel.problem)) {
            let of_row = times(sum, self.kernel.scale.cross_entropy);
            memory::set(loss, row, of_row as f32);
        }
        sum
    }

    /// A buffer of one number for each element.
    fn of_elements(&self, data: *const u8) -> Strided {
        let (classes, inner) = (self.kernel.problem.classes, self.kernel.call.inner);
        Strided {
            data: data.cast_mut(),
            dtype: crate::DType::F32,
            strides: [classes * inner, inner, 1],
        }
    }

    /// Where the losses of elements go.
    fn losses(&self) -> Option<Strided> {
        let of_elements = self.kernel.problem.reduction == Reduction::Elements;
        self.kernel.call.loss.filter(|_| of_elements).map(|data| self.of_elements(data))
    }

    /// The upstream gradients of elements.
    fn upstream(&self) -> Option<Strided> {
        let dloss = self.kernel.call.dloss.filter(|dloss| dloss.per == Per::Element)?;
        Some(self.of_elements(dloss.data))
    }

    /// A row that is not counted, whatever its weight.
    #[inline(always)]
    pub(super) fn ignored<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) -> f64 {
        self.kernel.fill_gradient(s, row, 0..self.kernel.problem.classes, 0.0, scratch);
        self.finish_weighted(row, 0.0)
    }

    /// A row of which only the element of its class counts.
    #[inline(always)]
    fn one_class<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) -> f64 {
        let (kernel, call) = (self.kernel, self.kernel.call);
        let Some(target) = kernel.target(row) else { return self.ignored(s, row, scratch) };
        let class = target.class();
        let x = call.logits.row(row, call.inner).get(class);
        let (mut slope, mut loss) = ([Lanes([x; LANES])], [Lanes([1.0; LANES])]);
        self.term.run(Evaluate { s, x: &mut slope, t: &mut loss, w: None, v: None });
        let ([slope, ..], [loss, ..]) = (slope[0].0, loss[0].0);
        let weight = kernel.class_weight(class);
        if let Some(dlogits) = call.dlogits {
            let to = dlogits.row(row, call.inner);
            // Rounded as that of a row that has all of its elements.
            let slope = times(weight, slope.into()) as f32;
            let slope = times(slope.into(), (self.unit(row) as f32).into()) as f32;
            let Scratch { g, writer, .. } = scratch;
            g.iter_mut().for_each(|lanes| lanes.0.fill(0.0));
            for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
                let numbers = InMemory::new(&g[..len.div_ceil(LANES)], len);
                let special = (first..first + len).contains(&class);
                let special = special.then(|| (class - first, slope));
                writer.write_from_memory(s, &to, first, &numbers, special);
            }
        }
        self.finish(row, times(weight, loss.into()))
    }

    /// A long row.
    #[inline(always)]
    fn wide<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) -> f64 {
        let (kernel, call) = (self.kernel, self.kernel.call);
        let target = match self.target(row) {
            Ok(target) => target,
            Err(Ignored) => return self.ignored(s, row, scratch),
        };
        let logits = call.logits.row(row, call.inner);
        let (mut sum, unit, weight) = (0.0, self.unit(row), self.weight(row));
        let mut line = Lanes([0; LANES]);
        let mut of_losses = Writer::new(false, &mut line);
        for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
            let blocks = len.div_ceil(LANES);
            let x = &mut scratch.y[..blocks];
            logits.load(s, first, len, 0.0, x);
            self.evaluate_chunk(s, row, target, first, len, scratch);
            sum += chunk::exact_sum(s, &scratch.u[..blocks]);
            if let Some(losses) = self.losses() {
                let map =
                    Affine { factor: (weight * kernel.scale.cross_entropy) as f32, term: -0.0 };
                let numbers = InMemory::mapped(&scratch.u[..blocks], len, map);
                let to = losses.row(row, call.inner);
                of_losses.write_from_memory(s, &to, first, &numbers, None);
            }
            if let Some(dlogits) = call.dlogits {
                let Scratch { y, e, writer, .. } = &mut *scratch;
                if let Some(upstream) = self.upstream() {
                    upstream.row(row, call.inner).load(s, first, len, 0.0, &mut e[..blocks]);
                    multiply(s, &e[..blocks], &mut y[..blocks]);
                }
                scale(s, unit as f32, &mut y[..blocks]);
                let numbers = InMemory::new(&y[..blocks], len);
                writer.write_from_memory(s, &dlogits.row(row, call.inner), first, &numbers, None);
            }
        }
        self.finish(row, sum)
    }

    /// Replaces a chunk of x by derivatives, and puts losses beside them: 0 behind the end.
    #[inline(always)]
    pub(super) fn evaluate_chunk<S: Simd>(
        &self,
        s: S,
        row: usize,
        target: Option<Target>,
        first: usize,
        len: usize,
        scratch: &mut Scratch,
    ) {
        let (kernel, call) = (self.kernel, self.kernel.call);
        let blocks = len.div_ceil(LANES);
        let Scratch { y: x, e: w, g, slope: v, u: t, .. } = scratch;
        let (x, t, w, v) = (&mut x[..blocks], &mut t[..blocks], &mut w[..blocks], &mut v[..blocks]);
        self.load_targets(s, target, first, len, t);
        if let Some(weights) = kernel.class_weights {
            weights.load(s, first, len, 0.0, w);
        }
        if let Some(weights) = call.element_weights {
            let g = &mut g[..blocks];
            let to = if kernel.class_weights.is_some() { &mut *g } else { &mut *w };
            weights.row(row, call.inner).load(s, first, len, 0.0, to);
            if kernel.class_weights.is_some() {
                multiply(s, g, w);
            }
        }
        if let Some(weights) = call.pos_weights {
            Row::of(weights).load(s, first, len, 0.0, v);
        }
        let weighted = kernel.class_weights.is_some() || call.element_weights.is_some();
        let (w, v) = (weighted.then_some(&*w), call.pos_weights.map(|_| &*v));
        self.term.run(Evaluate { s, x, t, w, v });
        chunk::pad(t, len, 0.0);
    }

    /// Reads a chunk of targets, smoothed; 0 where there are none.
    #[inline(always)]
    pub(super) fn load_targets<S: Simd>(
        &self,
        s: S,
        target: Option<Target>,
        first: usize,
        len: usize,
        to: &mut [Lanes],
    ) {
        let (keep, share) = self.kernel.problem.smoothed();
        match target {
            None => to.iter_mut().for_each(|to| to.0.fill(0.0)),
            Some(Target::Probabilities(q)) => {
                q.load(s, first, len, 0.0, to);
                smooth(s, keep, share, to);
            }
            Some(Target::Class(class)) => {
                to.iter_mut().for_each(|to| to.0.fill(share));
                if (first..first + len).contains(&class) {
                    chunk::set(to, class - first, keep + share);
                }
            }
        }
    }

    /// At most 32 short rows.
    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, rows: Range<usize>, scratch: &mut Scratch) -> f64 {
        let (kernel, call) = (self.kernel, self.kernel.call);
        let (classes, inner) = (kernel.problem.classes, call.inner);
        let (keep, share) = kernel.problem.smoothed();
        let (mut unit, mut weight) = (Lanes([0.0; LANES]), Lanes([0.0; LANES]));
        let (mut counted, mut all) = ([true; LANES], true);
        for (lane, row) in rows.clone().enumerate() {
            unit.0[lane] = self.unit(row) as f32;
            weight.0[lane] = (self.weight(row) * kernel.scale.cross_entropy) as f32;
        }
        let Scratch { y: x, e: w, g: flat, slope: v, u: t, .. } = &mut *scratch;
        t[..classes].iter_mut().for_each(|t| t.0.fill(share));
        if kernel.problem.has_targets() && kernel.problem.targets_are_probabilities() {
            read(s, &call.targets, inner, &rows, classes, None, flat, t);
            smooth(s, keep, share, &mut t[..classes]);
        } else if kernel.problem.has_targets() {
            for (lane, row) in rows.clone().enumerate() {
                match kernel.target(row) {
                    Some(target) => t[target.class()].0[lane] = keep + share,
                    None => {
                        (counted[lane], all) = (false, false);
                        (unit.0[lane], weight.0[lane]) = (0.0, 0.0);
                    }
                }
            }
        }
        let wanted = (!all).then_some(&counted);
        read(s, &call.logits, inner, &rows, classes, wanted, flat, x);
        match call.element_weights {
            Some(weights) => read(s, &weights, inner, &rows, classes, None, flat, w),
            None => w[..classes].iter_mut().for_each(|w| w.0.fill(1.0)),
        }
        for class in 0..classes {
            if let Some(weights) = kernel.class_weights {
                scale(s, weights.get(class), &mut w[class..=class]);
            }
            if let Some(weights) = call.pos_weights {
                v[class].0.fill(Row::of(weights).get(class));
            }
        }
        let weighted = kernel.class_weights.is_some() || call.element_weights.is_some();
        self.term.run(Evaluate {
            s,
            x: &mut x[..classes],
            t: &mut t[..classes],
            w: weighted.then_some(&w[..classes]),
            v: call.pos_weights.map(|_| &v[..classes]),
        });
        for lane in (0..LANES).filter(|&lane| !counted[lane]) {
            for lanes in x[..classes].iter_mut().chain(&mut t[..classes]) {
                lanes.0[lane] = 0.0;
            }
        }
        let mut sums = [0.0; LANES];
        for t in &t[..classes] {
            for (sum, loss) in sums.iter_mut().zip(t.0) {
                *sum += f64::from(loss);
            }
        }
        self.narrow_outputs(s, &rows, &unit, &weight, scratch);
        let mut total = 0.0;
        for (lane, row) in rows.enumerate() {
            total += match counted[lane] {
                true => self.finish(row, sums[lane]),
                false => self.finish_weighted(row, 0.0),
            };
        }
        total
    }

    /// Writes losses of elements and gradients of short rows.
    #[inline(always)]
    fn narrow_outputs<S: Simd>(
        &self,
        s: S,
        rows: &Range<usize>,
        unit: &Lanes,
        weight: &Lanes,
        scratch: &mut Scratch,
    ) {
        let (call, classes) = (self.kernel.call, self.kernel.problem.classes);
        let Scratch { y: slope, e, g: flat, u: loss, writer, .. } = scratch;
        if let Some(losses) = self.losses() {
            for loss in &mut loss[..classes] {
                multiply(s, std::slice::from_ref(weight), std::slice::from_mut(loss));
            }
            let mut line = Lanes([0; LANES]);
            let mut writer = Writer::new(false, &mut line);
            write(s, &losses, call.inner, rows, classes, None, loss, flat, &mut writer);
        }
        let Some(dlogits) = call.dlogits else { return };
        if let Some(upstream) = self.upstream() {
            read(s, &upstream, call.inner, rows, classes, None, flat, e);
            multiply(s, &e[..classes], &mut slope[..classes]);
        }
        for slope in &mut slope[..classes] {
            multiply(s, std::slice::from_ref(unit), std::slice::from_mut(slope));
        }
        write(s, &dlogits, call.inner, rows, classes, None, slope, flat, writer);
    }

    /// The target of a row, if the operation has any.
    pub(super) fn target(&self, row: usize) -> Result<Option<Target>, Ignored> {
        if !self.kernel.problem.has_targets() {
            return Ok(None);
        }
        self.kernel.target(row).map(Some).ok_or(Ignored)
    }
}

/// What a row is that is not counted.
pub(super) struct Ignored;

/// Replaces x by derivatives and t by losses.
struct Evaluate<'a, S> {
    s: S,
    x: &'a mut [Lanes],
    t: &'a mut [Lanes],
    /// Weights of the losses, and of their positive parts.
    w: Option<&'a [Lanes]>,
    v: Option<&'a [Lanes]>,
}

impl<S: Simd> WithTerm for Evaluate<'_, S> {
    #[inline(always)]
    fn with<T: Term>(self, term: T) {
        self.s.call(EvaluateTerm { of: self, term });
    }
}

/// The same with a term, in a function of its own.
struct EvaluateTerm<'a, S, T> {
    of: Evaluate<'a, S>,
    term: T,
}

impl<S: Simd, T: Term> Vectorised for EvaluateTerm<'_, S, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self, s: V) {
        let EvaluateTerm { of: Evaluate { x, t, w, v, .. }, term } = self;
        for (index, (x, t)) in x.iter_mut().zip(t).enumerate() {
            let (mut slope, mut loss) = (s.load(&x.0), s.load(&t.0));
            let v = v.map_or(s.fill(1.0), |v| s.load(&v[index].0));
            for register in 0..v.as_ref().len() {
                let (x, t) = (slope.as_ref()[register], loss.as_ref()[register]);
                let (a, b) = term.at(s, x, t, v.as_ref()[register]);
                (loss.as_mut()[register], slope.as_mut()[register]) = (a, b);
            }
            if let Some(w) = w {
                let w = s.load(&w[index].0);
                for (register, &w) in w.as_ref().iter().enumerate() {
                    let (a, b) = (loss.as_ref()[register], slope.as_ref()[register]);
                    loss.as_mut()[register] = product(s, w, a);
                    slope.as_mut()[register] = product(s, w, b);
                }
            }
            s.store(slope, &mut x.0);
            s.store(loss, &mut t.0);
        }
    }
}

/// Multiplies by other numbers, with 0 times infinity as 0.
#[inline(always)]
pub(super) fn multiply<S: Simd>(s: S, by: &[Lanes], x: &mut [Lanes]) {
    for (x, by) in x.iter_mut().zip(by) {
        let (mut block, by) = (s.load(&x.0), s.load(&by.0));
        for (x, &by) in block.as_mut().iter_mut().zip(by.as_ref()) {
            *x = product(s, *x, by);
        }
        s.store(block, &mut x.0);
    }
}

/// Multiplies by a number, with 0 times infinity as 0.
#[inline(always)]
pub(super) fn scale<S: Simd>(s: S, by: f32, x: &mut [Lanes]) {
    for x in x {
        multiply(s, &[Lanes([by; LANES])], std::slice::from_mut(x));
    }
}

/// Smooths targets: t keep + share.
#[inline(always)]
fn smooth<S: Simd>(s: S, keep: f32, share: f32, t: &mut [Lanes]) {
    if (keep, share) == (1.0, 0.0) {
        return;
    }
    for t in t {
        let mut block = s.load(&t.0);
        for t in block.as_mut() {
            *t = s.mul_add(*t, s.splat(keep), s.splat(share));
        }
        s.store(block, &mut t.0);
    }
}
