//! `degrain sweep`: the held-out error against the code size, of autoencoders and of exact PCA.

use super::console::{Console, count};
use super::interrupt::Guard;
use super::job::Job;
use super::run::read_config;
use super::train::{self, Task};
use super::{Ending, device, pictures, train_flags};
use clap::Args;
use degrain::atomic_file::write_bytes;
use degrain::data::{Dataset, Split};
use degrain::latent::pca_errors;
use degrain::model::{Noise, Preset};
use degrain::report::{RunSummary, Sweep, SweepPoint};
use degrain::train::RunDir;
use degrain::train::run_dir::CONFIG;
use degrain::{Error, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of the files.
const CSV: &str = "sweep.csv";
const PLOT: &str = "sweep.png";

/// Flags of `degrain sweep`.
#[derive(Args)]
pub(super) struct Flags {
    /// A preset's name or a preset file
    #[arg(value_name = "PRESET|FILE.toml")]
    preset: String,
    /// Folder, archive, picture, .npy, .npz, IDX or bundled:emoji|quickdraw; may be repeated
    #[arg(long, value_name = "D")]
    data: Vec<String>,
    /// Sizes of the code
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [2, 4, 8, 16, 32])]
    codes: Vec<usize>,
    /// Folder for sweep.png, sweep.csv and a run for each size; what is done there is not done again
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Passes over the training pictures, for each size
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// End each run after N steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Pictures per step
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Learning rate
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Noise on the inputs: none, gaussian:SIGMA, mask:SHARE, salt-pepper:SHARE or rect:PIXELS
    #[arg(long)]
    noise: Option<Noise>,
    /// Use only the first N pictures
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Fraction of the pictures that is held out
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    val: Option<f64>,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Change any setting of the preset, such as train.patience=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl Flags {
    /// The sizes, each once, by rising size.
    fn codes(&self) -> Vec<usize> {
        let mut codes = self.codes.clone();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    /// What `train` would be given for this size.
    fn training(&self, code: usize) -> train_flags::Flags {
        train_flags::Flags {
            preset: Some(self.preset.clone()),
            data: self.data.clone(),
            epochs: self.epochs,
            steps: self.steps,
            batch: self.batch,
            lr: self.lr,
            noise: self.noise,
            limit: self.limit,
            val: self.val,
            seed: self.seed,
            code: Some(code),
            // Of all sizes together it is computed once.
            no_pca: true,
            settings: self.settings.clone(),
            ..train_flags::Flags::default()
        }
    }

    fn preset(&self, code: usize) -> Result<Preset> {
        self.training(code).preset().map_err(|error| match error {
            Error::Setting { name, problem } if name == "--code" => Error::setting("--codes", problem),
            // A layer that does not fit this size; a flag is as wrong for every other.
            Error::Setting { name, problem } if name.contains("coder.") => {
                Error::setting(name, format!("with a code of {code}: {problem}"))
            }
            other => other,
        })
    }
}

/// The run of one size.
struct Entry {
    preset: Preset,
    folder: PathBuf,
    /// Of a run that is done.
    summary: Option<RunSummary>,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<Ending> {
    let mut entries: Vec<Entry> = flags.codes().into_iter().map(|code| entry(flags, code)).collect::<Result<_>>()?;
    let Some(first) = entries.first() else { return Err(Error::setting("--codes", "names no size")) };
    let data = pictures::load(&first.preset.data.source, &first.preset, console)?;
    let split = pictures::split(&data, &first.preset, console)?;
    if split.held_out.is_empty() {
        return Err(Error::setting("--val", "a sweep compares errors on held-out pictures: hold some out"));
    }
    fs::create_dir_all(&flags.output).map_err(Error::io(&flags.output, "create the folder"))?;
    let guard = Guard::new()?;
    let pca = pca(&entries, &data, &split, console);
    let title = first.preset.name.clone();
    let outputs = Outputs { folder: &flags.output, title, pca };
    outputs.write(&entries)?;
    for index in 0..entries.len() {
        let Some(entry) = entries.get_mut(index) else { break };
        let code = entry.preset.model.code;
        if entry.summary.is_some() {
            console.note(format_args!("code of {code}: done before"));
            continue;
        }
        if guard.requested() {
            return outputs.tell(&entries, Ending::Interrupted, console);
        }
        console.note(format_args!("code of {code}"));
        let work = Work { data: &data, split: &split, device, console: &console.restarted(), guard: &guard };
        let ending = work.train(entry, &flags.training(code))?;
        outputs.write(&entries)?;
        if ending == Ending::Interrupted {
            return outputs.tell(&entries, ending, console);
        }
    }
    outputs.tell(&entries, Ending::Done, console)
}

/// The run of this size as it stands.
fn entry(flags: &Flags, code: usize) -> Result<Entry> {
    let preset = flags.preset(code)?;
    let folder = flags.output.join(format!("code-{code}"));
    if !folder.join(CONFIG).is_file() {
        return Ok(Entry { preset, folder, summary: None });
    }
    if read_config(&folder)? != preset {
        let problem = "is a run with other settings: choose another folder with -o, or remove this one";
        return Err(Error::file(&folder, problem));
    }
    let summary = RunSummary::read(&folder)?;
    Ok(Entry { preset, folder, summary })
}

/// The errors of exact PCA; none, with a warning, where it cannot be had: the autoencoders' are worth having all the same.
fn pca(entries: &[Entry], data: &Dataset, split: &Split, console: &Console) -> Vec<Option<f64>> {
    let codes: Vec<usize> = entries.iter().map(|entry| entry.preset.model.code).collect();
    let errors = entries.first().map_or(Ok(Vec::new()), |entry| pca_errors(&entry.preset, data, split, &codes));
    errors.map_or_else(
        |error| {
            console.warn(format_args!("no PCA beside the networks: {error}"));
            vec![None; codes.len()]
        },
        |errors| errors.into_iter().map(Some).collect(),
    )
}

/// What the training of every size shares.
struct Work<'a> {
    data: &'a Dataset,
    split: &'a Split,
    device: &'a str,
    console: &'a Console,
    guard: &'a Guard,
}

impl Work<'_> {
    /// Trains the run of one size from where it stands.
    fn train(&self, entry: &mut Entry, flags: &train_flags::Flags) -> Result<Ending> {
        let Self { data, split, device, console, guard } = *self;
        let session = device::open_in(entry.preset.train.precision, device, console)?;
        let run = if entry.folder.join(CONFIG).is_file() {
            RunDir::open(&entry.folder)?
        } else {
            RunDir::create(&entry.folder)?
        };
        let command = train::repeating(&entry.folder, device);
        let job = &Job::alone();
        let task = Task { preset: &entry.preset, data, split, flags, job, console, guard, command };
        let (ending, summary) = task.complete(session, run)?;
        if ending == Ending::Done {
            entry.summary = Some(summary);
        }
        Ok(ending)
    }
}

/// The files of the sweep.
struct Outputs<'a> {
    folder: &'a Path,
    title: String,
    pca: Vec<Option<f64>>,
}

/// What `sweep --json` prints.
#[derive(Serialize)]
struct Swept<'a> {
    preset: &'a str,
    points: Vec<SweepPoint>,
    runs: Vec<String>,
    interrupted: bool,
    csv: String,
    plot: String,
}

impl Outputs<'_> {
    fn sweep(&self, entries: &[Entry]) -> Sweep {
        let point = |(entry, &pca_mse): (&Entry, &Option<f64>)| {
            let test = entry.summary.as_ref().and_then(|summary| summary.test);
            SweepPoint { code: entry.preset.model.code, mse: test.map(|test| test.mse), pca_mse }
        };
        Sweep { points: entries.iter().zip(&self.pca).map(point).collect() }
    }

    /// Writes table and plot of what is known so far.
    fn write(&self, entries: &[Entry]) -> Result<()> {
        let sweep = self.sweep(entries);
        write_bytes(&self.folder.join(CSV), sweep.csv().as_bytes())?;
        sweep.plot(&self.title).write_png(self.folder.join(PLOT))
    }

    fn tell(&self, entries: &[Entry], ending: Ending, console: &Console) -> Result<Ending> {
        let points = self.sweep(entries).points;
        let (csv, plot) = (self.folder.join(CSV).display().to_string(), self.folder.join(PLOT).display().to_string());
        let mut text =
            format!("{}: held-out MSE by size of the code\n{:>6}  autoencoder  exact PCA\n", self.title, "code");
        for SweepPoint { code, mse, pca_mse } in &points {
            let cell = |value: &Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.6}"));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{code:>6}  {:>11}  {:>9}", cell(mse), cell(pca_mse));
        }
        let _ = write!(text, "table   {csv}\nplot    {plot}");
        let runs = entries.iter().map(|entry| entry.folder.display().to_string()).collect();
        let interrupted = ending == Ending::Interrupted;
        console.result(&Swept { preset: &self.title, points, runs, interrupted, csv, plot }, text)?;
        if interrupted {
            let left = entries.iter().filter(|entry| entry.summary.is_none()).count();
            console.note(format_args!("{} left: go on with the same command", count(left, "size")));
        }
        Ok(ending)
    }
}
