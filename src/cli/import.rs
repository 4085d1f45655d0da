//! `degrain import`: weights that PyTorch or Keras trained, as a run.

use super::console::{Console, count};
use super::run::load_preset;
use clap::{Args, ValueEnum};
use degrain::interop::{ChannelOrder, Framework, ImportOptions, Imported, import, write_run};
use degrain::model::{BatchNormKind, Layer, Preset};
use degrain::train::run_dir::SUMMARY;
use degrain::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Flags of `degrain import`.
#[derive(Args)]
pub(super) struct Flags {
    /// What the weights are of: a preset's name, a preset file or a run's folder
    #[arg(value_name = "PRESET|FILE.toml|RUN")]
    model: String,
    /// The weights: .safetensors or .npz
    #[arg(value_name = "WEIGHTS")]
    weights: PathBuf,
    /// The folder of the new run
    #[arg(short, long, value_name = "RUN")]
    output: PathBuf,
    /// Whose layouts the weights have [default: as their names tell]
    #[arg(long, value_enum)]
    from: Option<From>,
    /// Which of the file's layers or tensors is which of ours, such as encoder.conv2d_1=conv1; may be repeated
    #[arg(long, value_name = "NAME=NAME", value_parser = pair)]
    map: Vec<(String, String)>,
    /// The order in which the network flattened pictures [default: channels-first from torch, else channels-last]
    #[arg(long, value_enum)]
    flatten: Option<Flatten>,
    /// Epsilon of the batch normalisations [default: the preset's; from torch 1e-5 in place of the format's default]
    #[arg(long, value_name = "E")]
    epsilon: Option<f32>,
    /// Change any setting of the preset, such as model.code=8
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// `--from`.
#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// PyTorch: (out, in, kh, kw)
    Torch,
    /// Keras, TensorFlow: (kh, kw, in, out)
    Keras,
    /// degrain export
    Degrain,
}

/// `--flatten`.
#[derive(Clone, Copy, ValueEnum)]
enum Flatten {
    /// Channel by channel, as torch.flatten of (N, C, H, W)
    ChannelsFirst,
    /// Pixel by pixel, as of (N, H, W, C)
    ChannelsLast,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((ours, theirs)) if !ours.is_empty() && !theirs.is_empty() => Ok((ours.to_owned(), theirs.to_owned())),
        _ => Err("wanted OURS=THEIRS, such as encoder.conv2d_1=conv1".to_owned()),
    }
}

impl Flags {
    fn options(&self) -> ImportOptions {
        ImportOptions {
            framework: self.from.map(|from| match from {
                From::Torch => Framework::Torch,
                From::Keras => Framework::Keras,
                From::Degrain => Framework::Degrain,
            }),
            flatten: self.flatten.map(|order| match order {
                Flatten::ChannelsFirst => ChannelOrder::First,
                Flatten::ChannelsLast => ChannelOrder::Last,
            }),
            epsilon: self.epsilon,
            map: self.map.clone(),
        }
    }
}

pub(super) fn run(flags: &Flags, console: &Console) -> Result<()> {
    if flags.epsilon.is_some_and(|epsilon| !(epsilon.is_finite() && epsilon > 0.0)) {
        return Err(Error::setting("--epsilon", "must be a finite number above 0"));
    }
    let mut preset = load_preset(&flags.model)?;
    preset.set_all(&flags.settings)?;
    let imported = import(&preset, &flags.weights, &flags.options())?;
    for name in &imported.filled {
        console.note(format_args!("{name} is not in the file: filled as where a layer is made without"));
    }
    if let Some(epsilon) = epsilon(&imported.preset) {
        console.note(format_args!("batch normalisation: epsilon {epsilon:e} (--epsilon takes another)"));
    }
    let run = write_run(&flags.output, &imported)?;
    let object = object(flags, &imported);
    run.write_json(SUMMARY, &object)?;
    console.result(&object, text(flags, &imported))
}

/// That of the first batch normalisation that is there.
fn epsilon(preset: &Preset) -> Option<f32> {
    let mut layers = preset.model.encoder.iter().chain(&preset.model.decoder);
    let found = layers.find_map(|layer| if let Layer::BatchNorm(norm) = layer { Some(norm.epsilon) } else { None });
    found.filter(|_| preset.model.batch_norm != BatchNormKind::None)
}

/// `summary.json`, and what `import --json` prints. A run of no steps: it is finished.
fn object(flags: &Flags, imported: &Imported) -> Value {
    let tensors = imported.pairs.iter().map(|(ours, theirs)| json!({ "name": ours, "source": theirs }));
    json!({
        "run": flags.output.display().to_string(),
        "preset": imported.preset.name,
        "imported": flags.weights.display().to_string(),
        "from": imported.framework.to_string(),
        "steps": 0,
        "epochs": 0,
        "code": imported.preset.model.code,
        "tensors": tensors.collect::<Vec<_>>(),
        "filled": imported.filled,
        "ignored": imported.ignored,
    })
}

fn text(flags: &Flags, imported: &Imported) -> String {
    let Imported { framework, pairs, .. } = imported;
    let width = pairs.iter().map(|(ours, _)| ours.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (ours, theirs) in pairs {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{ours:width$}  <- {theirs}");
    }
    let (weights, run) = (flags.weights.display(), flags.output.display());
    let _ = writeln!(text, "{} of {weights} (from {framework}) -> {run}", count(pairs.len(), "tensor"));
    text
}
