//! Tar, gzipped tar and zip.

use super::*;
use std::io::Write;

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, ::zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The order of the entries is not that of the paths, and some are no pictures.
fn entries() -> Vec<(&'static str, Vec<u8>)> {
    let mut entries: Vec<(&str, Vec<u8>)> = vec![
        ("BM/z/late.png", png(4, [3; 3])),
        ("BM/._late.png", b"resource fork".to_vec()),
        ("BM/a/early.png", png(8, [1; 3])),
        ("BM/readme.txt", b"text".to_vec()),
        ("BM/a/text.jpg", b"text".to_vec()),
        ("BM/m/between.png", png(2, [2; 3])),
    ];
    entries.push(("BM/m/cut.jpg", jpeg(32)[..400].to_vec()));
    entries
}

#[test]
fn every_packing_gives_the_same_pictures_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tar = tar(&entries());
    let paths = [
        write(root.join("a.tar"), &tar),
        write(root.join("a.tgz"), gzip(&tar)),
        write(root.join("a.zip"), zip(&entries())),
    ];
    for path in paths {
        let data = read(&path, &Target::new(1, 1, 1)).unwrap();
        assert_eq!(data.names, ["BM/a/early.png", "BM/m/between.png", "BM/z/late.png"], "{}", path.display());
        assert_eq!(bytes(&data), [1, 2, 3]);
        assert_eq!(data.labels.unwrap().names, ["a", "m", "z"]);
        assert_eq!(data.ignored, 1);
        let skipped: Vec<&str> = data.skipped.iter().map(|s| s.path.as_str()).collect();
        assert_eq!(skipped, ["BM/a/text.jpg", "BM/m/cut.jpg"]);
    }
}

#[test]
fn damaged_archives_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tar = tar(&entries());
    let gzipped = gzip(&tar);
    let mut flipped = gzipped.clone();
    *flipped.iter_mut().rev().nth(5).unwrap() ^= 0x10; // in the checksum at the end
    for (name, bytes) in [
        ("cut.tar", &tar[..700]),
        ("cut.tgz", &gzipped[..gzipped.len() / 2]),
        ("cut.zip", &zip(&entries())[..300]),
        ("flipped.tgz", &flipped),
        ("text.tgz", b"text"),
        ("text.zip", b"text"),
    ] {
        let message = problem(&write(root.join(name), bytes));
        assert!(message.contains("damaged") || message.contains("truncated"), "{message}");
    }
    assert!(problem(&write(root.join("other.gz"), gzip(b"text"))).contains("neither a tar"));
    assert!(
        problem(&write(root.join("none.tar"), super::archives::tar(&[("a.txt", vec![1])]))).contains("no pictures")
    );
}

#[test]
fn only_faces_of_lfw_are_cropped() {
    let framed = |side: u32| {
        let inner = 80..side - 80;
        RgbImage::from_fn(side, side, |x, y| {
            Rgb(if inner.contains(&x) && inner.contains(&y) { [200; 3] } else { [0; 3] })
        })
    };
    let lfw = encode(framed(250), ImageFormat::Png);
    let files = [
        ("lfw/AJ_Cook/AJ_Cook_0001.jpg", lfw.clone()),
        ("lfw/AJ_Cook/other.jpg", lfw),
        ("lfw/B/B_0001.jpg", encode(framed(240), ImageFormat::Png)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path().join("lfw.tgz"), gzip(&tar(&files)));
    let data = read(&path, &Target { crop: 80, ..Target::new(4, 4, 1) }).unwrap();
    let corner = |i: usize| bytes(&data)[i * 16];
    assert_eq!((corner(0), corner(1), corner(2)), (200, 0, 0));
    assert!(bytes(&data)[..16].iter().all(|&x| x == 200), "the whole face fills its sample");
}
