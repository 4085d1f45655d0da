//! `degrain devices`.

use super::console::Console;
use super::device::{CPU_NAME, Candidate, automatic, why_no_gpu};
use degrain::Result;
use degrain::gpu::{Adapter, adapters};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;

/// One device in the list.
#[derive(Serialize)]
struct Row {
    index: usize,
    name: String,
    backend: String,
    kind: &'static str,
    driver: String,
    /// None for the CPU executor, which has none.
    limits: Option<Limits>,
    features: Vec<&'static str>,
    /// Units for products in half precision; none where there are none.
    matrix_units: Option<Units>,
    /// Whether `auto` takes it.
    auto: bool,
}

/// The limits that kernels depend on.
#[derive(Serialize)]
struct Limits {
    max_invocations_per_workgroup: u32,
    workgroup_memory_bytes: u32,
    max_binding_bytes: u64,
    max_storage_buffers: u32,
}

/// Matrix units.
#[derive(Serialize)]
struct Units {
    /// Rows and columns of a matrix.
    size: u32,
}

pub(super) fn run(console: &Console) -> Result<()> {
    let adapters = adapters();
    let candidates: Vec<Candidate> = adapters.iter().map(Candidate::of).collect();
    let taken = automatic(&candidates).first().copied();
    let mut rows: Vec<Row> = adapters.iter().enumerate().map(|(index, adapter)| row(index, adapter, taken)).collect();
    rows.push(cpu_row(adapters.len(), taken.is_none()));
    let why = match taken.and_then(|index| candidates.get(index)) {
        Some(candidate) => format!("the first {} GPU", candidate.kind.name()),
        None => why_no_gpu(&candidates),
    };
    let auto = taken.unwrap_or(adapters.len());
    let text = text(&rows, &why);
    console.result(&json!({ "devices": rows, "auto": { "index": auto, "why": why } }), text)
}

fn row(index: usize, adapter: &Adapter, taken: Option<usize>) -> Row {
    let target = adapter.target();
    Row {
        index,
        name: adapter.name(),
        backend: adapter.backend(),
        kind: adapter.kind().name(),
        driver: adapter.driver(),
        limits: Some(Limits {
            max_invocations_per_workgroup: target.max_invocations,
            workgroup_memory_bytes: target.workgroup_memory_bytes,
            max_binding_bytes: target.max_binding_bytes,
            max_storage_buffers: target.max_storage_buffers,
        }),
        features: adapter.features(),
        matrix_units: adapter.matrix_units().map(|units| Units { size: units.size }),
        auto: taken == Some(index),
    }
}

fn cpu_row(index: usize, auto: bool) -> Row {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Row {
        index,
        name: CPU_NAME.to_owned(),
        backend: "cpu".to_owned(),
        kind: "cpu",
        driver: format!("degrain {}, {threads} threads", env!("CARGO_PKG_VERSION")),
        limits: None,
        features: Vec::new(),
        matrix_units: None,
        auto,
    }
}

fn text(rows: &[Row], why: &str) -> String {
    let mut text = String::new();
    for row in rows {
        let mark = if row.auto { '*' } else { ' ' };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark} {}: {} ({}, {})", row.index, row.name, row.backend, row.kind);
        let _ = writeln!(text, "     driver    {}", row.driver);
        if let Some(limits) = &row.limits {
            let _ = writeln!(
                text,
                "     limits    {} invocations and {} KiB a workgroup, {} storage buffers, bindings of {} MiB",
                limits.max_invocations_per_workgroup,
                limits.workgroup_memory_bytes >> 10,
                limits.max_storage_buffers,
                limits.max_binding_bytes >> 20
            );
            let features = if row.features.is_empty() { "none".to_owned() } else { row.features.join(", ") };
            let _ = writeln!(text, "     features  {features}");
            let units = match &row.matrix_units {
                Some(Units { size }) => format!("{size}x{size}, for --precision f16"),
                None => "none: --precision f16 would be slower than f32".to_owned(),
            };
            let _ = writeln!(text, "     matrices  {units}");
        }
    }
    let taken = rows.iter().find(|row| row.auto).map_or("nothing", |row| row.name.as_str());
    let _ = write!(text, "auto (*) takes {taken}: {why}");
    text
}
