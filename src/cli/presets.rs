//! `degrain presets`.

use super::console::Console;
use degrain::Result;
use degrain::model::{Preset, Summary};
use serde::Serialize;
use serde_json::json;

/// One preset in the list.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    description: String,
    default: bool,
    input: [usize; 3],
    code: usize,
    total_params: usize,
    loss: String,
    noise: String,
    optimizer: String,
    epochs: u64,
    batch: usize,
    source: Vec<String>,
}

pub(super) fn run(console: &Console) -> Result<()> {
    let rows = Preset::names().map(row).collect::<Result<Vec<Row>>>()?;
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|row| format!("{:<width$}  {}", row.name, row.description)).collect();
    console.result(&json!({ "presets": rows }), lines.join("\n"))
}

fn row(name: &'static str) -> Result<Row> {
    let preset = Preset::load(name)?;
    let summary = Summary::of(&preset)?;
    Ok(Row {
        name,
        default: name == Preset::DEFAULT,
        input: summary.input,
        code: summary.code,
        total_params: summary.total_params,
        loss: preset.train.loss.to_string(),
        noise: preset.train.noise.to_string(),
        optimizer: preset.train.optimizer.to_string(),
        epochs: preset.train.epochs,
        batch: preset.train.batch,
        description: preset.description,
        source: preset.data.source,
    })
}
