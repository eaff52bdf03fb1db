//! The pictures: losses that this library computed, against probabilities.

use std::error::Error;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use xent::{Clip, DType, Outputs, Problem, Reduction};

use crate::page::Page;

/// Draws both pictures, and says where.
pub fn draw(page: &Page, folder: &Path) -> Result<[PathBuf; 2], Box<dyn Error>> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let curve = folder.join("loss.svg");
    let p: Vec<f32> = (1..=1000).map(|i| i as f32 / 1000.0).collect();
    let of_curve = losses(page, &p, Clip::None)?;
    save(&curve, "The loss of a class, given its probability", &p, &of_curve, false)?;

    let steps = folder.join("steps.svg");
    let p: Vec<f32> = (0..=10).map(|i| 1.0 - i as f32 / 10.0).collect();
    let of_steps = losses(page, &p, Clip::Add(1e-15))?;
    save(&steps, "Eleven predictions of a class, from sure to excluded", &p, &of_steps, true)?;
    Ok([curve, steps])
}

/// -log p, clipped, of the second of two classes.
fn losses(page: &Page, p: &[f32], clip: Clip) -> xent::Result<Vec<f32>> {
    let problem = Problem::cross_entropy_from_probs(DType::F32, 2).clip(clip);
    let problem = problem.reduction(Reduction::None).outputs(Outputs::LOSS);
    let rows: Vec<f32> = p.iter().flat_map(|p| [1.0 - p, *p]).collect();
    page.run(&problem, &rows, &vec![1i64; p.len()], p.len())
}

/// Writes an SVG of losses against probabilities.
fn save(
    path: &Path,
    title: &str,
    p: &[f32],
    losses: &[f32],
    has_marks: bool,
) -> Result<(), Box<dyn Error>> {
    const COLOR: RGBColor = RGBColor(230, 85, 13);
    let root = SVGBackend::new(path, (760, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let highest = losses.iter().copied().fold(0.0, f32::max);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0f32..1f32, 0f32..1.05 * highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .x_label_formatter(&|p| format!("{p:.1}"))
        .x_desc("probability of the class")
        .y_desc("cross entropy (nats)")
        .draw()?;
    let points = || p.iter().copied().zip(losses.iter().copied());
    chart.draw_series(LineSeries::new(points(), COLOR.stroke_width(3)))?;
    if has_marks {
        chart.draw_series(points().map(|point| Circle::new(point, 5, COLOR.filled())))?;
    }
    root.present()?;
    Ok(())
}
