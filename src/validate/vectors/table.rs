//! The table of ops that cases may have: one row an op, with its attributes, its arrays and how it is recorded.

use super::Problem;
use super::attributes::Attributes;
use super::layout::Role;
use super::ports::{Port, optional, port};
use super::tape::Tape;
use super::{losses, optimizers, windows};
use crate::op::{Activate, Activation, Matmul};
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
        attributes: &["size", "stride", "padding"],
        inputs: PICTURE,
        outputs: &[port("y", Role::Picture), port("argmax", Role::Indices)],
        record: windows::max_pool2d,
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
    VectorOp { name: "mse", attributes: &[], inputs: LOSS, outputs: Y, record: losses::mse },
    VectorOp { name: "bce_logits", attributes: &[], inputs: LOSS, outputs: Y, record: losses::bce_logits },
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
];

fn activate(tape: &mut Tape, kind: Activation) -> Result<Vec<TensorId>, Problem> {
    Ok(tape.graph.apply(Activate { kind }, &tape.inputs())?)
}

fn elu(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    if attributes.number_or("alpha", 1.0)? != 1.0 {
        return Err(attributes.unsupported("alpha"));
    }
    activate(tape, Activation::Elu)
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
