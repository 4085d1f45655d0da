//! What the data sets in the binary share: their names, and sheets of cells.

use crate::data::{Dataset, bundled_emoji, bundled_quickdraw};
use crate::error::Result;

/// Names of the data sets in the binary, as [`bundled`] takes them.
pub const BUNDLED: [&str; 2] = ["emoji", "quickdraw"];

/// A data set in the binary, at its own size; `None` if there is none of this name.
///
/// # Errors
/// None, unless the binary was built from damaged files.
pub fn bundled(name: &str) -> Option<Result<Dataset>> {
    match name {
        "emoji" => Some(bundled_emoji()),
        "quickdraw" => Some(bundled_quickdraw()),
        _ => None,
    }
}

/// The first `count` cells, of `shape` = [H, W, C], of a sheet with so many columns, one after the other.
pub(super) fn cells(sheet: &[u8], columns: usize, shape: [usize; 3], count: usize) -> Vec<u8> {
    let [height, width, channels] = shape;
    let line = width * channels;
    let starts = (0..count)
        .flat_map(|cell| (0..height).map(move |y| ((cell / columns * height + y) * columns + cell % columns) * line));
    starts.filter_map(|start| sheet.get(start..start + line)).flatten().copied().collect()
}
