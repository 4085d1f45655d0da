//! Greedy layer-wise pre-training: the first weights of a deep autoencoder from a stack of shallow ones.

use super::checkpoint::{Array, Weights};
use super::events::{Ending, Event, Observer, TrainOptions};
use super::inference::Inference;
use super::run_dir::{self, RunDir};
use super::trainer::Trainer;
use crate::data::{Dataset, Split, Values};
use crate::error::{Error, Result};
use crate::model::preset::Data;
use crate::model::{Parameter, Preset, Stage};
use crate::session::Session;
use std::path::{Path, PathBuf};

/// What pre-training leaves.
pub struct Pretrained {
    /// The device, with nothing on it.
    pub session: Session,
    /// The weights of all stages under their names in the whole network, as [`TrainOptions::init`] takes them; none where
    /// the observer asked to stop.
    pub weights: Option<Weights>,
}

/// The folder of a stage, counted from 1: a run of its own within the run.
pub fn stage_folder(run: &Path, number: usize) -> PathBuf {
    run.join(format!("pretrain-{number}"))
}

/// Trains each pair of mirrored layers of a preset ([`Preset::stages`]) for `train.pretrain_epochs` epochs, the first on
/// the pictures, each other one on the codes that the stage before it gives for them, without noise. Every stage is an
/// ordinary run in a folder of its own ([`stage_folder`]), and begins with the values that the whole network would draw.
///
/// A call on a folder that holds finished stages reads their weights, and goes on with the stage that was stopped, to the
/// same bits. The run proper is then begun with the weights that come back:
///
/// ```
/// use degrain::data::{Split, bundled_quickdraw};
/// use degrain::model::Preset;
/// use degrain::session::Session;
/// use degrain::train::{Event, Observer, RunDir, TrainOptions, Trainer, pretrain};
///
/// struct Quiet;
/// impl Observer for Quiet {
///     fn event(&mut self, _: &Event) {}
/// }
///
/// let mut preset = Preset::load("quickdraw-deep")?;
/// preset.set_all(&["train.pretrain_epochs=1", "train.steps=2"])?;
/// let drawings = bundled_quickdraw()?;
/// let split = Split { train: (0..128).collect(), held_out: (128..160).collect() };
/// # let folder = std::env::temp_dir().join(format!("degrain-pretrain-{}", std::process::id()));
/// let run = RunDir::create(&folder)?;
/// let mut options = TrainOptions::default();
/// let done = pretrain(&preset, &drawings, &split, Session::cpu(), &run, &options, &mut Quiet)?;
/// options.init = done.weights;
/// let mut trainer = Trainer::start(&preset, &drawings, &split, done.session, run, &options)?;
/// assert_eq!(trainer.run(&mut Quiet)?.steps, 2);
/// # drop(trainer);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// A preset whose layers cannot be paired, weights given by `options` besides, and what training runs into.
pub fn pretrain(
    preset: &Preset,
    pictures: &Dataset,
    split: &Split,
    mut session: Session,
    run: &RunDir,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<Pretrained> {
    if options.init.is_some() {
        return Err(Error::setting("train.pretrain_epochs", "the first weights are either given or pre-trained"));
    }
    let stages = preset.stages()?;
    // A run that is stopped from here on is resumed by its folder.
    run.write_text(run_dir::CONFIG, &preset.to_toml()?)?;
    let whole = Whole { preset, split, options };
    let mut all = Weights::default();
    let mut codes: Option<Dataset> = None;
    for (index, stage) in stages.iter().enumerate() {
        observer.event(&Event::Stage { number: index + 1, count: stages.len() });
        let data = codes.as_ref().unwrap_or(pictures);
        let folder = stage_folder(run.path(), index + 1);
        let ending;
        (session, ending) = whole.train(stage, data, session, &folder, observer)?;
        session.clear()?;
        if ending == Ending::Interrupted {
            return Ok(Pretrained { session, weights: None });
        }
        let weights = Weights::read(&folder.join(run_dir::LAST))?;
        collect(&mut all, stage, weights.clone())?;
        if let Some(next) = stages.get(index + 1) {
            let mut inference = Inference::new(session, &stage.preset, weights, stage.preset.train.batch)?;
            codes = Some(encode(&mut inference, stage, next, data)?);
            session = inference.into_session();
            session.clear()?;
        }
    }
    Ok(Pretrained { session, weights: Some(all) })
}

/// What all stages share.
struct Whole<'a> {
    preset: &'a Preset,
    split: &'a Split,
    options: &'a TrainOptions,
}

impl Whole<'_> {
    /// Trains a stage to its end, from wherever its folder says that it is.
    fn train(
        &self,
        stage: &Stage,
        data: &Dataset,
        session: Session,
        folder: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(Session, Ending)> {
        let begun = folder.join(run_dir::CONFIG).is_file();
        let run = if begun { RunDir::open(folder)? } else { RunDir::create(folder)? };
        let first = |(name, p): &(String, Parameter)| {
            let drawn = self.preset.model.init.draw(self.preset.train.seed, p);
            (name.clone(), Array::f32(p.shape.clone(), drawn))
        };
        let init = Weights { tensors: stage.tensors.iter().map(first).collect(), ..Weights::default() };
        let options = TrainOptions { init: Some(init), ..self.options.clone() };
        let mut trainer = Trainer::resume(&stage.preset, data, self.split, session, run, &options)?;
        let ending = trainer.run(observer)?.ending;
        Ok((trainer.into_parts().0, ending))
    }
}

/// Adds a stage's weights under their names in the whole network.
fn collect(all: &mut Weights, stage: &Stage, mut weights: Weights) -> Result<()> {
    for (name, parameter) in &stage.tensors {
        let values = weights.take_f32(name, &parameter.shape)?;
        all.tensors.insert(parameter.name.clone(), Array::f32(parameter.shape.clone(), values));
    }
    weights.finish()
}

/// The codes of all samples of a stage's data, as the data of the next one.
fn encode(inference: &mut Inference, stage: &Stage, next: &Stage, data: &Dataset) -> Result<Dataset> {
    let len = inference.sample_len();
    let offset = stage.preset.data.offset as f32;
    let mut codes = Vec::with_capacity(data.len() * inference.code_len());
    let mut samples = vec![0.0; stage.preset.train.batch * len];
    let rows: Vec<usize> = (0..data.len()).collect();
    for rows in rows.chunks(stage.preset.train.batch) {
        for (&row, sample) in rows.iter().zip(samples.chunks_exact_mut(len)) {
            if !data.sample_f32(row, offset, sample) {
                return Err(Error::shape(
                    "pre-training",
                    format!("pictures of {len} numbers"),
                    format!("{:?}", data.shape),
                ));
            }
        }
        codes.extend(inference.encode(&samples[..rows.len() * len])?);
    }
    let Data { height, width, channels, .. } = next.preset.data;
    let origin = format!("codes of {}", stage.preset.name);
    Ok(Dataset { origin, ..Dataset::new([height, width, channels], Values::F32(codes.into()), data.names.clone()) })
}
