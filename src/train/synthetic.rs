//! A preset's training step on synthetic pictures: for validation and profiles, where no data set is at hand.

use super::batches::Taken;
use super::device_data::DeviceData;
use super::program::{HISTORY, Phase, Recipe, names, step_graph};
use crate::error::Result;
use crate::graph::Graph;
use crate::kernel::Target;
use crate::model::{Architecture, Mode, Preset};
use crate::op::Tick;
use crate::tensor::{Array, Class, TensorType};
use rand::{RngExt, SeedableRng};

/// A graph, and what the tensors of its store hold before it runs; those not named hold zeros.
#[derive(Clone, Debug)]
pub struct SyntheticStep {
    /// What is recorded.
    pub graph: Graph,
    /// Values by name.
    pub values: Vec<(String, Array)>,
}

/// The loss of a step, with its gradients.
#[derive(Clone, Debug)]
pub struct SyntheticLoss {
    /// Forward and backward pass, without the update.
    pub step: SyntheticStep,
    /// Name of the loss.
    pub loss: String,
    /// Names of each parameter and of its gradient.
    pub gradients: Vec<[String; 2]>,
}

/// One whole training step of a preset, from its first weights, on `batch` pictures of random bytes.
///
/// # Errors
/// If the preset cannot work, or its pictures do not fit the target.
pub fn synthetic_step(preset: &Preset, batch: usize, target: Option<&Target>) -> Result<SyntheticStep> {
    let graph = step_graph(preset, batch, target)?;
    Ok(SyntheticStep { graph, values: values(preset, &preset.architecture()?, batch) })
}

/// The encoder of a preset, with its first weights, on `batch` pictures of random numbers from 0 to 1.
///
/// # Errors
/// If the preset cannot work.
pub fn synthetic_encode(preset: &Preset, batch: usize) -> Result<SyntheticStep> {
    const INPUT: &str = "encode.input";
    let architecture = preset.architecture()?;
    let mut graph = Graph::new();
    let mut shape = vec![batch];
    shape.extend(architecture.input);
    let elements = shape.iter().product::<usize>();
    let x = graph.persistent(Class::Input, INPUT, TensorType::f32(shape))?;
    let code = architecture.record_encoder(&mut graph, x, Mode::Inference)?;
    graph.keep(code, "encode.code")?;
    let mut rng = rand_pcg::Pcg64::seed_from_u64(preset.train.seed);
    let pixels = (0..elements).map(|_| f64::from(rng.random::<f32>())).collect();
    let used = |name: &str| graph.tensors().iter().any(|info| info.class.is_persistent() && info.name == name);
    let mut values = vec![(INPUT.to_owned(), Array::F64(pixels))];
    values.extend(weights(preset, &architecture).filter(|(name, _)| used(name)));
    Ok(SyntheticStep { graph, values })
}

/// The loss of such a step and its gradient with respect to every parameter.
///
/// # Errors
/// If the preset cannot work.
pub fn synthetic_loss(preset: &Preset, batch: usize) -> Result<SyntheticLoss> {
    let architecture = preset.architecture()?;
    let data = DeviceData::resident(architecture.input, batch, true, None)?;
    let recipe = Recipe { preset, architecture: &architecture, data: &data };
    let mut graph = Graph::new();
    let clock = graph.persistent(Class::State, &names::clock(Phase::Training), Tick::clock())?;
    let loss = recipe.objective(&mut graph, Phase::Training, clock, Taken::all(batch), batch)?.total;
    graph.keep(loss, "loss")?;
    let parameters = architecture.record_parameters(&mut graph)?;
    let mut gradients = Vec::new();
    for (&parameter, gradient) in parameters.iter().zip(graph.gradients(loss, &parameters)?) {
        let parameter = graph.tensors()[parameter.index()].name.clone();
        let name = format!("gradient.{parameter}");
        graph.keep(gradient, &name)?;
        gradients.push([parameter, name]);
    }
    let step = SyntheticStep { graph, values: values(preset, &architecture, batch) };
    Ok(SyntheticLoss { step, loss: "loss".to_owned(), gradients })
}

fn values(preset: &Preset, architecture: &Architecture, batch: usize) -> Vec<(String, Array)> {
    let reals = |values: Vec<f32>| Array::F64(values.into_iter().map(f64::from).collect());
    let mut rng = rand_pcg::Pcg64::seed_from_u64(preset.train.seed);
    let bytes: Vec<u8> = (0..batch * architecture.input.iter().product::<usize>()).map(|_| rng.random()).collect();
    let mut values = vec![
        (names::chunk(0), Array::U8(bytes)),
        (names::order(Phase::Training), Array::U32((0..batch as u32).collect())),
        (names::LEARNING_RATE.to_owned(), reals(vec![preset.train.lr as f32])),
        (names::LEARNING_RATES.to_owned(), reals(vec![preset.train.lr as f32; HISTORY])),
    ];
    values.extend(weights(preset, architecture));
    values
}

/// The first weights, by name.
fn weights(preset: &Preset, architecture: &Architecture) -> impl Iterator<Item = (String, Array)> {
    architecture.saved().map(|p| {
        let drawn = preset.model.init.draw(preset.train.seed, p);
        (p.name.clone(), Array::F64(drawn.into_iter().map(f64::from).collect()))
    })
}
