//! What messages travel on.

/// A link in one direction; the other one is as fast and does not slow it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Link {
    /// Seconds that a message takes besides its bytes, the software of both ends included.
    pub latency_s: f64,
    /// Bytes per second.
    pub bytes_per_s: f64,
}

/// Links by their names, what they are, microseconds of a message, and 10^9 bits per second. The rates are those of the
/// standards; the latencies are what MPI programs commonly measure from one process to another, so that those of Ethernet hold
/// for TCP. Measure your own, as by the OSU benchmarks (`osu_latency`, `osu_bw`).
pub const LINKS: [(&str, &str, f64, f64); 8] = [
    ("ethernet-1g", "1 Gb/s Ethernet, TCP", 50.0, 1.0),
    ("ethernet-10g", "10 Gb/s Ethernet, TCP", 30.0, 10.0),
    ("ethernet-100g", "100 Gb/s Ethernet, TCP", 15.0, 100.0),
    ("roce-100g", "100 Gb/s Ethernet, RDMA", 3.0, 100.0),
    ("infiniband-hdr", "200 Gb/s InfiniBand", 2.0, 200.0),
    ("infiniband-ndr", "400 Gb/s InfiniBand", 2.0, 400.0),
    ("shared-memory", "processes of one machine, by its memory", 1.0, 80.0),
    ("nvlink", "NVLink 4, all 18 links of a GPU", 3.0, 3600.0),
];

impl Link {
    /// Of this latency in microseconds and this rate in 10^9 bits per second.
    pub fn new(latency_us: f64, gigabits_per_s: f64) -> Self {
        Self { latency_s: latency_us * 1e-6, bytes_per_s: gigabits_per_s * 1e9 / 8.0 }
    }

    /// One of [`LINKS`].
    pub fn named(name: &str) -> Option<Self> {
        LINKS.iter().find(|link| link.0 == name).map(|&(_, _, latency_us, gigabits)| Self::new(latency_us, gigabits))
    }

    /// Seconds of a message.
    pub(super) fn seconds(&self, bytes: f64) -> f64 {
        self.latency_s + bytes / self.bytes_per_s
    }
}

/// Ranks that share one machine and its link to the others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Node {
    /// How many; the last node may have fewer.
    pub ranks: usize,
    /// Between two of them: each rank has its own.
    pub link: Link,
}

/// What connects the ranks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cluster {
    /// From one node to another: each node has its own link to a switch through which all of them send at once.
    pub network: Link,
    /// Several ranks in a node; none where each rank is a node of its own.
    pub node: Option<Node>,
    /// Bytes of received gradients that a rank sums in a second.
    pub sum_bytes_per_s: f64,
    /// Bytes that a rank carries between its device and its host in a second; infinite where gradients are in the host's
    /// memory as it is, as on the CPU.
    pub copy_bytes_per_s: f64,
    /// How much longer a rank takes to compute than it could, on average, as a part of that time: noise of the system,
    /// drawn from an exponential distribution for each rank and step. All wait for the slowest.
    pub noise: f64,
}

impl Cluster {
    /// One rank in each node, sums of 10 GB/s, copies of 10 GB/s as over PCIe 3, no noise.
    pub fn flat(network: Link) -> Self {
        Self { network, node: None, sum_bytes_per_s: 10e9, copy_bytes_per_s: 10e9, noise: 0.0 }
    }

    /// Ranks in a node.
    pub(super) fn node_ranks(&self) -> usize {
        self.node.map_or(1, |node| node.ranks.max(1))
    }
}
