//! The training loop: epochs of recorded steps, validation, early stopping, checkpoints.

mod diagnosis;

use super::batches::Batches;
use super::checkpoint::Weights;
use super::events::{Ending, Event, Observer, Outcome, TrainOptions};
use super::objective::{PartMeans, PartSums};
use super::placement::Placement;
use super::program::{HISTORY, Phase, Recipe, names};
use super::rate;
use super::room::Room;
use super::row_log::{EpochRow, RowLog, StepRow};
use super::run_dir::{self, RunDir};
use super::source::{self, Source};
use super::state::{self, Progress};
use super::steps::{Next, Steps};
use super::validation::validate;
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::model::{Architecture, Preset};
use crate::op::Tick;
use crate::session::Session;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use rand::seq::SliceRandom;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often progress is told and losses are read, unless that would be more than every `log_every` steps.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// A run on a device.
pub struct Trainer {
    preset: Preset,
    architecture: Architecture,
    session: Session,
    run: RunDir,
    split: Split,
    source: Box<dyn Source>,
    training: Steps,
    validation: Option<Steps>,
    progress: Progress,
    steps_csv: RowLog<StepRow>,
    metrics_csv: RowLog<EpochRow>,
    log_every: u64,
    made: Instant,
    seconds_to_first_step: Option<f64>,
    /// Pictures and time in this session, first step left out.
    counted: (u64, Duration),
    /// Time spent in the epoch under way, in this session.
    epoch_time: Duration,
}

impl Trainer {
    /// A new run: draws or reads the first weights, records the steps and uploads the data.
    ///
    /// # Errors
    /// If something does not fit: the data the network, the network the device, the weights the network; or if the
    /// run folder cannot be written.
    pub fn start(
        preset: &Preset,
        data: &Dataset,
        split: &Split,
        session: Session,
        run: RunDir,
        options: &TrainOptions,
    ) -> Result<Self> {
        let mut trainer = Self::new(preset, data, split, session, run, options, Progress::start())?;
        trainer.run.write_text(run_dir::CONFIG, &preset.to_toml()?)?;
        let mut given = options.init.clone();
        for p in trainer.architecture.saved() {
            let values = match &mut given {
                Some(weights) => weights.take_f32(&p.name, &p.shape)?,
                None => preset.model.init.draw(preset.train.seed, p),
            };
            trainer.session.write(&p.name, &values)?;
        }
        given.map_or(Ok(()), Weights::finish)?;
        // The first weights are saved too: a run that is killed at once resumes from the same ones.
        state::start_optimizer(&mut trainer.session, &preset.train, &trainer.architecture)?;
        let state = trainer.carried()?;
        trainer.save_state(state)?;
        Ok(trainer)
    }

    /// Goes on with a run from its last saved state; from the beginning where nothing was saved.
    ///
    /// # Errors
    /// As [`Trainer::start`], and if the state is damaged or belongs to other data.
    pub fn resume(
        preset: &Preset,
        data: &Dataset,
        split: &Split,
        session: Session,
        run: RunDir,
        options: &TrainOptions,
    ) -> Result<Self> {
        let state = run.file(run_dir::STATE);
        if !state.exists() {
            return Self::start(preset, data, split, session, run, options);
        }
        let progress = Progress::read(&state)?;
        let mut trainer = Self::new(preset, data, split, session, run, options, progress)?;
        let rows = trainer.rows();
        state::load(&mut trainer.session, &preset.train, &trainer.architecture, &state, rows)?;
        // Other ranks than now may have stopped within a batch of today's.
        trainer.progress.go_back_to(trainer.training.batches.begin_of_batch(trainer.progress.row as usize) as u64);
        Ok(trainer)
    }

    fn new(
        preset: &Preset,
        data: &Dataset,
        split: &Split,
        mut session: Session,
        run: RunDir,
        options: &TrainOptions,
        progress: Progress,
    ) -> Result<Self> {
        let made = Instant::now();
        let architecture = preset.architecture()?;
        if data.shape != architecture.input {
            let wanted = format!("pictures of {:?}", architecture.input);
            return Err(Error::shape("training data", wanted, format!("{:?}", data.shape)));
        }
        if split.train.is_empty() {
            return Err(Error::setting("data", "has no picture to train on"));
        }
        let placement = Placement {
            preset,
            architecture: &architecture,
            values: &data.values,
            rows: data.len(),
            split,
            limit: options.device_memory,
        };
        let placed = placement.choose(&session)?;
        Room { placement, data: &placed, session: &session }.check()?;
        let recipe = Recipe { preset, architecture: &architecture, data: &placed };
        let recorded = Self::record(&mut session, &recipe, split);
        let resolved = recorded.and_then(|steps| Ok((steps, source::of(placed.clone(), &mut session, &data.values)?)));
        let ((training, validation), source) = match resolved {
            Err(Error::OutOfMemory { .. }) => {
                let room = Room { placement, data: &placed, session: &session };
                return Err(room.refusal(session.allocated_bytes() as u64));
            }
            other => other?,
        };
        Ok(Self {
            // Rows past the saved state are dropped: their steps are run again.
            steps_csv: RowLog::resume(&run.file(run_dir::STEPS), progress.step)?,
            metrics_csv: RowLog::resume(&run.file(run_dir::METRICS), progress.epoch)?,
            preset: preset.clone(),
            architecture,
            session,
            run,
            split: split.clone(),
            source,
            training,
            validation,
            progress,
            log_every: options.log_every.max(1),
            made,
            seconds_to_first_step: None,
            counted: (0, Duration::ZERO),
            epoch_time: Duration::ZERO,
        })
    }

    /// The steps of training, and of validation where something is held out.
    fn record(session: &mut Session, recipe: &Recipe<'_>, split: &Split) -> Result<(Steps, Option<Steps>)> {
        let train = &recipe.preset.train;
        let batches = Batches::new(train.batch, split.train.len(), train.drop_last, session.ranks());
        let training = Steps::record(session, recipe, Phase::Training, batches)?;
        if split.held_out.is_empty() {
            return Ok((training, None));
        }
        let batches = Batches::new(train.batch, split.held_out.len(), false, session.ranks());
        Ok((training, Some(Steps::record(session, recipe, Phase::Validation, batches)?)))
    }

    /// Steps of the whole run: those done, and as many more as its epochs have at the batch of today's ranks.
    pub fn total_steps(&self) -> u64 {
        let (batches, progress) = (&self.training.batches, &self.progress);
        let in_epoch = (progress.row as usize).div_ceil(batches.size()) as u64;
        let left = self.preset.train.epochs.saturating_sub(progress.epoch).saturating_mul(batches.steps());
        let all = left.saturating_add(progress.step).saturating_sub(in_epoch);
        self.preset.train.steps.map_or(all, |steps| steps.min(all))
    }

    /// Whether there is nothing left to do.
    pub fn is_finished(&self) -> bool {
        self.progress.stopped || self.progress.step >= self.total_steps()
    }

    /// Whether the pictures stream to the device, as they do not fit there.
    pub fn streams(&self) -> bool {
        self.source.is_streamed()
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// The session and the run folder.
    pub fn into_parts(self) -> (Session, RunDir) {
        (self.session, self.run)
    }

    /// Trains to the end of the run, or until the observer asks to stop; saves at the end of each epoch and at the
    /// end of the call.
    ///
    /// # Errors
    /// If the loss or a parameter is no longer finite, which the error then says of the tensor in which it began; if the
    /// device is lost, or a file cannot be written. What was saved stays, and the run can be resumed from it; the trainer
    /// is of no further use.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        let mut ending = None;
        if !self.is_finished() {
            self.begin_epoch()?;
        }
        while ending.is_none() && !self.is_finished() {
            self.advance(observer)?;
            let epoch_done = self.progress.row as usize == self.training.batches.rows();
            if epoch_done {
                self.finish_epoch(observer)?;
            }
            if self.session.ranks().any(observer.stop_requested())? && !self.is_finished() {
                ending = Some(Ending::Interrupted);
            }
            if epoch_done || ending.is_some() || self.is_finished() {
                self.save(observer)?;
            }
            if epoch_done && !self.is_finished() {
                self.begin_epoch()?;
            }
        }
        let ending = ending.unwrap_or(if self.progress.stopped { Ending::EarlyStopped } else { Ending::Finished });
        self.outcome(ending)
    }

    fn outcome(&mut self, ending: Ending) -> Result<Outcome> {
        let between_epochs = self.progress.row == 0;
        let val_loss = if between_epochs { self.progress.val_loss } else { self.validate()?.0 };
        let running = (self.progress.row > 0).then(|| self.progress.loss_sum / self.progress.row as f64);
        let (pictures, time) = self.counted;
        Ok(Outcome {
            ending,
            epochs: self.progress.epoch,
            steps: self.progress.step,
            train_loss: self.progress.train_loss.or(running),
            val_loss,
            best_epoch: self.progress.best_epoch,
            images_per_second: pictures as f64 / time.as_secs_f64().max(1e-9),
            seconds_to_first_step: self.seconds_to_first_step,
            peak_device_bytes: self.session.allocated_bytes() as u64,
            streamed: self.source.is_streamed(),
        })
    }

    /// Begins the epoch under way in its order, which is drawn from the seed and the epoch's number alone.
    fn begin_epoch(&mut self) -> Result<()> {
        let mut order = self.split.train.clone();
        if self.preset.train.shuffle {
            let mut generator = ChaCha12Rng::seed_from_u64(self.preset.train.seed);
            generator.set_stream(self.progress.epoch + 1);
            order.shuffle(&mut generator);
        }
        let batches = &self.training.batches;
        // A saved clock may be that of other ranks, whose rows were others.
        let clock = Tick::at(self.progress.step, batches.own_row(self.progress.row as usize) as u32);
        self.session.write_words(&names::clock(Phase::Training), &clock)?;
        self.source.begin(&mut self.session, Phase::Training, batches.own_order(&order).into())
    }

    /// Runs some steps of the epoch under way and reads their losses.
    fn advance(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let begin = Instant::now();
        let row = self.progress.row as usize;
        let Some(Next { program, taken, follow }) = self.training.at(row) else {
            return Err(Error::Training { step: self.progress.step, problem: "no batch is left".to_owned() });
        };
        let (own_row, size) = (self.training.batches.own_row(row), taken.rows);
        let ready = self.source.prepare(&mut self.session, own_row)?.saturating_sub(own_row) / taken.own;
        let left = self.total_steps() - self.progress.step;
        let most = left.min(self.log_every).min(HISTORY as u64).min(follow.min(ready).max(1) as u64);
        let count = self.session.ranks().least(self.group().min(most) as usize)?;
        let (steps, train) = (self.total_steps(), &self.preset.train);
        rate::write(&mut self.session, train, &self.progress, count, steps)?;
        self.session.run(program, count)?;
        self.source.look_ahead(&mut self.session)?;
        let losses = self.session.read(&names::losses(Phase::Training))?;
        let elapsed = begin.elapsed();
        self.epoch_time += elapsed;
        let first = self.seconds_to_first_step.is_none();
        if first {
            let seconds = self.made.elapsed().as_secs_f64();
            self.seconds_to_first_step = Some(seconds);
            observer.event(&Event::FirstStep { seconds });
        } else {
            self.counted = (self.counted.0 + (count * size) as u64, self.counted.1 + elapsed);
        }
        let Progress { step: done, part_sums, .. } = &mut self.progress;
        part_sums.add(&mut self.session, Phase::Training, *done as usize, count, size)?;
        let loss = self.log_losses(&losses, count, size, observer)?;
        observer.event(&Event::Progress {
            step: self.progress.step,
            steps: self.total_steps(),
            epoch: self.progress.epoch + 1,
            epochs: self.preset.train.epochs,
            loss,
            learning_rate: rate::rate(&self.preset.train, &self.progress, self.progress.step - 1, steps),
            images_per_second: (count * size) as f64 / elapsed.as_secs_f64().max(1e-9),
        });
        Ok(())
    }

    /// Steps to run before the next report, from the speed so far. The first two are run alone.
    fn group(&self) -> u64 {
        let (pictures, time) = self.counted;
        if pictures == 0 {
            return 1;
        }
        let steps = pictures as f64 / self.training.batches.size() as f64;
        ((steps * REPORT_EVERY.as_secs_f64() / time.as_secs_f64().max(1e-6)) as u64).max(1)
    }

    /// Counts the steps that were run; returns the last loss.
    fn log_losses(&mut self, losses: &[f32], count: usize, size: usize, observer: &mut dyn Observer) -> Result<f32> {
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            let loss = losses[(self.progress.step % HISTORY as u64) as usize];
            self.progress.step += 1;
            self.progress.row += size as u64;
            self.progress.loss_sum += f64::from(loss) * size as f64;
            rows.push(StepRow { step: self.progress.step, loss });
        }
        self.steps_csv.append(&rows)?;
        observer.event(&Event::Steps(&rows));
        match rows.iter().find(|row| !row.loss.is_finite()) {
            Some(bad) => Err(self.not_finite(bad.step, &format!("the loss is {}", bad.loss), observer)),
            None => Ok(rows.last().map_or(f32::NAN, |row| row.loss)),
        }
    }

    /// Validates, keeps the best weights, and decides whether to stop early.
    fn finish_epoch(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let begin = Instant::now();
        let (val_loss, val_parts) = self.validate()?;
        let pictures = self.progress.row as f64;
        let parts = self.progress.part_sums.means(&self.session, Phase::Training, pictures);
        let progress = &mut self.progress;
        progress.epoch += 1;
        progress.train_loss = Some(progress.loss_sum / progress.row as f64);
        progress.val_loss = val_loss;
        (progress.row, progress.loss_sum) = (0, 0.0);
        progress.part_sums = PartSums::default();
        rate::see_epoch(&self.preset.train, progress);
        if let Some(loss) = val_loss {
            let train = &self.preset.train;
            // A loss that is not finite is never better.
            if loss < progress.best.unwrap_or(f64::INFINITY) - train.min_delta {
                progress.best = Some(loss);
                progress.best_epoch = Some(progress.epoch);
                progress.epochs_without = 0;
                let weights = state::read_weights(&mut self.session, &self.architecture)?;
                self.check_finite(&weights, observer)?;
                weights.write(&self.run.file(run_dir::BEST))?;
            } else {
                progress.epochs_without += 1;
                progress.stopped = train.patience.is_some_and(|patience| progress.epochs_without >= patience);
            }
        }
        let (pictures, time) = self.counted;
        let images_per_second = pictures as f64 / time.as_secs_f64().max(1e-9);
        let row = EpochRow {
            epoch: self.progress.epoch,
            train_loss: self.progress.train_loss.unwrap_or(f64::NAN),
            val_loss,
            seconds: (std::mem::take(&mut self.epoch_time) + begin.elapsed()).as_secs_f64(),
            images_per_second,
            parts: std::array::from_fn(|i| parts.iter().chain(&val_parts).nth(i).copied().flatten()),
        };
        self.metrics_csv.append(&[row])?;
        observer.event(&Event::Epoch(row));
        Ok(())
    }

    /// Mean loss over the held-out pictures, with the same noise each time.
    fn validate(&mut self) -> Result<(Option<f64>, PartMeans)> {
        let Some(steps) = &self.validation else { return Ok((None, PartMeans::default())) };
        let (loss, parts) = validate(&mut self.session, &mut *self.source, steps, &self.split.held_out)?;
        Ok((Some(loss), parts))
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.steps_csv.sync()?;
        self.metrics_csv.sync()?;
        let state = self.carried()?;
        self.check_finite(&state, observer)?;
        if !self.session.ranks().is_alone() {
            self.session.ranks().same(state.bits(), "what it has learnt")?;
        }
        self.save_state(state)?;
        observer.event(&Event::Saved { step: self.progress.step });
        Ok(())
    }

    /// Pictures that are trained on and held out.
    fn rows(&self) -> [usize; 2] {
        [self.split.train.len(), self.split.held_out.len()]
    }

    fn carried(&mut self) -> Result<Weights> {
        state::read_carried(&mut self.session, &self.preset.train, &self.architecture)
    }

    /// A run could not be resumed from values that are not finite.
    fn check_finite(&mut self, values: &Weights, observer: &mut dyn Observer) -> Result<()> {
        match values.first_not_finite() {
            None => Ok(()),
            Some(name) => Err(self.not_finite(self.progress.step, &format!("{name} is not finite"), observer)),
        }
    }

    fn save_state(&self, state: Weights) -> Result<()> {
        state::save(state, &self.architecture, &self.run, &self.progress, self.rows())
    }
}
