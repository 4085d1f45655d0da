//! Archives of pictures: tar, gzipped tar, zip.
//!
//! One thread unpacks, the others decode. What lies between them is bounded: two files for each decoder, none that
//! [`picture::check_size`] refuses.

use crate::data::Skipped;
use crate::data::picture;
use crate::data::source::{Decoded, Progress};
use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Most that is read after the last entry of a gzipped tar in order to reach its checksum, in bytes.
const MAX_TRAILER_BYTES: u64 = 1 << 30;

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Tar,
    GzippedTar,
    Zip,
}

/// What an archive holds: its pictures, by path, and what could not be used.
#[derive(Default)]
pub(super) struct Contents<T> {
    pub(super) pictures: Vec<Decoded<T>>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) ignored: usize,
    pub(super) example: Option<String>,
}

impl<T: Default> Contents<T> {
    /// Whether an entry of this name and size is a picture to unpack; counts it where not.
    fn wants(&mut self, name: &str, size_bytes: u64) -> bool {
        if picture::is_hidden(name) {
            return false;
        }
        if !picture::has_picture_name(name) {
            self.ignored += 1;
            self.example.get_or_insert_with(|| name.to_string());
            return false;
        }
        if let Err(reason) = picture::check_size(size_bytes) {
            self.skipped.push(Skipped { path: name.to_string(), reason });
            return false;
        }
        true
    }
}

/// A picture on its way from the unpacking thread to a decoding one.
struct Packed {
    /// Position in the archive: the order of two files of the same name.
    index: usize,
    name: String,
    bytes: Vec<u8>,
}

/// Unpacks the archive at `path`, and hands the name and bytes of each picture to `decode`, on all cores.
pub(super) fn read<T: Default + Send>(
    path: &Path,
    packing: Packing,
    decode: &(impl Fn(&str, &[u8]) -> Result<T, String> + Sync),
    progress: &dyn Progress,
) -> Result<Contents<T>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    progress.total(file.metadata().map_or(0, |m| m.len()));
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (sender, receiver) = sync_channel(2 * workers);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let decoders: Vec<_> = (0..workers).map(|_| scope.spawn(|| decode_all(&receiver, decode))).collect();
        let unpacked = match packing {
            Packing::Tar => {
                untar(BufReader::new(Counted { inner: file, progress }), &sender).map(|(contents, _)| contents)
            }
            Packing::GzippedTar => {
                let inflated = MultiGzDecoder::new(BufReader::new(Counted { inner: file, progress }));
                untar(inflated, &sender).and_then(|(contents, rest)| {
                    // The checksum of the whole stands at the very end.
                    io::copy(&mut rest.take(MAX_TRAILER_BYTES), &mut io::sink()).map_err(damaged)?;
                    Ok(contents)
                })
            }
            Packing::Zip => unzip(file, progress, &sender),
        };
        drop(sender);
        let mut pictures = Vec::new();
        for decoder in decoders {
            pictures.extend(decoder.join().map_err(|_| Error::file(path, "a decoding thread failed"))?);
        }
        let mut contents = unpacked.map_err(|problem| Error::file(path, problem))?;
        pictures.sort_by(|(i, a), (j, b)| (&a.name, i).cmp(&(&b.name, j)));
        contents.pictures = pictures.into_iter().map(|(_, picture)| picture).collect();
        Ok(contents)
    })
}

fn decode_all<T>(
    packed: &Mutex<Receiver<Packed>>,
    decode: &impl Fn(&str, &[u8]) -> Result<T, String>,
) -> Vec<(usize, Decoded<T>)> {
    let mut decoded = Vec::new();
    loop {
        // The lock is let go before decoding: it guards the wait for the next file alone.
        let next = packed.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Packed { index, name, bytes }) = next else { return decoded };
        let pixels = decode(&name, &bytes);
        decoded.push((index, Decoded { name, pixels }));
    }
}

/// The reader of archives quotes what it read, which may be anything, of any length.
fn damaged(e: io::Error) -> String {
    let quoted: String = picture::printable(&e.to_string()).chars().take(100).collect();
    format!("the archive is damaged or truncated ({quoted}); fetch or pack it again")
}

/// Sends the pictures of a tar on, and gives back the reader at its end.
fn untar<R: Read, T: Default>(reader: R, sender: &SyncSender<Packed>) -> Result<(Contents<T>, R), String> {
    let mut contents = Contents::<T>::default();
    let mut archive = tar::Archive::new(reader);
    for (index, entry) in archive.entries().map_err(damaged)?.enumerate() {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry_name(&String::from_utf8_lossy(&entry.path_bytes()));
        let size_bytes = entry.size();
        if contents.wants(&name, size_bytes) {
            let bytes = exactly(&mut entry, size_bytes)?;
            // A send fails only if all decoders are gone, which `read` reports.
            drop(sender.send(Packed { index, name, bytes }));
        }
    }
    Ok((contents, archive.into_inner()))
}

fn unzip<T: Default>(file: File, progress: &dyn Progress, sender: &SyncSender<Packed>) -> Result<Contents<T>, String> {
    let mut contents = Contents::default();
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(zip_problem)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(zip_problem)?;
        let name = entry_name(&entry.name().map_err(zip_problem)?);
        let size_bytes = entry.size();
        if !entry.is_dir() && contents.wants(&name, size_bytes) {
            let bytes = exactly(&mut entry, size_bytes)?;
            drop(sender.send(Packed { index, name, bytes }));
        }
        progress.advance(entry.compressed_size());
    }
    Ok(contents)
}

/// One line about a zip file that cannot be used.
pub(super) fn zip_problem(e: zip::result::ZipError) -> String {
    match e {
        zip::result::ZipError::UnsupportedArchive(what) => {
            format!("the archive cannot be unpacked ({what}); pack it again with deflate and without a password")
        }
        other => damaged(other.into()),
    }
}

/// The path of an entry, without a leading `./`, with `/` throughout, and fit to be shown.
fn entry_name(path: &str) -> String {
    let path = path.replace('\\', "/");
    picture::printable(path.trim_start_matches("./").trim_start_matches('/'))
}

/// `size_bytes` bytes of a file inside an archive; memory grows with what is there, not with what is claimed.
fn exactly(reader: &mut impl Read, size_bytes: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader.take(size_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() as u64 != size_bytes {
        return Err("the archive is truncated: it ends inside a file; fetch or pack it again".into());
    }
    Ok(bytes)
}

/// Tells the progress how much of a file was read.
pub(super) struct Counted<'a> {
    pub(super) inner: File,
    pub(super) progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}
