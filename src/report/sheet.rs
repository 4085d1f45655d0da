//! Sheets of pictures: a grid with titles, for eyes to compare originals, noisy inputs and what the network made of them.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::font::Lettering;
use super::png;
use crate::error::{Error, Result};

/// White space around and between cells, in pixels.
const MARGIN: u32 = 6;
const TEXT_HEIGHT: f32 = 15.0;
/// Titles and captions longer than this are cut, unless the cells are wider still.
const MAX_TEXT_WIDTH: u32 = 180;
/// 64 million pixels, 192 MB.
const MAX_PIXELS: u64 = 64 << 20;
const WHITE: Rgb<u8> = Rgb([255; 3]);
/// No data set holds it, so a NaN cannot be taken for a colour.
const NOT_A_NUMBER: Rgb<u8> = Rgb([255, 0, 255]);

/// A picture (H, W, C), `size` = [H, W, C] with C 1 or 3, of values in `range`, clipped to it. A NaN becomes magenta.
///
/// # Errors
/// Where `values` does not fit `size`, C is neither 1 nor 3, the picture has no pixels, or the range is empty.
pub fn picture(values: &[f32], size: [usize; 3], range: (f32, f32)) -> Result<RgbImage> {
    let [height, width, channels] = size;
    let elements = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
    let fits = elements == Some(values.len()) && !values.is_empty() && (channels == 1 || channels == 3);
    let (Ok(wide), Ok(high)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(Error::shape("picture", "at most 4294967295 pixels on a side", format!("{size:?}")));
    };
    if !fits {
        let got = format!("{} values for {size:?}", values.len());
        return Err(Error::shape("picture", "height * width * channels values, of 1 or 3 channels", got));
    }
    let (low, high_value) = range;
    if !(low < high_value && (high_value - low).is_finite()) {
        return Err(Error::shape("picture", "a range with an extent", format!("{range:?}")));
    }
    let level = |value: f32| ((value - low) / (high_value - low) * 255.0).round() as u8;
    let mut image = RgbImage::new(wide, high);
    for (pixel, values) in image.pixels_mut().zip(values.chunks_exact(channels)) {
        *pixel = match values {
            values if values.iter().any(|value| value.is_nan()) => NOT_A_NUMBER,
            &[grey] => Rgb([level(grey); 3]),
            values => Rgb(std::array::from_fn(|channel| values.get(channel).map_or(0, |&value| level(value)))),
        };
    }
    Ok(image)
}

/// A latent code as a small grey picture, one pixel a value, row after row: its least value black, its greatest white,
/// all grey where they are equal. The rectangle is the squarest that the length divides into, or else nearly square with
/// white at the end. A value that is not finite becomes magenta; an empty code one white pixel.
pub fn code(values: &[f32]) -> RgbImage {
    let (width, height) = near_square(values.len());
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    // Halved, so that the width of the whole range of f32 is finite.
    let extent = high / 2.0 - low / 2.0;
    let mut image = RgbImage::from_pixel(width, height, WHITE);
    for (pixel, &value) in image.pixels_mut().zip(values) {
        *pixel = match value {
            value if !value.is_finite() => NOT_A_NUMBER,
            value if extent > 0.0 => Rgb([((value / 2.0 - low / 2.0) / extent * 255.0).round() as u8; 3]),
            _ => Rgb([128; 3]),
        };
    }
    image
}

/// (width, height) with room for `count` pixels: exactly, where that needs no more than 4:1.
fn near_square(count: usize) -> (u32, u32) {
    // Past this a sheet could not hold it anyway.
    let count = count.clamp(1, MAX_PIXELS as usize) as u32;
    let root = count.isqrt();
    let exact = (1..=root).rev().find(|height| count.is_multiple_of(*height) && count <= 4 * height * height);
    let height = exact.unwrap_or(root);
    (count.div_ceil(height), height)
}

/// One picture of a sheet.
#[derive(Clone, Debug)]
pub struct Cell {
    /// At its own size: the sheet enlarges it.
    pub image: RgbImage,
    /// A line under it, such as a distance.
    pub caption: Option<String>,
}

impl From<RgbImage> for Cell {
    fn from(image: RgbImage) -> Self {
        Self { image, caption: None }
    }
}

/// A grid of pictures on white.
///
/// Every column has one width and every row one height. The largest picture is enlarged `scale` times; smaller ones, such
/// as codes beside pictures, by the greatest whole number at which they fit into the same box. Nothing is smoothed.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// Over the columns; may be fewer than the columns.
    pub column_titles: Vec<String>,
    /// Left of the rows; may be fewer than the rows.
    pub row_titles: Vec<String>,
    /// The cells, row after row. Rows may differ in length.
    pub rows: Vec<Vec<Cell>>,
    /// Enlargement of the largest picture; 0 counts as 1.
    pub scale: u32,
}

/// Where things go, in pixels.
struct Layout {
    /// The box of each picture.
    cell: (u32, u32),
    column_width: u32,
    row_height: u32,
    /// Where the first cell begins.
    left: u32,
    top: u32,
    size: (u32, u32),
}

impl Sheet {
    /// Draws the sheet.
    ///
    /// # Errors
    /// Where it would have more than 64 million pixels.
    pub fn draw(&self) -> Result<RgbImage> {
        let lettering = Lettering::new(TEXT_HEIGHT)?;
        let layout = self.layout(&lettering)?;
        let mut sheet = RgbImage::from_pixel(layout.size.0, layout.size.1, WHITE);
        let line = lettering.line_height();
        for (title, x) in
            self.column_titles.iter().zip((layout.left..).step_by((layout.column_width + MARGIN) as usize))
        {
            draw_centred(&mut sheet, &lettering, title, (x, layout.column_width), MARGIN);
        }
        for (index, y) in (0..self.rows.len()).zip((layout.top..).step_by((layout.row_height + MARGIN) as usize)) {
            if let Some(title) = self.row_titles.get(index) {
                let title = lettering.elide(title, MAX_TEXT_WIDTH);
                let x = layout.left.saturating_sub(MARGIN + lettering.width(&title));
                lettering.draw(&mut sheet, x, y + layout.cell.1.saturating_sub(line) / 2, &title);
            }
            let columns = (layout.left..).step_by((layout.column_width + MARGIN) as usize);
            for (cell, x) in self.rows[index].iter().zip(columns) {
                paste(&mut sheet, &cell.image, (x, y), (layout.column_width, layout.cell.1), layout.cell);
                if let Some(caption) = &cell.caption {
                    draw_centred(&mut sheet, &lettering, caption, (x, layout.column_width), y + layout.cell.1 + 1);
                }
            }
        }
        Ok(sheet)
    }

    /// Draws the sheet and writes it as PNG: the file is complete or as it was.
    ///
    /// # Errors
    /// As [`Sheet::draw`], and where the file cannot be written.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<()> {
        png::write_png(&self.draw()?, path)
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.rows.iter().flatten()
    }

    fn layout(&self, lettering: &Lettering) -> Result<Layout> {
        let scale = self.scale.max(1);
        let largest = |side: fn(&RgbImage) -> u32| self.cells().map(|cell| side(&cell.image)).max().unwrap_or(0);
        let cell = (largest(RgbImage::width).saturating_mul(scale), largest(RgbImage::height).saturating_mul(scale));
        let widest = |texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| lettering.width(text).min(MAX_TEXT_WIDTH)).max().unwrap_or(0)
        };
        let captions = self.cells().filter_map(|cell| cell.caption.as_ref());
        let column_width = cell.0.max(widest(&mut self.column_titles.iter().chain(captions)));
        let line = lettering.line_height();
        let caption_height = if self.cells().any(|cell| cell.caption.is_some()) { line + 1 } else { 0 };
        let row_height = cell.1.saturating_add(caption_height);
        let gutter = widest(&mut self.row_titles.iter());
        let left = MARGIN + if gutter > 0 { gutter + MARGIN } else { 0 };
        let top = MARGIN + if self.column_titles.is_empty() { 0 } else { line + 3 };
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0).max(self.column_titles.len());
        let total = |start: u32, count: usize, step: u32| {
            (step as u64 + u64::from(MARGIN)).saturating_mul(count as u64).saturating_add(u64::from(start))
        };
        let (width, height) = (total(left, columns, column_width), total(top, self.rows.len(), row_height));
        match (u32::try_from(width), u32::try_from(height)) {
            (Ok(wide), Ok(high)) if width.saturating_mul(height) <= MAX_PIXELS => {
                Ok(Layout { cell, column_width, row_height, left, top, size: (wide, high) })
            }
            _ => Err(Error::setting(
                "sheet",
                format!(
                    "{width}x{height} pixels are too many (at most {MAX_PIXELS}): show fewer pictures or a smaller scale"
                ),
            )),
        }
    }
}

/// Enlarges `image` as often as it fits `cell` and puts it into the middle of the `room` at `at`.
fn paste(sheet: &mut RgbImage, image: &RgbImage, at: (u32, u32), room: (u32, u32), cell: (u32, u32)) {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return;
    }
    let factor = (cell.0 / width).min(cell.1 / height).max(1);
    let large = imageops::resize(image, width * factor, height * factor, FilterType::Nearest);
    let x = at.0 + room.0.saturating_sub(large.width()) / 2;
    let y = at.1 + room.1.saturating_sub(large.height()) / 2;
    imageops::replace(sheet, &large, i64::from(x), i64::from(y));
}

/// `text` in the middle of (start, width), its top at `y`.
fn draw_centred(sheet: &mut RgbImage, lettering: &Lettering, text: &str, (start, width): (u32, u32), y: u32) {
    let text = lettering.elide(text, width);
    lettering.draw(sheet, start + width.saturating_sub(lettering.width(&text)) / 2, y, &text);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn values_become_levels() {
        let grey = picture(&[-0.5, 0.0, 0.5, -9.0, 9.0, f32::NAN], [2, 3, 1], (-0.5, 0.5)).unwrap();
        let levels: Vec<[u8; 3]> = grey.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(levels, [[0; 3], [128; 3], [255; 3], [0; 3], [255; 3], [255, 0, 255]]);
        let colour = picture(&[0.0, 0.2, 1.0, 1.0, 0.4, 0.0], [1, 2, 3], (0.0, 1.0)).unwrap();
        assert_eq!((colour.get_pixel(0, 0).0, colour.get_pixel(1, 0).0), ([0, 51, 255], [255, 102, 0]));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for (values, size) in [(4, [2, 2, 2]), (4, [2, 3, 1]), (0, [0, 3, 1]), (4, [usize::MAX, 2, 3])] {
            assert!(picture(&vec![0.0; values], size, (0.0, 1.0)).is_err(), "{size:?}");
        }
        assert!(picture(&[0.0], [1, 1, 1], (1.0, 1.0)).is_err());
        assert!(picture(&[0.0], [1, 1, 1], (f32::NAN, 1.0)).is_err());
    }

    #[test]
    fn codes_are_laid_out_nearly_square_and_stretched() {
        let sizes = [(0, (1, 1)), (1, (1, 1)), (2, (2, 1)), (7, (4, 2)), (32, (8, 4)), (128, (16, 8)), (512, (32, 16))];
        for (count, size) in sizes {
            assert_eq!(near_square(count), size, "{count}");
        }
        let image = code(&[-3.0, 0.0, 3.0, 1.5, f32::NAN, 3.0, 3.0]);
        let levels: Vec<u8> = image.pixels().map(|pixel| pixel.0[1]).collect();
        assert_eq!(levels, [0, 128, 255, 191, 0, 255, 255, 255]);
        assert_eq!(image.get_pixel(0, 1), &NOT_A_NUMBER);
        assert_eq!(code(&[2.0; 4]).get_pixel(1, 1).0, [128; 3]);
        assert_eq!(code(&[f32::MIN, f32::MAX]).get_pixel(1, 0).0, [255; 3]);
    }

    #[test]
    fn pictures_stand_enlarged_in_their_boxes() {
        let red = RgbImage::from_pixel(10, 8, Rgb([200, 0, 0]));
        let blue = RgbImage::from_pixel(4, 2, Rgb([0, 0, 200]));
        let sheet = Sheet { rows: vec![vec![red.into(), blue.into()]], scale: 3, ..Sheet::default() }.draw().unwrap();
        assert_eq!(sheet.dimensions(), (6 + 2 * 36, 6 + 24 + 6));
        let count = |colour| sheet.pixels().filter(|pixel| pixel.0 == colour).count();
        assert_eq!(count([200, 0, 0]), 30 * 24);
        // 30x24 holds 4x2 seven times.
        assert_eq!(count([0, 0, 200]), 28 * 14);
        assert_eq!((sheet.get_pixel(6, 6).0, sheet.get_pixel(5, 6).0), ([200, 0, 0], [255; 3]));
    }

    #[test]
    fn titles_and_captions_take_room_and_are_drawn() {
        let cell = |caption: &str| Cell { image: RgbImage::from_pixel(8, 8, WHITE), caption: Some(caption.to_owned()) };
        let sheet = Sheet {
            column_titles: vec!["original".to_owned(), "restored".to_owned()],
            row_titles: vec!["a row".to_owned()],
            rows: vec![
                vec![cell("0.00"), cell("a caption that is far too long for any cell of this sheet")],
                vec![cell("1")],
            ],
            scale: 2,
        };
        let image = sheet.draw().unwrap();
        assert!(image.width() < 2 * 180 + 100 && image.height() > 2 * 16 + 3 * 15, "{:?}", image.dimensions());
        let dark = |rows: std::ops::Range<u32>| {
            rows.flat_map(|y| (0..image.width()).map(move |x| (x, y)))
                .filter(|&(x, y)| image.get_pixel(x, y).0[0] < 100)
                .count()
        };
        assert!(dark(0..22) > 50 && dark(40..60) > 50);
        assert_eq!(Sheet::default().draw().unwrap().dimensions(), (6, 6));
    }

    #[test]
    fn a_sheet_that_is_too_large_is_refused() {
        let cell = Cell::from(RgbImage::new(2, 2));
        let sheet = |scale| Sheet { rows: vec![vec![cell.clone(); 3]], scale, ..Sheet::default() };
        for scale in [5000, u32::MAX] {
            assert!(sheet(scale).draw().unwrap_err().to_string().contains("fewer pictures"), "{scale}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        sheet(0).write_png(&path).unwrap();
        assert_eq!(image::open(&path).unwrap().width(), 6 + 3 * 8);
    }
}
