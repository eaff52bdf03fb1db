//! What the CUDA kernels of the other operations cost, by the interpreter's count of what whole runs
//! execute: instructions and approximations of the special function unit for each element. A regression
//! shows without a GPU and without a clock.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod trial;

use common::simulated::here_or_elsewhere;
use common::standin::StandIn;
use trial::Trial;
use xent::{Context, DType, Outputs, Problem};

/// For one more element in rows of some thousand; of a softmax with its backward.
fn per_element(of: fn(DType, usize) -> Problem, dtype: DType, outputs: Outputs) -> (f64, f64) {
    const ROWS: usize = 2;
    let context = Context::auto();
    let measure = |classes| {
        let trial = Trial::packed(of(dtype, classes).outputs(outputs), ROWS, 3);
        let before = StandIn::here().executed();
        trial.run(&context);
        let after = StandIn::here().executed();
        ((after.0 - before.0) as f64, (after.1 - before.1) as f64)
    };
    let (small, large) = (1 << 12, 1 << 13);
    let (a, b) = (measure(small), measure(large));
    let elements = (ROWS * (large - small)) as f64;
    ((b.0 - a.0) / elements, (b.1 - a.1) / elements)
}

/// An operation in a type: instructions and approximations that it may take for an element.
type Budget = (&'static str, fn(DType, usize) -> Problem, DType, Outputs, f64, f64);

#[test]
fn long_rows_keep_their_budgets() {
    if !here_or_elsewhere("long_rows_keep_their_budgets") {
        return;
    }
    let both = Outputs::LOSS | Outputs::DLOGITS;
    let budgets: [Budget; 10] = [
        ("softmax", Problem::softmax, DType::F32, Outputs::OUTPUT, 63.5, 2.1),
        ("softmax", Problem::softmax, DType::BF16, Outputs::OUTPUT, 62.5, 2.1),
        ("log-softmax", Problem::log_softmax, DType::F32, Outputs::OUTPUT, 69.5, 1.1),
        ("log-softmax", Problem::log_softmax, DType::F16, Outputs::OUTPUT, 71.0, 1.1),
        ("BCE of logits", Problem::bce_with_logits, DType::F32, both, 78.0, 1.1),
        ("BCE of logits", Problem::bce_with_logits, DType::BF16, both, 79.5, 1.1),
        ("BCE", Problem::bce, DType::F32, both, 112.0, 1.3),
        ("KL divergence", Problem::kl_div, DType::F32, both, 54.0, 0.2),
        ("entropy", Problem::entropy, DType::F32, both, 49.5, 0.2),
        ("NLL", Problem::nll_loss, DType::F32, both, 3.5, 0.0),
    ];
    let mut faults = Vec::new();
    for (name, of, dtype, outputs, instructions, approximations) in budgets {
        let found = per_element(of, dtype, outputs);
        println!("{name}, {dtype}: {:.2} instructions, {:.2} approximations", found.0, found.1);
        if found.0 > instructions || found.1 > approximations {
            faults.push(format!("{name}, {dtype}: {found:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
