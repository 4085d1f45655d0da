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
    /// Pictures of files are cut into patches of this size instead of being resized. Arrays, whose samples have one size
    /// as it is, are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<Patches>,
}

/// How many patches a picture is cut into, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Patches {
    /// Patches of each picture, at least 1; they may overlap.
    pub count: usize,
    /// They lie where this and the picture's name tell.
    pub seed: u64,
}

impl Target {
    /// A target without a crop.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels, crop: 0, patches: None }
    }

    /// Height, width, channels.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// Numbers in one sample: height x width x channels.
    pub fn sample_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Samples that come of one picture file.
    pub fn samples_per_picture(&self) -> usize {
        self.patches.map_or(1, |patches| patches.count)
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
        if self.patches.is_some_and(|patches| patches.count == 0) {
            return Err(Error::setting("patches", "wanted at least 1 of each picture, got 0"));
        }
        if c != 1 && c != 3 {
            return Err(Error::setting("input", format!("wanted 1 (grey) or 3 (RGB) channels, got {c}")));
        }
        Ok(())
    }
}
