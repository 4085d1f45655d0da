//! `degrain morph`: the way from one picture to another through code space.

use super::console::Console;
use super::gallery::{self, Form, Scene};
use super::network::{DataFlags, Network, Picture};
use super::run::RunFlags;
use clap::{Args, ValueEnum};
use degrain::latent::{Interpolation, morph};
use degrain::report::Cell;
use degrain::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// More pictures of one pair are no sheet any more.
const MAX_STEPS: u64 = 1000;

/// Flags of `degrain morph`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    /// Two pictures A B, or several pairs A B A B …: files, or '#INDEX' of the data in quotes, counted from 0
    #[arg(value_name = "PICTURE", required = true, num_args = 2..)]
    pictures: Vec<Picture>,
    #[command(flatten)]
    data: DataFlags,
    /// Pictures from A to B, both ends among them
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(2..=MAX_STEPS))]
    steps: u64,
    /// The way between two codes: a straight line, or an arc around the origin
    #[arg(long, value_enum, default_value = "linear")]
    path: Way,
    /// Sheet S.png, animation S.gif, a folder for PNG files, or all as one out.npy, scaled as in training
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Way {
    Linear,
    Spherical,
}

impl From<Way> for Interpolation {
    fn from(way: Way) -> Self {
        match way {
            Way::Linear => Self::Linear,
            Way::Spherical => Self::Spherical,
        }
    }
}

/// One row of the sheet: two pictures, and those on the way between them, (steps, H, W, C).
struct Morph<'a> {
    names: [&'a Picture; 2],
    ends: [Vec<f32>; 2],
    way: Vec<f32>,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let form = Form::of(&flags.output)?;
    if !flags.pictures.len().is_multiple_of(2) {
        let problem = format!("{} pictures make no pairs: name two for each row, A B A B", flags.pictures.len());
        return Err(Error::setting("PICTURE", problem));
    }
    let mut network = Network::open(&flags.run, device, console)?;
    let originals = network.pictures(&flags.pictures, &flags.data, console)?;
    let alphas = morph::alphas(flags.steps as usize);
    let morphs = morphs(flags, &mut network, originals, &alphas)?;
    let outputs = write(flags, form, &Scene::of(&network.preset), morphs, &alphas)?;
    let pairs: Vec<[String; 2]> =
        flags.pictures.chunks_exact(2).map(|pair| [0, 1].map(|i| pair[i].to_string())).collect();
    let object = json!({
        "output": flags.output.display().to_string(),
        "outputs": outputs,
        "alphas": alphas,
        "path": format!("{:?}", flags.path).to_lowercase(),
        "pairs": pairs,
    });
    console.result(&object, gallery::line(pairs.len() * alphas.len(), &flags.output))
}

fn morphs<'a>(
    flags: &'a Flags,
    network: &mut Network,
    originals: Vec<Vec<f32>>,
    alphas: &[f64],
) -> Result<Vec<Morph<'a>>> {
    let codes = network.inference.encode(&originals.concat())?;
    let codes: Vec<&[f32]> = codes.chunks_exact(network.inference.code_len()).collect();
    let mut on_the_way = Vec::new();
    for ends in codes.chunks_exact(2) {
        on_the_way.extend_from_slice(Interpolation::from(flags.path).way(ends[0], ends[1], alphas)?.values());
    }
    let pictures = network.inference.decode(&on_the_way)?;
    let ways = pictures.chunks_exact(alphas.len() * network.inference.sample_len());
    let mut originals = originals.into_iter();
    let mut all = Vec::new();
    for (names, way) in flags.pictures.chunks_exact(2).zip(ways) {
        if let (Some(from), Some(to)) = (originals.next(), originals.next()) {
            all.push(Morph { names: [&names[0], &names[1]], ends: [from, to], way: way.to_vec() });
        }
    }
    Ok(all)
}

/// Writes what `-o` asks for; returns the files' names.
fn write(flags: &Flags, form: Form, scene: &Scene, morphs: Vec<Morph<'_>>, alphas: &[f64]) -> Result<Vec<String>> {
    let out = &flags.output;
    match form {
        Form::Sheet => {
            let titles = alphas.iter().map(|alpha| format!("{alpha:.2}"));
            let titles = ["original".to_owned()].into_iter().chain(titles).chain(["original".to_owned()]).collect();
            let rows = morphs.iter().map(|morph| row(morph, scene)).collect::<Result<_>>()?;
            scene.sheet(titles, rows).write_png(out)?;
        }
        Form::Animation => {
            let ways: Vec<Vec<Cell>> = morphs.iter().map(|morph| scene.cells(&morph.way)).collect::<Result<_>>()?;
            let frame = |step: usize| ways.iter().filter_map(|way| way.get(step)).cloned().collect();
            let frames: Vec<Vec<Cell>> = (0..alphas.len()).map(frame).collect();
            scene.write_animation(out, &frames)?;
        }
        Form::Pictures => {
            let name = |pair: usize, step: usize| match morphs.len() {
                1 => format!("step-{step:02}"),
                _ => format!("pair-{}/step-{step:02}", pair + 1),
            };
            let steps = 0..alphas.len();
            let names: Vec<String> = (0..morphs.len())
                .flat_map(|pair| steps.clone().map(move |step| (pair, step)))
                .map(|(p, s)| name(p, s))
                .collect();
            let read: Vec<PathBuf> = flags.pictures.iter().filter_map(Picture::file).collect();
            let pictures = morphs.into_iter().flat_map(|morph| morph.way).collect();
            return scene.write_pictures(out, &names, pictures, &read);
        }
    }
    Ok(vec![out.display().to_string()])
}

fn row(morph: &Morph<'_>, scene: &Scene) -> Result<(String, Vec<Cell>)> {
    let [from, to] = &morph.ends;
    let title = format!("{} → {}", gallery::short(morph.names[0]), gallery::short(morph.names[1]));
    Ok((title, scene.cells(&[from.as_slice(), &morph.way, to].concat())?))
}
