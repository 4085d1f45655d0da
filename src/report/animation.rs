//! Pictures after each other, as a GIF.

use crate::error::{Error, Result};
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, RgbImage};

/// Sides are 16-bit numbers in the format.
const MAX_SIDE: u32 = 65_535;

/// `frames` as the bytes of a GIF file that begins anew when it is through: each is shown for `delay_ms` milliseconds,
/// which the format rounds to hundredths of a second, in its own 256 colours.
///
/// ```
/// use degrain::report::encode_gif;
/// use image::{Rgb, RgbImage};
///
/// let frames = [0, 255].map(|grey| RgbImage::from_pixel(8, 8, Rgb([grey; 3])));
/// assert!(encode_gif(&frames, 100)?.starts_with(b"GIF89a"));
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// No frames, frames of different sizes, or larger ones than the format has.
pub fn encode_gif(frames: &[RgbImage], delay_ms: u32) -> Result<Vec<u8>> {
    let fail = |problem: String| Error::setting("gif", problem);
    let first = frames.first().ok_or_else(|| fail("there are no frames".to_owned()))?;
    if let Some(other) = frames.iter().find(|frame| frame.dimensions() != first.dimensions()) {
        let (one, other) = (first.dimensions(), other.dimensions());
        return Err(fail(format!("frames of {one:?} and {other:?} pixels cannot follow each other")));
    }
    let (width, height) = first.dimensions();
    if [width, height].iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
        return Err(fail(format!("frames of {width}x{height} pixels: each side must have 1 to {MAX_SIDE}")));
    }
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new(&mut bytes);
        let mut encode = || {
            encoder.set_repeat(Repeat::Infinite)?;
            frames.iter().try_for_each(|frame| {
                let picture = DynamicImage::ImageRgb8(frame.clone()).into_rgba8();
                encoder.encode_frame(Frame::from_parts(picture, 0, 0, Delay::from_numer_denom_ms(delay_ms, 1)))
            })
        };
        encode().map_err(|problem: image::ImageError| fail(format!("cannot be encoded: {problem}")))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use image::{AnimationDecoder, Rgb, codecs::gif::GifDecoder};
    use std::io::Cursor;

    #[test]
    fn frames_read_back_in_their_order() {
        let colours = [[200, 0, 0], [0, 200, 0], [0, 0, 200]];
        let frames = colours.map(|colour| RgbImage::from_pixel(5, 3, Rgb(colour)));
        let bytes = encode_gif(&frames, 120).unwrap();
        let read = GifDecoder::new(Cursor::new(bytes)).unwrap().into_frames().collect_frames().unwrap();
        assert_eq!(read.len(), 3);
        for (frame, [r, g, b]) in read.iter().zip(colours) {
            assert_eq!(frame.delay().numer_denom_ms(), (120, 1));
            assert_eq!(frame.buffer().get_pixel(4, 2).0, [r, g, b, 255]);
        }
    }

    #[test]
    fn what_is_no_animation_is_refused() {
        assert!(encode_gif(&[], 100).is_err());
        assert!(encode_gif(&[RgbImage::new(2, 2), RgbImage::new(2, 3)], 100).is_err());
        assert!(encode_gif(&[RgbImage::new(0, 0)], 100).is_err());
    }
}
