//! Runs side by side: what differs in their settings, what they came to, their curves and their sheets.

use super::run_record::figure;
use super::{Block, Curve, Figure, Page, Plot, RunRecord, RunSummary, Table};
use crate::error::{Error, Result};
use crate::model::Summary;
use std::collections::{BTreeMap, BTreeSet};
use toml::Value;

/// A page that sets `runs` side by side, in their order.
///
/// # Errors
/// Fewer than two runs, or a preset whose layers do not fit.
pub fn compare(runs: &[RunRecord]) -> Result<Page> {
    if runs.len() < 2 {
        return Err(Error::setting("RUN", "name at least two runs to compare"));
    }
    let names = names(runs);
    let mut blocks = vec![Block::Comparison(results(runs, &names)?)];
    let settings = settings(runs, &names)?;
    blocks.push(match settings.rows.is_empty() {
        true => Block::Facts(vec![("settings".to_owned(), "all the same".to_owned())]),
        false => Block::Comparison(settings),
    });
    blocks.extend(curves(runs, &names)?.map(Block::Figure));
    blocks.extend(sheets(runs, &names));
    Ok(Page { title: format!("degrain: {} runs", runs.len()), blocks })
}

/// The names of the runs' folders, each with as many of the folders above it as tell it from the others.
fn names(runs: &[RunRecord]) -> Vec<String> {
    let parts = |run: &RunRecord| -> Vec<String> {
        let path = std::path::absolute(&run.path).unwrap_or_else(|_| run.path.clone());
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let paths: Vec<Vec<String>> = runs.iter().map(parts).collect();
    let tail =
        |path: &Vec<String>, count: usize| path.get(path.len().saturating_sub(count)..).unwrap_or_default().join("/");
    let name = |path: &Vec<String>| {
        let others = || paths.iter().filter(|other| *other != path);
        let is_own = |&count: &usize| others().all(|other| tail(other, count) != tail(path, count));
        tail(path, (1..=path.len()).find(is_own).unwrap_or(1))
    };
    paths.iter().map(name).collect()
}

fn header(first: &str, names: &[String]) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(names.iter().cloned()).collect()
}

/// What each run came to.
fn results(runs: &[RunRecord], names: &[String]) -> Result<Table> {
    type Cell = fn(&RunSummary) -> Option<String>;
    type Number = fn(&RunRecord) -> Option<f64>;
    let six = |value: Option<f64>| value.map(|value| format!("{value:.6}"));
    let cells: [(&str, Cell); 14] = [
        ("preset", |run| Some(run.preset.clone())),
        ("device", |run| Some(run.device.clone())),
        ("training", |run| Some(run.ending())),
        ("epochs", |run| Some(run.epochs.to_string())),
        ("steps", |run| Some(run.steps.to_string())),
        ("best epoch", |run| run.best_epoch.map(|epoch| epoch.to_string())),
        ("PSNR, dB", |run| run.test.and_then(|test| test.psnr).map(|psnr| format!("{psnr:.2}"))),
        ("SSIM", |run| run.test.and_then(|test| test.ssim).map(|ssim| format!("{ssim:.4}"))),
        ("noise", |run| Some(run.noise.clone())),
        ("pictures trained", |run| Some(run.train_pictures.to_string())),
        ("pictures held out", |run| Some(run.held_out_pictures.to_string())),
        ("images/s", |run| (run.images_per_second > 0.0).then(|| format!("{:.0}", run.images_per_second))),
        ("first step, s", |run| run.seconds_to_first_step.map(|seconds| format!("{seconds:.2}"))),
        ("device memory", |run| Some(run.memory_text())),
    ];
    let losses: [(&str, Number); 4] = [
        ("test MSE", |run| run.summary.as_ref()?.test.map(|test| test.mse)),
        ("exact PCA", |run| run.summary.as_ref()?.pca_mse),
        ("train loss", |run| run.epochs.last().map(|row| row.train_loss)),
        ("validation loss", |run| run.epochs.last()?.val_loss),
    ];
    let row = |name: &str, of: &dyn Fn(&RunRecord) -> Option<String>| -> Vec<String> {
        std::iter::once(name.to_owned()).chain(runs.iter().map(|run| of(run).unwrap_or_default())).collect()
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, cell) in cells {
        rows.push(row(name, &|run| run.summary.as_ref().and_then(cell)));
        if name == "best epoch" {
            rows.extend(losses.iter().map(|(name, of)| row(name, &|run| six(of(run)))));
        }
    }
    let parameters: Vec<usize> =
        runs.iter().map(|run| Ok(Summary::of(&run.preset)?.total_params)).collect::<Result<_>>()?;
    rows.push(std::iter::once("parameters".to_owned()).chain(parameters.iter().map(usize::to_string)).collect());
    rows.retain(|row| row.iter().skip(1).any(|cell| !cell.is_empty()));
    Ok(Table { title: "Results".to_owned(), header: header("", names), rows })
}

/// The settings that are not the same in all runs.
fn settings(runs: &[RunRecord], names: &[String]) -> Result<Table> {
    let flat: Vec<BTreeMap<String, String>> = runs.iter().map(flat_settings).collect::<Result<_>>()?;
    let keys: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let values =
        |key: &String| flat.iter().map(|settings| settings.get(key).cloned().unwrap_or_default()).collect::<Vec<_>>();
    let rows = keys.into_iter().map(|key| (key, values(key)));
    let differ = |values: &[String]| values.windows(2).any(|pair| pair.first() != pair.last());
    let rows = rows.filter(|(key, values)| *key != "description" && differ(values));
    let rows = rows.map(|(key, values)| std::iter::once(key.clone()).chain(values).collect()).collect();
    Ok(Table { title: "Settings that differ".to_owned(), header: header("", names), rows })
}

/// Every setting of a run by its key, `train.lr`; the layers of a side are one line.
fn flat_settings(run: &RunRecord) -> Result<BTreeMap<String, String>> {
    let failed = |error: String| Error::file(&run.path, format!("has settings that cannot be listed: {error}"));
    let value = Value::try_from(&run.preset).map_err(|error| failed(error.to_string()))?;
    let mut flat = BTreeMap::new();
    flatten(String::new(), &value, &mut flat);
    Ok(flat)
}

fn flatten(key: String, value: &Value, flat: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, value, flat);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            flat.insert(key, items.iter().map(layer).collect::<Vec<_>>().join(", "));
        }
        Value::String(text) => drop(flat.insert(key, text.clone())),
        other => drop(flat.insert(key, other.to_string())),
    }
}

/// `conv2d 16 3 same relu`: the kind of a layer and its settings' values.
fn layer(value: &Value) -> String {
    let Value::Table(table) = value else { return value.to_string() };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let kind = table.get("layer").map(text);
    let others = table.iter().filter(|(name, _)| *name != "layer").map(|(_, value)| text(value));
    kind.into_iter().chain(others).collect::<Vec<_>>().join(" ")
}

/// All validation losses over the epochs; of a run that holds nothing out the training loss. None without any epoch.
fn curves(runs: &[RunRecord], names: &[String]) -> Result<Option<Figure>> {
    let curve = |(run, name): (&RunRecord, &String)| {
        let has_validation = run.epochs.iter().any(|row| row.val_loss.is_some());
        let loss = |row: &crate::train::EpochRow| {
            if has_validation { row.val_loss.unwrap_or(f64::NAN) } else { row.train_loss }
        };
        let label = if has_validation { name.clone() } else { format!("{name} (training)") };
        Curve { label, points: run.epochs.iter().map(|row| (row.epoch as f64, loss(row))).collect() }
    };
    let curves: Vec<Curve> = runs.iter().zip(names).map(curve).filter(|curve| !curve.points.is_empty()).collect();
    if curves.is_empty() {
        return Ok(None);
    }
    let plot = Plot {
        title: "Validation loss".to_owned(),
        x_label: "epoch".to_owned(),
        y_label: "loss".to_owned(),
        curves,
        baseline: None,
        log_x: false,
    };
    let measured = |run: &RunRecord| (run.preset.train.loss, run.preset.train.inference_noise().to_string());
    let alike = runs.windows(2).all(|pair| pair.first().map(measured) == pair.last().map(measured));
    let caption = if alike { "" } else { ": the runs have another loss or noise, so their levels do not compare" };
    figure(format!("The validation loss of each run{caption}"), &plot).map(Some)
}

/// Each sheet that at least one run has, of all runs that have it.
fn sheets(runs: &[RunRecord], names: &[String]) -> Vec<Block> {
    let mut kinds: Vec<&String> = Vec::new();
    for (kind, _) in runs.iter().flat_map(|run| &run.pictures) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let block = |kind: &String| {
        let of = |(run, name): (&RunRecord, &String)| {
            let (_, png) = run.pictures.iter().find(|(picture, _)| picture == kind)?;
            Some(Figure { caption: format!("{name}: {}", run.caption(kind)), png: png.clone(), narrow: None })
        };
        let title = kind.trim_end_matches(".png").replace('_', " ");
        Block::Beside(title, runs.iter().zip(names).filter_map(of).collect())
    };
    kinds.into_iter().map(block).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn run(path: &str, change: &str) -> RunRecord {
        let folder = tempfile::tempdir().unwrap();
        let mut preset = crate::model::Preset::load("vae").unwrap();
        preset.set(change).unwrap();
        std::fs::write(folder.path().join("config.toml"), preset.to_toml().unwrap()).unwrap();
        let mut record = RunRecord::read(folder.path()).unwrap();
        record.path = PathBuf::from(path);
        record
    }

    #[test]
    fn runs_are_named_as_shortly_as_tells_them_apart() {
        let runs = |paths: &[&str]| names(&paths.iter().map(|path| run(path, "train.seed=1")).collect::<Vec<_>>());
        assert_eq!(runs(&["/runs/a", "/runs/b"]), ["a", "b"]);
        assert_eq!(runs(&["/x/one/a", "/x/two/a", "/x/b"]), ["one/a", "two/a", "b"]);
        assert_eq!(runs(&["/x/a", "/x/a"]), ["a", "a"]);
    }

    #[test]
    fn only_settings_that_differ_are_listed() {
        let runs = [run("/a", "train.lr=0.5"), run("/b", "model.code=8"), run("/c", "model.code=8")];
        let table = settings(&runs, &names(&runs)).unwrap();
        let keys: Vec<&str> = table.rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(keys, ["model.code", "train.lr"]);
        assert_eq!(table.rows[0][1..], ["16", "8", "8"]);
        let html = compare(&runs).unwrap().render();
        assert!(html.contains("Settings that differ") && html.contains("parameters") && !html.contains("<figure>"));
        let same = [run("/a", "train.seed=1"), run("/b", "train.seed=1")];
        assert!(compare(&same).unwrap().render().contains("all the same"));
        assert!(compare(&same[..1]).is_err());
    }

    #[test]
    fn layers_are_told_in_a_line() {
        let record = run("/a", "train.seed=1");
        let flat = flat_settings(&record).unwrap();
        let encoder = flat.get("model.encoder").unwrap();
        assert!(encoder.contains("dense") && !encoder.contains('{'), "{encoder}");
    }
}
