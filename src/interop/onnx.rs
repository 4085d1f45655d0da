//! A trained network as an ONNX model.
//!
//! The whole model has the input `input` and the outputs `code` and `reconstruction`; the encoder alone `input` and
//! `code`, the decoder alone `code` and `reconstruction`. All are f32 with a first axis `N` of any size. Pictures are
//! (N, height, width, channels), normalised as in training: a byte x is x / 255 plus the preset's offset. The model says
//! so itself, in the documentation of its inputs and in its metadata (`preset`, `part`, `layout`, `scale`, `offset`).
//!
//! What training alone does is left out: noise, dropout, and the variance of a variational code, whose mean is the code.
//! Where the loss is binary cross-entropy the sigmoid at the end is part of the model.
//!
//! ONNX's operators take pictures as (N, channels, height, width): layers in a row stay in that order, and a Transpose
//! stands only where a picture comes in, goes out, or becomes or was a row. Tensors have the names of weight files;
//! convolution kernels are (out, in, kh, kw), transposed ones (in, out, kh, kw), others as degrain has them. A tied kernel
//! is stored once. The same network gives the same bytes.
//!
//! Format: <https://github.com/onnx/onnx/blob/main/docs/IR.md>

mod builder;
mod layers;
mod messages;

use super::Part;
use crate::atomic_file::write_bytes;
use crate::error::Result;
use crate::model::{Activation, Architecture, Loss, Preset};
use crate::train::Weights;
use builder::{Builder, Layout, Value};
use layers::Layers;
use messages::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use prost::Message as _;
use std::collections::BTreeMap;
use std::path::Path;

/// Version of ONNX's operators that models use (ONNX 1.8).
pub const OPSET: i64 = 13;
/// Version of the file format that goes with it.
pub const IR_VERSION: i64 = 7;
/// Name of the input for pictures.
pub const INPUT: &str = "input";
/// Name of the code: an output, of the decoder alone the input.
pub const CODE: &str = "code";
/// Name of the output for pictures.
pub const RECONSTRUCTION: &str = "reconstruction";

/// The bytes of an ONNX model of the network.
///
/// ```
/// use degrain::interop::{Part, onnx};
/// use degrain::model::Preset;
/// use degrain::train::Weights;
///
/// let preset = Preset::load("vae")?;
/// let weights = Weights::initial(&preset)?; // of a run: Weights::read(Path::new("runs/vae-1/best.safetensors"))?
/// let whole = onnx::model(&preset, weights.clone(), Part::Whole)?;
/// let encoder = onnx::model(&preset, weights, Part::Encoder)?;
/// assert!(encoder.len() < whole.len());
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// If the weights are not those of this network.
pub fn model(preset: &Preset, mut weights: Weights, part: Part) -> Result<Vec<u8>> {
    let architecture = preset.architecture()?;
    let mut tensors = BTreeMap::new();
    for tensor in architecture.saved() {
        tensors.insert(tensor.name.clone(), weights.take_f32(&tensor.name, &tensor.shape)?);
    }
    weights.finish()?;
    let network = Network { preset, architecture: &architecture, part };
    let graph = network.graph(&tensors)?.finish(&preset.name);
    let entry = |(key, value): (&str, String)| StringStringEntryProto { key: key.to_owned(), value };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "degrain".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: network.describe(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: network.metadata().into_iter().map(entry).collect(),
    };
    Ok(model.encode_to_vec())
}

/// Writes [`model()`] to a file that is complete or as it was.
///
/// # Errors
/// As [`model()`], or a file that cannot be written.
pub fn write(path: &Path, preset: &Preset, weights: Weights, part: Part) -> Result<()> {
    write_bytes(path, &model(preset, weights, part)?)
}

/// What a model is made of.
struct Network<'a> {
    preset: &'a Preset,
    architecture: &'a Architecture,
    part: Part,
}

impl Network<'_> {
    fn graph(&self, weights: &BTreeMap<String, Vec<f32>>) -> Result<Builder> {
        let mut layers = Layers { builder: Builder::default(), weights };
        let code = match self.part {
            Part::Whole | Part::Encoder => self.encoder(&mut layers)?,
            Part::Decoder => self.code_input(&mut layers),
        };
        if self.part != Part::Encoder {
            self.decoder(&mut layers, code)?;
        }
        Ok(layers.builder)
    }

    /// The encoder up to the output `code`; returns what the decoder goes on with, which may be picture-shaped.
    fn encoder(&self, layers: &mut Layers<'_>) -> Result<Value> {
        let doc = format!("pictures (N, height, width, channels); {}", self.normalisation());
        let x = layers.builder.input(INPUT, &self.architecture.input, &doc, Layout::Nhwc);
        let end = layers.add(&self.architecture.encoder, x)?;
        let rows = layers.builder.in_layout(end.clone(), Layout::Rows);
        let code = layers.builder.output(rows, CODE, &[self.architecture.code], CODE_DOC);
        Ok(if end.layout == Layout::Rows { code } else { end })
    }

    /// The input of a decoder alone, in the shape that its first layer takes.
    fn code_input(&self, layers: &mut Layers<'_>) -> Value {
        let code = layers.builder.input(CODE, &[self.architecture.code], CODE_DOC, Layout::Rows);
        match self.architecture.decoder.first() {
            Some(first) if first.input.len() > 1 => layers.pictures("decoder.code", code, &first.input),
            _ => code,
        }
    }

    fn decoder(&self, layers: &mut Layers<'_>, code: Value) -> Result<()> {
        let mut y = layers.add(&self.architecture.decoder, code)?;
        if self.preset.train.loss == Loss::Bce {
            y = layers.activation(Activation::Sigmoid, y);
        }
        let y = layers.builder.in_layout(y, Layout::Nhwc);
        let doc = format!("pictures (N, height, width, channels); {}", self.normalisation());
        layers.builder.output(y, RECONSTRUCTION, &self.architecture.input, &doc);
        Ok(())
    }

    fn normalisation(&self) -> String {
        match self.preset.data.offset {
            0.0 => "a byte x is x / 255".to_owned(),
            offset if offset < 0.0 => format!("a byte x is x / 255 - {}", -offset),
            offset => format!("a byte x is x / 255 + {offset}"),
        }
    }

    fn describe(&self) -> String {
        let what = match self.part {
            Part::Whole => "Autoencoder",
            Part::Encoder => "Encoder of the autoencoder",
            Part::Decoder => "Decoder of the autoencoder",
        };
        format!(
            "{what} {}. Pictures are float32 (N, height, width, channels), normalised as in training: {}.",
            self.preset.name,
            self.normalisation()
        )
    }

    fn metadata(&self) -> [(&'static str, String); 5] {
        [
            ("preset", self.preset.name.clone()),
            ("part", self.part.to_string()),
            ("layout", "NHWC".to_owned()),
            ("scale", "1/255".to_owned()),
            ("offset", self.preset.data.offset.to_string()),
        ]
    }
}

/// What the code is, in the model itself.
const CODE_DOC: &str = "codes (N, values); of a picture-shaped code row by row, channels fastest";
