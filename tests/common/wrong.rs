//! What a device does with targets that are no class.

use super::{Case, Target, on_gpu};
use xent::{Error, Reduction, Report};

impl Case {
    /// Holds a run against what is promised where these rows, the lowest first, have the same target
    /// that is no class. The CPU refuses the run. A GPU, which cannot stop for it, computes: loss and
    /// gradient of these rows are NaN, the report says so, and all else is bit for bit as if these
    /// rows were ignored.
    pub fn check_wrong_targets(&self, wrong: &[usize]) {
        let Target::Classes(y) = &self.target else { panic!("no class indices") };
        let (value, classes) = (y[wrong[0]], self.problem.classes);
        assert!(wrong.iter().all(|&row| y[row] == value));
        let error = Error::InvalidTarget { row: wrong[0], value, classes };
        if !on_gpu() {
            return assert_eq!(self.try_run(), Err(error), "{:?}", self.problem);
        }
        let (output, report) = self.run_reported();
        assert_eq!(report, Report { count: wrong.len() as i64, row: wrong[0] as i64, value });
        assert_eq!(report.check(classes), Err(error));

        let mut ignoring = self.clone();
        ignoring.problem.ignore_index = Some(value);
        let (expected, report) = ignoring.run_reported();
        assert_eq!(report, Report::default());
        assert_eq!(output.correct, expected.correct);
        let per_row = self.problem.reduction == Reduction::None;
        if !per_row {
            assert!(output.loss.iter().all(|loss| loss.is_nan()));
        }
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for row in 0..self.rows {
            let gradient = row * classes..(row + 1) * classes;
            if wrong.contains(&row) {
                assert!(!per_row || output.loss[row].is_nan(), "row {row}");
                assert!(output.dlogits[gradient].iter().all(|g| g.is_nan()), "row {row}");
                continue;
            }
            let wide = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let same = wide(&output.dlogits[gradient.clone()]) == wide(&expected.dlogits[gradient]);
            assert!(same, "the gradient of row {row}");
            let columns = |output: &super::Output| {
                let losses = if per_row { &output.loss[row..=row] } else { &[] };
                let stats = &output.stats[2 * row..2 * row + 2];
                let rest = [output.lse[row], output.entropy[row]];
                (bits(losses), bits(stats), bits(&rest), output.argmax[row])
            };
            assert_eq!(columns(&output), columns(&expected), "row {row}");
        }
    }
}
