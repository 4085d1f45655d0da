//! `degrain tune`.

use super::console::Console;
use super::device;
use super::profile::seconds;
use super::run::load_preset;
use clap::Args;
use degrain::model::Preset;
use degrain::plan::Tuning;
use degrain::profile::{Tuned, forget_tuning, keep_tuning, tune};
use degrain::train::synthetic_step;
use degrain::{Error, Result};
use serde_json::json;
use std::time::Duration;

/// Flags of `degrain tune`.
#[derive(Args)]
pub(super) struct Flags {
    /// Presets' names, preset files or runs' folders
    #[arg(value_name = "PRESET|FILE.toml|RUN", default_value = Preset::DEFAULT, conflicts_with = "forget")]
    models: Vec<String>,
    /// Pictures in a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Measure each preset for about this long; what takes most time is measured first
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    budget: f64,
    /// Forget what was measured on this device
    #[arg(long)]
    forget: bool,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let mut session = device::open(device, console)?;
    if flags.forget {
        let forgotten = forget_tuning(&session)?;
        let text = if forgotten { "forgotten" } else { "nothing was kept" };
        return console.result(&json!({ "device": session.device(), "forgotten": forgotten }), text);
    }
    if session.target().is_none() {
        return Err(Error::setting("--device", "the CPU executor has one kernel for each op: name a GPU"));
    }
    session.set_tuning(Tuning::default());
    let mut rows = Vec::new();
    let mut all = Tuning::default();
    for model in &flags.models {
        let mut preset = load_preset(model)?;
        if let Some(batch) = flags.batch {
            preset.set_all(&[format!("train.batch={batch}")])?;
        }
        let step = synthetic_step(&preset, preset.train.batch, session.target())?;
        let tuned = tune(&mut session, &step.graph, Duration::from_secs_f64(flags.budget))?;
        for refused in &tuned.refused {
            console.warn(format_args!("{refused} does not give what the CPU executor gives, and is never taken"));
        }
        all.extend(tuned.tuning.clone());
        rows.push((preset.name.clone(), tuned));
    }
    let path = keep_tuning(&session, all)?;
    let line = |(name, tuned): &(String, Tuned)| {
        let Tuned { ops, measured, changed, seconds, .. } = tuned;
        format!("{name:18} {measured} of {ops} ops with several kernels measured, {changed} changed, {seconds:.2} s")
    };
    let text = format!(
        "{}\nkept in {}; every command on this device takes them from now on, degrain tune --forget ends that",
        rows.iter().map(line).collect::<Vec<_>>().join("\n"),
        path.display()
    );
    let presets: Vec<_> = rows.iter().map(|(name, tuned)| json!({ "preset": name, "tuned": tuned })).collect();
    console.result(&json!({ "device": session.device(), "output": path, "presets": presets }), text)
}
