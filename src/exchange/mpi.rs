//! Ranks that are processes which `mpirun` or `srun` started, on one machine or many: the Message Passing Interface.

use super::Exchange;
use crate::error::{Error, Result};
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::{Threading, Universe};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, initialize_with_threading};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// This process among those of an MPI job. The last one to be dropped ends MPI, after which it cannot be started again.
pub struct Mpi {
    /// One call at a time: MPI is asked for no more than that.
    universe: Mutex<Universe>,
    rank: usize,
    ranks: usize,
    rank_on_host: usize,
    ranks_on_host: usize,
}

impl Mpi {
    /// Enters the job that this process was started in. A process that was started alone is the one rank of a job of its own.
    ///
    /// # Errors
    /// If MPI was started before, or cannot be called from several threads in turn.
    pub fn start() -> Result<Self> {
        let problem = |problem: &str| Error::setting("MPI", problem);
        let (universe, threading) = initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| problem("was started in this process before"))?;
        if threading < Threading::Serialized {
            return Err(problem("was built without threads: wanted MPI_THREAD_SERIALIZED"));
        }
        let world = universe.world();
        let host = world.split_shared(world.rank());
        let size = |count: Count| usize::try_from(count).unwrap_or(0);
        Ok(Self {
            rank: size(world.rank()),
            ranks: size(world.size()),
            rank_on_host: size(host.rank()),
            ranks_on_host: size(host.size()),
            universe: Mutex::new(universe),
        })
    }

    /// The number of this rank among those of its machine, from 0.
    pub fn rank_on_host(&self) -> usize {
        self.rank_on_host
    }

    /// How many ranks this machine has.
    pub fn ranks_on_host(&self) -> usize {
        self.ranks_on_host
    }

    /// Ends the whole job with an exit code, whatever the other ranks are at.
    pub fn abort(code: i32) -> ! {
        SimpleCommunicator::world().abort(code)
    }

    fn in_turn(&self, call: impl FnOnce(&SimpleCommunicator)) {
        let universe = self.universe.lock().unwrap_or_else(PoisonError::into_inner);
        call(&universe.world());
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.ranks)
    }
}

/// Numbers of words, and where each part begins, as MPI has them.
///
/// # Errors
/// If they exceed what MPI can count.
fn parts(counts: &[usize]) -> Result<(Vec<Count>, Vec<Count>)> {
    let too_many = |_| Error::setting("MPI", "cannot exchange more than 2^31 words at once: the network is too large");
    let total: usize = counts.iter().sum();
    Count::try_from(total).map_err(too_many)?;
    let counts: Vec<Count> =
        counts.iter().map(|&count| Count::try_from(count).map_err(too_many)).collect::<Result<_>>()?;
    let begins = counts.iter().scan(0, |end, &count| {
        *end += count;
        Some(*end - count)
    });
    let begins = begins.collect();
    Ok((counts, begins))
}

impl Exchange for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn all_gather(&self, own: &[u32], counts: &[usize], all: &mut [u32]) -> Result<()> {
        let (counts, begins) = parts(counts)?;
        self.in_turn(|world| world.all_gather_varcount_into(own, &mut PartitionMut::new(all, counts, begins)));
        Ok(())
    }

    fn all_to_all(&self, own: &[u32], counts: &[usize], received: &mut [u32]) -> Result<()> {
        let (own_counts, own_begins) = parts(counts)?;
        let (counts, begins) = parts(&vec![counts[self.rank]; self.ranks])?;
        let own = Partition::new(own, own_counts, own_begins);
        self.in_turn(|world| {
            world.all_to_all_varcount_into(&own, &mut PartitionMut::new(received, counts, begins));
        });
        Ok(())
    }
}
