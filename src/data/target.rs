//! What every picture is brought to.

use crate::error::{Error, Result};

/// Largest height and width of a [`Target`], in pixels.
const MAX_SIDE: usize = 4096;

/// The size that every picture is brought to before training.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Target {
    /// Rows, in pixels: 1 to 4096.
    pub height: usize,
    /// Columns, in pixels: 1 to 4096.
    pub width: usize,
    /// 1 (luma) or 3 (red, green, blue).
    pub channels: usize,
    /// Pixels cut from each side of a picture of the Labeled Faces in the Wild (250x250, named `NAME_0001.jpg`) before it
    /// is resized; other pictures are never cropped.
    pub crop: u32,
}

impl Target {
    /// A target without a crop.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels, crop: 0 }
    }

    /// Height, width, channels.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// Numbers in one sample: height x width x channels.
    pub fn sample_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// An error for a size or a number of channels that no picture can be brought to.
    pub(super) fn check(&self) -> Result<()> {
        let [h, w, c] = self.shape();
        if !(1..=MAX_SIDE).contains(&h) || !(1..=MAX_SIDE).contains(&w) {
            return Err(Error::setting(
                "input",
                format!("wanted a size of 1 to {MAX_SIDE} pixels a side, got {h}x{w}"),
            ));
        }
        if c != 1 && c != 3 {
            return Err(Error::setting("input", format!("wanted 1 (grey) or 3 (RGB) channels, got {c}")));
        }
        Ok(())
    }
}
