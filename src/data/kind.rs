//! What a path given by the user is.

use crate::data::archive::Packing;
use crate::data::{arrays, idx, lines, npy, picture};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// First bytes of a file that tell what it is; a tar has its mark at byte 257.
const HEAD_BYTES: u64 = 512;
/// First bytes of packed files that are not read, and their names.
const UNSUPPORTED: [(&[u8], &str); 5] =
    [(b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf", "7z"), (b"Rar!", "rar")];
const GZIP: &[u8] = &[0x1f, 0x8b];
/// Where MNIST can be had, for those who name a file of it that is not there.
const MNIST_PLACE: &str = "MNIST's four files are at https://ossci-datasets.s3.amazonaws.com/mnist/ \
                           (train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, and t10k-… the same)";

/// How a source is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    Archive(Packing),
    Npy,
    Npz,
    Idx,
    /// IDX labels: no pictures, read beside those that they belong to.
    IdxLabels,
    Lines,
    Picture,
}

impl Kind {
    /// Looks at the content; the name decides only where the content does not tell.
    ///
    /// # Errors
    /// A path that is not there, or nothing that can be read.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::file(path, missing(path)),
            _ => Error::io(path, "read")(e),
        })?;
        if metadata.is_dir() {
            return Ok(Self::Folder);
        }
        if !metadata.is_file() {
            return Err(Error::file(path, "wanted a folder or a file, this is a device or a pipe"));
        }
        let head = head(File::open(path).map_err(Error::io(path, "read"))?).0;
        if head.is_empty() {
            return Err(Error::file(path, "the file is empty"));
        }
        let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if head.starts_with(GZIP) { Self::of_gzipped(path, &name) } else { Self::of_plain(path, &name, &head) }
    }

    fn of_gzipped(path: &Path, name: &str) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        // A damaged beginning is reported by the reader that the name or the first bytes ask for.
        let (head, whole) = head(flate2::read::MultiGzDecoder::new(file));
        match () {
            () if is_tar(&head) || name.ends_with(".tgz") || name.ends_with(".tar.gz") => {
                Ok(Self::Archive(Packing::GzippedTar))
            }
            () if idx::is_idx(&head) || name.contains("idx3") => Ok(Self::Idx),
            () if idx::is_idx_labels(&head) => Ok(Self::IdxLabels),
            () if lines::is_lines(&head) => Ok(Self::Lines),
            () if head.is_empty() && whole => Err(Error::file(path, "gzipped, and empty inside")),
            () if head.is_empty() => Err(Error::file(path, "the gzipped file is damaged or truncated; fetch it again")),
            () => {
                let wanted = "a tar archive, IDX pictures nor lines of numbers";
                Err(Error::file(path, format!("gzipped, but neither {wanted}; unzip it")))
            }
        }
    }

    fn of_plain(path: &Path, name: &str, head: &[u8]) -> Result<Self> {
        // Before the others, as the name of its first file stands where they have their marks.
        if is_tar(head) || [".tar", ".tgz", ".tar.gz"].iter().any(|e| name.ends_with(e)) {
            return Ok(Self::Archive(Packing::Tar));
        }
        if head.starts_with(npy::MAGIC) || name.ends_with(".npy") {
            return Ok(Self::Npy);
        }
        if head.starts_with(b"PK") || name.ends_with(".npz") || name.ends_with(".zip") {
            return Ok(if arrays::is_npz(path) { Self::Npz } else { Self::Archive(Packing::Zip) });
        }
        if idx::is_idx(head) {
            return Ok(Self::Idx);
        }
        if idx::is_idx_labels(head) {
            return Ok(Self::IdxLabels);
        }
        if let Some((_, packed)) = UNSUPPORTED.iter().find(|(magic, _)| head.starts_with(magic)) {
            let problem = format!("{packed} archives are not read; unpack it, or pack it as .tgz or .zip");
            return Err(Error::file(path, problem));
        }
        if picture::is_picture(head, name) {
            return Ok(Self::Picture);
        }
        if lines::is_lines(head) {
            return Ok(Self::Lines);
        }
        let wanted = "a folder, a picture, an archive (.tar, .tgz, .zip), .npy, .npz, IDX or lines of numbers";
        Err(Error::file(path, format!("wanted {wanted}")))
    }

    /// One word for scripts and people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Archive(Packing::Tar) => "tar",
            Self::Archive(Packing::GzippedTar) => "tgz",
            Self::Archive(Packing::Zip) => "zip",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Idx | Self::IdxLabels => "idx",
            Self::Lines => "lines",
            Self::Picture => "picture",
        }
    }

    /// Whether a file is an array of samples, which a folder of arrays may hold.
    pub(super) fn is_array(self) -> bool {
        matches!(self, Self::Npy | Self::Npz | Self::Idx | Self::Lines)
    }
}

fn missing(path: &Path) -> String {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let is_mnist = name.contains("-ubyte") || (name.contains("mnist") && !name.contains("fashion"));
    let hint = if is_mnist { format!("; {MNIST_PLACE}") } else { String::new() };
    format!("there is no such file or folder{hint}")
}

/// The first bytes, as far as they can be read, and whether nothing failed.
fn head(reader: impl Read) -> (Vec<u8>, bool) {
    let mut head = Vec::new();
    let read = reader.take(HEAD_BYTES).read_to_end(&mut head);
    (head, read.is_ok())
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}
