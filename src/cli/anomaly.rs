//! `degrain anomaly`: which pictures a run's network restores worst.

use super::console::{Console, count};
use super::network::{DataFlags, Network};
use super::probe;
use super::run::RunFlags;
use super::sheets::CELL_SIDE;
use clap::Args;
use degrain::atomic_file::write_bytes;
use degrain::data::{Dataset, Labels};
use degrain::latent::{auroc, reconstruction_errors};
use degrain::report::{Cell, Sheet, sheet};
use degrain::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of the files.
const CSV: &str = "anomaly.csv";
const SHEET: &str = "anomaly.png";

/// Flags of `degrain anomaly`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    data: DataFlags,
    /// The labels that count as normal, such as 0,5; gives the AUROC [default: those that the run trained on]
    #[arg(long, value_name = "LABEL,...", value_delimiter = ',')]
    normal: Vec<String>,
    /// Folder for anomaly.csv, every picture with its error, and anomaly.png [default: the run's]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How many of the worst and of the best pictures the sheet and --json show
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    n: u16,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let mut network = Network::open(&flags.run, device, console)?;
    let trained = network.preset.data.labels_kept.clone();
    let data = flags.data.load(&mut network.preset, console)?;
    let anomalous = anomalous(&data, &flags.normal, &trained)?;
    let bar = console.bar(data.len() as u64, "restoring [{bar:30}] {pos}/{len} pictures  ETA {eta}");
    let errors = reconstruction_errors(&mut network.inference, &data, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    let area = anomalous.as_ref().and_then(|anomalous| auroc(&errors, anomalous));
    let folder = flags.output.as_deref().unwrap_or(&flags.run.run);
    fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
    let ranked = Ranked::of(&errors, usize::from(flags.n));
    let (csv, sheet) = (folder.join(CSV), folder.join(SHEET));
    write_bytes(&csv, table(&data, &errors, anomalous.as_deref()).as_bytes())?;
    ranked.sheet(&mut network, &data, &errors)?.write_png(&sheet)?;
    let found = Found { data: &data, errors: &errors, anomalous: anomalous.as_deref(), area, ranked, csv, sheet };
    console.result(&found.json(), found.text())
}

/// Which pictures are not of the normal labels; none where nothing says which ones are normal.
fn anomalous(data: &Dataset, normal: &[String], trained: &[String]) -> Result<Option<Vec<bool>>> {
    let Some(labels) = &data.labels else {
        return match normal {
            [] => Ok(None),
            _ => Err(Error::setting("--normal", "the pictures have no labels: name a file of them with --labels")),
        };
    };
    let normal = if normal.is_empty() { trained } else { normal };
    if let Some(unknown) = normal.iter().find(|label| !labels.names.contains(label)) {
        return Err(Error::setting(
            "--normal",
            format!("no picture has label {unknown:?}: there is {}", probe::names(labels)),
        ));
    }
    let is_anomalous = |&id: &u32| !labels.names.get(id as usize).is_some_and(|name| normal.contains(name));
    Ok((!normal.is_empty()).then(|| labels.ids.iter().map(is_anomalous).collect()))
}

/// All pictures, the worst first: rank, index, name, error and, where known, label and whether it is anomalous.
fn table(data: &Dataset, errors: &[f64], anomalous: Option<&[bool]>) -> String {
    let mut text = "rank,index,name,mse,label,anomalous\n".to_owned();
    for (rank, row) in worst_first(errors).into_iter().enumerate() {
        let name = data.names.get(row).map(String::as_str).unwrap_or_default();
        let label = label(data.labels.as_ref(), row).unwrap_or_default();
        let is_anomalous = anomalous.and_then(|marks| marks.get(row)).map(|&mark| u8::from(mark).to_string());
        let (name, label, error) = (field(name), field(label), errors.get(row).copied().unwrap_or(f64::NAN));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{},{row},{name},{error},{label},{}", rank + 1, is_anomalous.unwrap_or_default());
    }
    text
}

/// RFC 4180: quoted where it has to be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn label(labels: Option<&Labels>, row: usize) -> Option<&str> {
    labels?.name(row)
}

/// Rows by falling error; of equal ones the first.
fn worst_first(errors: &[f64]) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..errors.len()).collect();
    let error = |row: usize| errors.get(row).copied().unwrap_or(f64::NAN);
    rows.sort_by(|&a, &b| error(b).total_cmp(&error(a)).then(a.cmp(&b)));
    rows
}

/// The pictures at both ends.
struct Ranked {
    /// By falling error.
    worst: Vec<usize>,
    /// By rising error, none of the worst.
    best: Vec<usize>,
}

impl Ranked {
    fn of(errors: &[f64], count: usize) -> Self {
        let mut rows = worst_first(errors);
        let best = rows.split_off(count.min(rows.len()));
        Self { worst: rows, best: best.into_iter().rev().take(count).collect() }
    }

    /// Two rows of pictures, each above what the network makes of them, titled by error and label.
    fn sheet(&self, network: &mut Network, data: &Dataset, errors: &[f64]) -> Result<Sheet> {
        let low = network.preset.data.offset as f32;
        let cell = |values: &[f32], caption: Option<String>| -> Result<Cell> {
            Ok(Cell { image: sheet::picture(values, data.shape, (low, low + 1.0))?, caption })
        };
        let [height, width, _] = data.shape;
        let mut drawn = Sheet { scale: (CELL_SIDE / height.max(width).max(1)).max(1) as u32, ..Sheet::default() };
        for (title, rows) in
            [("worst", &self.worst), ("best", &self.best)].into_iter().filter(|(_, rows)| !rows.is_empty())
        {
            let ids: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
            let pictures = network.floats(data, &ids);
            let restored = network.inference.reconstruct(&pictures)?;
            let caption = |row: usize| {
                let error = errors.get(row).map(|&error| short(error)).unwrap_or_default();
                label(data.labels.as_ref(), row).map_or(error.clone(), |label| format!("{error}  {label}"))
            };
            let len = data.sample_len();
            let above = pictures.chunks_exact(len).zip(rows).map(|(values, &row)| cell(values, Some(caption(row))));
            drawn.rows.push(above.collect::<Result<_>>()?);
            drawn.rows.push(restored.chunks_exact(len).map(|values| cell(values, None)).collect::<Result<_>>()?);
            drawn.row_titles.extend([title.to_owned(), "restored".to_owned()]);
        }
        Ok(drawn)
    }
}

/// Four digits that tell errors of all sizes apart.
fn short(error: f64) -> String {
    if error == 0.0 || (1e-3..1e3).contains(&error) { format!("{error:.4}") } else { format!("{error:.1e}") }
}

/// What is printed.
struct Found<'a> {
    data: &'a Dataset,
    errors: &'a [f64],
    anomalous: Option<&'a [bool]>,
    area: Option<f64>,
    ranked: Ranked,
    csv: PathBuf,
    sheet: PathBuf,
}

impl Found<'_> {
    fn mean(&self, wanted: Option<bool>) -> Option<f64> {
        let is_wanted =
            |row: usize| wanted.is_none_or(|wanted| self.anomalous.and_then(|marks| marks.get(row)) == Some(&wanted));
        let chosen: Vec<f64> =
            self.errors.iter().enumerate().filter(|&(row, _)| is_wanted(row)).map(|(_, &error)| error).collect();
        (!chosen.is_empty()).then(|| chosen.iter().sum::<f64>() / chosen.len() as f64)
    }

    fn marked(&self) -> Option<usize> {
        self.anomalous.map(|marks| marks.iter().filter(|&&mark| mark).count())
    }

    fn json(&self) -> Value {
        let Self { data, errors, .. } = self;
        let pictures = |rows: &[usize]| -> Vec<Value> {
            let picture = |&row: &usize| {
                json!({
                    "index": row,
                    "name": data.names.get(row),
                    "mse": errors.get(row),
                    "label": label(data.labels.as_ref(), row),
                })
            };
            rows.iter().map(picture).collect()
        };
        json!({
            "count": errors.len(),
            "mse": self.mean(None),
            "auroc": self.area,
            "anomalous": self.marked(),
            "normal_mse": self.anomalous.and_then(|_| self.mean(Some(false))),
            "anomalous_mse": self.anomalous.and_then(|_| self.mean(Some(true))),
            "worst": pictures(&self.ranked.worst),
            "best": pictures(&self.ranked.best),
            "csv": self.csv.display().to_string(),
            "sheet": self.sheet.display().to_string(),
        })
    }

    fn text(&self) -> String {
        let all = self.errors.len();
        let mut text = format!("MSE        {:.6} ({})\n", self.mean(None).unwrap_or(f64::NAN), count(all, "picture"));
        // Writing to a String cannot fail.
        if let Some(marked) = self.marked() {
            for (name, wanted, number) in [("normal", false, all - marked), ("anomalous", true, marked)] {
                let mean = self.mean(Some(wanted)).map_or("-".to_owned(), |mean| format!("{mean:.6}"));
                let _ = writeln!(text, "{name:<10} {mean} ({})", count(number, "picture"));
            }
            let area = self.area.map_or("none: all pictures are of one kind".to_owned(), |area| format!("{area:.4}"));
            let _ = writeln!(text, "AUROC      {area}");
        } else if self.data.labels.is_some() {
            text.push_str("AUROC      name the normal labels with --normal\n");
        }
        for &row in &self.ranked.worst {
            let name = self.data.names.get(row).map(String::as_str).unwrap_or_default();
            let label = label(self.data.labels.as_ref(), row).map(|label| format!("  {label}")).unwrap_or_default();
            let error = self.errors.get(row).copied().unwrap_or(f64::NAN);
            let _ = writeln!(text, "  {error:.6}  {}{label}", place(row, name));
        }
        let _ = write!(text, "all        {}\nsheet      {}", path(&self.csv), path(&self.sheet));
        text
    }
}

/// `#INDEX`, and the name where that is another.
fn place(row: usize, name: &str) -> String {
    let index = format!("#{row}");
    if name == index || name.is_empty() { index } else { format!("{index} {name}") }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_share_no_picture() {
        let errors = [0.3, 0.1, 0.3, 0.2, 0.0];
        let ends = |count| {
            let Ranked { worst, best } = Ranked::of(&errors, count);
            (worst, best)
        };
        assert_eq!(ends(2), (vec![0, 2], vec![4, 1]));
        assert_eq!(ends(3), (vec![0, 2, 3], vec![4, 1]));
        assert_eq!(ends(9), (vec![0, 2, 3, 1, 4], vec![]));
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("a b.png"), "a b.png");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!((short(0.01234), short(1.2e-5), short(0.0)), ("0.0123".into(), "1.2e-5".into(), "0.0000".into()));
    }
}
