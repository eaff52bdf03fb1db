//! The cases of `data/losses.json`, which PyTorch computed in `f64`: those of the cross entropy of logits;
//! `trial/golden.rs` reads the others.

use super::{Case, Target, round};
use serde_json::Value;
use xent::{DType, Denominator, Layout, Outputs, Problem, Reduction};

/// One case of the file. Tensors are as PyTorch has them, (outer, classes, inner).
pub struct Golden {
    pub index: usize,
    pub problem: Problem,
    pub layout: Layout,
    pub logits: Vec<f64>,
    pub classes: Vec<i64>,
    pub probabilities: Vec<f64>,
    pub class_weights: Option<Vec<f64>>,
    pub dloss: Option<Vec<f64>>,
    pub loss: Vec<f64>,
    pub lse: Vec<f64>,
    pub dlogits: Vec<f64>,
}

/// Appends the numbers of nested arrays; JSON writes what is no number as text.
fn flatten(value: &Value, out: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, out)),
        Value::String(text) => out.push(text.parse().unwrap()),
        number => out.push(number.as_f64().unwrap()),
    }
}

pub fn numbers(value: &Value) -> Vec<f64> {
    let mut out = Vec::new();
    flatten(value, &mut out);
    out
}

pub fn optional(value: &Value) -> Option<Vec<f64>> {
    (!value.is_null()).then(|| numbers(value))
}

pub fn shape(value: &Value) -> Vec<usize> {
    match value.as_array() {
        Some(values) => [vec![values.len()], shape(&values[0])].concat(),
        None => vec![],
    }
}

/// All cases of the file, each of which says its operation.
pub fn file() -> Vec<Value> {
    let mut file: Value = serde_json::from_str(include_str!("../data/losses.json")).unwrap();
    match file["cases"].take() {
        Value::Array(cases) => cases,
        other => panic!("no cases: {other}"),
    }
}

impl Golden {
    /// All 43 of them.
    pub fn all() -> Vec<Golden> {
        let cases = file().into_iter().filter(|case| case["op"] == "cross_entropy");
        let goldens: Vec<_> =
            cases.enumerate().map(|(index, case)| Golden::read(index, &case)).collect();
        assert_eq!(goldens.len(), 43, "cases of the file");
        goldens
    }

    fn read(index: usize, case: &Value) -> Golden {
        let layout = Layout::axis(&shape(&case["logits"]), 1).unwrap();
        let options = case["options"].as_object().unwrap();
        let soft = case["target_kind"] == "prob";
        let mut problem = Problem::new(DType::F64, layout.classes)
            .targets(if soft { DType::F64 } else { DType::I64 })
            .class_weights(!case["weight"].is_null());
        for (option, value) in options {
            problem = match (option.as_str(), value.as_f64()) {
                ("reduction", _) => problem.reduction(match value.as_str().unwrap() {
                    "none" => Reduction::None,
                    "mean" => Reduction::Mean,
                    "sum" => Reduction::Sum,
                    other => panic!("reduction {other}"),
                }),
                ("label_smoothing", Some(x)) => problem.label_smoothing(x),
                ("logit_scale", Some(x)) => problem.logit_scale(x),
                ("softcap", Some(0.0)) | ("upstream", _) => problem,
                ("softcap", Some(x)) => problem.softcap(x),
                ("z_loss", Some(x)) => problem.z_loss(x),
                ("ignore_index", _) => problem.ignore_index(value.as_i64().unwrap()),
                other => panic!("unknown option {other:?}"),
            };
        }
        let target = numbers(&case["target"]);
        Golden {
            index,
            problem,
            layout,
            logits: numbers(&case["logits"]),
            classes: if soft { vec![] } else { target.iter().map(|&y| y as i64).collect() },
            probabilities: if soft { target } else { vec![] },
            class_weights: optional(&case["weight"]),
            dloss: options.get("upstream").map(numbers),
            loss: numbers(&case["loss"]),
            lse: numbers(&case["lse"]),
            dlogits: numbers(&case["grad_logits"]),
        }
    }

    /// (outer, classes, inner) as packed rows.
    pub fn rows(&self, tensor: &[f64]) -> Vec<f64> {
        let Layout { outer, classes, inner, strides: [step, along, _] } = self.layout;
        let rows = (0..outer * inner).map(|row| row / inner * step + row % inner);
        match tensor.is_empty() {
            true => vec![],
            false => rows
                .flat_map(|start| (0..classes).map(move |class| tensor[start + class * along]))
                .collect(),
        }
    }

    pub fn is_ignored(&self, row: usize) -> bool {
        self.problem.ignore_index.is_some_and(|index| self.classes[row] == index)
    }

    /// The lse that we promise: that of an ignored row is 0, PyTorch's recipe computes it.
    pub fn promised_lse(&self) -> Vec<f64> {
        let rows = self.lse.iter().enumerate();
        rows.map(|(row, &lse)| if self.is_ignored(row) { 0.0 } else { lse }).collect()
    }

    /// The case in another type, all numbers rounded to what they are there.
    pub fn case(&self, dtype: DType) -> Case {
        let soft = self.problem.targets_are_probabilities();
        let f32s = |x: &Option<Vec<f64>>| {
            x.as_ref().map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>())
        };
        let rounded = |x: Vec<f64>| x.into_iter().map(|x| round(x, dtype)).collect::<Vec<_>>();
        let mut problem = self.problem.clone().outputs(Outputs::CROSS_ENTROPY);
        problem.logits = dtype;
        problem.dlogits = dtype;
        problem.output = dtype;
        problem.targets = if soft { dtype } else { DType::I64 };
        Case {
            problem,
            rows: self.lse.len(),
            logits: rounded(self.rows(&self.logits)),
            target: match soft {
                true => Target::Probabilities(rounded(self.rows(&self.probabilities))),
                false => Target::Classes(self.classes.clone()),
            },
            class_weights: f32s(&self.class_weights),
            row_weights: None,
            dloss: f32s(&self.dloss),
            denominator: Denominator::Default,
        }
    }
}
