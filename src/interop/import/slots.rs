//! The tensors that a network needs, as another framework stores them.

use super::{ChannelOrder, Framework};
use crate::error::{Error, Result};
use crate::interop::axes::transpose;
use crate::model::{Architecture, Layer, Parameter, ResolvedLayer, Side};

/// What a tensor is to its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Weight,
    Bias,
    RunningMean,
    RunningVar,
}

/// The dense layers at the end of a variational encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Mean,
    LogVariance,
}

/// A layer, or a head of a variational encoder, with its tensors.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// `encoder.conv2d_1`, `encoder.mean`.
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) head: Option<Head>,
    pub(super) slots: Vec<Slot>,
}

/// A tensor to be filled.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Our name: `encoder.conv2d_1.weight`.
    pub(super) name: String,
    pub(super) role: Role,
    /// Our shape.
    pub(super) shape: Vec<usize>,
    /// Its shape in the file.
    pub(super) stored: Vec<usize>,
    /// The file's shape with flattened pictures unfolded.
    view: Vec<usize>,
    /// The axes of `view` in our order.
    axes: Vec<usize>,
    /// What its elements are where the layer was made without it; none for what no layer does without.
    pub(super) start: Option<f32>,
}

impl Slot {
    /// The values of a tensor of the file in our layout.
    pub(super) fn convert(&self, values: &[f32]) -> Vec<f32> {
        transpose(values, &self.view, &self.axes)
    }
}

/// The shape of the picture that a row of values holds, channels first, where that matters.
type Flattened = Option<[usize; 3]>;

/// All tensors of a network, layer by layer.
///
/// # Errors
/// A reshape of a picture into another one, which means something else where channels come first.
pub(super) fn groups(architecture: &Architecture, framework: Framework, order: ChannelOrder) -> Result<Vec<Group>> {
    let layers: Vec<&ResolvedLayer> = architecture.layers().collect();
    let flattened = match order {
        ChannelOrder::First => {
            let flattened = flattened(&layers)?;
            check_tied(&layers, &flattened)?;
            flattened
        }
        ChannelOrder::Last => vec![(None, None); layers.len()],
    };
    let mut groups = Vec::new();
    for (layer, rows) in layers.into_iter().zip(flattened) {
        let tensors = layer.parameters.iter().chain(&layer.statistics);
        let slots: Vec<Slot> = tensors.map(|tensor| slot(layer, tensor, framework, rows)).collect();
        let group = |name: String, head, slots| Group { name, side: layer.side, head, slots };
        match layer.layer {
            Layer::GaussianCode {} => {
                let (mean, variance) = slots.split_at(2.min(slots.len()));
                groups.push(group(format!("{}.mean", layer.side), Some(Head::Mean), mean.to_vec()));
                let name = format!("{}.log_variance", layer.side);
                groups.push(group(name, Some(Head::LogVariance), variance.to_vec()));
            }
            _ if slots.is_empty() => {}
            _ => groups.push(group(layer.full_name(), None, slots)),
        }
    }
    Ok(groups)
}

/// For each layer, what its rows of inputs and its rows of outputs hold.
fn flattened(layers: &[&ResolvedLayer]) -> Result<Vec<(Flattened, Flattened)>> {
    let mut all = Vec::with_capacity(layers.len());
    let mut input = None;
    for (number, layer) in layers.iter().enumerate() {
        let output = match &layer.layer {
            Layer::Flatten {} => picture(&layer.input).or(input),
            Layer::Reshape(reshape) => {
                if picture(&layer.input).or(input) != picture(&reshape.shape) {
                    let problem = "makes a picture of another shape out of a picture, which is another function \
                                   where channels come first: such a network cannot be imported with --flatten \
                                   channels-first";
                    return Err(Error::setting(layer.full_name(), problem));
                }
                None
            }
            Layer::Dense(_) | Layer::GaussianCode {} => layers.get(number + 1..).and_then(next_picture),
            Layer::BatchNorm(_) | Layer::Dropout(_) => input,
            _ => None,
        };
        all.push((input, output));
        input = output;
    }
    Ok(all)
}

/// Whether the rows of each tied kernel hold the same pictures on both sides.
fn check_tied(layers: &[&ResolvedLayer], flattened: &[(Flattened, Flattened)]) -> Result<()> {
    for (layer, (input, output)) in layers.iter().zip(flattened) {
        let Some(tied) = &layer.tied else { continue };
        let owner = layers.iter().position(|owner| owner.parameters.iter().any(|p| p.name == tied.name));
        if owner.and_then(|owner| flattened.get(owner)) != Some(&(*output, *input)) {
            let problem = "is tied to a kernel whose rows hold another picture: such a network cannot be imported with \
                           --flatten channels-first";
            return Err(Error::setting(layer.full_name(), problem));
        }
    }
    Ok(())
}

/// The picture that these layers make of a row before anything mixes its values.
fn next_picture(layers: &[&ResolvedLayer]) -> Flattened {
    let keeps =
        |layer: &&&ResolvedLayer| matches!(layer.layer, Layer::BatchNorm(_) | Layer::Dropout(_) | Layer::Flatten {});
    match &layers.iter().find(|layer| !keeps(layer))?.layer {
        Layer::Reshape(reshape) => picture(&reshape.shape),
        _ => None,
    }
}

/// (channels, height, width) of a picture (height, width, channels) that is not the same row in both orders.
fn picture(shape: &[usize]) -> Flattened {
    match *shape {
        [height, width, channels] if channels > 1 && height * width > 1 => Some([channels, height, width]),
        _ => None,
    }
}

fn slot(layer: &ResolvedLayer, tensor: &Parameter, framework: Framework, rows: (Flattened, Flattened)) -> Slot {
    let shape = tensor.shape.clone();
    let role = match tensor.name.rsplit('.').next() {
        Some("weight") => Role::Weight,
        Some("bias") => Role::Bias,
        Some("running_mean") => Role::RunningMean,
        _ => Role::RunningVar,
    };
    let is_torch = framework == Framework::Torch;
    let (stored, view, axes) = match shape[..] {
        // (kh, kw, in, out) of (out, in, kh, kw), and (kh, kw, out, in) of (in, out, kh, kw).
        [height, width, third, fourth] if is_torch => {
            let stored = vec![fourth, third, height, width];
            (stored.clone(), stored, vec![2, 3, 1, 0])
        }
        [inputs, outputs] => {
            let (input, output) = (Unfolded::of(inputs, rows.0), Unfolded::of(outputs, rows.1));
            if is_torch {
                let axes = input.axes_from(output.view.len()).chain(output.axes_from(0)).collect();
                (vec![outputs, inputs], [output.view.clone(), input.view.clone()].concat(), axes)
            } else {
                let axes = input.axes_from(0).chain(output.axes_from(input.view.len())).collect();
                (vec![inputs, outputs], [input.view.clone(), output.view.clone()].concat(), axes)
            }
        }
        // One value stands for a whole layer.
        [values] if values > 1 => {
            let is_norm = matches!(layer.layer, Layer::BatchNorm(_)) && layer.input.len() == 1;
            let is_dense = matches!(layer.layer, Layer::Dense(_) | Layer::GaussianCode {});
            let values = Unfolded::of(values, rows.1.filter(|_| is_norm || is_dense));
            (shape.clone(), values.view.clone(), values.axes_from(0).collect())
        }
        _ => (shape.clone(), shape.clone(), (0..shape.len()).collect()),
    };
    let is_optional = tensor.fans.is_none() && matches!(role, Role::Weight | Role::Bias);
    let start = is_optional.then_some(tensor.start);
    Slot { name: tensor.name.clone(), role, shape, stored, view, axes, start }
}

/// An axis of rows, unfolded into a picture's axes where it holds one.
struct Unfolded {
    view: Vec<usize>,
    /// The order of the axes with channels last.
    axes: Vec<usize>,
}

impl Unfolded {
    fn of(values: usize, picture: Flattened) -> Self {
        match picture {
            Some(picture) => Self { view: picture.to_vec(), axes: vec![1, 2, 0] },
            None => Self { view: vec![values], axes: vec![0] },
        }
    }

    fn axes_from(&self, first: usize) -> impl Iterator<Item = usize> {
        self.axes.iter().map(move |axis| first + axis)
    }
}
