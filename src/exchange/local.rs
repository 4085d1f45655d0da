//! Ranks that are threads of one process: for tests, and for programs with several devices of their own.

use super::Exchange;
use crate::error::{Error, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// One of several ranks in this process. A rank whose value is dropped is gone, which the others are told.
#[derive(Debug)]
pub struct Local {
    rank: usize,
    board: Arc<Board>,
}

/// What the ranks show each other.
#[derive(Debug)]
struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What each rank gives in the exchange under way.
    posted: Vec<Option<Arc<[u32]>>>,
    /// Ranks that have seen all of it.
    seen: usize,
    /// The first rank that is gone.
    gone: Option<usize>,
}

impl Local {
    /// As many ranks, which know each other.
    pub fn group(ranks: usize) -> Vec<Self> {
        let state = State { posted: vec![None; ranks], seen: 0, gone: None };
        let board = Arc::new(Board { state: Mutex::new(state), changed: Condvar::new() });
        (0..ranks).map(|rank| Self { rank, board: board.clone() }).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway.
        self.board.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`.
    ///
    /// # Errors
    /// If another rank is gone before that.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        ready: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'a, State>> {
        while !ready(&state) {
            if let Some(rank) = state.gone {
                let problem = "has ended, and this one cannot go on alone".to_owned();
                return Err(Error::Rank { rank, ranks: state.posted.len(), problem });
            }
            state = self.board.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(state)
    }

    /// What all ranks give.
    fn post(&self, own: &[u32]) -> Result<Vec<Arc<[u32]>>> {
        // The exchange before this one may still be read.
        let mut state = self.wait(self.state(), |state| state.posted[self.rank].is_none())?;
        state.posted[self.rank] = Some(own.into());
        self.board.changed.notify_all();
        let mut state = self.wait(state, |state| state.posted.iter().all(Option::is_some))?;
        let all = state.posted.iter().flatten().cloned().collect();
        state.seen += 1;
        if state.seen == state.posted.len() {
            state.seen = 0;
            state.posted.fill(None);
            self.board.changed.notify_all();
        }
        Ok(all)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let mut state = self.state();
        state.gone = state.gone.or(Some(self.rank));
        self.board.changed.notify_all();
    }
}

impl Exchange for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.state().posted.len()
    }

    fn all_gather(&self, own: &[u32], counts: &[usize], all: &mut [u32]) -> Result<()> {
        let mut left = all;
        for (posted, &count) in self.post(own)?.iter().zip(counts) {
            let (now, rest) = left.split_at_mut(count);
            now.copy_from_slice(posted);
            left = rest;
        }
        Ok(())
    }

    fn all_to_all(&self, own: &[u32], counts: &[usize], received: &mut [u32]) -> Result<()> {
        let begin: usize = counts[..self.rank].iter().sum();
        let width = counts[self.rank];
        for (r, posted) in self.post(own)?.iter().enumerate() {
            received[r * width..(r + 1) * width].copy_from_slice(&posted[begin..begin + width]);
        }
        Ok(())
    }
}
