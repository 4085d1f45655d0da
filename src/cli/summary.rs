//! `degrain summary`.

use super::console::Console;
use super::run::load_preset;
use clap::Args;
use degrain::model::{Preset, Summary};
use degrain::plan::PlanOptions;
use degrain::{Result, train};

/// Flags of `degrain summary`.
#[derive(Args)]
pub(super) struct Flags {
    /// A preset's name, a preset file or a run's folder
    #[arg(value_name = "PRESET|FILE.toml|RUN", default_value = Preset::DEFAULT)]
    model: String,
    /// Pictures per step, for the memory
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Values in a code
    #[arg(long, value_name = "N")]
    code: Option<usize>,
    /// Change any setting of the preset, such as model.encoder.0.channels=16
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print the recorded training step instead: its ops in order, their kernels and buffers
    #[arg(long, conflicts_with = "json")]
    plan: bool,
    /// With --plan: every op by itself
    #[arg(long, requires = "plan")]
    no_fuse: bool,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let mut preset = load_preset(&flags.model)?;
    let batch = flags.batch.map(|batch| format!("train.batch={batch}"));
    let code = flags.code.map(|code| format!("model.code={code}"));
    let settings: Vec<String> = batch.into_iter().chain(code).chain(flags.settings.iter().cloned()).collect();
    preset.set_all(&settings)?;
    if flags.plan {
        let session = super::device::open(device, console)?;
        let options = PlanOptions { target: session.target(), fuse: !flags.no_fuse, variant: None };
        let plan = train::step_plan(&preset, preset.train.batch, options)?;
        return console.result(&(), plan);
    }
    let mut summary = Summary::of(&preset)?;
    summary.step_bytes = Some(train::step_bytes(&preset, preset.train.batch)?);
    console.result(&summary, &summary)
}
