//! `degrain bench`.

use super::console::Console;
use super::device;
use super::profile::seconds;
use clap::Args;
use degrain::Result;
use degrain::kernel::Precision;
use degrain::model::{WORKLOADS, Workload};
use degrain::profile::step_times;
use degrain::train::synthetic_step;
use serde::Serialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// Flags of `degrain bench`.
#[derive(Args)]
pub(super) struct Flags {
    /// One of lfw-conv, mnist-dae, quickdraw-simple, quickdraw-deep, quickdraw-conv
    #[arg(value_name = "WORKLOAD", default_value = "lfw-conv")]
    workload: String,
    /// All of them, one after the other
    #[arg(long, conflicts_with = "workload")]
    all: bool,
    /// Pictures in a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Run every op by itself
    #[arg(long)]
    no_fuse: bool,
    /// What products are computed of
    #[arg(long, default_value_t, value_name = "f32|f16")]
    precision: Precision,
    /// Measure each for about this long
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    budget: f64,
}

/// What is printed of one workload.
#[derive(Serialize)]
struct Measured {
    workload: &'static str,
    batch: usize,
    device: String,
    /// What products were computed of.
    products: String,
    /// Median of the windows.
    steps_per_s: f64,
    images_per_s: f64,
    /// Median absolute deviation of the windows' times, as a part of the median.
    spread: f64,
    windows: usize,
    /// From the start of the process to the end of the first step; with --all from the end of the workload before.
    seconds_to_first_step: f64,
    /// Most memory that the process ever had; none where the system does not tell.
    peak_rss_bytes: Option<u64>,
    device_bytes: usize,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    if flags.all {
        let mut rows = Vec::new();
        let mut begin = console.started;
        for workload in &WORKLOADS {
            let row = measure(workload, flags, begin, device, console)?;
            console.note(row.line());
            rows.push(row);
            begin = Instant::now();
        }
        let text = rows.iter().map(Measured::line).collect::<Vec<_>>().join("\n");
        return console.result(&json!({ "workloads": rows }), text);
    }
    let row = measure(Workload::named(&flags.workload)?, flags, console.started, device, console)?;
    console.result(&row, row.line())
}

fn measure(workload: &Workload, flags: &Flags, begin: Instant, device: &str, console: &Console) -> Result<Measured> {
    let mut preset = workload.preset(flags.batch)?;
    preset.set_all(&[format!("train.precision={}", flags.precision)])?;
    let batch = preset.train.batch;
    let mut session = device::open_in(flags.precision, device, console)?;
    session.set_fuse(!flags.no_fuse);
    let step = synthetic_step(&preset, batch, session.target())?;
    let program = session.record(&step.graph)?;
    session.write_used(&step.values)?;
    session.run(program, 1)?;
    session.wait()?;
    let seconds_to_first_step = begin.elapsed().as_secs_f64();
    let times = step_times(&mut session, program, Duration::from_secs_f64(flags.budget))?;
    let steps_per_s = 1e6 / times.median;
    Ok(Measured {
        workload: workload.name,
        batch,
        device: session.device().to_owned(),
        products: session.products().to_string(),
        steps_per_s,
        images_per_s: batch as f64 * steps_per_s,
        spread: times.spread(),
        windows: times.samples,
        seconds_to_first_step,
        peak_rss_bytes: peak_rss_bytes(),
        device_bytes: session.allocated_bytes(),
    })
}

impl Measured {
    fn line(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let memory = self.peak_rss_bytes.map_or(String::new(), |bytes| format!(", {:.0} MiB at most", mib(bytes)));
        format!(
            "{:16} batch {:4}  {:8.1} steps/s  {:9.0} images/s (+- {:.1} %)  first step after {:.2} s{memory}",
            self.workload,
            self.batch,
            self.steps_per_s,
            self.images_per_s,
            100.0 * self.spread,
            self.seconds_to_first_step
        )
    }
}

/// The most memory that this process had resident.
#[cfg(unix)]
pub(super) fn peak_rss_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let kilobytes_or_bytes = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    Some(if cfg!(target_os = "macos") { kilobytes_or_bytes } else { kilobytes_or_bytes << 10 })
}

/// The most memory that this process had resident.
#[cfg(not(unix))]
pub(super) fn peak_rss_bytes() -> Option<u64> {
    None
}
