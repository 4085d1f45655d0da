//! The IDX format of MNIST: pictures (`idx3`, u8) and labels (`idx1`, u8), plain or gzipped.
//!
//! Format: two zero bytes, 8 for u8, the number of dimensions, each dimension as a big-endian u32, the numbers.

use crate::data::npy::{Element, read_bytes};
use crate::data::rows::{Rows, pass_over};
use crate::data::source::Progress;
use crate::data::{Labels, Target, Values};
use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// First bytes of a file of pictures, and of one of labels.
const IMAGES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

/// Whether a file, unzipped, begins as one of pictures in IDX does.
pub(super) fn is_idx(head: &[u8]) -> bool {
    head.starts_with(&IMAGES)
}

/// Whether a file, unzipped, begins as one of labels in IDX does.
pub(super) fn is_idx_labels(head: &[u8]) -> bool {
    head.starts_with(&LABELS)
}

/// Height, width, channels of the pictures, and how many there are.
pub(super) fn shape(path: &Path) -> Result<([u64; 3], u64)> {
    let sizes = dimensions(&mut open(path)?, IMAGES).map_err(|problem| Error::file(path, problem))?;
    match sizes.as_slice() {
        &[count, h, w] => Ok(([h, w, 1], count)),
        _ => Err(Error::file(path, "not an IDX file of pictures")),
    }
}

/// The pictures `window`, as far as they are there, and their labels if MNIST's file of labels lies beside.
pub(super) fn read(
    path: &Path,
    target: &Target,
    window: Range<usize>,
    progress: &dyn Progress,
) -> Result<(Values, Option<Labels>)> {
    let problem = |problem: String| Error::file(path, problem);
    let mut reader = open(path)?;
    let sizes = dimensions(&mut reader, IMAGES).map_err(problem)?;
    let &[count, h, w] = sizes.as_slice() else { return Err(problem("not an IDX file of pictures".into())) };
    let rows = Rows { count, skipped: 0, shape: [h, w, 1], element: Element::U8 };
    let (rows, before) = rows.part(window.start);
    pass_over(&mut reader, before).map_err(problem)?;
    let values = rows.read(&mut reader, target, window.len(), progress).map_err(problem)?;
    let Some(beside) = label_file(path) else { return Ok((values, None)) };
    let mut labels = read_labels(&beside)?;
    if labels.ids.len() as u64 != count {
        return Err(Error::file(&beside, format!("{} labels for the {count} pictures beside it", labels.ids.len())));
    }
    labels.ids.truncate(window.end);
    labels.ids.drain(..window.start.min(labels.ids.len()));
    Ok((values, Some(labels)))
}

/// The labels of an `idx1` file.
pub(super) fn read_labels(path: &Path) -> Result<Labels> {
    let mut reader = open(path)?;
    let mut read = || {
        let count = dimensions(&mut reader, LABELS)?.into_iter().sum();
        read_bytes(&mut reader, count)
    };
    let numbers: Vec<u8> = read().map_err(|problem| Error::file(path, problem))?;
    if numbers.is_empty() {
        return Err(Error::file(path, "holds no labels"));
    }
    Ok(Labels::from_names(&numbers.iter().map(u8::to_string).collect::<Vec<_>>()))
}

/// MNIST's label file of a file of pictures: `train-labels-idx1-ubyte` of `train-images-idx3-ubyte`, plain or gzipped.
fn label_file(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    if !name.contains("images") {
        return None;
    }
    let name = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = name.trim_end_matches(".gz").to_string();
    let gzipped = format!("{plain}.gz");
    [name, plain, gzipped].iter().map(|name| images.with_file_name(name)).find(|path| path.is_file())
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path, "read"))?);
    let head = std::io::BufRead::fill_buf(&mut file).map_err(Error::io(path, "read"))?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

fn dimensions(reader: &mut impl Read, magic: [u8; 4]) -> Result<Vec<u64>, String> {
    let [_, _, _, count] = magic;
    let head = read_bytes(reader, 4 + 4 * u64::from(count)).map_err(|_| "the IDX header is truncated".to_string())?;
    let Some(sizes) = head.strip_prefix(&magic) else {
        return Err(format!("not an IDX file of u8 with {count} dimensions"));
    };
    Ok(sizes.chunks_exact(4).map(|b| b.iter().fold(0, |n, &b| n << 8 | u64::from(b))).collect())
}
