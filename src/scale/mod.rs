//! How long a step of data-parallel training takes on many ranks, foretold from what one rank was measured to take.
//!
//! Each rank computes the gradients of its own batch; then all ranks sum them, bucket by bucket, in rank order, so that the sum
//! has the same bits everywhere. Each bucket of n bytes is cut into N blocks: by a pairwise exchange every rank gets what all
//! others have of its block (N - 1 messages of n / N bytes), sums it, and by another one all ranks get all blocks.
//!
//! Two ways lead to the time that this takes. [`Formula`] adds it up by the model of Hockney (1994), in which a message of m
//! bytes takes `latency + m / bandwidth`, as Thakur, Rabenseifner and Gropp (2005, "Optimization of collective
//! communication operations in MPICH", section 3) do it for pairwise exchanges: for both of them together
//!
//! ```text
//! T = 2 (N - 1) latency + 2 (N - 1)/N n / bandwidth + n / rate of summing
//! ```
//!
//! [`simulate`] follows every message from one rank to another instead: when both ends are ready, whether the wire of a node is
//! taken by its other ranks, which bucket the backward pass has made ready. Where nothing of this matters both agree; where
//! it does, the simulation is the one to believe. Neither knows of packets lost, of other traffic, or of switches that are
//! too narrow.
//!
//! ```
//! use degrain::scale::{Cluster, Formula, Link, Step, simulate};
//!
//! let step = Step::even(32, 0.020, 0.001, 3.4e6); // 32 pictures, 20 ms and 1 ms for the update, 3.4 MB of gradients
//! let cluster = Cluster::flat(Link::named("ethernet-10g").unwrap());
//! let formula = Formula::of(&step, &cluster, 64);
//! let simulated = simulate(&step, &cluster, 64, 1);
//! assert!((formula.seconds() / simulated - 1.0).abs() < 1e-9);
//! assert!(formula.seconds() > step.seconds());
//! ```

mod formula;
mod link;
mod simulation;
mod step;

pub use formula::{Formula, Limit};
pub use link::{Cluster, LINKS, Link, Node};
pub use simulation::{messages, simulate};
pub use step::{Bucket, Step, bucketed};

#[cfg(test)]
mod tests;
