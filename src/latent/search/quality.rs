//! What neighbours are worth: recall of an approximate search, votes of labels, and purity.

use super::{ExactSearch, HnswIndex, Neighbour};
use crate::error::{Error, Result};
use rand::{RngExt, SeedableRng};

/// The label that most neighbours have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// Number of the label.
    pub label: u32,
    /// Neighbours that have it.
    pub votes: usize,
    /// Neighbours in all.
    pub of: usize,
}

/// The label that most of the neighbours have, the nearest one's among equals; none without neighbours. `labels` holds the
/// number of each code's label.
pub fn vote(neighbours: &[Neighbour], labels: &[u32]) -> Option<Vote> {
    let of: Vec<u32> = neighbours.iter().filter_map(|near| labels.get(near.index)).copied().collect();
    let votes = |label: u32| of.iter().filter(|&&other| other == label).count();
    // The last of the largest is taken: the nearest comes last.
    let label = of.iter().rev().copied().max_by_key(|&label| votes(label))?;
    Some(Vote { label, votes: votes(label), of: of.len() })
}

/// Recall: the share of the exact neighbours that were found, over all queries. What is as near as the farthest of
/// them counts, since it might stand in its place.
pub fn recall(found: &[Vec<Neighbour>], exact: &[Vec<Neighbour>]) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    for (found, exact) in found.iter().zip(exact) {
        let farthest = exact.last().map_or(f64::NEG_INFINITY, |near| near.distance);
        hits += found.iter().filter(|near| near.distance <= farthest).count().min(exact.len());
        wanted += exact.len();
    }
    if wanted == 0 { 1.0 } else { hits as f64 / wanted as f64 }
}

/// Recall of an index of the same codes: of the `k` nearest others of the codes `rows`, the share that it finds.
///
/// # Errors
/// A row that there is not, or as [`ExactSearch::nearest`].
pub fn recall_of(index: &HnswIndex<'_>, exact: &mut ExactSearch<'_>, rows: &[usize], k: usize) -> Result<f64> {
    let queries = codes_of(exact, rows)?;
    let found = others(index.nearest(&queries, k.saturating_add(1))?, rows, k);
    let exact = others(exact.nearest(&queries, k.saturating_add(1))?, rows, k);
    Ok(recall(&found, &exact))
}

/// Purity@k: the mean share of a code's `k` nearest others that have its label, over the codes `rows`.
///
/// # Errors
/// Labels that are fewer than the codes, a row that there is not, fewer than two codes, or as [`ExactSearch::nearest`].
pub fn purity(search: &mut ExactSearch<'_>, labels: &[u32], rows: &[usize], k: usize) -> Result<f64> {
    let codes = search.codes();
    if labels.len() != codes.len() || codes.len() < 2 || rows.is_empty() {
        let wanted = "a label for each of at least two codes, and rows to look at";
        let got = format!("{} labels of {} codes, and {} rows", labels.len(), codes.len(), rows.len());
        return Err(Error::shape("purity", wanted, got));
    }
    let queries = codes_of(search, rows)?;
    let others = others(search.nearest(&queries, k.saturating_add(1))?, rows, k);
    let (mut same, mut all) = (0, 0);
    for (neighbours, &row) in others.iter().zip(rows) {
        same += neighbours.iter().filter(|near| labels.get(near.index) == labels.get(row)).count();
        all += neighbours.len();
    }
    Ok(same as f64 / all.max(1) as f64)
}

/// The codes `rows`, one after the other.
fn codes_of(search: &ExactSearch<'_>, rows: &[usize]) -> Result<Vec<f32>> {
    let codes = search.codes();
    let mut values = Vec::with_capacity(rows.len() * codes.dim());
    for &row in rows {
        if row >= codes.len() {
            return Err(Error::shape("search", format!("rows below {}", codes.len()), row.to_string()));
        }
        values.extend_from_slice(&codes.rows(row..row + 1)?);
    }
    Ok(values)
}

/// Neighbours of the codes `rows` without themselves, `k` of each.
fn others(mut found: Vec<Vec<Neighbour>>, rows: &[usize], k: usize) -> Vec<Vec<Neighbour>> {
    for (neighbours, &row) in found.iter_mut().zip(rows) {
        // Of many codes alike, others of smaller indices may have taken its place.
        neighbours.retain(|near| near.index != row);
        neighbours.truncate(k);
    }
    found
}

/// Up to `count` of `len` rows, in rising order; the same for the same seed.
pub fn sample(len: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
    let mut rows = Vec::with_capacity(count.min(len));
    // Knuth's selection sampling: each row with the share that is still to be taken.
    for row in 0..len {
        if rng.random_range(0..len - row) < count.saturating_sub(rows.len()) {
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(pairs: &[(usize, f64)]) -> Vec<Neighbour> {
        pairs.iter().map(|&(index, distance)| Neighbour { index, distance }).collect()
    }

    #[test]
    fn votes_go_to_the_most_and_among_equals_to_the_nearest() {
        let labels = [0, 1, 1, 2, 2];
        assert_eq!(vote(&near(&[(0, 0.0), (1, 1.0), (2, 2.0)]), &labels), Some(Vote { label: 1, votes: 2, of: 3 }));
        assert_eq!(vote(&near(&[(3, 0.0), (1, 1.0)]), &labels), Some(Vote { label: 2, votes: 1, of: 2 }));
        assert_eq!(vote(&[], &labels), None);
    }

    #[test]
    fn recall_counts_what_is_as_near() {
        let exact = [near(&[(1, 0.0), (2, 1.0)]), near(&[(5, 2.0), (6, 3.0)])];
        assert_eq!(recall(&exact, &exact), 1.0);
        assert_eq!(recall(&[near(&[(1, 0.0), (9, 1.0)]), near(&[(6, 3.0), (7, 4.0)])], &exact), 0.75);
        assert_eq!(recall(&[vec![], vec![]], &exact), 0.0);
    }

    #[test]
    fn samples_are_of_the_size_and_repeat() {
        let rows = sample(1000, 30, 7);
        assert_eq!((rows.len(), sample(1000, 30, 7) == rows, sample(1000, 30, 8) == rows), (30, true, false));
        assert!(rows.is_sorted() && rows.iter().all(|&row| row < 1000));
        assert_eq!(sample(3, 9, 1), [0, 1, 2]);
    }
}
