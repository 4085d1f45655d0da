//! Rows of the optimisers: one update of a parameter and its state.

use super::Problem;
use super::attributes::Attributes;
use super::layout::Role;
use super::ports::{Port, port};
use super::tape::Tape;
use crate::graph::Op;
use crate::op::{Adam, AdamConvention, Adamax, AdamaxConvention};
use crate::tensor::TensorId;

/// Attributes of an optimiser with two decay rates.
pub(super) const TWO_BETAS: &[&str] = &["lr", "beta1", "beta2", "eps", "t", "convention"];

const PARAM: Port = port("param", Role::Elements);
const GRAD: Port = port("grad", Role::Elements);
const M: Port = port("m", Role::Elements);
const U: Port = port("u", Role::Elements);
const V: Port = port("v", Role::Elements);

pub(super) const ADAM_INPUTS: &[Port] = &[PARAM, GRAD, M, V];
pub(super) const ADAM_OUTPUTS: &[Port] = &[PARAM, M, V];
pub(super) const ADAMAX_INPUTS: &[Port] = &[PARAM, GRAD, M, U];
pub(super) const ADAMAX_OUTPUTS: &[Port] = &[PARAM, M, U];

/// Decay rates of the moments where a case leaves them out, the same in all frameworks.
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;

pub(super) fn adam(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let conventions =
        [("keras", AdamConvention::Keras), ("tf1", AdamConvention::Keras), ("torch", AdamConvention::Torch)];
    let op = Adam {
        beta1: attributes.number_or("beta1", BETA1)? as f32,
        beta2: attributes.number_or("beta2", BETA2)? as f32,
        epsilon: attributes.number("eps")? as f32,
        convention: attributes.choice("convention", &conventions)?,
    };
    update(tape, attributes, op)
}

pub(super) fn adamax(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let conventions = [("keras", AdamaxConvention::Keras), ("torch", AdamaxConvention::Torch)];
    let op = Adamax {
        beta1: attributes.number_or("beta1", BETA1)? as f32,
        beta2: attributes.number_or("beta2", BETA2)? as f32,
        epsilon: attributes.number("eps")? as f32,
        convention: attributes.choice("convention", &conventions)?,
    };
    update(tape, attributes, op)
}

/// Records an optimiser that takes the case's arrays, the clock and the learning rate.
fn update(tape: &mut Tape, attributes: &Attributes<'_>, op: impl Op + 'static) -> Result<Vec<TensorId>, Problem> {
    let mut inputs = tape.inputs();
    inputs.push(tape.clock(attributes.step()?)?);
    inputs.push(tape.scalar("learning rate", attributes.number("lr")?)?);
    Ok(tape.graph.apply(op, &inputs)?)
}
