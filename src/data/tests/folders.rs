//! Folders and single pictures.

use super::*;
use image::{GrayAlphaImage, GrayImage, ImageBuffer, LumaA, Rgba, RgbaImage};

#[test]
fn bad_files_among_good_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root.join("b/good.png"), png(4, [1, 2, 3]));
    write(root.join("a/really a png.JPG"), png(8, [9, 8, 7]));
    write(root.join("a/text.jpg"), "not a picture");
    write(root.join("empty.png"), "");
    write(root.join("phone.heic"), "\0\0\0\x18ftypheic");
    let whole = jpeg(32);
    write(root.join("cut.jpg"), &whole[..whole.len() * 2 / 3]);
    let whole = png(32, [5, 5, 5]);
    write(root.join("cut.png"), &whole[..whole.len() / 2]);
    for ignored in ["README.txt", "Thumbs.db", "labels.csv"] {
        write(root.join(ignored), "x");
    }
    write(root.join(".DS_Store"), "x");
    write(root.join("b/._good.png"), "x");
    let data = read(root, &Target::new(4, 4, 3)).unwrap();
    assert_eq!(data.names, ["a/really a png.JPG", "b/good.png"]);
    assert_eq!((bytes(&data)[..3].to_vec(), bytes(&data)[48..51].to_vec()), (vec![9, 8, 7], vec![1, 2, 3]));
    assert_eq!(data.ignored, 3);
    let skipped: Vec<&str> = data.skipped.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(skipped, ["a/text.jpg", "cut.jpg", "cut.png", "empty.png", "phone.heic"]);
    let reasons = ["no known format", "truncated", "", "empty", "heic"];
    assert!(data.skipped.iter().zip(reasons).all(|(s, reason)| s.reason.contains(reason)), "{:?}", data.skipped);
    assert_eq!(data.labels.unwrap().names, ["a", "b"]);
}

#[test]
fn folders_without_pictures_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(problem(&root.join("missing")).contains("no such file or folder"));
    assert!(problem(root).contains("holds no files"));
    write(root.join("notes.txt"), "x");
    assert!(problem(root).contains("only 1 other files such as notes.txt"));
    write(root.join("a.jpg"), "text");
    write(root.join("b.jpg"), "text");
    assert!(problem(root).contains("none of its 2 pictures can be used; the first, a.jpg: not a picture"));
    assert!(problem(&root.join("a.jpg")).contains("not a picture"));
    assert!(problem(&write(root.join("x.bin"), "??")).contains("wanted a folder, a picture, an archive"));
    assert!(problem(&write(root.join("zero"), "")).contains("the file is empty"));
    assert!(problem(&write(root.join("x.tar.xz"), b"\xfd7zXZ\0")).contains("xz archives are not read"));
    let none = open(&[], &Target::new(4, 4, 3), None, &CacheMode::Off, &()).unwrap_err().to_string();
    assert!(none.contains("at least one folder"), "{none}");
    assert!(read(root, &Target::new(0, 4, 3)).is_err() && read(root, &Target::new(4, 4, 4)).is_err());
}

#[test]
#[cfg(unix)]
fn a_loop_of_links_ends() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root.join("a/one.png"), png(2, [0; 3]));
    std::os::unix::fs::symlink(root, root.join("a/up")).unwrap();
    std::os::unix::fs::symlink(root.join("gone"), root.join("broken.png")).unwrap();
    let data = read(root, &Target::new(2, 2, 3)).unwrap();
    assert_eq!(data.names, ["a/one.png"]);
    assert_eq!(data.skipped[0].path, "broken.png");
}

/// The first pixel of a picture, read at its own size of 2x2.
fn first_pixel(name: &str, image: Vec<u8>, channels: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let data = read(&write(folder.path().join(name), image), &Target::new(2, 2, channels)).unwrap();
    bytes(&data)[..channels].to_vec()
}

#[test]
fn alpha_goes_on_white_and_every_kind_of_pixel_is_read() {
    use ImageFormat::Png;
    let rgba = |colour| encode(RgbaImage::from_pixel(2, 2, Rgba(colour)), Png);
    assert_eq!(first_pixel("a.png", rgba([200, 0, 100, 0]), 3), [255, 255, 255]);
    assert_eq!(first_pixel("a.png", rgba([200, 0, 100, 255]), 3), [200, 0, 100]);
    assert_eq!(first_pixel("a.png", rgba([200, 0, 100, 51]), 3), [244, 204, 224]);
    assert_eq!(first_pixel("a.png", encode(GrayAlphaImage::from_pixel(2, 2, LumaA([0, 51])), Png), 3), [204; 3]);
    assert_eq!(first_pixel("a.png", encode(GrayImage::from_pixel(2, 2, image::Luma([77])), Png), 3), [77; 3]);
    assert_eq!(first_pixel("a.png", png(2, [10, 200, 30]), 1), [124], "ITU-R 601 luma, as Pillow");
    let deep = ImageBuffer::from_pixel(2, 2, image::Rgb([0u16, 32_896, 65_535]));
    assert_eq!(first_pixel("a.png", encode(deep, Png), 3), [0, 128, 255]);
    for (name, format) in [("a.bmp", ImageFormat::Bmp), ("a.tga", ImageFormat::Tga), ("a.webp", ImageFormat::WebP)] {
        let image = encode(RgbImage::from_pixel(2, 2, Rgb([3, 2, 1])), format);
        assert_eq!(first_pixel(name, image, 3), [3, 2, 1], "{name}");
    }
}

#[test]
fn alpha_goes_before_the_resize() {
    // Red, transparent to the right. Resized with the alpha beside it, the hidden green would come out.
    let image = RgbaImage::from_fn(2, 2, |x, _| if x == 0 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 255, 0, 0]) });
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path().join("a.png"), encode(image, ImageFormat::Png));
    assert_eq!(bytes(&read(&path, &Target::new(1, 1, 3)).unwrap()), [255, 128, 128]);
}

/// A PNG with these chunks between header and end.
fn png_of_chunks(header: [u8; 5], chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let size = [0, 0, 0, 2, 0, 0, 0, 2];
    let header = [&size[..], &header[..]].concat();
    for (kind, data) in [(b"IHDR", header.as_slice())].iter().chain(chunks).chain(&[(b"IEND", &[][..])]) {
        let mut crc = flate2::Crc::new();
        crc.update(*kind);
        crc.update(data);
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(*kind);
        out.extend(*data);
        out.extend(crc.sum().to_be_bytes());
    }
    out
}

#[test]
fn palettes_with_transparency_are_read() {
    use std::io::Write;
    let mut data = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    data.write_all(&[0, 0, 1, 0, 1, 0]).unwrap();
    let data = data.finish().unwrap();
    // Two rows of [colour 0, colour 1]: opaque blue, and red that tRNS makes transparent.
    let image =
        png_of_chunks([8, 3, 0, 0, 0], &[(b"PLTE", &[0, 0, 200, 255, 0, 0]), (b"tRNS", &[255, 0]), (b"IDAT", &data)]);
    let folder = tempfile::tempdir().unwrap();
    let read = read(&write(folder.path().join("a.png"), image), &Target::new(2, 2, 3)).unwrap();
    assert_eq!(bytes(&read)[..6], [0, 0, 200, 255, 255, 255]);
}

#[test]
fn a_header_that_claims_too_much_is_an_error_and_no_allocation() {
    let mut huge = png_of_chunks([8, 2, 0, 0, 0], &[(b"IDAT", &[])]);
    huge[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let mut crc = flate2::Crc::new();
    crc.update(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let folder = tempfile::tempdir().unwrap();
    let message = problem(&write(folder.path().join("huge.png"), huge));
    assert!(message.contains("65535x65535") && message.contains("pixels"), "{message}");
}

#[test]
fn exif_turns_the_picture() {
    let mut image =
        encode(RgbImage::from_fn(16, 8, |x, _| Rgb(if x < 8 { [0; 3] } else { [255; 3] })), ImageFormat::Jpeg);
    // Orientation 6: to be shown turned by 90 degrees clockwise, so that left becomes top.
    let exif = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    image.splice(2..2, exif.iter().copied());
    let folder = tempfile::tempdir().unwrap();
    let data = read(&write(folder.path().join("a.jpg"), image), &Target::new(16, 8, 1)).unwrap();
    let values = bytes(&data);
    assert!(values[0] < 20 && values[7] < 20 && values[15 * 8] > 235 && values[127] > 235, "{values:?}");
}

#[test]
fn a_limit_takes_the_first_good_pictures() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..6u8 {
        write(folder.path().join(format!("{i}.png")), if i == 1 { b"bad".to_vec() } else { png(2, [i; 3]) });
    }
    let path = folder.path().to_path_buf();
    let target = Target::new(2, 2, 1);
    let data = open(std::slice::from_ref(&path), &target, Some(3), &CacheMode::Off, &()).unwrap();
    assert_eq!(data.names, ["0.png", "2.png", "3.png"]);
    let twice = open(&[path.join("5.png"), path.clone()], &target, Some(2), &CacheMode::Off, &()).unwrap();
    assert_eq!(twice.names, ["5.png", "0.png"]);
    assert_eq!(bytes(&twice), [5, 5, 5, 5, 0, 0, 0, 0]);
    assert!(open(&[path], &target, Some(0), &CacheMode::Off, &()).is_err());
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_end_of_the_picture() {
    let mut image = jpeg(32);
    image.splice(2..2, *b"\xff\xe2\0\x06\xff\xd9\xff\xd9");
    let folder = tempfile::tempdir().unwrap();
    let cut = write(folder.path().join("cut.jpg"), &image[..image.len() - 2]);
    assert!(problem(&cut).contains("truncated"));
    let trailing = write(folder.path().join("trailing.jpg"), [image.as_slice(), &[0; 9]].concat());
    assert!(read(&trailing, &Target::new(4, 4, 3)).is_ok());
}

#[test]
#[cfg(unix)]
fn devices_are_not_read() {
    assert!(problem(Path::new("/dev/zero")).contains("a device or a pipe"));
}
