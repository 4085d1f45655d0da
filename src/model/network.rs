//! A network on the tape: the layers of a resolved architecture recorded as ops.

use super::layer::{BatchNorm, Layer};
use super::shapes::{Architecture, Parameter, ResolvedLayer};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op;
use crate::op::{
    Activate, Activation, AvgPool2d, BatchNormTraining, BatchStatistics, Conv2d, ConvTranspose2d, Dropout,
};
use crate::op::{Matmul, MaxPool2d, Reparameterise, Reshape, Upsample2d, Window};
use crate::tensor::{Class, TensorId, TensorType};

/// Code and output of a recorded network.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// The code, (B, code); of a variational encoder the mean.
    pub code: TensorId,
    /// Mean and logarithm of the variance of a variational encoder, (B, code) each.
    pub gaussian: Option<[TensorId; 2]>,
    /// What the decoder puts out, (B, H, W, C); logits where the loss is binary cross-entropy.
    pub output: TensorId,
}

/// What a network is recorded for.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Batch normalisation takes its running statistics, and nothing is random.
    Inference,
    /// As inference, but a variational code is sampled.
    Validation(Random),
    /// Batch normalisation takes these statistics of the batch and moves the running ones; dropout drops.
    Training(Random, BatchStatistics),
}

/// Where a network takes its random numbers from.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    /// First word of the key.
    pub seed: u32,
    /// The phase's stream, below [`Random::STREAMS`]: layer n takes the stream that lies n times as many above it.
    pub stream: u32,
    /// The data set's row of each sample, `u32[B]`.
    pub rows: TensorId,
    /// The clock.
    pub clock: TensorId,
}

impl Random {
    /// Streams that are not of layers.
    pub const STREAMS: u32 = 256;

    /// The stream of layer `number`, counted from 1 over the encoder, then the decoder.
    fn of_layer(&self, number: usize) -> u32 {
        self.stream + Self::STREAMS * number as u32
    }
}

impl Architecture {
    /// Records encoder and decoder on `x` (B, H, W, C).
    ///
    /// # Errors
    /// If x has not the shape that the network takes.
    pub fn record(&self, graph: &mut Graph, x: TensorId, mode: Mode) -> Result<Recorded> {
        let code = self.record_encoder(graph, x, mode)?;
        let Some(ResolvedLayer { layer: Layer::GaussianCode {}, parameters, .. }) = self.encoder.last() else {
            return Ok(Recorded { code, gaussian: None, output: self.record_decoder(graph, code, mode)? });
        };
        // The code is the product of the mean's head; the other head has the same input.
        let hidden = graph.nodes().iter().rev().find(|node| node.outputs.contains(&code)).map(|node| node.inputs[0]);
        let hidden = hidden.ok_or_else(|| Error::shape("gaussian_code", "an encoder on the tape", "none"))?;
        graph.set_label("encoder.log_variance");
        let (weight, bias) =
            (tensor(graph, Class::Parameter, &parameters[2])?, tensor(graph, Class::Parameter, &parameters[3])?);
        let log_variance = graph.apply_one(Matmul::default(), &[hidden, weight, bias])?;
        let sample = match mode {
            Mode::Inference => code,
            Mode::Validation(random) | Mode::Training(random, _) => {
                graph.set_label("encoder.sample");
                let op = Reparameterise { seed: random.seed, stream: random.of_layer(self.encoder.len()) };
                graph.apply_one(op, &[code, log_variance, random.rows, random.clock])?
            }
        };
        Ok(Recorded { code, gaussian: Some([code, log_variance]), output: self.record_decoder(graph, sample, mode)? })
    }

    /// Records the encoder on `x` (B, H, W, C); returns the code (B, code).
    ///
    /// # Errors
    /// If x has not the shape that the network takes.
    pub fn record_encoder(&self, graph: &mut Graph, x: TensorId, mode: Mode) -> Result<TensorId> {
        let code = record_layers(graph, &self.encoder, x, mode, 1)?;
        let batch = rows(graph, code);
        if graph.ty(code).shape.rank() == 2 {
            return Ok(code);
        }
        graph.apply_one(Reshape { shape: [batch, self.code].into() }, &[code])
    }

    /// Records the decoder on `code` (B, code); returns the output (B, H, W, C).
    ///
    /// # Errors
    /// If the code has not the shape that the network takes.
    pub fn record_decoder(&self, graph: &mut Graph, mut code: TensorId, mode: Mode) -> Result<TensorId> {
        if let Some(first) = self.decoder.first().filter(|first| first.input.len() > 1) {
            code = with_batch(graph, code, &first.input)?;
        }
        record_layers(graph, &self.decoder, code, mode, 1 + self.encoder.len())
    }

    /// The parameters on the tape, in order, under their full names.
    ///
    /// # Errors
    /// If the tape has another tensor under one of the names.
    pub fn record_parameters(&self, graph: &mut Graph) -> Result<Vec<TensorId>> {
        self.parameters().map(|p| tensor(graph, Class::Parameter, p)).collect()
    }
}

fn tensor(graph: &mut Graph, class: Class, parameter: &Parameter) -> Result<TensorId> {
    graph.persistent(class, &parameter.name, TensorType::f32(&parameter.shape[..]))
}

fn rows(graph: &Graph, x: TensorId) -> usize {
    graph.ty(x).shape.dims().first().copied().unwrap_or(0)
}

/// `x` with the shape of each of its rows replaced.
fn with_batch(graph: &mut Graph, x: TensorId, row: &[usize]) -> Result<TensorId> {
    let mut shape = vec![rows(graph, x)];
    shape.extend(row);
    graph.apply_one(Reshape { shape: shape.into() }, &[x])
}

/// Records layers; `first` is the number of the first of them.
fn record_layers(
    graph: &mut Graph,
    layers: &[ResolvedLayer],
    mut x: TensorId,
    mode: Mode,
    first: usize,
) -> Result<TensorId> {
    for (number, layer) in (first..).zip(layers) {
        graph.set_label(layer.full_name());
        x = record_layer(graph, layer, x, mode, number)?;
    }
    Ok(x)
}

fn record_layer(
    graph: &mut Graph,
    resolved: &ResolvedLayer,
    x: TensorId,
    mode: Mode,
    number: usize,
) -> Result<TensorId> {
    let mut inputs = vec![x];
    for p in resolved.tied.iter().chain(&resolved.parameters) {
        inputs.push(tensor(graph, Class::Parameter, p)?);
    }
    let picture = || match graph.ty(x).shape.nhwc() {
        Some([_, height, width, _]) => Ok([height, width]),
        None => Err(Error::shape(resolved.full_name(), "pictures", graph.ty(x).to_string())),
    };
    match &resolved.layer {
        Layer::Conv2d(layer) => {
            let op = Conv2d::new(Window::square(layer.kernel, layer.stride), layer.padding, picture()?)?;
            let z = graph.apply_one(op, &inputs)?;
            activate(graph, z, layer.activation)
        }
        Layer::ConvTranspose2d(layer) => {
            let op = ConvTranspose2d::new(Window::square(layer.kernel, layer.stride), layer.padding, picture()?)?;
            let z = graph.apply_one(op, &inputs)?;
            activate(graph, z, layer.activation)
        }
        Layer::MaxPool2d(layer) => {
            let op = MaxPool2d::new(Window::square(layer.size, layer.stride), layer.padding, picture()?)?;
            graph.apply_one(op, &inputs)
        }
        Layer::AvgPool2d(layer) => {
            let op = AvgPool2d::new(Window::square(layer.size, layer.stride), layer.padding, picture()?)?;
            graph.apply_one(op, &inputs)
        }
        Layer::Upsample2d(layer) => graph.apply_one(Upsample2d { factor: [layer.factor; 2] }, &inputs),
        Layer::BatchNorm(layer) => {
            for p in &resolved.statistics {
                inputs.push(tensor(graph, Class::State, p)?);
            }
            batch_norm(graph, layer, inputs, mode)
        }
        Layer::Dropout(layer) => match mode {
            Mode::Inference | Mode::Validation(_) => Ok(x),
            Mode::Training(random, _) => {
                let op = Dropout { rate: layer.rate, seed: random.seed, stream: random.of_layer(number) };
                graph.apply_one(op, &[x, random.rows, random.clock])
            }
        },
        Layer::Dense(layer) => {
            let op = Matmul { transpose_b: resolved.tied.is_some(), ..Matmul::default() };
            let z = graph.apply_one(op, &inputs)?;
            activate(graph, z, layer.activation)
        }
        // The mean; the other head belongs to training alone.
        Layer::GaussianCode {} => graph.apply_one(Matmul::default(), inputs.get(..3).unwrap_or(&inputs)),
        Layer::Flatten {} | Layer::Reshape(_) => with_batch(graph, x, &resolved.output),
    }
}

/// Records batch normalisation on x, weight, bias, running mean and running variance.
fn batch_norm(graph: &mut Graph, layer: &BatchNorm, inputs: Vec<TensorId>, mode: Mode) -> Result<TensorId> {
    let [mut x, weight, bias, mean, variance] = inputs[..] else {
        return Err(Error::shape("batch_norm", "five inputs", format!("{}", inputs.len())));
    };
    let shape = graph.ty(x).shape.clone();
    // One mean for the whole tensor: all its elements are those of one feature.
    let per_tensor = graph.ty(weight).shape.len() != shape.last();
    if per_tensor {
        x = graph.apply_one(Reshape { shape: [shape.len(), 1].into() }, &[x])?;
    }
    let BatchNorm { momentum, epsilon, unbiased } = *layer;
    let y = match mode {
        Mode::Training(_, statistics) => {
            let op = BatchNormTraining { momentum, epsilon, unbiased, statistics };
            op.record(graph, [x, weight, bias, mean, variance])?[0]
        }
        Mode::Inference | Mode::Validation(_) => {
            let normalise = op::BatchNorm { epsilon, activation: Activation::Linear };
            graph.apply_one(normalise, &[x, weight, bias, mean, variance])?
        }
    };
    if per_tensor { graph.apply_one(Reshape { shape }, &[y]) } else { Ok(y) }
}

/// Records an activation; the plan makes it the epilogue of the op before.
fn activate(graph: &mut Graph, z: TensorId, kind: Activation) -> Result<TensorId> {
    if kind == Activation::Linear { Ok(z) } else { graph.apply_one(Activate { kind }, &[z]) }
}
