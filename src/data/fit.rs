//! Pixels of any size brought to a [`Target`]: channels first, then the crop, then the size.
//!
//! The resize is antialiased bilinear, as Pillow's `Image.resize(…, BILINEAR)`: a triangle filter as wide as the
//! reduction, horizontal pass first. For 8 bits it gives Pillow's bytes (but for
//! exact ties), so weights are rounded to 22 bits and the rows between the passes to 8, as there.

use crate::data::Target;

/// Fraction bits of the 8-bit weights: 32 minus 8 for the value and 2 to spare.
const WEIGHT_BITS: u32 = 22;

/// A number that pictures are made of.
pub(super) trait Pixel: Copy + Send + Sync + Default {
    /// What it is multiplied by.
    type Weight: Copy;
    fn weight(exact: f64) -> Self::Weight;
    /// Sum of products, rounded and clipped as the type wants.
    fn sum(terms: impl Iterator<Item = (Self, Self::Weight)>) -> Self;
    /// ITU-R 601 luma, as Pillow's mode L.
    fn luma(rgb: [Self; 3]) -> Self;
}

impl Pixel for u8 {
    type Weight = i32;

    fn weight(exact: f64) -> i32 {
        (exact * f64::from(1 << WEIGHT_BITS)).round() as i32
    }

    fn sum(terms: impl Iterator<Item = (Self, i32)>) -> Self {
        let half = 1 << (WEIGHT_BITS - 1);
        let sum: i32 = terms.fold(half, |sum, (x, weight)| sum + i32::from(x) * weight);
        (sum >> WEIGHT_BITS).clamp(0, 255) as Self
    }

    fn luma([r, g, b]: [Self; 3]) -> Self {
        ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as Self
    }
}

impl Pixel for f32 {
    type Weight = f64;

    fn weight(exact: f64) -> f64 {
        exact
    }

    fn sum(terms: impl Iterator<Item = (Self, f64)>) -> Self {
        terms.fold(0.0, |sum, (x, weight)| sum + f64::from(x) * weight) as Self
    }

    fn luma([r, g, b]: [Self; 3]) -> Self {
        0.299 * r + 0.587 * g + 0.114 * b
    }
}

/// The picture `pixels` of `shape` (height, width, 1 or 3 channels) at the target's size and channels; the target's
/// crop is not applied.
pub(super) fn fit<T: Pixel>(pixels: &[T], shape: [usize; 3], target: &Target) -> Vec<T> {
    let [h, w, c] = shape;
    match (c, target.channels) {
        (3, 1) => resize(&grey(pixels), [h, w, 1], target.height, target.width),
        (1, 3) => {
            let small = resize(pixels, shape, target.height, target.width);
            small.iter().flat_map(|&x| [x; 3]).collect()
        }
        _ => resize(pixels, shape, target.height, target.width),
    }
}

/// The picture without `border` pixels on each side, and its new height and width; whole where nothing would be left.
pub(super) fn crop<T: Pixel>(pixels: Vec<T>, [h, w, c]: [usize; 3], border: usize) -> (Vec<T>, [usize; 3]) {
    let inner = |side: usize| side.checked_sub(2 * border).filter(|&left| left > 0);
    let (Some(inner_h), Some(inner_w), 1..) = (inner(h), inner(w), border) else {
        return (pixels, [h, w, c]);
    };
    let rows = pixels.chunks_exact(w * c).skip(border).take(inner_h);
    let kept = rows.flat_map(|row| &row[border * c..(border + inner_w) * c]).copied().collect();
    (kept, [inner_h, inner_w, c])
}

fn grey<T: Pixel>(rgb: &[T]) -> Vec<T> {
    rgb.chunks_exact(3).map(|p| T::luma([p[0], p[1], p[2]])).collect()
}

fn resize<T: Pixel>(pixels: &[T], [h, w, c]: [usize; 3], to_h: usize, to_w: usize) -> Vec<T> {
    let narrow = if w == to_w { pixels.to_vec() } else { resize_rows(pixels, w, c, to_w) };
    if h == to_h { narrow } else { resize_columns(&narrow, h, to_w * c, to_h) }
}

/// One output pixel of a pass: its first input and the weights from there on.
struct Taps<W> {
    start: usize,
    weights: Vec<W>,
}

/// The triangle filter for a side of `from` pixels resized to `to`; weights of a pixel sum to one before rounding.
fn filter<T: Pixel>(from: usize, to: usize) -> Vec<Taps<T::Weight>> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let taps = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let start = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let triangle = |x: usize| (1.0 - ((x as f64 - centre + 0.5) / support).abs()).max(0.0);
        let sum: f64 = (start..end).map(triangle).sum();
        Taps { start, weights: (start..end).map(|x| T::weight(triangle(x) / sum)).collect() }
    };
    (0..to).map(taps).collect()
}

fn resize_rows<T: Pixel>(pixels: &[T], w: usize, c: usize, to_w: usize) -> Vec<T> {
    let taps = filter::<T>(w, to_w);
    let mut out = Vec::with_capacity(pixels.len() / w * to_w);
    for row in pixels.chunks_exact(w * c) {
        for t in &taps {
            let inputs = &row[t.start * c..(t.start + t.weights.len()) * c];
            for channel in 0..c {
                let channel = inputs[channel..].iter().step_by(c).copied();
                out.push(T::sum(channel.zip(t.weights.iter().copied())));
            }
        }
    }
    out
}

fn resize_columns<T: Pixel>(pixels: &[T], h: usize, line: usize, to_h: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(to_h * line);
    for t in filter::<T>(h, to_h) {
        for x in 0..line {
            let column = pixels[t.start * line + x..].iter().step_by(line).copied();
            out.push(T::sum(column.zip(t.weights.iter().copied())));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_four_pixels_is_the_hand_computed_triangle() {
        // Centre of the first output is 1.0 and the filter reaches 2 either way: weights 3, 3, 1 of 7 (the fourth pixel
        // is 2.5 away); the second is its mirror.
        let expected = [(30.0 + 60.0 + 50.0) / 7.0, (20.0 + 150.0 + 300.0) / 7.0];
        let out = resize(&[10.0f32, 20.0, 50.0, 100.0], [1, 4, 1], 1, 2);
        for (got, want) in out.iter().zip(expected) {
            assert!((f64::from(*got) - want).abs() <= 1e-5, "{out:?}, wanted {expected:?}");
        }
        assert_eq!(resize(&[10u8, 20, 50, 100], [1, 4, 1], 1, 2), [20, 67]);
        assert_eq!(resize(&[10u8, 20, 50, 100], [4, 1, 1], 2, 1), [20, 67], "columns as rows");
    }

    #[test]
    fn enlarging_interpolates_between_centres() {
        assert_eq!(resize(&[0.0f32, 4.0], [1, 2, 1], 1, 4), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn bytes_are_pillows() {
        // CRC-32 of Image.fromarray(a).resize((w, h), Image.BILINEAR), Pillow 13.0, for the size of LFW's faces.
        let pixels: Vec<u8> = (0..90 * 90 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (h, w, pillow) in [(32, 32, 0xe76188bb), (100, 41, 0x976bf0ee)] {
            let mut crc = flate2::Crc::new();
            crc.update(&resize(&pixels, [90, 90, 3], h, w));
            assert_eq!(crc.sum(), pillow, "{h}x{w}");
        }
    }

    #[test]
    fn channels_become_luma_or_are_repeated() {
        let one = |channels| Target::new(1, 1, channels);
        assert_eq!(fit(&[255u8, 0, 0], [1, 1, 3], &one(1)), [76]);
        assert_eq!(fit(&[10u8, 200, 30], [1, 1, 3], &one(1)), [124]);
        assert_eq!(fit(&[9u8], [1, 1, 1], &one(3)), [9, 9, 9]);
        assert!((fit(&[1.0f32, 1.0, 1.0], [1, 1, 3], &one(1))[0] - 1.0).abs() <= 1e-6);
    }

    #[test]
    fn a_crop_takes_the_middle() {
        let pixels: Vec<u8> = (0..20).collect();
        assert_eq!(crop(pixels.clone(), [4, 5, 1], 1), (vec![6, 7, 8, 11, 12, 13], [2, 3, 1]));
        assert_eq!(crop(pixels.clone(), [4, 5, 1], 2).1, [4, 5, 1], "nothing would be left");
        assert_eq!(crop(pixels.clone(), [4, 5, 1], 0).0, pixels);
    }
}
