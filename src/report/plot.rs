//! Curves against epochs or steps, as PNG.

use std::path::Path;
use std::sync::OnceLock;

use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::axis::{Axis, Scale};
use super::font::FONT_BYTES;
use super::png;
use crate::error::{Error, Result};

/// The name under which plotters knows the bundled font.
const FAMILY: &str = "degrain";
/// Told apart by colour-blind readers too (Okabe and Ito 2008).
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const BASELINE: RGBColor = RGBColor(90, 90, 90);
/// Losses past this are as good as infinite, and f64 arithmetic on an axis stays finite.
const LARGEST: f64 = 1e30;

/// The least x on a logarithmic axis.
const SMALLEST_X: f64 = 1e-30;

/// Curves with more points than this are lines without dots.
const MOST_DOTS: usize = 60;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, BitMapBackend<'b>, Cartesian2d<Axis, Axis>>;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Curve {
    /// In the legend.
    pub label: String,
    /// (x, y), in the order in which they are joined. Points that are not finite are left out and break the line.
    pub points: Vec<(f64, f64)>,
}

/// Curves over a common x, with an optional level to compare them with.
///
/// The y axis is logarithmic where all values are positive and span more than a decade.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// Over the plot.
    pub title: String,
    /// Under the x axis.
    pub x_label: String,
    /// Beside the y axis.
    pub y_label: String,
    /// The lines.
    pub curves: Vec<Curve>,
    /// A dashed horizontal line: its label and its y.
    pub baseline: Option<(String, f64)>,
    /// Whether the x axis is logarithmic, as suits sizes that double; not where an x is 0 or less.
    pub log_x: bool,
}

impl Plot {
    /// Training and, where there is one, validation loss by epoch, counted from 1; `baseline` as in [`Plot`], such as
    /// the error of a PCA with a code of the same size.
    pub fn losses(train: &[f64], validation: &[f64], baseline: Option<(String, f64)>) -> Self {
        let curve = |label: &str, losses: &[f64]| Curve {
            label: label.to_owned(),
            points: losses.iter().enumerate().map(|(epoch, &loss)| (epoch as f64 + 1.0, loss)).collect(),
        };
        let curves = [curve("train", train), curve("validation", validation)];
        Self {
            title: "Loss".to_owned(),
            x_label: "epoch".to_owned(),
            y_label: "loss".to_owned(),
            curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
            baseline,
            log_x: false,
        }
    }

    /// Draws the plot, `width` x `height` pixels.
    ///
    /// # Errors
    /// Where a side is less than 200 or more than 8,000 pixels.
    pub fn draw(&self, width: u32, height: u32) -> Result<RgbImage> {
        if !(200..=8000).contains(&width) || !(200..=8000).contains(&height) {
            return Err(Error::setting("plot", format!("{width}x{height} pixels: take 200 to 8000 on each side")));
        }
        self.draw_in(width, height, Unit::of(width, height))
    }

    /// Draws the plot at 760x640 pixels with letters that can be read where that is as wide as a phone.
    ///
    /// # Errors
    /// If the bundled font cannot be used.
    pub fn draw_narrow(&self) -> Result<RgbImage> {
        self.draw_in(760, 640, Unit(1.8))
    }

    fn draw_in(&self, width: u32, height: u32, unit: Unit) -> Result<RgbImage> {
        load_font()?;
        let mut pixels = vec![255; width as usize * height as usize * 3];
        {
            let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
            self.render(&area, unit)
                .map_err(|problem| Error::setting("plot", format!("cannot be drawn: {problem}")))?;
        }
        RgbImage::from_raw(width, height, pixels).ok_or_else(|| Error::setting("plot", "has the wrong size"))
    }

    /// Draws the plot at 1800x1080 pixels, for screens with fine pixels, and writes it as PNG: the file is complete or as it was.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<()> {
        png::write_png(&self.draw(1800, 1080)?, path)
    }

    fn render(&self, area: &Area<'_>, unit: Unit) -> Result<(), String> {
        let ys = || self.points().map(|(_, y)| y).chain(self.level());
        let xs = || self.points().map(|(x, _)| x);
        let is_positive = xs().all(|x| x > SMALLEST_X);
        let x = Axis::new(if self.log_x && is_positive { Scale::Logarithmic } else { Scale::Linear }, xs());
        let y = Axis::new(Scale::of(ys()), ys());
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, unit.font(22))
            .margin(unit.pixels(12))
            .x_label_area_size(unit.pixels(44))
            .y_label_area_size(unit.pixels(76))
            .build_cartesian_2d(x, y)
            .map_err(text)?;
        self.draw_axes(&mut chart, unit)?;
        for (curve, &colour) in self.curves.iter().zip(COLOURS.iter().cycle()) {
            draw_curve(&mut chart, curve, [x.scale, y.scale], colour, unit)?;
        }
        self.draw_baseline(&mut chart, x, y.scale, unit)?;
        if self.points().next().is_none() && self.level().is_none() {
            return Ok(());
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font(unit.font(15))
            .legend_area_size(unit.pixels(30))
            .margin(unit.pixels(8))
            .draw()
            .map_err(text)
    }

    fn draw_axes(&self, chart: &mut Chart<'_, '_>, unit: Unit) -> Result<(), String> {
        let chart_width = chart.plotting_area().dim_in_pixel().0;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225).stroke_width(unit.pixels(1)))
            .axis_style(RGBColor(80, 80, 80).stroke_width(unit.pixels(1)))
            .set_all_tick_mark_size(unit.pixels(5))
            .label_style(unit.font(15))
            .axis_desc_style(unit.font(16))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .x_labels(unit.labels(chart_width, 80).min(10))
            .y_labels(8)
            .draw()
            .map_err(text)
    }

    fn draw_baseline(&self, chart: &mut Chart<'_, '_>, x: Axis, scale: Scale, unit: Unit) -> Result<(), String> {
        let (Some((label, _)), Some(level)) = (&self.baseline, self.level()) else { return Ok(()) };
        let ends = [x.low, x.high].map(|x| (x, scale.forward(level)));
        let style = BASELINE.stroke_width(unit.pixels(2));
        let line = DashedLineSeries::new(ends, unit.pixels(8), unit.pixels(6), style);
        let drawn = chart.draw_series(line).map_err(text)?;
        drawn.label(label).legend(move |at| key(at, BASELINE, unit));
        Ok(())
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.curves.iter().flat_map(|curve| &curve.points).copied().filter(|&point| drawable(point))
    }

    fn level(&self) -> Option<f64> {
        self.baseline.as_ref().map(|(_, level)| *level).filter(|level| level.abs() <= LARGEST)
    }
}

/// Whether a point can stand on an axis.
pub(super) fn drawable((x, y): (f64, f64)) -> bool {
    x.abs() <= LARGEST && y.abs() <= LARGEST
}

/// Joins the points; where there are few of them, each has a dot too.
fn draw_curve(
    chart: &mut Chart<'_, '_>,
    curve: &Curve,
    [x_scale, y_scale]: [Scale; 2],
    colour: RGBColor,
    unit: Unit,
) -> Result<(), String> {
    let runs = curve.points.split(|point| !drawable(*point)).filter(|run| !run.is_empty());
    for (index, run) in runs.enumerate() {
        let points = || run.iter().map(|&(x, y)| (x_scale.forward(x), y_scale.forward(y)));
        let style = colour.stroke_width(unit.pixels(2));
        let line = chart.draw_series(LineSeries::new(points(), style)).map_err(text)?;
        if index == 0 {
            line.label(&curve.label).legend(move |at| key(at, colour, unit));
        }
        if run.len() <= MOST_DOTS {
            let dots = points().map(|point| Circle::new(point, unit.pixels(3), colour.filled()));
            chart.draw_series(dots).map_err(text)?;
        }
    }
    Ok(())
}

/// A short line in the legend.
fn key((x, y): (i32, i32), colour: RGBColor, unit: Unit) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + unit.pixels(18) as i32, y)], colour.stroke_width(unit.pixels(2)))
}

pub(super) fn text(problem: DrawingAreaErrorKind<impl std::error::Error + Send + Sync>) -> String {
    problem.to_string()
}

/// How many pixels of the picture make one of the 900x540 that sizes are given for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit(f64);

impl Unit {
    /// Of a picture of this size.
    pub(super) fn of(width: u32, height: u32) -> Self {
        Self((f64::from(width) / 900.0).min(f64::from(height) / 540.0).max(0.7))
    }

    pub(super) fn pixels(self, count: u32) -> u32 {
        (f64::from(count) * self.0).round().max(1.0) as u32
    }

    /// How many labels as wide as `each` units stand side by side in `room` pixels.
    fn labels(self, room: u32, each: u32) -> usize {
        (room / self.pixels(each)).max(2) as usize
    }

    /// Of even height: at odd ones plotters sets the full stop a pixel too high.
    pub(super) fn font(self, height: u32) -> (&'static str, u32) {
        (FAMILY, self.pixels(height).next_multiple_of(2))
    }
}

pub(super) fn load_font() -> Result<()> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    if *LOADED.get_or_init(|| register_font(FAMILY, FontStyle::Normal, FONT_BYTES).is_ok()) {
        return Ok(());
    }
    Err(Error::setting("font", "the bundled font cannot be used"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn pixels_like(image: &RgbImage, colour: RGBColor) -> usize {
        let near = |pixel: &[u8; 3]| pixel.iter().zip([colour.0, colour.1, colour.2]).all(|(a, b)| a.abs_diff(b) < 12);
        image.pixels().filter(|pixel| near(&pixel.0)).count()
    }

    #[test]
    fn curves_and_baseline_are_drawn() {
        let train: Vec<f64> = (0..25).map(|i| 0.05 * (-0.1 * f64::from(i)).exp() + 0.002).collect();
        let validation: Vec<f64> = train.iter().map(|loss| loss * 1.1).collect();
        let plot = Plot::losses(&train, &validation, Some(("PCA 32".to_owned(), 0.004)));
        let image = plot.draw(900, 540).unwrap();
        for colour in [COLOURS[0], COLOURS[1], BASELINE] {
            assert!(pixels_like(&image, colour) > 500, "{colour:?}: {}", pixels_like(&image, colour));
        }
        assert_eq!(plot.draw(900, 540).unwrap(), image);
        let narrow = plot.draw_narrow().unwrap();
        assert!(narrow.dimensions() == (760, 640) && pixels_like(&narrow, COLOURS[0]) > 500);
        assert!(plot.draw(100, 540).is_err() && plot.draw(900, 9000).is_err());
    }

    #[test]
    fn whatever_the_losses_are_a_plot_comes_out() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let cases: [&[f64]; 14] = [
            &[],
            &[0.5],
            &[0.0],
            &[0.3, 0.3, 0.3],
            &[0.0, 0.0],
            &[nan, nan],
            &[inf, 1.0, nan, 0.1, -inf, 0.01],
            &[1e300, 1.0, -1e300],
            &[1e-300, 1.0],
            &[1.0, 1.0 + 1e-16, 1.0 + 1e-15],
            &[-5.0, -5.0, -3.0],
            &[1e29, 1e-29],
            &[f64::MAX, f64::MIN_POSITIVE],
            &[1e-31, 2e-31],
        ];
        for losses in cases {
            for baseline in [None, Some(0.004), Some(nan), Some(1e308), Some(-1.0)] {
                let baseline = baseline.map(|level| ("PCA".to_owned(), level));
                let image = Plot::losses(losses, &losses[..losses.len() / 2], baseline).draw(400, 300).unwrap();
                assert_eq!(image.dimensions(), (400, 300), "{losses:?}");
            }
        }
        let one = Plot::losses(&[0.5], &[], None).draw(400, 300).unwrap();
        assert!(pixels_like(&one, COLOURS[0]) > 20, "a single point is a dot");
        let sizes = |first: f64| Plot {
            curves: vec![Curve { label: "x".to_owned(), points: vec![(first, 1.0), (64.0, 2.0)] }],
            log_x: true,
            ..Plot::default()
        };
        for first in [2.0, 0.0, -1.0, nan, 64.0] {
            assert!(sizes(first).draw(400, 300).is_ok(), "{first}");
        }
        assert_ne!(sizes(2.0).draw(400, 300).unwrap(), Plot { log_x: false, ..sizes(2.0) }.draw(400, 300).unwrap());
        let xs = Plot {
            curves: vec![Curve { label: "x".to_owned(), points: vec![(inf, 1.0), (nan, 2.0)] }],
            ..Plot::default()
        };
        assert!(xs.draw(400, 300).is_ok());
    }
}
