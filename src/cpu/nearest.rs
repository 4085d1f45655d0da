//! Nearest codes on the CPU: many queries by blocked products that only sort out what is too far, few by their differences.
//! Either way a code that may be near enough gets its distance in f64, so that the rounding of neither decides.

use super::matmul::{Matrix, product};
use super::vector::wide;
use crate::graph::CpuCall;
use crate::op::{Nearest, NearestExtents as Extents};
use rayon::prelude::*;

/// Queries from which on products pay for the copy of the codes that they need.
const MANY_QUERIES: usize = 8;
/// Codes of a product: with a group's queries 256 KB of results, which stay in the second-level cache.
const BLOCK: usize = 512;
/// Queries of a group at most.
const GROUP: usize = 128;
/// Codes that one thread takes at least where queries are few.
const RANGE: usize = 4096;
/// Half a unit in the last place of 1.
const HALF_ULP: f64 = 1.0 / (1 << 24) as f64;
/// Floats summed side by side.
const LANES: usize = 16;

/// One query's nearest codes so far, in order.
struct Found {
    near: Vec<f32>,
    indices: Vec<u32>,
}

impl Found {
    /// The distance that a code may not pass. The list holds distances rounded to f32.
    #[inline(always)]
    fn farthest(&self) -> f64 {
        self.near.last().map_or(f64::NEG_INFINITY, |&near| f64::from(near) * (1.0 + 2.0 * HALF_ULP))
    }

    /// Puts a code in its place, if it has one.
    fn offer(&mut self, distance: f64, index: u32) {
        let distance = distance as f32;
        let precedes = |near: f32, other: u32| near < distance || (near == distance && other < index);
        let place = self.near.iter().zip(&self.indices).take_while(|&(&near, &other)| precedes(near, other)).count();
        if place < self.near.len() && distance < Nearest::FAR {
            self.near[place..].rotate_right(1);
            self.indices[place..].rotate_right(1);
            self.near[place] = distance;
            self.indices[place] = index;
        }
    }
}

/// The squared Euclidean distance of two codes, in f64.
#[inline(always)]
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    };
    let mut sums = [0.0; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(square).sum();
    for (a, b) in left.zip(right) {
        for (sum, pair) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += square(pair);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The same in f32: off by at most (D + 3) half units in the last place of the result.
#[inline(always)]
pub(crate) fn squared_distance_f32(a: &[f32], b: &[f32]) -> f32 {
    let square = |(a, b): (&f32, &f32)| (a - b) * (a - b);
    let mut sums = [0.0; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(square).sum();
    for (a, b) in left.zip(right) {
        for (sum, pair) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += square(pair);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The op on its buffers.
pub(crate) fn run(extents: &Extents, call: &mut CpuCall<'_>) {
    let &Extents { codes, dim, kept, .. } = extents;
    let (first, count) = (call.inputs[2][0], (call.inputs[2][1] as usize).min(codes));
    let (codes, queries) = (&call.input(0)[..count * dim], call.input(1));
    let [near, indices] = &mut *call.outputs else { return };
    let near: &mut [f32] = bytemuck::cast_slice_mut(near);
    let lists = near.chunks_exact_mut(kept).zip(indices.chunks_exact_mut(kept));
    let mut searches: Vec<Search<'_>> =
        queries.chunks_exact(dim).zip(lists).map(|(query, (near, indices))| Search { query, near, indices }).collect();
    let codes = Block { values: codes, dim, first };
    if searches.len() < MANY_QUERIES {
        searches.iter_mut().for_each(|search| search.by_differences(&codes));
        return;
    }
    let centred = Centred::of(&codes);
    let group = searches.len().div_ceil(4 * rayon::current_num_threads()).clamp(MANY_QUERIES, GROUP);
    searches.par_chunks_mut(group).for_each(|group| centred.search(&codes, group));
}

/// Codes and the index of the first.
struct Block<'a> {
    values: &'a [f32],
    dim: usize,
    first: u32,
}

/// A query and where its neighbours go.
struct Search<'a> {
    query: &'a [f32],
    near: &'a mut [f32],
    indices: &'a mut [u32],
}

impl Search<'_> {
    fn found(&self) -> Found {
        Found { near: self.near.to_vec(), indices: self.indices.to_vec() }
    }

    fn keep(&mut self, found: &Found) {
        self.near.copy_from_slice(&found.near);
        self.indices.copy_from_slice(&found.indices);
    }

    /// Ranges of the codes are dealt to threads, each with a list of its own that begins with what was found before; the
    /// lists are merged in the order of the ranges.
    fn by_differences(&mut self, codes: &Block<'_>) {
        let ranges = codes.values.len().div_ceil(RANGE * codes.dim).min(4 * rayon::current_num_threads()).max(1);
        let len = (codes.values.len() / codes.dim).div_ceil(ranges).max(1);
        let slack = 1.0 + (codes.dim + 8) as f64 * HALF_ULP;
        let (query, before) = (self.query, self.found());
        let lists: Vec<Found> = codes
            .values
            .par_chunks(len * codes.dim)
            .enumerate()
            .map(|(i, values)| {
                let block = Block { values, first: codes.first + (i * len) as u32, ..*codes };
                let far = vec![Nearest::FAR; before.near.len()];
                let mut found = Found { indices: vec![Nearest::NOBODY; far.len()], near: far };
                let most = before.farthest();
                wide(
                    #[inline(always)]
                    || nearest_by_differences(query, &block, slack, most, &mut found),
                );
                found
            })
            .collect();
        let mut all = before;
        for (&near, &index) in lists.iter().flat_map(|list| list.near.iter().zip(&list.indices)) {
            all.offer(f64::from(near), index);
        }
        self.keep(&all);
    }
}

#[inline(always)]
fn nearest_by_differences(query: &[f32], codes: &Block<'_>, slack: f64, most: f64, found: &mut Found) {
    let limit = |found: &Found| (found.farthest().min(most) * slack) as f32;
    let mut farthest = limit(found);
    for (code, index) in codes.values.chunks_exact(codes.dim).zip(codes.first..) {
        // A sum that overflowed, or of an infinite difference, is looked at again too.
        let distance = squared_distance_f32(query, code);
        if distance <= farthest || !distance.is_finite() {
            found.offer(squared_distance(query, code), index);
            farthest = limit(found);
        }
    }
}

/// Codes c less their mean m, each followed by -|c - m|^2 / 2: the product with a query q less the same mean, followed by 1, is
/// (|q - m|^2 - |q - c|^2) / 2. Without the mean, codes far from zero would leave no digits for their distances.
struct Centred {
    mean: Vec<f32>,
    /// (N, D + 1).
    values: Vec<f32>,
    /// The largest |c - m| of each [`BLOCK`].
    lengths: Vec<f64>,
}

impl Centred {
    fn of(codes: &Block<'_>) -> Self {
        let dim = codes.dim;
        let count = (codes.values.len() / dim).max(1);
        let sums = codes
            .values
            .par_chunks(BLOCK * dim)
            .map(|rows| {
                let mut sum = vec![0.0_f64; dim];
                for row in rows.chunks_exact(dim) {
                    sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
                }
                sum
            })
            .collect::<Vec<_>>();
        let mean = |j: usize| (sums.iter().map(|sum| sum[j]).sum::<f64>() / count as f64) as f32;
        let mean: Vec<f32> = (0..dim).map(mean).collect();
        let mut values = vec![0.0; codes.values.len() / dim * (dim + 1)];
        let blocks = values.par_chunks_mut(BLOCK * (dim + 1)).zip(codes.values.par_chunks(BLOCK * dim));
        let lengths = blocks
            .map(|(centred, codes)| {
                let rows = centred.chunks_exact_mut(dim + 1).zip(codes.chunks_exact(dim));
                let squares = rows.map(|(centred, code)| {
                    let square = centre(code, &mean, centred);
                    centred[dim] = (-0.5 * square) as f32;
                    square
                });
                squares.fold(0.0, f64::max).sqrt()
            })
            .collect();
        Self { mean, values, lengths }
    }

    /// Searches all codes for a group of queries, on this thread.
    fn search(&self, codes: &Block<'_>, group: &mut [Search<'_>]) {
        let (dim, width) = (codes.dim, codes.dim + 1);
        let mut queries = vec![1.0; group.len() * width];
        let squares: Vec<f64> = group
            .iter()
            .zip(queries.chunks_exact_mut(width))
            .map(|(search, centred)| centre(search.query, &self.mean, centred))
            .collect();
        let mut found: Vec<Found> = group.iter().map(Search::found).collect();
        let mut products = vec![0.0; group.len() * BLOCK];
        for (i, block) in self.values.chunks(BLOCK * width).enumerate() {
            let count = block.len() / width;
            let products = &mut products[..group.len() * count];
            let left = Matrix::new(&queries, width, false);
            product([group.len(), width, count], left, Matrix::new(block, width, true), products);
            let start = i * BLOCK;
            let here = Block {
                values: &codes.values[start * dim..(start + count) * dim],
                first: codes.first + start as u32,
                dim,
            };
            for (q, products) in products.chunks_exact(count).enumerate() {
                // Rounding of both centred vectors, of the stored square and of a sum of D + 1 products: with the half
                // unit u, u (|q| + |c|)^2 (D / 2 + 4) and terms of higher order.
                let lengths = squares[q].sqrt() + self.lengths[i];
                let slack = HALF_ULP * lengths * lengths * (dim + 16) as f64;
                let (query, found) = (group[q].query, &mut found[q]);
                wide(
                    #[inline(always)]
                    || nearest_by_products(query, products, &here, squares[q] - slack, found),
                );
            }
        }
        group.iter_mut().zip(&found).for_each(|(search, found)| search.keep(found));
    }
}

/// Writes `code` less the mean and returns its squared length.
fn centre(code: &[f32], mean: &[f32], centred: &mut [f32]) -> f64 {
    let mut square = 0.0;
    for ((value, mean), centred) in code.iter().zip(mean).zip(centred) {
        *centred = value - mean;
        square += f64::from(*centred) * f64::from(*centred);
    }
    square
}

/// Looks at the codes whose product does not show that they are too far; `square` is the query's less the slack.
#[inline(always)]
fn nearest_by_products(query: &[f32], products: &[f32], codes: &Block<'_>, square: f64, found: &mut Found) {
    // Rounded down by more than the conversion may round up.
    let limit = |found: &Found| {
        let limit = 0.5 * (square - found.farthest());
        (limit - limit.abs() * 4.0 * HALF_ULP) as f32
    };
    let mut least = limit(found);
    for (c, products) in products.chunks(LANES).enumerate() {
        // What is no number is looked at too.
        let far = products.iter().fold(true, |far, &product| far & (product < least));
        if far {
            continue;
        }
        for (i, &product) in products.iter().enumerate() {
            if product >= least || product.is_nan() {
                let at = c * LANES + i;
                let code = &codes.values[at * codes.dim..(at + 1) * codes.dim];
                found.offer(squared_distance(query, code), codes.first + at as u32);
                least = limit(found);
            }
        }
    }
}
