//! The time of a step by formulas.

use super::link::{Cluster, Node};
use super::step::Step;

/// What the most of a step is spent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Forward pass, backward pass and update.
    Compute,
    /// Messages, however short they are.
    Latency,
    /// Bytes on the links.
    Bandwidth,
    /// Copies between device and host, and sums.
    Host,
    /// The slowest rank.
    Noise,
}

impl Limit {
    /// The word used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Latency => "latency",
            Self::Bandwidth => "bandwidth",
            Self::Host => "copies and sums",
            Self::Noise => "slowest rank",
        }
    }
}

/// The parts of a step of N ranks, in seconds. Those of the exchange count only as far as the step waits for them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Formula {
    /// Forward pass, backward pass and update of a rank that nothing slows.
    pub compute_s: f64,
    /// Waiting for the slowest rank.
    pub noise_s: f64,
    /// Of the exchange: messages.
    pub latency_s: f64,
    /// Of the exchange: bytes on the links.
    pub bandwidth_s: f64,
    /// Of the exchange: copies between device and host, and sums.
    pub host_s: f64,
    /// What of the exchange the backward pass hides.
    pub hidden_s: f64,
}

impl Formula {
    /// A step of `ranks` ranks. Where nodes have several, all messages of one round of a pairwise exchange are taken to end
    /// before the next round begins. Where the backward pass goes on meanwhile, an
    /// exchange is taken to begin with the first bucket and not to pause, which is the least.
    pub fn of(step: &Step, cluster: &Cluster, ranks: usize) -> Self {
        let slowest = if cluster.noise > 0.0 { cluster.noise * harmonic(ranks) } else { 0.0 };
        let noise_s = step.compute_s * slowest;
        let mut formula =
            Self { compute_s: step.seconds(), noise_s, latency_s: 0.0, bandwidth_s: 0.0, host_s: 0.0, hidden_s: 0.0 };
        if ranks < 2 {
            return formula;
        }
        let mut last = 0.0;
        for bucket in &step.buckets {
            let [latency, bandwidth] = round_trip(cluster, ranks, bucket.bytes);
            let host = 2.0 * bucket.bytes / cluster.copy_bytes_per_s + bucket.bytes / cluster.sum_bytes_per_s;
            formula.latency_s += latency;
            formula.bandwidth_s += bandwidth;
            formula.host_s += host;
            last = latency + bandwidth + host;
        }
        let exchange = formula.exchange_s();
        let first = step.buckets.first().map_or(step.compute_s, |bucket| bucket.ready_s);
        let overlap = (step.compute_s - first) * (1.0 + slowest);
        let hidden = overlap.clamp(0.0, (exchange - last).max(0.0));
        if exchange > 0.0 {
            let exposed = (exchange - hidden) / exchange;
            formula.latency_s *= exposed;
            formula.bandwidth_s *= exposed;
            formula.host_s *= exposed;
        }
        Self { hidden_s: hidden, ..formula }
    }

    fn exchange_s(&self) -> f64 {
        self.latency_s + self.bandwidth_s + self.host_s
    }

    /// Seconds of the step.
    pub fn seconds(&self) -> f64 {
        self.compute_s + self.noise_s + self.exchange_s()
    }

    /// What the most of it is spent on.
    pub fn limit(&self) -> Limit {
        let mut parts = [
            (self.compute_s, Limit::Compute),
            (self.noise_s, Limit::Noise),
            (self.host_s, Limit::Host),
            (self.latency_s, Limit::Latency),
            (self.bandwidth_s, Limit::Bandwidth),
        ];
        parts.sort_by(|a, b| b.0.total_cmp(&a.0));
        parts[0].1
    }

    /// What the most of the time is lost to that one rank alone would not need; compute where none is.
    pub fn loss(&self) -> Limit {
        let lost = Self { compute_s: 0.0, ..*self };
        lost.limit()
    }
}

/// The sum 1 + 1/2 + … + 1/n: how long the slowest of n exponential times is, on average, in units of their mean.
fn harmonic(n: usize) -> f64 {
    (1..=n).map(|i| 1.0 / i as f64).sum()
}

/// Seconds for messages, and for bytes, of a bucket's way to the blocks' ranks and back.
fn round_trip(cluster: &Cluster, ranks: usize, bytes: f64) -> [f64; 2] {
    let block = bytes / ranks as f64;
    let Some(Node { ranks: per_node, link }) = cluster.node else {
        let rounds = 2.0 * (ranks - 1) as f64;
        return [rounds * cluster.network.latency_s, rounds * block / cluster.network.bytes_per_s];
    };
    let (mut latency, mut bandwidth) = (0.0, 0.0);
    for round in 1..ranks {
        // So many ranks of a whole node send to another one.
        let leaving = if ranks <= per_node { 0 } else { round.min(per_node).min(ranks - round) };
        let staying = if leaving < per_node.min(ranks) { link.seconds(block) } else { 0.0 };
        let away = leaving as f64 * block / cluster.network.bytes_per_s;
        if leaving > 0 && cluster.network.latency_s + away >= staying {
            latency += 2.0 * cluster.network.latency_s;
            bandwidth += 2.0 * away;
        } else {
            latency += 2.0 * link.latency_s;
            bandwidth += 2.0 * block / link.bytes_per_s;
        }
    }
    [latency, bandwidth]
}
