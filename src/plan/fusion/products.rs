//! Rules about convolutions and dense layers: what may follow their sums, and what comes with their gradients.

use super::{Fusion, Rewrite, Tape, everywhere};
use crate::graph::{Node, Op};
use crate::op::{
    ActivateBackward, Conv2d, Conv2dMaxPool2d, Conv2dWeightGrad, ConvTranspose2d, LinearOp, Matmul, MaxPool2d,
    MaxPool2dBackward, Reshape, SumRows, TimesSlope, Unpooled, UnpooledOp, WeightBiasGrad,
};
use std::sync::Arc;

pub(super) const ACTIVATION: Fusion = Fusion {
    name: "activation",
    what: "an op and the activation behind it become one op, if it has a kernel with that end: what passes between them is \
           neither written nor read",
    suits: everywhere,
    find: activation,
};

fn activation(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let next = &tape.nodes[n];
    let between = next.inputs.first().copied().filter(|&id| next.inputs.len() == 1 && tape.is_between(id))?;
    let at = tape.writer(between).filter(|&at| tape.nodes[at].outputs.len() == 1)?;
    let op = tape.nodes[at].op.fuse(next.op.as_ref())?;
    let placed = Node { op, outputs: next.outputs.clone(), ..tape.nodes[at].clone() };
    Some(Rewrite { removed: vec![at, n], placed: vec![placed] })
}

pub(super) const POOLED_SLOPE: Fusion = Fusion {
    name: "pooled slope",
    what: "an activation's gradient behind that of a max-pooling comes before it: the maximum is where the gradient goes, so \
           its slope is the one, and the pooled tensors are a quarter of the size",
    suits: everywhere,
    find: pooled_slope,
};

fn pooled_slope(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let slope = *tape.op::<ActivateBackward>(n)?;
    let (gradient, y) = (tape.nodes[n].inputs[0], tape.nodes[n].inputs[1]);
    let at = tape.writer(gradient).filter(|_| tape.is_between(gradient))?;
    tape.op::<MaxPool2dBackward>(at)?;
    let (dp, argmax) = (tape.nodes[at].inputs[0], tape.nodes[at].inputs[1]);
    let forward = tape.writer(argmax)?;
    tape.op::<MaxPool2d>(forward).filter(|_| tape.nodes[forward].inputs == [y])?;
    // The value at the maximum of windows that overlap may get gradients from several; each has the same slope.
    let pooled = tape.nodes[forward].outputs[0];
    let before = tape.temporary(tape.ty(dp).clone(), "slope at the maximum");
    let slope = Node { op: Arc::new(slope), inputs: vec![dp, pooled], outputs: vec![before], ..tape.nodes[n].clone() };
    let outputs = tape.nodes[n].outputs.clone();
    let spread = Node { inputs: vec![before, argmax], outputs, ..tape.nodes[at].clone() };
    Some(Rewrite { removed: vec![at, n], placed: vec![slope, spread] })
}

pub(super) const POOLING: Fusion = Fusion {
    name: "pooling",
    what: "a convolution and the 2x2 max-pooling behind it become one op, which writes the maxima and their places only",
    suits: everywhere,
    find: pooling,
};

fn pooling(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let pool = *tape.op::<MaxPool2d>(n)?;
    let x = tape.nodes[n].inputs[0];
    let at = tape.writer(x).filter(|_| tape.is_between(x))?;
    let op = Conv2dMaxPool2d::new(*tape.op::<Conv2d>(at)?, pool)?;
    let placed = Node { op: Arc::new(op), outputs: tape.nodes[n].outputs.clone(), ..tape.nodes[at].clone() };
    Some(Rewrite { removed: vec![at, n], placed: vec![placed] })
}

pub(super) const SLOPE: Fusion = Fusion {
    name: "slope",
    what: "the gradient of a layer's input and that of the activation which the input came from become one op: the slope is \
           applied once, where the gradient is made, not by each of those that load it",
    suits: everywhere,
    find: slope,
};

fn slope(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let slope = *tape.op::<ActivateBackward>(n)?;
    let (gradient, mut y) = (tape.nodes[n].inputs[0], tape.nodes[n].inputs[1]);
    let mut at = tape.writer(gradient).filter(|_| tape.is_between(gradient))?;
    let mut removed = vec![n];
    // A dense layer's input may be pictures under another shape: y is seen in the product's shape, dx in its own.
    let view = Some(at).filter(|&at| tape.nodes[at].op.is_view());
    if let Some(view) = view {
        removed.push(view);
        let flat = tape.nodes[view].inputs[0];
        at = tape.writer(flat).filter(|_| tape.is_between(flat))?;
    }
    removed.push(at);
    let op = TimesSlope::new(linear(tape.nodes[at].op.as_ref())?, slope)?;
    let mut product = tape.nodes[at].clone();
    if product.inputs.len() != 2 {
        return None;
    }
    let mut placed = Vec::new();
    let outputs = tape.nodes[n].outputs.clone();
    let mut behind = None;
    if let Some(view) = view {
        let shape = tape.ty(product.outputs[0]).shape.clone();
        let flat = tape.temporary(tape.ty(product.outputs[0]).clone(), "activation of a dense layer's input");
        placed.push(Node {
            op: Arc::new(Reshape { shape }),
            inputs: vec![y],
            outputs: vec![flat],
            ..tape.nodes[n].clone()
        });
        y = flat;
        behind = Some(Node { outputs, ..tape.nodes[view].clone() });
    } else {
        product.outputs = outputs;
    }
    product.inputs.push(y);
    placed.push(Node { op: Arc::new(op), ..product });
    placed.extend(behind);
    Some(Rewrite { removed, placed })
}

fn linear(op: &dyn Op) -> Option<LinearOp> {
    let conv2d = op.downcast_ref::<Conv2d>().copied().map(LinearOp::Conv2d);
    let transposed = op.downcast_ref::<ConvTranspose2d>().copied().map(LinearOp::ConvTranspose2d);
    conv2d.or(transposed).or(op.downcast_ref::<Matmul>().copied().map(LinearOp::Matmul))
}

pub(super) const BIAS_GRADIENT: Fusion = Fusion {
    name: "bias gradient",
    what: "the gradients of a layer's weights and of its bias become one op, which reads the layer's upstream once",
    suits: everywhere,
    find: bias_gradient,
};

fn bias_gradient(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    tape.op::<SumRows>(n)?;
    let dy = tape.nodes[n].inputs[0];
    let (at, window) = tape.readers(dy).iter().find_map(|&at| {
        let weights = tape.op::<Conv2dWeightGrad>(at).map(|op| Some(op.window));
        let dense = tape.op::<Matmul>(at).filter(|op| op.transpose_a && !op.transpose_b && is_plain(op)).map(|_| None);
        let window = weights.or(dense)?;
        // A transposed convolution's upstream is on the other side, where each window sees it several times.
        (tape.nodes[at].inputs.len() == 2 && tape.nodes[at].inputs[1] == dy).then_some((at, window))
    })?;
    let outputs = vec![tape.nodes[at].outputs[0], tape.nodes[n].outputs[0]];
    let placed = Node { op: Arc::new(WeightBiasGrad { window }), outputs, ..tape.nodes[at].clone() };
    Some(Rewrite { removed: vec![at, n], placed: vec![placed] })
}

fn is_plain(op: &Matmul) -> bool {
    op.activation == crate::op::Activation::Linear
}

pub(super) const UNPOOLING: Fusion = Fusion {
    name: "un-pooling",
    what: "the gradients of a convolution behind a max-pooling read the pooled gradient and the places of the maxima: its spread \
           over four times the pixels, three in four of them zero, is never written",
    // A software driver's kernels are bound by their loads, of which this has twice as many.
    suits: |target| target.is_some_and(|target| !target.is_software()),
    find: unpooling,
};

fn unpooling(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let slope = tape.op::<TimesSlope>(n).copied().map(UnpooledOp::InputSlope);
    let input = tape.op::<ConvTranspose2d>(n).copied().map(UnpooledOp::Input);
    let weights = tape.op::<WeightBiasGrad>(n).copied().map(UnpooledOp::Weights);
    let of = slope.or(input).or(weights)?;
    let (mut inputs, spread) = of.without_spread(&tape.nodes[n].inputs)?;
    let at = tape.writer(spread)?;
    let op = Unpooled::new(of, tape.op::<MaxPool2dBackward>(at)?)?;
    inputs.splice(0..0, tape.nodes[at].inputs.iter().copied());
    let outputs = tape.nodes[n].outputs.clone();
    let placed = Node { op: Arc::new(op), inputs, outputs, ..tape.nodes[n].clone() };
    Some(Rewrite { removed: vec![n], placed: vec![placed] })
}
