//! `degrain denoise`, also called `reconstruct`: pictures in, pictures out.

use super::console::{Console, count};
use super::outputs::Outputs;
use super::pictures::{self, BUNDLED};
use super::run::{RunFlags, SavedRun};
use super::{denoise_tiles, device};
use clap::Args;
use degrain::Result;
use degrain::data::{CacheMode, Dataset, Photos};
use degrain::model::{Noise, Preset};
use degrain::report::{self, Metrics};
use degrain::train::{self, Inference};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Flags of `degrain denoise`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    /// Pictures, folders, archives, .npy, .npz or IDX files
    #[arg(value_name = "INPUT", required = true)]
    pub(super) inputs: Vec<String>,
    /// Folder for PNG files; for one picture also a file such as out.png; or all as one out.npy, scaled as in training
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: PathBuf,
    /// Add this noise to the inputs first, and compare the results with the inputs as they were
    #[arg(long)]
    pub(super) noise: Option<Noise>,
    /// Seed of --noise [default: the run's]
    #[arg(long, value_name = "N", requires = "noise")]
    pub(super) seed: Option<u64>,
    /// Take photos at their own size, by tiles that overlap, instead of resizing them to the network's [default for
    /// picture files where the network was trained on patches]
    #[arg(long)]
    tiles: bool,
    /// Side of the tiles, in pixels, of a fully convolutional network [default: about 144; the network's size of others]
    #[arg(long, value_name = "PIXELS")]
    pub(super) tile_size: Option<usize>,
    /// Pixels that neighbouring tiles share, at most half a tile [default: a quarter of a tile]
    #[arg(long, value_name = "PIXELS")]
    pub(super) overlap: Option<usize>,
}

impl Flags {
    /// Whether pictures of any size go in and come out: picture files on both sides, no arrays and nothing of the binary.
    fn are_photos(&self) -> Result<bool> {
        if self.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
            return Ok(false);
        }
        let mut all = true;
        for input in &self.inputs {
            all &= !input.starts_with(BUNDLED) && Photos::are_at(input.as_ref())?;
        }
        Ok(all)
    }
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let SavedRun { preset, weights, .. } = SavedRun::read(&flags.run)?;
    let asked = flags.tiles || flags.tile_size.is_some() || flags.overlap.is_some();
    if asked || preset.data.patches.is_some() && flags.are_photos()? {
        return denoise_tiles::run(flags, &preset, weights, device, console);
    }
    let inputs = read_inputs(&flags.inputs, &preset, console)?;
    let names: Vec<&str> = inputs.iter().flat_map(|input| &input.data.names).map(String::as_str).collect();
    let read: Vec<PathBuf> = inputs.iter().flat_map(Input::files).collect();
    let outputs = Outputs::plan(&flags.output, &names, &read)?;
    let data = Dataset::concat(inputs.into_iter().map(|input| input.data).collect())?;
    let session = device::open(device, console)?;
    let mut inference = Inference::new(session, &preset, weights, preset.train.batch)?;

    let rows: Vec<u32> = (0..data.len() as u32).collect();
    let (noise, seed) = (flags.noise.unwrap_or_default(), flags.seed.unwrap_or(preset.train.seed));
    // A network for clean pictures is to give back its input; of another's input nothing clean is known.
    let has_target = flags.noise.is_some() || preset.train.noise == Noise::None;
    let mut meter = pictures::meter(&preset)?;
    let bar = console.bar(data.len() as u64, "denoising [{bar:30}] {pos}/{len} pictures  ETA {eta}");
    let mut pieces = rows.chunks(inference.batch()).map(|rows| {
        let clean = data.floats(rows, preset.data.offset as f32);
        let mut x = clean.clone();
        train::add_noise(&mut x, rows, &preset, noise, seed);
        let y = inference.reconstruct(&x)?;
        if has_target {
            meter.add(&clean, &y, (noise != Noise::None).then_some(&x))?;
        }
        bar.inc(rows.len() as u64);
        Ok(y)
    });
    let written = outputs.write(&mut pieces, data.len(), data.shape, preset.data.offset as f32)?;
    drop(pieces);
    bar.finish_and_clear();
    let metrics = meter.metrics();
    let object = json!({
        "outputs": written,
        "count": data.len(),
        "skipped": data.skipped,
        "shape": data.shape,
        "mse": metrics.map(|metrics| metrics.mse),
        "psnr": metrics.and_then(|metrics| metrics.psnr),
        "ssim": metrics.and_then(|metrics| metrics.ssim),
        "noisy_mse": metrics.and_then(|metrics| metrics.noisy_mse),
    });
    let (pictures, quality) = (count(data.len(), "picture"), quality(metrics));
    console.result(&object, format_args!("{pictures} -> {}{quality}", flags.output.display()))
}

/// A line about the results, where something clean is known.
pub(super) fn quality(metrics: Option<Metrics>) -> String {
    let Some(Metrics { mse, psnr, noisy_mse, .. }) = metrics else { return String::new() };
    let psnr = psnr.map(|psnr| format!(", PSNR {psnr:.2} dB")).unwrap_or_default();
    // The range of the data is 1.
    let before = noisy_mse.map(|mse| format!(" ({:.2} dB with noise)", report::metrics::psnr(mse, 1.0)));
    format!("\nMSE {mse:.6} to the clean pictures{psnr}{}", before.unwrap_or_default())
}

/// One INPUT and what was read from it.
struct Input {
    /// Where its pictures lie, if it is a file or a folder of them.
    path: Option<PathBuf>,
    data: Dataset,
}

impl Input {
    /// The file of picture `name`, if it is one of its own.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        let file = if path.is_dir() { path.join(name) } else { path.clone() };
        file.is_file().then_some(file)
    }

    /// All files that its pictures come from.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let of_names = self.data.names.iter().filter_map(|name| self.file(name));
        of_names.chain(self.path.clone().filter(|path| path.is_file()))
    }
}

fn read_inputs(inputs: &[String], preset: &Preset, console: &Console) -> Result<Vec<Input>> {
    let mut all = Vec::new();
    for name in inputs {
        let (path, data) = if name.starts_with(BUNDLED) {
            (None, pictures::load_one(name, preset, usize::MAX, console)?)
        } else {
            let path = PathBuf::from(name);
            let data = pictures::open(&path, preset, None, &CacheMode::Off, console)?;
            (Some(path), data)
        };
        pictures::tell(&data, console);
        let input = Input { path, data };
        tell_resized(&input, console);
        all.push(input);
    }
    Ok(all)
}

/// Says how many pictures had another size than the network takes.
fn tell_resized(input: &Input, console: &Console) {
    let [height, width, _] = input.data.shape;
    let has_size = |file: &Path| {
        let reader = image::ImageReader::open(file).ok()?.with_guessed_format().ok()?;
        Some(reader.into_dimensions().ok()? == (width as u32, height as u32))
    };
    let files = input.data.names.iter().filter_map(|name| input.file(name));
    let sizes: Option<Vec<bool>> = files.map(|file| has_size(&file)).collect();
    match sizes {
        Some(sizes) if sizes.len() == input.data.len() => {
            let resized = sizes.iter().filter(|has_size| !**has_size).count();
            if resized > 0 {
                console.note(format_args!("resized {} to {width}x{height}", count(resized, "picture")));
            }
        }
        _ => console.note(format_args!("pictures of another size than {width}x{height} were resized to it")),
    }
}
