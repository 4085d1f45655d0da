//! What follows training: the metrics of the best weights, the PCA beside them, sheets, the report and the summary.

use super::console::Console;
use super::run::read_weights;
use super::tensorboard::{self, TensorBoard};
use super::{pca, pictures, sheets};
use degrain::data::{Dataset, Split};
use degrain::kernel::Products;
use degrain::model::{Noise, Preset};
use degrain::report::{Metrics, Pretraining, RunRecord, RunSummary};
use degrain::session::Session;
use degrain::train::run_dir::SUMMARY;
use degrain::train::{Ending, Inference, Outcome, RunDir};
use degrain::{Error, Result};
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
    /// The command line that repeats the run.
    pub(super) command: String,
}

/// What a run was computed on.
struct Ran {
    device: String,
    ranks: usize,
    products: Products,
}

impl Ran {
    fn on(session: &Session) -> Self {
        Self { device: session.device().to_owned(), ranks: session.ranks().count(), products: session.products() }
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
            ranks: ran.ranks,
            precision: self.preset.train.precision,
            products: ran.products.to_string(),
            ending: match self.outcome.ending {
                Ending::Finished => "finished",
                Ending::EarlyStopped => "early_stopped",
                Ending::Interrupted => "interrupted",
            }
            .to_owned(),
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
            command: self.command.clone(),
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
    let record = RunRecord::with_summary(run.path(), Some(summary))?;
    sheets::write_report(&record)?;
    // The mark of a run that is done comes last.
    run.write_json(SUMMARY, &record.summary)?;
    Ok(record.summary.unwrap_or_default())
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
