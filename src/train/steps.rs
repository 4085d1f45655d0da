//! The recorded steps of one phase, and which of them comes next.

use super::program::{Phase, Recipe};
use crate::error::Result;
use crate::session::{ProgramId, Session};

/// Recorded steps of one phase: over a whole batch, and over the short one at the end of an epoch.
pub(super) struct Steps {
    /// Rows of a whole batch.
    pub(super) batch: usize,
    /// Rows of an epoch that are used.
    pub(super) rows: usize,
    whole: Option<ProgramId>,
    short: Option<(ProgramId, usize)>,
}

impl Steps {
    pub(super) fn record(
        session: &mut Session,
        recipe: &Recipe<'_>,
        phase: Phase,
        order_rows: usize,
        drop_last: bool,
    ) -> Result<Self> {
        let batch = recipe.preset.train.batch;
        let left = if drop_last && order_rows >= batch { 0 } else { order_rows % batch };
        let rows = order_rows / batch * batch + left;
        let mut record = |size: usize| session.record(&recipe.graph(phase, size, rows, order_rows)?);
        let whole = if order_rows >= batch { Some(record(batch)?) } else { None };
        let short = if left > 0 { Some((record(left)?, left)) } else { None };
        Ok(Self { batch, rows, whole, short })
    }

    pub(super) fn per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.batch) as u64
    }

    /// The program for the batch that begins at `row`, its size, and how many of them follow each other.
    pub(super) fn at(&self, row: usize) -> Option<(ProgramId, usize, usize)> {
        let whole = (self.rows - row) / self.batch;
        match (self.whole, self.short) {
            (Some(program), _) if whole > 0 => Some((program, self.batch, whole)),
            (_, Some((program, size))) => Some((program, size, 1)),
            _ => None,
        }
    }
}
