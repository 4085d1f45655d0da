//! What one rank does in a step.

use crate::model::Summary;

/// Gradients that are exchanged together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bucket {
    /// Size in bytes.
    pub bytes: f64,
    /// Seconds from the begin of the step until the backward pass has made all of it.
    pub ready_s: f64,
}

/// A training step of one rank.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Pictures of one rank.
    pub batch: usize,
    /// Seconds of the forward and the backward pass.
    pub compute_s: f64,
    /// Seconds of the update.
    pub update_s: f64,
    /// Gradients in the order in which they are exchanged. One that is ready before the end of the backward pass is
    /// exchanged while that goes on.
    pub buckets: Vec<Bucket>,
}

impl Step {
    /// All gradients, of this many bytes, in one bucket after the backward pass.
    pub fn even(batch: usize, compute_s: f64, update_s: f64, bytes: f64) -> Self {
        Self { batch, compute_s, update_s, buckets: vec![Bucket { bytes, ready_s: compute_s }] }
    }

    /// Seconds of a step without others to wait for.
    pub fn seconds(&self) -> f64 {
        self.compute_s + self.update_s
    }

    /// Bytes of all gradients.
    pub fn bytes(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.bytes).sum()
    }
}

/// The gradients of a network in buckets of at least `bucket_bytes`, but for the last one, from the last layer to the first.
///
/// With `overlap` a bucket is ready when the backward pass has gone through its layers; the time of the passes is dealt to them
/// by their floating-point operations, a layer's backward pass being as long a part of all backward passes as its forward
/// pass is of all forward ones. Without, all of them are ready at the end.
pub fn bucketed(network: &Summary, compute_s: f64, bucket_bytes: f64, overlap: bool) -> Vec<Bucket> {
    let (forward, training) = (network.forward_flops_per_image as f64, network.training_flops_per_image as f64);
    let forward_share = if training > 0.0 { (forward / training).min(1.0) } else { 1.0 / 3.0 };
    let (mut buckets, mut bytes, mut passed) = (Vec::new(), 0.0, 0.0);
    let ready = |passed: f64| {
        let share = if forward > 0.0 { (passed / forward).min(1.0) } else { 1.0 };
        let share = if overlap { forward_share + (1.0 - forward_share) * share } else { 1.0 };
        compute_s * share
    };
    for layer in network.layers.iter().rev() {
        bytes += 4.0 * layer.params as f64;
        passed += layer.flops as f64;
        if bytes > 0.0 && bytes >= bucket_bytes {
            buckets.push(Bucket { bytes, ready_s: ready(passed) });
            bytes = 0.0;
        }
    }
    if bytes > 0.0 {
        buckets.push(Bucket { bytes, ready_s: compute_s });
    }
    buckets
}
