//! Weights that another framework trained.
//!
//! A file holds the tensors of a network of the same architecture as a preset, in the framework's own layouts:
//!
//! | tensor | [`Framework::Torch`] | [`Framework::Keras`], [`Framework::Degrain`] |
//! |---|---|---|
//! | kernel of a convolution | (out, in, kh, kw) | (kh, kw, in, out) |
//! | kernel of a transposed convolution | (in, out, kh, kw) | (kh, kw, out, in) |
//! | kernel of a dense layer | (out, in) | (in, out) |
//!
//! PyTorch flattens a picture channel by channel, degrain and Keras pixel by pixel: kernels and biases that meet a
//! flattened picture are put in order ([`ChannelOrder`]).
//!
//! Which tensor is which is found by the user's map, by our own names, and for the rest by order and shape. The tensors of
//! a layer belong together by their names (`conv1.weight`, `conv1.bias`; `dense/kernel`, `dense/bias`), and layers of the
//! same shape come in the order of the file; a safetensors file has none, so that their names must tell it: by numbers, or
//! by `encoder` and `decoder`. What cannot be told is asked for, never guessed. Arrays without names, as of Keras's
//! `get_weights()`, come one after the other.

mod matching;
mod names;
mod slots;
mod source;

use crate::error::{Error, Result};
use crate::model::{Layer, Preset};
use crate::train::run_dir::{CONFIG, LAST, RunDir};
use crate::train::{Array, Weights};
use matching::Filled;
use source::Source;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The constant that PyTorch's batch normalisation adds to the variance where the user names none.
pub const TORCH_EPSILON: f32 = 1e-5;
/// The one that presets have where they name none, which is Keras's.
const KERAS_EPSILON: f32 = 1e-3;

/// Whose layouts a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framework {
    /// PyTorch.
    Torch,
    /// Keras, TensorFlow.
    Keras,
    /// This crate.
    Degrain,
}

impl Framework {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Torch, Self::Keras, Self::Degrain];
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torch => "torch",
            Self::Keras => "keras",
            Self::Degrain => "degrain",
        })
    }
}

impl FromStr for Framework {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let framework = Self::ALL.into_iter().find(|framework| framework.to_string() == text);
        framework.ok_or_else(|| format!("{text:?} is no framework that is known: wanted torch, keras or degrain"))
    }
}

/// The order in which a network flattens pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Channel by channel, as `torch.flatten` does with (N, channels, height, width).
    First,
    /// Pixel by pixel, as Keras does.
    Last,
}

/// How to read a file of weights.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Whose layouts it has; where not said, its names tell.
    pub framework: Option<Framework>,
    /// How pictures were flattened; where not said, as the framework does it.
    pub flatten: Option<ChannelOrder>,
    /// The epsilon of all batch normalisations. Where not said, that of the preset, save that from PyTorch its default
    /// 1e-5 stands for the preset format's default 1e-3.
    pub epsilon: Option<f32>,
    /// Pairs of our name and the file's, of a tensor or of a layer.
    pub map: Vec<(String, String)>,
}

/// A network with weights from elsewhere.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The preset with the epsilon of the weights.
    pub preset: Preset,
    /// The weights in degrain's names and layouts.
    pub weights: Weights,
    /// Whose layouts the file had.
    pub framework: Framework,
    /// Our name of each tensor, and the file's, in the order of the layers.
    pub pairs: Vec<(String, String)>,
    /// Biases that the network was made without: they are zero, factors of batch normalisation one.
    pub filled: Vec<String>,
    /// Tensors of whole numbers, which are counters.
    pub ignored: Vec<String>,
}

/// Reads the weights of a network with the architecture of `preset` from a `.safetensors` or `.npz` file.
///
/// ```
/// use degrain::interop::{Framework, ImportOptions, import};
/// use degrain::model::Preset;
/// use degrain::train::{Array, Weights};
///
/// // What torch.nn.Sequential(Linear(784, 32), ReLU(), Linear(32, 784)) has.
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let mut torch = Weights::default();
/// for (name, shape) in [("0.weight", vec![32, 784]), ("0.bias", vec![32]), ("2.weight", vec![784, 32]), ("2.bias", vec![784])] {
///     let values = (0..shape.iter().product()).map(|i| i as f32).collect();
///     torch.tensors.insert(name.to_owned(), Array::f32(shape, values));
/// }
/// torch.write(&path)?;
///
/// let imported = import(&Preset::load("quickdraw-simple")?, &path, &ImportOptions::default())?;
/// assert_eq!(imported.framework, Framework::Torch);
/// assert_eq!(imported.pairs[2], ("decoder.dense_1.weight".to_owned(), "2.weight".to_owned()));
/// let mut weights = imported.weights;
/// let kernel = weights.take_f32("encoder.dense_1.weight", &[784, 32])?;
/// assert_eq!(kernel[1], 784.0, "output 1 of input 0 lies a whole row of PyTorch's kernel further");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::File`] naming the file and the first tensor that does not fit, [`Error::Setting`] for an option that does
/// not.
pub fn import(preset: &Preset, path: &Path, options: &ImportOptions) -> Result<Imported> {
    let source = Source::read(path)?;
    let framework = match options.framework {
        Some(framework) => framework,
        None => guess(preset, &source)?,
    };
    let tensors = match assign(preset, &source, framework, options) {
        Ok(tensors) => tensors,
        Err(error) => return Err(with_hint(error, preset, &source, framework, options)),
    };
    let mut imported = Imported {
        preset: with_epsilon(preset, framework, options.epsilon)?,
        weights: Weights { path: path.to_path_buf(), ..Weights::default() },
        framework,
        pairs: Vec::new(),
        filled: Vec::new(),
        ignored: source.ignored.clone(),
    };
    for Filled { slot, tensor } in tensors {
        let values = match tensor {
            Some(tensor) => slot.convert(&tensor.values),
            None => vec![slot.start.unwrap_or(0.0); slot.shape.iter().product()],
        };
        match tensor {
            Some(tensor) => imported.pairs.push((slot.name.clone(), tensor.name.clone())),
            None => imported.filled.push(slot.name.clone()),
        }
        imported.weights.tensors.insert(slot.name, Array::f32(slot.shape, values));
    }
    let order: Vec<String> = preset.architecture()?.saved().map(|tensor| tensor.name.clone()).collect();
    imported.pairs.sort_by_key(|(ours, _)| order.iter().position(|name| name == ours));
    Ok(imported)
}

/// Makes the run folder `path` of an imported network, which every command on a run takes.
///
/// # Errors
/// [`Error::File`] if the folder holds anything, [`Error::Io`] if it cannot be written.
pub fn write_run(path: &Path, imported: &Imported) -> Result<RunDir> {
    let run = RunDir::create(path)?;
    imported.weights.write(&run.file(LAST))?;
    // Last, so that a folder with a configuration has weights.
    run.write_text(CONFIG, &imported.preset.to_toml()?)?;
    Ok(run)
}

fn assign<'a>(
    preset: &Preset,
    source: &'a Source,
    framework: Framework,
    options: &ImportOptions,
) -> Result<Vec<Filled<'a>>> {
    let order = options.flatten.unwrap_or(match framework {
        Framework::Torch => ChannelOrder::First,
        Framework::Keras | Framework::Degrain => ChannelOrder::Last,
    });
    matching::assign(slots::groups(&preset.architecture()?, framework, order)?, source, &options.map)
}

/// Whose layouts a file has, by its names.
fn guess(preset: &Preset, source: &Source) -> Result<Framework> {
    let names = || source.tensors.iter().map(|tensor| tensor.name.as_str());
    if source.is_ours {
        return Ok(Framework::Degrain);
    }
    if names().any(names::is_of_keras) || names().all(names::is_numpys) {
        return Ok(Framework::Keras);
    }
    let architecture = preset.architecture()?;
    let is_ours = |name: &str| architecture.saved().any(|tensor| tensor.name == name);
    if names().any(|name| names::Name::of(name).role.is_some()) && !names().all(is_ours) {
        return Ok(Framework::Torch);
    }
    let fits = |framework| assign(preset, source, framework, &ImportOptions::default()).is_ok();
    // Keras's layouts are ours.
    match [Framework::Torch, Framework::Keras].map(fits) {
        [true, false] => Ok(Framework::Torch),
        [false, true] if names().all(is_ours) => Ok(Framework::Degrain),
        [false, true] => Ok(Framework::Keras),
        _ => {
            let problem =
                format!("its names do not tell what wrote {}: say torch, keras or degrain", source.path.display());
            Err(Error::setting("--from", problem))
        }
    }
}

/// The error, and in whose layouts the file would fit.
fn with_hint(error: Error, preset: &Preset, source: &Source, tried: Framework, options: &ImportOptions) -> Error {
    let fits = |framework: &Framework| *framework != tried && assign(preset, source, *framework, options).is_ok();
    match (error, Framework::ALL.into_iter().find(fits)) {
        (Error::File { path, problem }, Some(framework)) => {
            Error::file(path, format!("{problem}; all tensors fit with --from {framework}"))
        }
        (error, _) => error,
    }
}

fn with_epsilon(preset: &Preset, framework: Framework, epsilon: Option<f32>) -> Result<Preset> {
    let mut preset = preset.clone();
    for layer in preset.model.encoder.iter_mut().chain(&mut preset.model.decoder) {
        if let Layer::BatchNorm(layer) = layer {
            layer.epsilon = match epsilon {
                Some(epsilon) => epsilon,
                None if framework == Framework::Torch && layer.epsilon == KERAS_EPSILON => TORCH_EPSILON,
                None => layer.epsilon,
            };
        }
    }
    preset.architecture()?;
    Ok(preset)
}
