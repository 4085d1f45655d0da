//! A run's network on a device, beside the pictures that a command works on.

use super::console::{Console, count};
use super::run::{RunFlags, SavedRun};
use super::{device, pictures};
use clap::Args;
use degrain::data::{CacheMode, Dataset, Shard};
use degrain::latent::Codes;
use degrain::model::Preset;
use degrain::train::Inference;
use degrain::{Error, Result};
use std::path::PathBuf;

/// Flags of every command that looks at all pictures of a data set, in the order of its files.
#[derive(Args)]
pub(super) struct DataFlags {
    /// Pictures: folder, archive, array, IDX or bundled:NAME; may be repeated [default: the run's own]
    #[arg(long, value_name = "D")]
    pub(super) data: Vec<String>,
    /// Labels of --data: CSV with path,label, .npy, IDX, one label a line, or LFW's attributes
    #[arg(long, value_name = "F", requires = "data")]
    pub(super) labels: Option<String>,
    /// The attribute of --labels that becomes the label: its name
    #[arg(long, value_name = "NAME")]
    pub(super) attribute: Option<String>,
    /// Use only the first N pictures
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

impl DataFlags {
    /// All pictures that these flags name, in file order: those of `--data` as they are, or else the run's own as it chose
    /// and labelled them. `preset` is told of the choice.
    ///
    /// # Errors
    /// Pictures that cannot be read.
    pub(super) fn load(&self, preset: &mut Preset, console: &Console) -> Result<Dataset> {
        let sources = self.choose(preset)?;
        pictures::load(&sources, preset, console)
    }

    /// As [`DataFlags::load`], of one shard of these pictures, without their labels.
    ///
    /// # Errors
    /// Pictures that cannot be read.
    pub(super) fn load_shard(&self, preset: &mut Preset, shard: Shard, console: &Console) -> Result<Dataset> {
        let sources = self.choose(preset)?;
        pictures::load_shard(&sources, preset, shard, console)
    }

    /// Tells `preset` which of the pictures to take, and gives their sources.
    fn choose(&self, preset: &mut Preset) -> Result<Vec<String>> {
        if self.limit == Some(0) {
            return Err(Error::setting("--limit", "must be at least 1"));
        }
        let sources = if self.data.is_empty() {
            preset.data.source.clone()
        } else {
            preset.data.forget_choice();
            preset.data.labels = self.labels.clone();
            self.data.clone()
        };
        if self.attribute.is_some() {
            preset.data.attribute = self.attribute.clone();
        }
        preset.data.limit = self.limit.or(preset.data.limit);
        Ok(sources)
    }
}

/// A run's network on a device.
pub(super) struct Network {
    pub(super) preset: Preset,
    pub(super) inference: Inference,
}

impl Network {
    /// Opens the run that `flags` name on `device`.
    ///
    /// # Errors
    /// No such run or device.
    pub(super) fn open(flags: &RunFlags, device: &str, console: &Console) -> Result<Self> {
        let SavedRun { preset, weights, .. } = SavedRun::read(flags)?;
        let inference = Inference::new(device::open(device, console)?, &preset, weights, preset.train.batch)?;
        Ok(Self { preset, inference })
    }

    /// The codes of all pictures of `data`, in their order, with a progress bar.
    ///
    /// # Errors
    /// As [`Codes::of`].
    pub(super) fn codes(&mut self, data: &Dataset, console: &Console) -> Result<Codes> {
        let bar = console.bar(data.len() as u64, "encoding [{bar:30}] {pos}/{len} pictures  ETA {eta}");
        let codes = Codes::of(&mut self.inference, data, &mut |more| bar.inc(more as u64));
        bar.finish_and_clear();
        codes
    }

    /// Each of these pictures, (H, W, C), normalised as in training; the data is read only where one of them is an index.
    ///
    /// # Errors
    /// Data that cannot be read, and as [`Picture::read`].
    pub(super) fn pictures(
        &mut self,
        pictures: &[Picture],
        flags: &DataFlags,
        console: &Console,
    ) -> Result<Vec<Vec<f32>>> {
        let indexed = pictures.iter().any(|picture| matches!(picture, Picture::Index(_)));
        let data = if indexed { Some(flags.load(&mut self.preset, console)?) } else { None };
        pictures.iter().map(|picture| picture.read(&self.preset, data.as_ref(), console)).collect()
    }

    /// Pictures `rows` of `data`, (rows, H, W, C), normalised as in training.
    pub(super) fn floats(&self, data: &Dataset, rows: &[u32]) -> Vec<f32> {
        data.floats(rows, self.preset.data.offset as f32)
    }
}

/// Words that name a picture: `#INDEX` of the data, counted from 0, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    /// A picture of the data.
    Index(usize),
    /// A picture file of its own.
    File(PathBuf),
}

impl std::str::FromStr for Picture {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.strip_prefix('#') {
            Some(index) => match index.parse() {
                Ok(index) => Ok(Self::Index(index)),
                Err(_) => Err(format!("{text} is no #INDEX: wanted # and a number from 0 on, such as #17")),
            },
            None if text.is_empty() => Err("wanted a picture file or #INDEX".to_owned()),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

impl Picture {
    /// Its file, if it is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Index(_) => None,
            Self::File(path) => Some(path.clone()),
        }
    }

    /// The picture, (H, W, C), normalised as in training: of `data`, where it is there, or read from its file.
    ///
    /// # Errors
    /// No such picture, or a file that holds none or more than one.
    pub(super) fn read(&self, preset: &Preset, data: Option<&Dataset>, console: &Console) -> Result<Vec<f32>> {
        let offset = preset.data.offset as f32;
        match self {
            Self::Index(index) => {
                let have = data.map_or(0, Dataset::len);
                match (data, u32::try_from(*index)) {
                    (Some(data), Ok(row)) if *index < have => Ok(data.floats(&[row], offset)),
                    _ => Err(Error::setting(
                        format!("#{index}"),
                        format!("there is no such picture: the data has {}, counted from #0", count(have, "picture")),
                    )),
                }
            }
            Self::File(path) => {
                let one = pictures::open(path, preset, Some(2), &CacheMode::Off, console)?;
                match one.len() {
                    1 => Ok(one.floats(&[0], offset)),
                    _ => Err(Error::file(path, "holds more than one picture: name one picture file, or #INDEX")),
                }
            }
        }
    }
}

impl std::fmt::Display for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "#{index}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
