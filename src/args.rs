//! What one call brings: buffers, their layouts, the denominator of the mean.

use crate::{Stream, View, ViewMut};

/// What the mean divides by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Denominator {
    /// The sum of the weights of the counted rows, or the number of rows with probability targets;
    /// for the z-loss, the number of counted rows.
    #[default]
    Default,
    /// This number, for both: the tokens of all micro-batches, say. Finite and at least 0; 0
    /// follows [`EmptyMean`](crate::EmptyMean).
    Value(f64),
}

/// The buffers of one [`Plan::run`](crate::Plan::run).
///
/// Logits, their gradient or softmax, probability targets and weights of elements have shape (outer,
/// classes, inner) and any strides; everything else is packed. Which outputs and weights must be there, the
/// [`Problem`](crate::Problem) says. *T* is `f32`, or `f64` with `f64` logits.
///
/// ```
/// # use xent::{Args, Layout, View};
/// let logits = [0.5f32; 2 * 4]; // two rows of three classes, each padded to four
/// let targets = [0i64, 2];
/// let mut loss = 0f32;
/// let args = Args::new(View::from(&logits).layout(Layout::rows(2, 3).row_stride(4)), &targets)
///     .loss(&mut loss);
/// ```
#[derive(Debug)]
pub struct Args<'a> {
    pub(crate) inputs: Inputs<'a>,
    pub(crate) loss: Option<ViewMut<'a>>,
    pub(crate) lse: Option<ViewMut<'a>>,
    pub(crate) stats: Option<ViewMut<'a>>,
    pub(crate) dlogits: Option<ViewMut<'a>>,
    pub(crate) argmax: Option<ViewMut<'a>>,
    pub(crate) correct: Option<ViewMut<'a>>,
    pub(crate) entropy: Option<ViewMut<'a>>,
    pub(crate) output: Option<ViewMut<'a>>,
}

/// The buffers of one [`Plan::backward`](crate::Plan::backward) or
/// [`Plan::double_backward`](crate::Plan::double_backward).
#[derive(Debug)]
pub struct BackwardArgs<'a> {
    pub(crate) inputs: Inputs<'a>,
    pub(crate) stats: Option<View<'a>>,
    pub(crate) doutput: Option<View<'a>>,
    pub(crate) ddlogits: Option<View<'a>>,
    pub(crate) dlogits: ViewMut<'a>,
}

/// What forward and backward both read.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    /// The logits, or in the backward of a softmax its output.
    pub logits: View<'a>,
    pub targets: Option<View<'a>>,
    pub class_weights: Option<View<'a>>,
    pub row_weights: Option<View<'a>>,
    pub element_weights: Option<View<'a>>,
    pub pos_weights: Option<View<'a>>,
    pub dloss: Option<View<'a>>,
    pub denominator: Denominator,
    pub device_denominator: Option<View<'a>>,
    pub stream: Option<Stream<'a>>,
    pub report: Option<ViewMut<'a>>,
}

impl<'a> Inputs<'a> {
    fn new(logits: View<'a>, targets: Option<View<'a>>) -> Self {
        Inputs {
            logits,
            targets,
            class_weights: None,
            row_weights: None,
            element_weights: None,
            pos_weights: None,
            dloss: None,
            denominator: Denominator::Default,
            device_denominator: None,
            stream: None,
            report: None,
        }
    }
}

macro_rules! input_setters {
    () => {
        /// The weight of each class, *T*, `classes` long. Any sign; a class of weight 0 adds
        /// nothing, whatever its logit.
        pub fn class_weights(mut self, weights: impl Into<View<'a>>) -> Self {
            self.inputs.class_weights = Some(weights.into());
            self
        }

        /// The weight of each row, *T*, one for each row.
        pub fn row_weights(mut self, weights: impl Into<View<'a>>) -> Self {
            self.inputs.row_weights = Some(weights.into());
            self
        }

        /// The weight of each element, *T*, (outer, classes, inner).
        pub fn element_weights(mut self, weights: impl Into<View<'a>>) -> Self {
            self.inputs.element_weights = Some(weights.into());
            self
        }

        /// The weight of the positive part of each class, *T*, `classes` long.
        pub fn pos_weights(mut self, weights: impl Into<View<'a>>) -> Self {
            self.inputs.pos_weights = Some(weights.into());
            self
        }

        /// The upstream gradient, *T*: one value, or one for each loss where the
        /// [`Reduction`](crate::Reduction) leaves several. 1 if not given.
        pub fn dloss(mut self, dloss: impl Into<View<'a>>) -> Self {
            self.inputs.dloss = Some(dloss.into());
            self
        }

        /// What the mean divides by.
        pub fn denominator(mut self, denominator: Denominator) -> Self {
            self.inputs.denominator = denominator;
            self
        }

        /// What the mean divides by, in memory of the GPU: one `f32`, which need not be known yet.
        /// Takes the place of [`denominator`](Self::denominator).
        pub fn device_denominator(mut self, denominator: impl Into<View<'a>>) -> Self {
            self.inputs.device_denominator = Some(denominator.into());
            self
        }

        /// The stream of the GPU that does the work; its default stream if not given.
        pub fn stream(mut self, stream: impl Into<Stream<'a>>) -> Self {
            self.inputs.stream = Some(stream.into());
            self
        }

        /// Where wrong targets are reported, in memory of the GPU: four `i64`, which the caller
        /// clears to 0. See [`Plan::report`](crate::Plan::report).
        pub fn report(mut self, report: impl Into<ViewMut<'a>>) -> Self {
            self.inputs.report = Some(report.into());
            self
        }
    };
}

impl<'a> Args<'a> {
    /// Starts from the logits, (outer, classes, inner), and the targets: one class index for each
    /// row, or probabilities in the shape of the logits.
    pub fn new(logits: impl Into<View<'a>>, targets: impl Into<View<'a>>) -> Self {
        Args::of(Inputs::new(logits.into(), Some(targets.into())))
    }

    /// Starts from the input of an operation without targets: a softmax, or an entropy.
    pub fn without_targets(logits: impl Into<View<'a>>) -> Self {
        Args::of(Inputs::new(logits.into(), None))
    }

    fn of(inputs: Inputs<'a>) -> Self {
        Args {
            inputs,
            loss: None,
            lse: None,
            stats: None,
            dlogits: None,
            argmax: None,
            correct: None,
            entropy: None,
            output: None,
        }
    }

    /// The same for a softmax that replaces the logits.
    pub fn softmax_in_place(logits: impl Into<ViewMut<'a>>) -> Self {
        let output = logits.into();
        Args::without_targets(output.read_too()).output(output)
    }

    /// The same as [`Args::new`] for logits that their gradient replaces
    /// ([`Problem::in_place`](crate::Problem::in_place)).
    pub fn in_place(logits: impl Into<ViewMut<'a>>, targets: impl Into<View<'a>>) -> Self {
        let dlogits = logits.into();
        let mut args = Args::new(dlogits.read_too(), targets);
        args.dlogits = Some(dlogits);
        args
    }

    input_setters!();

    /// Where the loss goes, *T*: one value, one for each row, or one for each element, (outer, classes,
    /// inner).
    pub fn loss(mut self, loss: impl Into<ViewMut<'a>>) -> Self {
        self.loss = Some(loss.into());
        self
    }

    /// Where log(sum(exp(z))) goes, *T*, one for each row.
    pub fn lse(mut self, lse: impl Into<ViewMut<'a>>) -> Self {
        self.lse = Some(lse.into());
        self
    }

    /// Where the statistics for a separate backward call go, two *T* for each row.
    pub fn stats(mut self, stats: impl Into<ViewMut<'a>>) -> Self {
        self.stats = Some(stats.into());
        self
    }

    /// Where the gradient goes, shape of the logits.
    pub fn dlogits(mut self, dlogits: impl Into<ViewMut<'a>>) -> Self {
        self.dlogits = Some(dlogits.into());
        self
    }

    /// Where the most probable class goes, `i64`, one for each row.
    pub fn argmax(mut self, argmax: impl Into<ViewMut<'a>>) -> Self {
        self.argmax = Some(argmax.into());
        self
    }

    /// Where the number of correct rows goes, one `i64`.
    pub fn correct(mut self, correct: impl Into<ViewMut<'a>>) -> Self {
        self.correct = Some(correct.into());
        self
    }

    /// Where the entropy of the softmax goes, *T*, one for each row.
    pub fn entropy(mut self, entropy: impl Into<ViewMut<'a>>) -> Self {
        self.entropy = Some(entropy.into());
        self
    }

    /// Where the softmax or its logarithm goes, shape of the logits.
    pub fn output(mut self, output: impl Into<ViewMut<'a>>) -> Self {
        self.output = Some(output.into());
        self
    }
}

impl<'a> BackwardArgs<'a> {
    /// Starts from the logits and targets of a forward run, the statistics that it wrote, and
    /// where the gradient goes.
    pub fn new(
        logits: impl Into<View<'a>>,
        targets: impl Into<View<'a>>,
        stats: impl Into<View<'a>>,
        dlogits: impl Into<ViewMut<'a>>,
    ) -> Self {
        BackwardArgs {
            inputs: Inputs::new(logits.into(), Some(targets.into())),
            stats: Some(stats.into()),
            doutput: None,
            ddlogits: None,
            dlogits: dlogits.into(),
        }
    }

    /// Starts from the output of a softmax or its logarithm, the upstream gradient of it, of the same
    /// type, and where the gradient of the logits goes.
    pub fn of_output(
        output: impl Into<View<'a>>,
        doutput: impl Into<View<'a>>,
        dlogits: impl Into<ViewMut<'a>>,
    ) -> Self {
        BackwardArgs {
            inputs: Inputs::new(output.into(), None),
            stats: None,
            doutput: Some(doutput.into()),
            ddlogits: None,
            dlogits: dlogits.into(),
        }
    }

    /// The same for an upstream gradient that the gradient replaces
    /// ([`Problem::in_place`](crate::Problem::in_place)).
    pub fn of_output_in_place(
        output: impl Into<View<'a>>,
        doutput: impl Into<ViewMut<'a>>,
    ) -> Self {
        let dlogits = doutput.into();
        let doutput = dlogits.read_too();
        BackwardArgs::of_output(output, doutput, dlogits)
    }

    /// The same as [`BackwardArgs::new`] for logits that their gradient replaces.
    pub fn in_place(
        logits: impl Into<ViewMut<'a>>,
        targets: impl Into<View<'a>>,
        stats: impl Into<View<'a>>,
    ) -> Self {
        let dlogits = logits.into();
        let logits = dlogits.read_too();
        BackwardArgs::new(logits, targets, stats, dlogits)
    }

    /// The upstream gradient of the gradient, of its type, (outer, classes, inner): for
    /// [`Plan::double_backward`](crate::Plan::double_backward).
    pub fn ddlogits(mut self, ddlogits: impl Into<View<'a>>) -> Self {
        self.ddlogits = Some(ddlogits.into());
        self
    }

    input_setters!();
}
