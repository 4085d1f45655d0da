//! `degrain eval`.

use super::console::{Console, count};
use super::run::{RunFlags, SavedRun};
use super::{device, finish, pictures};
use clap::Args;
use degrain::data::{Dataset, Split};
use degrain::kernel::Precision;
use degrain::model::{Noise, Preset};
use degrain::report::Metrics;
use degrain::train::{Inference, validation_loss};
use degrain::{Error, Result};
use serde::Serialize;
use std::fmt::Write as _;

/// Flags of `degrain eval`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    /// Other pictures, all of them, in place of the run's held-out ones; may be repeated
    #[arg(long, value_name = "D")]
    data: Vec<String>,
    /// Use only the first N pictures of --data
    #[arg(long, value_name = "N", requires = "data")]
    limit: Option<usize>,
    /// Noise on the inputs, in place of the run's
    #[arg(long)]
    noise: Option<Noise>,
    /// What products are computed of, in place of the run's
    #[arg(long, value_name = "f32|f16")]
    precision: Option<Precision>,
}

/// What `eval --json` prints: the metrics, and of what.
#[derive(Serialize)]
struct Report {
    run: String,
    weights: &'static str,
    device: String,
    /// What products were computed of.
    products: String,
    data: String,
    /// `held_out`, or `all` pictures of the data.
    part: &'static str,
    noise: String,
    /// The whole objective on the run's held-out pictures, as training logs it; null of other pictures.
    val_loss: Option<f64>,
    #[serde(flatten)]
    metrics: Metrics,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let SavedRun { mut preset, weights, weights_name } = SavedRun::read(&flags.run)?;
    let noise = flags.noise.unwrap_or(preset.train.inference_noise());
    if let Some(noise) = flags.noise {
        preset.train.noise_validation = Some(noise);
    }
    let precision = flags.precision.unwrap_or(preset.train.precision);
    let mut session = device::open_in(precision, device, console)?;
    let products = session.products().to_string();
    let device = session.device().to_owned();
    let (data, rows, split) = rows(flags, &mut preset, console)?;
    let val_loss = match &split {
        Some(split) => validation_loss(&mut session, &preset, &data, split, weights.clone())?,
        None => None,
    };
    let part = if split.is_some() { "held_out" } else { "all" };
    let mut inference = Inference::new(session, &preset, weights, preset.train.batch)?;
    let metrics = finish::evaluate(&mut inference, &preset, &data, &rows, noise, console)?;
    let metrics = metrics.ok_or_else(|| Error::setting("--data", "has no pictures"))?;
    let run = flags.run.run.display().to_string();
    let noise = noise.to_string();
    let report =
        Report { run, weights: weights_name, device, products, data: data.origin, part, noise, val_loss, metrics };
    console.result(&report, text(&report))
}

/// The run's held-out pictures with its split, or all those of `--data`.
fn rows(flags: &Flags, preset: &mut Preset, console: &Console) -> Result<(Dataset, Vec<u32>, Option<Split>)> {
    let all = |data: &Dataset| (0..data.len() as u32).collect();
    if !flags.data.is_empty() {
        preset.data.forget_choice();
        preset.data.limit = flags.limit;
        if flags.limit == Some(0) {
            return Err(Error::setting("--limit", "must be at least 1"));
        }
        let data = pictures::load(&flags.data, preset, console)?;
        let rows = all(&data);
        return Ok((data, rows, None));
    }
    let data = pictures::load(&preset.data.source, preset, console)?;
    let split = pictures::split(&data, preset, console)?;
    if split.held_out.is_empty() {
        console.warn("the run held nothing out: these are the pictures that it was trained on");
        let rows = all(&data);
        return Ok((data, rows, None));
    }
    Ok((data, split.held_out.clone(), Some(split)))
}

fn text(report: &Report) -> String {
    let Report { weights, data, noise, metrics, .. } = report;
    let pictures = count(metrics.count as usize, "picture");
    let mut text = format!("{weights} on {pictures} of {data}, noise {noise}\n{metrics}");
    if let Some(loss) = report.val_loss {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "val loss    {loss:.6} (the whole objective, as logged in training)");
    }
    text
}
