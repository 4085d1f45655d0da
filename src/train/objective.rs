//! What training makes small: the reconstruction loss and the penalties beside it, each logged apart.

use super::program::{Phase, names};
use crate::error::Result;
use crate::graph::Graph;
use crate::model::{Architecture, Preset};
use crate::op::{Add, NormPenalty, Record};
use crate::tensor::{Class, TensorId, TensorType};

/// A part of the objective.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// How far the output is from the target.
    Reconstruction,
    /// What is asked of the code: KL divergence, sparsity, a small Jacobian.
    Code,
    /// What is asked of the kernels: L1 and L2.
    Weights,
}

impl Part {
    /// All parts, in the order of their columns in `metrics.csv`.
    pub(super) const ALL: [Self; 3] = [Self::Reconstruction, Self::Code, Self::Weights];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reconstruction => "reconstruction",
            Self::Code => "code_penalty",
            Self::Weights => "weight_penalty",
        }
    }
}

/// The parts of the objective on a tape, and their sum.
pub(super) struct Objective {
    pub(super) total: TensorId,
    parts: Vec<(Part, TensorId)>,
}

impl Objective {
    /// An objective of the reconstruction loss alone.
    pub(super) fn new(reconstruction: TensorId) -> Self {
        Self { total: reconstruction, parts: vec![(Part::Reconstruction, reconstruction)] }
    }

    /// Adds a term to a part, which may have others.
    pub(super) fn add(&mut self, graph: &mut Graph, part: Part, term: TensorId) -> Result<()> {
        self.total = graph.apply_one(Add, &[self.total, term])?;
        match self.parts.iter_mut().find(|(own, _)| *own == part) {
            Some((_, sum)) => *sum = graph.apply_one(Add, &[*sum, term])?,
            None => self.parts.push((part, term)),
        }
        Ok(())
    }

    /// Adds L1 and L2 of the kernels; biases and batch normalisation have none, and a tied kernel counts once.
    pub(super) fn add_weight_penalties(
        &mut self,
        graph: &mut Graph,
        preset: &Preset,
        architecture: &Architecture,
    ) -> Result<()> {
        let op = NormPenalty { l1: preset.train.l1 as f32, l2: preset.train.l2 as f32 };
        if op.l1 == 0.0 && op.l2 == 0.0 {
            return Ok(());
        }
        graph.set_label("weight penalty");
        for p in architecture.parameters().filter(|p| p.fans.is_some()) {
            let kernel = graph.persistent(Class::Parameter, &p.name, TensorType::f32(&p.shape[..]))?;
            let term = graph.apply_one(op, &[kernel])?;
            self.add(graph, Part::Weights, term)?;
        }
        Ok(())
    }

    /// Records the total in the phase's history, and the parts in theirs where there are several.
    pub(super) fn record(&self, graph: &mut Graph, phase: Phase, clock: TensorId) -> Result<()> {
        graph.set_label("loss");
        let mut keep = |name: &str, value: TensorId| {
            let history = graph.persistent(Class::State, name, TensorType::f32([super::program::HISTORY]))?;
            graph.apply_one(Record, &[value, history, clock])
        };
        keep(&names::losses(phase), self.total)?;
        if self.parts.len() > 1 {
            for (part, value) in &self.parts {
                keep(&names::part(phase, *part), *value)?;
            }
        }
        Ok(())
    }
}
