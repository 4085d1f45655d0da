//! NumPy arrays of pictures: `.npy`, and `.npz` with labels.

use crate::data::archive::zip_problem;
use crate::data::npy::{self, Header};
use crate::data::rows::{Rows, check_element, pass_over};
use crate::data::source::Progress;
use crate::data::{Labels, Target, Values, probe};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

/// Names that hold the pictures of an `.npz`, first come, first taken; `x_train` is Keras's.
const IMAGES: [&str; 4] = ["images", "arr_0", "x", "x_train"];
/// Names that hold the labels.
const LABELS: [&str; 4] = ["labels", "arr_1", "y", "y_train"];

/// The samples `window` of an `.npy` file, as far as they are there.
pub(super) fn read_npy(path: &Path, target: &Target, window: Range<usize>, progress: &dyn Progress) -> Result<Values> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let size = file.metadata().map_err(Error::io(path, "read"))?.len();
    let mut reader = BufReader::new(file);
    let mut values = || {
        let header = Header::read(&mut reader)?;
        let claimed = header.bytes(0)?;
        if claimed > size {
            return Err(format!("truncated: shape {:?} takes {claimed} bytes, the file has {size}", header.shape));
        }
        let (rows, before) = rows(&header, target)?.part(window.start);
        let unread = |e: io::Error| format!("cannot be read: {e}");
        // Less than the file has, as was just seen.
        reader.seek_relative(i64::try_from(before).unwrap_or(i64::MAX)).map_err(unread)?;
        rows.read(&mut reader, target, window.len(), progress)
    };
    values().map_err(|problem| Error::file(path, problem))
}

/// The samples `window` of an `.npz` file, as far as they are there, and their labels where it has any.
pub(super) fn read_npz(
    path: &Path,
    target: &Target,
    window: Range<usize>,
    progress: &dyn Progress,
) -> Result<(Values, Option<Labels>)> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let read = || {
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(zip_problem)?;
        let arrays: Vec<String> = array_names(&archive);
        let images = images_name(&arrays)?;
        let within = |name: &str, problem: String| format!("{name}.npy: {problem}");
        let mut entry = array(&mut archive, &images)?;
        let header = Header::read(&mut entry).map_err(|p| within(&images, p))?;
        let rows = rows(&header, target).map_err(|p| within(&images, p))?;
        let count = rows.count;
        let (rows, before) = rows.part(window.start);
        pass_over(&mut entry, before).map_err(|p| within(&images, p))?;
        let values = rows.read(&mut entry, target, window.len(), progress).map_err(|p| within(&images, p))?;
        drop(entry);
        let Some(name) = find(&arrays, &LABELS).filter(|name| *name != images) else { return Ok((values, None)) };
        let mut names = npy::read_labels(&mut array(&mut archive, &name)?).map_err(|p| within(&name, p))?;
        if names.len() as u64 != count {
            return Err(within(&name, format!("{} labels for {count} pictures", names.len())));
        }
        names.truncate(window.end);
        names.drain(..window.start.min(names.len()));
        Ok((values, Some(Labels::from_names(&names))))
    };
    read().map_err(|problem| Error::file(path, problem))
}

/// Height, width, channels of the samples of an `.npy` file, and how many there are.
pub(super) fn npy_shape(path: &Path) -> Result<([u64; 3], u64)> {
    let mut reader = BufReader::new(File::open(path).map_err(Error::io(path, "read"))?);
    Header::read(&mut reader).and_then(|header| natural_shape(&header)).map_err(|problem| Error::file(path, problem))
}

/// Height, width, channels of the pictures of an `.npz` file, and how many there are.
pub(super) fn npz_shape(path: &Path) -> Result<([u64; 3], u64)> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let read = || {
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(zip_problem)?;
        let images = images_name(&array_names(&archive))?;
        natural_shape(&Header::read(&mut array(&mut archive, &images)?)?)
    };
    read().map_err(|problem| Error::file(path, problem))
}

/// As the array has it, whatever the network takes.
fn natural_shape(header: &Header) -> Result<([u64; 3], u64), String> {
    match header.shape.as_slice() {
        &[count, d] => Ok((probe::natural(d), count)),
        // A target of one channel takes every shape of array.
        _ => rows(header, &Target::new(1, 1, 1)).map(|rows| (rows.shape, rows.count)),
    }
}

/// Whether a zip file holds arrays, not pictures.
pub(super) fn is_npz(path: &Path) -> bool {
    let archive = File::open(path).ok().and_then(|file| zip::ZipArchive::new(BufReader::new(file)).ok());
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
        || archive.is_some_and(|a| !array_names(&a).is_empty())
}

fn find(arrays: &[String], wanted: &[&str]) -> Option<String> {
    wanted.iter().find(|w| arrays.iter().any(|a| a == *w)).map(ToString::to_string)
}

/// Which of the arrays are the pictures.
fn images_name(arrays: &[String]) -> Result<String, String> {
    match (find(arrays, &IMAGES), arrays) {
        (Some(name), _) => Ok(name),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err("holds no arrays".to_string()),
        (None, _) => Err(format!("which array? Name the pictures `images`; it has {:?}", arrays.join(", "))),
    }
}

fn array_names<R: Read + std::io::Seek>(archive: &zip::ZipArchive<R>) -> Vec<String> {
    let names = archive.file_names().filter_map(Result::ok);
    names.filter_map(|name| name.strip_suffix(".npy").map(str::to_string)).collect()
}

fn array<'a>(archive: &'a mut zip::ZipArchive<BufReader<File>>, name: &str) -> Result<impl Read + use<'a>, String> {
    archive.by_name(&format!("{name}.npy")).map(BufReader::new).map_err(zip_problem)
}

/// How the samples of an array lie: (N, H, W, C), (N, H, W), or (N, D) with D as [`row_shape`] has it.
fn rows(header: &Header, target: &Target) -> Result<Rows, String> {
    check_element(header.element)?;
    let (count, shape) = match header.shape.as_slice() {
        // One RGB picture, saved without the dimension of samples, is not a row of three-pixel-wide ones.
        [h, w, c @ (3 | 4)] if target.channels == 3 => {
            return Err(format!("({h}, {w}, {c}) looks like one picture; save it as (1, {h}, {w}, {c})"));
        }
        &[count, h, w] => (count, [h, w, 1]),
        &[count, h, w, c @ (1 | 3)] => (count, [h, w, c]),
        [_, 1 | 3, _, _] => return Err("channels come last: transpose (N, C, H, W) to (N, H, W, C)".into()),
        [_, _, _, c] => return Err(format!("{c} channels; wanted 1 (grey) or 3 (RGB)")),
        &[count, d] => (count, row_shape(d, target)?),
        shape => return Err(format!("shape {shape:?}; wanted (N, H, W, C), (N, H, W) or (N, D)")),
    };
    Ok(Rows { count, skipped: 0, shape, element: header.element })
}

/// Height, width, channels of a flat row of `d` numbers: the target's where it has as many, else a square grey picture
/// (784 is 28x28). The error is the problem without the file's name.
pub(super) fn row_shape(d: u64, target: &Target) -> Result<[u64; 3], String> {
    let ([h, w, c], side) = (target.shape(), d.isqrt());
    match d {
        d if d == target.sample_len() as u64 => Ok(target.shape().map(|n| n as u64)),
        d if d > 1 && side * side == d => Ok([side, side, 1]),
        _ => Err(format!("rows of {d} numbers; wanted {h}x{w}x{c} = {}, or a square", target.sample_len())),
    }
}
