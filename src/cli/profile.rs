//! `degrain profile`.

use super::console::Console;
use super::profile_step::{self, StepFlags};
use clap::Args;
use degrain::model::Preset;
use degrain::{Error, Result};

/// Flags of `degrain profile`.
#[derive(Args)]
pub(super) struct Flags {
    /// A preset's name, a preset file or a run's folder: one step of it, launch by launch
    #[arg(value_name = "PRESET|FILE.toml|RUN", default_value = Preset::DEFAULT)]
    what: String,
    /// Measure for about this long
    #[arg(long, value_name = "S", default_value_t = 3.0, allow_negative_numbers = true)]
    seconds: f64,
    /// Measure by the host's clock, as on devices without timestamps
    #[arg(long)]
    no_timestamps: bool,
    #[command(flatten)]
    step: StepFlags,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    if !(0.0..=3600.0).contains(&flags.seconds) {
        return Err(Error::setting("--seconds", format!("{}: take 0 to 3600", flags.seconds)));
    }
    profile_step::run(&flags.what, flags.seconds, !flags.no_timestamps, &flags.step, device, console)
}
