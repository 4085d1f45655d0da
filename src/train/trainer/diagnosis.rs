//! Where values that are not finite began: the steps since the last save are repeated, which gives the same bits, up to
//! the first that spoils something; that one is run op by op.

use super::Trainer;
use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::session::{ProgramId, Session};
use crate::tensor::DType;
use crate::train::events::{Event, Observer};
use crate::train::objective::Part;
use crate::train::program::{HISTORY, Phase, names};
use crate::train::run_dir;
use crate::train::state::{self, Progress};
use crate::train::steps::Next;
use crate::train::{Weights, rate};

impl Trainer {
    /// The error of a run in which step `bad`, from 1, gave something that is not finite: `what`, and the tensor in which
    /// it began. The saved state and what stands on the disk stay as they are; the device holds no run any more.
    pub(super) fn not_finite(&mut self, bad: u64, what: &str, observer: &mut dyn Observer) -> Error {
        let origin = match self.origin(bad, observer) {
            Ok(Some(origin)) => format!("; it began in {origin}"),
            Ok(None) => String::new(),
            Err(error) => format!("; where it began was not found ({error})"),
        };
        let problem = format!("{what}{origin}: try a smaller --lr; what was saved before is kept");
        Error::Training { step: bad, problem }
    }

    /// The first tensor that is not finite, in words; none where the repeated steps are all right, or the user stops.
    fn origin(&mut self, bad: u64, observer: &mut dyn Observer) -> Result<Option<String>> {
        let (path, rows) = (self.run.file(run_dir::STATE), self.rows());
        self.progress = Progress::read(&path)?;
        observer.event(&Event::Diagnosis { step: bad, from: self.progress.step + 1 });
        state::load(&mut self.session, &self.preset.train, &self.architecture, &path, rows)?;
        self.forget_losses()?;
        self.begin_epoch()?;
        let mut before = self.carried()?;
        while self.progress.step < bad && !observer.stop_requested() {
            let Some((program, size)) = self.repeat_step()? else { break };
            let after = self.carried()?;
            if self.progress.step == bad || after.first_not_finite().is_some() {
                self.restore(&before)?;
                let plan = self.training.plan(program);
                let found = plan.map_or(Ok(None), |plan| walk(&mut self.session, plan, program))?;
                return Ok(found.map(|tensor| format!("step {} with {tensor}", self.progress.step)));
            }
            before = after;
            self.progress.row += size as u64;
        }
        Ok(None)
    }

    /// Runs the next step of the epoch under way; none where the epoch is at its end.
    fn repeat_step(&mut self) -> Result<Option<(ProgramId, usize)>> {
        let row = self.progress.row as usize;
        let Some(Next { program, taken, .. }) = self.training.at(row) else { return Ok(None) };
        self.source.prepare(&mut self.session, self.training.batches.own_row(row))?;
        let steps = self.total_steps();
        rate::write(&mut self.session, &self.preset.train, &self.progress, 1, steps)?;
        self.session.run(program, 1)?;
        self.source.look_ahead(&mut self.session)?;
        self.progress.step += 1;
        Ok(Some((program, taken.rows)))
    }

    /// The histories still hold what the run logged before it was repeated.
    fn forget_losses(&mut self) -> Result<()> {
        let parts = Part::ALL.map(|part| names::part(Phase::Training, part));
        for name in parts.iter().chain([&names::losses(Phase::Training)]) {
            if self.session.contains(name) {
                self.session.write(name, &[0.0; HISTORY])?;
            }
        }
        Ok(())
    }

    fn restore(&mut self, carried: &Weights) -> Result<()> {
        carried.tensors.iter().try_for_each(|(name, array)| self.session.write_words(name, array.data.words()))
    }
}

/// Runs a recorded step op by op up to the first output that is not finite, and says which that is.
fn walk(session: &mut Session, plan: &Plan, program: ProgramId) -> Result<Option<String>> {
    let loss = names::losses(Phase::Training);
    let mut backward = false;
    for (number, step) in plan.steps().iter().enumerate().filter(|(_, step)| step.op.has_launches()) {
        session.run_step(program, number)?;
        for &id in &step.outputs {
            let info = &plan.tensors()[id.index()];
            let Some(storage) = plan.storage(id).filter(|_| info.ty.dtype == DType::F32) else { continue };
            let words = session.read_storage(program, storage)?;
            let values = words.iter().take(info.ty.words()).map(|&word| f32::from_bits(word));
            if let Some(value) = values.into_iter().find(|value| !value.is_finite()) {
                let tensor = if info.class.is_persistent() { Some(info.name.as_str()) } else { None };
                return Ok(Some(describe(step, tensor, backward, value)));
            }
        }
        // What follows the record of the loss is its gradient and the update.
        backward |= step.outputs.iter().any(|id| plan.tensors()[id.index()].name == loss);
    }
    Ok(None)
}

/// A tensor of the store by its name, any other by the op that made it.
fn describe(step: &Step, stored: Option<&str>, backward: bool, value: f32) -> String {
    let (op, label) = (step.op.name(), &step.label);
    match stored {
        Some(name) => format!("{name}, which {op} made {value}"),
        None if backward => format!("the output of {op} in the backward pass of {label}, which is {value}"),
        None => format!("the output of {op} in {label}, which is {value}"),
    }
}
