//! The recorded steps of one phase, and which of them comes next.

use super::batches::{Batches, Taken};
use super::program::{Phase, Recipe};
use crate::error::Result;
use crate::graph::Graph;
use crate::plan::Plan;
use crate::session::{ProgramId, Session};

/// Recorded steps of one phase: over a whole batch, and over the short one at the end of an epoch. Rows and sizes count the
/// rows of all ranks.
pub(super) struct Steps {
    pub(super) batches: Batches,
    whole: Option<Recorded>,
    short: Option<Recorded>,
}

struct Recorded {
    program: ProgramId,
    plan: Plan,
    taken: Taken,
}

/// A batch that comes next, and those that follow it.
pub(super) struct Next {
    pub(super) program: ProgramId,
    /// What this rank takes of it.
    pub(super) taken: Taken,
    /// How many follow each other, this one included.
    pub(super) follow: usize,
}

impl Steps {
    pub(super) fn record(session: &mut Session, recipe: &Recipe<'_>, phase: Phase, batches: Batches) -> Result<Self> {
        let mut record = |taken: Taken| -> Result<Recorded> {
            let plan = session.plan(&recipe.graph(phase, taken, batches.own_rows())?)?;
            Ok(Recorded { program: session.record_plan(&plan)?, plan, taken })
        };
        let whole = batches.whole().map(&mut record).transpose()?;
        let short = batches.short().map(&mut record).transpose()?;
        Ok(Self { batches, whole, short })
    }

    /// The graphs that [`Steps::record`] records.
    pub(super) fn graphs(recipe: &Recipe<'_>, phase: Phase, batches: Batches) -> Result<Vec<Graph>> {
        let taken = batches.whole().into_iter().chain(batches.short());
        taken.map(|taken| recipe.graph(phase, taken, batches.own_rows())).collect()
    }

    /// The batch that begins at `row`; none at the end of the epoch.
    pub(super) fn at(&self, row: usize) -> Option<Next> {
        let left = self.batches.rows().checked_sub(row)?;
        let next = |recorded: &Recorded, follow| Next { program: recorded.program, taken: recorded.taken, follow };
        match (&self.whole, &self.short) {
            (Some(whole), _) if left >= whole.taken.rows => Some(next(whole, left / whole.taken.rows)),
            (_, Some(short)) if left > 0 => Some(next(short, 1)),
            _ => None,
        }
    }

    /// What a program of these steps was recorded from.
    pub(super) fn plan(&self, program: ProgramId) -> Option<&Plan> {
        let mut all = self.whole.iter().chain(&self.short);
        all.find(|recorded| recorded.program == program).map(|recorded| &recorded.plan)
    }
}
