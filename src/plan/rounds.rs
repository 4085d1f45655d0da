//! The order of a plan whose ranks exchange: as few exchanges as the reductions allow, each of all tensors that are ready.

use super::{Step, roots};
use std::ops::Range;

/// Puts reductions together. Round by round come the launches that need no exchange but those before them, then the
/// reductions of what these launches wrote. Within a round the order stays, and every tensor is still written before it is
/// read, and read before it is replaced.
pub(super) fn arrange(steps: Vec<Step>, tensors: usize) -> Vec<Step> {
    if steps.iter().all(|step| step.op.reduction().is_none()) {
        return steps;
    }
    let root = roots(&steps, tensors);
    // The round of launches in which each buffer can be read, and that of whatever touched it last: launches of round n
    // have the place 2 n, the reductions that follow them 2 n + 1.
    let mut readable = vec![0_usize; tensors];
    let mut touched = vec![0_usize; tensors];
    let mut placed: Vec<(usize, Step)> = Vec::with_capacity(steps.len());
    for step in steps {
        let reduces = step.op.reduction().is_some();
        let read = step.inputs.iter().map(|id| readable[root[id.index()]]).max().unwrap_or(0);
        let written = step.outputs.iter().map(|id| touched[root[id.index()]]).max().unwrap_or(0);
        let place = match reduces {
            true => read.max(written) | 1,
            // A reduction that touched what is replaced here was its reader, or its writer.
            false => read.max(written).next_multiple_of(2),
        };
        for id in &step.outputs {
            readable[root[id.index()]] = if reduces { place + 1 } else { place };
        }
        for id in step.inputs.iter().chain(&step.outputs) {
            let touched = &mut touched[root[id.index()]];
            *touched = place.max(*touched);
        }
        placed.push((place, step));
    }
    placed.sort_by_key(|&(place, _)| place);
    placed.into_iter().map(|(_, step)| step).collect()
}

/// Where reductions stand together, in order.
pub(super) fn exchanges(steps: &[Step]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in (0..steps.len()).filter(|&at| steps[at].op.reduction().is_some()) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}
