//! Damaged and hostile files: every reader gives a result or one line, in bounded time and memory, and never panics.
//!
//! Good files of every kind are damaged at random: bits and bytes changed, ends cut off, pieces doubled, moved and taken from
//! files of other kinds, numbers replaced by absurd ones, before and after compression. `DEGRAIN_FUZZ=N` tries N damaged files
//! of each kind in place of a few. A build that counts branches damages further what took new ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "hostile_input/coverage.rs"]
mod coverage;

use coverage::Seen;
use degrain::data::{self, CacheMode, Target};
use degrain::latent::Codes;
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{EpochRow, StepRow, Weights, read_rows};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{Cursor, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Most memory that a damaged file may cost: decoders of pictures may take 1 GiB, as `data` says, and two run at once
/// here.
const MOST_BYTES: usize = 2 << 30;
/// The same for what holds no pictures: its files here have some KiB.
const MOST_PLAIN_BYTES: usize = 64 << 20;
/// Longest time for one file. Machines that run tests are busy.
const LONGEST: Duration = Duration::from_secs(20);

/// Longest file that is damaged further, in bytes.
const LONGEST_SEED: usize = 1 << 20;

/// Counts what is allocated by all threads.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a reader makes of a file: nothing, or its one line.
type Read = fn(&Path) -> Result<(), String>;

/// Files of one kind: good ones to begin with, and who reads them.
struct Kind {
    name: &'static str,
    file: &'static str,
    seeds: Vec<Vec<u8>>,
    read: Read,
    most_bytes: usize,
    /// What is done to a damaged file before it is read: compression, or a place in an archive.
    wrap: fn(Vec<u8>) -> Vec<u8>,
}

fn told<T>(result: degrain::Result<T>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

fn pictures(path: &Path) -> Result<(), String> {
    told(data::open(&[path.to_path_buf()], &Target::new(8, 8, 3), None, &CacheMode::Off, &()))
}

fn noise(side: u32, seed: u32) -> image::RgbImage {
    image::RgbImage::from_fn(side, side, |x, y| {
        let hash = (x * 7919 + y * 104_729 + seed * 31).wrapping_mul(2_654_435_761);
        image::Rgb([hash as u8, (hash >> 8) as u8, (hash >> 16) as u8])
    })
}

fn encoded(format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut picture = image::DynamicImage::ImageRgb8(noise(24, 1));
    if format == image::ImageFormat::Ico {
        picture = picture.to_rgba8().into();
    }
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn gzipped(bytes: Vec<u8>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap()
}

fn plain(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn archive(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zipped(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A `.npy` file of version 1.
fn npy(descr: &str, shape: &str, numbers: usize) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16 + 1).to_le_bytes());
    bytes.extend(text.bytes().chain(*b"\n"));
    bytes.extend((0..numbers).map(|i| i as u8 % 64));
    bytes
}

fn idx(shape: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
    bytes.extend((0..shape.iter().product::<u32>()).map(|i| (i * 7) as u8));
    bytes
}

fn weights() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    Weights::initial(&Preset::load("pokemon-conv").unwrap()).unwrap().write(&path).unwrap();
    fs::read(path).unwrap()
}

/// A folder with one case of `validate --vectors`, whose `case.json` is the damaged file.
fn case(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap().join("vectors/case");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(path, folder.join("case.json")).unwrap();
    for name in ["x", "y"] {
        fs::write(folder.join(format!("{name}.npy")), npy("|u1", "2, 3", 6)).unwrap();
    }
    told(degrain::validate::vectors::run(folder.parent().unwrap(), &mut Session::cpu()))
}

const CASE: &str = r#"{"op": "relu", "attributes": {}, "layout": "nhwc", "inputs": {"x": "x.npy"},
 "outputs": {"y": "y.npy"}, "rtol": 1e-4, "atol": 1e-5}"#;

const METRICS: &str = "epoch,train_loss,val_loss,seconds,images_per_second,reconstruction,code_penalty,weight_penalty,\
val_reconstruction,val_code_penalty,val_weight_penalty\n1,0.5,,1,9,,,,,,\n";

fn kinds() -> Vec<Kind> {
    let png = || encoded(image::ImageFormat::Png);
    let of_pictures =
        |name, file, seeds| Kind { name, file, seeds, read: pictures, most_bytes: MOST_BYTES, wrap: plain };
    let of_text = |name, file, seeds, read| Kind { name, file, seeds, read, most_bytes: MOST_PLAIN_BYTES, wrap: plain };
    let lines = || (0..6).map(|i| format!("{i} {}\n", "7 ".repeat(63))).collect::<String>().into_bytes();
    let attributes = "person\timagenum\tMale\tSmiling\nA B\t1\t0.5\t-0.25\nC D\t2\t-1\t3\n";
    let presets = Preset::names().map(|name| Preset::source_text(name).unwrap().as_bytes().to_vec()).collect();
    let mut kinds = vec![
        of_pictures("png", "a.png", vec![png()]),
        of_pictures("jpeg", "a.jpg", vec![encoded(image::ImageFormat::Jpeg)]),
        of_pictures("gif", "a.gif", vec![encoded(image::ImageFormat::Gif)]),
        of_pictures("bmp", "a.bmp", vec![encoded(image::ImageFormat::Bmp)]),
        of_pictures("webp", "a.webp", vec![encoded(image::ImageFormat::WebP)]),
        of_pictures("tiff", "a.tif", vec![encoded(image::ImageFormat::Tiff)]),
        of_pictures("pnm", "a.ppm", vec![encoded(image::ImageFormat::Pnm)]),
        of_pictures("tga", "a.tga", vec![encoded(image::ImageFormat::Tga)]),
        of_pictures("qoi", "a.qoi", vec![encoded(image::ImageFormat::Qoi)]),
        of_pictures("ico", "a.ico", vec![encoded(image::ImageFormat::Ico)]),
        of_pictures("tar", "a.tar", vec![archive(&[("x/a.png", png()), ("x/b.png", png())])]),
        of_pictures("zip", "a.zip", vec![zipped(&[("x/a.png", png()), ("x/b.png", png())])]),
        of_pictures("npy", "a.npy", vec![npy("|u1", "4, 8, 8, 3", 768), npy("<f4", "2, 8, 8", 512)]),
        of_pictures(
            "npz",
            "a.npz",
            vec![zipped(&[("arr_0.npy", npy("|u1", "4, 8, 8", 256)), ("arr_1.npy", npy("<i8", "4,", 32))])],
        ),
        of_pictures("idx", "a-idx3-ubyte", vec![idx(&[4, 8, 8])]),
        of_pictures("lines", "a.txt", vec![lines()]),
        of_text("preset", "a.toml", presets, (|path| told(Preset::read(path))) as Read),
        of_text("labels", "labels.csv", vec![b"a.png,cat\nb.png,dog\n".to_vec(), b"1\n2\n2\n".to_vec()], |path| {
            told(data::read_labels(path))
        }),
        of_text("attributes", "lfw_attributes.txt", vec![attributes.as_bytes().to_vec()], |path| {
            told(data::read_labels(path))
        }),
        of_text("safetensors", "a.safetensors", vec![weights()], |path| told(Weights::read(path))),
        of_text("codes", "codes.npy", vec![npy("<f4", "2, 3", 24)], |path| told(Codes::read(path))),
        of_text("steps.csv", "steps.csv", vec![b"step,loss\n1,0.5\n2,0.25\n".to_vec()], |path| {
            told(read_rows::<StepRow>(path))
        }),
        of_text("metrics.csv", "metrics.csv", vec![METRICS.as_bytes().to_vec()], |path| {
            told(read_rows::<EpochRow>(path))
        }),
        of_text("case.json", "case.json", vec![CASE.as_bytes().to_vec()], case),
    ];
    for (name, file, seed) in [
        ("tgz, damaged inside", "b.tgz", archive(&[("a.png", png())])),
        ("idx.gz, damaged inside", "b-idx3-ubyte.gz", idx(&[4, 8, 8])),
        ("lines.gz, damaged inside", "b.txt.gz", lines()),
    ] {
        kinds.push(Kind { wrap: gzipped, ..of_pictures(name, file, vec![seed]) });
    }
    kinds.push(Kind {
        wrap: |bytes| archive(&[("a.png", bytes), ("b.png", encoded(image::ImageFormat::Png))]),
        ..of_pictures("picture in tar", "c.tar", vec![png()])
    });
    kinds.push(Kind {
        wrap: |bytes| zipped(&[("arr_0.npy", bytes)]),
        ..of_pictures("array in npz", "c.npz", vec![npy("|u1", "4, 8, 8", 256)])
    });
    kinds
}

/// Numbers that readers have stumbled over.
const ABSURD: [u64; 10] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// One change to a file.
fn damage(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut ChaCha12Rng) {
    if bytes.is_empty() {
        bytes.push(rng.random());
        return;
    }
    let len = bytes.len();
    // Headers come first and are the more interesting part.
    let at = if rng.random_bool(0.5) { rng.random_range(0..len.min(96)) } else { rng.random_range(0..len) };
    let piece = |rng: &mut ChaCha12Rng, len: usize| at..(at + rng.random_range(1..=64)).min(len);
    match rng.random_range(0..9) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'-', b'9', b'"', b'\n'][rng.random_range(0..9)],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(piece(rng, len))),
        4 => {
            let copy = bytes[piece(rng, len)].to_vec();
            let to = rng.random_range(0..=len);
            bytes.splice(to..to, copy);
        }
        5 | 6 => {
            let (value, width) = (ABSURD[rng.random_range(0..ABSURD.len())], [2, 4, 8][rng.random_range(0..3)]);
            let number = if rng.random_bool(0.5) {
                value.to_le_bytes()[..width].to_vec()
            } else {
                value.to_be_bytes()[8 - width..].to_vec()
            };
            let end = (at + width).min(len);
            bytes.splice(at..end, number);
        }
        7 => {
            // A number in a text becomes another one.
            let digit = (0..len).map(|i| (at + i) % len).find(|&i| bytes[i].is_ascii_digit());
            if let Some(i) = digit {
                let absurd =
                    ["-1", "0", "99999999999999999999", "1e999", "nan", "4294967296", "0.5"][rng.random_range(0..7)];
                bytes.splice(i..=i, absurd.bytes());
            }
        }
        _ => {
            let other = &others[rng.random_range(0..others.len())];
            let from = rng.random_range(0..other.len());
            let copy = other[from..(from + rng.random_range(1..=256)).min(other.len())].to_vec();
            let end = (at + copy.len()).min(len);
            bytes.splice(at..end, copy);
        }
    }
}

/// Reads one file; says what was wrong with how that went.
fn attempt(kind: &Kind, path: &Path) -> Result<(), String> {
    PEAK.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
    let (before, begin) = (NOW.load(Ordering::Relaxed), Instant::now());
    let read = catch_unwind(AssertUnwindSafe(|| (kind.read)(path)));
    let (took, used) = (begin.elapsed(), PEAK.load(Ordering::Relaxed).saturating_sub(before));
    let mut faults = Vec::new();
    match read {
        Err(_) => faults.push("the reader panicked".to_owned()),
        Ok(Err(line)) if line.contains('\n') || line.is_empty() => faults.push(format!("no one line: {line:?}")),
        Ok(Err(line)) if line.len() > 1500 => faults.push(format!("a line of {} bytes", line.len())),
        Ok(_) => {}
    }
    if took > LONGEST {
        faults.push(format!("it took {took:?}"));
    }
    if used > kind.most_bytes {
        faults.push(format!("it took {used} bytes"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join(", ")) }
}

#[test]
fn damaged_files_of_every_kind_end_in_one_line() {
    let tries: usize = std::env::var("DEGRAIN_FUZZ").map_or(60, |tries| tries.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let kinds = kinds();
    let others: Vec<Vec<u8>> = kinds.iter().flat_map(|kind| kind.seeds.clone()).collect();
    let mut failures = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let mut rng = ChaCha12Rng::seed_from_u64(number as u64);
        let path = folder.path().join(format!("{number}")).join(kind.file);
        fs::create_dir(path.parent().unwrap()).unwrap();
        let mut seen = Seen::nothing();
        for seed in &kind.seeds {
            fs::write(&path, (kind.wrap)(seed.clone())).unwrap();
            seen.begin();
            (kind.read)(&path).unwrap_or_else(|error| panic!("{}: a good file: {error}", kind.name));
            seen.is_new();
        }
        let mut corpus = kind.seeds.clone();
        for attempt_number in 0..tries {
            let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
            for _ in 0..rng.random_range(1..=4) {
                damage(&mut bytes, &others, &mut rng);
            }
            fs::write(&path, (kind.wrap)(bytes.clone())).unwrap();
            seen.begin();
            let result = attempt(kind, &path);
            if seen.is_new() && bytes.len() <= LONGEST_SEED {
                corpus.push(bytes);
            }
            if let Err(fault) = result {
                let kept = keep(&path, kind, attempt_number);
                failures.push(format!("{} file {attempt_number}: {fault} (kept as {})", kind.name, kept.display()));
            }
        }
        eprintln!(
            "{}: {tries} damaged files, of {} good and {} that took new branches",
            kind.name,
            kind.seeds.len(),
            corpus.len() - kind.seeds.len()
        );
    }
    assert!(failures.is_empty(), "{} faults:\n{}", failures.len(), failures.join("\n"));
}

/// Puts a file that did harm where it can be looked at.
fn keep(path: &Path, kind: &Kind, number: usize) -> PathBuf {
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{number}-{}", kind.file));
    fs::copy(path, &kept).unwrap();
    kept
}

/// What its target size and a bomb of this many bytes unpacked cost.
fn bomb(file: &str, bytes: &[u8], most: usize) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    fs::write(&path, bytes).unwrap();
    let kind = Kind { name: "bomb", file: "", seeds: Vec::new(), read: pictures, most_bytes: most, wrap: plain };
    attempt(&kind, &path).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    pictures(&path).unwrap_err()
}

/// `len` zeros, packed.
fn packed_zeros(len: u64, before: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(before).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), len), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_are_refused_in_little_memory() {
    const MIB: u64 = 1 << 20;
    // Claims more than there is, and holds more than it claims.
    let mut claims = vec![0, 0, 8, 3];
    [60_000_u32, 60_000, 60_000].iter().for_each(|extent| claims.extend(extent.to_be_bytes()));
    let error = bomb("claims-idx3-ubyte", &claims, 256 << 20);
    assert!(error.contains("60000x60000 pixels; wanted"), "{error}");
    // Samples of a fair size, and far more of them than there are.
    claims.splice(8..16, [0, 0, 3, 0xe8, 0, 0, 3, 0xe8]);
    let error = bomb("claims-idx3-ubyte.gz", &packed_zeros(64 * MIB, &claims), 512 << 20);
    assert!(error.contains("truncated") || error.contains("too large"), "{error}");
    let error = bomb("huge.npy", &npy("<f4", "999999999, 8, 8, 3", 16), 256 << 20);
    assert!(error.contains("truncated") || error.contains("large"), "{error}");
    // One picture of 512 MiB in an archive of half a megabyte.
    let mut header = tar::Header::new_gnu();
    header.set_path("a.png").unwrap();
    header.set_size(512 * MIB);
    header.set_mode(0o644);
    header.set_cksum();
    let error = bomb("bomb.tgz", &packed_zeros(512 * MIB, header.as_bytes()), 256 << 20);
    assert!(error.contains("larger than 64 MiB"), "{error}");
    // A PNG that says it is 60,000 pixels wide and high.
    let mut png = encoded(image::ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let error = bomb("wide.png", &png, 256 << 20);
    assert!(error.contains("wide.png"), "{error}");
}

#[test]
fn archive_entries_and_links_stay_inside() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside.png");
    fs::write(&outside, encoded(image::ImageFormat::Png)).unwrap();
    // A tar with a path that leads out, and a link; they are read as pictures or passed over, never followed.
    let mut builder = tar::Builder::new(Vec::new());
    let png = encoded(image::ImageFormat::Png);
    let mut header = tar::Header::new_gnu();
    header.set_size(png.len() as u64);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().name[..16].copy_from_slice(b"../../escape.png");
    header.set_cksum();
    builder.append(&header, &png[..]).unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "link.png", &outside).unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, builder.into_inner().unwrap()).unwrap();
    let read = data::open(&[path], &Target::new(8, 8, 3), None, &CacheMode::Off, &()).unwrap();
    assert_eq!(read.len(), 1, "the link is no picture: {:?}", read.names);
    assert!(!folder.path().parent().unwrap().join("escape.png").exists(), "nothing is ever unpacked");
}

#[cfg(unix)]
#[test]
fn links_in_circles_and_names_that_are_no_text_are_read_or_named() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("pictures");
    fs::create_dir(&inside).unwrap();
    std::os::unix::fs::symlink(&inside, inside.join("circle")).unwrap();
    std::os::unix::fs::symlink(inside.join("none.png"), inside.join("dangling.png")).unwrap();
    let png = encoded(image::ImageFormat::Png);
    fs::write(inside.join("a.png"), &png).unwrap();
    fs::write(inside.join(std::ffi::OsStr::from_bytes(b"caf\xe9.png")), &png).unwrap();
    let read = data::open(&[inside], &Target::new(8, 8, 3), None, &CacheMode::Off, &()).unwrap();
    assert!((1..=2).contains(&read.len()), "{:?}", read.names);
    assert_eq!(read.len() + read.skipped.len(), 3, "each is read or named: {:?} {:?}", read.names, read.skipped);
}

#[test]
fn floats_that_are_not_finite_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = npy("<f4", "2, 8, 8, 3", 0);
        bytes.extend((0..384).flat_map(|i| if i == 200 { bad } else { 0.25_f32 }.to_le_bytes()));
        let path = folder.path().join("a.npy");
        fs::write(&path, bytes).unwrap();
        let error = pictures(&path).unwrap_err();
        assert!(error.contains("a.npy") && error.to_lowercase().contains("finite"), "{error}");
    }
}
