//! Rows of the optimisers: one update of a parameter and its state.

use super::Problem;
use super::attributes::Attributes;
use super::layout::Role;
use super::ports::{Port, optional, port};
use super::tape::Tape;
use crate::graph::Op;
use crate::op::{
    Adam, AdamConvention, Adamax, AdamaxConvention, Nadam, NadamSchedule, RmsProp, RmsPropConvention, Sgd,
    SgdConvention,
};
use crate::tensor::TensorId;

/// Attributes of an optimiser with two decay rates.
pub(super) const TWO_BETAS: &[&str] = &["lr", "beta1", "beta2", "eps", "t", "convention"];

/// Attributes of Nadam.
pub(super) const NADAM_ATTRIBUTES: &[&str] = &["lr", "beta1", "beta2", "eps", "t", "convention", "psi", "mu_product"];

const PARAM: Port = port("param", Role::Elements);
const GRAD: Port = port("grad", Role::Elements);
const M: Port = port("m", Role::Elements);
const S: Port = port("s", Role::Elements);
const U: Port = port("u", Role::Elements);
const V: Port = port("v", Role::Elements);

pub(super) const ADAM_INPUTS: &[Port] = &[PARAM, GRAD, M, V];
pub(super) const ADAM_OUTPUTS: &[Port] = &[PARAM, M, V];
pub(super) const ADAMAX_INPUTS: &[Port] = &[PARAM, GRAD, M, U];
pub(super) const ADAMAX_OUTPUTS: &[Port] = &[PARAM, M, U];
pub(super) const NADAM_OUTPUTS: &[Port] = &[PARAM, M, V, port("mu_product", Role::Elements)];
pub(super) const RMSPROP_INPUTS: &[Port] = &[PARAM, GRAD, S];
pub(super) const RMSPROP_OUTPUTS: &[Port] = &[PARAM, S];
/// Without momentum there is no m.
pub(super) const SGD_INPUTS: &[Port] = &[PARAM, GRAD, optional("m", Role::Elements)];
pub(super) const SGD_OUTPUTS: &[Port] = &[PARAM, M];

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

/// Keras and PyTorch have one formula and differ in psi alone: 0.004, or 1 in Keras 3, where a case must say so.
pub(super) fn nadam(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let torch = attributes.choice("convention", &[("keras", false), ("torch", true)])?;
    let psi = if torch { attributes.number_or("psi", 0.004)? } else { attributes.number("psi")? };
    let beta1 = attributes.number_or("beta1", BETA1)?;
    let op = Nadam {
        beta1: beta1 as f32,
        beta2: attributes.number_or("beta2", BETA2)? as f32,
        epsilon: attributes.number("eps")? as f32,
    };
    let product = product_before(attributes, beta1, psi)?;
    let (clock, product) = (tape.clock(attributes.step()?)?, tape.scalar("mu_product", product)?);
    let schedule = NadamSchedule { beta1: op.beta1, psi: psi as f32 };
    let advanced = tape.graph.apply(schedule, &[product, clock])?;
    let (Some(&product), Some(&weights)) = (advanced.first(), advanced.get(1)) else { return Ok(advanced) };
    let rate = tape.scalar("learning rate", attributes.number("lr")?)?;
    let inputs = [tape.inputs(), vec![clock, rate, weights]].concat();
    let mut outputs = tape.graph.apply(op, &inputs)?;
    outputs.push(product);
    Ok(outputs)
}

/// The product of all mu before this update. A case may give it, as the state that it is, or the product with this
/// update's mu, as the formula has it, or neither.
fn product_before(attributes: &Attributes<'_>, beta1: f64, psi: f64) -> Result<f64, Problem> {
    let t = attributes.step()?;
    let mu = |t: u64| beta1 * (1.0 - 0.5 * 0.96_f64.powf(psi * t as f64));
    // Past that many steps the product is below what an f32 can hold.
    let before = (1..t.min(2000)).map(mu).product::<f64>();
    let after = before * mu(t);
    let given = attributes.number_or("mu_product", before)?;
    let is_after = (given - after).abs() <= 1e-5 * after && (given - before).abs() > 1e-5 * before;
    Ok(if is_after { before } else { given })
}

/// TensorFlow 1 and Keras have epsilon under the root.
pub(super) fn rmsprop(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let conventions =
        [("keras", RmsPropConvention::Keras), ("tf1", RmsPropConvention::Tf1), ("torch", RmsPropConvention::Torch)];
    let op = RmsProp {
        rho: attributes.number_or("rho", 0.9)? as f32,
        epsilon: attributes.number("eps")? as f32,
        convention: attributes.choice("convention", &conventions)?,
    };
    // The update does not depend on its number.
    attributes.step()?;
    let rate = tape.scalar("learning rate", attributes.number("lr")?)?;
    Ok(tape.graph.apply(op, &[tape.inputs(), vec![rate]].concat())?)
}

pub(super) fn sgd(tape: &mut Tape, attributes: &Attributes<'_>) -> Result<Vec<TensorId>, Problem> {
    let conventions = [("keras", SgdConvention::Keras), ("tf1", SgdConvention::Torch), ("torch", SgdConvention::Torch)];
    let op = Sgd {
        momentum: attributes.number_or("momentum", 0.0)? as f32,
        nesterov: attributes.flag("nesterov")?,
        convention: attributes.choice("convention", &conventions)?,
    };
    attributes.step()?;
    let mut inputs = vec![tape.input("param")?, tape.input("grad")?];
    if op.has_momentum() {
        inputs.push(tape.input("m")?);
    }
    inputs.push(tape.scalar("learning rate", attributes.number("lr")?)?);
    Ok(tape.graph.apply(op, &inputs)?)
}

/// Records an optimiser that takes the case's arrays, the clock and the learning rate.
fn update(tape: &mut Tape, attributes: &Attributes<'_>, op: impl Op + 'static) -> Result<Vec<TensorId>, Problem> {
    let mut inputs = tape.inputs();
    inputs.push(tape.clock(attributes.step()?)?);
    inputs.push(tape.scalar("learning rate", attributes.number("lr")?)?);
    Ok(tape.graph.apply(op, &inputs)?)
}
