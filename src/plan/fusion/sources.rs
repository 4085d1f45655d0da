//! Rules about batches.

use super::{Fusion, Rewrite, Tape, everywhere};
use crate::graph::Node;
use crate::op::{BatchNoise, Gather, GatherNoise, GaussianNoise, PixelNoise};
use std::sync::Arc;

pub(super) const NOISE: Fusion = Fusion {
    name: "noise",
    what: "a batch is gathered, normalised and made noisy in one pass",
    suits: everywhere,
    find: noise,
};

fn noise(tape: &mut Tape, n: usize) -> Option<Rewrite> {
    let gaussian = tape.op::<GaussianNoise>(n).copied().map(BatchNoise::Gaussian);
    let noise = gaussian.or(tape.op::<PixelNoise>(n).copied().map(BatchNoise::Pixel))?;
    let [x, rows, clock] = tape.nodes[n].inputs[..] else { return None };
    let at = tape.writer(x)?;
    let gather = tape.op::<Gather>(at)?.clone();
    // Another clock is another noise: validation's stands still.
    if tape.nodes[at].outputs != [x, rows] || tape.nodes[at].inputs[1] != clock {
        return None;
    }
    let outputs = vec![x, rows, tape.nodes[n].outputs[0]];
    let placed = Node { op: Arc::new(GatherNoise { gather, noise }), outputs, ..tape.nodes[at].clone() };
    Some(Rewrite { removed: vec![at, n], placed: vec![placed] })
}
