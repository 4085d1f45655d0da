//! `degrain pca`, and the same baseline beside a training run.

use super::console::{Console, count};
use super::pictures;
use clap::Args;
use degrain::data::{Dataset, Split};
use degrain::latent::Pca;
use degrain::model::Preset;
use degrain::{Error, Result};
use serde_json::json;

/// Most values of one set of rows: 16 GiB as f32.
const MAX_VALUES: usize = 1 << 32;

/// Flags of `degrain pca`.
#[derive(Args)]
pub(super) struct Flags {
    /// The preset or preset file that gives the pictures' size
    #[arg(value_name = "PRESET|FILE.toml", default_value = "lfw-linear")]
    preset: String,
    /// Folder, archive, picture, .npy, .npz, IDX or bundled:emoji|quickdraw; may be repeated
    #[arg(long, value_name = "D")]
    data: Vec<String>,
    /// Number of components [default: the preset's code]
    #[arg(long, value_name = "K")]
    components: Option<usize>,
    /// Change any setting of the preset, such as train.val=0.2 or data.height=28
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

pub(super) fn run(flags: &Flags, console: &Console) -> Result<()> {
    let mut preset = Preset::load(&flags.preset)?;
    preset.set_all(&flags.settings)?;
    let sources = if flags.data.is_empty() { &preset.data.source } else { &flags.data };
    let data = pictures::load(sources, &preset, console)?;
    let split = pictures::split(&data, &preset, console)?;
    let components = flags.components.unwrap_or(preset.model.code);
    let offset = preset.data.offset as f32;
    let pca = fit(&data, &split, components, offset).map_err(|error| match error {
        Error::Setting { name, problem } if name == "components" => Error::setting("--components", problem),
        other => other,
    })?;
    let test_mse = held_out_mse(&pca, &data, &split, offset)?;
    let explained = pca.explained_variance_ratio();
    let total: f64 = explained.iter().sum();
    let text = format!(
        "PCA of {} on {}\ntrain MSE  {:.6}\ntest MSE   {}\nexplained  {:.4} of the variance",
        count(components, "component"),
        count(split.train.len(), "picture"),
        pca.train_mse(),
        test_mse.map_or("none held out".to_owned(), |mse| format!("{mse:.6}")),
        total
    );
    let object = json!({
        "components": components,
        "train_mse": pca.train_mse(),
        "test_mse": test_mse,
        "explained": total,
        "explained_variance_ratio": explained,
        "train_pictures": split.train.len(),
        "test_pictures": split.held_out.len(),
    });
    console.result(&object, text)
}

/// Fits the training part.
///
/// # Errors
/// More components than can be had, or more pictures than PCA takes.
fn fit(data: &Dataset, split: &Split, components: usize, offset: f32) -> Result<Pca> {
    let (n, d) = (split.train.len(), data.sample_len());
    if n.saturating_mul(d) > MAX_VALUES {
        let problem =
            format!("{n} pictures of {d} values are too many for an exact PCA: take at most {MAX_VALUES} values");
        return Err(Error::setting("pca", problem));
    }
    Pca::fit(&data.floats(&split.train, offset), n, d, components)
}

/// Mean squared error on the held-out part; none where nothing is held out.
fn held_out_mse(pca: &Pca, data: &Dataset, split: &Split, offset: f32) -> Result<Option<f64>> {
    if split.held_out.is_empty() {
        return Ok(None);
    }
    pca.mse(&data.floats(&split.held_out, offset)).map(Some)
}

/// What an exact PCA with as many components as the preset's code has values does to the clean held-out pictures;
/// none where nothing is held out, and where the code has as many values as the pictures: it could keep them as they are.
/// Beyond the rank of the training pictures more components change nothing.
///
/// # Errors
/// More pictures than PCA takes.
pub(super) fn baseline(data: &Dataset, split: &Split, preset: &Preset) -> Result<Option<f64>> {
    if split.held_out.is_empty() || preset.model.code >= data.sample_len() {
        return Ok(None);
    }
    let components = preset.model.code.min(split.train.len()).min(data.sample_len());
    let offset = preset.data.offset as f32;
    held_out_mse(&fit(data, split, components, offset)?, data, split, offset)
}
