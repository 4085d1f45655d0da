//! A case as a graph, in one direction, and its check on one session with one kernel.

use super::walk::{Bounds, GUARD_WORDS, Options, Outcome, References, walk_with};
use crate::error::Result;
use crate::graph::{Graph, Signature, input_name};
use crate::kernel::Target;
use crate::op::Case;
use crate::plan::{Plan, PlanOptions};
use crate::session::Session;
use crate::tensor::{Array, Class, DType, TensorId};
use std::collections::BTreeSet;
use std::fmt;

/// Which way through an op.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// The op alone.
    Forward,
    /// The op and the ops that its gradient records, under an upstream gradient of every output.
    Backward,
}

impl Direction {
    /// The word used in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A case recorded as a graph, with what its persistent tensors hold.
pub(super) struct CaseGraph {
    pub(super) graph: Graph,
    pub(super) values: Vec<(String, Array)>,
}

impl CaseGraph {
    /// Records the op of `case` on its inputs.
    ///
    /// # Errors
    /// If the op cannot take the inputs, or has no gradient.
    pub(super) fn new(case: &Case, direction: Direction) -> Result<Self> {
        let (mut graph, ids, outputs) = Graph::of_op(case.op.clone(), case.op.name(), case.input_types())?;
        let arrays = case.arrays().into_iter().enumerate();
        let mut values: Vec<_> = arrays.map(|(i, array)| (input_name(i), array)).collect();
        if direction == Direction::Backward {
            let mut pairs = Vec::new();
            for (o, &output) in outputs.iter().enumerate() {
                let ty = graph.ty(output).clone();
                if ty.dtype == DType::F32 {
                    let name = format!("upstream {o}");
                    values.push((name.clone(), Array::F64(upstream(ty.shape.len(), o))));
                    pairs.push((output, graph.persistent(Class::Input, &name, ty)?));
                }
            }
            let wrt: Vec<TensorId> = case.gradients.iter().map(|&i| ids[i]).collect();
            for (g, id) in graph.vector_jacobian(&pairs, &wrt)?.into_iter().enumerate() {
                // An op may hand an upstream gradient on as it is: that one is in the store already.
                if !graph.tensors()[id.index()].class.is_persistent() {
                    graph.keep(id, &format!("gradient {g}"))?;
                }
            }
        }
        Ok(Self { graph, values })
    }

    /// Names of all kernels that some op of the graph has on a target; one unnamed on the CPU executor.
    pub(super) fn variants(&self, target: Option<&Target>) -> Result<Vec<Option<&'static str>>> {
        let Some(target) = target else { return Ok(vec![None]) };
        let plan = Plan::new(&self.graph, PlanOptions { target: Some(target), fuse: false, variant: None })?;
        let mut names = BTreeSet::new();
        for step in plan.steps().iter().filter(|step| step.op.has_launches()) {
            let (inputs, outputs) = plan.types(step);
            let variants = step.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, target);
            names.extend(variants.iter().map(|v| v.name));
        }
        Ok(names.into_iter().map(Some).collect())
    }

    /// Name of the kernel that a plan takes on a target for the last op of the graph.
    pub(super) fn taken(&self, target: Option<&Target>) -> Result<Option<&'static str>> {
        let plan = Plan::new(&self.graph, PlanOptions { target, fuse: false, variant: None })?;
        Ok(plan.steps().last().and_then(|step| step.variant.as_ref()).map(|variant| variant.name))
    }

    /// Walks the graph on a session with the kernels of this name wherever an op has one, until a step fails. With
    /// `refold`, the second run of each step has its workgroups in two rows.
    pub(super) fn walk(
        &self,
        session: &mut Session,
        variant: Option<&str>,
        refold: bool,
        references: &mut References,
    ) -> Result<Vec<Outcome>> {
        session.clear()?;
        session.set_guard_words(GUARD_WORDS);
        session.set_variant(variant);
        let plan = session.plan(&self.graph)?;
        let program = session.record_plan(&plan)?;
        let again = if refold { session.record_plan(&plan.refolded())? } else { program };
        // The gradient may need neither every input nor every output.
        session.write_used(&self.values)?;
        let options = Options { bounds: Bounds::OfTheOp, again };
        let walked = walk_with(session, &plan, program, options, references, |outcome| outcome.failure.is_none())?;
        Ok(walked.outcomes)
    }
}

/// An upstream gradient that is neither constant nor of one sign.
pub(super) fn upstream(len: usize, salt: usize) -> Vec<f64> {
    (0..len).map(|i| f64::from(0.3 + ((i * 7 + salt * 3) % 11) as f32 / 5.0 - 1.0)).collect()
}

/// Names of the kernels that a case's op has on a target.
///
/// # Errors
/// If the op cannot take the inputs.
pub fn variant_names(case: &Case, target: &Target) -> Result<Vec<&'static str>> {
    let (inputs, outputs) = (case.input_types(), case.output_types()?);
    let variants = case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, target);
    Ok(variants.iter().map(|v| v.name).collect())
}

/// Runs one case on a session in one direction, with the kernel of this name (none: the one that a plan would take,
/// or the CPU executor's), and holds every step against the reference as [`super::walk`] does. The session loses
/// what it held.
///
/// # Errors
/// If the op cannot take the inputs, a kernel does not compile, or the device is lost.
pub fn check(session: &mut Session, case: &Case, direction: Direction, variant: Option<&str>) -> Result<Vec<Outcome>> {
    CaseGraph::new(case, direction)?.walk(session, variant, false, &mut References::default())
}
