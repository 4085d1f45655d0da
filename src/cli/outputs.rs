//! Where pictures go: files of their own in a folder, one picture file, or one array.

use degrain::atomic_file::write_bytes;
use degrain::data::npy;
use degrain::report::sheet;
use degrain::{Error, Result};
use image::{DynamicImage, ImageFormat};
use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

/// The files that are going to be written.
#[derive(Debug, PartialEq)]
pub(super) enum Outputs {
    /// All pictures as (N, H, W, C), f32, scaled as in training.
    Array(PathBuf),
    /// One file per picture.
    Pictures(Vec<(PathBuf, ImageFormat)>),
}

impl Outputs {
    /// What `-o` means for pictures of these names, made from the files `read`. Makes the folders; nothing else is
    /// written yet.
    ///
    /// # Errors
    /// One picture file for several pictures, a folder that cannot be made, or an output that is one of the inputs.
    pub(super) fn plan(out: &Path, names: &[&str], read: &[PathBuf]) -> Result<Self> {
        let extension = out.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let format = extension.as_deref().and_then(ImageFormat::from_extension);
        let outputs = match format {
            _ if out.is_dir() => Self::Pictures(in_folder(out, names)),
            _ if extension.as_deref() == Some("npy") => Self::Array(out.to_path_buf()),
            Some(format) if names.len() == 1 && format.can_write() => Self::Pictures(vec![(out.to_path_buf(), format)]),
            Some(_) if names.len() > 1 => {
                let problem = format!("{} pictures go in: name a folder, or a .npy file for all of them", names.len());
                return Err(Error::file(out, problem));
            }
            Some(_) => return Err(Error::file(out, "pictures of this format are not written: take .png")),
            None if out.exists() => return Err(Error::file(out, "is a file: wanted a folder, a .png or a .npy")),
            None => Self::Pictures(in_folder(out, names)),
        };
        outputs.check_inputs(read)?;
        outputs.make_folders()?;
        Ok(outputs)
    }

    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Array(path) => vec![path],
            Self::Pictures(files) => files.iter().map(|(path, _)| path.as_path()).collect(),
        }
    }

    /// An output may replace an earlier one, but no picture that was read.
    fn check_inputs(&self, read: &[PathBuf]) -> Result<()> {
        let read: HashSet<PathBuf> = read.iter().filter_map(|file| fs::canonicalize(file).ok()).collect();
        match self.paths().into_iter().find(|path| fs::canonicalize(path).is_ok_and(|path| read.contains(&path))) {
            Some(path) => Err(Error::file(path, "is one of the inputs: choose another place with -o")),
            None => Ok(()),
        }
    }

    fn make_folders(&self) -> Result<()> {
        let folders: HashSet<&Path> = self.paths().into_iter().filter_map(Path::parent).collect();
        for folder in folders.into_iter().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
        }
        Ok(())
    }

    /// Writes pictures (H, W, C) = `shape`, whose values lie in [`offset`, `offset` + 1], as `pieces` bring them, each
    /// with some of them; returns the files' names.
    ///
    /// # Errors
    /// The first error among the pieces, or a file that cannot be written; those before it are complete.
    pub(super) fn write(
        &self,
        pieces: &mut dyn Iterator<Item = Result<Vec<f32>>>,
        count: usize,
        shape: [usize; 3],
        offset: f32,
    ) -> Result<Vec<String>> {
        match self {
            Self::Array(path) => npy::write_pieces(path, &[&[count][..], &shape].concat(), pieces)?,
            Self::Pictures(files) => {
                let mut files = files.iter();
                for piece in pieces {
                    let piece = piece?;
                    // The pictures come first: a file that is taken has a picture to go in.
                    for (values, (path, format)) in piece.chunks_exact(shape.iter().product()).zip(&mut files) {
                        write_picture(path, *format, values, shape, offset)?;
                    }
                }
            }
        }
        Ok(self.paths().into_iter().map(|path| path.display().to_string()).collect())
    }
}

fn write_picture(path: &Path, format: ImageFormat, values: &[f32], shape: [usize; 3], offset: f32) -> Result<()> {
    let picture = DynamicImage::ImageRgb8(sheet::picture(values, shape, (offset, offset + 1.0))?);
    write_image(path, format, if shape[2] == 1 { DynamicImage::ImageLuma8(picture.into_luma8()) } else { picture })
}

/// Writes a picture file: it is complete or as it was.
///
/// # Errors
/// A picture that the format does not take, or a file that cannot be written.
pub(super) fn write_image(path: &Path, format: ImageFormat, picture: DynamicImage) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).map_err(|error| Error::file(path, error.to_string()))?;
    write_bytes(path, bytes.get_ref())
}

/// A PNG for each picture, under its own name and folders: `b.png` in `a` for `a/b.jpg`, `row-7.png` for row 7 of an
/// array. Of pictures that would get one name, the later ones are numbered.
fn in_folder(folder: &Path, names: &[&str]) -> Vec<(PathBuf, ImageFormat)> {
    let mut taken = HashSet::new();
    let mut free = |name: &str| {
        let inside: PathBuf =
            Path::new(name).components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let stem = match name.strip_prefix('#') {
            Some(row) => format!("row-{row}"),
            None => inside.file_stem().map_or("picture".into(), |stem| stem.to_string_lossy().into_owned()),
        };
        let mut path = inside.with_file_name(format!("{stem}.png"));
        for number in 2.. {
            // Some file systems do not tell cases apart.
            if taken.insert(path.to_string_lossy().to_lowercase()) {
                break;
            }
            path = inside.with_file_name(format!("{stem}-{number}.png"));
        }
        folder.join(path)
    };
    names.iter().map(|name| (free(name), ImageFormat::Png)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_and_never_shared_or_outside() {
        let names = ["a/b.jpg", "a/b.png", "A/B.gif", "../../c.tar.png", "/d", "#7", "#7", "..", "e f.webp"];
        let files: Vec<String> = in_folder(Path::new("out"), &names)
            .into_iter()
            .map(|(path, _)| path.to_string_lossy().replace('\\', "/"))
            .collect();
        let wanted = ["a/b", "a/b-2", "A/B-3", "c.tar", "d", "row-7", "row-7-2", "picture", "e f"];
        assert_eq!(files, wanted.map(|name| format!("out/{name}.png")));
    }
}
