//! Compiled pipelines, kept between runs where the driver hands them out (Vulkan).
//!
//! One file for each device, driver and version of this crate, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `DGRNPIPE` |
//! | 4 | CRC-32 of everything after it |
//! | 4 | number of kernels |
//! | 8 each | hash of each kernel's text, in order |
//! | … | what wgpu makes of the driver's pipelines |
//!
//! A file that is damaged or of another driver counts as absent. Drivers with a cache of their own (Mesa, NVIDIA on
//! desktops) gain little; where it is switched off, or lost with a container, this one is what remains.

use super::device::Gpu;
use crate::atomic_file::write_cached;
use crate::error::Result;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"DGRNPIPE";
/// A file past this is begun anew: what no kernel uses any more is never taken out of it.
const MOST_BYTES: u64 = 64 << 20;

/// The pipelines of one device; a file of them is written when this is dropped, if there are new ones.
pub(super) struct PipelineStore {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    /// Kernels that this driver compiled, now or before, by the hashes of their texts.
    known: BTreeSet<u64>,
    /// Checksum of what the file held; none where there was nothing of use.
    stored: Option<u32>,
}

impl PipelineStore {
    /// What new pipelines are made with.
    pub(super) fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Whether this driver compiled this kernel before.
    pub(super) fn knows(&self, hash: u64) -> bool {
        self.known.contains(&hash)
    }

    /// Remembers kernels as compiled.
    pub(super) fn note(&mut self, hashes: impl Iterator<Item = u64>) {
        self.known.extend(hashes);
    }

    fn save(&self) -> Result<()> {
        let mut body = (self.known.len() as u32).to_le_bytes().to_vec();
        body.extend(self.known.iter().flat_map(|hash| hash.to_le_bytes()));
        body.extend(self.cache.get_data().unwrap_or_default());
        let crc = checksum(&body);
        if self.stored == Some(crc) {
            return Ok(());
        }
        write_cached(&self.path, |file| {
            file.write_all(MAGIC)?;
            file.write_all(&crc.to_le_bytes())?;
            file.write_all(&body)
        })
    }
}

impl Drop for PipelineStore {
    fn drop(&mut self) {
        // Without it they are compiled again next time.
        drop(self.save());
    }
}

impl Gpu {
    /// Takes pipelines that were compiled before from `folder`, and keeps new ones there when this device is dropped.
    /// Does nothing where the driver hands out no pipelines; a file that cannot be read or written is no error.
    pub fn keep_pipelines(&mut self, folder: &Path) {
        if !self.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return;
        }
        let key = format!("{} {}", self.adapter().identity(), env!("CARGO_PKG_VERSION"));
        let path = folder.join(format!("pipelines-{:016x}.bin", crate::op::fnv1a(&key)));
        let body = load(&path).unwrap_or_default();
        let (known, data) = taken_apart(&body).unwrap_or_default();
        let data = (!data.is_empty()).then_some(data);
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("degrain"), data, fallback: true };
        // SAFETY: the bytes are those that wgpu gave out for this device and driver, or there are none: the file is found by
        // their names, its checksum is right, and wgpu compares the driver's own key, starting empty where it differs.
        let made = self.scoped(|| unsafe { self.device.create_pipeline_cache(&descriptor) });
        let stored = (!body.is_empty()).then(|| checksum(&body));
        self.pipelines = made.ok().map(|cache| PipelineStore { cache, path, known, stored });
    }
}

/// What the file holds after its checksum; none if it is not whole.
fn load(path: &Path) -> Option<Vec<u8>> {
    if fs::metadata(path).ok()?.len() > MOST_BYTES {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let (crc, data) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    (checksum(data) == u32::from_le_bytes(*crc)).then(|| data.to_vec())
}

/// The hashes and the driver's pipelines; none if the file was not made here.
fn taken_apart(body: &[u8]) -> Option<(BTreeSet<u64>, &[u8])> {
    let (count, rest) = body.split_first_chunk()?;
    let (hashes, data) = rest.split_at_checked(8 * u32::from_le_bytes(*count) as usize)?;
    let hash = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    Some((hashes.chunks_exact(8).filter_map(hash).collect(), data))
}

fn checksum(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn file(body: &[u8]) -> Vec<u8> {
        [MAGIC.as_slice(), &checksum(body).to_le_bytes(), body].concat()
    }

    #[test]
    fn a_whole_file_gives_what_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipelines.bin");
        let body = [2u32.to_le_bytes().as_slice(), &7u64.to_le_bytes(), &9u64.to_le_bytes(), b"data"].concat();
        fs::write(&path, file(&body)).unwrap();
        let stored = load(&path).unwrap();
        let (known, data) = taken_apart(&stored).unwrap();
        assert_eq!((known, data), (BTreeSet::from([7, 9]), b"data".as_slice()));
    }

    #[test]
    fn damaged_and_foreign_files_count_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipelines.bin");
        assert_eq!(load(&path), None, "no file");
        let whole = file(b"\x00\x00\x00\x00data");
        for (at, bit) in [(0, 1), (9, 1), (whole.len() - 1, 128)] {
            let mut damaged = whole.clone();
            damaged[at] ^= bit;
            fs::write(&path, damaged).unwrap();
            assert_eq!(load(&path), None, "byte {at}");
        }
        for length in [0, 7, 11, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(load(&path), None, "the first {length} bytes");
        }
        assert_eq!(taken_apart(b"\xff\xff\xff\xff"), None, "more hashes than there are bytes");
    }
}
