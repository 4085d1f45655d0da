//! The kinds of layer as a preset file lists them.

pub use crate::op::{Activation, Padding};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// One layer of an encoder or decoder. In a preset file: `{ layer = "conv2d", channels = 32, kernel = 3 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// A convolution over (height, width, channels).
    Conv2d(Conv2d),
    /// A transposed convolution: the gradient of a [`Layer::Conv2d`] with respect to its input.
    ConvTranspose2d(ConvTranspose2d),
    /// The largest value of each window; the first in row-major order wins a tie.
    MaxPool2d(Pool2d),
    /// The mean of each window, over the values inside of the picture.
    AvgPool2d(Pool2d),
    /// Repeats each pixel, as nearest-neighbour resizing does.
    Upsample2d(Upsample2d),
    /// Batch normalisation; whether per feature, per tensor or not at all is one setting of the model.
    BatchNorm(BatchNorm),
    /// In training sets values to zero at random and scales the others up; otherwise nothing.
    Dropout(Dropout),
    /// (height, width, channels) to one row of values, channels fastest.
    Flatten {},
    /// One row of values to (height, width, channels), channels fastest.
    Reshape(Reshape),
    /// Every output is a weighted sum of all inputs, plus a bias.
    Dense(Dense),
    /// The end of a variational encoder: two dense layers give mean and logarithm of the variance of each value of the
    /// code. Training samples; inference takes the mean.
    GaussianCode {},
}

/// Settings of a convolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Channels of the output.
    pub channels: usize,
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Step between windows, in pixels; 1 where the file does not say.
    #[serde(default = "one")]
    pub stride: usize,
    /// What happens at the border; `same` where the file does not say.
    #[serde(default)]
    pub padding: Padding,
    /// Applied to the result; `linear` where the file does not say.
    #[serde(default)]
    pub activation: Activation,
}

/// Settings of a transposed convolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose2d {
    /// Channels of the output.
    pub channels: usize,
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Distance in the output between the kernels of two neighbouring inputs; 1 where the file does not say.
    #[serde(default = "one")]
    pub stride: usize,
    /// `same` (the default): n pixels become n * stride; `valid`: (n - 1) * stride + kernel.
    #[serde(default)]
    pub padding: Padding,
    /// Applied to the result; `linear` where the file does not say.
    #[serde(default)]
    pub activation: Activation,
}

/// Settings of a pooling layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Pool2dTable")]
pub struct Pool2d {
    /// Side of the square window, in pixels.
    pub size: usize,
    /// Step between windows; the window's size where the file does not say.
    pub stride: usize,
    /// What happens at the border, where nothing outside of the picture counts; `valid` where the file does not say.
    pub padding: Padding,
}

/// Settings of up-sampling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upsample2d {
    /// How often each row and each column is repeated.
    pub factor: usize,
}

/// Settings of batch normalisation (Ioffe and Szegedy 2015), as Keras has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// The weight of the old running value: 0.99 where the file does not say.
    #[serde(default = "default_momentum")]
    pub momentum: f32,
    /// Added to the variance: 1e-3 where the file does not say.
    #[serde(default = "default_epsilon")]
    pub epsilon: f32,
    /// Whether the running variance is the unbiased one, as in PyTorch.
    #[serde(default)]
    pub unbiased: bool,
}

/// Settings of dropout (Srivastava et al. 2014).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// Share of the values that are set to zero, 0 to below 1; the others are divided by one minus it.
    pub rate: f32,
}

/// Settings of a reshape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    /// Height, width, channels of the output.
    pub shape: [usize; 3],
}

/// Settings of a dense layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Number of outputs.
    pub units: Units,
    /// Applied to the result; `linear` where the file does not say.
    #[serde(default)]
    pub activation: Activation,
}

/// Number of outputs of a dense layer: in a file a number, or `"code"` for the value of `model.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// This many.
    Count(usize),
    /// As many as the code has values.
    Code,
}

impl Layer {
    /// The name that numbered layers carry in weight files and messages: `conv2d_1` is the first `conv2d` of its side.
    pub fn stem(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "conv2d",
            Self::ConvTranspose2d(_) => "conv2d_transpose",
            Self::MaxPool2d(_) => "max_pool2d",
            Self::AvgPool2d(_) => "avg_pool2d",
            Self::Upsample2d(_) => "upsample2d",
            Self::BatchNorm(_) => "batch_norm",
            Self::Dropout(_) => "dropout",
            Self::Flatten {} => "flatten",
            Self::Reshape(_) => "reshape",
            Self::Dense(_) => "dense",
            Self::GaussianCode {} => "gaussian_code",
        }
    }

    /// The type that Keras prints for such a layer.
    pub fn keras_type(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "Conv2D",
            Self::ConvTranspose2d(_) => "Conv2DTranspose",
            Self::MaxPool2d(_) => "MaxPooling2D",
            Self::AvgPool2d(_) => "AveragePooling2D",
            Self::Upsample2d(_) => "UpSampling2D",
            Self::BatchNorm(_) => "BatchNormalization",
            Self::Dropout(_) => "Dropout",
            Self::Flatten {} => "Flatten",
            Self::Reshape(_) => "Reshape",
            Self::Dense(_) => "Dense",
            Self::GaussianCode {} => "GaussianCode",
        }
    }

    /// The activation, for the layers that have one.
    pub fn activation(&self) -> Option<Activation> {
        match self {
            Self::Conv2d(layer) => Some(layer.activation),
            Self::ConvTranspose2d(layer) => Some(layer.activation),
            Self::Dense(layer) => Some(layer.activation),
            _ => None,
        }
    }
}

fn one() -> usize {
    1
}

fn default_momentum() -> f32 {
    0.99
}

fn default_epsilon() -> f32 {
    1e-3
}

/// [`Pool2d`] as written, where the stride may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool2dTable {
    size: usize,
    stride: Option<usize>,
    #[serde(default = "valid")]
    padding: Padding,
}

fn valid() -> Padding {
    Padding::Valid
}

impl From<Pool2dTable> for Pool2d {
    fn from(table: Pool2dTable) -> Self {
        Self { size: table.size, stride: table.stride.unwrap_or(table.size), padding: table.padding }
    }
}

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => count.serialize(serializer),
            Self::Code => serializer.serialize_str("code"),
        }
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UnitsVisitor;

        impl de::Visitor<'_> for UnitsVisitor {
            type Value = Units;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or \"code\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Units, E> {
                let count = usize::try_from(count);
                count.map(Units::Count).map_err(|_| E::custom("units: a number that fits in memory is wanted"))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Units, E> {
                match u64::try_from(count) {
                    Ok(count) => self.visit_u64(count),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(count), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Units, E> {
                match text {
                    "code" => Ok(Units::Code),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(UnitsVisitor)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct List {
        layers: Vec<Layer>,
    }

    fn read(text: &str) -> Result<List, String> {
        toml::from_str(&format!("layers = [{text}]")).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn defaults_follow_keras() {
        let list = read(
            r#"{ layer = "conv2d", channels = 8, kernel = 3 }, { layer = "max_pool2d", size = 3 },
               { layer = "conv_transpose2d", channels = 8, kernel = 3 }, { layer = "dense", units = 5 }"#,
        );
        let same = Conv2d { channels: 8, kernel: 3, stride: 1, padding: Padding::Same, activation: Activation::Linear };
        let Conv2d { channels, kernel, stride, padding, activation } = same.clone();
        let wanted = vec![
            Layer::Conv2d(same),
            Layer::MaxPool2d(Pool2d { size: 3, stride: 3, padding: Padding::Valid }),
            Layer::ConvTranspose2d(ConvTranspose2d { channels, kernel, stride, padding, activation }),
            Layer::Dense(Dense { units: Units::Count(5), activation: Activation::Linear }),
        ];
        assert_eq!(list.unwrap().layers, wanted);
    }

    #[test]
    fn every_kind_reads_back_equal() {
        let list = read(
            r#"{ layer = "conv2d", channels = 8, kernel = 3, stride = 2, padding = "valid", activation = "elu" },
               { layer = "max_pool2d", size = 3, stride = 2, padding = "same" }, { layer = "flatten" },
               { layer = "dense", units = "code", activation = "sigmoid" }, { layer = "reshape", shape = [1, 2, 3] },
               { layer = "conv_transpose2d", channels = 1, kernel = 2, stride = 2, activation = "tanh" }"#,
        )
        .unwrap();
        let again: List = toml::from_str(&toml::to_string(&list).unwrap()).unwrap();
        assert_eq!(list, again);
    }

    #[test]
    fn unknown_keys_kinds_and_values_are_named() {
        let cases = [
            (r#"{ layer = "conv2d", channels = 8, kernel = 3, strides = 2 }"#, "strides"),
            (r#"{ layer = "max_pool2d", size = 2, kernel = 3 }"#, "kernel"),
            (r#"{ layer = "flatten", units = 3 }"#, "units"),
            (r#"{ layer = "reshape", shape = [1, 2, 3], to = 3 }"#, "to"),
            (r#"{ layer = "dense", units = 3, bias = false }"#, "bias"),
            (r#"{ layer = "lstm" }"#, "lstm"),
            (r#"{ layer = "dense" }"#, "units"),
            (r#"{ units = 3 }"#, "layer"),
            (r#"{ layer = "dense", units = "many" }"#, "many"),
            (r#"{ layer = "dense", units = -3 }"#, "-3"),
            (r#"{ layer = "dense", units = 3, activation = "gelu" }"#, "gelu"),
            (r#"{ layer = "conv2d", channels = 8, kernel = 3, padding = "full" }"#, "full"),
        ];
        for (text, word) in cases {
            let message = read(text).unwrap_err();
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}
