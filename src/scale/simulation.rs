//! A step message by message.

use super::link::{Cluster, Link, Node};
use super::step::Step;
use rand::{RngExt, SeedableRng};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// How many messages [`simulate`] follows: the time it takes grows with them, about 10^6 of them in a second.
pub fn messages(step: &Step, ranks: usize) -> usize {
    2 * step.buckets.len() * ranks * ranks.saturating_sub(1)
}

/// Seconds of a step of `ranks` ranks, from its begin to the end of the last rank's update. `seed` tells the noise, if there is
/// any.
///
/// Each rank works on one bucket after the other, in the same order: it copies the bucket to the host, exchanges it in rounds,
/// in round i with the ranks i before and i behind it, sums, exchanges the sums in the same way and copies them back. A message
/// begins when both ranks are in that round and the link of its node is free, the one that has waited longest first; at the
/// other end it waits in the same way; and a rank goes on when what it sends and what it receives has arrived.
pub fn simulate(step: &Step, cluster: &Cluster, ranks: usize, seed: u64) -> f64 {
    let ranks = ranks.max(1);
    let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
    // Exponential, by the inverse of its distribution.
    let mut slowness =
        || if cluster.noise > 0.0 { 1.0 - cluster.noise * (1.0 - rng.random::<f64>()).ln() } else { 1.0 };
    let slowness: Vec<f64> = (0..ranks).map(|_| slowness()).collect();
    let computed = slowness.iter().map(|slowness| step.compute_s * slowness);
    if ranks == 1 || step.buckets.is_empty() {
        return computed.fold(0.0, f64::max) + step.update_s;
    }
    let per_node = cluster.node_ranks();
    let mut simulation = Simulation {
        step,
        cluster,
        slowness: &slowness,
        at: vec![0; ranks],
        here: vec![false; ranks],
        left: vec![0; ranks],
        own: vec![Ports::default(); ranks],
        shared: vec![Ports::default(); ranks.div_ceil(per_node)],
        events: BinaryHeap::new(),
        number: 0,
        end_s: 0.0,
    };
    for rank in 0..ranks {
        simulation.enter(rank, 0.0);
    }
    simulation.run();
    computed.fold(simulation.end_s, f64::max) + step.update_s
}

/// When the two directions of a link are free again.
#[derive(Clone, Copy, Default)]
struct Ports {
    out_s: f64,
    in_s: f64,
}

struct Simulation<'a> {
    step: &'a Step,
    cluster: &'a Cluster,
    slowness: &'a [f64],
    /// The round that each rank is in, or on its way to, counted through all buckets and both exchanges of each.
    at: Vec<usize>,
    /// Whether it is there.
    here: Vec<bool>,
    /// Messages of the round that have not ended yet, sent or received.
    left: Vec<u8>,
    /// Of each rank, to the others of its node.
    own: Vec<Ports>,
    /// Of each node.
    shared: Vec<Ports>,
    events: BinaryHeap<Event>,
    number: u64,
    end_s: f64,
}

/// What happens at a time.
struct Event {
    time_s: f64,
    /// Earlier ones of the same time come first.
    number: u64,
    what: What,
}

enum What {
    /// A rank is ready for its round.
    Ready(usize),
    /// A message from one rank to another has arrived.
    Arrived(usize, usize),
}

impl Simulation<'_> {
    fn ranks(&self) -> usize {
        self.at.len()
    }

    fn rounds(&self) -> usize {
        self.ranks() - 1
    }

    fn push(&mut self, time_s: f64, what: What) {
        self.events.push(Event { time_s, number: self.number, what });
        self.number += 1;
    }

    fn run(&mut self) {
        while let Some(Event { time_s, what, .. }) = self.events.pop() {
            match what {
                What::Ready(rank) => self.ready(rank, time_s),
                What::Arrived(from, to) => {
                    self.ended(from, time_s);
                    self.ended(to, time_s);
                }
            }
        }
    }

    /// Sends a rank to its round, with what it does before.
    fn enter(&mut self, rank: usize, now_s: f64) {
        let (exchange, round) = (self.at[rank] / self.rounds(), self.at[rank] % self.rounds());
        let mut time_s = now_s;
        let bytes = |bucket: usize| self.step.buckets.get(bucket).map_or(0.0, |bucket| bucket.bytes);
        if round == 0 && exchange.is_multiple_of(2) {
            if exchange > 0 {
                time_s += bytes(exchange / 2 - 1) / self.cluster.copy_bytes_per_s;
            }
            let Some(bucket) = self.step.buckets.get(exchange / 2) else {
                self.end_s = self.end_s.max(time_s);
                return;
            };
            time_s = time_s.max(bucket.ready_s * self.slowness[rank]) + bucket.bytes / self.cluster.copy_bytes_per_s;
        } else if round == 0 {
            time_s += bytes(exchange / 2) / self.cluster.sum_bytes_per_s;
        }
        self.push(time_s, What::Ready(rank));
    }

    /// A rank is in its round: messages from and to those that are in it too begin.
    fn ready(&mut self, rank: usize, now_s: f64) {
        self.here[rank] = true;
        self.left[rank] = 2;
        let (ranks, step) = (self.ranks(), self.at[rank] % self.rounds() + 1);
        let (to, from) = ((rank + step) % ranks, (rank + ranks - step) % ranks);
        let meets = |other: usize, all: &Self| all.here[other] && all.at[other] == all.at[rank];
        if meets(to, self) {
            self.send(rank, to, now_s);
        }
        if meets(from, self) {
            self.send(from, rank, now_s);
        }
    }

    fn send(&mut self, from: usize, to: usize, now_s: f64) {
        let bucket = self.at[from] / self.rounds() / 2;
        let block = self.step.buckets.get(bucket).map_or(0.0, |bucket| bucket.bytes) / self.ranks() as f64;
        let per_node = self.cluster.node_ranks();
        let (node, other) = (from / per_node, to / per_node);
        let (link, ports, begin, end) = match self.cluster.node {
            Some(Node { link, .. }) if node == other => (link, &mut self.own, from, to),
            _ => (self.cluster.network, &mut self.shared, node, other),
        };
        let arrives_s = occupy(ports, begin, end, link, block, now_s);
        self.push(arrives_s, What::Arrived(from, to));
    }

    /// One of the two messages of a rank's round has ended.
    fn ended(&mut self, rank: usize, now_s: f64) {
        self.left[rank] -= 1;
        if self.left[rank] == 0 {
            self.here[rank] = false;
            self.at[rank] += 1;
            self.enter(rank, now_s);
        }
    }
}

/// Sends bytes when the link is free at their end and takes them in when it is at the other; the switch between keeps what has
/// to wait. The time at which the last of them is in.
fn occupy(ports: &mut [Ports], begin: usize, end: usize, link: Link, bytes: f64, now_s: f64) -> f64 {
    let transfer_s = bytes / link.bytes_per_s;
    let begin_s = ports[begin].out_s.max(now_s);
    ports[begin].out_s = begin_s + transfer_s;
    // Bytes pass on as they come: an end that is free takes them in while they are sent.
    let taken_s = (begin_s + link.latency_s).max(ports[end].in_s) + transfer_s;
    ports[end].in_s = taken_s;
    taken_s
}

impl Ord for Event {
    /// The heap gives the largest first: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.time_s.total_cmp(&self.time_s).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}
