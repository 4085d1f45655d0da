//! The tensors of a network for other frameworks.

use super::Part;
use crate::error::Result;
use crate::model::{Architecture, Preset, Side};
use crate::train::{Array, Weights};

/// Metadata that tells a reader what the file holds.
pub(super) const FORMAT: (&str, &str) = ("format", "degrain");

/// The tensors of the network or of a part of it, to be written by [`Weights::write`], with metadata that says how
/// they lie. A decoder alone brings the encoder's kernels that it is tied to. Names and layouts are those of every weight
/// file of degrain: convolution kernels (kh, kw, in, out), transposed ones (kh, kw, out, in), dense ones (in, out).
///
/// ```
/// use degrain::interop::{Part, portable_weights};
/// use degrain::model::Preset;
/// use degrain::train::Weights;
///
/// let preset = Preset::load("lfw-linear")?;
/// let weights = Weights::initial(&preset)?;
/// let encoder = portable_weights(&preset, weights, Part::Encoder)?;
/// assert!(encoder.tensors.keys().eq(["encoder.dense_1.bias", "encoder.dense_1.weight"]));
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// If the weights are not those of this network.
pub fn portable_weights(preset: &Preset, mut weights: Weights, part: Part) -> Result<Weights> {
    let architecture = preset.architecture()?;
    let wanted = names(&architecture, part);
    let mut portable = Weights::default();
    for tensor in architecture.saved() {
        let values = weights.take_f32(&tensor.name, &tensor.shape)?;
        if wanted.contains(&tensor.name.as_str()) {
            portable.tensors.insert(tensor.name.clone(), Array::f32(tensor.shape.clone(), values));
        }
    }
    weights.finish()?;
    let layout = "pictures NHWC; conv2d (kh, kw, in, out); conv2d_transpose (kh, kw, out, in); dense (in, out)";
    let entries = [
        FORMAT,
        ("preset", &preset.name),
        ("part", &part.to_string()),
        ("layout", layout),
        ("scale", "1/255"),
        ("offset", &preset.data.offset.to_string()),
    ];
    portable.metadata.extend(entries.map(|(key, text)| (key.to_owned(), text.to_owned())));
    Ok(portable)
}

/// The names of the tensors that a part needs.
fn names(architecture: &Architecture, part: Part) -> Vec<&str> {
    let layers = architecture.layers().filter(|layer| match part {
        Part::Whole => true,
        Part::Encoder => layer.side == Side::Encoder,
        Part::Decoder => layer.side == Side::Decoder,
    });
    layers.flat_map(|l| l.tied.iter().chain(&l.parameters).chain(&l.statistics)).map(|p| p.name.as_str()).collect()
}
