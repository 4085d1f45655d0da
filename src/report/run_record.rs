//! The record of a run, read back from its folder, and the page that shows it.

use super::{Block, Curve, Figure, Page, Plot, RunSummary, Table, encode_png};
use crate::error::{Error, Result};
use crate::model::{Loss, Noise, Preset, Summary, summary::LayerRow};
use crate::train::row_log::{Row, read_rows};
use crate::train::run_dir::{CONFIG, METRICS, STEPS};
use crate::train::{EpochRow, StepRow};
use std::fs;
use std::path::{Path, PathBuf};

/// The loss curve of a run's folder. A page draws it anew.
pub const LOSS: &str = "loss.png";
/// The sheets that training draws, in the order in which a page shows them.
const SHEETS: [&str; 5] = ["denoised.png", "codes.png", "noise_levels.png", "latent.png", "anomaly.png"];
/// Size of the loss curve, in pixels.
const PLOT_SIZE: (u32, u32) = (900, 540);
/// Most points of the curve by steps.
const MAX_POINTS: usize = 2000;
/// Pictures of a run's folder that are larger stay out of its page, in bytes.
const MAX_PNG_BYTES: u64 = 16 << 20;
/// Most pictures on a page.
const MAX_PICTURES: usize = 40;

/// What the folder of a run holds for people: its settings, its summary, its curves and its pictures.
///
/// ```
/// use degrain::report::{RunRecord, compare};
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # let run = folder.path();
/// # let preset = degrain::model::Preset::load("vae")?;
/// # degrain::atomic_file::write_bytes(&run.join("config.toml"), preset.to_toml()?.as_bytes())?;
/// // let run = Path::new("runs/vae-1");
/// let record = RunRecord::read(run)?;
/// record.page()?.write(run.join("report.html"))?;
/// compare(&[record.clone(), record])?.write(run.join("compare.html"))?;
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The folder.
    pub path: PathBuf,
    /// Every setting of the run.
    pub preset: Preset,
    /// None where the run has not ended yet.
    pub summary: Option<RunSummary>,
    /// One row for each epoch.
    pub epochs: Vec<EpochRow>,
    /// Name and bytes of each picture file, but for the loss curve: those of training first, then others by name.
    pub pictures: Vec<(String, Vec<u8>)>,
    /// Names of picture files that were left out, as they are no PNG, too large or too many.
    pub left_out: Vec<String>,
    /// Some of the steps, for a curve while there are too few epochs for one.
    steps: Vec<StepRow>,
}

impl RunRecord {
    /// Reads the run at `path`, whether it has ended or not.
    ///
    /// # Errors
    /// A folder that is no run's, or a file in it that cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        Self::with_summary(path, RunSummary::read(path)?)
    }

    /// As [`RunRecord::read`], with a summary that is not written yet.
    ///
    /// # Errors
    /// As [`RunRecord::read`].
    pub fn with_summary(path: &Path, summary: Option<RunSummary>) -> Result<Self> {
        let config = path.join(CONFIG);
        if !config.is_file() {
            let problem = if path.is_dir() { "it has no config.toml" } else { "name one that degrain train made" };
            return Err(Error::file(path, format!("is no run folder: {problem}")));
        }
        let steps: Vec<StepRow> = rows(&path.join(STEPS))?;
        let every = steps.len().div_ceil(MAX_POINTS).max(1);
        let (pictures, left_out) = pictures(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            preset: Preset::read(&config)?,
            summary,
            epochs: rows(&path.join(METRICS))?,
            pictures,
            left_out,
            steps: steps.into_iter().step_by(every).collect(),
        })
    }

    /// The page of the run.
    ///
    /// # Errors
    /// A preset whose layers do not fit.
    pub fn page(&self) -> Result<Page> {
        let summary = self.summary.as_ref();
        let facts = summary.map_or_else(|| self.facts_so_far(), RunSummary::lines);
        let mut blocks = vec![Block::Facts(facts)];
        blocks.extend(summary.map(|summary| Block::Command(summary.command.clone())));
        let loss = Block::Figure(figure("The loss".to_owned(), &self.loss_plot())?);
        let sheets = self
            .pictures
            .iter()
            .map(|(name, png)| Block::Figure(Figure { caption: self.caption(name), png: png.clone(), narrow: None }));
        blocks.extend([loss].into_iter().chain(sheets));
        blocks.extend([Block::Table(self.layer_table()?), Block::Table(epoch_table(&self.epochs))]);
        blocks.extend(
            summary.and_then(|summary| summary.pretraining.as_ref()).map(|stages| Block::Table(stages.table())),
        );
        Ok(Page { title: format!("degrain: {}", self.preset.name), blocks })
    }

    /// What is known of a run that has not ended.
    fn facts_so_far(&self) -> Vec<(String, String)> {
        let epochs = self.epochs.len();
        let all = [
            ("training", Some(format!("under way or stopped, {epochs} of {} epochs", self.preset.train.epochs))),
            ("noise", Some(self.preset.train.inference_noise().to_string())),
            ("train loss", self.epochs.last().map(|row| format!("{:.6}", row.train_loss))),
            ("validation loss", self.epochs.last().and_then(|row| row.val_loss).map(|loss| format!("{loss:.6}"))),
            ("speed", self.epochs.last().map(|row| format!("{:.0} images/s", row.images_per_second))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Training and validation loss by epochs, or by steps while there are too few of them for a line.
    pub fn loss_plot(&self) -> Plot {
        // Beside a loss on noisy inputs the error of a PCA on clean ones would mislead.
        let train = &self.preset.train;
        let comparable = train.inference_noise() == Noise::None && train.loss == Loss::Mse;
        let pca = self.summary.as_ref().and_then(|summary| summary.pca_mse).filter(|_| comparable);
        let baseline = pca.map(|mse| (format!("exact PCA, code of {}", self.preset.model.code), mse));
        if self.epochs.len() > 1 {
            let train: Vec<f64> = self.epochs.iter().map(|row| row.train_loss).collect();
            let validation: Vec<f64> = self.epochs.iter().filter_map(|row| row.val_loss).collect();
            return Plot::losses(&train, &validation, baseline);
        }
        let points = self.steps.iter().map(|row| (row.step as f64, f64::from(row.loss))).collect();
        Plot {
            title: "Loss".to_owned(),
            x_label: "step".to_owned(),
            y_label: "loss of the batch".to_owned(),
            curves: vec![Curve { label: "train".to_owned(), points }],
            baseline,
            log_x: false,
        }
    }

    /// [`RunRecord::loss_plot`] as the bytes of a PNG file, for a desk.
    ///
    /// # Errors
    /// If the bundled font cannot be used.
    pub fn loss_png(&self) -> Result<Vec<u8>> {
        encode_png(&self.loss_plot().draw(PLOT_SIZE.0, PLOT_SIZE.1)?)
    }

    /// What a picture file of the folder shows.
    pub(super) fn caption(&self, name: &str) -> String {
        let code = self.preset.model.code;
        match (name, self.preset.train.inference_noise()) {
            ("denoised.png", Noise::None) => "Pictures and what the network makes of them".to_owned(),
            ("denoised.png", noise) => {
                format!("Pictures, the same with noise ({noise}), and what the network makes of the noisy ones")
            }
            ("codes.png", _) => format!("Pictures, their codes of {code} values, and back"),
            ("noise_levels.png", _) => "Gaussian noise of other sizes, and what the network makes of it".to_owned(),
            ("latent.png", _) => format!("Codes of {code} values in two dimensions"),
            ("anomaly.png", _) => "The pictures that are restored worst and best, each with its error".to_owned(),
            _ => name.trim_end_matches(".png").replace('_', " "),
        }
    }

    fn layer_table(&self) -> Result<Table> {
        let summary = Summary::of(&self.preset)?;
        let row = |layer: &LayerRow| {
            let output: Vec<String> = layer.output.iter().map(usize::to_string).collect();
            vec![
                format!("{}.{}", layer.side, layer.name),
                layer.kind.to_owned(),
                layer.activation.clone().unwrap_or_default(),
                output.join(" × "),
                layer.params.to_string(),
            ]
        };
        Ok(Table {
            title: format!("Layers ({} parameters)", summary.total_params),
            header: ["layer", "type", "activation", "output", "parameters"].map(str::to_owned).to_vec(),
            rows: summary.layers.iter().map(row).collect(),
        })
    }
}

/// A plot for a desk and for a phone.
pub(super) fn figure(caption: String, plot: &Plot) -> Result<Figure> {
    let png = encode_png(&plot.draw(PLOT_SIZE.0, PLOT_SIZE.1)?)?;
    Ok(Figure { caption, png, narrow: Some(encode_png(&plot.draw_narrow()?)?) })
}

fn epoch_table(epochs: &[EpochRow]) -> Table {
    let row = |row: &EpochRow| {
        vec![
            row.epoch.to_string(),
            format!("{:.6}", row.train_loss),
            row.val_loss.map(|loss| format!("{loss:.6}")).unwrap_or_default(),
            format!("{:.1}", row.seconds),
            format!("{:.0}", row.images_per_second),
        ]
    };
    Table {
        title: "Epochs".to_owned(),
        header: ["epoch", "train loss", "validation loss", "seconds", "images/s"].map(str::to_owned).to_vec(),
        rows: epochs.iter().map(row).collect(),
    }
}

/// The rows of a file that may not be there yet.
fn rows<R: Row>(path: &Path) -> Result<Vec<R>> {
    if path.is_file() { read_rows(path) } else { Ok(Vec::new()) }
}

/// The pictures of a folder, and the names of those that a page cannot take.
type Pictures = (Vec<(String, Vec<u8>)>, Vec<String>);

fn pictures(folder: &Path) -> Result<Pictures> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let name = entry.map_err(Error::io(folder, "read"))?.file_name().to_string_lossy().into_owned();
        // Names that begin with a dot are those of files half written.
        if name.ends_with(".png") && !name.starts_with('.') && name != LOSS {
            names.push(name);
        }
    }
    let rank = |name: &String| SHEETS.iter().position(|sheet| sheet == name).unwrap_or(SHEETS.len());
    names.sort_by(|a, b| rank(a).cmp(&rank(b)).then(a.cmp(b)));
    let (mut pictures, mut left_out) = (Vec::new(), Vec::new());
    for name in names {
        let path = folder.join(&name);
        let fits = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= MAX_PNG_BYTES);
        let bytes = if fits && pictures.len() < MAX_PICTURES { fs::read(&path).ok() } else { None };
        match bytes.filter(|bytes| image::load_from_memory_with_format(bytes, image::ImageFormat::Png).is_ok()) {
            Some(bytes) => pictures.push((name, bytes)),
            None => left_out.push(name),
        }
    }
    Ok((pictures, left_out))
}
