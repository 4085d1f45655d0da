//! `degrain data`: what paths hold, before a network is trained on it.

use super::console::{Console, count};
use super::pictures::{self, BUNDLED};
use clap::Args;
use degrain::atomic_file::write_bytes;
use degrain::data::{self, CacheMode, Dataset, Labels, Skipped, Target, Values};
use degrain::report::{Cell, Sheet, encode_png, sheet};
use degrain::{Error, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Pictures that would take more bytes than this are looked at in small.
const MAX_BYTES: u64 = 256 << 20;
/// Longest side of pictures that are looked at in small.
const SMALL_SIDE: usize = 64;
/// Most classes that get a row of their own on the sheet.
const MAX_ROWS: usize = 20;
/// Pictures in a row of the sheet.
const COLUMNS: usize = 10;
/// Rows of the sheet where there are no classes.
const ROWS: usize = 8;
/// A picture is enlarged to about this many pixels a side.
const CELL_SIDE: usize = 64;
/// Most labels, sizes and skipped files that the text names.
const MAX_LISTED: usize = 20;

/// Flags of `degrain data`.
#[derive(Args)]
pub(super) struct Flags {
    /// Folders, archives (.tar, .tgz, .zip), pictures, .npy, .npz, IDX, lines of numbers or bundled:emoji|quickdraw
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Labels of the pictures: path,label (CSV), one a line, .npy, IDX, or lfw_attributes.txt
    #[arg(long, value_name = "F")]
    labels: Option<PathBuf>,
    /// Label by the sign of this attribute in the file of --labels
    #[arg(long, value_name = "NAME", requires = "labels")]
    attribute: Option<String>,
    /// Look only at the pictures with these labels, such as 0,5
    #[arg(long, value_name = "LABEL,...", value_delimiter = ',')]
    keep_labels: Vec<String>,
    /// Look only at the first N pictures of each path
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Draw a sheet of samples: by class where there are up to 20, else from all over the data
    #[arg(short, long, value_name = "SHEET.png")]
    output: Option<PathBuf>,
}

/// One class and how many samples it has.
#[derive(Serialize)]
struct Class {
    name: String,
    count: usize,
}

/// How many samples have one size.
#[derive(Serialize)]
struct Size {
    shape: [usize; 3],
    count: u64,
}

/// What one path holds.
#[derive(Serialize)]
struct Source {
    path: String,
    kind: &'static str,
    count: usize,
    /// Height, width, channels; of pictures of several sizes the most frequent ones.
    shape: [usize; 3],
    /// `u8` or `f32`.
    values: &'static str,
    /// The least and the greatest number; of pictures that are looked at in small, those of the small ones.
    range: (f32, f32),
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Class>>,
    /// Where pictures have more than one size.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sizes: Vec<Size>,
    skipped: Vec<Skipped>,
    ignored: usize,
}

/// What `data --json` prints.
#[derive(Serialize)]
struct Report {
    sources: Vec<Source>,
    /// Of all sources, after the choice by labels.
    count: usize,
    /// Of all sources; none where they differ.
    shape: Option<[usize; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Class>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<PathBuf>,
}

pub(super) fn run(flags: &Flags, console: &Console) -> Result<()> {
    if flags.limit == Some(0) {
        return Err(Error::setting("--limit", "must be at least 1"));
    }
    let (mut sources, mut parts) = (Vec::new(), Vec::new());
    for path in &flags.paths {
        let (source, data) = look(path, flags.limit, console)?;
        sources.push(source);
        parts.push(data);
    }
    let shape = sources.first().map(|first| first.shape).filter(|shape| sources.iter().all(|s| s.shape == *shape));
    let parts = join(parts, flags)?;
    if let Some(output) = &flags.output {
        let sheet = encode_png(&draw(&parts)?.draw()?)?;
        write_bytes(output, &sheet)?;
    }
    let whole = match parts.as_slice() {
        [whole] => Some(whole),
        _ => None,
    };
    let report = Report {
        count: parts.iter().map(Dataset::len).sum(),
        shape,
        labels: whole.and_then(|data| data.labels.as_ref()).map(classes),
        attributes: whole.and_then(|data| data.attributes.as_ref()).map(|attributes| attributes.names.clone()),
        output: flags.output.clone(),
        sources,
    };
    console.result(&report, text(&report))
}

/// Reads one path at the size that most of its samples have, or in small where that would be too much.
fn look(path: &str, limit: Option<usize>, console: &Console) -> Result<(Source, Dataset)> {
    let (kind, shape, sizes, mut data) = match path.strip_prefix(BUNDLED) {
        Some(name) => {
            let data = pictures::bundled(name)?;
            ("bundled", data.shape, Vec::new(), data)
        }
        None => {
            let file = PathBuf::from(path);
            let probe = data::probe(&file)?;
            let natural = probe.target();
            let count: u64 = probe.sizes.iter().map(|(_, count)| count).sum();
            let is_array = matches!(probe.kind, "npy" | "npz" | "idx" | "lines");
            let bytes = (natural.sample_len() as u64).saturating_mul(count.min(limit.map_or(u64::MAX, |n| n as u64)));
            let target = if !is_array && bytes > MAX_BYTES { small(&natural) } else { natural.clone() };
            let data = pictures::read(&file, &target, limit, &CacheMode::Off, console)?;
            (probe.kind, natural.shape(), probe.sizes, data)
        }
    };
    data.limit(limit.unwrap_or(usize::MAX));
    let several = sizes.len() > 1;
    let source = Source {
        path: path.to_owned(),
        kind,
        count: data.len(),
        shape,
        values: if matches!(data.values, Values::U8(_)) { "u8" } else { "f32" },
        range: data.range(),
        labels: data.labels.as_ref().map(classes),
        sizes: sizes.into_iter().filter(|_| several).map(|(shape, count)| Size { shape, count }).collect(),
        skipped: data.skipped.clone(),
        ignored: data.ignored,
    };
    Ok((source, data))
}

/// The same picture with its longest side cut to [`SMALL_SIDE`].
fn small(natural: &Target) -> Target {
    let longest = natural.height.max(natural.width).max(SMALL_SIDE);
    let side = |side: usize| (side * SMALL_SIDE / longest).max(1);
    Target::new(side(natural.height), side(natural.width), natural.channels)
}

/// One data set of all parts where they fit together, with the labels that the flags name; else the parts.
fn join(parts: Vec<Dataset>, flags: &Flags) -> Result<Vec<Dataset>> {
    let alike = |a: &Dataset, b: &Dataset| {
        a.shape == b.shape && matches!(a.values, Values::U8(_)) == matches!(b.values, Values::U8(_))
    };
    if !parts.windows(2).all(|pair| matches!(pair, [a, b] if alike(a, b))) {
        if flags.labels.is_some() || !flags.keep_labels.is_empty() {
            return Err(Error::setting("PATH", "paths of different sizes or number types have no labels in common"));
        }
        return Ok(parts);
    }
    let mut whole = Dataset::concat(parts)?;
    if let Some(labels) = &flags.labels {
        whole = whole.with_labels(labels)?.0;
    }
    if let Some(attribute) = &flags.attribute {
        whole.label_by_attribute(attribute)?;
    }
    if !flags.keep_labels.is_empty() {
        whole = whole.keep_labels(&flags.keep_labels)?;
    }
    Ok(vec![whole])
}

fn classes(labels: &Labels) -> Vec<Class> {
    let counts = labels.names.iter().zip(labels.counts());
    counts.map(|(name, count)| Class { name: name.clone(), count }).collect()
}

/// A row per class, or rows from all over the data.
fn draw(parts: &[Dataset]) -> Result<Sheet> {
    let (mut row_titles, mut rows) = (Vec::new(), Vec::new());
    for data in parts {
        match data.labels.as_ref().filter(|labels| labels.names.len() <= MAX_ROWS) {
            Some(labels) => {
                for (id, name) in labels.names.iter().enumerate() {
                    let of_class: Vec<usize> =
                        (0..data.len()).filter(|&i| labels.ids.get(i) == Some(&(id as u32))).collect();
                    row_titles.push(name.clone());
                    rows.push(cells(data, &spread(&of_class, COLUMNS))?);
                }
            }
            None => {
                let all: Vec<usize> = (0..data.len()).collect();
                for chosen in spread(&all, COLUMNS * ROWS).chunks(COLUMNS) {
                    rows.push(cells(data, chosen)?);
                    row_titles.push(String::new());
                }
            }
        }
    }
    let side = parts.iter().flat_map(|data| data.shape.into_iter().take(2)).max().unwrap_or(1).max(1);
    Ok(Sheet { column_titles: Vec::new(), row_titles, rows, scale: (CELL_SIDE / side).max(1) as u32 })
}

/// At most `count` of these, evenly spread.
fn spread(all: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(all.len());
    (0..count).filter_map(|i| all.get(i * all.len() / count)).copied().collect()
}

fn cells(data: &Dataset, rows: &[usize]) -> Result<Vec<Cell>> {
    let range = match data.values {
        Values::U8(_) => (0.0, 1.0),
        Values::F32(_) => match data.range() {
            (low, high) if low < high => (low.min(0.0), high.max(if low >= 0.0 { 1.0 } else { high })),
            (low, _) => (low - 0.5, low + 0.5),
        },
    };
    let mut values = vec![0.0; data.sample_len()];
    let mut cell = |row: &usize| {
        // A row of this data is always there.
        let _ = data.sample_f32(*row, 0.0, &mut values);
        sheet::picture(&values, data.shape, range).map(Cell::from)
    };
    rows.iter().map(&mut cell).collect()
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for source in &report.sources {
        let Source { path, kind, values, range: (low, high), .. } = source;
        let size = size(source.shape);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{path}: {kind}, {} of {size}, {values} from {low} to {high}",
            count(source.count, "picture")
        );
        if !source.sizes.is_empty() {
            let sizes = source.sizes.iter().map(|s| format!("{} ({})", self::size(s.shape), s.count));
            let _ = writeln!(text, "  sizes    {}", listed(sizes));
        }
        write_labels(&mut text, source.labels.as_deref());
        for Skipped { path, reason } in source.skipped.iter().take(MAX_LISTED) {
            let _ = writeln!(text, "  skipped  {path}: {reason}");
        }
        if source.skipped.len() > MAX_LISTED {
            let _ = writeln!(text, "  skipped  {} in all", source.skipped.len());
        }
        if source.ignored > 0 {
            let _ =
                writeln!(text, "  passed over {} that are no pictures by their names", count(source.ignored, "file"));
        }
    }
    let before: usize = report.sources.iter().map(|source| source.count).sum();
    if report.sources.len() > 1 || before != report.count || report.attributes.is_some() {
        let size = report.shape.map_or("different sizes".to_owned(), size);
        let _ = writeln!(text, "in all: {} of {size}", count(report.count, "picture"));
        write_labels(&mut text, report.labels.as_deref());
        if let Some(attributes) = &report.attributes {
            let _ = writeln!(text, "  attributes  {}", listed(attributes.iter().cloned()));
        }
    }
    if let Some(output) = report.output.as_deref().map(Path::display) {
        let _ = writeln!(text, "samples: {output}");
    }
    text
}

fn write_labels(text: &mut String, labels: Option<&[Class]>) {
    if let Some(labels) = labels {
        let classes = labels.iter().map(|class| format!("{} ({})", class.name, class.count));
        let _ = writeln!(text, "  labels   {}", listed(classes));
    }
}

pub(super) fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let all = items.len();
    let more = if all > MAX_LISTED { format!(", … {all} in all") } else { String::new() };
    format!("{}{more}", items.take(MAX_LISTED).collect::<Vec<_>>().join(", "))
}

fn size([height, width, channels]: [usize; 3]) -> String {
    format!("{height}x{width}x{channels}")
}
