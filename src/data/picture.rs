//! One picture: from the bytes of a file to the pixels of a sample.

use crate::data::{Target, fit, patches};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Largest file of one picture, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Says what is wrong with a picture's file of this many bytes, if anything.
pub(super) fn check_size(bytes: u64) -> Result<(), String> {
    if bytes > MAX_FILE_BYTES { Err(format!("larger than {} MiB", MAX_FILE_BYTES >> 20)) } else { Ok(()) }
}
/// Largest picture, in pixels, and its longest side.
const MAX_PIXELS: u64 = 100_000_000;
const MAX_SIDE: u32 = 65_535;
/// Most memory that decoding one picture may take, in bytes.
const MAX_DECODED_BYTES: u64 = 1 << 30;

const EXTENSIONS: &[&str] = &[
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "gif", "bmp", "dib", "webp", "tif", "tiff", "pnm", "pbm", "pgm",
    "ppm", "pam", "tga", "qoi", "ico",
];
/// Pictures, but of formats that are not built in: named as skipped, not ignored in silence.
const UNREADABLE_EXTENSIONS: &[&str] = &["heic", "heif", "avif", "jxl", "jp2", "psd", "svg"];

/// Whether a file of this name is taken for a picture.
pub(super) fn has_picture_name(name: &str) -> bool {
    let extension = extension(name);
    EXTENSIONS.contains(&extension.as_str()) || UNREADABLE_EXTENSIONS.contains(&extension.as_str())
}

/// Whether a path inside a folder or archive is hidden: `.git/x.png`, or macOS's `._x.png`.
pub(super) fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.') && part != "." && part != "..")
}

/// Text out of a file as it can be shown: on one line and without a terminal's control codes.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether these first bytes of a file are those of a picture.
pub(super) fn is_picture(head: &[u8], name: &str) -> bool {
    image::guess_format(head).is_ok() || has_picture_name(name)
}

/// The picture in `bytes` at the target's size, or its patches, one after the other: on white where it is transparent,
/// turned as its EXIF says.
///
/// `name` decides whether it is one of LFW's, which are cropped. The error is the reason why it cannot be used.
pub(super) fn decode(name: &str, bytes: &[u8], target: &Target) -> Result<Vec<u8>, String> {
    let (pixels, shape) = whole(name, bytes)?;
    let border = if is_lfw(name, shape) { target.crop as usize } else { 0 };
    let (pixels, shape) = fit::crop(pixels, shape, border);
    match target.patches {
        Some(patches) => patches::cut(name, &pixels, shape, target, patches),
        None => Ok(fit::fit(&pixels, shape, target)),
    }
}

/// The picture in `bytes` at its own size, and its height, width and channels (1 or 3): on white where it is transparent,
/// turned as its EXIF says. The error is the reason why it cannot be used.
pub(super) fn whole(name: &str, bytes: &[u8]) -> Result<(Vec<u8>, [usize; 3]), String> {
    // Decoders are large and see damaged files; a panic in one costs a picture, not the run.
    let decoded = catch_unwind(AssertUnwindSafe(|| pixels(name, bytes)));
    decoded.unwrap_or_else(|_| Err("its decoder failed".into()))
}

/// Height, width and channels (1 or 3) of the picture in `bytes`, turned as its EXIF says, from its header alone.
pub(super) fn size(name: &str, bytes: &[u8]) -> Result<[usize; 3], String> {
    let read = || {
        let mut decoder = decoder(bytes, format(name, bytes)?)?;
        let (w, h) = decoder.dimensions();
        let channels = if decoder.color_type().has_color() { 3 } else { 1 };
        Ok(match decoder.orientation().map_err(problem)?.to_exif() {
            // Those that lie on their side.
            5..=8 => [w as usize, h as usize, channels],
            _ => [h as usize, w as usize, channels],
        })
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its decoder failed".into()))
}

/// The decoded pixels at their own size, with 1 or 3 channels.
fn pixels(name: &str, bytes: &[u8]) -> Result<(Vec<u8>, [usize; 3]), String> {
    let format = format(name, bytes)?;
    if format == ImageFormat::Jpeg && !jpeg_has_end(bytes) {
        return Err("truncated: the JPEG has no end".into());
    }
    open(bytes, format).map(flatten)
}

fn format(name: &str, bytes: &[u8]) -> Result<ImageFormat, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let extension = extension(name);
    match image::guess_format(bytes) {
        Ok(format) => Ok(format),
        Err(_) if extension == "tga" => Ok(ImageFormat::Tga),
        Err(_) if UNREADABLE_EXTENSIONS.contains(&extension.as_str()) => {
            Err(format!("{extension} pictures cannot be read; convert it to png or jpeg"))
        }
        Err(_) => Err("not a picture: its content is of no known format".into()),
    }
}

fn problem(e: image::ImageError) -> String {
    e.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_, String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Sizes are checked below, where the message can tell them.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    reader.into_decoder().map_err(problem)
}

fn open(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage, String> {
    let mut decoder = decoder(bytes, format)?;
    let (w, h) = decoder.dimensions();
    if u64::from(w) * u64::from(h) > MAX_PIXELS || w.max(h) > MAX_SIDE || decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(format!("{w}x{h} is too large: wanted at most {MAX_PIXELS} pixels, {MAX_SIDE} a side"));
    }
    let orientation = decoder.orientation().map_err(problem)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(problem)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// 8 bits, on white, one channel where the picture is grey.
fn flatten(image: DynamicImage) -> (Vec<u8>, [usize; 3]) {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let over_white =
        |x: u8, alpha: u8| ((u32::from(x) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8;
    match (image.color().has_color(), image.color().has_alpha()) {
        (false, false) => (image.into_luma8().into_raw(), [h, w, 1]),
        (false, true) => {
            let pixels = image.into_luma_alpha8().into_raw();
            (pixels.chunks_exact(2).map(|p| over_white(p[0], p[1])).collect(), [h, w, 1])
        }
        (true, false) => (image.into_rgb8().into_raw(), [h, w, 3]),
        (true, true) => {
            let pixels = image.into_rgba8().into_raw();
            let rgb = pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]].map(|x| over_white(x, p[3])));
            (rgb.collect(), [h, w, 3])
        }
    }
}

/// Labeled Faces in the Wild: 250x250, named `First_Last_0001.jpg`.
fn is_lfw(name: &str, [h, w, _]: [usize; 3]) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let number = file.strip_suffix(".jpg").and_then(|stem| stem.rsplit_once('_'));
    let fits = |(person, number): (&str, &str)| {
        !person.is_empty() && number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit())
    };
    h == 250 && w == 250 && number.is_some_and(fits)
}

/// Whether a JPEG comes to its end marker. The decoder fills what a truncated file lacks with grey and says nothing.
/// Segments are stepped over, as a thumbnail inside one has an end marker of its own.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[marker, code]) = bytes.get(at..at + 2) {
        match (marker, code) {
            (0xff, 0xd9) => return true,
            // Entropy-coded data, stuffed zeros, restart markers and fill bytes.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, 0xff) => at += 1,
            (0xff, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
            _ => at += 1,
        }
    }
    false
}

fn extension(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    file.rsplit_once('.').map_or_else(String::new, |(_, extension)| extension.to_ascii_lowercase())
}
