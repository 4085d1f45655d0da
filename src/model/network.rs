//! A network on the tape: the layers of a resolved architecture recorded as ops.

use super::layer::Layer;
use super::shapes::{Architecture, ResolvedLayer};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op::{Activate, Activation, Conv2d, ConvTranspose2d, Matmul, MaxPool2d, Reshape, Window};
use crate::tensor::{Class, TensorId, TensorType};

/// Code and output of a recorded network.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// The code, (B, code).
    pub code: TensorId,
    /// What the decoder puts out, (B, H, W, C); logits where the loss is binary cross-entropy.
    pub output: TensorId,
}

impl Architecture {
    /// Records encoder and decoder on `x` (B, H, W, C).
    ///
    /// # Errors
    /// If x has not the shape that the network takes.
    pub fn record(&self, graph: &mut Graph, x: TensorId) -> Result<Recorded> {
        let code = self.record_encoder(graph, x)?;
        Ok(Recorded { code, output: self.record_decoder(graph, code)? })
    }

    /// Records the encoder on `x` (B, H, W, C); returns the code (B, code).
    ///
    /// # Errors
    /// If x has not the shape that the network takes.
    pub fn record_encoder(&self, graph: &mut Graph, x: TensorId) -> Result<TensorId> {
        record_layers(graph, &self.encoder, x)
    }

    /// Records the decoder on `code` (B, code); returns the output (B, H, W, C).
    ///
    /// # Errors
    /// If the code has not the shape that the network takes.
    pub fn record_decoder(&self, graph: &mut Graph, code: TensorId) -> Result<TensorId> {
        record_layers(graph, &self.decoder, code)
    }

    /// The parameters on the tape, in order, under their full names.
    ///
    /// # Errors
    /// If the tape has another tensor under one of the names.
    pub fn record_parameters(&self, graph: &mut Graph) -> Result<Vec<TensorId>> {
        self.parameters().map(|p| graph.persistent(Class::Parameter, &p.name, TensorType::f32(&p.shape[..]))).collect()
    }
}

fn record_layers(graph: &mut Graph, layers: &[ResolvedLayer], mut x: TensorId) -> Result<TensorId> {
    for layer in layers {
        graph.set_label(layer.full_name());
        x = record_layer(graph, layer, x)?;
    }
    Ok(x)
}

fn record_layer(graph: &mut Graph, resolved: &ResolvedLayer, x: TensorId) -> Result<TensorId> {
    let mut inputs = vec![x];
    for p in &resolved.parameters {
        inputs.push(graph.persistent(Class::Parameter, &p.name, TensorType::f32(&p.shape[..]))?);
    }
    let batch = graph.ty(x).shape.dims().first().copied().unwrap_or(0);
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
        Layer::Dense(layer) => {
            let z = graph.apply_one(Matmul::default(), &inputs)?;
            activate(graph, z, layer.activation)
        }
        Layer::Flatten {} | Layer::Reshape(_) => {
            let mut shape = vec![batch];
            shape.extend(&resolved.output);
            graph.apply_one(Reshape { shape: shape.into() }, &inputs)
        }
    }
}

/// Records an activation; the plan makes it the epilogue of the op before.
fn activate(graph: &mut Graph, z: TensorId, kind: Activation) -> Result<TensorId> {
    if kind == Activation::Linear { Ok(z) } else { graph.apply_one(Activate { kind }, &[z]) }
}
