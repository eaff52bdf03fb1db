//! The CPU path with vectors of every instruction set of this processor. `XENT_CPU` forces one, in
//! processes of their own: all tests of the foundation run there. The best one is that of every other
//! test.

mod common;
mod trial;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::{Command, Output};

use common::foundation::{self, CARGO, FOUNDATION, cpu_kernel, cpu_kernel_of};
use common::{Case, on_gpu};
use xent::{Context, ContextOptions, DType, Device, Error, Outputs, Problem};

const VARIABLE: &str = "XENT_CPU";

/// What there may be, the best last.
const NAMES: [&str; 4] = ["portable", "neon", "avx2", "avx512"];

/// A test of this file in a process with the variable, and what it prints after "it is ".
fn in_a_process(name: &str, value: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let Output { status, stdout, stderr } = command.env(VARIABLE, value).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{out}\n{err}");
    let (_, text) = out.split_once("it is ").unwrap();
    text.lines().next().unwrap().to_owned()
}

/// Says what computes under the variable of this process, or why nothing does.
#[test]
fn what_computes() {
    let options = ContextOptions::default().device(Device::cpu());
    match Context::new(options) {
        Ok(_) => println!("it is {}", cpu_kernel()),
        Err(error) => {
            assert!(matches!(error, Error::Invalid { field: VARIABLE, .. }), "{error:?}");
            println!("it is not: {error}");
        }
    }
}

fn forced(value: &str) -> String {
    in_a_process("what_computes", value)
}

/// Those that this processor has, the best last.
fn available() -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| forced(name) == cpu_kernel_of(name)).collect()
}

#[test]
fn the_variable_forces_what_there_is() {
    let available = available();
    println!("{available:?}");
    assert_eq!(available[0], "portable");
    let has = |name| available.contains(&name);
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(has("avx2"), is_x86_feature_detected!("avx2"));
        assert_eq!(has("avx512"), is_x86_feature_detected!("avx512bw"));
    }
    assert_eq!(has("neon"), cfg!(target_arch = "aarch64"));
    // An empty variable is none.
    assert_eq!(forced(""), cpu_kernel_of(available[available.len() - 1]));
    // What is refused: another name, and what this processor has not.
    let refused = NAMES.into_iter().filter(|name| !has(name));
    for value in refused.chain(["sse9", "AVX2", "portable ", "avx2,portable"]) {
        let said = forced(value);
        assert!(said.starts_with("not: "), "{value}: {said}");
        let names = available.iter().all(|name| said.contains(name));
        assert!(said.contains(VARIABLE) && said.contains(value) && names, "{said}");
    }
}

#[test]
fn the_best_is_the_default() {
    if std::env::var_os(VARIABLE).is_none() && !on_gpu() {
        assert_eq!(Some(cpu_kernel()), available().last().map(|name| cpu_kernel_of(name)));
    }
}

/// Says what cases give, digested.
#[test]
fn digest() {
    let mut hasher = DefaultHasher::new();
    let sizes = [(40, 10), (5, 100), (3, 1000), (2, 70_000)];
    for (seed, (rows, classes)) in sizes.into_iter().enumerate() {
        for (logits, targets) in
            [(DType::F32, DType::I64), (DType::BF16, DType::F32), (DType::F16, DType::U8)]
        {
            let targets = if classes > 256 && targets == DType::U8 { DType::I32 } else { targets };
            let problem =
                Problem::new(logits, classes).targets(targets).outputs(Outputs::CROSS_ENTROPY);
            let capped = problem.clone().softcap(20.0).label_smoothing(0.1).z_loss(1e-3);
            for problem in [problem, capped] {
                format!("{:?}", Case::random(problem, rows, seed as u64).run()).hash(&mut hasher);
            }
        }
    }
    for trial in trial::operations::all(&sizes) {
        trial.run(&Context::cpu()).bits().hash(&mut hasher);
    }
    println!("it is {:x}", hasher.finish());
}

#[test]
fn all_sets_with_a_fused_multiply_add_give_the_same_bits() {
    let mut fused: Vec<&str> = available();
    fused.retain(|&name| name != "portable");
    let digests: Vec<String> = fused.iter().map(|name| in_a_process("digest", name)).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{fused:?}: {digests:?}");
    if !fused.is_empty() {
        assert_ne!(digests[0], in_a_process("digest", "portable"), "two roundings differ from one");
    }
}

#[test]
fn the_foundation_on_all_others() {
    let available = available();
    for name in &available[..available.len() - 1] {
        println!("{name}");
        foundation::run(Command::new(CARGO).env(VARIABLE, name), &FOUNDATION);
    }
}
