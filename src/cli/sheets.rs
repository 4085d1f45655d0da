//! The pictures of a finished run: sheets, the loss curve, and the page that holds them all.

use super::finish::Finish;
use degrain::Result;
use degrain::atomic_file::write_bytes;
use degrain::data::Labels;
use degrain::latent::Pca;
use degrain::model::Noise;
use degrain::report::run_record::LOSS;
use degrain::report::{Cell, RunRecord, Scatter, Sheet, encode_png, sheet};
use degrain::train::run_dir::REPORT;
use degrain::train::{Inference, RunDir};
use image::RgbImage;

/// Held-out pictures on a sheet.
const PICTURES: usize = 10;
/// Held-out pictures with their codes.
const CODES: usize = 5;
/// Standard deviations on the sheet of noise levels.
const LEVELS: [f64; 3] = [0.01, 0.1, 0.5];
/// A picture is enlarged to about this many pixels a side.
pub(super) const CELL_SIDE: usize = 96;

/// Pictures whose codes are points.
const POINTS: usize = 2000;
/// Size of the plane of codes, in pixels.
const SCATTER_SIZE: (u32, u32) = (900, 640);

/// A picture file of the run.
pub(super) struct Drawn {
    pub(super) name: &'static str,
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
    drawn.extend(latent_scatter(inference, finish)?);
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
    drawn("denoised.png", finish, rows)
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
    drawn("codes.png", finish, rows)
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
    drawn("noise_levels.png", finish, rows)
}

/// The codes of held-out pictures as points in the plane, coloured by label: the code itself where it has two values, else
/// the two principal components. None where that is no plane: fewer than three pictures, or codes of one value.
fn latent_scatter(inference: &mut Inference, finish: &Finish<'_>) -> Result<Option<Drawn>> {
    let (rows, dim) = (chosen_rows(finish, POINTS), inference.code_len());
    if rows.len() < 3 || dim < 2 {
        return Ok(None);
    }
    let mut codes = Vec::with_capacity(rows.len() * dim);
    inference.encode_rows(finish.data, &rows, &mut |more| {
        codes.extend_from_slice(more);
        Ok(())
    })?;
    let kind = if dim == 2 { "code" } else { "principal component" };
    let plane = if dim == 2 { codes } else { Pca::fit(&codes, rows.len(), dim, 2)?.project(&codes)? };
    let labels = finish.data.labels.as_ref().map(|labels| Labels {
        names: labels.names.clone(),
        ids: rows.iter().filter_map(|&row| labels.ids.get(row as usize)).copied().collect(),
    });
    let scatter = Scatter {
        title: format!("Codes of {} pictures", rows.len()),
        axes: [1, 2].map(|number| format!("{kind} {number}")),
        points: plane
            .chunks_exact(2)
            .filter_map(|xy| Some([f64::from(*xy.first()?), f64::from(*xy.last()?)]))
            .collect(),
        labels,
    };
    let image = scatter.draw(SCATTER_SIZE.0, SCATTER_SIZE.1)?;
    Ok(Some(Drawn { name: "latent.png", png: encode_png(&image)?, size: [image.height(), image.width()] }))
}

fn cells(finish: &Finish<'_>, pictures: &[Vec<f32>]) -> Result<Vec<Cell>> {
    let low = finish.preset.data.offset as f32;
    pictures.iter().map(|values| picture(values, finish.data.shape, low).map(Cell::from)).collect()
}

fn picture(values: &[f32], shape: [usize; 3], low: f32) -> Result<RgbImage> {
    sheet::picture(values, shape, (low, low + 1.0))
}

fn drawn(name: &'static str, finish: &Finish<'_>, rows: Vec<(String, Vec<Cell>)>) -> Result<Drawn> {
    let [height, width, _] = finish.data.shape;
    let scale = (CELL_SIDE / height.max(width).max(1)).max(1) as u32;
    let (row_titles, rows) = rows.into_iter().unzip();
    let sheet = Sheet { column_titles: Vec::new(), row_titles, rows, scale };
    let image = sheet.draw()?;
    Ok(Drawn { name, png: encode_png(&image)?, size: [image.height(), image.width()] })
}

/// Writes `loss.png` and `report.html`.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write_report(record: &RunRecord) -> Result<()> {
    write_bytes(&record.path.join(LOSS), &record.loss_png()?)?;
    record.page()?.write(record.path.join(REPORT))
}
