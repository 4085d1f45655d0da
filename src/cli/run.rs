//! A saved run, opened for reading.

use clap::{Args, ValueEnum};
use degrain::model::Preset;
use degrain::train::Weights;
use degrain::train::run_dir::{BEST, CONFIG, LAST};
use degrain::{Error, Result};
use std::path::{Path, PathBuf};

/// Flags of every command on a run.
#[derive(Args)]
pub(super) struct RunFlags {
    /// The run's folder, such as runs/emoji-denoise-1
    #[arg(value_name = "RUN")]
    pub(super) run: PathBuf,
    /// Which weights to use [default: the best, or the last where there is no best]
    #[arg(long, value_enum)]
    pub(super) weights: Option<Which>,
}

/// Which of a run's weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Which {
    /// At the smallest validation loss.
    Best,
    /// At the last checkpoint.
    Last,
}

/// What a run's folder holds of its network.
pub(super) struct SavedRun {
    pub(super) preset: Preset,
    pub(super) weights: Weights,
    /// Name of the file of weights.
    pub(super) weights_name: &'static str,
}

/// A preset by its name, else from a run's folder, else from a file.
pub(super) fn load_preset(what: &str) -> Result<Preset> {
    let path = Path::new(what);
    if Preset::source_text(what).is_none() && path.is_dir() { read_config(path) } else { Preset::load(what) }
}

/// The settings that the run at `path` was trained with.
pub(super) fn read_config(path: &Path) -> Result<Preset> {
    let config = path.join(CONFIG);
    if !config.is_file() {
        let problem = if path.is_dir() { "it has no config.toml" } else { "name one that degrain train made" };
        return Err(Error::file(path, format!("is no run folder: {problem}")));
    }
    Preset::read(&config)
}

impl SavedRun {
    pub(super) fn read(flags: &RunFlags) -> Result<Self> {
        let preset = read_config(&flags.run)?;
        let (weights, weights_name) = read_weights(&flags.run, flags.weights)?;
        Ok(Self { preset, weights, weights_name })
    }
}

/// The weights of the run at `path`, and their file's name.
pub(super) fn read_weights(path: &Path, which: Option<Which>) -> Result<(Weights, &'static str)> {
    let has = |name: &str| path.join(name).is_file();
    let name = match which {
        Some(Which::Best) if !has(BEST) => {
            let problem = "has no best weights, as nothing was held out or no epoch ended: use --weights last";
            return Err(Error::file(path, problem));
        }
        Some(Which::Best) => BEST,
        Some(Which::Last) => LAST,
        None if has(BEST) => BEST,
        None => LAST,
    };
    if !has(name) {
        return Err(Error::file(path, "has no weights yet: go on with it by degrain train --resume"));
    }
    Ok((Weights::read(&path.join(name))?, name))
}
