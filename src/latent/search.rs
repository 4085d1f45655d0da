//! Nearest neighbours among codes: exactly, by blocks on any device, and approximately by a graph that is built once.
//!
//! ```
//! use degrain::latent::Codes;
//! use degrain::latent::search::{ExactSearch, Metric};
//! use degrain::session::Session;
//!
//! // Of a run: Codes::of(&mut network, &pictures, &mut |_| {})?
//! let codes = Codes::new(vec![0.0, 0.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0], 2)?; // four codes of two numbers
//! let mut search = ExactSearch::new(Session::cpu(), &codes, Metric::Euclidean)?;
//! let found = search.nearest(&[0.0, 0.0], 4)?; // of one query
//! let found: Vec<(usize, f64)> = found[0].iter().map(|near| (near.index, near.distance)).collect();
//! assert_eq!(found, [(0, 0.0), (2, 1.0), (1, 5.0), (3, 5.0)]); // equal distances by index
//! # Ok::<(), degrain::Error>(())
//! ```

mod exact;
mod hnsw;
mod quality;

pub use exact::{ExactSearch, Limits};
pub use hnsw::{HnswIndex, HnswSettings, Origin};
pub use quality::{Vote, purity, recall, recall_of, sample, vote};

use super::Codes;
use crate::cpu::nearest::squared_distance;
use crate::cpu::vector::wide;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;

/// How far codes are from each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Metric {
    /// The length of the difference.
    #[default]
    Euclidean,
    /// 1 - cos of the angle between them: 0 to 2. A code of zeros, which has no angle, is at 0 from another one and at 1
    /// from all the rest.
    Cosine,
}

impl Metric {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euclidean => "euclidean",
            Self::Cosine => "cosine",
        }
    }
}

/// A code that was found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Neighbour {
    /// Its place among the codes, from 0 on.
    pub index: usize,
    /// From the query, in the metric of the search; from differences in f64.
    pub distance: f64,
}

/// What rounding leaves of the squared difference of two unit vectors in f64 that point the same way.
const PARALLEL: f64 = 1e-30;

/// Codes as a metric sees them.
struct Points<'a> {
    codes: &'a Codes,
    metric: Metric,
    /// (N, D) of f32 whose Euclidean distances rank like the metric's, up to their rounding.
    values: Cow<'a, [f32]>,
    /// 1 / |code| of each code in f64, 0 of a code of zeros; none for Euclidean distances.
    scales: Vec<f64>,
}

/// A query as a metric sees it.
struct Query<'a> {
    code: &'a [f32],
    scale: f64,
}

impl<'a> Points<'a> {
    fn new(codes: &'a Codes, metric: Metric) -> Self {
        if metric == Metric::Euclidean {
            return Self { codes, metric, values: Cow::Borrowed(codes.values()), scales: Vec::new() };
        }
        let scales: Vec<f64> = codes.values().par_chunks(codes.dim()).map(scale).collect();
        let rows = codes.values().par_chunks(codes.dim()).zip(&scales);
        let values: Vec<f32> = rows.flat_map_iter(|(row, &scale)| unit_row(row, scale)).collect();
        Self { codes, metric, values: Cow::Owned(values), scales }
    }

    fn query<'q>(&self, code: &'q [f32]) -> Query<'q> {
        Query { code, scale: if self.metric == Metric::Cosine { scale(code) } else { 1.0 } }
    }

    /// Queries (Q, D) as the kernels take them.
    fn queries<'q>(&self, queries: &'q [f32]) -> Cow<'q, [f32]> {
        match self.metric {
            Metric::Euclidean => Cow::Borrowed(queries),
            Metric::Cosine => {
                let scales: Vec<f64> = queries.chunks_exact(self.codes.dim()).map(scale).collect();
                let rows = queries.chunks_exact(self.codes.dim()).zip(&scales);
                Cow::Owned(rows.flat_map(|(row, &scale)| unit_row(row, scale)).collect())
            }
        }
    }

    /// The distance of code `index`, in f64; infinite where there is no such code.
    #[inline(always)]
    fn distance(&self, query: &Query<'_>, index: usize) -> f64 {
        let Some(code) = self.codes.values().get(index * self.codes.dim()..(index + 1) * self.codes.dim()) else {
            return f64::INFINITY;
        };
        match self.scales.get(index) {
            None => squared_distance(query.code, code).sqrt(),
            Some(&scale) if scale == 0.0 || query.scale == 0.0 => f64::from(u8::from(scale != query.scale)),
            // |a - b|^2 / 2 of unit vectors is 1 - cos, without its cancellation.
            Some(&scale) => match squared_difference(query, code, scale) {
                square if square < PARALLEL => 0.0,
                square => square / 2.0,
            },
        }
    }

    /// Of these codes the `k` nearest, by distance and index.
    fn ranked(&self, query: &Query<'_>, indices: impl Iterator<Item = usize>, k: usize) -> Vec<Neighbour> {
        let mut found: Vec<Neighbour> = wide(
            #[inline(always)]
            || indices.map(|index| Neighbour { index, distance: self.distance(query, index) }).collect(),
        );
        let order = |a: &Neighbour, b: &Neighbour| a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index));
        if k < found.len() {
            found.select_nth_unstable_by(k, order);
            found.truncate(k);
        }
        found.sort_unstable_by(order);
        found
    }

    /// All distances in f64, sorted.
    fn brute_force(&self, query: &Query<'_>, k: usize) -> Vec<Neighbour> {
        const RANGE: usize = 4096;
        let count = self.codes.len();
        let ranges = (0..count.div_ceil(RANGE)).into_par_iter().map(|i| {
            let end = ((i + 1) * RANGE).min(count);
            self.ranked(query, i * RANGE..end, k)
        });
        let best: Vec<Neighbour> = ranges.flatten_iter().collect();
        self.ranked(query, best.into_iter().map(|near| near.index), k)
    }
}

fn scale(code: &[f32]) -> f64 {
    let square: f64 = code.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 }
}

fn unit_row(row: &[f32], scale: f64) -> impl Iterator<Item = f32> + '_ {
    row.iter().map(move |&value| (f64::from(value) * scale) as f32)
}

#[inline(always)]
fn squared_difference(query: &Query<'_>, code: &[f32], scale: f64) -> f64 {
    let square = |(a, b): (&f32, &f32)| {
        let difference = f64::from(*a) * query.scale - f64::from(*b) * scale;
        difference * difference
    };
    query.code.iter().zip(code).map(square).sum()
}

/// Wants whole, finite queries (Q, `dim`), and at least one neighbour.
fn check_queries(queries: &[f32], dim: usize, k: usize) -> Result<()> {
    if k == 0 {
        return Err(Error::setting("k", "must be at least 1"));
    }
    if !queries.len().is_multiple_of(dim) {
        let got = format!("{} numbers for codes of {dim}", queries.len());
        return Err(Error::shape("search", "whole queries", got));
    }
    match queries.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::shape("search", "finite numbers", format!("{} in query {}", queries[at], at / dim))),
        None => Ok(()),
    }
}
