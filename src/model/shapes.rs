//! Layers with their exact shapes, parameters and FLOPs, and every reason why a list of layers cannot work.

use super::layer::{Conv2d, ConvTranspose2d, Dense, Layer, MaxPool2d, Units};
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

/// A preset's two lists of layers, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Height, width and channels of a picture.
    pub input: [usize; 3],
    /// Values in a code.
    pub code: usize,
    /// From (height, width, channels) to (code).
    pub encoder: Vec<ResolvedLayer>,
    /// From (code) to (height, width, channels).
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
    /// Floating-point operations of the forward pass for one picture: 2 per multiply-add. Biases, activations and
    /// pooling are not counted; a transposed convolution is counted over its input positions.
    pub flops: u64,
}

/// A tensor that is learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Full name as in weight files: `encoder.conv2d_1.weight`.
    pub name: String,
    /// Convolution kernels (kh, kw, in, out), transposed ones (kh, kw, out, in), dense ones (in, out), biases (out).
    pub shape: Vec<usize>,
    /// Fan in and fan out of a kernel; `None` for a bias.
    pub fans: Option<Fans>,
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
    /// Resolves both sides for pictures of shape `input` (height, width, channels) and a code of `code` values.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the layer (`encoder.conv2d_2`) or key for a size of zero, a layer that does not fit
    /// its input, an encoder that does not end in the code, a decoder that does not end in the picture's shape, and
    /// sizes beyond [`MAX_PARAMETERS`], [`MAX_ACTIVATION`], [`MAX_WINDOW`] and [`MAX_LAYERS`].
    pub fn resolve(input: [usize; 3], code: usize, encoder: &[Layer], decoder: &[Layer]) -> Result<Self> {
        if !matches!(volume(&input), Some(1..=MAX_ACTIVATION)) {
            let problem = format!("a picture of {} cannot be used: 1 to {MAX_ACTIVATION} values", text(&input));
            return Err(Error::setting("data", problem));
        }
        if !(1..=MAX_ACTIVATION).contains(&code) {
            return Err(Error::setting("model.code", format!("must be 1 to {MAX_ACTIVATION}, not {code}")));
        }
        let architecture = Self {
            input,
            code,
            encoder: resolve_side(Side::Encoder, &input, code, encoder)?,
            decoder: resolve_side(Side::Decoder, &[code], code, decoder)?,
        };
        architecture.check_ends()?;
        let parameters = architecture.parameters().try_fold(0, |sum: usize, parameter| {
            sum.checked_add(volume(&parameter.shape)?).filter(|&sum| sum <= MAX_PARAMETERS)
        });
        match parameters {
            Some(_) => Ok(architecture),
            None => Err(Error::setting("model", format!("has more than {MAX_PARAMETERS} parameters in all"))),
        }
    }

    fn check_ends(&self) -> Result<()> {
        if let Some(last) = self.encoder.last().filter(|last| last.output != [self.code]) {
            let (got, code) = (text(&last.output), self.code);
            let problem = format!(
                "the encoder ends in {got}, but the code is {code}: end it with a dense layer of \"code\" units"
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

    /// The layers of both sides, encoder first.
    pub fn layers(&self) -> impl Iterator<Item = &ResolvedLayer> {
        self.encoder.iter().chain(&self.decoder)
    }

    /// The parameters of both sides, in the order of the layers.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.layers().flat_map(|layer| &layer.parameters)
    }

    /// FLOPs of the forward pass for one picture.
    pub fn forward_flops(&self) -> u64 {
        self.layers().map(|layer| layer.flops).sum()
    }

    /// FLOPs of a training step for one picture: the backward pass costs two forward passes (gradients of inputs and
    /// of weights), save that the first layer with weights needs no gradient of its input.
    pub fn training_flops(&self) -> u64 {
        let first = self.layers().find(|layer| !layer.parameters.is_empty()).map_or(0, |layer| layer.flops);
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

fn resolve_side(side: Side, input: &[usize], code: usize, layers: &[Layer]) -> Result<Vec<ResolvedLayer>> {
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        let problem = format!("must list 1 to {MAX_LAYERS} layers, not {}", layers.len());
        return Err(Error::setting(format!("model.{side}"), problem));
    }
    let mut counts = BTreeMap::new();
    let mut shape = input.to_vec();
    let mut resolved = Vec::with_capacity(layers.len());
    for layer in layers {
        let count = counts.entry(layer.stem()).and_modify(|count| *count += 1).or_insert(1_usize);
        let name = format!("{}_{count}", layer.stem());
        let full_name = format!("{side}.{name}");
        let sizes = Sizes::of(layer, &shape, code).map_err(|problem| Error::setting(&full_name, problem))?;
        let next = ResolvedLayer {
            parameters: sizes.parameters(&full_name),
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

/// What a layer makes of its input.
struct Sizes {
    output: Vec<usize>,
    kernel: Option<Kernel>,
    flops: u64,
}

struct Kernel {
    shape: Vec<usize>,
    outputs: usize,
}

impl Sizes {
    /// The error is the problem alone; the caller knows the layer's name.
    fn of(layer: &Layer, input: &[usize], code: usize) -> Result<Self, String> {
        let sizes = match layer {
            Layer::Conv2d(layer) => Self::conv2d(layer, input)?,
            Layer::ConvTranspose2d(layer) => Self::conv_transpose2d(layer, input)?,
            Layer::MaxPool2d(layer) => Self::max_pool2d(layer, input)?,
            Layer::Flatten {} => Self::unlearnt(vec![volume(input).ok_or_else(too_large)?]),
            Layer::Reshape(layer) => Self::unlearnt(reshape(layer.shape, input)?),
            Layer::Dense(layer) => Self::dense(layer, input, code)?,
        };
        match volume(&sizes.output) {
            Some(1..=MAX_ACTIVATION) => Ok(sizes),
            _ => Err(format!(
                "puts out {}: at most {MAX_ACTIVATION} values per picture are allowed",
                text(&sizes.output)
            )),
        }
    }

    fn unlearnt(output: Vec<usize>) -> Self {
        Self { output, kernel: None, flops: 0 }
    }

    fn conv2d(layer: &Conv2d, input: &[usize]) -> Result<Self, String> {
        let [height, width, channels] = picture(input)?;
        check_windows(&[("kernel", layer.kernel), ("stride", layer.stride)])?;
        let windows = |n| layer.padding.window(n, layer.kernel, layer.stride);
        let (Some(y), Some(x)) = (windows(height), windows(width)) else {
            return Err(does_not_fit("kernel", layer.kernel, input));
        };
        let shape = vec![layer.kernel, layer.kernel, channels, nonzero("channels", layer.channels)?];
        Self::learnt(vec![y.output, x.output, layer.channels], shape, layer.channels, y.output * x.output)
    }

    fn conv_transpose2d(layer: &ConvTranspose2d, input: &[usize]) -> Result<Self, String> {
        let [height, width, channels] = picture(input)?;
        check_windows(&[("kernel", layer.kernel), ("stride", layer.stride)])?;
        let windows = |n| layer.padding.transposed_window(n, layer.kernel, layer.stride).ok_or_else(too_large);
        let (y, x) = (windows(height)?, windows(width)?);
        let shape = vec![layer.kernel, layer.kernel, nonzero("channels", layer.channels)?, channels];
        Self::learnt(vec![y.output, x.output, layer.channels], shape, layer.channels, height * width)
    }

    fn max_pool2d(layer: &MaxPool2d, input: &[usize]) -> Result<Self, String> {
        let [height, width, channels] = picture(input)?;
        check_windows(&[("size", layer.size), ("stride", layer.stride)])?;
        let windows = |n| layer.padding.window(n, layer.size, layer.stride);
        match (windows(height), windows(width)) {
            (Some(y), Some(x)) => Ok(Self::unlearnt(vec![y.output, x.output, channels])),
            _ => Err(does_not_fit("window", layer.size, input)),
        }
    }

    fn dense(layer: &Dense, input: &[usize], code: usize) -> Result<Self, String> {
        let &[inputs] = input else {
            return Err(format!("takes one row of values but gets {}: put a flatten before it", text(input)));
        };
        let units = match layer.units {
            Units::Count(count) => nonzero("units", count)?,
            Units::Code => code,
        };
        Self::learnt(vec![units], vec![inputs, units], units, 1)
    }

    /// `applications`: how often the whole kernel is applied to one picture.
    fn learnt(output: Vec<usize>, kernel: Vec<usize>, outputs: usize, applications: usize) -> Result<Self, String> {
        match volume(&kernel).filter(|&weights| weights <= MAX_PARAMETERS) {
            // Both factors are bounded, so their product stays under 2^64.
            Some(weights) => Ok(Self {
                output,
                kernel: Some(Kernel { shape: kernel, outputs }),
                flops: (2 * weights as u64).saturating_mul(applications as u64),
            }),
            None => Err(format!("its kernel is {}: at most {MAX_PARAMETERS} weights are allowed", text(&kernel))),
        }
    }

    fn parameters(&self, layer: &str) -> Vec<Parameter> {
        let Some(Kernel { shape, outputs }) = &self.kernel else { return Vec::new() };
        let fans = match shape.as_slice() {
            [height, width, second_last, last] => {
                Some(Fans { input: height * width * second_last, output: height * width * last })
            }
            [input, output] => Some(Fans { input: *input, output: *output }),
            _ => None,
        };
        vec![
            Parameter { name: format!("{layer}.weight"), shape: shape.clone(), fans },
            Parameter { name: format!("{layer}.bias"), shape: vec![*outputs], fans: None },
        ]
    }
}

fn picture(input: &[usize]) -> Result<[usize; 3], String> {
    <[usize; 3]>::try_from(input).map_err(|_| {
        let got = text(input);
        format!("takes (height, width, channels) but gets one row of {got} values: put a reshape before it")
    })
}

fn reshape(shape: [usize; 3], input: &[usize]) -> Result<Vec<usize>, String> {
    match (volume(&shape), volume(input)) {
        (Some(wanted), Some(got)) if wanted == got => Ok(shape.to_vec()),
        (_, got) => {
            let got = got.map_or_else(|| text(input), |got| got.to_string());
            Err(format!("{} does not hold the {got} values that it gets", text(&shape)))
        }
    }
}

fn check_windows(settings: &[(&str, usize)]) -> Result<(), String> {
    match settings.iter().find(|(_, value)| !(1..=MAX_WINDOW).contains(value)) {
        Some((name, value)) => Err(format!("{name} must be 1 to {MAX_WINDOW}, not {value}")),
        None => Ok(()),
    }
}

fn nonzero(name: &str, value: usize) -> Result<usize, String> {
    if value == 0 { Err(format!("{name} must be at least 1")) } else { Ok(value) }
}

fn does_not_fit(what: &str, size: usize, input: &[usize]) -> String {
    let got = text(input);
    format!(
        "its {size}x{size} {what} does not fit into its input of {got}: leave the layer out or use padding = \"same\""
    )
}

fn too_large() -> String {
    format!("its output is too large: at most {MAX_ACTIVATION} values per picture are allowed")
}

/// Number of values of a shape; `None` on overflow.
pub(super) fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))
}

fn text(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;
