//! `degrain latent`: codes in the plane, and the pictures that the plane holds.

use super::console::{Console, count};
use super::gallery::{self, Scene};
use super::network::{DataFlags, Network};
use super::run::RunFlags;
use clap::{Args, ValueEnum};
use degrain::atomic_file::write_bytes;
use degrain::data::Dataset;
use degrain::latent::{Codes, Manifold, Projection, Tsne};
use degrain::report::{Scatter, write_png};
use degrain::{Error, Result};
use rand::SeedableRng;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Size of the scatter, in pixels.
const SIZE: (u32, u32) = (1600, 1200);
/// Pictures of larger data sets that t-SNE takes, where nothing else is said.
const TSNE_PICTURES: usize = 10_000;

/// Flags of `degrain latent`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    data: DataFlags,
    /// How codes come into the plane [default: code where codes have two values, else pca]
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// Draw the pictures themselves at as many points as have room
    #[arg(long)]
    thumbnails: bool,
    /// Write the places as CSV: index,name,label,x,y
    #[arg(long, value_name = "F.csv")]
    csv: Option<PathBuf>,
    /// Write the manifold as S-manifold.png too: decoded pictures over a grid in the plane; always, where codes have two values
    #[arg(long)]
    manifold: bool,
    /// Pictures on a side of the manifold's grid
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    grid: u64,
    /// Show N of the pictures, chosen at random [default: all; with tsne at most 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Seed of --sample
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// t-SNE: about how many neighbours of each code count
    #[arg(long, value_name = "P", default_value_t = 30.0)]
    perplexity: f64,
    /// The scatter
    #[arg(short, long, value_name = "S.png")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Method {
    /// The first two principal components
    Pca,
    /// t-SNE: near codes stay near; distances between groups mean nothing
    Tsne,
    /// The code itself, of one or two values
    Code,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    gallery::expect_png(&flags.output)?;
    if !(1.0..=1e6).contains(&flags.perplexity) {
        return Err(Error::setting("--perplexity", format!("cannot be {}: take 5 to 50", flags.perplexity)));
    }
    let mut network = Network::open(&flags.run, device, console)?;
    let method = method(flags, network.inference.code_len())?;
    let all = flags.data.load(&mut network.preset, console)?;
    let rows = chosen_rows(flags, method, all.len(), console);
    let data = if rows.len() < all.len() { all.select(&rows) } else { all };
    let codes = network.codes(&data, console)?;
    let plane = project(flags, method, &codes, console)?;
    let scatter = Scatter {
        title: format!("{} of {} values, {}", count(codes.len(), "code"), codes.dim(), network.preset.name),
        axes: plane.axes.clone(),
        points: plane.points.clone(),
        labels: data.labels.clone(),
    };
    let scene = Scene::of(&network.preset);
    let image = if flags.thumbnails {
        let mut picture = |i: usize| scene.image(&network.floats(&data, &[i as u32]));
        scatter.draw_with_pictures(SIZE.0, SIZE.1, &mut picture)?
    } else {
        scatter.draw(SIZE.0, SIZE.1)?
    };
    write_png(&image, &flags.output)?;
    if let Some(path) = &flags.csv {
        write_places(path, &plane, &data, &rows)?;
    }
    let manifold = write_manifold(flags, &mut network, &codes)?;
    report(flags, method, &plane, &data, manifold.as_deref(), console)
}

fn method(flags: &Flags, dim: usize) -> Result<Method> {
    match flags.method {
        Some(Method::Code) if dim > 2 => {
            let problem =
                format!("code is for codes of 1 or 2 values, and this network's have {dim}: take pca or tsne");
            Err(Error::setting("--method", problem))
        }
        Some(method) => Ok(method),
        None if dim <= 2 => Ok(Method::Code),
        None => Ok(Method::Pca),
    }
}

/// Which pictures are shown, in their order.
fn chosen_rows(flags: &Flags, method: Method, len: usize, console: &Console) -> Vec<u32> {
    let most = match flags.sample {
        Some(sample) => usize::try_from(sample).unwrap_or(usize::MAX),
        None if method == Method::Tsne => TSNE_PICTURES,
        None => usize::MAX,
    };
    if most >= len {
        return (0..len as u32).collect();
    }
    console.note(format_args!("{most} of {len} pictures, chosen by seed {} (--sample for another number)", flags.seed));
    let mut random = rand_pcg::Pcg64::seed_from_u64(flags.seed);
    let mut rows: Vec<u32> =
        rand::seq::index::sample(&mut random, len, most).into_iter().map(|row| row as u32).collect();
    rows.sort_unstable();
    rows
}

fn project(flags: &Flags, method: Method, codes: &Codes, console: &Console) -> Result<Projection> {
    match method {
        Method::Pca => Projection::pca(codes),
        Method::Code => Projection::code(codes),
        Method::Tsne => {
            let settings = Tsne { perplexity: flags.perplexity, ..Tsne::default() };
            let bar = console.bar(settings.epochs as u64, "t-SNE [{bar:30}] {pos}/{len} steps  ETA {eta}");
            let plane = Projection::tsne(codes, &settings, &mut |more| bar.inc(more as u64));
            bar.finish_and_clear();
            plane
        }
    }
}

fn write_places(path: &Path, plane: &Projection, data: &Dataset, rows: &[u32]) -> Result<()> {
    let fail = |problem: csv::Error| Error::file(path, problem.to_string());
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["index", "name", "label", "x", "y"]).map_err(fail)?;
    for (i, ((point, name), row)) in plane.points.iter().zip(&data.names).zip(rows).enumerate() {
        let label = data.labels.as_ref().and_then(|labels| labels.name(i)).unwrap_or_default();
        let [x, y] = point.map(|value| (value as f32).to_string());
        table.write_record([&row.to_string(), name, label, &x, &y]).map_err(fail)?;
    }
    let bytes = table.into_inner().map_err(|problem| Error::file(path, problem.to_string()))?;
    write_bytes(path, &bytes)
}

/// Writes the manifold, where there is one to be written; returns its file.
fn write_manifold(flags: &Flags, network: &mut Network, codes: &Codes) -> Result<Option<PathBuf>> {
    if !flags.manifold && codes.dim() != 2 {
        return Ok(None);
    }
    let side = flags.grid as usize;
    let grid = match codes.dim() {
        2 if network.preset.model.is_variational() => Manifold::of_prior(side)?,
        1 | 2 => Manifold::of_range(codes, side)?,
        _ => Manifold::of_principal_plane(codes, side)?,
    };
    let scene = Scene::of(&network.preset);
    let cells = scene.cells(&network.inference.decode(grid.codes().values())?)?;
    let rows = cells.chunks(grid.columns()).map(|row| (String::new(), row.to_vec())).collect();
    let stem = flags.output.file_stem().unwrap_or_default().to_string_lossy();
    let path = flags.output.with_file_name(format!("{stem}-manifold.png"));
    scene.sheet(Vec::new(), rows).write_png(&path)?;
    Ok(Some(path))
}

fn report(
    flags: &Flags,
    method: Method,
    plane: &Projection,
    data: &Dataset,
    manifold: Option<&Path>,
    console: &Console,
) -> Result<()> {
    let labels = data.labels.as_ref().map(|labels| {
        let counts = labels.names.iter().zip(labels.counts()).filter(|(_, count)| *count > 0);
        counts.map(|(name, count)| json!({ "name": name, "count": count })).collect::<Vec<Value>>()
    });
    let file = |path: &Path| path.display().to_string();
    let object = json!({
        "output": file(&flags.output),
        "method": format!("{method:?}").to_lowercase(),
        "pictures": plane.points.len(),
        "labels": labels,
        "explained": plane.explained,
        "manifold": manifold.map(file),
        "csv": flags.csv.as_deref().map(file),
    });
    let mut text = format!("{} -> {}", count(plane.points.len(), "code"), flags.output.display());
    if !plane.explained.is_empty() {
        let shares: Vec<String> = plane.explained.iter().map(|share| format!("{:.1} %", 100.0 * share)).collect();
        text.push_str(&format!("\naxes hold {} of the variance", shares.join(" and ")));
    }
    for (what, path) in [("manifold", manifold), ("places", flags.csv.as_deref())] {
        if let Some(path) = path {
            text.push_str(&format!("\n{what} -> {}", path.display()));
        }
    }
    console.result(&object, text)
}
