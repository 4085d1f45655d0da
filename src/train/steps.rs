//! The recorded steps of one phase, and which of them comes next.

use super::program::{Phase, Recipe};
use crate::error::Result;
use crate::graph::Graph;
use crate::plan::Plan;
use crate::session::{ProgramId, Session};

/// Recorded steps of one phase: over a whole batch, and over the short one at the end of an epoch.
pub(super) struct Steps {
    /// Rows of a whole batch.
    pub(super) batch: usize,
    /// Rows of an epoch that are used.
    pub(super) rows: usize,
    whole: Option<Recorded>,
    short: Option<Recorded>,
}

struct Recorded {
    program: ProgramId,
    plan: Plan,
    /// Rows of its batch.
    size: usize,
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
        let [whole, short] = sizes(batch, order_rows, drop_last);
        let rows = rows(batch, order_rows, drop_last);
        let mut record = |size: usize| -> Result<Recorded> {
            let plan = session.plan(&recipe.graph(phase, size, rows, order_rows)?)?;
            Ok(Recorded { program: session.record_plan(&plan)?, plan, size })
        };
        let whole = whole.map(&mut record).transpose()?;
        let short = short.map(&mut record).transpose()?;
        Ok(Self { batch, rows, whole, short })
    }

    /// The graphs that [`Steps::record`] records.
    pub(super) fn graphs(recipe: &Recipe<'_>, phase: Phase, order_rows: usize, drop_last: bool) -> Result<Vec<Graph>> {
        let batch = recipe.preset.train.batch;
        let rows = rows(batch, order_rows, drop_last);
        let graph = |size: usize| recipe.graph(phase, size, rows, order_rows);
        sizes(batch, order_rows, drop_last).into_iter().flatten().map(graph).collect()
    }

    pub(super) fn per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.batch) as u64
    }

    /// The program for the batch that begins at `row`, its size, and how many of them follow each other.
    pub(super) fn at(&self, row: usize) -> Option<(ProgramId, usize, usize)> {
        let whole = (self.rows - row) / self.batch;
        match (&self.whole, &self.short) {
            (Some(recorded), _) if whole > 0 => Some((recorded.program, recorded.size, whole)),
            (_, Some(recorded)) => Some((recorded.program, recorded.size, 1)),
            _ => None,
        }
    }

    /// What a program of these steps was recorded from.
    pub(super) fn plan(&self, program: ProgramId) -> Option<&Plan> {
        let mut all = self.whole.iter().chain(&self.short);
        all.find(|recorded| recorded.program == program).map(|recorded| &recorded.plan)
    }
}

/// Sizes of the whole batch and of the short one at the end, where there are such.
fn sizes(batch: usize, order_rows: usize, drop_last: bool) -> [Option<usize>; 2] {
    let whole = (order_rows >= batch).then_some(batch);
    let left = order_rows % batch;
    [whole, (left > 0 && !(drop_last && whole.is_some())).then_some(left)]
}

/// Rows of an epoch that are used.
fn rows(batch: usize, order_rows: usize, drop_last: bool) -> usize {
    let [_, short] = sizes(batch, order_rows, drop_last);
    order_rows / batch * batch + short.unwrap_or(0)
}
