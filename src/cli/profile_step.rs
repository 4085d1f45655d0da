//! `degrain profile PRESET`.

use super::console::Console;
use super::{device, run::load_preset};
use clap::{Args, ValueEnum};
use degrain::atomic_file::write_bytes;
use degrain::kernel::Precision;
use degrain::plan::Reason;
use degrain::profile::{Ceilings, ComparedLaunch, StepOptions, StepProfile, duration, profile_graph};
use degrain::report::{Block, Figure, Page, Table, encode_png, roofline};
use degrain::train::{synthetic_encode, synthetic_step};
use degrain::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Flags of `degrain profile PRESET`.
#[derive(Args)]
#[command(next_help_heading = "For a step of a preset")]
pub(super) struct StepFlags {
    /// Pictures in a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// What to measure
    #[arg(long, default_value = "train")]
    mode: Mode,
    /// Change any setting of the preset, such as model.encoder.0.channels=16
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// What products are computed of [default: as the preset says]
    #[arg(long, value_name = "f32|f16")]
    precision: Option<Precision>,
    /// Run every op by itself
    #[arg(long)]
    no_fuse: bool,
    /// Rows of the tables
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Write the launches of one step as trace events, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Draw every launch under the roof of what the device can do
    #[arg(long, value_name = "FILE.png")]
    roofline: Option<PathBuf>,
    /// Write a page with the step over time, the roofline and all tables
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Say what became faster or slower since this profile, made with --json
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Measure what the device can do again
    #[arg(long)]
    fresh_peaks: bool,
}

impl StepFlags {
    /// A flag that was given and that means nothing for a lone kernel.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--batch", self.batch.is_some()),
            ("--mode", self.mode == Mode::Encode),
            ("--set", !self.settings.is_empty()),
            ("--precision", self.precision.is_some()),
            ("--no-fuse", self.no_fuse),
            ("--trace", self.trace.is_some()),
            ("--roofline", self.roofline.is_some()),
            ("--report", self.report.is_some()),
            ("--compare", self.compare.is_some()),
            ("--fresh-peaks", self.fresh_peaks),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

/// `--mode`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// A training step: forward, backward, update
    Train,
    /// The encoder, as a trained network runs it
    Encode,
}

/// What `--json` prints.
#[derive(Serialize, Deserialize)]
struct Report {
    preset: String,
    mode: Mode,
    batch: usize,
    images_per_second: f64,
    /// What products were computed of.
    #[serde(default)]
    products: String,
    #[serde(flatten)]
    profile: StepProfile,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    compared: Option<Vec<ComparedLaunch>>,
}

pub(super) fn run(what: &str, flags: &StepFlags, options: StepOptions, device: &str, console: &Console) -> Result<()> {
    let mut preset = load_preset(what)?;
    let batch = flags.batch.map(|batch| format!("train.batch={batch}"));
    let precision = flags.precision.map(|precision| format!("train.precision={precision}"));
    let settings: Vec<String> = batch.into_iter().chain(precision).chain(flags.settings.iter().cloned()).collect();
    preset.set_all(&settings)?;
    // Before minutes of measuring.
    let old = flags.compare.as_deref().map(read_old).transpose()?;
    let batch = preset.train.batch;
    let mut session = device::open_in(preset.train.precision, device, console)?;
    session.set_fuse(!flags.no_fuse);
    let peaks = if flags.fresh_peaks { Ceilings::measure_and_keep } else { Ceilings::cached };
    let peaks = peaks(&mut session)?;
    let step = match flags.mode {
        Mode::Train => synthetic_step(&preset, batch, session.target())?,
        Mode::Encode => synthetic_encode(&preset, batch)?,
    };
    let profile = profile_graph(&mut session, &step.graph, &step.values, &peaks, &options)?;
    let images_per_second = batch as f64 * 1e6 / profile.step_us;
    let products = session.products().to_string();
    let mut report = Report {
        preset: preset.name.clone(),
        mode: flags.mode,
        batch,
        images_per_second,
        products,
        profile,
        compared: None,
    };
    if let Some((path, old)) = old {
        report.warn_of_differences(&path, &old, console);
        report.compared = Some(report.profile.compared_with(&old.profile));
    }
    report.write_files(flags)?;
    console.result(&report, report.text(flags.top))
}

fn read_old(path: &Path) -> Result<(PathBuf, Report)> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let report = serde_json::from_slice(&bytes).map_err(|problem| {
        Error::file(path, format!("is not what `degrain profile PRESET --json` prints: {problem}"))
    })?;
    Ok((path.to_path_buf(), report))
}

impl Report {
    fn warn_of_differences(&self, path: &Path, old: &Self, console: &Console) {
        let same = (&self.preset, self.batch, &self.profile.device, self.mode == old.mode);
        if same != (&old.preset, old.batch, &old.profile.device, true) {
            let Self { preset, batch, profile, .. } = old;
            console.warn(format_args!(
                "{} is of another step: {preset} with {batch} pictures on {}",
                path.display(),
                profile.device
            ));
        }
    }

    fn write_files(&self, flags: &StepFlags) -> Result<()> {
        if let Some(path) = &flags.trace {
            write_bytes(path, self.profile.trace().to_string().as_bytes())?;
        }
        if let Some(path) = &flags.roofline {
            degrain::report::write_png(&roofline::roofline(&self.profile)?, path)?;
        }
        if let Some(path) = &flags.report {
            self.page()?.write(path)?;
        }
        Ok(())
    }

    fn title(&self) -> String {
        let what = match self.mode {
            Mode::Train => "training step",
            Mode::Encode => "encoding",
        };
        format!("{}, {what} of {} pictures", self.preset, self.batch)
    }

    /// Name and value of what concerns the whole step.
    fn summary(&self) -> Vec<(&'static str, String)> {
        let profile = &self.profile;
        let step = &profile.step;
        let mut rows = vec![
            ("device", profile.device.clone()),
            ("products", self.products.clone()),
            (
                "step",
                format!(
                    "{}, {:.0} images/s (min {}, p95 {}, MAD {:.1} %, {} samples)",
                    duration(step.median),
                    self.images_per_second,
                    duration(step.min),
                    duration(step.p95),
                    100.0 * step.spread(),
                    step.samples
                ),
            ),
            (
                "measured",
                format!(
                    "launches {} + gaps {} = {} with each launch measured, {:.3} of a step",
                    duration(profile.launches_us),
                    duration(profile.gaps_us),
                    duration(profile.launches_us + profile.gaps_us),
                    profile.overhead
                ),
            ),
            ("clock", profile.clock.clone()),
        ];
        if let (Some(encode), Some(submit)) = (&profile.encode, &profile.submit) {
            rows.push(("host", format!("encode {}, submit {}", duration(encode.median), duration(submit.median))));
        }
        if profile.discarded_timestamps > 0 {
            rows.push(("left out", format!("{} timestamps that cannot be", profile.discarded_timestamps)));
        }
        let peaks = &profile.peaks;
        let half = peaks.f16_gflops.map_or(String::new(), |gflops| format!(", {gflops:.0} GFLOP/s in half precision"));
        rows.push((
            "peaks",
            format!("{:.1} GFLOP/s{half}, {:.1} GB/s, {:.2} us a launch", peaks.gflops, peaks.gbps, peaks.launch_us),
        ));
        let floor = &profile.floor;
        rows.push((
            "floor",
            format!(
                "{} at these peaks (arithmetic {}, traffic {}, launching {}): the step takes {:.1} times that",
                duration(floor.us()),
                duration(floor.compute_us),
                duration(floor.memory_us),
                duration(floor.launch_us),
                profile.step_us / floor.us()
            ),
        ));
        rows.push(("memory", format!("{:.1} MB on the device", profile.memory_bytes as f64 / 1e6)));
        if step.spread() > 0.05 {
            rows.push(("noise", "steps scatter by more than 5 %: other work runs on this machine".to_owned()));
        }
        rows
    }

    fn text(&self, top: usize) -> String {
        let mut text = format!("{}\n", self.title());
        for (name, value) in self.summary() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:9} {value}");
        }
        for table in self.tables(top) {
            text += &aligned(&table);
        }
        text
    }

    fn tables(&self, top: usize) -> Vec<Table> {
        let mut tables = vec![self.launch_table(top)];
        tables.extend(self.kernel_table(top));
        tables.push(self.memory_table(top));
        tables.extend(self.compared.as_ref().map(|rows| compared_table(rows, top)));
        tables
    }

    fn launch_table(&self, top: usize) -> Table {
        let launches = &self.profile.launches;
        let row = |l: &degrain::profile::LaunchProfile| {
            vec![
                format!("{:.1}", l.us),
                format!("{:.1}", l.p95_us),
                format!("{:.1}", 100.0 * l.share),
                l.calls.to_string(),
                format!("{:.2}", l.flops / 1e6),
                format!("{:.2}", l.bytes / 1e6),
                format!("{:.2}", l.gflops),
                format!("{:.2}", l.gbps),
                format!("{:.2}", l.intensity),
                l.bound.name().to_owned(),
                format!("{:.0}", 100.0 * l.fraction_of_peak),
                l.name.clone(),
            ]
        };
        Table {
            title: title("Launches", launches.len(), top),
            header: words("us|p95|share %|calls|MFLOP|MB|GFLOP/s|GB/s|FLOP/B|bound by|peak %|launch"),
            rows: launches.iter().take(top).map(row).collect(),
        }
    }

    /// Which kernels were taken and why, where there was a choice.
    fn kernel_table(&self, top: usize) -> Option<Table> {
        let chosen = self.profile.kernels.iter().filter(|kernel| kernel.choice.reason != Reason::Only);
        let rows: Vec<Vec<String>> = chosen.map(|kernel| vec![kernel.op.clone(), kernel.choice.to_string()]).collect();
        (!rows.is_empty()).then(|| Table {
            title: title("Kernels", rows.len(), top),
            header: words("op|kernel, why, and what it was taken from"),
            rows: rows.into_iter().take(top).collect(),
        })
    }

    fn memory_table(&self, top: usize) -> Table {
        let memory = &self.profile.memory;
        let row = |m: &degrain::profile::TensorMemory| {
            vec![format!("{:.3}", m.bytes as f64 / 1e6), m.tensor.clone(), m.place.clone(), m.name.clone()]
        };
        Table {
            title: title("Memory", memory.len(), top),
            header: words("MB|tensor|place|name"),
            rows: memory.iter().take(top).map(row).collect(),
        }
    }

    fn page(&self) -> Result<Page> {
        let picture = |caption: &str, image| -> Result<Block> {
            Ok(Block::Figure(Figure { caption: caption.to_owned(), png: encode_png(&image)?, narrow: None }))
        };
        let command = format!(
            "degrain profile {} --batch {} --mode {}",
            self.preset,
            self.batch,
            if self.mode == Mode::Train { "train" } else { "encode" }
        );
        let facts = self.summary().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut blocks = vec![
            Block::Facts(facts),
            Block::Command(command),
            picture("The step over time", roofline::step_bar(&self.profile)?)?,
            picture("Roofline: the area of a dot is the launch's share", roofline::roofline(&self.profile)?)?,
        ];
        blocks.extend(self.tables(usize::MAX).into_iter().map(Block::Table));
        Ok(Page { title: self.title(), blocks })
    }
}

fn compared_table(rows: &[ComparedLaunch], top: usize) -> Table {
    let us = |time: Option<f64>| time.map_or("-".to_owned(), |us| format!("{us:.1}"));
    let row = |c: &ComparedLaunch| {
        let ratio = c.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        vec![us(c.old_us), us(c.new_us), ratio, c.change.name().to_owned(), c.name.clone()]
    };
    Table {
        title: title("Since then", rows.len(), top),
        header: words("us then|us now|now / then||launch"),
        rows: rows.iter().take(top).map(row).collect(),
    }
}

fn title(name: &str, rows: usize, top: usize) -> String {
    if rows > top { format!("{name} ({top} of {rows}, --top shows more)") } else { name.to_owned() }
}

fn words(titles: &str) -> Vec<String> {
    titles.split('|').map(str::to_owned).collect()
}

/// Numbers to the right, words to the left, as wide as the widest cell.
fn aligned(table: &Table) -> String {
    let columns = table.header.len();
    let all = || std::iter::once(&table.header).chain(&table.rows);
    let width = |c: usize| all().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let number = |c: usize| !table.rows.is_empty() && table.rows.iter().all(|row| row[c].parse::<f64>().is_ok());
    let mut text = format!("\n{}\n", table.title);
    for row in all() {
        let cells = (0..columns).map(|c| match (width(c), number(c)) {
            (width, true) => format!("{:>width$}", row[c]),
            (width, false) => format!("{:width$}", row[c]),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
