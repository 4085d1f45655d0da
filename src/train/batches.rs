//! How an epoch is cut into batches, and each batch into the parts of the ranks that train together.

use crate::data::Shard;
use crate::exchange::Ranks;

/// The batches of an epoch over `order` rows. A batch is contiguous in the epoch's order, and rank r takes its r-th part:
/// `per_rank` rows of a whole batch, and as many of the short one at the end as all others, or one more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    per_rank: usize,
    order: usize,
    drop_last: bool,
    /// This rank among all.
    shard: Shard,
}

/// What one rank takes of a batch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Taken {
    /// Rows of the batch, over all ranks.
    pub(super) rows: usize,
    /// Rows that this rank computes: one at least, even where it counts for nothing.
    pub(super) own: usize,
    /// What this rank's mean counts for in the batch's; none where there is one rank.
    pub(super) share: Option<f32>,
}

impl Taken {
    /// A batch that one rank has for itself.
    pub(super) fn all(rows: usize) -> Self {
        Self { rows, own: rows, share: None }
    }
}

impl Batches {
    pub(super) fn new(per_rank: usize, order: usize, drop_last: bool, ranks: &Ranks) -> Self {
        Self { per_rank: per_rank.max(1), order, drop_last, shard: ranks.shard() }
    }

    /// Rows of a whole batch, over all ranks.
    pub(super) fn size(&self) -> usize {
        self.per_rank * self.shard.count()
    }

    /// Rows of an epoch that are used, over all ranks.
    pub(super) fn rows(&self) -> usize {
        self.order / self.size() * self.size() + self.short().map_or(0, |taken| taken.rows)
    }

    /// Rows of an epoch that this rank computes.
    pub(super) fn own_rows(&self) -> usize {
        self.order / self.size() * self.per_rank + self.short().map_or(0, |taken| taken.own)
    }

    /// Steps of an epoch.
    pub(super) fn steps(&self) -> u64 {
        self.rows().div_ceil(self.size()) as u64
    }

    /// A whole batch, where the epoch has one.
    pub(super) fn whole(&self) -> Option<Taken> {
        (self.order >= self.size()).then(|| self.taken(self.size()))
    }

    /// The short batch at the end, where there is one and it is used.
    pub(super) fn short(&self) -> Option<Taken> {
        let left = self.order % self.size();
        (left > 0 && !(self.drop_last && self.order >= self.size())).then(|| self.taken(left))
    }

    fn taken(&self, rows: usize) -> Taken {
        let own = self.shard.range(rows).len();
        Taken { rows, own: own.max(1), share: (self.shard.count() > 1).then_some(own as f32 / rows as f32) }
    }

    /// Where this rank's part of the batch that begins at `row` begins in its own rows.
    pub(super) fn own_row(&self, row: usize) -> usize {
        row / self.shard.count()
    }

    /// The rows of an epoch's order that this rank computes, in its order.
    pub(super) fn own_order(&self, order: &[u32]) -> Vec<u32> {
        let own = order[..self.rows()].chunks(self.size()).flat_map(|batch| {
            let own = &batch[self.shard.range(batch.len())];
            // A rank without a row computes the batch's first one, which then counts for nothing.
            if own.is_empty() { &batch[..1] } else { own }
        });
        own.copied().collect()
    }

    /// The last row at which a batch begins that is not after `row`.
    pub(super) fn begin_of_batch(&self, row: usize) -> usize {
        row / self.size() * self.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(per_rank: usize, order: usize, drop_last: bool, rank: usize, ranks: usize) -> Batches {
        Batches { per_rank, order, drop_last, shard: Shard::of_rank(rank, ranks) }
    }

    #[test]
    fn one_rank_takes_everything() {
        let epoch = batches(4, 10, false, 0, 1);
        assert_eq!((epoch.rows(), epoch.own_rows(), epoch.steps()), (10, 10, 3));
        assert_eq!(epoch.whole(), Some(Taken { rows: 4, own: 4, share: None }));
        assert_eq!(epoch.short(), Some(Taken { rows: 2, own: 2, share: None }));
        assert_eq!(batches(4, 10, true, 0, 1).rows(), 8);
        assert_eq!(batches(4, 3, true, 0, 1).rows(), 3, "an epoch of one short batch keeps it");
        assert_eq!(batches(4, 3, true, 0, 1).whole(), None);
    }

    #[test]
    fn ranks_share_each_batch() {
        let order: Vec<u32> = (0..23).collect();
        let of = |rank: usize| batches(4, 23, false, rank, 2);
        assert_eq!(of(0).own_order(&order), [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18]);
        assert_eq!(of(1).own_order(&order), [4, 5, 6, 7, 12, 13, 14, 15, 19, 20, 21, 22]);
        assert_eq!((of(0).rows(), of(0).own_rows(), of(1).own_rows(), of(1).steps()), (23, 11, 12, 3));
        assert_eq!(of(0).short(), Some(Taken { rows: 7, own: 3, share: Some(3.0 / 7.0) }));
        assert_eq!((of(1).own_row(8), of(1).own_row(16), of(1).begin_of_batch(17)), (4, 8, 16));
        assert_eq!(batches(4, 23, true, 1, 2).own_order(&order).len(), 8);
    }

    #[test]
    fn a_rank_without_rows_computes_one_that_does_not_count() {
        let taken: Vec<_> = (0..4).map(|rank| batches(2, 10, false, rank, 4).short()).collect();
        let shares: Vec<_> = taken.iter().flatten().map(|taken| (taken.own, taken.share)).collect();
        assert_eq!(shares, [(1, Some(0.0)), (1, Some(0.5)), (1, Some(0.0)), (1, Some(0.5))]);
        let order: Vec<u32> = (0..10).collect();
        assert_eq!(batches(2, 10, false, 0, 4).own_order(&order), [0, 1, 8]);
        assert_eq!(batches(2, 10, false, 3, 4).own_order(&order), [6, 7, 9]);
    }
}
