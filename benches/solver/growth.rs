//! The picture of how times grow: panels beside and below each other, milliseconds on a logarithmic scale.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

/// What grows along one axis.
pub(crate) struct Panel {
    /// What is counted.
    pub(crate) title: &'static str,
    /// Its lines.
    pub(crate) lines: Vec<Line>,
}

/// One line.
pub(crate) struct Line {
    /// What it is of.
    pub(crate) name: String,
    /// The count, and milliseconds.
    pub(crate) points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (1140, 720);
/// Told apart without colour as well: the first is drawn with dots, the second with rings.
const COLOURS: [RGBColor; 2] = [RGBColor(0, 90, 160), RGBColor(200, 80, 0)];

/// Draws the panels into a file.
pub(crate) fn draw(panels: &[Panel], path: &Path) -> Result<(), Box<dyn Error>> {
    let picture = SVGBackend::new(path, SIZE).into_drawing_area();
    picture.fill(&WHITE)?;
    let all = panels.iter().flat_map(|panel| &panel.lines);
    let times: Vec<f64> = all
        .flat_map(|line| line.points.iter().map(|it| it.1))
        .collect();
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let most = times.iter().copied().fold(1.0, f64::max);
    for (area, panel) in picture
        .split_evenly((2, panels.len().div_ceil(2)))
        .iter()
        .zip(panels)
    {
        let counts = panel.lines.iter().flat_map(|line| &line.points);
        let end = counts.map(|it| it.0).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..end * 1.05, (least / 2.0..most * 4.0).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(6)
            .x_label_formatter(&|count| format!("{count:.0}"))
            .y_label_formatter(&|time| format!("{time}"))
            .x_desc(panel.title)
            .y_desc("ms")
            .label_style(("sans-serif", 13))
            .draw()?;
        for (index, line) in panel.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let mark = if index == 0 {
                colour.filled()
            } else {
                colour.stroke_width(2)
            };
            chart
                .draw_series(LineSeries::new(
                    line.points.iter().copied(),
                    colour.stroke_width(2),
                ))?
                .label(line.name.as_str())
                .legend(move |(x, y)| Circle::new((x + 8, y), 4, mark));
            let dots = line.points.iter().map(|point| Circle::new(*point, 4, mark));
            chart.draw_series(dots)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 13))
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    picture.present()?;
    Ok(())
}
