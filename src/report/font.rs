//! The bundled font: a subset of DejaVu Sans, and lines of text drawn with it.

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont as _};
use image::{Rgb, RgbImage};

use crate::error::{Error, Result};

/// Printable ASCII and a few signs; see `data/font/README.md`.
pub(super) static FONT_BYTES: &[u8] = include_bytes!("../../data/font/DejaVuSans-subset.ttf");

/// The font at one size.
pub(super) struct Lettering {
    font: FontRef<'static>,
    scale: PxScale,
}

impl Lettering {
    /// `height` is that of a line, in pixels.
    pub(super) fn new(height: f32) -> Result<Self> {
        let font = FontRef::try_from_slice(FONT_BYTES)
            .map_err(|e| Error::setting("font", format!("the bundled font cannot be used: {e}")))?;
        Ok(Self { font, scale: PxScale::from(height) })
    }

    /// Height of a line, in whole pixels.
    pub(super) fn line_height(&self) -> u32 {
        self.scale.y.ceil() as u32
    }

    /// Width of `text` in whole pixels.
    pub(super) fn width(&self, text: &str) -> u32 {
        let font = self.font.as_scaled(self.scale);
        text.chars().map(|c| font.h_advance(font.glyph_id(c))).sum::<f32>().ceil() as u32
    }

    /// `text`, or as much of its beginning as fits into `width` pixels with an ellipsis after it.
    pub(super) fn elide(&self, text: &str, width: u32) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let font = self.font.as_scaled(self.scale);
        let mut left = width as f32 - font.h_advance(font.glyph_id('…'));
        let mut kept = String::new();
        for c in text.chars() {
            left -= font.h_advance(font.glyph_id(c));
            if left < 0.0 {
                break;
            }
            kept.push(c);
        }
        kept.push('…');
        kept
    }

    /// Draws a line whose top left corner is (x, y) in black, blended with what is there. Pixels outside are skipped.
    pub(super) fn draw(&self, image: &mut RgbImage, x: u32, y: u32, text: &str) {
        let font = self.font.as_scaled(self.scale);
        let mut pen = ab_glyph::point(x as f32, y as f32 + font.ascent());
        for c in text.chars() {
            let glyph = font.glyph_id(c).with_scale_and_position(self.scale, pen);
            pen.x += font.h_advance(glyph.id);
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                let (px, py) = (corner.x + dx as f32, corner.y + dy as f32);
                if px < 0.0 || py < 0.0 || px >= image.width() as f32 || py >= image.height() as f32 {
                    return;
                }
                let Rgb(under) = *image.get_pixel(px as u32, py as u32);
                let light = 1.0 - coverage.clamp(0.0, 1.0);
                image.put_pixel(px as u32, py as u32, Rgb(under.map(|value| (f32::from(value) * light) as u8)));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_sign_that_is_promised_has_a_glyph() {
        let font = FontRef::try_from_slice(FONT_BYTES).unwrap();
        for c in (' '..='~').chain("°±²³µ·×αβλμρσ–—‘’“”…⁻←→−≈≤≥".chars()) {
            assert!(font.glyph_id(c).0 != 0, "{c:?} is missing");
        }
    }

    #[test]
    fn text_is_measured_elided_and_drawn_inside() {
        let lettering = Lettering::new(16.0).unwrap();
        let full = lettering.width("restored");
        assert!((40..90).contains(&full), "{full}");
        assert_eq!(lettering.elide("restored", full), "restored");
        let short = lettering.elide("restored", 40);
        assert!(short.ends_with('…') && short.len() > '…'.len_utf8() && lettering.width(&short) <= 40, "{short}");

        let mut image = RgbImage::from_pixel(full + 4, 16, Rgb([255; 3]));
        lettering.draw(&mut image, 2, 0, "restored");
        let dark = image.pixels().filter(|p| p.0[0] < 128).count();
        assert!(dark > 60, "{dark} dark pixels");
        assert!((0..16).all(|y| image.get_pixel(0, y).0 == [255; 3]));
        lettering.draw(&mut image, full, 10, "past the edge");
    }
}
