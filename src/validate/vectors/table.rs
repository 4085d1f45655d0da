//! The table of ops that cases may have: one row an op, with its attributes, its arrays and how it is recorded.

use super::Problem;
use super::attributes::Attributes;
use super::layout::Role;
use super::ports::{Port, optional, port};
use super::tape::Tape;
use super::{optimizers, windows};
use crate::op::{Activate, Activation, BatchNorm, BatchNormTraining, BatchStatistics, BceLogits, Matmul, Mse};
use crate::tensor::TensorId;

/// One row: an op of a `case.json`.
pub(super) struct VectorOp {
    /// The op's name in cases.
    pub(super) name: &'static str,
    /// Attributes that it may have.
    pub(super) attributes: &'static [&'static str],
    /// Arrays that it reads, those that may be left out last.
    pub(super) inputs: &'static [Port],
    /// Arrays that it writes; the upstream gradient is that of the first.
    pub(super) outputs: &'static [Port],
    /// Records the op and gives its outputs in the order of `outputs`; surplus ones may be left out at the end.
    pub(super) record: fn(&mut Tape, &Attributes<'_>) -> Result<Vec<TensorId>, Problem>,
}

/// The op of this name.
pub(super) fn find(name: &str) -> Result<&'static VectorOp, Problem> {
    OPS.iter().find(|op| op.name == name).ok_or_else(|| Problem::Unsupported(format!("op `{name}`")))
}

const X: &[Port] = &[port("x", Role::Elements)];
const Y: &[Port] = &[port("y", Role::Elements)];
const PICTURE: &[Port] = &[port("x", Role::Picture)];
const NEW_PICTURE: &[Port] = &[port("y", Role::Picture)];
const CONVOLUTION: &[Port] = &[port("x", Role::Picture), port("weight", Role::Kernel), optional("bias", Role::Vector)];
const DENSE: &[Port] = &[port("x", Role::Matrix), port("weight", Role::DenseWeight), optional("bias", Role::Vector)];
const PRODUCT: &[Port] = &[port("a", Role::Matrix), port("b", Role::Matrix)];
const BATCH_NORM: &[Port] = &[
    port("x", Role::Channels),
    port("weight", Role::Vector),
    port("bias", Role::Vector),
    port("running_mean", Role::Vector),
    port("running_var", Role::Vector),
];
const LOSS: &[Port] = &[port("x", Role::Elements), port("target", Role::Elements)];

/// Every op that cases may have.
pub(super) const OPS: &[VectorOp] = &[
    VectorOp {
        name: "conv2d",
        attributes: &["stride", "padding", "dilation"],
        inputs: CONVOLUTION,
        outputs: NEW_PICTURE,
        record: windows::conv2d,
    },
    VectorOp {
        name: "conv_transpose2d",
        attributes: &["stride", "padding", "dilation", "output_size"],
        inputs: CONVOLUTION,
        outputs: NEW_PICTURE,
        record: windows::conv_transpose2d,
    },
    VectorOp {
        name: "max_pool2d",
        attributes: &["size", "stride", "padding", "dilation"],
        inputs: PICTURE,
        outputs: &[port("y", Role::Picture), port("argmax", Role::Indices)],
        record: windows::max_pool2d,
    },
    VectorOp {
        name: "avg_pool2d",
        attributes: &["size", "stride", "padding", "dilation", "count_include_pad"],
        inputs: PICTURE,
        outputs: NEW_PICTURE,
        record: windows::avg_pool2d,
    },
    VectorOp {
        name: "upsample2d",
        attributes: &["factor"],
        inputs: PICTURE,
        outputs: NEW_PICTURE,
        record: windows::upsample2d,
    },
    VectorOp {
        name: "dense",
        attributes: &[],
        inputs: DENSE,
        outputs: &[port("y", Role::Matrix)],
        record: |tape, _| Ok(tape.graph.apply(Matmul::default(), &tape.inputs())?),
    },
    VectorOp {
        name: "matmul",
        attributes: &["transpose_a", "transpose_b"],
        inputs: PRODUCT,
        outputs: &[port("y", Role::Matrix)],
        record: matmul,
    },
    VectorOp {
        name: "relu",
        attributes: &[],
        inputs: X,
        outputs: Y,
        record: |tape, _| activate(tape, Activation::Relu),
    },
    VectorOp { name: "leaky_relu", attributes: &["slope"], inputs: X, outputs: Y, record: leaky_relu },
    VectorOp { name: "elu", attributes: &["alpha"], inputs: X, outputs: Y, record: elu },
    VectorOp {
        name: "sigmoid",
        attributes: &[],
        inputs: X,
        outputs: Y,
        record: |tape, _| activate(tape, Activation::Sigmoid),
    },
    VectorOp {
        name: "tanh",
        attributes: &[],
        inputs: X,
        outputs: Y,
        record: |tape, _| activate(tape, Activation::Tanh),
    },
    VectorOp {
        name: "softplus",
        attributes: &[],
        inputs: X,
        outputs: Y,
        record: |tape, _| activate(tape, Activation::Softplus),
    },
    VectorOp {
        name: "batch_norm",
        attributes: &["momentum", "epsilon", "training"],
        inputs: BATCH_NORM,
        outputs: &[port("y", Role::Channels), port("running_mean", Role::Vector), port("running_var", Role::Vector)],
        record: batch_norm,
    },
    VectorOp {
        name: "mse",
        attributes: &[],
        inputs: LOSS,
        outputs: Y,
        record: |tape, _| Ok(tape.graph.apply(Mse, &tape.inputs())?),
    },
    VectorOp {
        name: "bce_logits",
        attributes: &[],
        inputs: LOSS,
        outputs: Y,
        record: |tape, _| Ok(tape.graph.apply(BceLogits, &tape.inputs())?),
    },
    VectorOp {
        name: "adam",
        attributes: optimizers::TWO_BETAS,
        inputs: optimizers::ADAM_INPUTS,
        outputs: optimizers::ADAM_OUTPUTS,
        record: optimizers::adam,
    },
    VectorOp {
        name: "adamax",
        attributes: optimizers::TWO_BETAS,
        inputs: optimizers::ADAMAX_INPUTS,
        outputs: optimizers::ADAMAX_OUTPUTS,
        record: optimizers::adamax,
    },
    VectorOp {
        name: "nadam",
        attributes: optimizers::NADAM_ATTRIBUTES,
        inputs: optimizers::ADAM_INPUTS,
        outputs: optimizers::NADAM_OUTPUTS,
        record: optimizers::nadam,
    },
    VectorOp {
        name: "rmsprop",
        attributes: &["lr", "rho", "eps", "t", "convention"],
        inputs: optimizers::RMSPROP_INPUTS,
        outputs: optimizers::RMSPROP_OUTPUTS,
        record: optimizers::rmsprop,
    },
    VectorOp {
        name: "sgd",
        attributes: &["lr", "momentum", "nesterov", "t", "convention"],
        inputs: optimizers::SGD_INPUTS,
        outputs: optimizers::SGD_OUTPUTS,
        record: optimizers::sgd,
    },
];

fn activate(tape: &mut Tape, kind: Activation) -> Result<Vec<TensorId>, Problem> {
    Ok(tape.graph.apply(Activate { kind }, &tape.inputs())?)
}

fn elu(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let alpha = coefficient(attributes, "alpha", Some(1.0))?;
    activate(tape, Activation::Elu { alpha })
}

fn leaky_relu(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let slope = coefficient(attributes, "slope", None)?;
    activate(tape, Activation::LeakyRelu { slope })
}

/// The coefficient of an activation; a negative one would not let the output tell which branch was taken.
fn coefficient(attributes: &Attributes<'_>, name: &str, default: Option<f64>) -> Result<f32, Problem> {
    let value = match default {
        Some(default) => attributes.number_or(name, default)?,
        None => attributes.number(name)?,
    };
    let fits = value >= 0.0 && (value as f32).is_finite();
    if fits { Ok(value as f32) } else { Err(attributes.unsupported(name)) }
}

/// Inference has no new running statistics. Keras's variance, the biased one, is what cases have.
fn batch_norm(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let epsilon = attributes.number("epsilon")? as f32;
    if !attributes.flag("training")? {
        return Ok(tape.graph.apply(BatchNorm { epsilon, activation: Activation::Linear }, &tape.inputs())?);
    }
    let momentum = attributes.number("momentum")? as f32;
    let op = BatchNormTraining { momentum, epsilon, unbiased: false, statistics: BatchStatistics::Alone };
    let inputs = ["x", "weight", "bias", "running_mean", "running_var"];
    let [x, weight, bias, mean, variance] = inputs.map(|name| tape.input(name));
    Ok(op.record(&mut tape.graph, [x?, weight?, bias?, mean?, variance?])?.into())
}

fn matmul(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let (transpose_a, transpose_b) = (attributes.flag("transpose_a")?, attributes.flag("transpose_b")?);
    let op = Matmul { transpose_a, transpose_b, activation: Activation::Linear };
    Ok(tape.graph.apply(op, &tape.inputs())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_consistent() {
        let names: BTreeSet<&str> = OPS.iter().map(|op| op.name).collect();
        assert_eq!(names.len(), OPS.len(), "an op has two rows");
        for op in OPS {
            assert!(!op.inputs.is_empty() && !op.outputs.is_empty(), "{}", op.name);
            assert!(
                op.inputs.is_sorted_by_key(|input| !input.required),
                "{}: what may be left out comes last",
                op.name
            );
        }
        assert!(matches!(find("softmax"), Err(Problem::Unsupported(what)) if what == "op `softmax`"));
    }
}
