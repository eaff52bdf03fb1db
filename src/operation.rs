//! What problems there are, and what of a [`Problem`] each of them uses.

use crate::{EmptyMean, Error, Outputs, Problem, Reduction, Result};

/// What is computed of each row.
///
/// With ℓ = -log p of the input ([`Form`]), targets q, and 0 times infinity as 0:
///
/// | operation | loss of a row | input |
/// | --- | --- | --- |
/// | `CrossEntropy` | sum(w q ℓ); of a class index y, w\[y\] ℓ\[y\] | any |
/// | `BinaryCrossEntropy` | sum(w (v q ℓ + (1 - q) ℓ')) with ℓ' = -log(1 - p), positive weights v | logits, probabilities |
/// | `KlDivergence` | sum(w q (log q + ℓ)) | log-probabilities, probabilities |
/// | `Entropy` | sum(w p ℓ) | log-probabilities, probabilities |
///
/// The softmax and its logarithm have an output of the shape of the logits in the place of a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// The cross entropy of classes that exclude each other.
    #[default]
    CrossEntropy,
    /// The cross entropy of classes of which each is or is not.
    BinaryCrossEntropy,
    /// The Kullback-Leibler divergence of the input from the targets.
    KlDivergence,
    /// The entropy of the input.
    Entropy,
    /// exp(k x) / sum(exp(k x)) for a scale k.
    Softmax,
    /// k x - log(sum(exp(k x))).
    LogSoftmax,
}

/// What the input of an operation is, which all of them call logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Numbers whose softmax, or sigmoid in a binary cross entropy, are the probabilities.
    #[default]
    Logits,
    /// Logarithms of probabilities, in nats. They need not add up to anything.
    LogProbabilities,
    /// Probabilities, or anything at least 0. They need not add up to 1.
    Probabilities,
}

/// How the logarithm of a probability is kept finite. The gradient is 0 where something was clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Clip {
    /// Not at all: the loss of a target of probability 0 is infinite.
    #[default]
    None,
    /// Probabilities are clipped to \[e, 1 - e\], as in Keras and scikit-learn: 0 < e < 1/2. That is
    /// exact: 1 is clipped also where 1 - e is rounded to it.
    Range(f64),
    /// Probabilities are clipped to at least e, as in Caffe: 0 < e < 1.
    Lower(f64),
    /// The logarithm is that of p + e: 0 < e < 1. A loss may then be below 0.
    Add(f64),
    /// Logarithms are clipped to at least -b, as in PyTorch, where b is 100: b > 0. In a binary cross
    /// entropy the gradient is not 0 then, but (p - q) / max(p (1 - p), 1e-12).
    Logarithm(f64),
}

/// Whether probabilities are first divided by their sum over the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Renormalise {
    /// They are taken as they are.
    #[default]
    No,
    /// Before they are clipped, as in Keras.
    BeforeClip,
    /// After they are clipped, as in scikit-learn up to 1.1.
    AfterClip,
}

/// The unit of a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Natural logarithms.
    #[default]
    Nats,
    /// Logarithms to the base 2.
    Bits,
}

bitflags::bitflags! {
    /// Fields of a problem that not every operation has a use for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Options: u32 {
        const IGNORE_INDEX = 1;
        const LABEL_SMOOTHING = 1 << 1;
        const LOGIT_SCALE = 1 << 2;
        const SOFTCAP = 1 << 3;
        const Z_LOSS = 1 << 4;
        const CLASS_WEIGHTS = 1 << 5;
        const ROW_WEIGHTS = 1 << 6;
        const ELEMENT_WEIGHTS = 1 << 7;
        const POS_WEIGHTS = 1 << 8;
        const CLIP = 1 << 9;
        const RENORMALISE = 1 << 10;
        const UNIT = 1 << 11;
        const LOG_TARGETS = 1 << 12;
        const OUTPUT = 1 << 13;
        const EMPTY_MEAN = 1 << 14;
        const WEIGHTS = Self::CLASS_WEIGHTS.bits() | Self::ROW_WEIGHTS.bits();
    }
}

/// Which targets an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Targets {
    None,
    Probabilities,
    ClassesOrProbabilities,
}

/// What an operation uses of a problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uses {
    pub targets: Targets,
    pub outputs: Outputs,
    pub options: Options,
    /// Whether a loss has a part for each element, so that there may be no sum over the row.
    pub elementwise: bool,
}

const OF_LOSS: Outputs = Outputs::LOSS.union(Outputs::DLOGITS);
const OF_SOFTMAX: Uses = Uses {
    targets: Targets::None,
    outputs: Outputs::OUTPUT,
    options: Options::LOGIT_SCALE.union(Options::OUTPUT),
    elementwise: false,
};

impl Problem {
    /// What the operation uses; `None` if there is none for this form of the input.
    pub(crate) fn uses(&self) -> Option<Uses> {
        use {Form::*, Operation::*};
        let of_probabilities = match self.input {
            Probabilities => Options::CLIP | Options::UNIT,
            _ => Options::UNIT,
        };
        Some(match (self.operation, self.input) {
            (CrossEntropy, Logits) => Uses {
                targets: Targets::ClassesOrProbabilities,
                outputs: Outputs::CROSS_ENTROPY,
                options: Options::IGNORE_INDEX
                    | Options::LABEL_SMOOTHING
                    | Options::LOGIT_SCALE
                    | Options::SOFTCAP
                    | Options::Z_LOSS
                    | Options::WEIGHTS
                    | Options::EMPTY_MEAN,
                elementwise: false,
            },
            (CrossEntropy, Probabilities | LogProbabilities) => Uses {
                targets: Targets::ClassesOrProbabilities,
                outputs: OF_LOSS,
                options: of_probabilities
                    | Options::IGNORE_INDEX
                    | Options::LABEL_SMOOTHING
                    | Options::WEIGHTS
                    | Options::EMPTY_MEAN
                    | match self.input {
                        Probabilities => Options::RENORMALISE,
                        _ => Options::empty(),
                    },
                elementwise: false,
            },
            (BinaryCrossEntropy, Logits | Probabilities) => Uses {
                targets: Targets::Probabilities,
                outputs: OF_LOSS,
                options: of_probabilities
                    | Options::LABEL_SMOOTHING
                    | Options::WEIGHTS
                    | Options::ELEMENT_WEIGHTS
                    | Options::POS_WEIGHTS
                    | Options::EMPTY_MEAN,
                elementwise: true,
            },
            (KlDivergence, Probabilities | LogProbabilities) => Uses {
                targets: Targets::Probabilities,
                outputs: OF_LOSS,
                options: of_probabilities
                    | Options::WEIGHTS
                    | Options::ELEMENT_WEIGHTS
                    | Options::LOG_TARGETS
                    | Options::EMPTY_MEAN,
                elementwise: true,
            },
            (Entropy, Probabilities | LogProbabilities) => Uses {
                targets: Targets::None,
                outputs: OF_LOSS,
                options: Options::UNIT | Options::WEIGHTS | Options::EMPTY_MEAN,
                elementwise: false,
            },
            (Softmax | LogSoftmax, Logits) => OF_SOFTMAX,
            _ => return None,
        })
    }

    /// The fields that are not at their default, with their values.
    fn set_options(&self) -> impl Iterator<Item = (Options, &'static str, String)> {
        let set = |is_set: bool, option, field, value: &dyn std::fmt::Debug| {
            is_set.then(|| (option, field, format!("{value:?}")))
        };
        let ignore = self.ignore_index.unwrap_or_default();
        let cap = self.softcap.unwrap_or_default();
        [
            set(self.ignore_index.is_some(), Options::IGNORE_INDEX, "ignore_index", &ignore),
            set(
                self.label_smoothing != 0.0,
                Options::LABEL_SMOOTHING,
                "label_smoothing",
                &self.label_smoothing,
            ),
            set(self.logit_scale != 1.0, Options::LOGIT_SCALE, "logit_scale", &self.logit_scale),
            set(self.softcap.is_some(), Options::SOFTCAP, "softcap", &cap),
            set(self.z_loss != 0.0, Options::Z_LOSS, "z_loss", &self.z_loss),
            set(self.class_weights, Options::CLASS_WEIGHTS, "class_weights", &true),
            set(self.row_weights, Options::ROW_WEIGHTS, "row_weights", &true),
            set(self.element_weights, Options::ELEMENT_WEIGHTS, "element_weights", &true),
            set(self.pos_weights, Options::POS_WEIGHTS, "pos_weights", &true),
            set(self.clip != Clip::None, Options::CLIP, "clip", &self.clip),
            set(
                self.renormalise != Renormalise::No,
                Options::RENORMALISE,
                "renormalise",
                &self.renormalise,
            ),
            set(self.unit != Unit::Nats, Options::UNIT, "unit", &self.unit),
            set(self.log_targets, Options::LOG_TARGETS, "log_targets", &true),
            set(self.output != self.logits, Options::OUTPUT, "output", &self.output),
            set(
                self.empty_mean != EmptyMean::Nan,
                Options::EMPTY_MEAN,
                "empty_mean",
                &self.empty_mean,
            ),
        ]
        .into_iter()
        .flatten()
    }

    /// Refuses what the operation has no use for.
    pub(crate) fn validate_uses(&self) -> Result<()> {
        let name = format!("with {:?} of {:?}", self.operation, self.input);
        let Some(uses) = self.uses() else {
            let value = format!("{:?} for {:?}", self.input, self.operation);
            let allowed = "a form of the input that the operation is defined for";
            return Err(Error::invalid("input", value, allowed));
        };
        if let Some((_, field, value)) =
            self.set_options().find(|(option, ..)| !uses.options.contains(*option))
        {
            return Err(Error::invalid(field, value, format!("unset {name}")));
        }
        if uses.targets == Targets::Probabilities && !self.targets_are_probabilities() {
            let allowed = format!("a floating-point type {name}");
            return Err(Error::invalid("targets", self.targets, allowed));
        }
        if !uses.outputs.contains(self.outputs) {
            let allowed = format!("within {:#x} {name}", uses.outputs.bits());
            return Err(Error::invalid("outputs", format!("{:#x}", self.outputs.bits()), allowed));
        }
        let of_elements = matches!(self.reduction, Reduction::Elements | Reduction::RowMean);
        if of_elements && !uses.elementwise {
            let value = format!("{:?}", self.reduction);
            return Err(Error::invalid(
                "reduction",
                value,
                format!("None, Mean, BatchMean or Sum {name}"),
            ));
        }
        self.validate_clip()
    }

    fn validate_clip(&self) -> Result<()> {
        let (value, range, allowed) = match self.clip {
            Clip::None => return Ok(()),
            Clip::Range(e) => (e, 0.0..0.5, "above 0 and below 1/2"),
            Clip::Lower(e) | Clip::Add(e) => (e, 0.0..1.0, "above 0 and below 1"),
            Clip::Logarithm(b) => (b, 0.0..f64::INFINITY, "above 0 and finite"),
        };
        match range.contains(&value) && value > 0.0 {
            true => Ok(()),
            false => Err(Error::invalid("clip", value, allowed)),
        }
    }

    /// Whether a run reads targets.
    pub(crate) fn has_targets(&self) -> bool {
        self.uses().is_some_and(|uses| uses.targets != Targets::None)
    }

    /// Whether a run reads class indices.
    pub(crate) fn has_class_targets(&self) -> bool {
        self.has_targets() && !self.targets_are_probabilities()
    }

    /// Whether a loss is a sum over elements, as that of a batch is over rows.
    pub(crate) fn is_elementwise(&self) -> bool {
        self.uses().is_some_and(|uses| uses.elementwise)
    }

    /// Whether it is the softmax or its logarithm.
    pub(crate) fn is_softmax(&self) -> bool {
        matches!(self.operation, Operation::Softmax | Operation::LogSoftmax)
    }

    /// Whether it is the cross entropy of logits.
    pub(crate) fn is_fused(&self) -> bool {
        (self.operation, self.input) == (Operation::CrossEntropy, Form::Logits)
    }
}
