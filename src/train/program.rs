//! What a run records: the training step and the validation step, as graphs over tensors that share one store.

use super::noise;
use super::objective::Objective;
use super::optimizer;
use crate::data::{Dataset, Values};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::kernel::Target;
use crate::model::{Architecture, Loss, Mode, Preset, Random};
use crate::op::{BceLogits, Gather, MAX_CHUNKS, Mse, Scale, Tick};
use crate::plan::{Plan, PlanOptions};
use crate::tensor::{Class, Shape, TensorId, TensorType, pack_rows};

/// Losses that the device keeps until the host reads them.
pub(super) const HISTORY: usize = 1024;

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

/// A data set as the device holds it: rows of bytes or reals in one to [`MAX_CHUNKS`] buffers.
pub(super) struct ResidentData {
    sample: Shape,
    types: Vec<TensorType>,
}

impl ResidentData {
    /// How `rows` samples of this kind are split over buffers.
    ///
    /// # Errors
    /// If they do not fit the device.
    pub(super) fn new(sample: [usize; 3], rows: usize, bytes: bool, target: Option<&Target>) -> Result<Self> {
        let columns: usize = sample.iter().product();
        let ty = |rows: usize| if bytes { TensorType::u8([rows, columns]) } else { TensorType::f32([rows, columns]) };
        let row_bytes = ty(1).size_bytes() as u64;
        let per_chunk = target.map_or(rows, |t| (t.max_binding_bytes / row_bytes) as usize).clamp(1, rows.max(1));
        if rows.div_ceil(per_chunk) > MAX_CHUNKS {
            let fit = per_chunk * MAX_CHUNKS;
            let problem = format!("{rows} pictures exceed the device's buffers, which hold {fit}: use --limit {fit}");
            return Err(Error::setting("data", problem));
        }
        let types = (0..rows).step_by(per_chunk).map(|first| ty(per_chunk.min(rows - first))).collect();
        Ok(Self { sample: sample[..].into(), types })
    }

    /// The words of each chunk.
    pub(super) fn chunks<'a>(&'a self, data: &'a Dataset) -> impl Iterator<Item = (String, Vec<u32>)> + 'a {
        let columns = self.sample.len();
        let mut first = 0;
        self.types.iter().enumerate().map(move |(c, ty)| {
            let range = first * columns..(first + ty.shape.dims()[0]) * columns;
            first += ty.shape.dims()[0];
            let words = match &data.values {
                Values::U8(bytes) => pack_rows(&bytes[range], columns),
                Values::F32(reals) => bytemuck::cast_slice(&reals[range]).to_vec(),
            };
            (names::chunk(c), words)
        })
    }
}

/// Everything that the graphs of one run depend on.
pub(super) struct Recipe<'a> {
    pub(super) preset: &'a Preset,
    pub(super) architecture: &'a Architecture,
    pub(super) data: &'a ResidentData,
}

impl Recipe<'_> {
    /// The graph of one step over `batch` rows of an epoch of `rows`, taken from an order of `order_rows`.
    pub(super) fn graph(&self, phase: Phase, batch: usize, rows: usize, order_rows: usize) -> Result<Graph> {
        let mut graph = Graph::new();
        let clock = graph.persistent(Class::State, &names::clock(phase), Tick::clock())?;
        let objective = self.objective(&mut graph, phase, clock, batch, order_rows)?;
        objective.record(&mut graph, phase, clock)?;
        if phase == Phase::Training {
            self.update(&mut graph, objective.total, clock)?;
        }
        graph.set_label("clock");
        let word = |n: usize| u32::try_from(n).map_err(|_| Error::setting("data", "too many pictures to number"));
        graph.apply_one(Tick { batch: word(batch)?, rows: word(rows)? }, &[clock])?;
        Ok(graph)
    }

    /// Records a batch, its noise, the network, the loss and its penalties.
    pub(super) fn objective(
        &self,
        graph: &mut Graph,
        phase: Phase,
        clock: TensorId,
        batch: usize,
        order_rows: usize,
    ) -> Result<Objective> {
        let (clean, indices) = self.batch(graph, phase, clock, batch, order_rows)?;
        let noise_clock = match phase {
            Phase::Training => clock,
            Phase::Validation => graph.persistent(Class::State, names::FIXED_CLOCK, Tick::clock())?,
        };
        graph.set_label("noise");
        let noisy = noise::record(graph, self.preset, phase, clean, indices, noise_clock)?;
        let seed = key(self.preset.train.seed);
        let random = Random { seed, stream: phase.stream(), rows: indices, clock: noise_clock };
        let mode = match phase {
            Phase::Training => Mode::Training(random),
            Phase::Validation => Mode::Validation(random),
        };
        let network = self.architecture.record(graph, noisy, mode)?;
        graph.set_label("loss");
        let mut reconstruction = match self.preset.train.loss {
            Loss::Mse => graph.apply_one(Mse, &[network.output, clean])?,
            Loss::Bce => graph.apply_one(BceLogits, &[network.output, clean])?,
        };
        if network.gaussian.is_some() {
            // The bound on the likelihood has the sum over a picture, not its mean.
            let pixels = self.architecture.input.iter().product::<usize>();
            reconstruction = graph.apply_one(Scale { factor: pixels as f32 }, &[reconstruction])?;
        }
        let mut objective = Objective::new(reconstruction);
        objective.add_code_penalties(graph, self.preset, &network, noisy, random)?;
        objective.add_weight_penalties(graph, self.preset, self.architecture)?;
        Ok(objective)
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
        let order = graph.persistent(Class::Input, &names::order(phase), TensorType::u32([order_rows]))?;
        let mut inputs = vec![order, clock];
        for (c, ty) in self.data.types.iter().enumerate() {
            inputs.push(graph.persistent(Class::Input, &names::chunk(c), ty.clone())?);
        }
        let offset = self.preset.data.offset as f32;
        let outputs = graph.apply(Gather { sample: self.data.sample.clone(), batch, offset }, &inputs)?;
        Ok((outputs[0], outputs[1]))
    }

    /// Gradients of all parameters, and their update in place.
    fn update(&self, graph: &mut Graph, loss: TensorId, clock: TensorId) -> Result<()> {
        let parameters = self.architecture.record_parameters(graph)?;
        let gradients = graph.gradients(loss, &parameters)?;
        graph.set_label("optimizer");
        optimizer::record(&self.preset.train, graph, &parameters, &gradients, clock)
    }
}

/// The word that a seed keys random numbers with.
pub(super) fn key(seed: u64) -> u32 {
    (seed ^ (seed >> 32)) as u32
}

/// The plan of one training step of this preset, on the CPU executor or for a GPU's limits.
///
/// # Errors
/// If the preset cannot work, or a tensor exceeds the limits.
pub fn step_plan(preset: &Preset, batch: usize, target: Option<&Target>) -> Result<Plan> {
    let architecture = preset.architecture()?;
    let data = ResidentData::new(architecture.input, batch, true, target)?;
    let recipe = Recipe { preset, architecture: &architecture, data: &data };
    let graph = recipe.graph(Phase::Training, batch, batch, batch)?;
    Plan::new(&graph, PlanOptions { target, fuse: true, variant: None })
}

/// Bytes that one training step of this preset holds at a batch size: parameters, optimiser state, temporaries and
/// one batch of data.
///
/// # Errors
/// If the preset cannot work.
pub fn step_bytes(preset: &Preset, batch: usize) -> Result<u64> {
    let plan = step_plan(preset, batch, None)?;
    Ok((plan.temporary_bytes() + plan.persistent_bytes()) as u64)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn data_past_the_binding_limit_is_split_into_chunks() {
        let target = Target { max_binding_bytes: 1000, ..Target::DEFAULT_LIMITS };
        let count = 1100;
        let bytes = Values::U8((0..count * 7).map(|i| (i % 251) as u8).collect());
        let reals = Values::F32((0..count * 7).map(|i| i as f32).collect());
        // Rows of 7 bytes are padded to 8.
        for (values, row_bytes, per_chunk) in [(bytes, 8, 125), (reals, 28, 35)] {
            let data = Dataset::new([1, 7, 1], values, vec![String::new(); count]);
            let is_bytes = matches!(data.values, Values::U8(_));
            let resident = ResidentData::new(data.shape, count, is_bytes, Some(&target)).unwrap();
            assert!(resident.types.iter().all(|ty| ty.size_bytes() <= 1000), "{:?}", resident.types);
            let chunks: Vec<(String, Vec<u32>)> = resident.chunks(&data).collect();
            assert_eq!(chunks.len(), count.div_ceil(per_chunk));
            let whole = ResidentData::new(data.shape, count, is_bytes, None).unwrap();
            let words: Vec<u32> = chunks.into_iter().flat_map(|(_, words)| words).collect();
            assert_eq!(words.len() * 4, count * row_bytes);
            assert_eq!(vec![(names::chunk(0), words)], whole.chunks(&data).collect::<Vec<_>>());
            let most = per_chunk * MAX_CHUNKS;
            assert!(ResidentData::new(data.shape, most, is_bytes, Some(&target)).is_ok());
            let error = ResidentData::new(data.shape, most + 1, is_bytes, Some(&target)).err().unwrap().to_string();
            assert!(error.contains(&format!("use --limit {most}")), "{error}");
        }
    }
}
