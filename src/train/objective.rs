//! What training makes small: the reconstruction loss and the penalties beside it, each logged apart.

use super::program::{HISTORY, Phase, names};
use crate::error::Result;
use crate::graph::Graph;
use crate::model::{Architecture, JacobianNorm, Preset, Random, Recorded};
use crate::op::{
    Add, AllReduce, Fill, GaussianKl, GaussianNoise, NormPenalty, Record, Scale, SparsityKl, SumRows, UnitRows,
};
use crate::session::Session;
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

/// Means of the parts that there are, in the order of [`Part::ALL`].
pub(super) type PartMeans = [Option<f64>; Part::ALL.len()];

/// Sums over pictures of the parts of their batch's loss, in the order of [`Part::ALL`].
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct PartSums(pub(super) [f64; Part::ALL.len()]);

impl PartSums {
    /// Adds what the device has of `count` steps, from step `first` on, of `size` pictures each.
    pub(super) fn add(
        &mut self,
        session: &mut Session,
        phase: Phase,
        first: usize,
        count: usize,
        size: usize,
    ) -> Result<()> {
        for (sum, part) in self.0.iter_mut().zip(Part::ALL) {
            let name = names::part(phase, part);
            if session.contains(&name) {
                let losses = session.read(&name)?;
                let of_steps = (first..first + count).map(|step| f64::from(losses[step % HISTORY]));
                *sum += of_steps.sum::<f64>() * size as f64;
            }
        }
        Ok(())
    }

    /// The means over `pictures`; none of a part that the device does not log.
    pub(super) fn means(&self, session: &Session, phase: Phase, pictures: f64) -> PartMeans {
        let there = Part::ALL.map(|part| session.contains(&names::part(phase, part)));
        std::array::from_fn(|i| there[i].then(|| self.0[i] / pictures))
    }
}

/// The parts of the objective on a tape, and their sum.
pub(super) struct Objective {
    pub(super) total: TensorId,
    /// Numbers whose mean the reconstruction loss is.
    pub(super) numbers: usize,
    parts: Vec<(Part, TensorId)>,
}

impl Objective {
    /// An objective of the reconstruction loss alone, which is a mean of this many numbers.
    pub(super) fn new(reconstruction: TensorId, numbers: usize) -> Self {
        Self { total: reconstruction, numbers, parts: vec![(Part::Reconstruction, reconstruction)] }
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

    /// Adds what is asked of the code: KL divergence, sparsity, and a small Jacobian with respect to the network's
    /// `input`. Of a batch of several ranks these rows are a `share`.
    pub(super) fn add_code_penalties(
        &mut self,
        graph: &mut Graph,
        preset: &Preset,
        network: &Recorded,
        input: TensorId,
        random: Random,
        share: Option<f32>,
    ) -> Result<()> {
        let train = &preset.train;
        let batch = graph.ty(network.code).shape.dims()[0];
        graph.set_label("code penalty");
        if let Some(heads) = network.gaussian {
            let term = graph.apply_one(GaussianKl { weight: train.kl as f32 }, &heads)?;
            self.add(graph, Part::Code, term)?;
        }
        if train.sparsity > 0.0 {
            let sums = graph.apply_one(SumRows, &[network.code])?;
            // The penalty is of the mean over the whole batch, whichever ranks have its rows.
            let mut means = graph.apply_one(Scale { factor: share.unwrap_or(1.0) / batch as f32 }, &[sums])?;
            if share.is_some() {
                means = graph.apply_one(AllReduce, &[means])?;
            }
            let op = SparsityKl { target: train.sparsity_target as f32, weight: train.sparsity as f32 };
            let term = graph.apply_one(op, &[means])?;
            self.add(graph, Part::Code, term)?;
        }
        if train.activity_l1 > 0.0 {
            let op = NormPenalty { l1: (train.activity_l1 / batch as f64) as f32, l2: 0.0 };
            let term = graph.apply_one(op, &[network.code])?;
            self.add(graph, Part::Code, term)?;
        }
        if train.contractive > 0.0 {
            let op = NormPenalty { l1: 0.0, l2: (2.0 * train.contractive / batch as f64) as f32 };
            for vector in code_vectors(graph, network.code, train.contractive_norm, random)? {
                let product = graph.vector_jacobian(&[(network.code, vector)], &[input])?[0];
                let term = graph.apply_one(op, &[product])?;
                self.add(graph, Part::Code, term)?;
            }
        }
        Ok(())
    }

    /// Makes each mean over the rows of this rank its part of the mean over the rows of all ranks.
    pub(super) fn weigh(&mut self, graph: &mut Graph, share: f32) -> Result<()> {
        graph.set_label("loss");
        let total = self.total;
        self.total = graph.apply_one(Scale { factor: share }, &[total])?;
        for (_, value) in &mut self.parts {
            // One part alone is the total.
            *value = if *value == total { self.total } else { graph.apply_one(Scale { factor: share }, &[*value])? };
        }
        Ok(())
    }

    /// Records the total in the phase's history, and the parts in theirs where there are several; summed over the ranks
    /// where there are several of those.
    pub(super) fn record(&self, graph: &mut Graph, phase: Phase, clock: TensorId, ranks: bool) -> Result<()> {
        graph.set_label("loss");
        let mut keep = |name: &str, mut value: TensorId| {
            if ranks {
                value = graph.apply_one(AllReduce, &[value])?;
            }
            let history = graph.persistent(Class::State, name, TensorType::f32([HISTORY]))?;
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

/// The vectors v whose |J^T v|^2 add up to the squared norm of the Jacobian J: all unit vectors, or one normal vector,
/// for which it is so on average.
fn code_vectors(graph: &mut Graph, code: TensorId, norm: JacobianNorm, random: Random) -> Result<Vec<TensorId>> {
    let shape = graph.ty(code).shape.clone();
    let (rows, columns) = (shape.dims()[0], shape.last());
    match norm {
        JacobianNorm::Exact => {
            (0..columns).map(|unit| graph.apply_one(UnitRows { rows, columns, unit }, &[])).collect()
        }
        JacobianNorm::Projection => {
            let zeros = graph.apply_one(Fill { shape, value: 0.0 }, &[])?;
            let stream = random.stream + PROJECTION_STREAM;
            let op = GaussianNoise { sigma: 1.0, seed: random.seed, stream };
            Ok(vec![graph.apply_one(op, &[zeros, random.rows, random.clock])?])
        }
    }
}

/// How far above a phase's stream its projections are.
const PROJECTION_STREAM: u32 = 16;
