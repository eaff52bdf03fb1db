//! The gradient of one row: dz/dx (p sum(u) - u), plus the part of the z-loss.

use std::ops::Range;

use super::chunk::{self, COLUMNS};
use super::finish::{Rows, Softmax};
use super::keep::Kept;
use super::kernel::{Kernel, Target};
use super::math::{Exponential, HEADROOM, MAX_ABOVE};
use super::memory::{self, Element, Row, with_element};
use super::numbers::{Affine, Exponentials, InMemory};
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Level, Simd, Vectorised, lanes_of};
use super::waiting::{Of, Waiting};
use super::writer::{Special, Writer};
use crate::call::Per;

/// What the classes of rows share: the gradient is `factor` e - `of_u` u, where e are exponentials and u
/// the probabilities, or the weights of label smoothing.
#[derive(Clone, Copy)]
pub(super) struct Terms<const N: usize = 1> {
    pub factor: [f32; N],
    pub of_u: [f32; N],
    /// The exponential of the largest logit.
    pub largest: [f32; N],
    /// Whether exponentials are first multiplied by [`LOWERED`], because the factor would be too small
    /// for an `f32`.
    pub lowered: [bool; N],
    /// Whether those can be used that were kept: no result can be so small that it depends on the
    /// reference.
    pub ordinary: [bool; N],
    /// Upstream gradient, times the row's weight, over the denominator.
    unit: [f64; N],
    /// Factor of p that comes from the z-loss.
    z_part: [f64; N],
    /// Sum of exp(z - z(m)) without one maximum.
    s: [f64; N],
    /// sum(u) of probability targets.
    mass: [f64; N],
    /// What the class of the target adds to its u.
    hit: [f64; N],
    /// What label smoothing adds to u of a class of weight 1.
    even: [f64; N],
    /// dz/dx, where it is the same for all classes; else 1.
    slope: f64,
}

/// Brings the largest exponential that there can be to about 1.
const LOWERED: f32 = 1.0 / (1u128 << (HEADROOM + MAX_ABOVE as i32)) as f32;

impl Kernel<'_> {
    #[inline(always)]
    fn write_gradient<S: Simd>(&self, s: S, work: Gradient) {
        let Gradient { row, columns, target, softmax, scratch, kept, .. } = work;
        let Some(dlogits) = self.call.dlogits else { return };
        let own = self.squash.reference(softmax.y[0]);
        let of_kept = kept.and_then(Kept::reference);
        let mut reference = of_kept.unwrap_or(own);
        let made = loop {
            let exponential = self.squash.exponential(s, reference);
            let (rows, largest) = (self.one_row(row, target), [exponential.of(s, softmax.y[0])]);
            let terms = self.terms(&rows, &softmax, &largest);
            if terms.ordinary[0] || reference == own {
                break OneRow {
                    logits: self.call.logits.row(row, self.call.inner),
                    dlogits: dlogits.row(row, self.call.inner),
                    columns,
                    target,
                    rows,
                    shift: softmax.shift,
                    reference,
                    exponential,
                    terms,
                };
            }
            reference = own;
        };
        let kept = kept.filter(|_| made.terms.ordinary[0]);
        if let (Some(kept), Some(_)) = (kept, of_kept) {
            let e = [chunk::get(kept.e, target.class())];
            let [at_target] = self.at_target(s, &made.rows, &made.terms, &e);
            if self.write_kept(s, row, target, made.terms, at_target, kept, &mut scratch.writer) {
                return;
            }
        }
        if let (Target::Class(class), Some(map)) = (target, self.map(&made.terms)) {
            let identity = self.squash.is_identity(softmax.shift);
            if made.logits.stride == 1 && identity && !made.terms.lowered[0] {
                return self.write_direct(s, made, class, map, &mut scratch.writer);
            }
        }
        self.write_chunks(s, made, kept, scratch);
    }

    /// Writes the gradient of a row of which all exponentials are kept, or lets it wait; says whether it
    /// can. `at_target`: what it is at the class of the target, before slopes.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn write_kept<S: Simd>(
        &self,
        s: S,
        row: usize,
        target: Target,
        terms: Terms,
        at_target: f32,
        kept: &Kept,
        writer: &mut Writer,
    ) -> bool {
        let has_slopes = self.squash.has_slopes();
        let of = match target {
            Target::Class(class) => {
                let Some(map) = self.map(&terms) else { return false };
                let slope = if has_slopes { chunk::get(kept.slope, class) } else { 1.0 };
                Of::Class { map, special: Some((class, at_target * slope)) }
            }
            Target::Probabilities(probabilities) => {
                let Some(mix) = self.plain_mix() else { return false };
                if probabilities.stride != 1 || has_slopes {
                    return false;
                }
                Of::Probabilities { probabilities, mix, terms }
            }
        };
        let Some(dlogits) = self.call.dlogits else { return false };
        let (row, classes) = (dlogits.row(row, self.call.inner), self.problem.classes);
        writer.write_or_wait(s, Waiting { row, place: kept.place, classes, of }, kept);
        true
    }

    /// Writes a gradient of logits as they are, without a detour through scratch memory.
    #[inline(always)]
    fn write_direct<S: Simd>(
        &self,
        s: S,
        made: OneRow<S>,
        class: usize,
        map: Affine,
        writer: &mut Writer,
    ) {
        let e = made.exponential.of(s, made.logits.get(class));
        let special = self.special(s, &made, class, e);
        with_element!(made.logits.dtype, T => made.write_exponentials::<T>(s, map, special, writer));
    }

    /// The gradient at the class of the target, whose exponential is e, if it is one of the columns.
    #[inline(always)]
    fn special<S: Simd>(&self, s: S, made: &OneRow<S>, class: usize, e: f32) -> Special {
        let [value] = self.at_target(s, &made.rows, &made.terms, &[e]);
        let Range { start, end } = made.columns;
        (start..end).contains(&class).then(|| (class - start, value))
    }

    /// Writes a gradient chunk by chunk.
    #[inline(always)]
    fn write_chunks<S: Simd>(
        &self,
        s: S,
        made: OneRow<S>,
        kept: Option<&Kept>,
        scratch: &mut Scratch,
    ) {
        let OneRow { logits, dlogits, columns, target, rows, shift, reference, .. } = made;
        let (terms, exponential) = (made.terms, made.exponential);
        for (first, len) in Self::chunks(columns) {
            let blocks = len.div_ceil(LANES);
            let Scratch { y, e, g, u, slope: slopes, writer } = &mut *scratch;
            let (y, g, u) = (&mut y[..blocks], &mut g[..blocks], &mut u[..blocks]);
            let kept = kept.filter(|kept| kept.references[first / COLUMNS] == reference);
            let (e, slopes) = match kept {
                Some(kept) => {
                    let blocks = first / LANES..first / LANES + blocks;
                    (&kept.e[blocks.clone()], kept.slope.get(blocks).unwrap_or(&[]))
                }
                None => {
                    let (e, slopes) = (&mut e[..blocks], &mut slopes[..blocks]);
                    self.load(s, shift, logits, first, len, y, slopes);
                    let ahead = logits.ahead(first + len, Level::First);
                    chunk::exponentials(s, &exponential, y, e, ahead, None);
                    if terms.lowered[0] {
                        chunk::scale(s, LOWERED, e);
                    }
                    (&*e, &*slopes)
                }
            };
            let (factor, of_u) = (terms.factor[0], terms.of_u[0]);
            match (target, self.class_weights) {
                (Target::Probabilities(q), _) => {
                    self.mix(s, q, first, len, u);
                    chunk::less_weighted(s, e, factor, u, of_u, g);
                    at_maxima(s, &terms, e, u, g);
                }
                (Target::Class(_), Some(weights)) if self.problem.label_smoothing != 0.0 => {
                    weights.load(s, first, len, 0.0, u);
                    chunk::less_weighted(s, e, factor, u, of_u, g);
                }
                (Target::Class(_), _) => chunk::less(s, e, factor, of_u, g),
            }
            if let Target::Class(class) = target
                && (first..first + len).contains(&class)
            {
                let [value] = self.at_target(s, &rows, &terms, &[chunk::get(e, class - first)]);
                chunk::set(g, class - first, value);
            }
            if self.squash.has_slopes() {
                chunk::multiply(s, slopes, g);
            }
            writer.write_from_memory(s, &dlogits, first, &InMemory::new(g, len), None);
        }
    }

    /// The function from exponentials to the gradient before slopes, where it is the same for all classes
    /// but that of the target.
    fn map(&self, terms: &Terms) -> Option<Affine> {
        let weighted = self.class_weights.is_some() && self.problem.label_smoothing != 0.0;
        let map = Affine { factor: terms.factor[0], term: -terms.of_u[0] };
        (!weighted).then_some(map)
    }

    /// Writes the same value for every class.
    #[inline(always)]
    pub(super) fn fill_gradient<S: Simd>(
        &self,
        s: S,
        row: usize,
        columns: Range<usize>,
        value: f32,
        scratch: &mut Scratch,
    ) {
        let Some(dlogits) = self.call.dlogits else { return };
        let dlogits = dlogits.row(row, self.call.inner);
        let Scratch { g, writer, .. } = scratch;
        g.iter_mut().for_each(|lanes| lanes.0.fill(value));
        for (first, len) in Self::chunks(columns) {
            let numbers = InMemory::new(&g[..len.div_ceil(LANES)], len);
            writer.write_from_memory(s, &dlogits, first, &numbers, None);
        }
    }

    /// The terms of rows with a softmax. `largest`: the exponentials of their largest logits.
    #[inline(always)]
    pub(super) fn terms<const N: usize>(
        &self,
        rows: &Rows<N>,
        softmax: &Softmax<N>,
        largest: &[f32; N],
    ) -> Terms<N> {
        let (problem, smoothing) = (self.problem, self.problem.label_smoothing);
        let mut upstream = [1.0; N];
        if let Some(dloss) = self.call.dloss {
            for (row, upstream) in upstream[..rows.len].iter_mut().enumerate() {
                let row = if dloss.per == Per::Row { rows.first + row } else { 0 };
                *upstream = memory::get::<f32>(dloss.data, row).into();
            }
        }
        let (mut unit, mut z_part) = ([0.0; N], [0.0; N]);
        for row in 0..N {
            unit[row] = upstream[row] * self.scale.cross_entropy;
        }
        if problem.z_loss != 0.0 {
            for row in 0..N {
                let factor = 2.0 * problem.z_loss * softmax.lse[row];
                z_part[row] = upstream[row] * self.scale.z_loss * factor;
            }
        }
        if self.call.row_weights.is_some() {
            for (row, unit) in unit[..rows.len].iter_mut().enumerate() {
                *unit *= self.row_weight(rows.first + row);
            }
        }
        let share = smoothing / problem.classes as f64;
        let (mut hit, mut even) = ([0.0; N], [0.0; N]);
        let (mut of_p, mut of_u) = ([0.0; N], [0.0; N]);
        for row in 0..N {
            if problem.targets_are_probabilities() {
                of_p[row] = unit[row] * softmax.mass[row] + z_part[row];
                of_u[row] = unit[row];
            } else {
                hit[row] = unit[row] * (1.0 - smoothing) * rows.weights[row];
                even[row] = unit[row] * share;
                of_p[row] = hit[row] + even[row] * self.weight_sum + z_part[row];
                of_u[row] = even[row];
            }
        }

        let slope = self.squash.constant_slope();
        let mut terms = Terms {
            factor: [0.0; N],
            of_u: [0.0; N],
            largest: *largest,
            lowered: [false; N],
            ordinary: [false; N],
            unit,
            z_part,
            s: softmax.s,
            mass: softmax.mass,
            hit,
            even,
            slope,
        };
        for row in 0..N {
            let norm = (1.0 + softmax.s[row]) * f64::from(largest[row]);
            let factor = of_p[row] * slope / norm;
            let lowered = factor.abs() < 2f64.powi(-100);
            let by = if lowered { LOWERED } else { 1.0 };
            let raised = if lowered { factor / f64::from(LOWERED) } else { factor };
            terms.factor[row] = raised as f32;
            // A 0 is +0: subtracting that keeps the sign of another 0.
            let of_u = (of_u[row] * slope) as f32;
            terms.of_u[row] = if of_u == 0.0 { 0.0 } else { of_u };
            terms.largest[row] *= by;
            terms.lowered[row] = lowered;
            terms.ordinary[row] = !lowered && factor.abs() < 2f64.powi(-30);
        }
        terms
    }

    /// The gradients at the classes of targets, before slopes, from their exponentials: at a maximum,
    /// p - 1 is formed without cancellation.
    #[inline(always)]
    pub(super) fn at_target<const N: usize, S: Simd>(
        &self,
        s: S,
        rows: &Rows<N>,
        terms: &Terms<N>,
        e: &[f32; N],
    ) -> [f32; N] {
        let (mut near, mut less) = ([0.0; N], [0.0; N]);
        for row in 0..N {
            let (hit, even) = (terms.hit[row], terms.even[row] * rows.weights[row]);
            let others = terms.even[row] * self.weight_sum + terms.z_part[row];
            let of_p = (others - hit * terms.s[row]) / (1.0 + terms.s[row]);
            near[row] = ((of_p - even) * terms.slope) as f32;
            less[row] = (-(hit + even) * terms.slope) as f32;
        }
        let mut values = mul_add(s, e, &terms.factor, &less);
        for row in 0..N {
            values[row] = if e[row] == terms.largest[row] { near[row] } else { values[row] };
        }
        values
    }
}

/// A row whose gradient is written, and what that takes.
struct OneRow<S: Simd> {
    logits: Row,
    dlogits: Row,
    columns: Range<usize>,
    target: Target,
    rows: Rows<1>,
    /// What is subtracted to make y.
    shift: f32,
    /// That of its exponentials.
    reference: f32,
    exponential: Exponential<S>,
    terms: Terms,
}

impl<S: Simd> OneRow<S> {
    #[inline(always)]
    fn write_exponentials<T: Element>(
        self,
        s: S,
        map: Affine,
        special: Special,
        writer: &mut Writer,
    ) {
        let (first, exponential) = (self.columns.start, self.exponential);
        let numbers =
            Exponentials { logits: self.logits.packed::<T>(self.columns), exponential, map };
        writer.write(s, &self.dlogits, first, &numbers, special);
    }
}

/// a b + c, rounded as in vectors.
#[inline(always)]
fn mul_add<const N: usize, S: Simd>(s: S, a: &[f32; N], b: &[f32; N], c: &[f32; N]) -> [f32; N] {
    let mut result = *c;
    if let ([a], [b], [c]) = (&a[..], &b[..], &c[..]) {
        result[0] = s.first(s.mul_add(s.splat(*a), s.splat(*b), s.splat(*c)));
        return result;
    }
    let (mut a, b, c) = (s.load(&widened(a)), s.load(&widened(b)), s.load(&widened(c)));
    for (a, (b, c)) in a.as_mut().iter_mut().zip(b.as_ref().iter().zip(c.as_ref())) {
        *a = s.mul_add(*a, *b, *c);
    }
    let mut lanes = [0.0; LANES];
    s.store(a, &mut lanes);
    result.copy_from_slice(&lanes[..N]);
    result
}

/// A block that begins with these numbers.
#[inline(always)]
fn widened<const N: usize>(x: &[f32; N]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes[..N].copy_from_slice(x);
    lanes
}

/// Writes the gradient of some columns of a counted row with a softmax.
pub(super) struct Gradient<'a, 'b, 'c> {
    pub kernel: &'a Kernel<'a>,
    pub row: usize,
    pub columns: Range<usize>,
    pub target: Target,
    pub softmax: Softmax,
    pub scratch: &'a mut Scratch<'b>,
    pub kept: Option<&'a Kept<'c>>,
}

impl Vectorised for Gradient<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.kernel.write_gradient(s, self);
    }
}

/// The gradient of probabilities at all maxima of a chunk.
#[inline(always)]
fn at_maxima<S: Simd>(s: S, terms: &Terms, e: &[Lanes], u: &[Lanes], g: &mut [Lanes]) {
    let largest = s.splat(terms.largest[0]);
    for ((e, u), g) in e.iter().zip(u).zip(g) {
        let maxima = s.find(s.load(&e.0), largest);
        if maxima != 0 {
            s.store(terms.at_maxima(s, maxima, s.load(&u.0), s.load(&g.0)), &mut g.0);
        }
    }
}

impl Terms {
    /// The gradient of a block, with that of probabilities at its maxima. What is 1 at one class and 0
    /// elsewhere gives the bits of that class.
    #[inline(always)]
    pub(super) fn at_maxima<S: Simd>(
        &self,
        s: S,
        maxima: u32,
        u: S::Block,
        g: S::Block,
    ) -> S::Block {
        let [mut of_u, mut of_g] = [[0.0; LANES]; 2];
        s.store(u, &mut of_u);
        s.store(g, &mut of_g);
        for lane in lanes_of(maxima) {
            let u = of_u[lane];
            if u != 0.0 {
                of_g[lane] = self.at_maximum(0, u.into());
            }
        }
        s.load(&of_g)
    }
}

impl<const N: usize> Terms<N> {
    /// Those of one row.
    pub(super) fn of(&self, row: usize) -> Terms {
        Terms {
            factor: [self.factor[row]],
            of_u: [self.of_u[row]],
            largest: [self.largest[row]],
            lowered: [self.lowered[row]],
            ordinary: [self.ordinary[row]],
            unit: [self.unit[row]],
            z_part: [self.z_part[row]],
            s: [self.s[row]],
            mass: [self.mass[row]],
            hit: [self.hit[row]],
            even: [self.even[row]],
            slope: self.slope,
        }
    }

    /// The gradient at a maximum of a row, before slopes, for a u of probabilities.
    #[inline(always)]
    pub(super) fn at_maximum(&self, row: usize, u: f64) -> f32 {
        let of_u = self.unit[row] * (self.mass[row] - u - u * self.s[row]);
        ((of_u + self.z_part[row]) / (1.0 + self.s[row]) * self.slope) as f32
    }
}
