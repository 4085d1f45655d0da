//! What a path holds, told from headers alone.

use crate::data::archive::{self, Packing};
use crate::data::kind::Kind;
use crate::data::{Target, arrays, folder, idx, lines, picture};
use crate::error::Result;
use std::path::Path;

/// What a source is, and of which sizes its samples are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `folder`, `tar`, `tgz`, `zip`, `npy`, `npz`, `idx`, `lines` or `picture`.
    pub kind: &'static str,
    /// Height, width, channels of the samples and how many have them, the most frequent first. Of an array there is one
    /// entry, and of a folder of arrays that of the first; damaged pictures are left out.
    pub sizes: Vec<([usize; 3], u64)>,
}

impl Probe {
    /// The most frequent size as a target, to which nothing is cropped; 1x1 where no sample could be read.
    pub fn target(&self) -> Target {
        let [height, width, channels] = self.sizes.first().map_or([1, 1, 1], |(size, _)| *size);
        Target::new(height, width, channels)
    }
}

/// Looks at every header of a source, and decodes nothing.
///
/// # Errors
/// A source that is missing, of no known kind, or damaged as a whole.
pub fn probe(path: &Path) -> Result<Probe> {
    let kind = Kind::of(path)?;
    let sizes = match kind {
        Kind::Folder => of_folder(path)?,
        Kind::Archive(packing) => of_archive(path, packing)?,
        Kind::Picture => {
            let bytes = std::fs::read(path).map_err(crate::Error::io(path, "read"))?;
            let name = path.to_string_lossy();
            vec![(picture::size(&name, &bytes).map_err(|problem| crate::Error::file(path, problem))?, 1)]
        }
        array => vec![of_array(path, array)?],
    };
    Ok(Probe { kind: kind.name(), sizes })
}

fn of_array(path: &Path, kind: Kind) -> Result<([usize; 3], u64)> {
    let (shape, count) = match kind {
        Kind::Npz => arrays::npz_shape(path)?,
        Kind::Npy => arrays::npy_shape(path)?,
        Kind::Lines => (natural(lines::length(path)?), 0),
        _ => idx::shape(path)?,
    };
    Ok((shape.map(|n| usize::try_from(n).unwrap_or(usize::MAX)), count))
}

/// Height, width, channels of a flat row: a square, grey or of three channels, else one line of pixels.
pub(super) fn natural(length: u64) -> [u64; 3] {
    let side = length.isqrt();
    let colour_side = (length / 3).isqrt();
    match length {
        n if side * side == n => [side, side, 1],
        n if colour_side * colour_side * 3 == n => [colour_side, colour_side, 3],
        n => [1, n, 1],
    }
}

fn of_folder(path: &Path) -> Result<Vec<([usize; 3], u64)>> {
    let listing = folder::list(path)?;
    if !listing.is_without_pictures() {
        return Ok(counted(listing.sizes()));
    }
    let arrays = listing.others.iter().filter_map(|(_, path)| Some((path, Kind::of(path).ok()?)));
    let mut sizes = arrays.filter(|(_, kind)| kind.is_array()).filter_map(|(path, kind)| of_array(path, kind).ok());
    Ok(sizes.next().into_iter().collect())
}

fn of_archive(path: &Path, packing: Packing) -> Result<Vec<([usize; 3], u64)>> {
    let contents = archive::read(path, packing, &picture::size, &())?;
    Ok(counted(contents.pictures.into_iter().filter_map(|picture| picture.pixels.ok())))
}

fn counted(sizes: impl IntoIterator<Item = [usize; 3]>) -> Vec<([usize; 3], u64)> {
    let mut counts = std::collections::BTreeMap::new();
    for size in sizes {
        *counts.entry(size).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counts
}
