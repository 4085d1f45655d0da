//! Rules about chains of dense layers.

use super::{Fusion, Rewrite, Tape};
use crate::graph::Node;
use crate::kernel::Target;
use crate::op::{
    Activation, DenseStack, DenseUpdate, LossGradient, MOST_LAYERS, Matmul, TimesSlope, WeightBiasGrad, moments_rule,
};
use crate::tensor::TensorId;
use std::sync::Arc;

pub(super) const STACK: Fusion = Fusion {
    name: "dense stack",
    what: "dense layers one after the other, the loss behind them and the gradients of what they pass on become one op: each \
           workgroup takes a few rows through all of them, for the price of two launches in the place of two for each layer",
    suits: on_gpus,
    find: stack,
};

/// Where launches cost more than the arithmetic of a small layer. A software driver's cost little, its barriers much.
fn on_gpus(target: Option<&Target>) -> bool {
    target.is_some_and(|target| !target.is_software())
}

/// Weights of all layers together, and rows of the batch, up to which launches are taken to be what a chain costs: every
/// four rows read all weights again, from a cache that should hold them. Estimates, measured nowhere.
const MOST_WEIGHTS: usize = 1 << 20;
const MOST_ROWS: usize = 1024;

/// A layer of a chain, last first.
struct Layer {
    /// What it reads.
    x: TensorId,
    w: TensorId,
    bias: TensorId,
    activation: Activation,
    /// The gradient of what its activation takes.
    dz: TensorId,
}

fn stack(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let loss = *tape.op::<LossGradient>(n)?;
    let [seen, target] = tape.nodes[n].inputs[..] else { return None };
    let mut removed = vec![n];
    // The loss is that of pictures, perhaps: the last layer's output under another shape.
    let mut y = seen;
    if let Some(view) = tape.writer(seen).filter(|&at| tape.nodes[at].op.is_view()) {
        tape.only_reader(seen)?;
        removed.push(view);
        y = tape.nodes[view].inputs[0];
    }
    tape.only_reader(y)?;
    let mut at = tape.writer(y)?;
    dense(tape, at).filter(|op| op.activation == loss.activation)?;
    let mut dz = tape.nodes[n].outputs[1];
    if tape.ty(dz) != tape.ty(y) {
        let view = tape.only_reader(dz).filter(|&at| tape.nodes[at].op.is_view())?;
        removed.push(view);
        dz = tape.nodes[view].outputs[0];
    }
    let mut layers = Vec::new();
    loop {
        removed.push(at);
        let [x, w, bias] = tape.nodes[at].inputs[..] else { return None };
        layers.push(Layer { x, w, bias, activation: dense(tape, at)?.activation, dz });
        let Some((before, gradient)) = before(tape, dz, w, x).filter(|_| layers.len() < MOST_LAYERS) else { break };
        removed.push(gradient);
        (at, dz) = (before, tape.nodes[gradient].outputs[0]);
    }
    let [rows, _] = tape.ty(y).shape.matrix()?;
    let weights: usize = layers.iter().map(|layer| tape.ty(layer.w).shape.len()).sum();
    if layers.len() < 2 || rows > MOST_ROWS || weights > MOST_WEIGHTS {
        return None;
    }
    layers.reverse();
    let activations = layers.iter().map(|layer| layer.activation).collect();
    let op = DenseStack { activations, loss: loss.loss, upstream: loss.upstream };
    let mut inputs = vec![layers[0].x, target];
    inputs.extend(layers.iter().flat_map(|layer| [layer.w, layer.bias]));
    let mut outputs = vec![tape.nodes[n].outputs[0]];
    outputs.extend(layers[1..].iter().map(|layer| layer.x));
    outputs.extend(layers.iter().map(|layer| layer.dz));
    let placed = Node { op: Arc::new(op), inputs, outputs, ..tape.nodes[n].clone() };
    Some(Rewrite { removed, placed: vec![placed] })
}

/// The dense layer at a place, if there is one.
fn dense(tape: &Tape, at: usize) -> Option<Matmul> {
    let op = *tape.op::<Matmul>(at)?;
    (!op.transpose_a && !op.transpose_b && tape.nodes[at].inputs.len() == 3).then_some(op)
}

/// The layer that makes what a layer reads, and the op that makes its gradient of that of the layer.
fn before(tape: &Tape, dz: TensorId, w: TensorId, x: TensorId) -> Option<(usize, usize)> {
    let at = tape.writer(x)?;
    let activation = dense(tape, at)?.activation;
    let makes_gradient = |&&n: &&usize| {
        let inputs = &tape.nodes[n].inputs[..];
        let sloped = tape.op::<TimesSlope>(n).and_then(TimesSlope::of_dense_input) == Some(activation);
        let plain = activation == Activation::Linear
            && tape
                .op::<Matmul>(n)
                .is_some_and(|op| !op.transpose_a && op.transpose_b && op.activation == Activation::Linear);
        (sloped && inputs == [dz, w, x]) || (plain && inputs == [dz, w])
    };
    Some((at, *tape.readers(dz).iter().find(makes_gradient)?))
}

pub(super) const UPDATE: Fusion = Fusion {
    name: "dense update",
    what: "the gradients of dense layers that nothing but the optimiser reads, and its update of their weights and biases, \
           become one op: one launch for as many layers as the device has bindings for, and no gradient is written",
    suits: on_gpus,
    find: update,
};

fn update(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let (rule, tensors) = moments_rule(tape.nodes[n].op.as_ref())?;
    let all = &tape.nodes[n].inputs;
    // Of each tensor the parameter, its gradient and two moments; then what they share.
    let (own, shared) = all.split_at_checked(4 * tensors)?;
    let mut inputs = Vec::new();
    let mut removed = vec![n];
    let mut weights = 0;
    for pair in own.chunks(8) {
        let [w, dw, w_first, w_second, b, db, b_first, b_second] = *pair else { return None };
        let at = tape.only_reader(dw).and(tape.only_reader(db)).and_then(|_| tape.writer(dw))?;
        tape.op::<WeightBiasGrad>(at).filter(|op| op.window.is_none() && tape.nodes[at].outputs == [dw, db])?;
        let [x, dz] = tape.nodes[at].inputs[..] else { return None };
        inputs.extend([x, dz, w, w_first, w_second, b, b_first, b_second]);
        removed.push(at);
        weights += tape.ty(w).shape.len();
    }
    let [rows, _] = tape.ty(*inputs.first()?).shape.matrix()?;
    if rows > MOST_ROWS || weights > MOST_WEIGHTS {
        return None;
    }
    inputs.extend(shared);
    let op = DenseUpdate { rule, layers: tensors / 2 };
    let placed = Node { op: Arc::new(op), inputs, ..tape.nodes[n].clone() };
    Some(Rewrite { removed, placed: vec![placed] })
}
