//! Several processes that train one model: what they exchange, and in which order it is summed.
//!
//! Each process is a rank. What carries words between ranks is an [`Exchange`]: MPI, or threads of one process
//! ([`Local`]). [`Ranks`] builds on it what training needs. Sums are made in rank order, each number by one rank alone, so
//! that they have the same bits on all ranks and in each repetition.
//!
//! ```
//! use degrain::exchange::{Local, Ranks};
//!
//! let sums = std::thread::scope(|scope| {
//!     let sum = |(rank, local)| {
//!         scope.spawn(move || {
//!             let mut values = vec![rank as f32, 1.0];
//!             Ranks::of(local).sum(&mut values).map(|()| values)
//!         })
//!     };
//!     let threads: Vec<_> = Local::group(3).into_iter().enumerate().map(sum).collect();
//!     threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Result<Vec<_>, _>>()
//! })?;
//! assert_eq!(sums, vec![vec![3.0, 3.0]; 3]);
//! # Ok::<(), degrain::Error>(())
//! ```

mod local;
#[cfg(feature = "mpi")]
mod mpi;

use crate::data::Shard;
use crate::error::{Error, Result};
pub use local::Local;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
use std::fmt::Debug;
use std::sync::Arc;

/// Carries words between ranks. All ranks make the same calls in the same order; each waits for the others.
pub trait Exchange: Debug + Send + Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// What all ranks have, one after the other: `counts[r]` words of rank r, of which this rank gives `own`.
    ///
    /// # Errors
    /// If another rank is gone.
    fn all_gather(&self, own: &[u32], counts: &[usize], all: &mut [u32]) -> Result<()>;

    /// Gives rank r the r-th part of `own`, of `counts[r]` words, and gets the part that each rank has for this one: one
    /// after the other, `counts[rank]` words from each.
    ///
    /// # Errors
    /// If another rank is gone.
    fn all_to_all(&self, own: &[u32], counts: &[usize], received: &mut [u32]) -> Result<()>;
}

/// The one rank of a process that has no others.
#[derive(Debug)]
struct Alone;

impl Exchange for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn all_gather(&self, own: &[u32], _: &[usize], all: &mut [u32]) -> Result<()> {
        all.copy_from_slice(own);
        Ok(())
    }

    fn all_to_all(&self, own: &[u32], _: &[usize], received: &mut [u32]) -> Result<()> {
        received.copy_from_slice(own);
        Ok(())
    }
}

/// Words up to which every rank gets all ranks' vectors and sums them itself: one message each way in place of two.
const SHORT_WORDS: usize = 1024;

/// This process among those that it trains with.
#[derive(Clone, Debug)]
pub struct Ranks(Arc<dyn Exchange>);

impl Default for Ranks {
    fn default() -> Self {
        Self::alone()
    }
}

impl Ranks {
    /// No others.
    pub fn alone() -> Self {
        Self(Arc::new(Alone))
    }

    /// Those that this exchange reaches.
    pub fn of(exchange: impl Exchange + 'static) -> Self {
        Self(Arc::new(exchange))
    }

    /// The number of this rank, from 0. Rank 0 speaks for all: it prints, and writes the run folder.
    pub fn rank(&self) -> usize {
        self.0.rank()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.ranks()
    }

    /// Whether there are no others.
    pub fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// This rank's part of whatever is dealt to all.
    pub fn shard(&self) -> Shard {
        Shard::of_rank(self.rank(), self.count())
    }

    /// The sums over all ranks, number by number: added in rank order.
    ///
    /// A long vector is cut into a part for each rank. Every rank gets its part from all others, sums it, and the sums are
    /// gathered: 2 (N - 1) / N of the vector's bytes each way (reduce-scatter and all-gather; Thakur, Rabenseifner and
    /// Gropp 2005), with a fixed order of the sums, which `MPI_Allreduce` does not promise.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn sum(&self, values: &mut [f32]) -> Result<()> {
        let (rank, count) = (self.rank(), self.count());
        if count == 1 || values.is_empty() {
            return Ok(());
        }
        if values.len() <= SHORT_WORDS {
            let all = self.gather_words(bytemuck::cast_slice(values))?;
            sum_rows(bytemuck::cast_slice(&all), values);
            return Ok(());
        }
        let counts: Vec<usize> = (0..count).map(|r| Shard::of_rank(r, count).range(values.len()).len()).collect();
        let mut received = vec![0_u32; counts[rank] * count];
        self.0.all_to_all(bytemuck::cast_slice(values), &counts, &mut received)?;
        let mut own = vec![0.0; counts[rank]];
        sum_rows(bytemuck::cast_slice(&received), &mut own);
        self.0.all_gather(bytemuck::cast_slice(&own), &counts, bytemuck::cast_slice_mut(values))
    }

    /// As many words of each rank, in rank order.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn gather_words(&self, own: &[u32]) -> Result<Vec<u32>> {
        let counts = vec![own.len(); self.count()];
        let mut all = vec![0; own.len() * self.count()];
        self.0.all_gather(own, &counts, &mut all)?;
        Ok(all)
    }

    /// Bytes of each rank, in rank order; lengths may differ.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let lengths = self.gather_words(&[own.len() as u32, (own.len() as u64 >> 32) as u32])?;
        let lengths: Vec<usize> =
            lengths.chunks_exact(2).map(|words| words[0] as usize | (words[1] as usize) << 32).collect();
        let counts: Vec<usize> = lengths.iter().map(|bytes| bytes.div_ceil(4)).collect();
        let mut words = vec![0_u32; own.len().div_ceil(4)];
        bytemuck::cast_slice_mut(&mut words)[..own.len()].copy_from_slice(own);
        let mut all = vec![0_u32; counts.iter().sum()];
        self.0.all_gather(&words, &counts, &mut all)?;
        let mut left = &all[..];
        let mut take = |(&bytes, &count): (&usize, &usize)| {
            let (now, rest) = left.split_at(count);
            left = rest;
            bytemuck::cast_slice(now)[..bytes].to_vec()
        };
        Ok(lengths.iter().zip(&counts).map(&mut take).collect())
    }

    /// The bytes that rank 0 gives; those of the others do not count.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn from_first(&self, own: &[u8]) -> Result<Vec<u8>> {
        let own = if self.rank() == 0 { own } else { &[] };
        let mut all = self.gather_bytes(own)?;
        Ok(all.swap_remove(0))
    }

    /// The smallest of the numbers that the ranks give.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn least(&self, own: usize) -> Result<usize> {
        if self.is_alone() {
            return Ok(own);
        }
        let own = u32::try_from(own).unwrap_or(u32::MAX);
        Ok(self.gather_words(&[own])?.into_iter().min().unwrap_or(own) as usize)
    }

    /// Whether it holds on some rank.
    ///
    /// # Errors
    /// If another rank is gone.
    pub fn any(&self, own: bool) -> Result<bool> {
        Ok(self.least(usize::from(!own))? == 0)
    }

    /// What was achieved here, if all others achieved it as well: no rank goes on to wait for one that failed.
    ///
    /// # Errors
    /// The error of the first rank that has one: there as it is, on all others as [`Error::Rank`].
    pub fn agree<T>(&self, own: Result<T>) -> Result<T> {
        if self.is_alone() {
            return own;
        }
        let text = own.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let problems = self.gather_bytes(text.as_bytes())?;
        match problems.iter().position(|problem| !problem.is_empty()) {
            None => own,
            Some(rank) if rank == self.rank() => own,
            Some(rank) => {
                let problem = String::from_utf8_lossy(&problems[rank]).into_owned();
                Err(Error::Rank { rank, ranks: self.count(), problem })
            }
        }
    }

    /// Whether all ranks give the same word.
    ///
    /// # Errors
    /// [`Error::Rank`] naming the first rank that gives another one than rank 0: `what` differs there.
    pub fn same(&self, word: u32, what: &str) -> Result<()> {
        let all = self.gather_words(&[word])?;
        match all.iter().position(|&other| other != all[0]) {
            None => Ok(()),
            Some(rank) => {
                Err(Error::Rank { rank, ranks: self.count(), problem: format!("{what} differs from rank 0's") })
            }
        }
    }
}

/// Adds up rows of as many numbers as there are sums, from the first row on.
fn sum_rows(rows: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    sums.copy_from_slice(&rows[..width]);
    for row in rows[width..].chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// What each of `count` threads gets from `work`.
    fn each<T: Send>(count: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let start = |local| scope.spawn(|| work(Ranks::of(local)));
            let threads: Vec<_> = Local::group(count).into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn value(rank: usize, i: usize) -> f32 {
        ((rank * 7919 + i * 104_729) % 1000) as f32 * 1e-3 - 0.3
    }

    #[test]
    fn sums_are_added_in_rank_order() {
        for (count, len) in [(1, 5), (2, 1), (2, 1024), (2, 1025), (3, 5000), (4, 4099), (7, 1030)] {
            let expected: Vec<f32> =
                (0..len).map(|i| (1..count).fold(value(0, i), |sum, rank| sum + value(rank, i))).collect();
            let sums = each(count, |ranks| {
                let mut values: Vec<f32> = (0..len).map(|i| value(ranks.rank(), i)).collect();
                ranks.sum(&mut values).unwrap();
                values
            });
            assert!(sums.iter().all(|sum| *sum == expected), "{count} ranks, {len} numbers");
        }
    }

    #[test]
    fn bytes_of_any_length_come_in_rank_order() {
        let all = each(3, |ranks| ranks.gather_bytes(&vec![7; 5 * ranks.rank()]).unwrap());
        assert!(all.iter().all(|bytes| *bytes == [vec![], vec![7; 5], vec![7; 10]]));
        let first = each(3, |ranks| ranks.from_first(format!("rank {}", ranks.rank()).as_bytes()).unwrap());
        assert!(first.iter().all(|bytes| bytes == b"rank 0"));
    }

    #[test]
    fn a_failure_of_one_is_a_failure_of_all() {
        let results = each(3, |ranks| {
            let own = if ranks.rank() == 1 { Err(Error::setting("--batch", "is odd")) } else { Ok(ranks.rank()) };
            ranks.agree(own).map_err(|error| error.to_string())
        });
        let told = "rank 1 of 3: --batch: is odd".to_owned();
        assert_eq!(results, [Err(told.clone()), Err("--batch: is odd".to_owned()), Err(told)]);
        assert_eq!(each(2, |ranks| ranks.agree(Ok(ranks.rank())).unwrap()), [0, 1]);
        let same = each(2, |ranks| (ranks.same(4, "x").is_ok(), ranks.same(ranks.rank() as u32, "the seed")));
        assert!(same.iter().all(|(same, differs)| {
            *same && differs.as_ref().unwrap_err().to_string() == "rank 1 of 2: the seed differs from rank 0's"
        }));
    }

    #[test]
    fn a_rank_that_is_gone_is_told() {
        let results = each(3, |ranks| {
            if ranks.rank() == 2 {
                return Ok(());
            }
            let mut values = vec![1.0; 3];
            ranks.sum(&mut values).map_err(|error| error.to_string())
        });
        assert_eq!(results[2], Ok(()));
        assert!(results[..2].iter().all(|result| result.as_ref().unwrap_err().starts_with("rank 2 of 3: has ended")));
    }
}
