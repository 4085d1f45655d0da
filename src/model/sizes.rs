//! What a layer makes of the shape of its input: output shape, parameters and FLOPs.

use super::layer::{Conv2d, ConvTranspose2d, Dense, Dropout, Layer, Pool2d, Units, Upsample2d};
use super::settings::BatchNormKind;
use super::shapes::{Fans, MAX_ACTIVATION, MAX_PARAMETERS, MAX_WINDOW, Parameter, text, volume};

/// What a layer makes of its input. Names of tensors are without that of the layer.
pub(super) struct Sizes {
    pub(super) output: Vec<usize>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) statistics: Vec<Parameter>,
    pub(super) flops: u64,
}

impl Sizes {
    /// The error is the problem alone; the caller knows the layer's name.
    pub(super) fn of(layer: &Layer, input: &[usize], code: usize, norm: BatchNormKind) -> Result<Self, String> {
        let sizes = match layer {
            Layer::Conv2d(layer) => Self::conv2d(layer, input)?,
            Layer::ConvTranspose2d(layer) => Self::conv_transpose2d(layer, input)?,
            Layer::MaxPool2d(layer) | Layer::AvgPool2d(layer) => Self::pool2d(layer, input)?,
            Layer::Upsample2d(layer) => Self::upsample2d(layer, input)?,
            Layer::BatchNorm(layer) => {
                check_share("momentum", layer.momentum)?;
                if !layer.epsilon.is_finite() || layer.epsilon <= 0.0 {
                    return Err(format!("epsilon must be a finite number above 0, not {}", layer.epsilon));
                }
                Self::batch_norm(input, norm)
            }
            Layer::Dropout(Dropout { rate }) => {
                check_share("rate", *rate)?;
                Self::unlearnt(input.to_vec())
            }
            Layer::Flatten {} => Self::unlearnt(vec![volume(input).ok_or_else(too_large)?]),
            Layer::Reshape(layer) => Self::unlearnt(reshape(layer.shape, input)?),
            Layer::Dense(layer) => Self::dense(layer, input, code)?,
            Layer::GaussianCode {} => Self::gaussian_code(input, code)?,
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
        Self { output, parameters: Vec::new(), statistics: Vec::new(), flops: 0 }
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

    fn pool2d(layer: &Pool2d, input: &[usize]) -> Result<Self, String> {
        let [height, width, channels] = picture(input)?;
        check_windows(&[("size", layer.size), ("stride", layer.stride)])?;
        let windows = |n| layer.padding.window(n, layer.size, layer.stride);
        match (windows(height), windows(width)) {
            (Some(y), Some(x)) => Ok(Self::unlearnt(vec![y.output, x.output, channels])),
            _ => Err(does_not_fit("window", layer.size, input)),
        }
    }

    fn upsample2d(layer: &Upsample2d, input: &[usize]) -> Result<Self, String> {
        let [height, width, channels] = picture(input)?;
        check_windows(&[("factor", layer.factor)])?;
        let grown = |n: usize| n.checked_mul(layer.factor).ok_or_else(too_large);
        Ok(Self::unlearnt(vec![grown(height)?, grown(width)?, channels]))
    }

    fn batch_norm(input: &[usize], norm: BatchNormKind) -> Self {
        let features = match norm {
            BatchNormKind::Tensor => 1,
            BatchNormKind::Feature | BatchNormKind::None => input.last().copied().unwrap_or(1),
        };
        let tensor = |name: &str, start| Parameter { name: name.to_owned(), shape: vec![features], fans: None, start };
        Self {
            output: input.to_vec(),
            parameters: vec![tensor("weight", 1.0), tensor("bias", 0.0)],
            statistics: vec![tensor("running_mean", 0.0), tensor("running_var", 1.0)],
            flops: 0,
        }
    }

    fn dense(layer: &Dense, input: &[usize], code: usize) -> Result<Self, String> {
        let inputs = row(input)?;
        let units = match layer.units {
            Units::Count(count) => nonzero("units", count)?,
            Units::Code => code,
        };
        Self::learnt(vec![units], vec![inputs, units], units, 1)
    }

    fn gaussian_code(input: &[usize], code: usize) -> Result<Self, String> {
        let shape = vec![row(input)?, code];
        let mut sizes = Self::learnt(vec![code], shape.clone(), code, 1)?;
        sizes.parameters = kernel_and_bias("mean.", shape.clone(), code);
        sizes.parameters.extend(kernel_and_bias("log_variance.", shape, code));
        sizes.flops *= 2;
        Ok(sizes)
    }

    /// `applications`: how often the whole kernel is applied to one picture.
    fn learnt(output: Vec<usize>, kernel: Vec<usize>, outputs: usize, applications: usize) -> Result<Self, String> {
        let Some(weights) = volume(&kernel).filter(|&weights| weights <= MAX_PARAMETERS) else {
            return Err(format!("its kernel is {}: at most {MAX_PARAMETERS} weights are allowed", text(&kernel)));
        };
        Ok(Self {
            output,
            parameters: kernel_and_bias("", kernel, outputs),
            statistics: Vec::new(),
            // Both factors are bounded, so their product stays under 2^64.
            flops: (2 * weights as u64).saturating_mul(applications as u64),
        })
    }
}

/// The two tensors of a layer with a kernel.
fn kernel_and_bias(prefix: &str, kernel: Vec<usize>, outputs: usize) -> Vec<Parameter> {
    let fans = match kernel.as_slice() {
        [height, width, second_last, last] => {
            Some(Fans { input: height * width * second_last, output: height * width * last })
        }
        [input, output] => Some(Fans { input: *input, output: *output }),
        _ => None,
    };
    vec![
        Parameter { name: format!("{prefix}weight"), shape: kernel, fans, start: 0.0 },
        Parameter { name: format!("{prefix}bias"), shape: vec![outputs], fans: None, start: 0.0 },
    ]
}

fn row(input: &[usize]) -> Result<usize, String> {
    match input {
        &[inputs] => Ok(inputs),
        _ => Err(format!("takes one row of values but gets {}: put a flatten before it", text(input))),
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

fn check_share(name: &str, value: f32) -> Result<(), String> {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} must be at least 0 and below 1, not {value}"))
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
