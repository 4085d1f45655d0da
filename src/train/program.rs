//! What a run records: the training step and the validation step, as graphs over tensors that share one store.

use super::batches::Taken;
use super::device_data::DeviceData;
use super::noise;
use super::objective::Objective;
use super::optimizer;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::kernel::Target;
use crate::model::{Architecture, Loss, Mode, Preset, Random};
use crate::op::{AllReduce, BatchStatistics, BceLogits, Gather, Mse, Scale, Tick};
use crate::plan::{Plan, PlanOptions};
use crate::tensor::{Class, TensorId, TensorType};

/// Losses that the device keeps until the host reads them: a power of two, since it counts by the low word of the clock.
pub(super) const HISTORY: usize = 1024;
const _: () = assert!(HISTORY.is_power_of_two());

/// Names of the tensors that the host writes and reads.
pub(super) mod names {
    pub(crate) const LEARNING_RATE: &str = "train.learning_rate";
    /// The rates of the coming steps, by their number modulo [`super::HISTORY`]; where each step has its own.
    pub(crate) const LEARNING_RATES: &str = "train.learning_rates";
    /// The history of one part of the objective.
    pub(crate) fn part(phase: super::Phase, part: super::super::objective::Part) -> String {
        format!("{}.{}", phase.name(), part.name())
    }
    /// Order, clock and losses of training or of validation.
    pub(crate) fn order(phase: super::Phase) -> String {
        format!("{}.order", phase.name())
    }
    pub(crate) fn clock(phase: super::Phase) -> String {
        format!("{}.clock", phase.name())
    }
    pub(crate) fn losses(phase: super::Phase) -> String {
        format!("{}.losses", phase.name())
    }
    /// A clock that nothing advances: validation draws the same noise each time.
    pub(crate) const FIXED_CLOCK: &str = "validation.fixed_clock";
    pub(crate) fn first_moment(parameter: &str) -> String {
        format!("first_moment.{parameter}")
    }
    pub(crate) fn second_moment(parameter: &str) -> String {
        format!("second_moment.{parameter}")
    }
    /// The product of Nadam's schedule, which all parameters share.
    pub(crate) const NADAM_PRODUCT: &str = "train.nadam_product";
    /// The data set's row of each picture of the ring, where pictures stream through one.
    pub(crate) const RING: &str = "data.rows";
    /// What the names of a data set's tensors begin with.
    pub(crate) const DATA: &str = "data.";
    pub(crate) fn chunk(number: usize) -> String {
        format!("data.{number}")
    }
}

/// What a recorded step is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Forward, backward and update.
    Training,
    /// Forward only.
    Validation,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Training => "train",
            Self::Validation => "validation",
        }
    }

    /// The stream of random numbers.
    pub(super) fn stream(self) -> u32 {
        match self {
            Self::Training => 1,
            Self::Validation => 2,
        }
    }
}

/// Everything that the graphs of one run depend on.
pub(super) struct Recipe<'a> {
    pub(super) preset: &'a Preset,
    pub(super) architecture: &'a Architecture,
    pub(super) data: &'a DeviceData,
}

impl Recipe<'_> {
    /// The graph of one step over what a rank takes of a batch, out of `rows` that it takes in an epoch.
    pub(super) fn graph(&self, phase: Phase, taken: Taken, rows: usize) -> Result<Graph> {
        let mut graph = Graph::new();
        let clock = graph.persistent(Class::State, &names::clock(phase), Tick::clock())?;
        let mut objective = self.objective(&mut graph, phase, clock, taken, rows)?;
        if let Some(share) = taken.share {
            objective.weigh(&mut graph, share)?;
        }
        objective.record(&mut graph, phase, clock, taken.share.is_some())?;
        if phase == Phase::Training {
            self.update(&mut graph, &objective, clock, taken.share.is_some())?;
        }
        graph.set_label("clock");
        let word = |n: usize| u32::try_from(n).map_err(|_| Error::setting("data", "too many pictures to number"));
        graph.apply_one(Tick { batch: word(taken.own)?, rows: word(rows)? }, &[clock])?;
        Ok(graph)
    }

    /// Records a batch, its noise, the network, the loss and its penalties: the means over what the rank takes.
    pub(super) fn objective(
        &self,
        graph: &mut Graph,
        phase: Phase,
        clock: TensorId,
        taken: Taken,
        rows: usize,
    ) -> Result<Objective> {
        let batch = taken.own;
        let (clean, indices) = self.batch(graph, phase, clock, batch, rows)?;
        let noise_clock = match phase {
            Phase::Training => clock,
            Phase::Validation => graph.persistent(Class::State, names::FIXED_CLOCK, Tick::clock())?,
        };
        graph.set_label("noise");
        let noisy = noise::record(graph, self.preset, phase, clean, indices, noise_clock)?;
        let seed = key(self.preset.train.seed);
        let random = Random { seed, stream: phase.stream(), rows: indices, clock: noise_clock };
        let mode = match phase {
            Phase::Training => Mode::Training(random, self.statistics(taken)),
            Phase::Validation => Mode::Validation(random),
        };
        let network = self.architecture.record(graph, noisy, mode)?;
        graph.set_label("loss");
        let mut reconstruction = match self.preset.train.loss {
            Loss::Mse => graph.apply_one(Mse, &[network.output, clean])?,
            Loss::Bce => graph.apply_one(BceLogits, &[network.output, clean])?,
        };
        let mut numbers = graph.ty(clean).shape.len();
        if network.gaussian.is_some() {
            // The bound on the likelihood has the sum over a picture, not its mean.
            let pixels = self.architecture.input.iter().product::<usize>();
            numbers = batch;
            reconstruction = graph.apply_one(Scale { factor: pixels as f32 }, &[reconstruction])?;
        }
        let mut objective = Objective::new(reconstruction, numbers);
        objective.add_code_penalties(graph, self.preset, &network, noisy, random, taken.share)?;
        objective.add_weight_penalties(graph, self.preset, self.architecture)?;
        Ok(objective)
    }

    /// Whose statistics batch normalisation takes.
    fn statistics(&self, taken: Taken) -> BatchStatistics {
        match taken.share {
            None => BatchStatistics::Alone,
            Some(share) if self.preset.train.sync_batch_norm => BatchStatistics::All { share },
            Some(share) => BatchStatistics::Own { share },
        }
    }

    fn batch(
        &self,
        graph: &mut Graph,
        phase: Phase,
        clock: TensorId,
        batch: usize,
        order_rows: usize,
    ) -> Result<(TensorId, TensorId)> {
        graph.set_label("batch");
        let (name, entries) = match self.data.ring_rows() {
            Some(rows) => (names::RING.to_owned(), rows),
            None => (names::order(phase), order_rows),
        };
        let order = graph.persistent(Class::Input, &name, TensorType::u32([entries]))?;
        let mut inputs = vec![order, clock];
        for (c, ty) in self.data.chunks().iter().enumerate() {
            inputs.push(graph.persistent(Class::Input, &names::chunk(c), ty.clone())?);
        }
        let (sample, offset) = (self.data.sample().clone(), self.preset.data.offset as f32);
        let op = Gather { sample, batch, offset, ring: self.data.ring_rows().is_some() };
        let outputs = graph.apply(op, &inputs)?;
        Ok((outputs[0], outputs[1]))
    }

    /// Gradients of all parameters, summed over the ranks where there are several, and their update in place.
    fn update(&self, graph: &mut Graph, objective: &Objective, clock: TensorId, ranks: bool) -> Result<()> {
        let parameters = self.architecture.record_parameters(graph)?;
        let scale = self.preset.train.loss_scale(objective.numbers);
        let mut gradients = graph.scaled_gradients(objective.total, &parameters, scale as f32)?;
        if ranks {
            graph.set_label("exchange");
            for gradient in &mut gradients {
                *gradient = graph.apply_one(AllReduce, &[*gradient])?;
            }
        }
        graph.set_label("optimizer");
        optimizer::record(&self.preset.train, graph, &parameters, &gradients, clock)
    }
}

/// The word that a seed keys random numbers with.
pub(super) fn key(seed: u64) -> u32 {
    (seed ^ (seed >> 32)) as u32
}

/// One training step of this preset, over a data set of one batch of bytes.
///
/// # Errors
/// If the preset cannot work, or its pictures do not fit the target.
pub fn step_graph(preset: &Preset, batch: usize, target: Option<&Target>) -> Result<Graph> {
    let architecture = preset.architecture()?;
    let data = DeviceData::resident(architecture.input, batch, true, target)?;
    let recipe = Recipe { preset, architecture: &architecture, data: &data };
    recipe.graph(Phase::Training, Taken::all(batch), batch)
}

/// The plan of one training step of this preset.
///
/// # Errors
/// If the preset cannot work, or a tensor exceeds the limits.
pub fn step_plan(preset: &Preset, batch: usize, options: PlanOptions<'_>) -> Result<Plan> {
    Plan::new(&step_graph(preset, batch, options.target)?, options)
}

/// Bytes that one training step of this preset holds at a batch size: parameters, optimiser state, temporaries and
/// one batch of data.
///
/// # Errors
/// If the preset cannot work.
pub fn step_bytes(preset: &Preset, batch: usize) -> Result<u64> {
    let plan = step_plan(preset, batch, PlanOptions { target: None, fuse: true, variant: None })?;
    Ok((plan.temporary_bytes() + plan.persistent_bytes()) as u64)
}
