//! Rules about losses.

use super::{Fusion, Rewrite, Tape, everywhere};
use crate::graph::Node;
use crate::op::{
    ActivateBackward, Activation, BceLogits, BceLogitsBackward, Fill, LossGradient, LossOp, Mse, MseBackward, Scale,
};
use std::sync::Arc;

pub(super) const CONSTANT: Fusion =
    Fusion { name: "constant", what: "a scaled constant is a constant", suits: everywhere, find: constant };

fn constant(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let factor = tape.op::<Scale>(n)?.factor;
    let x = tape.nodes[n].inputs[0];
    let at = tape.writer(x).filter(|_| tape.is_between(x))?;
    let fill = tape.op::<Fill>(at)?;
    let op = Fill { value: fill.value * factor, ..fill.clone() };
    let placed = Node { op: Arc::new(op), outputs: tape.nodes[n].outputs.clone(), ..tape.nodes[at].clone() };
    Some(Rewrite { removed: vec![at, n], placed: vec![placed] })
}

pub(super) const GRADIENT: Fusion = Fusion {
    name: "loss gradient",
    what: "a loss, its gradient and that of the activation before it become one op: the output and its target are read once",
    suits: everywhere,
    find: gradient,
};

fn gradient(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let loss = match tape.nodes[n].op.as_ref() {
        op if op.downcast_ref::<MseBackward>().is_some() => LossOp::Mse,
        op if op.downcast_ref::<BceLogitsBackward>().is_some() => LossOp::BceLogits,
        _ => return None,
    };
    let [x, target, upstream] = tape.nodes[n].inputs[..] else { return None };
    let upstream = tape.op::<Fill>(tape.writer(upstream)?)?.value;
    let value = tape.readers(x).iter().copied().find(|&at| {
        let of_loss = match loss {
            LossOp::Mse => tape.op::<Mse>(at).is_some(),
            LossOp::BceLogits => tape.op::<BceLogits>(at).is_some(),
        };
        of_loss && tape.nodes[at].inputs == [x, target]
    })?;
    let dx = tape.nodes[n].outputs[0];
    let mut op = LossGradient { loss, upstream, activation: Activation::Linear };
    let mut outputs = vec![tape.nodes[value].outputs[0], dx];
    let mut removed = vec![value, n];
    let mut behind = None;
    // The activation's gradient, if it alone takes what comes out, perhaps under another shape.
    let view = tape.only_reader(dx).filter(|&at| tape.nodes[at].op.is_view());
    let seen = view.map_or(dx, |at| tape.nodes[at].outputs[0]);
    if let Some(at) = tape.only_reader(seen)
        && let Some(slope) = tape.op::<ActivateBackward>(at)
        && tape.nodes[at].inputs[0] == seen
        && tape.origin(tape.nodes[at].inputs[1]) == tape.origin(x)
    {
        op.activation = slope.kind;
        removed.push(at);
        let written = tape.nodes[at].outputs.clone();
        match view {
            Some(view) => {
                removed.push(view);
                behind = Some(Node { outputs: written, ..tape.nodes[view].clone() });
            }
            None => outputs[1] = written[0],
        }
    }
    let fused = Node { op: Arc::new(op), inputs: vec![x, target], outputs, ..tape.nodes[n].clone() };
    Some(Rewrite { removed, placed: [Some(fused), behind].into_iter().flatten().collect() })
}
