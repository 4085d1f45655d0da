//! Layers with their exact shapes, parameters and FLOPs, and every reason why a list of layers cannot work.

use super::layer::Layer;
use super::settings::BatchNormKind;
use super::sizes::Sizes;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;

/// Most parameters that a model may have: 2^28, 1 GiB as f32. A larger number is a slip of the pen.
pub const MAX_PARAMETERS: usize = 1 << 28;
/// Most values that one layer may put out for one picture: 2^26.
pub const MAX_ACTIVATION: usize = 1 << 26;
/// Largest kernel, pooling window and stride.
pub const MAX_WINDOW: usize = 1024;
/// Most layers on one side.
pub const MAX_LAYERS: usize = 256;

/// Which half of the autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Picture to code.
    Encoder,
    /// Code to picture.
    Decoder,
}

/// Switches of a model that change what its layers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Switches {
    /// Whether the decoder's dense layers use the kernels of the encoder's, transposed, the last one's first.
    pub tie: bool,
    /// What batch normalisation takes one mean and deviation of.
    pub batch_norm: BatchNormKind,
}

/// A preset's two lists of layers, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Height, width and channels of a picture.
    pub input: [usize; 3],
    /// Values in a code.
    pub code: usize,
    /// From (height, width, channels) to (code), or to (height, width, channels) of as many values.
    pub encoder: Vec<ResolvedLayer>,
    /// From what the encoder ends in to (height, width, channels).
    pub decoder: Vec<ResolvedLayer>,
}

/// One layer whose sizes are known. Shapes leave out the batch: (height, width, channels) or (values).
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedLayer {
    /// `conv2d_1`, counted per side and kind from 1.
    pub name: String,
    /// The half to which it belongs.
    pub side: Side,
    /// The layer as the preset has it.
    pub layer: Layer,
    /// Shape of its input.
    pub input: Vec<usize>,
    /// Shape of its output.
    pub output: Vec<usize>,
    /// Weight, then bias; empty for layers that learn nothing.
    pub parameters: Vec<Parameter>,
    /// The encoder's kernel that a tied layer uses, transposed; its own parameters are then the bias alone.
    pub tied: Option<Parameter>,
    /// Running mean and variance of batch normalisation: kept and saved, but not learnt.
    pub statistics: Vec<Parameter>,
    /// Floating-point operations of the forward pass for one picture: 2 per multiply-add. Biases, activations and
    /// pooling are not counted; a transposed convolution is counted over its input positions.
    pub flops: u64,
}

/// A tensor that is learnt, or a running statistic.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Full name as in weight files: `encoder.conv2d_1.weight`.
    pub name: String,
    /// Convolution kernels (kh, kw, in, out), transposed ones (kh, kw, out, in), dense ones (in, out), biases (out).
    pub shape: Vec<usize>,
    /// Fan in and fan out of a kernel; `None` for everything else.
    pub fans: Option<Fans>,
    /// What every element begins with where there are no fans.
    pub start: f32,
}

/// How many values flow into one output of a kernel, and out of one input, as Keras counts them: kernel height and
/// width included, and for a transposed kernel "in" is its second last axis, the output's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fans {
    /// Fan in.
    pub input: usize,
    /// Fan out.
    pub output: usize,
}

impl Architecture {
    /// Resolves both sides for pictures of shape `input` (height, width, channels) and a code of `code` values, with
    /// the default switches.
    ///
    /// # Errors
    /// As [`Architecture::resolve_with`].
    pub fn resolve(input: [usize; 3], code: usize, encoder: &[Layer], decoder: &[Layer]) -> Result<Self> {
        Self::resolve_with(input, code, encoder, decoder, Switches::default())
    }

    /// As [`Architecture::resolve`], with these switches.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the layer (`encoder.conv2d_2`) or key for a size of zero, a layer that does not fit
    /// its input, an encoder that does not end in the code, a decoder that does not end in the picture's shape, dense
    /// layers that cannot be tied, and sizes beyond [`MAX_PARAMETERS`], [`MAX_ACTIVATION`], [`MAX_WINDOW`] and [`MAX_LAYERS`].
    pub fn resolve_with(
        input: [usize; 3],
        code: usize,
        encoder: &[Layer],
        decoder: &[Layer],
        switches: Switches,
    ) -> Result<Self> {
        if !matches!(volume(&input), Some(1..=MAX_ACTIVATION)) {
            let problem = format!("a picture of {} cannot be used: 1 to {MAX_ACTIVATION} values", text(&input));
            return Err(Error::setting("data", problem));
        }
        if !(1..=MAX_ACTIVATION).contains(&code) {
            return Err(Error::setting("model.code", format!("must be 1 to {MAX_ACTIVATION}, not {code}")));
        }
        let norm = switches.batch_norm;
        let encoder = resolve_side(Side::Encoder, &input, code, encoder, norm)?;
        // A picture-shaped code goes to the decoder as it is; one of the wrong size is told of below.
        let last = encoder.last().map_or(&[][..], |last| &last.output);
        let start = if volume(last) == Some(code) { last.to_vec() } else { vec![code] };
        let decoder = resolve_side(Side::Decoder, &start, code, decoder, norm)?;
        let mut architecture = Self { input, code, encoder, decoder };
        architecture.check_ends()?;
        if switches.tie {
            architecture.tie()?;
        }
        let parameters = architecture.parameters().try_fold(0, |sum: usize, parameter| {
            sum.checked_add(volume(&parameter.shape)?).filter(|&sum| sum <= MAX_PARAMETERS)
        });
        match parameters {
            Some(_) => Ok(architecture),
            None => Err(Error::setting("model", format!("has more than {MAX_PARAMETERS} parameters in all"))),
        }
    }

    fn check_ends(&self) -> Result<()> {
        let is_gaussian = |layer: &&ResolvedLayer| layer.layer == (Layer::GaussianCode {});
        let inner = self.encoder.iter().rev().skip(1).chain(&self.decoder).find(is_gaussian);
        if let Some(layer) = inner {
            return Err(Error::setting(layer.full_name(), "can only be the last layer of the encoder"));
        }
        if let Some(last) = self.encoder.last().filter(|last| volume(&last.output) != Some(self.code)) {
            let (got, code) = (text(&last.output), self.code);
            let problem = format!(
                "the encoder ends in {got}, but the code is {code}: end it with a dense layer of \"code\" units, or set \
                 model.code to the number of values that it ends in"
            );
            return Err(Error::setting(last.full_name(), problem));
        }
        if let Some(last) = self.decoder.last().filter(|last| last.output != self.input) {
            let problem = format!(
                "the decoder ends in {}, but must give back the picture, {}",
                text(&last.output),
                text(&self.input)
            );
            return Err(Error::setting(last.full_name(), problem));
        }
        Ok(())
    }

    /// Gives the decoder's dense layers the kernels of the encoder's, in reverse.
    fn tie(&mut self) -> Result<()> {
        let is_dense = |layer: &&ResolvedLayer| matches!(layer.layer, Layer::Dense(_));
        let kernels: Vec<Parameter> =
            self.encoder.iter().rev().filter(is_dense).map(|l| l.parameters[0].clone()).collect();
        let decoder_dense = self.decoder.iter().filter(is_dense).count();
        if kernels.is_empty() || kernels.len() != decoder_dense {
            let problem = format!(
                "needs as many dense layers on both sides, but the encoder has {} and the decoder {decoder_dense}",
                kernels.len()
            );
            return Err(Error::setting("model.tie", problem));
        }
        let dense = self.decoder.iter_mut().filter(|layer| matches!(layer.layer, Layer::Dense(_)));
        for (layer, kernel) in dense.zip(kernels) {
            let own = layer.parameters.remove(0);
            if own.shape.iter().rev().ne(&kernel.shape) {
                let (own, kernel) = (text(&own.shape), format!("{}, {}", kernel.name, text(&kernel.shape)));
                let problem = format!("its kernel is {own}, which is not the transpose of {kernel} (model.tie)");
                return Err(Error::setting(layer.full_name(), problem));
            }
            layer.tied = Some(kernel);
        }
        Ok(())
    }

    /// The layers of both sides, encoder first.
    pub fn layers(&self) -> impl Iterator<Item = &ResolvedLayer> {
        self.encoder.iter().chain(&self.decoder)
    }

    /// The parameters of both sides, in the order of the layers.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.layers().flat_map(|layer| &layer.parameters)
    }

    /// What a weight file holds: the parameters, then the running statistics.
    pub fn saved(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters().chain(self.layers().flat_map(|layer| &layer.statistics))
    }

    /// FLOPs of the forward pass for one picture.
    pub fn forward_flops(&self) -> u64 {
        self.layers().map(|layer| layer.flops).sum()
    }

    /// FLOPs of a training step for one picture: the backward pass costs two forward passes (gradients of inputs and
    /// of weights), save that the first layer with weights needs no gradient of its input.
    pub fn training_flops(&self) -> u64 {
        let first = self.layers().find(|layer| layer.flops > 0).map_or(0, |layer| layer.flops);
        3 * self.forward_flops() - first
    }

    /// The most values that one tensor of the forward pass holds for one picture.
    pub fn largest_activation(&self) -> usize {
        self.layers().filter_map(|layer| volume(&layer.output)).chain(volume(&self.input)).max().unwrap_or(0)
    }
}

impl ResolvedLayer {
    /// `encoder.conv2d_1`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.side, self.name)
    }

    /// Number of learnt values.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(Parameter::len).sum()
    }
}

impl Parameter {
    /// Number of values.
    #[expect(clippy::len_without_is_empty, reason = "a parameter of a resolved layer is never empty")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

fn resolve_side(
    side: Side,
    input: &[usize],
    code: usize,
    layers: &[Layer],
    norm: BatchNormKind,
) -> Result<Vec<ResolvedLayer>> {
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        let problem = format!("must list 1 to {MAX_LAYERS} layers, not {}", layers.len());
        return Err(Error::setting(format!("model.{side}"), problem));
    }
    let mut counts = BTreeMap::new();
    let mut shape = input.to_vec();
    let mut resolved = Vec::with_capacity(layers.len());
    let left_out = |layer: &&Layer| matches!(layer, Layer::BatchNorm(_)) && norm == BatchNormKind::None;
    for layer in layers.iter().filter(|layer| !left_out(layer)) {
        let count = counts.entry(layer.stem()).and_modify(|count| *count += 1).or_insert(1_usize);
        let name = format!("{}_{count}", layer.stem());
        let full_name = format!("{side}.{name}");
        let sizes = Sizes::of(layer, &shape, code, norm).map_err(|problem| Error::setting(&full_name, problem))?;
        // The heads of a variational encoder are layers of their own in the weight files: encoder.mean.weight.
        let owner = if *layer == (Layer::GaussianCode {}) { side.to_string() } else { full_name.clone() };
        let named = |tensors: Vec<Parameter>| {
            let name = |p: &Parameter| format!("{owner}.{}", p.name);
            tensors.into_iter().map(|p| Parameter { name: name(&p), ..p }).collect()
        };
        let next = ResolvedLayer {
            parameters: named(sizes.parameters),
            tied: None,
            statistics: named(sizes.statistics),
            name,
            side,
            layer: layer.clone(),
            input: std::mem::replace(&mut shape, sizes.output.clone()),
            output: sizes.output,
            flops: sizes.flops,
        };
        resolved.push(next);
    }
    Ok(resolved)
}

/// Number of values of a shape; `None` on overflow.
pub(super) fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))
}

pub(super) fn text(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;
