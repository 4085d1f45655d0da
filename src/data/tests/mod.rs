//! Sources end to end: files written here, read through [`open`].
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archives;
mod arrays;
mod caching;
mod categories;
mod folders;
mod labelling;

use super::*;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// The sources at `target`, uncached.
fn read(path: &Path, target: &Target) -> crate::Result<Dataset> {
    open(&[path.to_path_buf()], target, None, &CacheMode::Off, &())
}

/// The message of the error that reading `path` at 4x4x3 gives, on one line and naming the file.
fn problem(path: &Path) -> String {
    let message = read(path, &Target::new(4, 4, 3)).unwrap_err().to_string();
    assert!(!message.contains('\n') && message.contains(path.file_name().unwrap().to_str().unwrap()), "{message}");
    message
}

fn write(path: PathBuf, bytes: impl AsRef<[u8]>) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG of one colour.
fn png(side: u32, colour: [u8; 3]) -> Vec<u8> {
    encode(RgbImage::from_pixel(side, side, Rgb(colour)), ImageFormat::Png)
}

/// A noisy JPEG, so that its data is longer than its header.
fn jpeg(side: u32) -> Vec<u8> {
    let noise = |x: u32, y: u32| (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) as u8;
    encode(RgbImage::from_fn(side, side, |x, y| Rgb([noise(x, y), noise(y, x), 90])), ImageFormat::Jpeg)
}

fn bytes(dataset: &Dataset) -> &[u8] {
    match &dataset.values {
        Values::U8(v) => v,
        Values::F32(_) => panic!("wanted u8"),
    }
}
