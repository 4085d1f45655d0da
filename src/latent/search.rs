//! Nearest neighbours among codes: exactly, by blocks on any device, and approximately by a graph that is built once. Codes
//! in files ([`super::CodeFiles`]) may be larger than the memory of device and host.
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

use super::CodeSource;
use crate::cpu::nearest::squared_distance;
use crate::cpu::vector::wide;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::cmp::Ordering;

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

/// Squared distances stay inside f32 for numbers up to here, at up to 10^6 numbers a code.
const MAX_MAGNITUDE: f32 = 1e15;
/// What rounding leaves of the squared difference of two unit vectors in f64 that point the same way.
const PARALLEL: f64 = 1e-30;

/// Codes that a thread reads at a time where all of them are looked at.
const RANGE: usize = 4096;

/// Codes as a metric sees them.
struct Points<'a> {
    codes: &'a dyn CodeSource,
    metric: Metric,
}

/// A query as a metric sees it.
struct Query<'a> {
    code: &'a [f32],
    /// 1 / |code| in f64, 0 of a code of zeros; 1 for Euclidean distances.
    scale: f64,
}

impl<'a> Points<'a> {
    fn query<'q>(&self, code: &'q [f32]) -> Query<'q> {
        Query { code, scale: if self.metric == Metric::Cosine { scale(code) } else { 1.0 } }
    }

    /// Codes or queries (rows, D) as f32 whose Euclidean distances rank like the metric's, up to their rounding.
    fn flat<'v>(&self, values: Cow<'v, [f32]>) -> Cow<'v, [f32]> {
        match self.metric {
            Metric::Euclidean => values,
            Metric::Cosine => {
                let rows = values.par_chunks(self.codes.dim());
                Cow::Owned(rows.flat_map_iter(|row| unit_row(row, scale(row))).collect())
            }
        }
    }

    /// Whether f32 holds the squared Euclidean distances between such points.
    fn in_range(&self) -> bool {
        self.metric == Metric::Cosine || self.codes.max_magnitude() <= MAX_MAGNITUDE
    }

    /// The distance of a code, in f64.
    #[inline(always)]
    fn distance(&self, query: &Query<'_>, code: &[f32]) -> f64 {
        if self.metric == Metric::Euclidean {
            return squared_distance(query.code, code).sqrt();
        }
        let scale = scale(code);
        if scale == 0.0 || query.scale == 0.0 {
            return f64::from(u8::from(scale != query.scale));
        }
        // |a - b|^2 / 2 of unit vectors is 1 - cos, without its cancellation.
        match squared_difference(query, code, scale) {
            square if square < PARALLEL => 0.0,
            square => square / 2.0,
        }
    }

    /// Of these codes the `k` nearest, by distance and index; one that is not there is at an infinite distance.
    fn ranked(&self, query: &Query<'_>, indices: impl Iterator<Item = usize>, k: usize) -> Result<Vec<Neighbour>> {
        let near = |index: usize| -> Result<Neighbour> {
            if index >= self.codes.len() {
                return Ok(Neighbour { index, distance: f64::INFINITY });
            }
            let code = self.codes.rows(index..index + 1)?;
            let distance = wide(
                #[inline(always)]
                || self.distance(query, &code),
            );
            Ok(Neighbour { index, distance })
        };
        let mut found: Vec<Neighbour> = indices.map(near).collect::<Result<_>>()?;
        keep_nearest(&mut found, k);
        found.sort_unstable_by(by_distance);
        Ok(found)
    }

    /// All distances of these queries in f64, the `k` smallest of each in order. The codes are read once.
    fn brute_force(&self, queries: &[&[f32]], k: usize) -> Result<Vec<Vec<Neighbour>>> {
        let (count, dim) = (self.codes.len(), self.codes.dim());
        let queries: Vec<Query<'_>> = queries.iter().map(|code| self.query(code)).collect();
        let lists = || vec![Vec::new(); queries.len()];
        let ranges = (0..count.div_ceil(RANGE)).into_par_iter().try_fold(lists, |mut lists, i| {
            let first = i * RANGE;
            let codes = self.codes.rows(first..(first + RANGE).min(count))?;
            for (list, query) in lists.iter_mut().zip(&queries) {
                let rows = codes.chunks_exact(dim).zip(first..);
                wide(
                    #[inline(always)]
                    || {
                        list.extend(
                            rows.map(|(code, index)| Neighbour { index, distance: self.distance(query, code) }),
                        );
                    },
                );
                keep_nearest(list, k);
            }
            Ok::<_, Error>(lists)
        });
        let mut found = ranges.try_reduce(lists, |mut lists, others| {
            for (list, other) in lists.iter_mut().zip(others) {
                list.extend(other);
                keep_nearest(list, k);
            }
            Ok(lists)
        })?;
        found.iter_mut().for_each(|list| list.sort_unstable_by(by_distance));
        Ok(found)
    }
}

/// By distance, equal ones by index.
fn by_distance(a: &Neighbour, b: &Neighbour) -> Ordering {
    a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index))
}

/// Keeps the `k` nearest, in any order.
fn keep_nearest(found: &mut Vec<Neighbour>, k: usize) {
    if k < found.len() {
        found.select_nth_unstable_by(k, by_distance);
        found.truncate(k);
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
