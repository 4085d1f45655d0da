//! Rows of the losses: the mean over all elements.

use super::Problem;
use super::attributes::Attributes;
use super::tape::Tape;
use crate::op::{BceLogits, Mse};
use crate::tensor::TensorId;

pub(super) fn mse(tape: &mut Tape, _: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    Ok(tape.graph.apply(Mse, &tape.inputs())?)
}

pub(super) fn bce_logits(tape: &mut Tape, _: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    Ok(tape.graph.apply(BceLogits, &tape.inputs())?)
}
