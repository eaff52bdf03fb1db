//! Trains a small network on real handwritten digits, with the logits in f32, in bf16 and in f16.
//!
//!     cargo run --release --example train_digits [-- --out PATH]
//!
//! What this shows: one plan gives the loss, its gradient and the number of correct rows of a
//! mini-batch in one call, in whichever type the logits have. Everything else here (network.rs,
//! data.rs, chart.rs) is plain Rust, in f32.

mod chart;
mod data;
mod network;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use data::{CLASSES, Digits, PIXELS};
use indicatif::{ProgressBar, ProgressStyle};
use network::{Network, Random};
use xent::{Args, Context, DType, Outputs, Plan, Problem, Tensor};

// Chosen by training on the first 1077 digits and testing with the next 360.
const HIDDEN: usize = 256;
const BATCH: usize = 32;
const EPOCHS: usize = 30;
const RATE: f32 = 0.2; // falls to 0 along a line
const MOMENTUM: f32 = 0.9;
const SMOOTHING: f64 = 0.1; // so small a network is too sure of itself: this is worth 3 %
const SEED: u64 = 1;
const EXPECTED_ACCURACY: f64 = 0.93; // logistic regression reaches 0.90

/// What came of training with one type of logits.
struct Outcome {
    dtype: DType,
    /// Mean loss of the training digits in each epoch.
    losses: Vec<f32>,
    test_loss: f32,
    /// Share of the test digits that the network names correctly.
    accuracy: f64,
    /// Share of the training digits that it named correctly in the last epoch.
    training_accuracy: f64,
    /// Median time of a step.
    step: Duration,
    /// Share of that time until the loss is known.
    loss_share: f64,
}

fn train(
    context: &Context,
    dtype: DType,
    training: &Digits,
    test: &Digits,
    bar: &ProgressBar,
) -> Result<Outcome, Box<dyn Error>> {
    // What to compute, said once: the mean cross entropy of rows of 10 logits against labels in
    // bytes. The plan is good for any number of rows; the last batch has fewer.
    let problem = Problem::new(dtype, CLASSES)
        .targets(DType::U8)
        .label_smoothing(SMOOTHING)
        .outputs(Outputs::LOSS | Outputs::DLOGITS | Outputs::CORRECT)
        .expected_rows(BATCH);
    let plan = Plan::new(context, &problem)?;
    let mut workspace = plan.workspace(BATCH)?;

    // The gradient of a mean is small, and f16 has few small numbers. Scaling the loss, as mixed
    // precision training does, keeps them: the upstream gradient is that factor instead of 1.
    let scale = if dtype == DType::F16 { 1024f32 } else { 1.0 };
    let upstream = Tensor::from_slice(&[scale], &[1])?.to(context)?;

    let mut random = Random(SEED);
    let mut network = Network::new(PIXELS, HIDDEN, CLASSES, &mut random);
    let mut order: Vec<usize> = (0..training.len()).collect();
    let (mut losses, mut training_accuracy) = (Vec::new(), 0.0);
    let mut timings = Vec::new();

    for epoch in 0..EPOCHS {
        let rate = RATE * (1.0 - epoch as f32 / EPOCHS as f32);
        let (mut loss_sum, mut correct_sum) = (0.0, 0);
        random.shuffle(&mut order);
        for rows in order.chunks(BATCH) {
            let start = Instant::now();
            let batch = training.batch(rows);
            let activations = network.forward(&batch.pixels);

            // The logits as a model in this dtype would have them; the gradient comes back in it.
            // All tensors are where the plan runs: on the CPU, `to` is a copy.
            let shape = [batch.len(), CLASSES];
            let logits = Tensor::from_slice(&activations.logits, &shape)?.cast(dtype)?;
            let logits = logits.to(context)?;
            let labels = Tensor::from_slice(&batch.labels, &[batch.len()])?.to(context)?;
            let mut dlogits = Tensor::zeros_on(context, dtype, &shape)?;
            let mut loss = Tensor::zeros_on(context, DType::F32, &[1])?;
            let mut correct = Tensor::zeros_on(context, DType::I64, &[1])?;

            let loss_start = Instant::now();
            let args = Args::new(&logits, &labels)
                .dloss(&upstream)
                .loss(&mut loss)
                .dlogits(&mut dlogits)
                .correct(&mut correct);
            plan.run(args, &mut workspace)?;
            let loss = loss.to_vec::<f32>()?[0]; // waits for a GPU
            let in_loss = loss_start.elapsed();

            let mut dlogits: Vec<f32> = dlogits.cast(DType::F32)?.to_vec()?;
            dlogits.iter_mut().for_each(|d| *d /= scale);
            network.descend(&batch.pixels, &activations, &dlogits, rate, MOMENTUM);

            loss_sum += loss * batch.len() as f32;
            correct_sum += correct.to_vec::<i64>()?[0];
            timings.push((start.elapsed(), in_loss));
            bar.inc(1);
        }
        losses.push(loss_sum / training.len() as f32);
        training_accuracy = correct_sum as f64 / training.len() as f64;
        bar.set_message(format!(
            "{dtype}  loss {:.4}  {:.1} % correct",
            losses[epoch],
            100.0 * training_accuracy
        ));
    }

    let (test_loss, accuracy) = evaluate(context, &problem, &network, test)?;
    let in_loss: Duration = timings.iter().map(|&(_, in_loss)| in_loss).sum();
    let total: Duration = timings.iter().map(|&(step, _)| step).sum();
    timings.sort_unstable();
    let step = timings[timings.len() / 2].0;
    let loss_share = in_loss.as_secs_f64() / total.as_secs_f64();
    Ok(Outcome { dtype, losses, test_loss, accuracy, training_accuracy, step, loss_share })
}

/// Mean loss and accuracy on digits that the network has not seen.
fn evaluate(
    context: &Context,
    problem: &Problem,
    network: &Network,
    test: &Digits,
) -> Result<(f32, f64), Box<dyn Error>> {
    // The same problem, less what only training needs: no gradient is computed here.
    let problem = problem.clone().label_smoothing(0.0).outputs(Outputs::LOSS | Outputs::CORRECT);
    let plan = Plan::new(context, &problem)?;

    let logits = network.forward(&test.pixels).logits;
    let logits = Tensor::from_slice(&logits, &[test.len(), CLASSES])?.cast(problem.logits)?;
    let logits = logits.to(context)?;
    let labels = Tensor::from_slice(&test.labels, &[test.len()])?.to(context)?;
    let mut loss = Tensor::zeros_on(context, DType::F32, &[1])?;
    let mut correct = Tensor::zeros_on(context, DType::I64, &[1])?;
    let args = Args::new(&logits, &labels).loss(&mut loss).correct(&mut correct);
    plan.run(args, &mut plan.workspace(test.len())?)?;
    Ok((loss.to_vec::<f32>()?[0], correct.to_vec::<i64>()?[0] as f64 / test.len() as f64))
}

fn report(outcomes: &[Outcome]) {
    print!("\nmean loss of the training digits\nepoch");
    outcomes.iter().for_each(|o| print!("{:>10}", o.dtype.to_string()));
    for epoch in (0..EPOCHS).filter(|e| e == &0 || (e + 1) % 5 == 0) {
        print!("\n{:>5}", epoch + 1);
        outcomes.iter().for_each(|o| print!("{:>10.5}", o.losses[epoch]));
    }
    println!("\n\nlogits  test accuracy  in training  test loss  time per step  of which loss");
    for o in outcomes {
        println!(
            "{:<6}  {:>11.2} %  {:>9.2} %  {:>9.4}  {:>10.1} us  {:>11.1} %",
            o.dtype.to_string(),
            100.0 * o.accuracy,
            100.0 * o.training_accuracy,
            o.test_loss,
            1e6 * o.step.as_secs_f64(),
            100.0 * o.loss_share,
        );
    }
}

/// The loss of a network that predicts the smoothed labels exactly: their entropy.
fn lowest_loss() -> f32 {
    let other = SMOOTHING / CLASSES as f64;
    let label = 1.0 - SMOOTHING + other;
    (-label * label.ln() - (CLASSES - 1) as f64 * other * other.ln()) as f32
}

fn run(picture: &Path) -> Result<(), Box<dyn Error>> {
    let (training, test) = Digits::load()?;
    let context = Context::auto();
    println!("device   {}", context.device());
    println!("digits   {} to train on, {} to test with", training.len(), test.len());
    println!(
        "network  {PIXELS} -> {HIDDEN} -> {CLASSES} with ReLU; {EPOCHS} epochs of {BATCH} rows"
    );

    let dtypes = [DType::F32, DType::BF16, DType::F16];
    let steps = dtypes.len() * EPOCHS * training.len().div_ceil(BATCH);
    let bar = ProgressBar::new(steps as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} steps  {msg}")?);
    let outcomes = dtypes.map(|dtype| train(&context, dtype, &training, &test, &bar));
    bar.finish_and_clear();
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;

    report(&outcomes);
    let curves: Vec<_> = outcomes.iter().map(|o| (o.dtype.to_string(), &o.losses[..])).collect();
    chart::save(picture, &curves, lowest_loss())
        .map_err(|e| format!("{}: {e}", picture.display()))?;
    println!("\npicture  {}", picture.display());

    match outcomes.iter().find(|o| o.accuracy < EXPECTED_ACCURACY) {
        Some(Outcome { dtype, accuracy, .. }) => {
            Err(format!("{dtype}: test accuracy {accuracy:.4} is below {EXPECTED_ACCURACY}").into())
        }
        None => Ok(()),
    }
}

fn main() -> ExitCode {
    const USAGE: &str = "usage: train_digits [--out PATH]   PATH: where the picture goes (SVG)";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let picture = match arguments[..] {
        [] => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/train_digits.svg")),
        ["--out", path] => PathBuf::from(path),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("unknown arguments: {}\n{USAGE}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match run(&picture) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
