//! `degrain profile`: of a step, or of a lone kernel.

use super::console::Console;
use super::profile_kernel::{self, KernelFlags, amount};
use super::profile_step::{self, StepFlags};
use clap::Args;
use degrain::model::Preset;
use degrain::profile::{Budget, StepOptions};
use degrain::{Error, Result};
use std::path::Path;
use std::time::Duration;

/// Flags of `degrain profile`.
#[derive(Args)]
pub(super) struct Flags {
    /// A preset's name, a preset file or a run's folder: one step of it, launch by launch. A file that ends in .wgsl: the
    /// kernel in it
    #[arg(value_name = "PRESET|FILE.toml|RUN|KERNEL.wgsl", default_value = Preset::DEFAULT)]
    what: String,
    #[command(flatten)]
    measuring: Measuring,
    #[command(flatten)]
    step: StepFlags,
    #[command(flatten)]
    kernel: KernelFlags,
}

/// What both kinds of profile have in common.
#[derive(Args)]
pub(super) struct Measuring {
    /// Longest time for all samples: 3 seconds for a step; 2 for a kernel, and less once its median is known to 1 %
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    budget: Option<f64>,
    /// Measure by the host's clock, as on devices without timestamps
    #[arg(long)]
    pub(super) no_timestamps: bool,
}

impl Measuring {
    /// For a kernel.
    pub(super) fn budget(&self) -> Budget {
        let standard = Budget::default();
        Budget { seconds: self.budget.unwrap_or(standard.seconds), ..standard }
    }

    /// For a step.
    pub(super) fn options(&self) -> StepOptions {
        let standard = StepOptions::default();
        let budget = self.budget.map_or(standard.budget, Duration::from_secs_f64);
        StepOptions { budget, timestamps: !self.no_timestamps, ..standard }
    }
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let number = amount(text)?;
    if (0.001..=86_400.0).contains(&number) { Ok(number) } else { Err("wanted 0.001 to 86400 seconds".to_owned()) }
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let path = Path::new(&flags.what);
    let is_kernel = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wgsl"));
    let misplaced = if is_kernel { flags.step.given() } else { flags.kernel.given() };
    match misplaced {
        Some(flag) if is_kernel => Err(Error::setting(flag, "is for a step of a preset, not for a KERNEL.wgsl")),
        Some(flag) => Err(Error::setting(flag, format!("is for a KERNEL.wgsl, and {} is none", flags.what))),
        None if is_kernel => profile_kernel::run(path, &flags.kernel, &flags.measuring, device, console),
        None => profile_step::run(&flags.what, &flags.step, flags.measuring.options(), device, console),
    }
}
