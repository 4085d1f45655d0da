//! A trained network on a device: pictures in, codes and pictures out.

use super::checkpoint::Weights;
use super::noise::add_noise;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::model::{Architecture, Loss, Mode, Noise, Preset};
use crate::op::{Activate, Activation};
use crate::session::{ProgramId, Session};
use crate::tensor::{Class, TensorType};

const INPUT: &str = "inference.input";
const CODE: &str = "inference.code";
const OUTPUT: &str = "inference.output";

/// A picture of an evaluation: as it is, as the network saw it, and as it came out.
#[derive(Clone, Copy, Debug)]
pub struct Evaluated<'a> {
    /// Row in the data set.
    pub row: u32,
    /// The original, normalised as in training.
    pub clean: &'a [f32],
    /// The original with noise; the same as `clean` without.
    pub noisy: &'a [f32],
    /// What the network made of the noisy one.
    pub restored: &'a [f32],
}

/// A network with its weights, recorded for one batch size.
pub struct Inference {
    session: Session,
    architecture: Architecture,
    program: ProgramId,
    preset: Preset,
    batch: usize,
}

impl Inference {
    /// Records the network and loads its weights.
    ///
    /// # Errors
    /// If the weights are not those of this network, or the device has no room.
    pub fn new(mut session: Session, preset: &Preset, mut weights: Weights, batch: usize) -> Result<Self> {
        let architecture = preset.architecture()?;
        let batch = batch.max(1);
        let mut graph = Graph::new();
        let mut shape = vec![batch];
        shape.extend(architecture.input);
        let x = graph.persistent(Class::Input, INPUT, TensorType::f32(shape))?;
        let recorded = architecture.record(&mut graph, x, Mode::Inference)?;
        let mut output = recorded.output;
        if preset.train.loss == Loss::Bce {
            output = graph.apply_one(Activate { kind: Activation::Sigmoid }, &[output])?;
        }
        graph.keep(recorded.code, CODE)?;
        graph.keep(output, OUTPUT)?;
        let program = session.record(&graph)?;
        for parameter in architecture.saved() {
            let values = weights.take_f32(&parameter.name, &parameter.shape)?;
            // A head that only training uses is in the file, but in no plan here.
            if session.contains(&parameter.name) {
                session.write(&parameter.name, &values)?;
            }
        }
        weights.finish()?;
        Ok(Self { session, architecture, program, preset: preset.clone(), batch })
    }

    /// Numbers in one picture.
    pub fn sample_len(&self) -> usize {
        self.architecture.input.iter().product()
    }

    /// Numbers in one code.
    pub fn code_len(&self) -> usize {
        self.architecture.code
    }

    /// The network's pictures for any number of pictures (N, H, W, C), normalised as in training.
    ///
    /// # Errors
    /// If there is a part of a picture, or the device is lost.
    pub fn reconstruct(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        self.run(x, OUTPUT, self.sample_len())
    }

    /// Codes (N, code) of any number of pictures (N, H, W, C), normalised as in training.
    ///
    /// # Errors
    /// If there is a part of a picture, or the device is lost.
    pub fn encode(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        self.run(x, CODE, self.code_len())
    }

    fn run(&mut self, x: &[f32], output: &str, output_len: usize) -> Result<Vec<f32>> {
        let len = self.sample_len();
        if !x.len().is_multiple_of(len) {
            return Err(Error::shape(
                "inference",
                format!("pictures of {len} numbers"),
                format!("{} numbers", x.len()),
            ));
        }
        let mut results = Vec::with_capacity(x.len() / len * output_len);
        let mut padded = vec![0.0; self.batch * len];
        for pictures in x.chunks(self.batch * len) {
            padded[..pictures.len()].copy_from_slice(pictures);
            self.session.write(INPUT, &padded)?;
            self.session.run(self.program, 1)?;
            results.extend_from_slice(&self.session.read(output)?[..pictures.len() / len * output_len]);
        }
        Ok(results)
    }

    /// Shows the network these rows of a data set, with the evaluation's noise, and hands each result to `each`.
    ///
    /// # Errors
    /// If the pictures are of another size, or if the device is lost.
    pub fn evaluate(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        noise: Noise,
        seed: u64,
        each: &mut dyn FnMut(Evaluated<'_>),
    ) -> Result<()> {
        let len = self.sample_len();
        for rows in rows.chunks(self.batch) {
            let mut clean = vec![0.0; rows.len() * len];
            for (&row, picture) in rows.iter().zip(clean.chunks_exact_mut(len)) {
                if !data.sample_f32(row as usize, self.preset.data.offset as f32, picture) {
                    let wanted = format!("pictures of {len} numbers");
                    return Err(Error::shape("evaluation", wanted, format!("{:?}", data.shape)));
                }
            }
            let mut noisy = clean.clone();
            add_noise(&mut noisy, rows, &self.preset, noise, seed);
            let restored = self.reconstruct(&noisy)?;
            for (i, &row) in rows.iter().enumerate() {
                let range = i * len..(i + 1) * len;
                let (clean, noisy) = (&clean[range.clone()], &noisy[range.clone()]);
                each(Evaluated { row, clean, noisy, restored: &restored[range] });
            }
        }
        Ok(())
    }

    /// Gives the session back.
    pub fn into_session(self) -> Session {
        self.session
    }
}
