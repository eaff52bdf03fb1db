//! Cases that are other ones, changed, and what their results are then.

use xent::{DType, Denominator, Outputs, Reduction};

use crate::common::placed::Bits;
use crate::common::{Case, Output, Target};

/// The case with some of its rows, in this order.
pub fn take_rows(case: &Case, rows: &[usize]) -> Case {
    fn pick<T: Copy>(column: &[T], rows: &[usize], width: usize) -> Vec<T> {
        rows.iter().flat_map(|row| column[row * width..(row + 1) * width].to_vec()).collect()
    }
    let classes = case.problem.classes;
    let mut taken = case.clone();
    taken.rows = rows.len();
    taken.logits = pick(&case.logits, rows, classes);
    taken.target = match &case.target {
        Target::Classes(y) => Target::Classes(pick(y, rows, 1)),
        Target::Probabilities(q) => Target::Probabilities(pick(q, rows, classes)),
    };
    taken.row_weights = case.row_weights.as_ref().map(|w| pick(w, rows, 1));
    taken.dloss = case.dloss.as_ref().map(|dloss| match per_row(case) {
        true => pick(dloss, rows, 1),
        false => dloss.clone(),
    });
    taken
}

/// Whether the upstream gradient has one value for each row.
pub fn per_row(case: &Case) -> bool {
    case.problem.reduction == Reduction::None && case.dloss.as_ref().is_some_and(|d| d.len() != 1)
}

/// What the rows of a run say, in this order; without what is one value for all.
pub fn bits_of_rows(case: &Case, bits: &Bits, rows: &[usize]) -> Bits {
    let pick = |column: &[u64], width: usize| {
        rows.iter().flat_map(|row| column[row * width..(row + 1) * width].to_vec()).collect()
    };
    let none = case.problem.reduction == Reduction::None;
    Bits {
        loss: if none { pick(&bits.loss, 1) } else { bits.loss.clone() },
        lse: pick(&bits.lse, 1),
        stats: pick(&bits.stats, 2),
        dlogits: pick(&bits.dlogits, case.problem.classes),
        argmax: pick(&bits.argmax, 1),
        correct: bits.correct.clone(),
        entropy: pick(&bits.entropy, 1),
    }
}

/// The same targets as probabilities: 1 at the class, 0 elsewhere.
pub fn one_hot(case: &Case, targets: DType) -> Case {
    let classes = case.problem.classes;
    let Target::Classes(y) = &case.target else { panic!("no class indices") };
    let q = y.iter().flat_map(|&y| (0..classes).map(move |c| f64::from(u8::from(c as i64 == y))));
    let mut soft = case.clone();
    soft.target = Target::Probabilities(q.collect());
    soft.problem.targets = targets;
    soft
}

/// The mean over one-hot rows divides by their number, not by their weights; so both say it.
pub fn by_rows(mut case: Case) -> Case {
    if case.problem.reduction == Reduction::Mean {
        case.denominator = Denominator::Value(case.rows as f64);
    }
    case
}

/// The case with column `from[c]` as its column c.
pub fn permute_columns(case: &Case, from: &[usize]) -> Case {
    let classes = case.problem.classes;
    let columns = |matrix: &[f64]| -> Vec<f64> {
        matrix.chunks(classes).flat_map(|row| from.iter().map(|&c| row[c])).collect()
    };
    let to = |class: i64| from.iter().position(|&c| c as i64 == class).unwrap() as i64;
    let mut permuted = case.clone();
    permuted.logits = columns(&case.logits);
    permuted.target = match &case.target {
        Target::Classes(y) => Target::Classes(y.iter().map(|&y| to(y)).collect()),
        Target::Probabilities(q) => Target::Probabilities(columns(q)),
    };
    permuted.class_weights =
        case.class_weights.as_ref().map(|w| from.iter().map(|&c| w[c]).collect());
    permuted
}

/// The largest element of each row is there more than once, in the logits or the probabilities.
pub fn has_ties(case: &Case) -> bool {
    let tied = |matrix: &[f64], sign: f64| {
        matrix.chunks(case.problem.classes).any(|row| {
            let largest = row.iter().fold(f64::NEG_INFINITY, |m, x| m.max(sign * x));
            row.iter().filter(|x| sign * **x == largest).count() > 1
        })
    };
    let sign = case.problem.logit_scale.signum();
    tied(&case.logits, sign) || matches!(&case.target, Target::Probabilities(q) if tied(q, 1.0))
}

/// All outputs of a run, with some of them from another one.
pub fn overlay(all: Output, some: Output, outputs: Outputs) -> Output {
    let has = |output| outputs.contains(output);
    Output {
        loss: if has(Outputs::LOSS) { some.loss } else { all.loss },
        lse: if has(Outputs::LSE) { some.lse } else { all.lse },
        stats: if has(Outputs::STATS) { some.stats } else { all.stats },
        dlogits: if has(Outputs::DLOGITS) { some.dlogits } else { all.dlogits },
        argmax: if has(Outputs::ARGMAX) { some.argmax } else { all.argmax },
        correct: if has(Outputs::CORRECT) { some.correct } else { all.correct },
        entropy: if has(Outputs::ENTROPY) { some.entropy } else { all.entropy },
    }
}
