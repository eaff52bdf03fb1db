//! The cases of `data/losses.json` that are no cross entropy of logits, which PyTorch computed in `f64`,
//! as trials.

use serde_json::{Map, Value};
use xent::reference::Results;
use xent::{DType, Layout, Outputs, Problem, Reduction};

use super::{Found, Trial};
use crate::common::golden::{file, numbers, optional};
use crate::common::round;

/// A trial in `f64`, and what PyTorch makes of it.
pub struct Golden {
    pub name: String,
    pub trial: Trial,
    pub loss: Vec<f64>,
    pub output: Vec<f64>,
    pub dlogits: Vec<f64>,
}

/// What is not read yet of a case.
struct Rest {
    name: String,
    fields: Map<String, Value>,
}

impl Rest {
    fn take(&mut self, field: &str) -> Value {
        self.fields.remove(field).unwrap_or_else(|| panic!("{} has no {field}", self.name))
    }

    fn numbers(&mut self, field: &str) -> Vec<f64> {
        numbers(&self.take(field))
    }
}

impl Golden {
    /// All 14 of them.
    pub fn all() -> Vec<Golden> {
        let cases = file().into_iter().enumerate();
        let others = cases.filter(|(_, case)| case["op"] != "cross_entropy");
        let goldens: Vec<_> = others.map(|(index, case)| Golden::read(index, case)).collect();
        assert_eq!(goldens.len(), 14, "cases of the file");
        goldens
    }

    /// Reads every field of a case.
    fn read(index: usize, case: Value) -> Golden {
        let Value::Object(fields) = case else { panic!("case {index} is no object") };
        let mut rest = Rest { name: format!("case {index}"), fields };
        let op = rest.take("op");
        let op = op.as_str().unwrap();
        rest.name = format!("{op} of case {index}");
        let (of, input, gradient): (fn(DType, usize) -> Problem, _, _) = match op {
            "nll_loss" => (Problem::nll_loss, "log_probs", "grad_log_probs"),
            "bce_with_logits" => (Problem::bce_with_logits, "logits", "grad_logits"),
            "bce" => (Problem::bce, "probs", "grad_probs"),
            "kl_div" => (Problem::kl_div, "log_probs", "grad_log_probs"),
            "softmax" => (Problem::softmax, "logits", "grad_logits"),
            "log_softmax" => (Problem::log_softmax, "logits", "grad_logits"),
            other => panic!("unknown operation {other}"),
        };
        let x = rest.take(input);
        let [rows, classes] = [&x, &x[0]].map(|x| x.as_array().unwrap().len());
        let is_softmax = rest.fields.contains_key("output");
        let mut trial = Trial::new(of(DType::F64, classes), Layout::rows(rows, classes), 0);
        trial.logits = numbers(&x);
        if is_softmax {
            trial.upstream = rest.numbers("upstream");
        } else {
            trial.problem.outputs = Outputs::LOSS | Outputs::DLOGITS;
            trial.read_options(rest.take("options"));
            let target = rest.numbers("target");
            match trial.problem.targets.is_float() {
                true => trial.probabilities = target,
                false => trial.classes = target.iter().map(|&class| class as i64).collect(),
            }
            trial.class_weights = rest.fields.remove("weight").as_ref().and_then(optional);
            trial.pos_weights = rest.fields.remove("pos_weight").as_ref().and_then(optional);
            trial.problem.class_weights = trial.class_weights.is_some();
            trial.problem.pos_weights = trial.pos_weights.is_some();
        }
        let golden = Golden {
            loss: if is_softmax { vec![] } else { rest.numbers("loss") },
            output: if is_softmax { rest.numbers("output") } else { vec![] },
            dlogits: rest.numbers(gradient),
            name: rest.name,
            trial,
        };
        assert!(rest.fields.is_empty(), "{}: {:?} are not read", golden.name, rest.fields);
        golden
    }

    /// Holds results against PyTorch's, to 1e-12 relative to each number.
    pub fn agrees(&self, results: &Results) {
        let all = [
            ("loss", &results.loss, &self.loss),
            ("output", &results.output, &self.output),
            ("gradient", &results.dlogits, &self.dlogits),
        ];
        for (what, actual, exact) in all {
            assert_eq!(actual.len(), exact.len(), "{what} of {}", self.name);
            for (index, (actual, exact)) in actual.iter().zip(exact).enumerate() {
                let is_near = (actual - exact).abs() <= 1e-12 * exact.abs();
                assert!(is_near, "{}, {what} {index}: {actual:e}, not {exact:e}", self.name);
            }
        }
    }
}

impl Trial {
    fn read_options(&mut self, options: Value) {
        for (option, value) in options.as_object().unwrap() {
            let elementwise = self.problem.targets.is_float();
            match (option.as_str(), value.as_str()) {
                ("reduction", Some("none")) if elementwise => {
                    self.problem.reduction = Reduction::Elements;
                }
                ("reduction", Some("none")) => self.problem.reduction = Reduction::None,
                ("reduction", Some("mean")) => self.problem.reduction = Reduction::Mean,
                ("reduction", Some("batchmean")) => self.problem.reduction = Reduction::BatchMean,
                ("reduction", Some("sum")) => self.problem.reduction = Reduction::Sum,
                ("ignore_index", _) => self.problem.ignore_index = value.as_i64(),
                other => panic!("unknown option {other:?}"),
            }
        }
    }

    /// The trial in another type, all numbers rounded to what they are there.
    pub fn in_type(&self, dtype: DType) -> Trial {
        let mut trial = self.clone();
        let problem = &mut trial.problem;
        (problem.logits, problem.dlogits, problem.output) = (dtype, dtype, dtype);
        if problem.targets.is_float() {
            problem.targets = dtype;
        }
        let rounded = |numbers: &mut Vec<f64>, dtype| {
            numbers.iter_mut().for_each(|x| *x = round(*x, dtype));
        };
        rounded(&mut trial.logits, dtype);
        rounded(&mut trial.probabilities, dtype);
        rounded(&mut trial.upstream, dtype);
        let weights = [&mut trial.class_weights, &mut trial.pos_weights];
        weights.into_iter().flatten().for_each(|weights| rounded(weights, DType::F32));
        trial
    }
}

impl Found {
    /// What was found as the reference would give it: the gradient of a softmax is its backward.
    pub fn results(self) -> Results {
        let dlogits = if self.dlogits.is_empty() { self.backward } else { self.dlogits };
        Results { loss: self.loss, output: self.output, dlogits, ..Results::default() }
    }
}
