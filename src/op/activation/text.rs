//! Activations as texts: in preset files and messages.

use super::Activation;
use std::fmt;
use std::str::FromStr;

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear => f.write_str("linear"),
            Self::Relu => f.write_str("relu"),
            Self::Elu { alpha: 1.0 } => f.write_str("elu"),
            Self::Elu { alpha } => write!(f, "elu:{alpha}"),
            Self::Sigmoid => f.write_str("sigmoid"),
            Self::Tanh => f.write_str("tanh"),
            Self::LeakyRelu { slope } => write!(f, "leaky_relu:{slope}"),
            Self::Softplus => f.write_str("softplus"),
        }
    }
}

impl FromStr for Activation {
    /// One line that says what is wrong.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let coefficient = |number: &str| match number.parse::<f32>() {
            Ok(c) if c.is_finite() && c >= 0.0 => Ok(c),
            _ => Err(format!("activation {text:?}: {number:?} is not a finite number of at least 0")),
        };
        match text.split_once(':') {
            None if text == "linear" => Ok(Self::Linear),
            None if text == "relu" => Ok(Self::Relu),
            None if text == "elu" => Ok(Self::ELU),
            None if text == "sigmoid" => Ok(Self::Sigmoid),
            None if text == "tanh" => Ok(Self::Tanh),
            None if text == "softplus" => Ok(Self::Softplus),
            Some(("elu", alpha)) => Ok(Self::Elu { alpha: coefficient(alpha)? }),
            Some(("leaky_relu", slope)) => Ok(Self::LeakyRelu { slope: coefficient(slope)? }),
            _ => Err(format!(
                "activation {text:?} is not known: wanted linear, relu, elu, elu:ALPHA, leaky_relu:SLOPE, sigmoid, tanh \
                 or softplus"
            )),
        }
    }
}

impl TryFrom<String> for Activation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Activation> for String {
    fn from(activation: Activation) -> Self {
        activation.to_string()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::graph::Op;
    use crate::op::Activate;
    use crate::tensor::TensorType;

    #[test]
    fn texts_read_back_and_bad_ones_are_named() {
        for kind in Activation::NONLINEAR.into_iter().chain([Activation::Linear]) {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("elu:1".parse(), Ok(Activation::ELU));
        for text in ["", "ELU", "leaky_relu", "leaky_relu:", "leaky_relu:-1", "elu:nan", "elu:inf", "relu:1"] {
            let message = text.parse::<Activation>().unwrap_err();
            assert!(message.contains(&format!("{text:?}")) && !message.contains('\n'), "{message}");
        }
        let wrong = Activate { kind: Activation::LeakyRelu { slope: -0.5 } };
        assert!(wrong.infer(&[TensorType::f32([1])]).unwrap_err().to_string().contains("leaky_relu:-0.5"));
    }
}
