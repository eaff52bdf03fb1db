//! How far off loss and gradient are, in units in the last place, beside the textbook formula in `f32`
//! (softmax by exp(x - max), its logarithm for the loss), for logits of several kinds.
//!
//! ```sh
//! cargo bench --bench accuracy
//! ```

#[path = "../src/bin/xent/bounds.rs"]
#[allow(dead_code)]
mod bounds;
#[path = "../src/bin/xent/case.rs"]
#[allow(dead_code)]
mod case;

use bounds::ulp;
use case::{Case, Target, normal};
use comfy_table::{CellAlignment, Table, presets};
use xent::{Args, Context, DType, Outputs, Plan, Problem, Reduction, Tensor};

const ROWS: usize = 64;

/// Logits of a row, made of normally distributed numbers.
type Kind = (&'static str, fn(&mut [f64], usize));

const KINDS: [Kind; 5] = [
    ("normal", |_, _| ()),
    ("10 times as wide", |x, _| x.iter_mut().for_each(|x| *x *= 10.0)),
    ("far from 0", |x, _| x.iter_mut().for_each(|x| *x += 1000.0)),
    ("sure of the target", |x, target| x[target] = 30.0),
    ("sure of another", |x, target| x[(target + 1) % x.len()] = 30.0),
];

/// Losses and gradients.
struct Found {
    losses: Vec<f64>,
    gradient: Vec<f64>,
}

/// The largest errors of losses and gradient.
fn errors(found: &Found, exact: &Found, dtype: DType) -> [f64; 2] {
    let worst = |found: &[f64], exact: &[f64], dtype| {
        let errors = found.iter().zip(exact).map(|(a, b)| (a - b).abs() / ulp(*b, dtype));
        errors.fold(0.0, f64::max)
    };
    [
        worst(&found.losses, &exact.losses, DType::F32),
        worst(&found.gradient, &exact.gradient, dtype),
    ]
}

fn ours(case: &Case, targets: &[i64]) -> xent::Result<Found> {
    let (dtype, classes) = (case.problem.logits, case.problem.classes);
    let plan = Plan::new(&Context::cpu(), &case.problem)?;
    let logits = Tensor::from_slice(&case.logits, &[ROWS, classes])?.cast(dtype)?;
    let (mut losses, mut gradient) = (vec![0f32; ROWS], Tensor::zeros(dtype, &[ROWS, classes])?);
    let args = Args::new(&logits, targets).loss(&mut losses).dlogits(&mut gradient);
    plan.run(args, &mut plan.workspace(ROWS)?)?;
    let losses = losses.into_iter().map(f64::from).collect();
    Ok(Found { losses, gradient: gradient.cast(DType::F64)?.to_vec()? })
}

/// What is found in many programs, its result rounded to the type.
fn textbook(case: &Case, targets: &[i64]) -> Found {
    let mut found = Found { losses: vec![], gradient: vec![] };
    for (row, &target) in targets.iter().enumerate() {
        let x: Vec<f32> = case.logits_row(row).iter().map(|&x| x as f32).collect();
        let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let e: Vec<f32> = x.iter().map(|x| (x - largest).exp()).collect();
        let sum: f32 = e.iter().sum();
        let p: Vec<f32> = e.iter().map(|e| e / sum).collect();
        let target = target as usize;
        found.losses.push(f64::from(-p[target].ln()));
        found.gradient.extend(p.iter().enumerate().map(|(class, p)| {
            let hit = if class == target { 1.0 } else { 0.0 };
            case::round(f64::from(p - hit), case.problem.dlogits)
        }));
    }
    found
}

fn main() -> xent::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "type",
        "classes",
        "logits",
        "ulp: loss",
        "gradient",
        "textbook: loss",
        "gradient",
    ]);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for classes in [10, 1000, 50_257] {
            for (name, change) in KINDS {
                let problem = Problem::new(dtype, classes).reduction(Reduction::None);
                let mut case = Case::new(problem, ROWS, normal(1, ROWS * classes, 3.0), 2);
                case.problem.outputs = Outputs::LOSS | Outputs::DLOGITS;
                let targets: Vec<i64> =
                    (0..ROWS).map(|row| (row * 7919 % classes) as i64).collect();
                case.target = Target::Classes(targets.clone());
                for (x, &target) in case.logits.chunks_mut(classes).zip(&targets) {
                    change(x, target as usize);
                    x.iter_mut().for_each(|x| *x = case::round(*x, dtype));
                }
                let reference = case.reference();
                let exact = Found { losses: reference.loss, gradient: reference.dlogits };
                let errors = [ours(&case, &targets)?, textbook(&case, &targets)]
                    .map(|found| errors(&found, &exact, dtype));
                let mut cells = vec![dtype.to_string(), classes.to_string(), name.to_owned()];
                cells.extend(errors.concat().iter().map(|error| match error {
                    ..1e6 => format!("{error:.2}"),
                    _ => format!("{error:.0e}"),
                }));
                table.add_row(cells);
            }
        }
    }
    println!("{table}");
    Ok(())
}
