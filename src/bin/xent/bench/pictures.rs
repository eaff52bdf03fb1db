//! A report as pictures: bandwidth against the number of classes, with what a copy reaches, and how many
//! times as long others take.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::cell::Mode;
use super::report::{Measured, Report};
use super::statistics::median;

/// Colours that can also be told apart by those who see few of them (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// A line of a picture: points by the number of classes.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    /// A limit, which is dashed.
    is_limit: bool,
}

/// Draws all that a report has lines for, and says where.
pub fn draw(report: &Report, folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let right = report.results.iter().filter(|result| result.seconds.is_some());
    let plain: Vec<&Measured> = right.filter(|result| result.option == "none").collect();
    let mut files = Vec::new();
    let mut add = |name: String, title: String, what, lines: Vec<Line>| {
        if lines.is_empty() {
            return Ok(());
        }
        let file = folder.join(name);
        let saved = save(&file, &format!("{title} on {}", report.device.name), what, &lines);
        files.push(file);
        saved
    };
    for mode in [Mode::Forward, Mode::Fused, Mode::Separate, Mode::InPlace] {
        let of_mode: Vec<&Measured> =
            plain.iter().copied().filter(|result| result.mode == mode).collect();
        let name = mode.to_string().replace(' ', "-");
        let (file, title) = (format!("bandwidth-{name}.svg"), format!("{mode}: bandwidth"));
        add(file, title, "GB/s", bandwidths(&of_mode))?;
        for dtype in ["f32", "f16", "bf16"] {
            let of_type: Vec<&Measured> =
                of_mode.iter().copied().filter(|result| result.dtype == dtype).collect();
            let file = format!("speed-up-{name}-{dtype}.svg");
            let title = format!("{mode}, {dtype}: times of others");
            add(file, title, "time / time of xent", speed_ups(&of_type))?;
        }
    }
    Ok(files)
}

/// The library's lines, one for each type, and the copy's.
fn bandwidths(results: &[&Measured]) -> Vec<Line> {
    let ours = results.iter().filter(|result| result.contender == "xent");
    let mut lines: BTreeMap<&str, BTreeMap<usize, Vec<f64>>> = BTreeMap::new();
    let mut copy: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for result in ours {
        let line = lines.entry(&result.dtype).or_default();
        line.entry(result.classes).or_default().extend(result.gb_per_s);
        copy.entry(result.classes).or_default().extend(result.copy_gb_per_s);
    }
    let named = |name: &str, points, is_limit| Line {
        name: name.into(),
        points: medians(points),
        is_limit,
    };
    let lines = lines.into_iter().map(|(name, points)| named(name, points, false));
    let lines: Vec<Line> = lines.chain([named("copy", copy, true)]).collect();
    lines.into_iter().filter(|line| !line.points.is_empty()).collect()
}

/// How many times as long each of the others takes.
fn speed_ups(results: &[&Measured]) -> Vec<Line> {
    let seconds = |result: &Measured| result.seconds.map(|seconds| seconds.median);
    let mut lines: BTreeMap<&str, BTreeMap<usize, Vec<f64>>> = BTreeMap::new();
    for peer in results.iter().filter(|result| result.contender != "xent") {
        let ours = results.iter().find(|result| {
            result.contender == "xent" && (result.classes, result.rows) == (peer.classes, peer.rows)
        });
        if let Some((ours, theirs)) = ours.and_then(|ours| Some((seconds(ours)?, seconds(peer)?))) {
            let line = lines.entry(&peer.contender).or_default();
            line.entry(peer.classes).or_default().push(theirs / ours);
        }
    }
    let named = |(name, points): (&str, _)| Line {
        name: name.into(),
        points: medians(points),
        is_limit: false,
    };
    let mut lines: Vec<Line> = lines.into_iter().map(named).collect();
    if let Some(first) = lines.first() {
        let points = first.points.iter().map(|(classes, _)| (*classes, 1.0)).collect();
        lines.push(Line { name: "xent".into(), points, is_limit: true });
    }
    lines
}

/// Where there are several numbers of rows, the one in the middle.
fn medians(points: BTreeMap<usize, Vec<f64>>) -> Vec<(f64, f64)> {
    let some = points.into_iter().filter(|(_, values)| !values.is_empty());
    some.map(|(classes, values)| (classes as f64, median(values))).collect()
}

/// Writes an SVG of lines against the number of classes.
fn save(path: &Path, title: &str, what: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (860, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(720);
    let points = || lines.iter().flat_map(|line| &line.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.0).fold(0.0, f64::max);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let classes = (0.8 * least..1.25 * most).log_scale();
    let mut chart = ChartBuilder::on(&left)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(classes, 0.0..1.1 * highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .x_label_formatter(&|classes| format!("{classes:.0}"))
        .x_desc("classes")
        .y_desc(what)
        .draw()?;
    for (number, line) in lines.iter().enumerate() {
        let color = if line.is_limit { BLACK } else { COLORS[number % COLORS.len()] };
        let style = color.stroke_width(2);
        let points = line.points.iter().copied();
        let y = 60 + 24 * number as i32;
        let key = [(8, y), (36, y)];
        right.draw(&Text::new(line.name.as_str(), (44, y - 7), ("sans-serif", 14)))?;
        if line.is_limit {
            chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?;
            right.draw(&DashedPathElement::new(key, 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points.clone(), style))?;
            chart.draw_series(points.map(|point| Circle::new(point, 4, color.filled())))?;
            right.draw(&PathElement::new(key, style))?;
        }
    }
    root.present()?;
    Ok(())
}
