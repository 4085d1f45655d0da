//! Pictures to PNG, and files that are complete or absent.

use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::atomic_file::write_bytes;
use crate::error::{Error, Result};

/// `image` as the bytes of a PNG file: 8 bits, RGB, no time stamp, so that the same picture gives the same bytes.
///
/// # Errors
/// Where the picture has no pixels.
pub fn encode_png(image: &RgbImage) -> Result<Vec<u8>> {
    let (width, height) = image.dimensions();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8)
        .map_err(|e| Error::setting("png", format!("a picture of {width}x{height} pixels cannot be encoded: {e}")))?;
    Ok(bytes)
}

/// Writes `image` to `path` as PNG. The file is complete or, if this fails, as it was.
///
/// # Errors
/// Where the picture has no pixels or the file cannot be written.
pub fn write_png(image: &RgbImage, path: impl AsRef<Path>) -> Result<()> {
    write_whole(path.as_ref(), &encode_png(image)?)
}

/// Writes a file of the report by way of [`write_bytes`]; a path without a name is refused in its own words.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    match path.file_name() {
        Some(_) => write_bytes(path, bytes),
        None => Err(Error::file(path, "this is not the name of a file")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::fs;

    #[test]
    fn a_picture_reads_back_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let image = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 40, y as u8 * 70, 9]));
        fs::write(&path, b"old").unwrap();
        write_png(&image, &path).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), image);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn failures_name_the_file_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let image = RgbImage::new(1, 1);
        let missing = folder.path().join("no/such/a.png");
        assert!(write_png(&image, &missing).unwrap_err().to_string().contains("a.png: cannot write"));
        let taken = folder.path().join("folder");
        fs::create_dir(&taken).unwrap();
        assert!(write_png(&image, &taken).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_png(&image, "/").unwrap_err().to_string().contains("not the name of a file"));
        assert!(encode_png(&RgbImage::new(0, 4)).is_err());
    }
}
