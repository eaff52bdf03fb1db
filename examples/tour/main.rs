//! The worked numbers of well-known tutorials on cross entropy: what this library computes, what is
//! right, and the two pictures that they draw.
//!
//!     cargo run --release --example tour [-- --out FOLDER]
//!
//! All in f32, on a GPU if there is one that can be used, else on the CPU.
#![allow(clippy::approx_constant)] // numbers as the tutorials print them

mod page;
mod pictures;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use page::Page;
use xent::{Clip, DType, Form, Outputs, Problem, Reduction, Renormalise, Unit};

#[derive(Parser)]
struct Arguments {
    /// Folder of the pictures (SVG)
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tour"))]
    out: PathBuf,
}

const F32: DType = DType::F32;
/// What has no targets is given these.
const NONE: [f32; 0] = [];

/// Two rows of three logits, and their classes.
const LOGITS: [f32; 6] = [1.0, 2.0, 3.0, 2.0, 4.0, 6.0];
const CLASSES: [i64; 2] = [0, 2];
/// The same classes as one-hot rows.
const ONE_HOT: [f32; 6] = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
/// Predictions that are wrong in the first row, by as much as can be.
const PREDICTIONS: [f32; 6] = [0.3, 0.7, 0.0, 0.5, 0.2, 0.3];
const TRUTH: [f32; 6] = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0];

fn of_probabilities(classes: usize) -> Problem {
    Problem::cross_entropy_from_probs(F32, classes)
}

fn softmax(page: &mut Page) -> xent::Result<()> {
    page.section("Logits become probabilities: rows (1, 2, 3) and (2, 4, 6)");
    let p = [0.0900305732, 0.2447284711, 0.6652409558, 0.01587624, 0.1173104278, 0.8668133322];
    page.compute("softmax", Problem::softmax(F32, 3), &LOGITS, &NONE, &p)?;
    let logarithms = [
        -2.40760596444,
        -1.40760596444,
        -0.40760596444,
        -4.1429316285,
        -2.1429316285,
        -0.1429316285,
    ];
    page.compute("its logarithm", Problem::log_softmax(F32, 3), &LOGITS, &NONE, &logarithms)
}

fn of_logits(page: &mut Page) -> xent::Result<()> {
    page.section("Their cross entropy, with classes 0 and 2");
    let problem = || Problem::new(F32, 3);
    let rows = [2.40760596444, 0.1429316285];
    page.compute("each row", problem().reduction(Reduction::None), &LOGITS, &CLASSES, &rows)?;
    let sum = problem().reduction(Reduction::Sum);
    page.compute("sum", sum, &LOGITS, &CLASSES, &[2.55053759294])?;
    page.compute("mean", problem(), &LOGITS, &CLASSES, &[1.27526879647])?;
    page.compute("one-hot rows", problem().targets(F32), &LOGITS, &ONE_HOT, &[1.27526879647])?;
    let smoothed = problem().label_smoothing(0.3);
    page.compute("label smoothing 0.3", smoothed, &LOGITS, &CLASSES, &[1.42526879647])?;
    let gradient =
        [-0.454984713, 0.122364236, 0.332620478, 0.00793811999, 0.0586552139, -0.0665933339];
    let gradient_alone = problem().outputs(Outputs::DLOGITS);
    page.compute("gradient of the mean", gradient_alone, &LOGITS, &CLASSES, &gradient)
}

fn of_clipped_probabilities(page: &mut Page) -> xent::Result<()> {
    page.section("Cross entropy of probabilities: what log 0 is depends on the clip");
    let wrong = |clip| of_probabilities(3).targets(F32).clip(clip);
    let clips = [
        ("no clip", Clip::None, f64::INFINITY),
        ("clipped to [1e-20, 1 - 1e-20]", Clip::Range(1e-20), 46.0517018599),
        ("clipped to [1e-15, 1 - 1e-15]", Clip::Range(1e-15), 34.538776394910684),
        ("clipped to [1e-12, 1 - 1e-12]", Clip::Range(1e-12), 27.6310211159),
        ("clipped to [1e-7, 1 - 1e-7]", Clip::Range(1e-7), 16.11809565095832),
        ("log p at least -100", Clip::Logarithm(100.0), 100.0),
    ];
    for (name, clip, expected) in clips {
        page.compute(name, wrong(clip), &PREDICTIONS[..3], &TRUTH[..3], &[expected])?;
    }
    let p = [0.25, 0.25, 0.25, 0.25, 0.01, 0.01, 0.01, 0.96];
    page.compute("mean of two rows", of_probabilities(4), &p, &[3i64, 3], &[0.7135581778200729])?;
    let divided = of_probabilities(3).renormalise(Renormalise::BeforeClip);
    page.compute(
        "(1, 2, 5) divided by its sum",
        divided,
        &[1.0, 2.0, 5.0],
        &[2i64],
        &[0.47000362925],
    )?;
    let (p, q) = ([5.0f32, 1.0, 4.0, 6.0, 2.0, 4.0], [3.0, 7.0, 1.0, 4.0, 1.0, 6.0]);
    let vectors = of_probabilities(6).targets(F32);
    page.compute("vectors of any sum", vectors, &q, &p, &[-22.923775636027425])
}

fn binary(page: &mut Page) -> xent::Result<()> {
    page.section("Binary cross entropy");
    let clipped = Problem::bce(F32, 2).clip(Clip::Range(1e-12));
    page.compute(
        "(.01, .99) against (0, 1)",
        clipped,
        &[0.01, 0.99],
        &[0f32, 1.0],
        &[0.01005033585],
    )?;
    let (p, y) = ([0.5, 0.4, 0.6, 0.3], [0f32, 1.0, 0.0, 0.0]);
    let keras = || Problem::keras_binary_crossentropy(F32, 2);
    let rows = keras().reduction(Reduction::RowMean);
    page.compute("Keras, each sample", rows, &p, &y, &[0.8047189562, 0.6364828379])?;
    page.compute("Keras, mean", keras(), &p, &y, &[0.7206008970617469])?;
    let elements = Problem::bce_with_logits(F32, 3).reduction(Reduction::Elements);
    let expected = [0.006715348489118068, 100.0, 0.6931471806];
    page.compute("logits 5, 100 and 0", elements, &[5.0, 100.0, 0.0], &[1f32, 0.0, 1.0], &expected)
}

fn of_log_probabilities(page: &mut Page) -> xent::Result<()> {
    page.section("Negative log-likelihood: -log p for p = 1, .9, .5, .1, .01");
    let p = [1.0f32, 0.9, 0.5, 0.1, 0.01];
    let expected = [0.0, 0.1053605157, 0.6931471806, 2.302585093, 4.605170186];
    let rows = |problem: Problem| problem.reduction(Reduction::None);
    let classes = [0i64; 5];
    page.compute("of probabilities", rows(of_probabilities(1)), &p, &classes, &expected)?;
    let logarithms = p.map(f32::ln);
    page.compute(
        "of their logarithms",
        rows(Problem::nll_loss(F32, 1)),
        &logarithms,
        &classes,
        &expected,
    )
}

fn information(page: &mut Page) -> xent::Result<()> {
    page.section("Entropy and divergence of p = (.7, .2, .1) from q = (.2, .5, .3)");
    let (p, q) = ([0.7f32, 0.2, 0.1], [0.2, 0.5, 0.3]);
    let coin = Problem::entropy(F32, 2).unit(Unit::Bits);
    page.compute("a fair coin, in bits", coin, &[0.5, 0.5], &NONE, &[1.0])?;
    page.compute("a sure outcome", Problem::entropy(F32, 2), &[1.0, 0.0], &NONE, &[0.0])?;
    page.compute("H(p)", Problem::entropy(F32, 3), &p, &NONE, &[0.8018185525])?;
    let divergence = Problem::kl_div(F32, 3).input(Form::Probabilities);
    let divergence = divergence.reduction(Reduction::BatchMean);
    page.compute("KL(p, q)", divergence, &q, &p, &[0.58381470272])?;
    page.compute(
        "H(p, q) = H(p) + KL(p, q)",
        of_probabilities(3).targets(F32),
        &q,
        &p,
        &[1.38563325525],
    )
}

fn conventions(page: &mut Page) -> xent::Result<()> {
    page.section(
        "Two samples, (.3, .7, 0) of class 2 and (.5, .2, .3) of class 1, as others have them",
    );
    let keras = Problem::keras_categorical_crossentropy(F32, 3).targets(F32);
    let each = keras.clone().reduction(Reduction::None);
    let expected = [16.11809565095832, 1.6094379124341];
    page.compute("Keras, each sample", each, &PREDICTIONS, &TRUTH, &expected)?;
    page.compute("Keras, mean", keras, &PREDICTIONS, &TRUTH, &[8.8637667817])?;
    let legacy = Problem::sklearn_legacy_log_loss(F32, 3).targets(F32);
    page.compute("scikit-learn up to 1.1", legacy, &PREDICTIONS, &TRUTH, &[18.074107153672394])?;
    let today = Problem::sklearn_log_loss(F32, 3).targets(F32);
    page.compute("scikit-learn, in f32", today, &PREDICTIONS, &TRUTH, &[8.77591164895])?;
    let caffe = Problem::caffe_multinomial_logistic_loss(F32, 3);
    page.compute("Caffe", caffe, &PREDICTIONS, &[2i64, 1], &[23.8305698862])?;
    let logits = Problem::new(F32, 3);
    page.compute("taken for logits", logits, &PREDICTIONS, &[2i64, 1], &[1.3565655522346258])
}

fn labels(page: &mut Page) -> xent::Result<()> {
    page.section("Labels");
    let mut rows = [0f32; 6];
    xent::one_hot(&CLASSES, 3, &mut rows)?;
    page.compare("classes 0 and 2, one-hot", &rows, &ONE_HOT.map(f64::from));
    let mut row = [0f32; 4];
    xent::distributions(&[1u8, 0, 0, 1], 4, &mut row)?;
    page.compare("(1, 0, 0, 1) as a distribution", &row, &[0.5, 0.0, 0.0, 0.5]);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { out } = Arguments::parse();
    let mut page = Page::new();
    let sections =
        [softmax, of_logits, of_clipped_probabilities, binary, of_log_probabilities, information];
    for section in sections.into_iter().chain([conventions, labels]) {
        section(&mut page)?;
    }
    page.section("Pictures");
    for picture in pictures::draw(&page, &out)? {
        println!("  {}", picture.display());
    }
    match page.wrong() {
        0 => Ok(()),
        count => Err(format!("{count} numbers are not what they should be").into()),
    }
}
