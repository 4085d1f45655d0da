//! First values of the parameters.

use super::identity;
use super::shapes::{Fans, Parameter};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Standard deviation of a standard normal deviate that is kept only within 2 of the mean.
const TRUNCATED_NORMAL_STD: f64 = 0.879_625_661_034_239_8;

/// How kernels get their first values; biases begin with zero, the weights of batch normalisation with one. In a preset file `model.init`: `glorot-uniform`,
/// `he-normal`, `truncated-normal:0.01`, `zeros`, `identity`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Init {
    /// Uniform within sqrt(6 / (fan in + fan out)) of zero (Glorot and Bengio 2010), Keras's default.
    #[default]
    GlorotUniform,
    /// Normal, truncated at 2 sigma, and sigma such that the deviation after truncation is sqrt(2 / fan in)
    /// (He et al. 2015, as Keras 3 draws it).
    HeNormal,
    /// Normal, truncated at 2 sigma, as TensorFlow 1 draws it: the deviation after truncation is 0.8796 sigma.
    TruncatedNormal {
        /// Standard deviation before truncation.
        sigma: f64,
    },
    /// All zero.
    Zeros,
    /// As `HeNormal`, but a network of convolutions and ReLUs begins by giving back its picture: half of its channels carry
    /// it, each value beside its negative (as Zagoruyko and Komodakis 2017 begin with the identity, there in the sum of two
    /// kernels). For denoising, where it stands in for a residual connection.
    Identity,
}

impl Init {
    /// First values of `parameter`, in row-major order of its shape.
    ///
    /// The generator is ChaCha with 12 rounds, keyed by the seed and the parameter's name: a layer more or less leaves
    /// the other layers' values as they were, and the same seed gives the same bits on every machine.
    pub fn draw(self, seed: u64, parameter: &Parameter) -> Vec<f32> {
        let len = parameter.len();
        let Some(fans) = parameter.fans else { return vec![parameter.start; len] };
        let mut generator = generator(seed, &parameter.name);
        let sigma = match self {
            Self::Zeros => return vec![0.0; len],
            Self::GlorotUniform => {
                let limit = glorot_limit(fans);
                return (0..len).map(|_| (limit * uniform(&mut generator)) as f32).collect();
            }
            Self::HeNormal | Self::Identity => (2.0 / fans.input as f64).sqrt() / TRUNCATED_NORMAL_STD,
            Self::TruncatedNormal { sigma } => sigma,
        };
        let mut values = (0..len).map(|_| (sigma * truncated_normal(&mut generator)) as f32).collect::<Vec<f32>>();
        if self == Self::Identity {
            identity::lay_path(parameter, &mut values);
        }
        values
    }
}

fn glorot_limit(fans: Fans) -> f64 {
    (6.0 / (fans.input as f64 + fans.output as f64)).sqrt()
}

fn generator(seed: u64, name: &str) -> ChaCha12Rng {
    let mut key = *b"........degrain initial value...";
    for (slot, byte) in key.iter_mut().zip(seed.to_le_bytes()) {
        *slot = byte;
    }
    let mut generator = ChaCha12Rng::from_seed(key);
    generator.set_stream(crate::op::fnv1a(name));
    generator
}

/// Uniform in (-1, 1), symmetric about zero, with 53 bits.
fn uniform(generator: &mut ChaCha12Rng) -> f64 {
    let bits = generator.next_u64() >> 11;
    (bits as f64 + 0.5) * (2.0 / (1_u64 << 53) as f64) - 1.0
}

/// A standard normal deviate kept only within (-2, 2), by rejection from the uniform distribution. The value itself
/// needs no logarithm or cosine, so it does not depend on the platform's mathematical library.
fn truncated_normal(generator: &mut ChaCha12Rng) -> f64 {
    loop {
        let value = 2.0 * uniform(generator);
        let chance = 0.5 * (uniform(generator) + 1.0);
        if chance < (-0.5 * value * value).exp() {
            return value;
        }
    }
}

impl FromStr for Init {
    /// One line that says what is wrong.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, amount) = text.split_once(':').map_or((text, None), |(kind, amount)| (kind, Some(amount)));
        match (kind, amount) {
            ("glorot-uniform", None) => Ok(Self::GlorotUniform),
            ("he-normal", None) => Ok(Self::HeNormal),
            ("zeros", None) => Ok(Self::Zeros),
            ("identity", None) => Ok(Self::Identity),
            ("truncated-normal", Some(sigma)) => match sigma.parse::<f64>() {
                Ok(sigma) if (sigma as f32).is_finite() && sigma > 0.0 => Ok(Self::TruncatedNormal { sigma }),
                _ => Err(format!("initialiser {text:?}: {sigma:?} is not a finite number above 0")),
            },
            _ => Err(format!(
                "initialiser {text:?} is not known: wanted glorot-uniform, he-normal, truncated-normal:SIGMA, zeros or identity"
            )),
        }
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GlorotUniform => f.write_str("glorot-uniform"),
            Self::HeNormal => f.write_str("he-normal"),
            Self::TruncatedNormal { sigma } => write!(f, "truncated-normal:{sigma}"),
            Self::Zeros => f.write_str("zeros"),
            Self::Identity => f.write_str("identity"),
        }
    }
}

impl TryFrom<String> for Init {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Init> for String {
    fn from(init: Init) -> Self {
        init.to_string()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::model::Preset;

    const N: usize = 200_000;

    /// A kernel of `N` values with these fans.
    fn kernel(name: &str, input: usize, output: usize) -> Parameter {
        Parameter { name: name.to_owned(), shape: vec![N / 4, 4], fans: Some(Fans { input, output }), start: 0.0 }
    }

    /// Mean, deviation and fourth moment over the square of the second.
    fn moments(values: &[f32]) -> (f64, f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let power = |k| values.iter().map(|&x| (f64::from(x) - mean).powi(k)).sum::<f64>() / n;
        (mean, power(2).sqrt(), power(4) / power(2).powi(2))
    }

    #[test]
    fn glorot_uniform_has_its_bounds_and_moments() {
        let values = Init::GlorotUniform.draw(1, &kernel("k", 27, 288));
        let limit = (6.0_f64 / 315.0).sqrt();
        let (mean, deviation, kurtosis) = moments(&values);
        let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        assert!(f64::from(largest) <= limit * 1.000_001 && f64::from(largest) > 0.9999 * limit, "{largest} {limit}");
        assert!(mean.abs() < 4.0 * limit / 3.0_f64.sqrt() / (N as f64).sqrt(), "{mean}");
        assert!((deviation / (limit / 3.0_f64.sqrt()) - 1.0).abs() < 0.005, "{deviation}");
        assert!((kurtosis - 1.8).abs() < 0.02, "{kurtosis}");
    }

    #[test]
    fn he_normal_has_its_deviation_after_truncation() {
        let values = Init::HeNormal.draw(7, &kernel("k", 128, 5));
        let wanted = (2.0_f64 / 128.0).sqrt();
        let (mean, deviation, kurtosis) = moments(&values);
        let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let bound = 2.0 * wanted / 0.879_625_661;
        assert!(f64::from(largest) <= bound * 1.000_001 && f64::from(largest) > 0.99 * bound, "{largest} {bound}");
        assert!(mean.abs() < 4.0 * wanted / (N as f64).sqrt(), "{mean}");
        assert!((deviation / wanted - 1.0).abs() < 0.006, "{deviation}");
        // Truncation at 2 sigma: 2.3655 from the closed form, against 3 for a normal deviate and 1.8 for a uniform one.
        assert!((kurtosis - 2.3655).abs() < 0.02, "{kurtosis}");
    }

    #[test]
    fn truncated_normal_keeps_sigma_as_given() {
        let values = Init::TruncatedNormal { sigma: 0.01 }.draw(7, &kernel("k", 128, 5));
        let (_, deviation, _) = moments(&values);
        assert!((deviation / (0.01 * TRUNCATED_NORMAL_STD) - 1.0).abs() < 0.006, "{deviation}");
        assert!(values.iter().all(|x| x.abs() <= 0.020_000_1));
    }

    #[test]
    fn streams_depend_on_seed_and_name_only() {
        let draw = |seed, name| Init::GlorotUniform.draw(seed, &kernel(name, 4, 4));
        let first = draw(1, "encoder.conv2d_1.weight");
        assert_eq!(first, draw(1, "encoder.conv2d_1.weight"));
        for other in [draw(2, "encoder.conv2d_1.weight"), draw(1, "decoder.conv2d_1.weight")] {
            let equal = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            let correlation: f64 = first.iter().zip(&other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!(equal < N / 1000, "{equal}");
            // Each product has the variance (limit^2 / 3)^2 = 1 / 16.
            assert!(correlation.abs() < 4.0 * (N as f64).sqrt() / 4.0, "{correlation}");
        }
    }

    #[test]
    fn a_layer_more_leaves_the_others_as_they_were() {
        let small = Preset::load("lfw-conv").unwrap();
        let mut large = small.clone();
        large.model.encoder.insert(8, large.model.encoder.last().cloned().unwrap());
        large.model.encoder.insert(8, crate::model::Layer::Flatten {});
        let values = |preset: &Preset, name: &str| {
            let architecture = preset.architecture().unwrap();
            let parameter = architecture.parameters().find(|parameter| parameter.name == name).cloned().unwrap();
            preset.model.init.draw(3, &parameter)
        };
        for name in ["encoder.conv2d_1.weight", "encoder.conv2d_4.weight", "decoder.conv2d_transpose_3.weight"] {
            assert_eq!(values(&small, name), values(&large, name), "{name}");
        }
    }

    #[test]
    fn biases_and_zeros_are_zero() {
        let bias = Parameter { name: "encoder.dense_1.bias".to_owned(), shape: vec![7], fans: None, start: 0.0 };
        assert_eq!(Init::HeNormal.draw(1, &bias), vec![0.0; 7]);
        assert!(Init::Zeros.draw(1, &kernel("k", 3, 3)).iter().all(|&x| x == 0.0));
    }

    #[test]
    fn the_generator_is_pinned() {
        // A change of these bits changes every run that was ever seeded: do not update them, find the cause.
        let kernel = Parameter {
            name: "encoder.dense_1.weight".into(),
            shape: vec![2, 2],
            fans: Some(Fans { input: 2, output: 2 }),
            start: 0.0,
        };
        let bits = |init: Init| init.draw(1, &kernel).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(Init::GlorotUniform), [1_065_789_016, 3_201_156_893, 3_201_038_492, 3_211_114_490]);
        assert_eq!(bits(Init::HeNormal), [3_208_467_743, 1_066_441_714, 1_070_363_633, 3_207_735_743]);
    }

    #[test]
    fn text_reads_back() {
        for text in ["glorot-uniform", "he-normal", "truncated-normal:0.01", "zeros", "identity"] {
            assert_eq!(text.parse::<Init>().unwrap().to_string(), text);
        }
        for text in [
            "glorot",
            "he-normal:1",
            "truncated-normal",
            "truncated-normal:-1",
            "truncated-normal:nan",
            "truncated-normal:1e99",
        ] {
            assert!(text.parse::<Init>().unwrap_err().contains(text), "{text}");
        }
    }
}
