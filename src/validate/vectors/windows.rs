//! Rows of the ops with a window: convolutions and pooling.

use super::Problem;
use super::attributes::{Attributes, Sides};
use super::tape::Tape;
use crate::op::{Activation, AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d, Padding, Upsample2d, Window};
use crate::tensor::TensorId;

pub(super) fn conv2d(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let window = kernel_window(tape, attributes)?;
    let (window, output) = place(window, attributes.padding()?, tape.size("x")?)?;
    let op = Conv2d { window, output, activation: Activation::Linear };
    Ok(tape.graph.apply(op, &tape.inputs())?)
}

/// The full output has (n - 1) stride + reach pixels; the op keeps those from `window.padding` on, and beyond the full
/// output there is the bias alone.
pub(super) fn conv_transpose2d(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let mut window = kernel_window(tape, attributes)?;
    let (input, output_size) = (tape.size("x")?, attributes.pair("output_size")?);
    let output = match (attributes.padding()?, output_size) {
        (Sides::Named(Padding::Same), None) => {
            let output;
            (window, output) = window.transposed_over(Padding::Same, input)?;
            output
        }
        (Sides::Named(Padding::Same), Some(output)) => {
            // The gradient of the SAME convolution that makes `input` of `output`, if there is one.
            let (convolution, made) = window.over(Padding::Same, output)?;
            if made != input {
                return Err(attributes.unsupported("output_size"));
            }
            window = convolution;
            output
        }
        (Sides::Named(Padding::Valid), wanted) => window_of_full(window, [0; 4], input, wanted)?,
        (Sides::Explicit(sides), wanted) => {
            let [top, _, left, _] = sides;
            window.padding = [top, left];
            window_of_full(window, sides, input, wanted)?
        }
    };
    let op = ConvTranspose2d { window, output, activation: Activation::Linear };
    Ok(tape.graph.apply(op, &tape.inputs())?)
}

/// The size wanted, or what padding leaves of the full output.
fn window_of_full(
    window: Window,
    [top, bottom, left, right]: [usize; 4],
    input: [usize; 2],
    wanted: Option<[usize; 2]>,
) -> Result<[usize; 2], Problem> {
    if let Some(output) = wanted {
        return Ok(output);
    }
    let left_over = |axis: usize, cut: usize| {
        let full = (input[axis] - 1) * window.stride[axis] + reach(window, axis);
        full.checked_sub(cut).filter(|&n| n > 0).ok_or_else(|| {
            Problem::Wrong(format!("padding takes {cut} pixels of a full output of {full}: nothing is left"))
        })
    };
    Ok([left_over(0, top + bottom)?, left_over(1, left + right)?])
}

pub(super) fn max_pool2d(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let (window, output) = pool(tape, attributes)?;
    Ok(tape.graph.apply(MaxPool2d { window, output }, &tape.inputs())?)
}

/// Whether padding counts in the mean is PyTorch's and ONNX's `count_include_pad`; by default it does not.
pub(super) fn avg_pool2d(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let (window, output) = pool(tape, attributes)?;
    let count_padding = attributes.flag("count_include_pad")?;
    Ok(tape.graph.apply(AvgPool2d { window, output, count_padding }, &tape.inputs())?)
}

pub(super) fn upsample2d(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let factor = attributes.required_pair("factor")?;
    Ok(tape.graph.apply(Upsample2d { factor }, &tape.inputs())?)
}

/// The window of a pooling; its stride is its size where it is left out.
fn pool(tape: &Tape, attributes: &Attributes<'_>) -> Result<(Window, [usize; 2]), Problem> {
    let kernel = attributes.required_pair("size")?;
    let stride = attributes.pair("stride")?.unwrap_or(kernel);
    let dilation = attributes.pair("dilation")?.unwrap_or([1; 2]);
    place(Window { kernel, stride, dilation, padding: [0; 2] }, attributes.padding()?, tape.size("x")?)
}

/// The window of the kernel in `weight` with the case's stride and dilation.
fn kernel_window(tape: &Tape, attributes: &Attributes<'_>) -> Result<Window, Problem> {
    let stride = attributes.pair("stride")?.unwrap_or([1; 2]);
    tape.kernel_window(stride, attributes.pair("dilation")?.unwrap_or([1; 2]))
}

/// The window with its padding over an input of this size, and the size of the output.
fn place(mut window: Window, sides: Sides, input: [usize; 2]) -> Result<(Window, [usize; 2]), Problem> {
    let [top, bottom, left, right] = match sides {
        Sides::Named(padding) => return Ok(window.over(padding, input)?),
        Sides::Explicit(sides) => sides,
    };
    window.padding = [top, left];
    let positions = |axis: usize, padding: usize| {
        let (padded, reach) = (input[axis] + padding, reach(window, axis));
        let room = padded.checked_sub(reach).ok_or_else(|| {
            Problem::Wrong(format!("a window over {reach} pixels does not fit into {padded}, padding included"))
        })?;
        Ok::<usize, Problem>(room / window.stride[axis] + 1)
    };
    Ok((window, [positions(0, top + bottom)?, positions(1, left + right)?]))
}

/// Pixels from the first to the last tap. Kernels are not empty: no array of a case is.
fn reach(window: Window, axis: usize) -> usize {
    (window.kernel[axis] - 1) * window.dilation[axis] + 1
}
