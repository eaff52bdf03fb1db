//! The picture: a loss curve for each type of logits, and how far they are from the first.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

/// Colour and width of each curve. They nearly coincide, so each one is drawn narrower than, and
/// on top of, the one before.
const STYLES: [(RGBColor, u32); 3] =
    [(RGBColor(158, 202, 225), 10), (RGBColor(230, 85, 13), 5), (RGBColor(20, 20, 20), 2)];

/// Writes an SVG of the curves, (name, loss of each epoch), whose lowest possible loss is `lowest`.
/// The first curve is what the others are compared with.
pub fn save(path: &Path, curves: &[(String, &[f32])], lowest: f32) -> Result<(), Box<dyn Error>> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let root = SVGBackend::new(path, (840, 680)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(430);
    let epochs = curves[0].1.len() as f32;
    let all = || curves.iter().flat_map(|(_, losses)| losses.iter().map(|loss| loss - lowest));
    let low = 10f32.powf(all().fold(f32::MAX, f32::min).max(1e-6).log10().floor());
    let high = 10f32.powf(all().fold(low, f32::max).log10().ceil());

    let mut losses = ChartBuilder::on(&upper)
        .caption("Learning handwritten digits with logits in three types", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d(0f32..epochs + 0.5, (low..high).log_scale())?;
    losses
        .configure_mesh()
        .light_line_style(BLACK.mix(0.05))
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .x_desc("epoch")
        .y_desc(format!("training loss above its minimum of {lowest:.3}"))
        .y_label_formatter(&|loss| format!("{loss}"))
        .draw()?;
    for ((name, curve), (color, width)) in curves.iter().zip(STYLES) {
        let style = color.stroke_width(width);
        losses
            .draw_series(LineSeries::new(points(curve, lowest), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 34, y)], style));
    }
    losses
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(46)
        .margin(14)
        .label_font(("sans-serif", 16))
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;

    let (reference, others) = (&curves[0], &curves[1..]);
    let percent = |curve: &[f32]| -> Vec<f32> {
        curve.iter().zip(reference.1).map(|(x, f32)| 100.0 * (x / f32 - 1.0)).collect()
    };
    let others: Vec<Vec<f32>> = others.iter().map(|(_, curve)| percent(curve)).collect();
    let largest = others.iter().flatten().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    let mut differences = ChartBuilder::on(&lower)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d(0f32..epochs + 0.5, -1.15 * largest..1.15 * largest)?;
    differences
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .y_labels(5)
        .y_label_formatter(&|percent| format!("{:+.2}", percent + 1e-6)) // no -0.00
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .x_desc("epoch")
        .y_desc(format!("loss against {} (%)", reference.0))
        .draw()?;
    for (curve, (color, width)) in others.iter().zip(&STYLES[1..]) {
        differences.draw_series(LineSeries::new(points(curve, 0.0), color.stroke_width(*width)))?;
    }
    root.present()?;
    Ok(())
}

/// Epochs count from 1.
fn points(curve: &[f32], origin: f32) -> impl Iterator<Item = (f32, f32)> {
    curve.iter().enumerate().map(move |(epoch, &y)| (epoch as f32 + 1.0, y - origin))
}
