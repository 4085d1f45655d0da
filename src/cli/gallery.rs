//! Pictures that a network made from codes: on a sheet, as an animation, in files of their own or as one array.

use super::console::count;
use super::outputs::Outputs;
use degrain::atomic_file::write_bytes;
use degrain::model::Preset;
use degrain::report::{Cell, Sheet, encode_gif, sheet};
use degrain::{Error, Result};
use image::RgbImage;
use std::path::{Path, PathBuf};

/// A picture on a sheet is enlarged to about this many pixels a side.
const CELL_SIDE: usize = 72;
/// How long a picture of an animation is shown, in milliseconds.
const FRAME_MS: u32 = 100;
/// The first and the last picture of an animation are shown as long as this many others.
const HOLD: usize = 6;

/// What `-o` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// One .png with all pictures.
    Sheet,
    /// One .gif.
    Animation,
    /// A folder of pictures, or an array.
    Pictures,
}

impl Form {
    /// By the name that `-o` gives.
    ///
    /// # Errors
    /// A picture file of another format.
    pub(super) fn of(out: &Path) -> Result<Self> {
        let extension = out.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            _ if out.is_dir() => Ok(Self::Pictures),
            Some("png") => Ok(Self::Sheet),
            Some("gif") => Ok(Self::Animation),
            Some(other) if other != "npy" && image::ImageFormat::from_extension(other).is_some() => {
                Err(Error::file(out, "sheets of pictures are written as .png: choose another name"))
            }
            _ => Ok(Self::Pictures),
        }
    }

    /// The same, where pictures have no order that an animation could show.
    ///
    /// # Errors
    /// As [`Form::of`], and an animation.
    pub(super) fn still(out: &Path) -> Result<Self> {
        match Self::of(out)? {
            Self::Animation => Err(Error::file(out, "sheets of pictures are written as .png: choose another name")),
            form => Ok(form),
        }
    }
}

/// That `out` can be the name of a lone sheet or plot.
///
/// # Errors
/// Another ending than .png, or a folder.
pub(super) fn expect_png(out: &Path) -> Result<()> {
    if out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) && !out.is_dir() {
        return Ok(());
    }
    Err(Error::file(out, "wanted a file such as out.png"))
}

/// The size and range of a network's pictures.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    shape: [usize; 3],
    offset: f32,
}

impl Scene {
    pub(super) fn of(preset: &Preset) -> Self {
        let data = &preset.data;
        Self { shape: [data.height, data.width, data.channels], offset: data.offset as f32 }
    }

    /// Values in one picture.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product::<usize>().max(1)
    }

    /// One picture of these values.
    pub(super) fn image(&self, values: &[f32]) -> Result<RgbImage> {
        sheet::picture(values, self.shape, (self.offset, self.offset + 1.0))
    }

    /// A cell for each of these pictures, (N, H, W, C).
    pub(super) fn cells(&self, pictures: &[f32]) -> Result<Vec<Cell>> {
        pictures.chunks_exact(self.len()).map(|values| self.image(values).map(Cell::from)).collect()
    }

    /// How often sheets enlarge the pictures.
    pub(super) fn scale(&self) -> u32 {
        (CELL_SIDE / self.shape[0].max(self.shape[1]).max(1)).max(1) as u32
    }

    /// A sheet of rows of cells under column titles, with a title each; any of the titles may be missing.
    pub(super) fn sheet(&self, column_titles: Vec<String>, rows: Vec<(String, Vec<Cell>)>) -> Sheet {
        let (row_titles, rows): (Vec<String>, _) = rows.into_iter().unzip();
        let row_titles = if row_titles.iter().all(String::is_empty) { Vec::new() } else { row_titles };
        Sheet { column_titles, row_titles, rows, scale: self.scale() }
    }

    /// Writes an animation there and back, each frame a row of cells.
    pub(super) fn write_animation(&self, out: &Path, frames: &[Vec<Cell>]) -> Result<()> {
        let draw =
            |row: &Vec<Cell>| Sheet { rows: vec![row.clone()], scale: 2 * self.scale(), ..Sheet::default() }.draw();
        let there: Vec<RgbImage> = frames.iter().map(draw).collect::<Result<_>>()?;
        let last = there.len().saturating_sub(1);
        let order =
            std::iter::repeat_n(0, HOLD).chain(1..last).chain(std::iter::repeat_n(last, HOLD)).chain((1..last).rev());
        let frames: Vec<RgbImage> = order.filter_map(|at| there.get(at)).cloned().collect();
        write_bytes(out, &encode_gif(&frames, FRAME_MS)?)
    }

    /// Writes pictures (N, H, W, C) as files of their own in a folder, or as one array; returns the files' names.
    pub(super) fn write_pictures(
        &self,
        out: &Path,
        names: &[String],
        pictures: Vec<f32>,
        read: &[PathBuf],
    ) -> Result<Vec<String>> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let outputs = Outputs::plan(out, &names, read)?;
        outputs.write(&mut std::iter::once(Ok(pictures)), names.len(), self.shape, self.offset)
    }
}

/// `9 pictures -> out.png`.
pub(super) fn line(pictures: usize, out: &Path) -> String {
    format!("{} -> {}", count(pictures, "picture"), out.display())
}

/// The last part of a file's name, or `#INDEX`.
pub(super) fn short(picture: &super::network::Picture) -> String {
    match picture {
        super::network::Picture::File(path) => {
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
        }
        index => index.to_string(),
    }
}
