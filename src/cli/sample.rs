//! `degrain sample`: new pictures, drawn in code space.

use super::console::{Console, count};
use super::gallery::{self, Form, Scene};
use super::network::{DataFlags, Network, Picture};
use super::pictures;
use super::run::RunFlags;
use clap::Args;
use degrain::data::Dataset;
use degrain::latent::Gaussian;
use degrain::report::Cell;
use degrain::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// Columns of a sheet, where there are as many pictures.
const MAX_COLUMNS: usize = 16;
/// More pictures than any sheet shows, and than a folder is good for.
const MAX_COUNT: u64 = 1_000_000;

/// Flags of `degrain sample`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    /// How many pictures
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=MAX_COUNT))]
    count: u64,
    /// The same seed draws the same pictures
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Factor of the deviations from the mean: under 1 the pictures are more typical and more alike
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Pictures like this one: a file, or '#INDEX' of the data in quotes, counted from 0
    #[arg(long, value_name = "PICTURE", conflicts_with = "temperature")]
    near: Option<Picture>,
    /// How far from --near: noise on its code, in standard deviations of the codes
    #[arg(long, value_name = "S", default_value_t = 0.5, requires = "near")]
    sigma: f64,
    #[command(flatten)]
    data: DataFlags,
    /// Sheet S.png, a folder for PNG files, or all as one out.npy, scaled as in training
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

/// A Gaussian of codes, and in words where it comes from.
struct Source {
    gaussian: Gaussian,
    name: String,
    /// How the sheet calls it.
    short: &'static str,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let form = Form::still(&flags.output)?;
    check(flags)?;
    let mut network = Network::open(&flags.run, device, console)?;
    let scene = Scene::of(&network.preset);
    // Only a fitted Gaussian and a picture of the data need the data.
    let needs_data = !network.preset.model.is_variational() || matches!(flags.near, Some(Picture::Index(_)));
    let data = if needs_data { Some(flags.data.load(&mut network.preset, console)?) } else { None };
    let source = source(flags, &mut network, data.as_ref(), console)?;
    let near = flags.near.as_ref().map(|near| near.read(&network.preset, data.as_ref(), console)).transpose()?;
    let (codes, first) = match &near {
        None => (source.gaussian.sample(flags.count as usize, flags.temperature, flags.seed)?, None),
        Some(original) => {
            let code = network.inference.encode(original)?;
            let codes = source.gaussian.around(&code, flags.count as usize, flags.sigma, flags.seed)?;
            let row = [original.as_slice(), &network.inference.decode(&code)?].concat();
            (codes, Some(row))
        }
    };
    let pictures = network.inference.decode(codes.values())?;
    let outputs = write(flags, form, &scene, &source, first.as_deref(), pictures)?;
    let object = json!({
        "output": flags.output.display().to_string(),
        "outputs": outputs,
        "count": flags.count,
        "distribution": source.name,
        "rank": source.gaussian.rank(),
        "seed": flags.seed,
        "temperature": near.is_none().then_some(flags.temperature),
        "near": flags.near.as_ref().map(Picture::to_string),
        "sigma": near.is_some().then_some(flags.sigma),
    });
    let how = match &flags.near {
        Some(near) => format!("noise of {} deviations around {near}, as in {}", flags.sigma, source.name),
        None => format!("drawn from {}", source.name),
    };
    console.result(&object, format!("{}\n{how}", gallery::line(flags.count as usize, &flags.output)))
}

fn check(flags: &Flags) -> Result<()> {
    for (name, value) in [("--temperature", flags.temperature), ("--sigma", flags.sigma)] {
        if !(0.0..=f64::MAX).contains(&value) {
            return Err(Error::setting(name, format!("cannot be {value}: take 0 or more")));
        }
    }
    Ok(())
}

/// The prior of a variational network; of another, a Gaussian fitted to the codes of its training pictures, or of all of
/// `--data` or `--limit`.
fn source(flags: &Flags, network: &mut Network, data: Option<&Dataset>, console: &Console) -> Result<Source> {
    let Some(data) = data.filter(|_| !network.preset.model.is_variational()) else {
        let gaussian = Gaussian::standard(network.inference.code_len());
        return Ok(Source { gaussian, name: "the prior N(0, I)".to_owned(), short: "prior N(0, I)" });
    };
    let (chosen, what) = if flags.data.data.is_empty() && flags.data.limit.is_none() {
        (data.select(&pictures::split(data, &network.preset, console)?.train), "training picture")
    } else {
        (data.clone(), "picture")
    };
    let gaussian = Gaussian::fit(&network.codes(&chosen, console)?)?;
    let name = format!("a Gaussian fitted to the codes of {}", count(chosen.len(), what));
    Ok(Source { gaussian, name, short: "fitted Gaussian" })
}

/// Writes what `-o` asks for; returns the files' names.
fn write(
    flags: &Flags,
    form: Form,
    scene: &Scene,
    source: &Source,
    first: Option<&[f32]>,
    pictures: Vec<f32>,
) -> Result<Vec<String>> {
    if form == Form::Pictures {
        let names: Vec<String> = (0..flags.count).map(|i| format!("sample-{i:03}")).collect();
        let read: Vec<PathBuf> = flags.near.iter().filter_map(Picture::file).collect();
        return scene.write_pictures(&flags.output, &names, pictures, &read);
    }
    let columns = (flags.count as usize).isqrt().clamp(4, MAX_COLUMNS);
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    let mut titles = Vec::new();
    if let Some(first) = first {
        titles = vec!["original".to_owned(), "restored".to_owned()];
        rows.push((String::new(), scene.cells(first)?));
    }
    for (at, row) in scene.cells(&pictures)?.chunks(columns).enumerate() {
        let title = if at > 0 { "" } else { source.short };
        rows.push((title.to_owned(), row.to_vec()));
    }
    scene.sheet(titles, rows).write_png(&flags.output)?;
    Ok(vec![flags.output.display().to_string()])
}
