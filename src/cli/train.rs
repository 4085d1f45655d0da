//! `degrain train`: puts together preset, pictures, device, run folder and trainer.

use super::Ending;
use super::console::Console;
use super::finish::{self, Finish};
use super::interrupt::Guard;
use super::job::Job;
use super::progress::Progress;
use super::run::read_config;
use super::tensorboard::TensorBoard;
use super::train_flags::Flags;
use super::{device, pictures, words};
use degrain::atomic_file::write_bytes;
use degrain::data::{Dataset, Split};
use degrain::model::Preset;
use degrain::report::RunSummary;
use degrain::report::tensorboard::has_event_files;
use degrain::session::Session;
use degrain::train::run_dir::{CONFIG, LAST, STATE, STEPS, SUMMARY};
use degrain::train::{self, Outcome, Pretrained, RunDir, TrainOptions, Trainer, Weights};
use degrain::{Error, Result};
use std::fs;
use std::path::Path;
use std::thread;

/// Where runs go that the user gives no folder.
const RUNS: &str = "runs";
/// Steps between two reports of the loss.
const LOG_EVERY: u64 = 20;
/// Largest JSON file of a run that is read back, in bytes.
const MAX_SUMMARY_BYTES: u64 = 1 << 24;

pub(super) fn run(flags: &Flags, device: &str, job: &Job, console: &Console) -> Result<Ending> {
    match &flags.resume {
        Some(run) => resume(run, flags, device, job, console),
        None => start(flags, device, job, console),
    }
}

fn start(flags: &Flags, device: &str, job: &Job, console: &Console) -> Result<Ending> {
    let preset = job.preset(flags.preset())?;
    let mut session = job.open(preset.train.precision, device, console)?;
    session.set_fuse(!flags.no_fuse);
    let (data, split) = job.pictures(pictures_while_compiling(&preset, &mut session, console))?;
    let run = job.new_run(|| match &flags.out {
        Some(folder) => RunDir::create(folder),
        None => RunDir::create_numbered(Path::new(RUNS), &preset.name),
    })?;
    let (guard, command) = (job.guard(run.path())?, job.command(words::own()));
    let task = Task { preset: &preset, data: &data, split: &split, flags, job, console, guard: &guard, command };
    task.told(job.together(task.complete(session, run), console)?)
}

fn resume(path: &Path, flags: &Flags, device: &str, job: &Job, console: &Console) -> Result<Ending> {
    let path = &job.earlier_run(path)?;
    let preset = flags.resumed(read_config(path)?)?;
    let run = job.ranks().agree(RunDir::open(path))?;
    if let Some(refused) = run.refused() {
        console.warn(format_args!("{refused}: going on from the checkpoint before it"));
    }
    if !flags.moves_the_end() && run.file(SUMMARY).is_file() {
        return tell_finished(&run, console);
    }
    check_trained_here(&run)?;
    let mut session = job.open(preset.train.precision, device, console)?;
    session.set_fuse(!flags.no_fuse);
    let (data, split) = job.pictures(pictures_while_compiling(&preset, &mut session, console))?;
    tell(&run, session.device(), console);
    let (config, summary) = (run.file(CONFIG), run.file(SUMMARY));
    let (guard, command) = (job.guard(path)?, job.command(repeating(path, device)));
    let task = Task { preset: &preset, data: &data, split: &split, flags, job, console, guard: &guard, command };
    let begun = match job.together(task.pretrained(session, &run), console)? {
        Pretraining::Done(begun) => *begun,
        Pretraining::Interrupted(summary) => return task.told((Ending::Interrupted, *summary)),
    };
    let Begun { session, options, seconds_to_first_step } = begun;
    let trainer = job.together(Trainer::resume(&preset, &data, &split, session, run, &options), console)?;
    if trainer.is_finished() && summary.is_file() {
        return tell_finished(&trainer.into_parts().1, console);
    }
    if flags.moves_the_end() && !trainer.is_finished() {
        write_bytes(&config, preset.to_toml()?.as_bytes())?;
        // It tells of an end that is none any more.
        if summary.is_file() {
            fs::remove_file(&summary).map_err(Error::io(&summary, "remove"))?;
        }
    }
    task.told(job.together(task.train(trainer, seconds_to_first_step), console)?)
}

/// The command line that repeats a run whose own was not given at once: its settings are in its folder.
pub(super) fn repeating(run: &Path, device: &str) -> String {
    let config = run.join(CONFIG).display().to_string();
    let train = ["degrain", "train", config.as_str()];
    let on = ["--device", device];
    words::line(&[&train[..], if device::is_auto(device) { &[] } else { &on }].concat())
}

/// Going on with weights that were imported would begin anew and replace them.
fn check_trained_here(run: &RunDir) -> Result<()> {
    let has = |name: &str| run.file(name).is_file();
    if !has(LAST) || has(STATE) || has(STEPS) {
        return Ok(());
    }
    let problem = format!(
        "its weights were imported, with no state to go on from: train a new run with --init {}",
        run.file(LAST).display()
    );
    Err(Error::file(run.path(), problem))
}

/// The pictures. While they are read, another thread compiles the kernels of the preset's step.
fn pictures_while_compiling(preset: &Preset, session: &mut Session, console: &Console) -> Result<(Dataset, Split)> {
    if session.target().is_none() {
        return pictures(preset, console);
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let graph = train::step_graph(preset, preset.train.batch, session.target());
            // What does not compile is told when the step is recorded.
            drop(graph.and_then(|graph| session.prepare(&graph)));
        });
        pictures(preset, console)
    })
}

fn pictures(preset: &Preset, console: &Console) -> Result<(Dataset, Split)> {
    let data = pictures::load(&preset.data.source, preset, console)?;
    let split = pictures::split(&data, preset, console)?;
    console.note(format_args!("{} to train on, {} held out", split.train.len(), split.held_out.len()));
    Ok((data, split))
}

fn tell(run: &RunDir, device: &str, console: &Console) {
    console.note(format_args!("training in {} on {device}", run.path().display()));
}

/// Everything that a training run is put together from.
pub(super) struct Task<'a> {
    pub(super) preset: &'a Preset,
    pub(super) data: &'a Dataset,
    pub(super) split: &'a Split,
    pub(super) flags: &'a Flags,
    pub(super) job: &'a Job,
    pub(super) console: &'a Console,
    pub(super) guard: &'a Guard,
    /// The command line that repeats the run.
    pub(super) command: String,
}

/// How pre-training ended.
enum Pretraining {
    Done(Box<Begun>),
    /// The user stopped it.
    Interrupted(Box<RunSummary>),
}

/// What the trainer of a run is made of, after its pre-training.
struct Begun {
    session: Session,
    options: TrainOptions,
    seconds_to_first_step: Option<f64>,
}

impl Task<'_> {
    /// Trains in a folder that is new or holds a part of this run, from there to the end or until the user stops it.
    ///
    /// # Errors
    /// A device or file that fails, or training that cannot go on; what was saved stays.
    pub(super) fn complete(&self, session: Session, run: RunDir) -> Result<(Ending, RunSummary)> {
        tell(&run, session.device(), self.console);
        let begun = match self.pretrained(session, &run)? {
            Pretraining::Done(begun) => *begun,
            Pretraining::Interrupted(summary) => return Ok((Ending::Interrupted, *summary)),
        };
        let Begun { session, options, seconds_to_first_step } = begun;
        let trainer = Trainer::resume(self.preset, self.data, self.split, session, run, &options)?;
        self.train(trainer, seconds_to_first_step)
    }

    /// Does or finishes the pre-training that the preset asks for and that the run has not left behind.
    fn pretrained(&self, session: Session, run: &RunDir) -> Result<Pretraining> {
        let Self { preset, data, split, flags, console, guard, .. } = *self;
        let init = flags.init.as_deref().map(Weights::read).transpose()?;
        let mut options =
            TrainOptions { init, log_every: flags.log_every.unwrap_or(LOG_EVERY), device_memory: flags.device_memory };
        if preset.train.pretrain_epochs == 0 || run.file(STATE).is_file() {
            return Ok(Pretraining::Done(Box::new(Begun { session, options, seconds_to_first_step: None })));
        }
        let mut nowhere = None;
        let mut progress = Progress::new(console, guard, flags.log_every.is_some(), &mut nowhere);
        let done = train::pretrain(preset, data, split, session, run, &options, &mut progress);
        progress.end();
        let (Pretrained { session, weights }, seconds_to_first_step) = (done?, progress.seconds_to_first_step);
        if weights.is_none() {
            let outcome = stopped_before_its_first_step(&session);
            let summary = self.finish(&outcome, seconds_to_first_step).interrupted(&session, run)?;
            return Ok(Pretraining::Interrupted(Box::new(summary)));
        }
        console.note("fine-tuning all layers");
        options.init = weights;
        Ok(Pretraining::Done(Box::new(Begun { session, options, seconds_to_first_step })))
    }

    fn train(&self, mut trainer: Trainer, seconds_to_first_step: Option<f64>) -> Result<(Ending, RunSummary)> {
        let Self { preset, flags, console, guard, .. } = *self;
        if trainer.is_finished() {
            console.note("this run is finished");
        } else if trainer.streams() {
            console.note("the pictures do not fit on the device beside the step: they stream to it");
        }
        let wanted = self.job.speaks() && (flags.tensorboard || has_event_files(trainer.folder()));
        let mut tensorboard =
            if wanted { TensorBoard::begin(trainer.folder(), preset.to_toml()?, console) } else { None };
        let mut progress = Progress::new(console, guard, flags.log_every.is_some(), &mut tensorboard);
        let outcome = trainer.run(&mut progress);
        progress.end();
        let (outcome, seconds_to_first_step) = (outcome?, seconds_to_first_step.or(progress.seconds_to_first_step));
        let (session, run) = trainer.into_parts();
        let finish = self.finish(&outcome, seconds_to_first_step);
        match outcome.ending {
            // The rest is done once.
            ending if !self.job.speaks() => {
                let interrupted = ending == train::Ending::Interrupted;
                let ending = if interrupted { Ending::Interrupted } else { Ending::Done };
                Ok((ending, finish.interrupted(&session, &run)?))
            }
            train::Ending::Interrupted => Ok((Ending::Interrupted, finish.interrupted(&session, &run)?)),
            train::Ending::Finished | train::Ending::EarlyStopped => {
                let summary = finish::finish(&finish, session, &run, &mut tensorboard, console)?;
                Ok((Ending::Done, summary))
            }
        }
    }

    /// Prints how a run ended.
    fn told(&self, (ending, summary): (Ending, RunSummary)) -> Result<Ending> {
        self.console.result(&summary, &summary)?;
        if ending == Ending::Interrupted {
            let words = words::line(&["degrain", "train", "--resume", &summary.run]);
            self.console.note(format_args!("go on with: {words}"));
        }
        Ok(ending)
    }

    fn finish<'a>(&'a self, outcome: &'a Outcome, seconds_to_first_step: Option<f64>) -> Finish<'a> {
        let Self { preset, data, split, flags, .. } = *self;
        let command = self.command.clone();
        Finish { preset, data, split, outcome, seconds_to_first_step, pca: !flags.no_pca, command }
    }
}

/// The outcome of a run that was stopped in its pre-training.
fn stopped_before_its_first_step(session: &Session) -> Outcome {
    Outcome {
        ending: train::Ending::Interrupted,
        epochs: 0,
        steps: 0,
        train_loss: None,
        val_loss: None,
        best_epoch: None,
        images_per_second: 0.0,
        seconds_to_first_step: None,
        peak_device_bytes: session.allocated_bytes() as u64,
        streamed: false,
    }
}

/// A finished run has its summary, which is all that there is to say.
fn tell_finished(run: &RunDir, console: &Console) -> Result<Ending> {
    let path = run.file(SUMMARY);
    if fs::metadata(&path).map_err(Error::io(&path, "read"))?.len() > MAX_SUMMARY_BYTES {
        return Err(Error::file(&path, "is too large for the summary of a run"));
    }
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
    let damaged = |error: serde_json::Error| Error::file(&path, format!("is damaged ({error}): remove it"));
    let summary: serde_json::Value = serde_json::from_str(&text).map_err(damaged)?;
    let steps = summary.get("steps").map(|steps| format!(" after {steps} steps")).unwrap_or_default();
    console.result(&summary, format_args!("{} is finished{steps}", run.path().display()))?;
    Ok(Ending::Done)
}
