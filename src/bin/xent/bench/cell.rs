//! What is measured: a problem of one size and type, in several modes.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use xent::{DType, Outputs, Problem, Reduction};

/// In how many runs, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The loss alone.
    Forward,
    /// Loss and gradient in one run.
    Fused,
    /// The loss, then the gradient from its statistics.
    Separate,
    /// Loss and gradient in one run, the gradient over the logits.
    #[serde(rename = "in place")]
    InPlace,
}

impl Mode {
    pub fn has_gradient(self) -> bool {
        self != Mode::Forward
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Forward => "forward",
            Mode::Fused => "fused",
            Mode::Separate => "separate",
            Mode::InPlace => "in place",
        })
    }
}

/// An option of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Setting {
    None,
    LabelSmoothing,
    ClassWeights,
    RowWeights,
    /// Every tenth row is ignored.
    IgnoreIndex,
    ZLoss,
    Scale,
    Softcap,
    /// Targets that are `f32` probabilities.
    Probabilities,
}

/// What PyTorch ignores.
pub const IGNORED: i64 = -100;

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Setting::None => "none",
            Setting::LabelSmoothing => "label smoothing",
            Setting::ClassWeights => "class weights",
            Setting::RowWeights => "row weights",
            Setting::IgnoreIndex => "ignore index",
            Setting::ZLoss => "z-loss",
            Setting::Scale => "scale",
            Setting::Softcap => "softcap",
            Setting::Probabilities => "probabilities",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub dtype: DType,
    pub classes: usize,
    pub rows: usize,
    pub setting: Setting,
}

impl Cell {
    /// The mean, as in training.
    pub fn problem(&self, mode: Mode) -> Problem {
        let problem = Problem::new(self.dtype, self.classes).reduction(Reduction::Mean);
        let problem = match self.setting {
            Setting::None => problem,
            Setting::LabelSmoothing => problem.label_smoothing(0.1),
            Setting::ClassWeights => problem.class_weights(true),
            Setting::RowWeights => problem.row_weights(true),
            Setting::IgnoreIndex => problem.ignore_index(IGNORED),
            Setting::ZLoss => problem.z_loss(1e-4),
            Setting::Scale => problem.logit_scale(0.7),
            Setting::Softcap => problem.softcap(30.0),
            Setting::Probabilities => problem.targets(DType::F32),
        };
        let problem = problem.expected_rows(self.rows);
        match mode {
            Mode::Forward => problem.outputs(Outputs::LOSS),
            Mode::Fused => problem.outputs(Outputs::LOSS | Outputs::DLOGITS),
            Mode::Separate => problem.outputs(Outputs::LOSS | Outputs::STATS),
            Mode::InPlace => problem.outputs(Outputs::LOSS | Outputs::DLOGITS).in_place(true),
        }
    }

    pub fn elements(&self) -> usize {
        self.rows * self.classes
    }

    /// Bytes of the logits.
    pub fn size(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Bytes that have to move: the logits once, and a gradient once.
    pub fn bytes(&self, mode: Mode) -> usize {
        if mode.has_gradient() { 2 * self.size() } else { self.size() }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} x {}, option {}", self.dtype, self.rows, self.classes, self.setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_that_have_to_move() {
        let cell = |dtype| Cell { dtype, classes: 1000, rows: 8, setting: Setting::None };
        for (dtype, once) in [(DType::F32, 32_000), (DType::F16, 16_000), (DType::BF16, 16_000)] {
            assert_eq!(cell(dtype).size(), once);
            assert_eq!(cell(dtype).bytes(Mode::Forward), once);
            for mode in [Mode::Fused, Mode::Separate, Mode::InPlace] {
                assert_eq!(cell(dtype).bytes(mode), 2 * once, "{mode}");
            }
        }
    }
}
