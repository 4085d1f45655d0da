//! The preset file: pictures, network and training, in TOML. Unknown keys are errors.

use super::check;
use super::init::Init;
use super::layer::Layer;
use super::settings::BatchNormKind;
use super::shapes::{Architecture, Switches};
pub use super::train_table::Train;
use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::Path;
use toml::{Table, Value};

/// The presets in the binary, the default one first.
const BUNDLED: [(&str, &str); 15] = [
    ("emoji-denoise", include_str!("../../data/presets/emoji-denoise.toml")),
    ("lfw-linear", include_str!("../../data/presets/lfw-linear.toml")),
    ("lfw-conv", include_str!("../../data/presets/lfw-conv.toml")),
    ("lfw-denoise", include_str!("../../data/presets/lfw-denoise.toml")),
    ("quickdraw-simple", include_str!("../../data/presets/quickdraw-simple.toml")),
    ("quickdraw-deep", include_str!("../../data/presets/quickdraw-deep.toml")),
    ("quickdraw-conv", include_str!("../../data/presets/quickdraw-conv.toml")),
    ("mnist-dae", include_str!("../../data/presets/mnist-dae.toml")),
    ("pokemon-mlp", include_str!("../../data/presets/pokemon-mlp.toml")),
    ("pokemon-conv", include_str!("../../data/presets/pokemon-conv.toml")),
    ("stacked", include_str!("../../data/presets/stacked.toml")),
    ("vae", include_str!("../../data/presets/vae.toml")),
    ("sparse", include_str!("../../data/presets/sparse.toml")),
    ("contractive", include_str!("../../data/presets/contractive.toml")),
    ("denoise-patch", include_str!("../../data/presets/denoise-patch.toml")),
];
/// A preset file larger than this is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A model and its training, as read from a preset file; always valid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Letters, digits, `-`, `_` and `.`; run folders are named after it.
    pub name: String,
    /// One line for the list of presets.
    pub description: String,
    /// Which pictures, and how they come to the network.
    pub data: Data,
    /// The network.
    pub model: Model,
    /// The training.
    pub train: Train,
}

/// The `[data]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `bundled:emoji`, or paths as `--data` takes them; empty: `--data` is required. In the file one text or a list.
    #[serde(default, with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// Height of the pictures that the network takes; others are resized.
    pub height: usize,
    /// Width of the pictures that the network takes.
    pub width: usize,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// u8 values come in as x / 255 + offset.
    #[serde(default)]
    pub offset: f64,
    /// Pixels cut from each side of the 250x250 pictures of the LFW archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// Instead of being resized, each picture file is cut into this many patches of `height` x `width`, at places that
    /// follow from its name and `train.seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patches: Option<usize>,
    /// Use only this many pictures, the first in file order, of those that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// File of labels, as `--labels` takes it: `path,label`, one a line, `.npy`, IDX, or `lfw_attributes.txt`, of which only
    /// the listed pictures are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Attribute in the file of labels whose sign becomes the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Use only the pictures with one of these labels; empty: all. In the file one label or a list; numbers need no quotes.
    #[serde(default, with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub labels_kept: Vec<String>,
    /// Each colour channel is a grey picture of its own; takes `channels = 1`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub channel_rows: bool,
    /// Where the pictures can be had: told where none are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obtain: Option<String>,
}

impl Data {
    /// Drops what chooses and labels the run's own pictures, so that all of another data set are taken as they are.
    pub fn forget_choice(&mut self) {
        self.limit = None;
        self.labels = None;
        self.attribute = None;
        self.labels_kept.clear();
    }
}

/// The `[model]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Values in a code, which is what `units = "code"` stands for.
    pub code: usize,
    /// First values of the kernels.
    #[serde(default)]
    pub init: Init,
    /// Whether the decoder's dense layers use the kernels of the encoder's, transposed, with biases of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tie: bool,
    /// What the `batch_norm` layers in the lists take one mean and deviation of; `none` leaves them out.
    #[serde(default)]
    pub batch_norm: BatchNormKind,
    /// Picture to code.
    #[serde(deserialize_with = "layers")]
    pub encoder: Vec<Layer>,
    /// Code to picture.
    #[serde(deserialize_with = "layers")]
    pub decoder: Vec<Layer>,
}

impl Model {
    /// Whether the code is a Gaussian that training draws from, with N(0, I) for a prior.
    pub fn is_variational(&self) -> bool {
        matches!(self.encoder.last(), Some(Layer::GaussianCode {}))
    }
}

/// Reads layers one by one: without the wrapper an error would carry the line of the list, not of the layer.
fn layers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Layer>, D::Error> {
    #[derive(Deserialize)]
    struct Item(Layer);

    Ok(Vec::<Item>::deserialize(deserializer)?.into_iter().map(|Item(layer)| layer).collect())
}

impl Preset {
    /// Name of the preset that `train` takes where none is named.
    pub const DEFAULT: &'static str = "emoji-denoise";

    /// Names of the presets in the binary.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUNDLED.iter().map(|(name, _)| *name)
    }

    /// The file of a preset in the binary, comments and all.
    pub fn source_text(name: &str) -> Option<&'static str> {
        BUNDLED.iter().find(|(bundled, _)| *bundled == name).map(|(_, text)| *text)
    }

    /// Reads a preset by its name, or the file at a path: anything that ends in `.toml` or has a folder in it.
    ///
    /// # Errors
    /// A name that is not known, a file that cannot be read, and what [`Preset::from_toml`] rejects.
    pub fn load(name_or_path: &str) -> Result<Self> {
        let path = Path::new(name_or_path);
        let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        if is_toml || path.components().count() > 1 {
            return Self::read(path);
        }
        match Self::source_text(name_or_path) {
            Some(text) => Self::from_toml(text, path),
            None => Err(unknown_name(name_or_path)),
        }
    }

    /// Reads the preset file at `path`, whatever its name.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, and what [`Preset::from_toml`] rejects.
    pub fn read(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(Error::io(path, "read"))?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(Error::file(path, format!("is no preset file: larger than {MAX_FILE_BYTES} bytes")));
        }
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "is no preset file: not UTF-8 text"))?;
        Self::from_toml(&text, path)
    }

    /// Reads a preset from `text`; `path` is what messages call it.
    ///
    /// # Errors
    /// [`Error::File`] with the line for a syntax error, an unknown or missing key or a value of the wrong type, and
    /// with the key or layer for settings that cannot work.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        let preset: Self = toml::from_str(text).map_err(|error| Error::file(path, located(&error, text)))?;
        match check::check(&preset) {
            Ok(()) => Ok(preset),
            Err(Error::Setting { name, problem }) => Err(Error::file(path, format!("{name}: {problem}"))),
            Err(other) => Err(other),
        }
    }

    /// Every setting as TOML, defaults included; reads back equal.
    ///
    /// # Errors
    /// [`Error::Setting`] where a value was set in code that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        check::check(self)?;
        toml::to_string(self).map_err(|error| Error::setting(&self.name, one_line(&error.to_string())))
    }

    /// Changes one setting, as `--set` does: `train.lr=0.01`, `train.noise=mask:0.3`, `model.encoder.0.channels=16`
    /// (lists count from 0). A text needs no quotes; nothing behind `=` removes an optional key.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key; the preset is then unchanged.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        self.set_all(&[assignment])
    }

    /// Changes several settings and checks the result once, so that they need not make sense one by one.
    ///
    /// # Errors
    /// As [`Preset::set`].
    pub fn set_all(&mut self, assignments: &[impl AsRef<str>]) -> Result<()> {
        let mut preset = self.clone();
        for assignment in assignments {
            preset = preset.with(assignment.as_ref())?;
        }
        check::check(&preset)?;
        *self = preset;
        Ok(())
    }

    /// Sizes of all layers.
    ///
    /// # Errors
    /// As [`Architecture::resolve_with`], where the preset was changed in code.
    pub fn architecture(&self) -> Result<Architecture> {
        let input = [self.data.height, self.data.width, self.data.channels];
        let Model { code, tie, batch_norm, encoder, decoder, .. } = &self.model;
        Architecture::resolve_with(input, *code, encoder, decoder, Switches { tie: *tie, batch_norm: *batch_norm })
    }

    fn with(&self, assignment: &str) -> Result<Self> {
        let Some((key, text)) = assignment.split_once('=') else {
            return Err(Error::setting("--set", format!("{assignment:?} is no key=value, as in train.lr=0.01")));
        };
        let (key, text) = (key.trim(), text.trim());
        let failed = |problem: String| Error::setting(key, one_line(&problem));
        let table = Table::try_from(self).map_err(|error| failed(error.to_string()))?;
        let mut root = Value::Table(table);
        let (parents, last) = key.rsplit_once('.').map_or((None, key), |(parents, last)| (Some(parents), last));
        let parent = parents.into_iter().flat_map(|parents| parents.split('.')).try_fold(&mut root, child);
        match parent {
            Some(Value::Table(table)) if text.is_empty() => drop(table.remove(last)),
            Some(Value::Table(table)) => drop(table.insert(last.to_owned(), value(text))),
            Some(Value::Array(items)) => match last.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                Some(item) => *item = value(text),
                None => return Err(failed(format!("the list has no item {last:?}: items count from 0"))),
            },
            _ => return Err(failed("is no setting of a preset: see `degrain presets`".to_owned())),
        }
        root.try_into().map_err(|error: toml::de::Error| failed(error.message().to_owned()))
    }
}

fn child<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match parent {
        Value::Table(table) => table.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    }
}

/// A TOML value, or the text itself where it is none.
fn value(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn unknown_name(name: &str) -> Error {
    let names: Vec<&str> = Preset::names().collect();
    let nearest = names.iter().min_by_key(|known| edit_distance(name, known));
    let hint = match nearest.filter(|known| edit_distance(name, known) <= 3) {
        Some(known) => format!("did you mean {known}? "),
        None => String::new(),
    };
    let problem = format!("no such preset; {hint}There are {}; a file's name ends in .toml", names.join(", "));
    Error::setting(name, problem)
}

/// Levenshtein's distance, in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (above, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *above;
            left = replaced.min(*above + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The parser's message in one line, with the place in the file.
fn located(error: &toml::de::Error, text: &str) -> String {
    let message = one_line(error.message());
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    format!("line {line}, column {column}: {message}")
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A list that may be written as its only item; whole numbers stand for their digits.
mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "wanted a text or a list of texts")]
    enum Item {
        Text(String),
        Number(i64),
    }

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "wanted a text or a list of texts")]
    enum OneOrMany {
        One(Item),
        Many(Vec<Item>),
    }

    impl Item {
        fn text(self) -> String {
            match self {
                Self::Text(text) => text,
                Self::Number(number) => number.to_string(),
            }
        }
    }

    pub(super) fn serialize<S: Serializer>(items: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match items {
            [item] => item.serialize(serializer),
            _ => items.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(item) => vec![item.text()],
            OneOrMany::Many(items) => items.into_iter().map(Item::text).collect(),
        })
    }
}

#[cfg(test)]
#[path = "preset_tests.rs"]
mod tests;
