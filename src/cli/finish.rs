//! What follows training: the metrics of the best weights, the PCA beside them, sheets, the report and the summary.

use super::console::Console;
use super::pretraining::Pretraining;
use super::run::read_weights;
use super::tensorboard::{self, TensorBoard};
use super::{pca, pictures, sheets};
use degrain::data::{Dataset, Split};
use degrain::kernel::{Precision, Products};
use degrain::model::{Noise, Preset};
use degrain::report::Metrics;
use degrain::session::Session;
use degrain::train::run_dir::{REPORT, SUMMARY};
use degrain::train::{Ending, Inference, Outcome, RunDir};
use degrain::{Error, Result};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::thread;

/// A training that has ended.
pub(super) struct Finish<'a> {
    pub(super) preset: &'a Preset,
    pub(super) data: &'a Dataset,
    pub(super) split: &'a Split,
    pub(super) outcome: &'a Outcome,
    /// From the start of the process; none where no step was made.
    pub(super) seconds_to_first_step: Option<f64>,
    /// Whether to compute the exact PCA.
    pub(super) pca: bool,
}

/// `summary.json`, and what `train --json` prints.
#[derive(Serialize)]
pub(super) struct RunSummary {
    run: String,
    preset: String,
    device: String,
    /// What was asked for: `f32` or `f16`.
    precision: Precision,
    /// What products were computed of in the end.
    products: String,
    /// `finished`, `early_stopped` or `interrupted`.
    ending: &'static str,
    pub(super) epochs: u64,
    pub(super) steps: u64,
    best_epoch: Option<u64>,
    /// What layer-wise pre-training did ahead of these epochs and steps, where the preset asks for it.
    pub(super) pretraining: Option<Pretraining>,
    pub(super) train_loss: Option<f64>,
    pub(super) val_loss: Option<f64>,
    /// Of the best weights on the held-out pictures, with the preset's noise on the inputs.
    pub(super) test: Option<Metrics>,
    noise: String,
    code: usize,
    pub(super) pca_mse: Option<f64>,
    pub(super) images_per_second: f64,
    seconds_to_first_step: Option<f64>,
    peak_device_bytes: u64,
    /// Whether the pictures streamed to the device, as they did not fit there.
    streamed: bool,
    train_pictures: usize,
    held_out_pictures: usize,
    skipped_pictures: usize,
    /// The sheet to look at first.
    sheet: Option<String>,
    pub(super) command: String,
}

/// What a run was computed on.
struct Ran {
    device: String,
    products: Products,
}

impl Ran {
    fn on(session: &Session) -> Self {
        Self { device: session.device().to_owned(), products: session.products() }
    }
}

impl Finish<'_> {
    /// The summary of a run that goes on later.
    ///
    /// # Errors
    /// A log of pre-training that cannot be read.
    pub(super) fn interrupted(&self, session: &Session, run: &RunDir) -> Result<RunSummary> {
        self.summary(&Ran::on(session), run, None, None)
    }

    fn summary(&self, ran: &Ran, run: &RunDir, test: Option<Metrics>, pca_mse: Option<f64>) -> Result<RunSummary> {
        Ok(RunSummary {
            run: run.path().display().to_string(),
            preset: self.preset.name.clone(),
            device: ran.device.clone(),
            precision: self.preset.train.precision,
            products: ran.products.to_string(),
            ending: match self.outcome.ending {
                Ending::Finished => "finished",
                Ending::EarlyStopped => "early_stopped",
                Ending::Interrupted => "interrupted",
            },
            epochs: self.outcome.epochs,
            steps: self.outcome.steps,
            best_epoch: self.outcome.best_epoch,
            pretraining: Pretraining::read(self.preset, run.path())?,
            train_loss: self.outcome.train_loss,
            val_loss: self.outcome.val_loss,
            test,
            noise: self.preset.train.inference_noise().to_string(),
            code: self.preset.model.code,
            pca_mse,
            images_per_second: self.outcome.images_per_second,
            seconds_to_first_step: self.seconds_to_first_step,
            peak_device_bytes: self.outcome.peak_device_bytes,
            streamed: self.outcome.streamed,
            train_pictures: self.split.train.len(),
            held_out_pictures: self.split.held_out.len(),
            skipped_pictures: self.data.skipped.len(),
            sheet: None,
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "),
        })
    }
}

/// Evaluates the best weights and writes everything that a run's folder holds beside the checkpoints.
///
/// # Errors
/// A device or file that fails; the checkpoints are then complete all the same.
pub(super) fn finish(
    finish: &Finish<'_>,
    session: Session,
    run: &RunDir,
    tensorboard: &mut Option<TensorBoard>,
    console: &Console,
) -> Result<RunSummary> {
    let Finish { preset, data, split, .. } = *finish;
    let ran = Ran::on(&session);
    let (weights, _) = read_weights(run.path(), None)?;
    let mut inference = Inference::new(session, preset, weights, preset.train.batch)?;
    // The PCA is the processor's work, while a GPU evaluates.
    let (pca_mse, test, sheets) = thread::scope(|scope| {
        let pca = scope.spawn(|| if finish.pca { pca::baseline(data, split, preset) } else { Ok(None) });
        let test = evaluate(&mut inference, preset, data, &split.held_out, preset.train.inference_noise(), console);
        let sheets = test.is_ok().then(|| sheets::draw(&mut inference, finish, run));
        (pca.join(), test, sheets)
    });
    let pca_mse = pca_mse.unwrap_or_else(|_| Err(Error::setting("pca", "failed")));
    // The baseline is no reason to lose the rest.
    let pca_mse = pca_mse.unwrap_or_else(|error| {
        console.warn(format_args!("no PCA beside the network: {error}"));
        None
    });
    let mut summary = finish.summary(&ran, run, test?, pca_mse)?;
    let sheets = sheets.transpose()?.unwrap_or_default();
    summary.sheet = sheets.first().map(|sheet| run.file(sheet.name).display().to_string());
    if let Some(error) = tensorboard::put(tensorboard, |log| log.end(&summary, &sheets)) {
        tensorboard::tell_given_up(&error, console);
    }
    sheets::write_report(&summary, finish, sheets, run)?;
    run.write_json(SUMMARY, &summary)?;
    Ok(summary)
}

/// Metrics on `rows`, with the noise that depends on the preset's seed and the row alone; none where there are no rows.
pub(super) fn evaluate(
    inference: &mut Inference,
    preset: &Preset,
    data: &Dataset,
    rows: &[u32],
    noise: Noise,
    console: &Console,
) -> Result<Option<Metrics>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let bar = console.bar(rows.len() as u64, "evaluating [{bar:30}] {pos}/{len} pictures  ETA {eta}");
    let mut meter = pictures::meter(preset)?;
    let mut problem = None;
    inference.evaluate(data, rows, noise, preset.train.seed, &mut |seen| {
        let noisy = (noise != Noise::None).then_some(seen.noisy);
        problem = problem.take().or(meter.add(seen.clean, seen.restored, noisy).err());
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    problem.map_or(Ok(meter.metrics()), Err)
}

impl RunSummary {
    /// Name and value of what the report shows.
    pub(super) fn lines(&self) -> Vec<(String, String)> {
        let test = self.test.as_ref();
        let noisy = test.and_then(|test| test.noisy_mse);
        let decibels = test.and_then(|test| test.psnr).map(|psnr| format!("{psnr:.2} dB"));
        let all = [
            ("device", Some(self.device.clone())),
            ("precision", self.precision_text()),
            ("training", Some(format!("{}, {} epochs, {} steps", self.ending(), self.epochs, self.steps))),
            ("pre-training", self.pretraining.as_ref().map(Pretraining::text)),
            ("pictures", Some(format!("{} trained, {} held out", self.train_pictures, self.held_out_pictures))),
            ("noise", Some(self.noise.clone())),
            ("train loss", self.train_loss.map(|loss| format!("{loss:.6}"))),
            ("validation loss", self.val_loss.map(|loss| format!("{loss:.6}"))),
            ("best epoch", self.best_epoch.map(|epoch| epoch.to_string())),
            ("test MSE", test.map(|test| format!("{:.6}", test.mse))),
            ("noisy MSE", noisy.map(|mse| format!("{mse:.6} (the inputs as they are)"))),
            ("PSNR", decibels),
            ("SSIM", test.and_then(|test| test.ssim).map(|ssim| format!("{ssim:.4}"))),
            ("exact PCA", self.pca_mse.map(|mse| self.pca_text(mse))),
            ("speed", Some(format!("{:.0} images/s", self.images_per_second))),
            ("first step", self.seconds_to_first_step.map(|seconds| format!("after {seconds:.2} s"))),
            ("device memory", Some(format!("{:.1} MiB", self.peak_device_bytes as f64 / f64::from(1 << 20)))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn ending(&self) -> String {
        self.ending.replace('_', " ")
    }

    /// What was asked for and what it became; none where that is `f32` as ever.
    fn precision_text(&self) -> Option<String> {
        (self.precision != Precision::F32).then(|| format!("{} asked for, {} used", self.precision, self.products))
    }

    fn pca_text(&self, mse: f64) -> String {
        let of = if self.noise == "none" { "" } else { ", of the clean pictures" };
        format!("{mse:.6} (code of {}{of})", self.code)
    }
}

/// What `train` prints for people.
impl fmt::Display for RunSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { preset, epochs, steps, device, .. } = self;
        writeln!(f, "{preset} {}: {epochs} epochs, {steps} steps on {device}", self.ending())?;
        if let Some(pretraining) = &self.pretraining {
            writeln!(f, "pre-trained {}", pretraining.text())?;
        }
        if let Some(precision) = self.precision_text() {
            writeln!(f, "precision   {precision}")?;
        }
        if let Some(test) = &self.test {
            write_metrics(f, test)?;
        }
        if let Some(mse) = self.pca_mse {
            writeln!(f, "exact PCA   {}", self.pca_text(mse))?;
        }
        if self.images_per_second > 0.0 {
            writeln!(f, "speed       {:.0} images/s", self.images_per_second)?;
        }
        write!(f, "run         {}", self.run)?;
        if let Some(sheet) = &self.sheet {
            let report = Path::new(&self.run).join(REPORT);
            write!(f, "\nsheet       {sheet}\nreport      {}", report.display())?;
        }
        Ok(())
    }
}

/// The lines of `train` and `eval`.
pub(super) fn write_metrics(f: &mut impl fmt::Write, metrics: &Metrics) -> fmt::Result {
    writeln!(f, "test MSE    {:.6} ({} pictures)", metrics.mse, metrics.count)?;
    if let Some(noisy) = metrics.noisy_mse {
        writeln!(f, "noisy MSE   {noisy:.6} (the inputs as they are)")?;
    }
    if let Some(psnr) = metrics.psnr {
        writeln!(f, "PSNR        {psnr:.2} dB")?;
    }
    if let Some(ssim) = metrics.ssim {
        writeln!(f, "SSIM        {ssim:.4}")?;
    }
    Ok(())
}
