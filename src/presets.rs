//! Problems by the names that they have elsewhere, and the conventions of other libraries.

use crate::{Clip, DType, Form, Operation, Outputs, Problem, Reduction, Renormalise};

impl Problem {
    /// The softmax of rows of logits; [`Args::output`](crate::Args::output) is where it goes.
    pub fn softmax(logits: DType, classes: usize) -> Self {
        Problem {
            operation: Operation::Softmax,
            outputs: Outputs::OUTPUT,
            ..Problem::new(logits, classes)
        }
    }

    /// The logarithm of the softmax of rows of logits.
    pub fn log_softmax(logits: DType, classes: usize) -> Self {
        Problem { operation: Operation::LogSoftmax, ..Problem::softmax(logits, classes) }
    }

    /// The mean negative log-likelihood of `i64` class indices under rows of log-probabilities, as
    /// PyTorch's `nll_loss`.
    pub fn nll_loss(log_probabilities: DType, classes: usize) -> Self {
        Problem { input: Form::LogProbabilities, ..Problem::new(log_probabilities, classes) }
    }

    /// The mean cross entropy of rows of probabilities against `i64` class indices, with nothing
    /// clipped: sum(-q log p), and over two distributions with
    /// [`targets`](Problem::targets) of a floating-point type.
    pub fn cross_entropy_from_probs(probabilities: DType, classes: usize) -> Self {
        Problem { input: Form::Probabilities, ..Problem::new(probabilities, classes) }
    }

    /// The mean binary cross entropy of logits against `f32` targets, as PyTorch's
    /// `binary_cross_entropy_with_logits`.
    pub fn bce_with_logits(logits: DType, classes: usize) -> Self {
        Problem {
            operation: Operation::BinaryCrossEntropy,
            targets: logits.companion(),
            ..Problem::new(logits, classes)
        }
    }

    /// The mean binary cross entropy of probabilities against `f32` targets, with logarithms of at
    /// least -100, as PyTorch's `binary_cross_entropy`.
    pub fn bce(probabilities: DType, classes: usize) -> Self {
        Problem {
            input: Form::Probabilities,
            clip: Clip::Logarithm(100.0),
            ..Problem::bce_with_logits(probabilities, classes)
        }
    }

    /// The Kullback-Leibler divergence of rows of log-probabilities from `f32` probabilities, divided
    /// by the number of elements, as PyTorch's `kl_div`; [`Reduction::BatchMean`] divides by that of
    /// rows.
    pub fn kl_div(log_probabilities: DType, classes: usize) -> Self {
        Problem {
            operation: Operation::KlDivergence,
            input: Form::LogProbabilities,
            ..Problem::bce_with_logits(log_probabilities, classes)
        }
    }

    /// The entropy of each row of probabilities.
    pub fn entropy(probabilities: DType, classes: usize) -> Self {
        Problem {
            operation: Operation::Entropy,
            input: Form::Probabilities,
            reduction: Reduction::None,
            ..Problem::new(probabilities, classes)
        }
    }

    /// Keras' `categorical_crossentropy` of probabilities, and `sparse_categorical_crossentropy` with
    /// class indices: divided by their sum, clipped to \[1e-7, 1 - 1e-7\], the sum over the batch
    /// divided by the number of rows.
    pub fn keras_categorical_crossentropy(probabilities: DType, classes: usize) -> Self {
        Problem {
            clip: Clip::Range(1e-7),
            renormalise: Renormalise::BeforeClip,
            reduction: Reduction::BatchMean,
            ..Problem::cross_entropy_from_probs(probabilities, classes)
        }
    }

    /// Keras' `binary_crossentropy` of probabilities: clipped to \[1e-7, 1 - 1e-7\].
    /// [`Reduction::RowMean`] gives what Keras calls the loss of a sample.
    pub fn keras_binary_crossentropy(probabilities: DType, classes: usize) -> Self {
        Problem { clip: Clip::Range(1e-7), ..Problem::bce(probabilities, classes) }
    }

    /// scikit-learn's `log_loss` of probabilities: clipped to \[e, 1 - e\], where e is the distance of
    /// 1 from the next number of their type. With class indices, its `sample_weight` is row weights.
    pub fn sklearn_log_loss(probabilities: DType, classes: usize) -> Self {
        let epsilon = match probabilities {
            DType::F64 => f64::EPSILON,
            DType::F16 => f64::powi(2.0, -10),
            DType::BF16 => f64::powi(2.0, -7),
            _ => f32::EPSILON.into(),
        };
        Problem {
            clip: Clip::Range(epsilon),
            ..Problem::cross_entropy_from_probs(probabilities, classes)
        }
    }

    /// `log_loss` of scikit-learn up to 1.1: clipped to \[1e-15, 1 - 1e-15\], then divided by their sum.
    pub fn sklearn_legacy_log_loss(probabilities: DType, classes: usize) -> Self {
        Problem {
            clip: Clip::Range(1e-15),
            renormalise: Renormalise::AfterClip,
            ..Problem::cross_entropy_from_probs(probabilities, classes)
        }
    }

    /// Caffe's `MultinomialLogisticLoss` of probabilities: clipped to at least 1e-20.
    pub fn caffe_multinomial_logistic_loss(probabilities: DType, classes: usize) -> Self {
        Problem {
            clip: Clip::Lower(1e-20),
            ..Problem::cross_entropy_from_probs(probabilities, classes)
        }
    }
}
