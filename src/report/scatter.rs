//! Points in the plane, coloured by class, with pictures at some of them.

use super::axis::{Axis, Scale};
use super::font::Lettering;
use super::plot::{Unit, drawable, load_font, text};
use super::png;
use crate::data::Labels;
use crate::error::{Error, Result};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// Told apart side by side, the first eight also by colour-blind readers (after Okabe and Ito 2008).
const COLOURS: [RGBColor; 20] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(40, 40, 40),
    RGBColor(215, 200, 40),
    RGBColor(125, 60, 170),
    RGBColor(200, 20, 40),
    RGBColor(130, 85, 45),
    RGBColor(120, 200, 70),
    RGBColor(255, 150, 140),
    RGBColor(25, 45, 140),
    RGBColor(0, 195, 195),
    RGBColor(255, 70, 190),
    RGBColor(0, 85, 40),
    RGBColor(180, 160, 240),
    RGBColor(110, 0, 65),
    RGBColor(145, 145, 95),
];
/// Points of the classes that have no colour of their own.
const OTHER: RGBColor = RGBColor(205, 205, 205);
/// Widest name in the legend, in units of the plot.
const NAME_WIDTH: u32 = 170;
/// A picture at a point is enlarged to about this many pixels a side.
const THUMBNAIL_SIDE: u32 = 56;
const FRAME: u32 = 3;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Points in the plane, such as codes as [`crate::latent::Projection`] has them.
///
/// Up to 20 classes have a colour each; of more, the 19 with the most points, and the others share a light grey. All points
/// are drawn in an order that hides no class under another.
///
/// ```
/// use degrain::data::Labels;
/// use degrain::report::Scatter;
///
/// let scatter = Scatter {
///     title: "Codes".to_owned(),
///     axes: ["code 0", "code 1"].map(str::to_owned),
///     points: vec![[0.0, 1.0], [0.5, 0.5], [2.0, -1.0]],
///     labels: Some(Labels::from_names(&["cat", "cat", "cup"])),
/// };
/// assert_eq!(scatter.draw(800, 600)?.dimensions(), (800, 600));
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scatter {
    /// Over the plot.
    pub title: String,
    /// Under the x axis and beside the y axis.
    pub axes: [String; 2],
    /// (x, y). Points that are not finite are left out.
    pub points: Vec<[f64; 2]>,
    /// The class of each point.
    pub labels: Option<Labels>,
}

/// A line of the legend.
#[derive(Debug, PartialEq)]
struct Entry {
    name: String,
    count: usize,
    colour: RGBColor,
}

/// What the points look like.
struct Legend {
    entries: Vec<Entry>,
    /// For every point, its place among the entries.
    places: Vec<usize>,
}

/// Where the points came to lie, in pixels.
struct Drawn {
    /// (x, y) of every point that is drawn, the first drawn first.
    points: Vec<(usize, (i32, i32))>,
    /// Left, top, right and bottom of the plot inside its axes.
    inside: [i32; 4],
}

impl Scatter {
    /// Draws the points, `width` x `height` pixels.
    ///
    /// # Errors
    /// Where a side is less than 400 or more than 8,000 pixels, or where there is another number of labels than of points.
    pub fn draw(&self, width: u32, height: u32) -> Result<RgbImage> {
        Ok(self.plot(width, height)?.0)
    }

    /// Draws the points and, at as many of them as have room for one, the picture that `picture` has for that point, in
    /// a frame of its class's colour.
    ///
    /// # Errors
    /// As [`Scatter::draw`] and `picture`.
    pub fn draw_with_pictures(
        &self,
        width: u32,
        height: u32,
        picture: &mut dyn FnMut(usize) -> Result<RgbImage>,
    ) -> Result<RgbImage> {
        let (mut image, drawn) = self.plot(width, height)?;
        let Some(&(first, _)) = drawn.points.first() else { return Ok(image) };
        let (wide, high) = picture(first)?.dimensions();
        let factor = (THUMBNAIL_SIDE / wide.max(high).max(1)).max(1);
        let size = (wide * factor + 2 * FRAME, high * factor + 2 * FRAME);
        let legend = self.legend();
        for (point, (x, y)) in free_places(&drawn, size) {
            let small = picture(point)?;
            let large = imageops::resize(&small, wide * factor, high * factor, FilterType::Nearest);
            let colour = legend.colour(point);
            let mut framed = RgbImage::from_pixel(size.0, size.1, Rgb([colour.0, colour.1, colour.2]));
            imageops::replace(&mut framed, &large, i64::from(FRAME), i64::from(FRAME));
            imageops::replace(&mut image, &framed, i64::from(x), i64::from(y));
        }
        Ok(image)
    }

    /// Draws the points at 1600x1200 pixels and writes them as PNG: the file is complete or as it was.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<()> {
        png::write_png(&self.draw(1600, 1200)?, path)
    }

    fn plot(&self, width: u32, height: u32) -> Result<(RgbImage, Drawn)> {
        if !(400..=8000).contains(&width) || !(400..=8000).contains(&height) {
            return Err(Error::setting("scatter", format!("{width}x{height} pixels: take 400 to 8000 on each side")));
        }
        if let Some(labels) = self.labels.as_ref().filter(|labels| labels.ids.len() != self.points.len()) {
            let got = format!("{} for {} points", labels.ids.len(), self.points.len());
            return Err(Error::shape("scatter", "one label a point", got));
        }
        load_font()?;
        let unit = Unit::of(width, height);
        let legend = self.legend();
        let mut pixels = vec![255; width as usize * height as usize * 3];
        let drawn = {
            let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
            self.render(&area, &legend, unit)
                .map_err(|problem| Error::setting("scatter", format!("cannot be drawn: {problem}")))?
        };
        let image =
            RgbImage::from_raw(width, height, pixels).ok_or_else(|| Error::setting("scatter", "has the wrong size"))?;
        Ok((image, drawn))
    }

    fn legend(&self) -> Legend {
        let Some(labels) = &self.labels else {
            return Legend { entries: Vec::new(), places: vec![0; self.points.len()] };
        };
        let counts = labels.counts();
        let mut present: Vec<usize> = (0..counts.len()).filter(|&id| counts.get(id) > Some(&0)).collect();
        let all = present.len();
        if all > COLOURS.len() {
            present.sort_by_key(|&id| std::cmp::Reverse(counts.get(id).copied()));
            present.truncate(COLOURS.len() - 1);
            present.sort_unstable();
        }
        let entry = |(rank, &id): (usize, &usize)| Entry {
            name: labels.names.get(id).cloned().unwrap_or_default(),
            count: counts.get(id).copied().unwrap_or(0),
            colour: COLOURS.get(rank).copied().unwrap_or(OTHER),
        };
        let mut entries: Vec<Entry> = present.iter().enumerate().map(entry).collect();
        if all > present.len() {
            let named: usize = entries.iter().map(|entry| entry.count).sum();
            let name = format!("{} others", all - present.len());
            entries.push(Entry { name, count: labels.ids.len() - named, colour: OTHER });
        }
        let mut place_of = vec![present.len(); counts.len()];
        for (place, &id) in present.iter().enumerate() {
            if let Some(slot) = place_of.get_mut(id) {
                *slot = place;
            }
        }
        let places = labels.ids.iter().map(|&id| place_of.get(id as usize).copied().unwrap_or(present.len())).collect();
        Legend { entries, places }
    }

    fn render(&self, area: &Area<'_>, legend: &Legend, unit: Unit) -> Result<Drawn, String> {
        let names = legend.names(unit)?;
        let room = if names.is_empty() {
            0
        } else {
            names.iter().map(|(_, width)| *width).max().unwrap_or(0) + unit.pixels(40)
        };
        let (width, _) = area.dim_in_pixel();
        let (plot, side) = area.split_horizontally(width.saturating_sub(room));
        let axis = |axis: usize| {
            let points = self.points.iter().filter(|point| drawable((point[0], point[1])));
            Axis::new(Scale::Linear, points.map(|point| if axis == 0 { point[0] } else { point[1] }))
        };
        let mut chart = ChartBuilder::on(&plot)
            .caption(&self.title, unit.font(18))
            .margin(unit.pixels(10))
            .x_label_area_size(unit.pixels(44))
            .y_label_area_size(unit.pixels(64))
            .build_cartesian_2d(axis(0), axis(1))
            .map_err(text)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(232, 232, 232).stroke_width(unit.pixels(1)))
            .axis_style(RGBColor(80, 80, 80).stroke_width(unit.pixels(1)))
            .label_style(unit.font(13))
            .axis_desc_style(unit.font(15))
            .x_desc(&self.axes[0])
            .y_desc(&self.axes[1])
            .x_labels(8)
            .y_labels(8)
            .draw()
            .map_err(text)?;
        let order = self.order(legend);
        let radius = unit.pixels(match order.len() {
            0..=300 => 4,
            301..=3000 => 3,
            3001..=20_000 => 2,
            _ => 1,
        });
        let dots = order.iter().map(|&(i, point)| Circle::new(point, radius, legend.colour(i).mix(0.75).filled()));
        chart.draw_series(dots).map_err(text)?;
        legend.draw(&side, &names, unit)?;
        let (x, y) = chart.plotting_area().get_pixel_range();
        let points = order.into_iter().map(|(i, point)| (i, chart.backend_coord(&point))).collect();
        Ok(Drawn { points, inside: [x.start, y.start, x.end, y.end] })
    }

    /// The points in the order of drawing: those of the classes without a colour first, the others well mixed.
    fn order(&self, legend: &Legend) -> Vec<(usize, (f64, f64))> {
        let points = self.points.iter().map(|point| (point[0], point[1])).enumerate();
        let mut order: Vec<(usize, (f64, f64))> = points.filter(|&(_, point)| drawable(point)).collect();
        // Steps of the golden ratio: neighbours of the data set come far apart, always in the same way.
        let mixed = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        order.sort_by_key(|&(i, _)| (legend.colour(i) != OTHER, mixed(i)));
        order
    }
}

impl Legend {
    fn colour(&self, point: usize) -> RGBColor {
        let entry = self.places.get(point).and_then(|&place| self.entries.get(place));
        entry.map_or(COLOURS[0], |entry| entry.colour)
    }

    /// The lines, each with its width in pixels.
    fn names(&self, unit: Unit) -> Result<Vec<(String, u32)>, String> {
        let (_, height) = unit.font(14);
        let lettering = Lettering::new(height as f32).map_err(|problem| problem.to_string())?;
        let line = |entry: &Entry| {
            let count = format!(" ({})", entry.count);
            let room = unit.pixels(NAME_WIDTH).saturating_sub(lettering.width(&count));
            let line = format!("{}{count}", lettering.elide(&entry.name, room));
            let width = lettering.width(&line);
            (line, width)
        };
        Ok(self.entries.iter().map(line).collect())
    }

    fn draw(&self, area: &Area<'_>, names: &[(String, u32)], unit: Unit) -> Result<(), String> {
        let (_, height) = area.dim_in_pixel();
        let step = unit.pixels(24).min(height / (names.len() as u32 + 4).max(1)) as i32;
        let mut y = unit.pixels(52) as i32;
        for (entry, (name, _)) in self.entries.iter().zip(names) {
            let radius = unit.pixels(5) as i32;
            area.draw(&Circle::new((3 * radius, y), radius, entry.colour.filled())).map_err(text)?;
            let style = unit.font(14).into_font().color(&BLACK);
            // The middle of small letters lies under that of the line.
            let top = y - unit.pixels(12) as i32 / 2;
            area.draw(&Text::new(name.as_str(), (5 * radius, top), style)).map_err(text)?;
            y += step;
        }
        Ok(())
    }
}

/// Points and the top left corners of boxes of this size around them, inside the plot and apart from each other, chosen
/// in the reverse order of drawing: those on top first.
fn free_places(drawn: &Drawn, (width, height): (u32, u32)) -> Vec<(usize, (i32, i32))> {
    let (width, height) = (width as i32, height as i32);
    let [left, top, right, bottom] = drawn.inside;
    // Boxes whose corners lie in cells this wide can only meet those of the same or the next cells.
    let cell = |x: i32, y: i32| (x.div_euclid(width), y.div_euclid(height));
    let mut taken: std::collections::HashMap<(i32, i32), (i32, i32)> = std::collections::HashMap::new();
    let mut places = Vec::new();
    for &(point, (x, y)) in drawn.points.iter().rev() {
        let (x, y) = (x - width / 2, y - height / 2);
        if x < left || y < top || x + width > right || y + height > bottom {
            continue;
        }
        let (column, row) = cell(x, y);
        let near = (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (column + dx, row + dy)));
        let meets = |&(a, b): &(i32, i32)| (a - x).abs() < width && (b - y).abs() < height;
        if near.filter_map(|cell| taken.get(&cell)).any(meets) {
            continue;
        }
        taken.insert((column, row), (x, y));
        places.push((point, (x, y)));
    }
    places
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn pixels_like(image: &RgbImage, colour: RGBColor) -> usize {
        let near = |pixel: &[u8; 3]| pixel.iter().zip([colour.0, colour.1, colour.2]).all(|(a, b)| a.abs_diff(b) < 4);
        image.pixels().filter(|pixel| near(&pixel.0)).count()
    }

    /// `classes` classes; class k has `k + 1` points.
    fn scatter(classes: usize) -> Scatter {
        let names: Vec<String> = (0..classes).flat_map(|k| vec![k.to_string(); k + 1]).collect();
        let points = (0..names.len()).map(|i| [(i * 7 % 31) as f64, (i * 11 % 37) as f64]).collect();
        Scatter { title: "t".into(), points, labels: Some(Labels::from_names(&names)), ..Scatter::default() }
    }

    #[test]
    fn every_class_has_a_colour_and_many_share_one() {
        let twenty = scatter(20).legend();
        assert_eq!((twenty.entries.len(), twenty.entries[19].colour), (20, COLOURS[19]));
        let many = scatter(25).legend();
        assert_eq!(many.entries.len(), 20);
        // The six classes with the fewest points: 1 + 2 + … + 6.
        assert_eq!(many.entries[19], Entry { name: "6 others".into(), count: 21, colour: OTHER });
        assert_eq!((many.entries[0].name.as_str(), many.entries[0].count), ("6", 7));
        assert_eq!((many.colour(0), many.colour(21)), (OTHER, COLOURS[0]));
        for (i, a) in COLOURS.iter().enumerate() {
            for b in &COLOURS[..i] {
                let distance = a.0.abs_diff(b.0) as u32 + a.1.abs_diff(b.1) as u32 + a.2.abs_diff(b.2) as u32;
                assert!(distance >= 70, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn points_and_legend_are_drawn_and_pictures_stand_apart() {
        let scatter = scatter(3);
        let image = scatter.draw(900, 600).unwrap();
        for entry in &scatter.legend().entries {
            assert!(pixels_like(&image, entry.colour) > 40, "{entry:?}");
        }
        assert_eq!(scatter.draw(900, 600).unwrap(), image);
        let green = RGBColor(1, 255, 2);
        let mut shown = Vec::new();
        let mut picture = |i: usize| {
            shown.push(i);
            Ok(RgbImage::from_pixel(20, 10, Rgb([1, 255, 2])))
        };
        let with = scatter.draw_with_pictures(900, 600, &mut picture).unwrap();
        // The first is asked for its size as well.
        assert_eq!(pixels_like(&with, green), 40 * 20 * (shown.len() - 1));
        assert!(shown.len() > 2);
        let crowd = Scatter { points: vec![[1.0, 1.0]; 50], ..Scatter::default() };
        let with =
            crowd.draw_with_pictures(900, 600, &mut |_| Ok(RgbImage::from_pixel(20, 10, Rgb([1, 255, 2])))).unwrap();
        assert_eq!(pixels_like(&with, green), 40 * 20);
    }

    #[test]
    fn whatever_the_points_are_a_picture_comes_out() {
        let nan = f64::NAN;
        for points in
            [vec![], vec![[0.0, 0.0]], vec![[nan, 1.0], [1.0, f64::INFINITY]], vec![[1e300, -1e300], [2.0, 2.0]]]
        {
            let scatter = Scatter { points, ..Scatter::default() };
            assert_eq!(scatter.draw(400, 400).unwrap().dimensions(), (400, 400));
            scatter.draw_with_pictures(400, 400, &mut |_| Ok(RgbImage::new(8, 8))).unwrap();
        }
        assert!(scatter(2).draw(300, 400).is_err());
        let short = Scatter { points: vec![[0.0, 0.0]], ..scatter(2) };
        assert!(short.draw(400, 400).unwrap_err().to_string().contains("one label a point"));
    }
}
