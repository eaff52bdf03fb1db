//! The numbers that a cell is computed from.

use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use xent::{DType, Denominator};

use super::cell::{Cell, IGNORED, Mode, Setting};
use crate::case::{Case, Target, normal};

/// The most different rows: prime numbers, so that equal rows lie differently in memory.
const DIFFERENT: [usize; 6] = [61, 31, 13, 7, 3, 2];
/// The most elements that these have.
const ELEMENTS: usize = 1 << 21;
/// The standard deviation of the logits.
const SPREAD: f64 = 3.0;

/// Inputs of a cell: a few rows of random numbers, repeated, so that the reference has little to do and
/// every element of the result can be compared with it.
pub struct Inputs {
    pub cell: Cell,
    /// The rows that are repeated, of which the mean is that over all rows.
    pub case: Case,
    /// What that mean divides by.
    pub denominator: f64,
}

impl Inputs {
    pub fn new(cell: Cell, seed: u64) -> Inputs {
        let mut rng = StdRng::seed_from_u64(seed);
        let fitting = DIFFERENT.into_iter().find(|count| count * cell.classes <= ELEMENTS);
        let different = fitting.unwrap_or(1).min(cell.rows);
        let logits = normal(rng.random(), different * cell.classes, SPREAD);
        let mut case = Case::new(cell.problem(Mode::Fused), different, logits, rng.random());
        case.problem.outputs = cell.problem(Mode::Fused).outputs;
        if let (Setting::IgnoreIndex, Target::Classes(y)) = (cell.setting, &mut case.target) {
            y.iter_mut().skip(1).step_by(10).for_each(|y| *y = IGNORED);
        }
        let mut inputs = Inputs { cell, case, denominator: 0.0 };
        inputs.denominator = (0..cell.rows).map(|row| inputs.weight(row % different)).sum();
        inputs.case.denominator = Denominator::Value(inputs.denominator);
        inputs
    }

    /// What a row has in the denominator of the mean.
    pub fn weight(&self, row: usize) -> f64 {
        let Case { target, class_weights, row_weights, .. } = &self.case;
        let of_row = row_weights.as_ref().map_or(1.0, |w| w[row].into());
        match target {
            Target::Probabilities(_) => 1.0,
            Target::Classes(y) if y[row] == IGNORED => 0.0,
            Target::Classes(y) => {
                of_row * class_weights.as_ref().map_or(1.0, |w| f64::from(w[y[row] as usize]))
            }
        }
    }

    /// How many rows are different.
    pub fn different(&self) -> usize {
        self.case.rows
    }

    /// How many rows are equal to one of the different ones.
    pub fn count(&self, row: usize) -> usize {
        (self.cell.rows - row).div_ceil(self.different())
    }

    /// The logits as the device has them.
    pub fn logits(&self) -> Vec<u8> {
        self.repeated(bytes(&self.case.logits, self.cell.dtype))
    }

    /// The targets as the device has them.
    pub fn targets(&self) -> Vec<u8> {
        self.repeated(match &self.case.target {
            Target::Classes(y) => y.iter().flat_map(|y| y.to_ne_bytes()).collect(),
            Target::Probabilities(q) => bytes(q, self.case.problem.targets),
        })
    }

    pub fn class_weights(&self) -> Option<Vec<u8>> {
        self.case.class_weights.as_ref().map(|w| floats(w))
    }

    pub fn row_weights(&self) -> Option<Vec<u8>> {
        self.case.row_weights.as_ref().map(|w| self.repeated(floats(w)))
    }

    /// What the different rows have, for all rows.
    fn repeated(&self, of_rows: Vec<u8>) -> Vec<u8> {
        let mut all = vec![0; of_rows.len() / self.different() * self.cell.rows];
        let parts = all.par_chunks_mut(of_rows.len());
        parts.for_each(|part| part.copy_from_slice(&of_rows[..part.len()]));
        all
    }
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_ne_bytes()).collect()
}

/// Numbers in a type of logits.
fn bytes(numbers: &[f64], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F16 => numbers.iter().flat_map(|&x| f16::from_f64(x).to_ne_bytes()).collect(),
        DType::BF16 => numbers.iter().flat_map(|&x| bf16::from_f64(x).to_ne_bytes()).collect(),
        _ => numbers.iter().flat_map(|&x| (x as f32).to_ne_bytes()).collect(),
    }
}

/// The numbers that such bytes are.
pub fn numbers(bytes: &[u8], dtype: DType) -> Vec<f64> {
    let (pairs, quads) = (bytes.as_chunks().0, bytes.as_chunks().0);
    match dtype {
        DType::F16 => pairs.iter().map(|&x| f16::from_ne_bytes(x).to_f64()).collect(),
        DType::BF16 => pairs.iter().map(|&x| bf16::from_ne_bytes(x).to_f64()).collect(),
        _ => quads.iter().map(|&x| f32::from_ne_bytes(x).into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

    fn inputs(dtype: DType, rows: usize, setting: Setting) -> Inputs {
        Inputs::new(Cell { dtype, classes: 50, rows, setting }, 3)
    }

    #[test]
    fn all_rows_are_the_different_ones_repeated() {
        for dtype in TYPES {
            let inputs = inputs(dtype, 200, Setting::Probabilities);
            assert_eq!(inputs.different(), 61);
            assert_eq!((0..61).map(|row| inputs.count(row)).sum::<usize>(), 200);
            let logits = numbers(&inputs.logits(), dtype);
            let targets = numbers(&inputs.targets(), DType::F32);
            for row in 0..200 {
                let (all, one) = (row * 50..(row + 1) * 50, row % 61);
                assert_eq!(logits[all.clone()], *inputs.case.logits_row(one), "row {row}");
                assert_eq!(targets[all], targets[one * 50..(one + 1) * 50], "row {row}");
            }
        }
    }

    #[test]
    fn few_rows_are_all_different() {
        assert_eq!(inputs(DType::F32, 5, Setting::None).different(), 5);
        assert_eq!(inputs(DType::F32, 61, Setting::None).count(60), 1);
    }

    #[test]
    fn the_mean_is_over_all_rows() {
        let mean = |setting| inputs(DType::F32, 200, setting).denominator;
        assert_eq!(mean(Setting::None), 200.0);
        assert_eq!(mean(Setting::Probabilities), 200.0);
        // Rows 1, 11 .. 51 of each 61, and of the 17 that remain two.
        assert_eq!(mean(Setting::IgnoreIndex), 200.0 - 3.0 * 6.0 - 2.0);
        let weighted = inputs(DType::F32, 200, Setting::RowWeights);
        let weights = weighted.row_weights().unwrap();
        let exact: f64 = numbers(&weights, DType::F32).iter().sum();
        assert!((weighted.denominator - exact).abs() < 1e-9 * exact);
    }

    #[test]
    fn another_seed_makes_other_inputs() {
        let cell = Cell { dtype: DType::F32, classes: 10, rows: 4, setting: Setting::None };
        let logits = |seed| Inputs::new(cell, seed).logits();
        assert_eq!(logits(1), logits(1));
        assert_ne!(logits(1), logits(2));
    }
}
