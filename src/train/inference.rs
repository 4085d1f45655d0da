//! A trained network on a device: pictures in, codes and pictures out.

use super::checkpoint::Weights;
use super::noise::add_noise;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::model::{Architecture, Loss, Mode, Noise, Preset};
use crate::op::{Activate, Activation};
use crate::session::{ProgramId, Session};
use crate::tensor::{Class, TensorId, TensorType};

const INPUT: &str = "inference.input";
const CODE: &str = "inference.code";
const OUTPUT: &str = "inference.output";
/// Beside those of the whole network, so that the three recordings share no buffer.
const ENCODED: &str = "inference.encoder.code";
const TO_DECODE: &str = "inference.decoder.code";
const DECODED: &str = "inference.decoder.output";

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

/// A network with its weights, recorded for one batch size: the whole of it, and its encoder and decoder alone from
/// their first use on. Decoding the codes of pictures gives the same bits as reconstructing them, since each batch is run at
/// its full size whatever it holds.
///
/// ```
/// use degrain::data::bundled_quickdraw;
/// use degrain::model::Preset;
/// use degrain::session::Session;
/// use degrain::train::{Inference, Weights};
///
/// let preset = Preset::load("vae")?;
/// let weights = Weights::initial(&preset)?; // of a run: Weights::read(Path::new("runs/vae-1/best.safetensors"))?
/// let mut network = Inference::new(Session::cpu(), &preset, weights, 32)?;
/// let pictures = bundled_quickdraw()?;
/// let x = pictures.floats(&[0, 1, 2], preset.data.offset as f32);
/// let codes = network.encode(&x)?; // (3, 16)
/// let y = network.decode(&codes)?; // (3, 28, 28, 1)
/// assert_eq!(codes.len(), 3 * network.code_len());
/// assert_eq!(y, network.reconstruct(&x)?);
/// # Ok::<(), degrain::Error>(())
/// ```
pub struct Inference {
    session: Session,
    architecture: Architecture,
    whole: Recording,
    encoder: Option<Recording>,
    decoder: Option<Recording>,
    preset: Preset,
    batch: usize,
}

/// One recorded way through the network: what goes in, what comes out, and how many numbers of each a picture has.
#[derive(Clone, Copy)]
struct Recording {
    program: ProgramId,
    input: (&'static str, usize),
    output: (&'static str, usize),
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
        let x = input(&mut graph, INPUT, batch, &architecture.input)?;
        let recorded = architecture.record(&mut graph, x, Mode::Inference)?;
        let output = picture(&mut graph, recorded.output, preset)?;
        graph.keep(recorded.code, CODE)?;
        graph.keep(output, OUTPUT)?;
        let sample_len = architecture.input.iter().product();
        let program = session.record(&graph)?;
        let whole = Recording { program, input: (INPUT, sample_len), output: (OUTPUT, sample_len) };
        for parameter in architecture.saved() {
            let values = weights.take_f32(&parameter.name, &parameter.shape)?;
            // A head that only training uses is in the file, but in no plan here.
            if session.contains(&parameter.name) {
                session.write(&parameter.name, &values)?;
            }
        }
        weights.finish()?;
        Ok(Self { session, architecture, whole, encoder: None, decoder: None, preset: preset.clone(), batch })
    }

    /// The settings of the network.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// Pictures in one batch on the device.
    pub fn batch(&self) -> usize {
        self.batch
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
        self.run(self.whole, x)
    }

    /// Codes (N, code) of any number of pictures (N, H, W, C), normalised as in training; of a variational network the
    /// means.
    ///
    /// # Errors
    /// If there is a part of a picture, or the device is lost or has no room.
    pub fn encode(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        let encoder = match self.encoder {
            Some(recording) => recording,
            None => self.record_encoder()?,
        };
        self.run(encoder, x)
    }

    /// The pictures (N, H, W, C) of any number of codes (N, code), normalised as in training.
    ///
    /// # Errors
    /// If there is a part of a code, or the device is lost or has no room.
    pub fn decode(&mut self, codes: &[f32]) -> Result<Vec<f32>> {
        let decoder = match self.decoder {
            Some(recording) => recording,
            None => self.record_decoder()?,
        };
        self.run(decoder, codes)
    }

    fn record_encoder(&mut self) -> Result<Recording> {
        let mut graph = Graph::new();
        let x = input(&mut graph, INPUT, self.batch, &self.architecture.input)?;
        let code = self.architecture.record_encoder(&mut graph, x, Mode::Inference)?;
        graph.keep(code, ENCODED)?;
        let program = self.session.record(&graph)?;
        let recording = Recording { program, input: (INPUT, self.sample_len()), output: (ENCODED, self.code_len()) };
        Ok(*self.encoder.insert(recording))
    }

    fn record_decoder(&mut self) -> Result<Recording> {
        let mut graph = Graph::new();
        let code = input(&mut graph, TO_DECODE, self.batch, &[self.code_len()])?;
        let output = self.architecture.record_decoder(&mut graph, code, Mode::Inference)?;
        let output = picture(&mut graph, output, &self.preset)?;
        graph.keep(output, DECODED)?;
        let program = self.session.record(&graph)?;
        let recording =
            Recording { program, input: (TO_DECODE, self.code_len()), output: (DECODED, self.sample_len()) };
        Ok(*self.decoder.insert(recording))
    }

    fn run(&mut self, recording: Recording, x: &[f32]) -> Result<Vec<f32>> {
        let Recording { program, input: (input, len), output: (output, output_len) } = recording;
        if !x.len().is_multiple_of(len) {
            let wanted = format!("rows of {len} numbers");
            return Err(Error::shape("inference", wanted, format!("{} numbers", x.len())));
        }
        let mut results = Vec::with_capacity(x.len() / len * output_len);
        let mut padded = vec![0.0; self.batch * len];
        for rows in x.chunks(self.batch * len) {
            padded[..rows.len()].copy_from_slice(rows);
            self.session.write(input, &padded)?;
            self.session.run(program, 1)?;
            results.extend_from_slice(&self.session.read(output)?[..rows.len() / len * output_len]);
        }
        Ok(results)
    }

    /// Codes of these rows of a data set, batch after batch: `each` gets (rows, code) of up to [`Self::batch`] rows.
    ///
    /// # Errors
    /// If the pictures are of another size, or the device is lost or has no room, or as `each` fails.
    pub fn encode_rows(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        each: &mut dyn FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        self.expect_size(data)?;
        for rows in rows.chunks(self.batch) {
            let x = data.floats(rows, self.preset.data.offset as f32);
            each(&self.encode(&x)?)?;
        }
        Ok(())
    }

    fn expect_size(&self, data: &Dataset) -> Result<()> {
        if data.sample_len() == self.sample_len() {
            return Ok(());
        }
        let wanted = format!("pictures of {} numbers", self.sample_len());
        Err(Error::shape("inference", wanted, format!("{:?}", data.shape)))
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
        self.expect_size(data)?;
        let len = self.sample_len();
        for rows in rows.chunks(self.batch) {
            let clean = data.floats(rows, self.preset.data.offset as f32);
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

/// A tensor (batch, dims…) that the host writes.
fn input(graph: &mut Graph, name: &str, batch: usize, dims: &[usize]) -> Result<TensorId> {
    graph.persistent(Class::Input, name, TensorType::f32([&[batch], dims].concat()))
}

/// The picture of a decoder's output, which holds logits where the loss is binary cross-entropy.
fn picture(graph: &mut Graph, output: TensorId, preset: &Preset) -> Result<TensorId> {
    match preset.train.loss {
        Loss::Bce => graph.apply_one(Activate { kind: Activation::Sigmoid }, &[output]),
        Loss::Mse => Ok(output),
    }
}
