//! `degrain denoise` on photos of any size: by tiles that overlap.

use super::bench::peak_rss_bytes;
use super::console::{Console, count};
use super::denoise::{Flags, quality};
use super::device;
use super::outputs::{Outputs, write_image};
use super::pictures::BUNDLED;
use degrain::data::{Photo, Photos, Skipped};
use degrain::model::{Noise, Preset};
use degrain::report::{RowMeter, sheet};
use degrain::train::{self, Inference, TileOptions, Weights};
use degrain::{Error, Result};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use indicatif::ProgressBar;
use serde_json::json;
use std::path::{Path, PathBuf};

/// About the side of the tiles of a fully convolutional network, in pixels: large ones overlap by a smaller part.
const TILE_SIDE: usize = 144;
/// Pixels of the tiles of a batch, so that memory does not grow with them.
const BATCH_PIXELS: usize = 1 << 17;

/// Denoises photos of any size by tiles of the network's pictures; a fully convolutional network's are made larger.
pub(super) fn run(flags: &Flags, preset: &Preset, weights: Weights, device: &str, console: &Console) -> Result<()> {
    let preset = &sized(preset, flags.tile_size)?;
    let sources = flags.inputs.iter().map(|input| list(input, console)).collect::<Result<Vec<Photos>>>()?;
    let names: Vec<&str> = sources.iter().flat_map(|photos| photos.names()).map(String::as_str).collect();
    let read: Vec<PathBuf> = sources.iter().flat_map(Photos::files).collect();
    let Outputs::Pictures(files) = Outputs::plan(&flags.output, &names, &read)? else {
        return Err(Error::file(&flags.output, "photos have sizes of their own: name a folder or a .png, no array"));
    };
    let session = device::open(device, console)?;
    let batch = (BATCH_PIXELS / (preset.data.height * preset.data.width)).clamp(1, preset.train.batch.max(1));
    let network = Inference::new(session, preset, weights, batch)?;
    let most = preset.data.height.min(preset.data.width) / 2;
    if let Some(overlap) = flags.overlap.filter(|&overlap| overlap > most) {
        let problem = format!("must be at most {most}, half of a tile, not {overlap}");
        return Err(Error::setting("--overlap", problem));
    }
    let options = TileOptions { overlap: flags.overlap.unwrap_or(TileOptions::of(&network).overlap) };
    let low = preset.data.offset as f32;
    let bar = console.bar(0, "denoising {msg}  [{bar:30}] {pos}/{len} rows  ETA {eta}");
    let has_target = flags.noise.is_some() || preset.train.noise == Noise::None;
    let mut work = Work {
        network,
        options,
        noise: flags.noise.unwrap_or_default(),
        seed: flags.seed.unwrap_or(preset.train.seed),
        meter: if has_target { Some(RowMeter::new((low, low + 1.0))?) } else { None },
        bar,
    };
    let (mut written, mut sizes, mut skipped, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for photos in &sources {
        skipped.extend_from_slice(photos.skipped());
        let unread = photos.each(&mut |number, photo| {
            let Some((path, format)) = files.get(first + number) else { return Ok(()) };
            work.bar.set_message(format!("{} of {}", first + number + 1, files.len()));
            sizes.push(photo.size);
            work.denoise(photo, first + number, path, *format)?;
            written.push(path.display().to_string());
            Ok(())
        })?;
        tell(&unread, console);
        skipped.extend(unread);
        first += photos.names().len();
    }
    work.bar.finish_and_clear();
    if let (true, Some(Skipped { path, reason })) = (written.is_empty(), skipped.first()) {
        return Err(Error::file(path, reason));
    }
    let metrics = work.meter.and_then(|meter| meter.metrics());
    let object = json!({
        "outputs": written,
        "count": written.len(),
        "skipped": skipped,
        "shapes": sizes,
        "tile": [preset.data.height, preset.data.width],
        "overlap": work.options.overlap,
        "mse": metrics.map(|metrics| metrics.mse),
        "psnr": metrics.and_then(|metrics| metrics.psnr),
        "ssim": metrics.and_then(|metrics| metrics.ssim),
        "noisy_mse": metrics.and_then(|metrics| metrics.noisy_mse),
        "peak_rss_bytes": peak_rss_bytes(),
    });
    let line = format!("{} -> {}{}", count(written.len(), "photo"), flags.output.display(), quality(metrics));
    console.result(&object, line)
}

/// The preset with pictures of the tiles' size.
fn sized(preset: &Preset, side: Option<usize>) -> Result<Preset> {
    let data = &preset.data;
    match side {
        Some(side) if [data.height, data.width] == [side; 2] => Ok(preset.clone()),
        Some(side) => preset.for_size(side, side).map_err(|error| match error {
            Error::Setting { problem, .. } => Error::setting("--tile-size", problem),
            other => other,
        }),
        None if preset.is_fully_convolutional() => {
            let times = |side: usize| side * (TILE_SIDE / side.max(1)).max(1);
            preset.for_size(times(data.height), times(data.width))
        }
        None => Ok(preset.clone()),
    }
}

fn list(input: &str, console: &Console) -> Result<Photos> {
    if input.starts_with(BUNDLED) {
        return Err(Error::setting(input, "tiles are for photos: name picture files, folders or archives"));
    }
    let photos = Photos::list(Path::new(input))?;
    console.note(format_args!("{} in {input}", count(photos.names().len(), "photo")));
    tell(photos.skipped(), console);
    Ok(photos)
}

fn tell(skipped: &[Skipped], console: &Console) {
    for Skipped { path, reason } in skipped {
        console.warn(format_args!("skipped {path}: {reason}"));
    }
}

/// What denoises one photo after the other.
struct Work {
    network: Inference,
    options: TileOptions,
    noise: Noise,
    seed: u64,
    /// Where something clean is known.
    meter: Option<RowMeter>,
    bar: ProgressBar,
}

impl Work {
    /// Denoises photo `number` of all and writes it.
    fn denoise(&mut self, photo: Photo, number: usize, path: &Path, format: ImageFormat) -> Result<()> {
        let Self { network, options, noise, seed, meter, bar } = self;
        let Photo { size, pixels } = photo;
        let [height, width, channels] = size;
        let (line, low) = (width * channels, network.preset().data.offset as f32);
        let float = |&byte: &u8| f32::from(byte) / 255.0 + low;
        // Noise is drawn for a picture at a time; without any, rows are made when they are wanted.
        let mut noisy: Vec<f32> = Vec::new();
        if *noise != Noise::None {
            noisy = pixels.iter().map(float).collect();
            train::add_noise_to(&mut noisy, &[number as u32], size, network.preset().data.offset, *noise, *seed);
        }
        let mut read = |row: usize, values: &mut [f32]| {
            let range = row * line..(row + 1) * line;
            match noisy.get(range.clone()) {
                Some(noisy) => values.copy_from_slice(noisy),
                None => values.iter_mut().zip(&pixels[range]).for_each(|(value, byte)| *value = float(byte)),
            }
        };
        bar.set_length(height as u64);
        bar.set_position(0);
        if let Some(meter) = meter {
            meter.begin(size)?;
        }
        let mut restored = Vec::with_capacity(height * width * 3);
        let mut at = 0;
        train::denoise_rows(network, size, options, &mut read, &mut |rows| {
            let range = at..at + rows.len();
            if let (Some(meter), Some(clean)) = (&mut *meter, pixels.get(range.clone())) {
                let clean: Vec<f32> = clean.iter().map(float).collect();
                meter.add(&clean, rows, noisy.get(range.clone()))?;
            }
            at = range.end;
            let strip = sheet::picture(rows, [rows.len() / line, width, channels], (low, low + 1.0))?;
            restored.extend(strip.into_raw());
            bar.inc((rows.len() / line) as u64);
            Ok(())
        })?;
        drop((noisy, pixels));
        write_image(path, format, image([height, width, channels], restored)?)
    }
}

/// A picture of red, green and blue; grey where it has one channel.
fn image(size: [usize; 3], mut rgb: Vec<u8>) -> Result<DynamicImage> {
    let [height, width, channels] = size;
    let picture = if channels == 1 {
        let mut at = 0;
        rgb.retain(|_| {
            at += 1;
            at % 3 == 1
        });
        GrayImage::from_raw(width as u32, height as u32, rgb).map(DynamicImage::ImageLuma8)
    } else {
        RgbImage::from_raw(width as u32, height as u32, rgb).map(DynamicImage::ImageRgb8)
    };
    picture.ok_or_else(|| Error::shape("tiles", format!("a picture of {size:?}"), "another number of rows"))
}
