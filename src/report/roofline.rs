//! Pictures of a profile: the roofline (Williams, Waterman and Patterson 2009), and a step as a bar over time.

use super::plot::{COLOURS, Unit, load_font, text};
use crate::error::{Error, Result};
use crate::profile::StepProfile;
use image::RgbImage;
use plotters::prelude::*;

/// Launches that the roofline names; the others are grey.
const NAMED: usize = 8;
const GREY: RGBColor = RGBColor(150, 150, 150);
const INK: RGBColor = RGBColor(60, 60, 60);

/// Operations per byte against 10^9 operations per second, both logarithmic: a dot for each launch, as large as its share of the
/// step, under the roof of what the device can do. 1800x1080 pixels.
///
/// # Errors
/// Where the bundled font cannot be used.
pub fn roofline(profile: &StepProfile) -> Result<RgbImage> {
    draw((1800, 1080), |size, pixels| {
        let area = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        draw_roofline(&area, profile)
    })
}

/// The step from its first launch to its last, 1800x600 pixels: a box for each launch, as wide as it took, with the gaps between
/// them left white; a colour for each op.
///
/// # Errors
/// Where the bundled font cannot be used.
pub fn step_bar(profile: &StepProfile) -> Result<RgbImage> {
    draw((1800, 600), |size, pixels| {
        let area = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        draw_bar(&area, profile)
    })
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn draw(size: (u32, u32), render: impl FnOnce((u32, u32), &mut [u8]) -> Result<(), String>) -> Result<RgbImage> {
    load_font()?;
    let mut pixels = vec![255; size.0 as usize * size.1 as usize * 3];
    render(size, &mut pixels).map_err(|problem| Error::setting("profile", format!("cannot be drawn: {problem}")))?;
    RgbImage::from_raw(size.0, size.1, pixels).ok_or_else(|| Error::setting("profile", "has the wrong size"))
}

fn draw_roofline(area: &Area<'_>, profile: &StepProfile) -> Result<(), String> {
    let unit = Unit::of(1800, 1080);
    let peaks = &profile.peaks;
    let shown = || profile.launches.iter().filter(|l| l.intensity > 0.0 && l.gflops > 0.0);
    let ridge = peaks.gflops / peaks.gbps;
    let low_x = shown().map(|l| l.intensity).fold(ridge / 8.0, f64::min) / 2.0;
    let high_x = shown().map(|l| l.intensity).fold(ridge * 8.0, f64::max) * 2.0;
    let low_y = shown().map(|l| l.gflops).fold(peaks.gbps * low_x, f64::min) / 2.0;
    let high_y = shown().map(|l| l.gflops).fold(peaks.gflops, f64::max) * 2.5;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Roofline on {}", profile.device), unit.font(18))
        .margin(unit.pixels(12))
        .x_label_area_size(unit.pixels(44))
        .y_label_area_size(unit.pixels(76))
        .build_cartesian_2d((low_x..high_x).log_scale(), (low_y..high_y).log_scale())
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225).stroke_width(unit.pixels(1)))
        .label_style(unit.font(15))
        .axis_desc_style(unit.font(16))
        .x_desc("operations per byte")
        .y_desc("GFLOP/s")
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .draw()
        .map_err(text)?;
    let roof = [low_x, ridge, high_x].map(|x| (x, (peaks.gbps * x).min(peaks.gflops)));
    let line = LineSeries::new(roof, INK.stroke_width(unit.pixels(2)));
    let label = format!("{} GFLOP/s, {} GB/s, as measured", short(peaks.gflops), short(peaks.gbps));
    let side = unit.pixels(14) as i32;
    chart
        .draw_series(line)
        .map_err(text)?
        .label(label)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + side, y)], INK.stroke_width(3)));
    for (rank, launch) in shown().enumerate() {
        let colour = if rank < NAMED { COLOURS[rank % COLOURS.len()] } else { GREY };
        let radius = unit.pixels(4) + (f64::from(unit.pixels(22)) * launch.share.sqrt()) as u32;
        let style = colour.mix(if rank < COLOURS.len() { 0.7 } else { 0.4 }).filled();
        let dot = Circle::new((launch.intensity, launch.gflops), radius, style);
        let series = chart.draw_series([dot]).map_err(text)?;
        if rank < NAMED {
            series
                .label(format!("{:.0} %  {}", 100.0 * launch.share, launch.name))
                .legend(move |(x, y)| Circle::new((x + side / 2, y), side / 3, style));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(unit.font(13))
        .margin(unit.pixels(8))
        .draw()
        .map_err(text)
}

/// `0.25`, `12`, `3400`.
fn short(value: f64) -> String {
    match value {
        v if v >= 10.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v if v >= 0.01 => format!("{v:.2}"),
        v => format!("{v:.0e}"),
    }
}

fn draw_bar(area: &Area<'_>, profile: &StepProfile) -> Result<(), String> {
    let unit = Unit::of(1800, 1080);
    let launches = || profile.places.iter().zip(&profile.timeline.launches).filter_map(|(p, l)| Some((p, (*l)?)));
    let end_us = launches().map(|(_, launch)| launch[1] / 1e3).fold(1e-3, f64::max);
    let mut ops: Vec<(&str, f64)> = Vec::new();
    for (place, [begin, end]) in launches() {
        let us = (end - begin) / 1e3;
        match ops.iter_mut().find(|op| op.0 == place.op) {
            Some(op) => op.1 += us,
            None => ops.push((place.op, us)),
        }
    }
    ops.sort_by(|a, b| b.1.total_cmp(&a.1));
    let colour = |op: &str| {
        let rank = ops.iter().position(|known| known.0 == op).unwrap_or(usize::MAX);
        COLOURS.get(rank).copied().unwrap_or(GREY)
    };
    let mut chart = ChartBuilder::on(area)
        .caption(format!("One step, {:.1} us, {} launches", end_us, launches().count()), unit.font(18))
        .margin(unit.pixels(12))
        .x_label_area_size(unit.pixels(44))
        .build_cartesian_2d(0.0..end_us, 0.0..2.6)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_mesh()
        .label_style(unit.font(15))
        .axis_desc_style(unit.font(16))
        .x_desc("us")
        .draw()
        .map_err(text)?;
    for &(op, us) in &ops {
        let of_op = launches().filter(|(place, _)| place.op == op);
        let fill = colour(op);
        let boxes = of_op
            .map(|(_, [begin, end])| Rectangle::new([(begin / 1e3, 0.05), (end / 1e3, 1.0)], fill.mix(0.85).filled()));
        let series = chart.draw_series(boxes).map_err(text)?;
        if fill != GREY {
            let side = unit.pixels(12) as i32;
            series
                .label(format!("{op}  {us:.1} us"))
                .legend(move |(x, y)| Rectangle::new([(x, y - side / 2), (x + side, y + side / 2)], fill.filled()));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .label_font(unit.font(13))
        .draw()
        .map_err(text)
}
