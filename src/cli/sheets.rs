//! The pictures of a finished run: sheets, the loss curve, and the page that holds them all.

use super::finish::{Finish, RunSummary};
use super::pretraining::Pretraining;
use degrain::Result;
use degrain::atomic_file::write_bytes;
use degrain::model::{Noise, Summary};
use degrain::report::{Cell, Curve, Page, Plot, Sheet, Table, encode_png, sheet};
use degrain::train::row_log::read_rows;
use degrain::train::run_dir::{METRICS, REPORT, STEPS};
use degrain::train::{EpochRow, Inference, RunDir, StepRow};
use image::RgbImage;

/// Held-out pictures on a sheet.
const PICTURES: usize = 10;
/// Held-out pictures with their codes.
const CODES: usize = 5;
/// Standard deviations on the sheet of noise levels.
const LEVELS: [f64; 3] = [0.01, 0.1, 0.5];
/// A picture is enlarged to about this many pixels a side.
const CELL_SIDE: usize = 96;
/// Size of the loss curve, in pixels.
const PLOT_SIZE: (u32, u32) = (900, 540);
/// Most points of the curve by steps.
const MAX_POINTS: usize = 2000;

/// A picture file of the run.
pub(super) struct Drawn {
    pub(super) name: &'static str,
    caption: String,
    pub(super) png: Vec<u8>,
    /// Height and width, in pixels.
    pub(super) size: [u32; 2],
}

/// Draws and writes all sheets, the one to look at first at the head.
///
/// # Errors
/// A device or file that fails.
pub(super) fn draw(inference: &mut Inference, finish: &Finish<'_>, run: &RunDir) -> Result<Vec<Drawn>> {
    let noise = finish.preset.train.inference_noise();
    let mut drawn = vec![restored_sheet(inference, finish, noise)?, codes_sheet(inference, finish)?];
    if noise != Noise::None {
        drawn.push(levels_sheet(inference, finish)?);
    }
    drawn.iter().try_for_each(|drawn| write_bytes(&run.file(drawn.name), &drawn.png))?;
    Ok(drawn)
}

/// Up to `count` rows of the held-out pictures, or of the others where nothing is held out, spread over all of them.
fn chosen_rows(finish: &Finish<'_>, count: usize) -> Vec<u32> {
    let split = finish.split;
    let rows = if split.held_out.is_empty() { &split.train } else { &split.held_out };
    let count = count.min(rows.len());
    (0..count).filter_map(|i| rows.get(i * rows.len() / count)).copied().collect()
}

/// Values of pictures, one list per picture: as they are, with noise, and as they come out.
struct Seen {
    clean: Vec<Vec<f32>>,
    noisy: Vec<Vec<f32>>,
    restored: Vec<Vec<f32>>,
}

fn see(inference: &mut Inference, finish: &Finish<'_>, rows: &[u32], noise: Noise) -> Result<Seen> {
    let mut seen = Seen { clean: Vec::new(), noisy: Vec::new(), restored: Vec::new() };
    inference.evaluate(finish.data, rows, noise, finish.preset.train.seed, &mut |picture| {
        seen.clean.push(picture.clean.to_vec());
        seen.noisy.push(picture.noisy.to_vec());
        seen.restored.push(picture.restored.to_vec());
    })?;
    Ok(seen)
}

fn restored_sheet(inference: &mut Inference, finish: &Finish<'_>, noise: Noise) -> Result<Drawn> {
    let seen = see(inference, finish, &chosen_rows(finish, PICTURES), noise)?;
    let mut rows = vec![("original".to_owned(), cells(finish, &seen.clean)?)];
    if noise != Noise::None {
        rows.push(("noisy".to_owned(), cells(finish, &seen.noisy)?));
    }
    rows.push(("restored".to_owned(), cells(finish, &seen.restored)?));
    let caption = match noise {
        Noise::None => "Pictures and what the network makes of them".to_owned(),
        noise => format!("Pictures, the same with noise ({noise}), and what the network makes of the noisy ones"),
    };
    drawn("denoised.png", caption, finish, rows)
}

fn codes_sheet(inference: &mut Inference, finish: &Finish<'_>) -> Result<Drawn> {
    let seen = see(inference, finish, &chosen_rows(finish, CODES), Noise::None)?;
    let codes = inference.encode(&seen.clean.concat())?;
    let codes = codes.chunks(finish.preset.model.code.max(1)).map(|code| Cell::from(sheet::code(code))).collect();
    let rows = vec![
        ("original".to_owned(), cells(finish, &seen.clean)?),
        ("code".to_owned(), codes),
        ("reconstruction".to_owned(), cells(finish, &seen.restored)?),
    ];
    drawn("codes.png", format!("Pictures, their codes of {} values, and back", finish.preset.model.code), finish, rows)
}

fn levels_sheet(inference: &mut Inference, finish: &Finish<'_>) -> Result<Drawn> {
    let chosen = chosen_rows(finish, PICTURES);
    let mut rows = Vec::new();
    for sigma in LEVELS {
        let seen = see(inference, finish, &chosen, Noise::Gaussian { sigma })?;
        if rows.is_empty() {
            rows.push(("original".to_owned(), cells(finish, &seen.clean)?));
        }
        rows.push((format!("sigma {sigma}"), cells(finish, &seen.noisy)?));
        rows.push(("restored".to_owned(), cells(finish, &seen.restored)?));
    }
    drawn(
        "noise_levels.png",
        "Gaussian noise of other sizes, and what the network makes of it".to_owned(),
        finish,
        rows,
    )
}

fn cells(finish: &Finish<'_>, pictures: &[Vec<f32>]) -> Result<Vec<Cell>> {
    let low = finish.preset.data.offset as f32;
    pictures.iter().map(|values| picture(values, finish.data.shape, low).map(Cell::from)).collect()
}

fn picture(values: &[f32], shape: [usize; 3], low: f32) -> Result<RgbImage> {
    sheet::picture(values, shape, (low, low + 1.0))
}

fn drawn(name: &'static str, caption: String, finish: &Finish<'_>, rows: Vec<(String, Vec<Cell>)>) -> Result<Drawn> {
    let [height, width, _] = finish.data.shape;
    let scale = (CELL_SIDE / height.max(width).max(1)).max(1) as u32;
    let (row_titles, rows) = rows.into_iter().unzip();
    let sheet = Sheet { column_titles: Vec::new(), row_titles, rows, scale };
    let image = sheet.draw()?;
    Ok(Drawn { name, caption, png: encode_png(&image)?, size: [image.height(), image.width()] })
}

/// Writes `loss.png` and `report.html`.
///
/// # Errors
/// A file that cannot be read or written.
pub(super) fn write_report(summary: &RunSummary, finish: &Finish<'_>, sheets: Vec<Drawn>, run: &RunDir) -> Result<()> {
    let epochs: Vec<EpochRow> = read_rows(&run.file(METRICS))?;
    let png = encode_png(&loss_plot(summary, finish, &epochs, run)?.draw(PLOT_SIZE.0, PLOT_SIZE.1)?)?;
    write_bytes(&run.file("loss.png"), &png)?;
    let pictures = sheets.into_iter().map(|sheet| (sheet.caption, sheet.png));
    let pretraining = summary.pretraining.as_ref().map(Pretraining::table);
    let page = Page {
        title: format!("degrain: {}", finish.preset.name),
        summary: summary.lines(),
        command: summary.command.clone(),
        pictures: pictures.chain([("The loss".to_owned(), png)]).collect(),
        tables: [layer_table(finish)?, epoch_table(&epochs)].into_iter().chain(pretraining).collect(),
    };
    page.write(run.file(REPORT))
}

/// By epochs, or by steps while there are too few of them for a line.
fn loss_plot(summary: &RunSummary, finish: &Finish<'_>, epochs: &[EpochRow], run: &RunDir) -> Result<Plot> {
    // Beside a loss on noisy inputs the error of a PCA on clean ones would mislead.
    let comparable =
        finish.preset.train.inference_noise() == Noise::None && finish.preset.train.loss == degrain::model::Loss::Mse;
    let pca = summary.pca_mse.filter(|_| comparable);
    let baseline = pca.map(|mse| (format!("exact PCA, code of {}", finish.preset.model.code), mse));
    if epochs.len() > 1 {
        let train: Vec<f64> = epochs.iter().map(|row| row.train_loss).collect();
        let validation: Vec<f64> = epochs.iter().filter_map(|row| row.val_loss).collect();
        return Ok(Plot::losses(&train, &validation, baseline));
    }
    let steps: Vec<StepRow> = read_rows(&run.file(STEPS))?;
    let every = steps.len().div_ceil(MAX_POINTS).max(1);
    let points = steps.iter().step_by(every).map(|row| (row.step as f64, f64::from(row.loss))).collect();
    Ok(Plot {
        title: "Loss".to_owned(),
        x_label: "step".to_owned(),
        y_label: "loss of the batch".to_owned(),
        curves: vec![Curve { label: "train".to_owned(), points }],
        baseline,
    })
}

fn layer_table(finish: &Finish<'_>) -> Result<Table> {
    let summary = Summary::of(finish.preset)?;
    let row = |layer: &degrain::model::summary::LayerRow| {
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
