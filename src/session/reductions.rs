//! Where a recorded plan stops so that ranks exchange, what they exchange there, and what they make of it.

use super::{Backend, ProgramId};
use crate::error::Result;
use crate::exchange::Ranks;
use crate::graph::Reduction;
use crate::plan::{Plan, Storage};
use std::collections::VecDeque;
use std::ops::Range;

/// A plan cut where its ranks exchange.
#[derive(Debug)]
pub(super) struct Reductions {
    parts: Vec<Part>,
}

/// Launches, and the exchange after them, if one follows.
#[derive(Debug)]
struct Part {
    steps: Range<usize>,
    buckets: Vec<Bucket>,
}

/// Tensors that are exchanged in one message.
#[derive(Debug)]
struct Bucket {
    /// The step of the plan after which all of them are there.
    ready: usize,
    /// Reductions, and the words that each of them takes.
    reductions: Vec<(Reduction, usize)>,
    /// Where the tensors of all of them are, and their words.
    places: Vec<(Storage, usize)>,
}

impl Reductions {
    /// The exchanges of a plan; none where it has none. Tensors are exchanged in buckets of about `bucket_words`, as soon as
    /// all of a bucket are there; without, in one at the end.
    pub(super) fn of(plan: &Plan, bucket_words: Option<usize>) -> Option<Self> {
        let exchanges = plan.exchanges();
        if exchanges.is_empty() {
            return None;
        }
        let mut begin = 0;
        let mut parts: Vec<Part> = Vec::new();
        for exchange in exchanges {
            let mut single: Vec<Bucket> = exchange.clone().filter_map(|at| bucket(plan, at)).collect();
            single.sort_by_key(|bucket| bucket.ready);
            parts.push(Part { steps: begin..exchange.start, buckets: together(single, bucket_words) });
            begin = exchange.end;
        }
        parts.push(Part { steps: begin..plan.steps().len(), buckets: Vec::new() });
        Some(Self { parts })
    }

    /// Runs a recorded plan once.
    ///
    /// # Errors
    /// If the device is lost, or another rank is gone.
    pub(super) fn run(&self, backend: &mut dyn Backend, program: ProgramId, ranks: &Ranks) -> Result<()> {
        for part in &self.parts {
            let mut pending = VecDeque::new();
            let mut done = part.steps.start;
            for bucket in &part.buckets {
                // A bucket is on its way while the device computes the next one.
                let ready = bucket.ready.clamp(done, part.steps.end);
                backend.replay_steps(program, done..ready)?;
                done = ready;
                pending.push_back((bucket, backend.begin_read(program, &bucket.places)?));
                if pending.len() > 1
                    && let Some((bucket, read)) = pending.pop_front()
                {
                    exchange(bucket, backend.finish_read(read)?, backend, program, ranks)?;
                }
            }
            backend.replay_steps(program, done..part.steps.end)?;
            for (bucket, read) in pending {
                exchange(bucket, backend.finish_read(read)?, backend, program, ranks)?;
            }
        }
        Ok(())
    }
}

/// The reduction at a step of a plan, by itself.
fn bucket(plan: &Plan, at: usize) -> Option<Bucket> {
    let step = &plan.steps()[at];
    let reduction = step.op.reduction()?;
    let reduced = step.op.in_place().iter().map(|&(_, input)| step.inputs[input]);
    let places = reduced.map(|id| Some((plan.storage(id)?.clone(), plan.tensors()[id.index()].ty.words())));
    let places: Vec<(Storage, usize)> = places.collect::<Option<_>>()?;
    // Whatever writes to one of the buffers before: the last of them writes the tensor.
    let writes = |n: &usize| {
        let mut outputs = plan.steps()[*n].outputs.iter().filter_map(|&id| plan.storage(id));
        outputs.any(|storage| places.iter().any(|place| place.0 == *storage))
    };
    let ready = (0..at).rev().find(writes).map_or(0, |n| n + 1);
    let words = places.iter().map(|(_, words)| words).sum();
    Some(Bucket { ready, reductions: vec![(reduction, words)], places })
}

/// Buckets of one reduction each as fewer of at most this many words, or of one reduction.
fn together(single: Vec<Bucket>, most_words: Option<usize>) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for next in single {
        match buckets.last_mut() {
            Some(bucket) if most_words.is_none_or(|most| bucket.words() + next.words() <= most) => {
                bucket.ready = next.ready;
                bucket.reductions.extend(next.reductions);
                bucket.places.extend(next.places);
            }
            _ => buckets.push(next),
        }
    }
    buckets
}

impl Bucket {
    fn words(&self) -> usize {
        self.reductions.iter().map(|(_, words)| words).sum()
    }
}

/// Reduces the words of a bucket over all ranks and puts the results onto the device.
fn exchange(
    bucket: &Bucket,
    mut words: Vec<u32>,
    backend: &mut dyn Backend,
    program: ProgramId,
    ranks: &Ranks,
) -> Result<()> {
    if bucket.reductions.iter().all(|(reduction, _)| *reduction == Reduction::Sum) {
        ranks.sum(bytemuck::cast_slice_mut(&mut words))?;
    } else {
        reduce_mixed(bucket, &mut words, ranks)?;
    }
    let mut left = &words[..];
    for (storage, count) in &bucket.places {
        let (now, rest) = left.split_at(*count);
        backend.write_storage(program, storage, now)?;
        left = rest;
    }
    Ok(())
}

/// As [`exchange`] where not all are sums: each rank gets the words of all.
fn reduce_mixed(bucket: &Bucket, words: &mut [u32], ranks: &Ranks) -> Result<()> {
    let shares = bucket.reductions.iter().filter_map(|(reduction, _)| match reduction {
        Reduction::Moments { share } => Some(share.to_bits()),
        Reduction::Sum => None,
    });
    let own: Vec<u32> = words.iter().copied().chain(shares).collect();
    let all = ranks.gather_words(&own)?;
    let all: &[f32] = bytemuck::cast_slice(&all);
    let rows: Vec<&[f32]> = all.chunks_exact(own.len()).collect();
    let words: &mut [f32] = bytemuck::cast_slice_mut(words);
    let (mut at, mut share_at) = (0, words.len());
    for &(reduction, count) in &bucket.reductions {
        let result = &mut words[at..at + count];
        match reduction {
            Reduction::Sum => {
                for (i, sum) in result.iter_mut().enumerate() {
                    *sum = rows[1..].iter().fold(rows[0][at + i], |sum, row| sum + row[at + i]);
                }
            }
            Reduction::Moments { .. } => {
                merge_moments(&rows, at, share_at, result);
                share_at += 1;
            }
        }
        at += count;
    }
    Ok(())
}

/// Mean and variance over the rows of all ranks, from `rows`, which hold at `at` the means, then the variances, and at
/// `share_at` the share of each rank.
fn merge_moments(rows: &[&[f32]], at: usize, share_at: usize, result: &mut [f32]) {
    let (means, variances) = result.split_at_mut(result.len() / 2);
    let channels = means.len();
    for c in 0..channels {
        let of = |row: &&[f32], i: usize| f64::from(row[i]);
        let mean: f64 = rows.iter().map(|row| of(row, share_at) * of(row, at + c)).sum();
        let variance: f64 = rows
            .iter()
            .map(|row| of(row, share_at) * (of(row, at + channels + c) + (of(row, at + c) - mean).powi(2)))
            .sum();
        (means[c], variances[c]) = (mean as f32, variance as f32);
    }
}
