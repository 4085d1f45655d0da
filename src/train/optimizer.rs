//! The optimiser of a run: the op that updates each parameter, and what it carries from step to step.

use super::program::{HISTORY, names};
use crate::error::Result;
use crate::graph::Graph;
use crate::model::preset::Train;
use crate::model::{Architecture, Convention, OptimizerKind};
use crate::op::{
    Adam, AdamConvention, Adamax, AdamaxConvention, Add, ClipNorm, Lookup, Nadam, NadamSchedule, NormPenalty, RmsProp,
    RmsPropConvention, SEVERAL, Several, Sgd, SgdConvention,
};
use crate::tensor::{Class, TensorId, TensorType};

/// A tensor that an optimiser carries from step to step.
pub(super) struct Carried {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// What every element is before the first step.
    pub(super) start: f32,
}

/// A tensor beside each parameter: its name, from that of the parameter, and what it is before the first step.
type Moment = (fn(&str) -> String, f32);

/// The rule that a `[train]` table asks for.
#[derive(Clone, Copy)]
enum Rule {
    Adam(Adam),
    Adamax(Adamax),
    Nadam(Nadam, NadamSchedule),
    RmsProp(RmsProp),
    Sgd(Sgd),
}

impl Rule {
    fn new(train: &Train) -> Self {
        let (beta1, beta2, epsilon) = (train.beta1 as f32, train.beta2 as f32, train.eps as f32);
        let torch = train.convention == Convention::Torch;
        match train.optimizer {
            OptimizerKind::Adam => {
                let convention = if torch { AdamConvention::Torch } else { AdamConvention::Keras };
                Self::Adam(Adam { beta1, beta2, epsilon, convention })
            }
            OptimizerKind::Adamax => {
                let convention = if torch { AdamaxConvention::Torch } else { AdamaxConvention::Keras };
                Self::Adamax(Adamax { beta1, beta2, epsilon, convention })
            }
            OptimizerKind::Nadam => {
                Self::Nadam(Nadam { beta1, beta2, epsilon }, NadamSchedule { beta1, psi: train.psi as f32 })
            }
            OptimizerKind::Rmsprop => {
                let convention = match train.convention {
                    Convention::Keras => RmsPropConvention::Keras,
                    Convention::Torch => RmsPropConvention::Torch,
                    Convention::Tf1 => RmsPropConvention::Tf1,
                };
                Self::RmsProp(RmsProp { rho: train.rho as f32, epsilon, convention })
            }
            OptimizerKind::Sgd => {
                let keras = train.convention == Convention::Keras;
                let convention = if keras { SgdConvention::Keras } else { SgdConvention::Torch };
                Self::Sgd(Sgd { momentum: train.momentum as f32, nesterov: train.nesterov, convention })
            }
        }
    }

    /// The tensors beside each parameter, in the order in which the op takes them.
    fn moments(&self) -> Vec<Moment> {
        match self {
            Self::Adam(_) | Self::Adamax(_) | Self::Nadam(..) => {
                vec![(names::first_moment, 0.0), (names::second_moment, 0.0)]
            }
            Self::RmsProp(op) => vec![(names::second_moment, op.convention.initial())],
            Self::Sgd(op) if op.has_momentum() => vec![(names::first_moment, 0.0)],
            Self::Sgd(_) => Vec::new(),
        }
    }
}

/// Everything that the optimiser of these settings carries, moment by moment.
pub(super) fn carried(train: &Train, architecture: &Architecture) -> Vec<Carried> {
    let rule = Rule::new(train);
    let of_moment = |(name, start): Moment| {
        architecture.parameters().map(move |p| Carried { name: name(&p.name), shape: p.shape.clone(), start })
    };
    let mut tensors: Vec<Carried> = rule.moments().into_iter().flat_map(of_moment).collect();
    if let Rule::Nadam(..) = rule {
        tensors.push(Carried { name: names::NADAM_PRODUCT.to_owned(), shape: Vec::new(), start: 1.0 });
    }
    tensors
}

/// Whether each step has a learning rate of its own.
pub(super) fn rate_per_step(train: &Train) -> bool {
    train.warmup > 0 || train.schedule.varies_within_epochs()
}

/// Scales all gradients down where their norm together exceeds the limit, if there is one.
fn clip(train: &Train, graph: &mut Graph, gradients: &[TensorId]) -> Result<Vec<TensorId>> {
    let Some(limit) = train.clip_norm else { return Ok(gradients.to_vec()) };
    let mut square: Option<TensorId> = None;
    for &gradient in gradients {
        let own = graph.apply_one(NormPenalty { l1: 0.0, l2: 2.0 }, &[gradient])?;
        square = Some(match square {
            Some(sum) => graph.apply_one(Add, &[sum, own])?,
            None => own,
        });
    }
    let Some(square) = square else { return Ok(Vec::new()) };
    let op = ClipNorm { limit: limit as f32 };
    gradients.iter().map(|&gradient| graph.apply_one(op, &[gradient, square])).collect()
}

/// Records the update of all parameters, in place, by their gradients.
pub(super) fn record(
    train: &Train,
    graph: &mut Graph,
    parameters: &[TensorId],
    gradients: &[TensorId],
    clock: TensorId,
) -> Result<()> {
    let rule = Rule::new(train);
    let rate = if rate_per_step(train) {
        let rates = graph.persistent(Class::Input, names::LEARNING_RATES, TensorType::f32([HISTORY]))?;
        graph.apply_one(Lookup, &[rates, clock])?
    } else {
        graph.persistent(Class::Input, names::LEARNING_RATE, TensorType::f32([]))?
    };
    let gradients = clip(train, graph, gradients)?;
    let mut shared = Vec::new();
    if let Rule::Nadam(_, schedule) = rule {
        let product = graph.persistent(Class::State, names::NADAM_PRODUCT, TensorType::f32([]))?;
        shared.push(graph.apply(schedule, &[product, clock])?[1]);
    }
    let pairs: Vec<(TensorId, TensorId)> = parameters.iter().copied().zip(gradients).collect();
    for pairs in pairs.chunks(SEVERAL) {
        let mut inputs = Vec::new();
        for &(parameter, gradient) in pairs {
            let info = graph.tensors()[parameter.index()].clone();
            inputs.extend([parameter, gradient]);
            for (name, _) in rule.moments() {
                inputs.push(graph.persistent(Class::State, &name(&info.name), info.ty.clone())?);
            }
        }
        if !matches!(rule, Rule::RmsProp(_) | Rule::Sgd(_)) {
            inputs.push(clock);
        }
        inputs.push(rate);
        inputs.extend(&shared);
        let tensors = pairs.len();
        match rule {
            Rule::Adam(rule) => graph.apply(Several { rule, tensors }, &inputs)?,
            Rule::Adamax(rule) => graph.apply(Several { rule, tensors }, &inputs)?,
            Rule::Nadam(rule, _) => graph.apply(Several { rule, tensors }, &inputs)?,
            Rule::RmsProp(rule) => graph.apply(Several { rule, tensors }, &inputs)?,
            Rule::Sgd(rule) => graph.apply(Several { rule, tensors }, &inputs)?,
        };
    }
    Ok(())
}
