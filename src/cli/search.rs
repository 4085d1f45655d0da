//! `degrain search`: the pictures of a data set whose codes are the nearest to that of a picture.

use super::console::{Console, count};
use super::network::{DataFlags, Network, Picture};
use super::run::RunFlags;
use clap::{Args, ValueEnum};
use degrain::data::Dataset;
use degrain::latent::Codes;
use degrain::latent::search::{self, ExactSearch, HnswIndex, HnswSettings, Metric, Neighbour, Origin};
use degrain::report::{Cell, Sheet, sheet};
use degrain::session::Session;
use degrain::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Codes of the data whose neighbours are looked up for the recall of an index.
const RECALL_QUERIES: usize = 200;
/// Of them, those that are looked up one by one for the time that takes.
const TIMED_QUERIES: usize = 20;
/// Codes of the data whose neighbours are looked up for purity.
const PURITY_QUERIES: usize = 2000;
/// A picture of a sheet is enlarged to about this many pixels a side.
const CELL_SIDE: usize = 96;

/// Flags of `degrain search`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    data: DataFlags,
    /// What to look for: a picture file, or #INDEX of the data, counted from 0; may be repeated
    #[arg(long, value_name = "FILE|#INDEX", required_unless_present = "purity")]
    query: Vec<Picture>,
    /// Neighbours of each query
    #[arg(short, value_name = "K", default_value_t = 10)]
    k: usize,
    /// How to search; hnsw keeps its index in the run's folder and prints its recall
    #[arg(long, value_enum, default_value = "exact")]
    index: Index,
    /// The distance between codes
    #[arg(long, value_enum, default_value = "euclidean")]
    metric: MetricName,
    /// The data's codes as `degrain encode` wrote them, in place of encoding it
    #[arg(long, value_name = "CODES.npy")]
    codes: Option<PathBuf>,
    /// Draw the queries and their neighbours
    #[arg(long, value_name = "S.png")]
    sheet: Option<PathBuf>,
    /// Print purity@K, the share of neighbours with a picture's own label, of codes and of raw pixels
    #[arg(long)]
    purity: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Index {
    /// Looks at all codes
    Exact,
    /// A graph that finds nearly all neighbours in a fraction of the time
    Hnsw,
}

#[derive(Clone, Copy, ValueEnum)]
enum MetricName {
    /// Length of the difference
    Euclidean,
    /// 1 - cos of the angle
    Cosine,
}

/// A query, and what was found.
struct Answer<'a> {
    query: &'a Picture,
    /// (H, W, C), as the network takes it.
    picture: Vec<f32>,
    neighbours: Vec<Neighbour>,
}

/// What an approximate index was measured to be.
struct Measured {
    recall: f64,
    queries: usize,
    /// Microseconds of a lone query.
    hnsw_us: f64,
    exact_us: f64,
}

/// Purity of codes and of pixels.
struct Purity {
    codes: f64,
    pixels: f64,
    queries: usize,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    check(flags)?;
    let mut network = Network::open(&flags.run, device, console)?;
    let data = flags.data.load(&mut network.preset, console)?;
    if flags.purity && data.labels.is_none() {
        return Err(Error::setting("--purity", "needs labels: name them by --labels, or pictures in folders by label"));
    }
    // Before the codes, which take time: a query may not be there.
    let read = |query: &Picture| query.read(&network.preset, Some(&data), console);
    let pictures: Vec<Vec<f32>> = flags.query.iter().map(read).collect::<Result<_>>()?;
    let codes = codes(flags, &mut network, &data, console)?;
    let queries = query_codes(flags, &mut network, &codes, &pictures)?;
    let Network { preset, inference } = network;
    let mut session = inference.into_session();
    session.clear()?;
    let metric = metric(flags.metric);
    let mut exact = ExactSearch::new(session, &codes, metric)?;
    let (found, measured) = match flags.index {
        Index::Exact => (exact.nearest(&queries, flags.k)?, None),
        Index::Hnsw => {
            let index = open_index(flags, &codes, console)?;
            let measured = measure(&index, &mut exact, flags.k, preset.train.seed)?;
            (index.nearest(&queries, flags.k)?, Some(measured))
        }
    };
    let purity = match (&data.labels, flags.purity) {
        (Some(labels), true) => {
            let rows = search::sample(data.len(), PURITY_QUERIES, preset.train.seed);
            Some(purity(exact, &labels.ids, &data, &rows, flags)?)
        }
        _ => None,
    };
    let answers = flags.query.iter().zip(pictures).zip(found);
    let answers: Vec<Answer<'_>> =
        answers.map(|((query, picture), neighbours)| Answer { query, picture, neighbours }).collect();
    if let Some(path) = &flags.sheet {
        draw(&answers, &data, preset.data.offset as f32)?.write_png(path)?;
    }
    let object = object(flags, &answers, &data, measured.as_ref(), purity.as_ref());
    console.result(&object, text(flags, &answers, &data, measured.as_ref(), purity.as_ref()))
}

fn check(flags: &Flags) -> Result<()> {
    if flags.k == 0 {
        return Err(Error::setting("-k", "must be at least 1"));
    }
    match &flags.sheet {
        Some(path) if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) => {
            Err(Error::file(path, "sheets are written as PNG: choose a name such as neighbours.png"))
        }
        Some(path) if flags.query.is_empty() => Err(Error::file(path, "there is nothing to draw without --query")),
        _ => Ok(()),
    }
}

fn metric(name: MetricName) -> Metric {
    match name {
        MetricName::Euclidean => Metric::Euclidean,
        MetricName::Cosine => Metric::Cosine,
    }
}

/// The codes of the data: from `--codes`, which must be of it, or else by the network.
fn codes(flags: &Flags, network: &mut Network, data: &Dataset, console: &Console) -> Result<Codes> {
    let Some(path) = &flags.codes else { return network.codes(data, console) };
    let codes = Codes::read(path)?;
    let (len, dim) = (data.len(), network.inference.code_len());
    if (codes.len(), codes.dim()) != (len, dim) {
        let got = format!("holds {} of {} values", count(codes.len(), "code"), codes.dim());
        let problem =
            format!("{got}, but the data has {} and this network's codes {dim} values", count(len, "picture"));
        return Err(Error::file(path, problem));
    }
    Ok(codes)
}

/// A code for each query: that of the data, or of its picture.
fn query_codes(flags: &Flags, network: &mut Network, codes: &Codes, pictures: &[Vec<f32>]) -> Result<Vec<f32>> {
    let mut queries = Vec::with_capacity(flags.query.len() * codes.dim());
    for (query, picture) in flags.query.iter().zip(pictures) {
        match query {
            Picture::Index(index) if codes.get(*index).is_some() => {
                queries.extend(codes.get(*index).into_iter().flatten());
            }
            _ => queries.extend(network.inference.encode(picture)?),
        }
    }
    Ok(queries)
}

fn open_index<'a>(flags: &Flags, codes: &'a Codes, console: &Console) -> Result<HnswIndex<'a>> {
    let default = HnswSettings::default();
    // More candidates than neighbours, so that some may be missed; a power of two, so that few values of k have a file.
    let wanted = flags.k.saturating_mul(2);
    let ef_search = match wanted <= default.ef_search {
        true => default.ef_search,
        false => wanted.checked_next_power_of_two().unwrap_or(wanted),
    };
    let settings = HnswSettings { ef_search, ..default };
    let started = Instant::now();
    let (index, origin) = HnswIndex::open_or_build(&flags.run.run, codes, metric(flags.metric), settings)?;
    let seconds = started.elapsed().as_secs_f64();
    match origin {
        Origin::Read(path) => console.note(format_args!("index from {} in {seconds:.1} s", path.display())),
        Origin::Built(path) => {
            let codes = count(codes.len(), "code");
            console.note(format_args!("index of {codes} built in {seconds:.1} s -> {}", path.display()));
        }
    }
    Ok(index)
}

fn measure(index: &HnswIndex<'_>, exact: &mut ExactSearch<'_>, k: usize, seed: u64) -> Result<Measured> {
    let rows = search::sample(exact.codes().len(), RECALL_QUERIES, seed);
    let recall = search::recall_of(index, exact, &rows, k)?;
    let codes = exact.codes();
    let mut seconds = [0.0; 2];
    let queries: Vec<&[f32]> = rows.iter().take(TIMED_QUERIES).filter_map(|&row| codes.get(row)).collect();
    for query in &queries {
        let started = Instant::now();
        index.nearest(query, k)?;
        seconds[0] += started.elapsed().as_secs_f64();
    }
    // Once before the clock runs: kernels are compiled and codes copied.
    queries.first().map(|query| exact.nearest(query, k)).transpose()?;
    for query in &queries {
        let started = Instant::now();
        exact.nearest(query, k)?;
        seconds[1] += started.elapsed().as_secs_f64();
    }
    let [hnsw_us, exact_us] = seconds.map(|seconds| 1e6 * seconds / queries.len().max(1) as f64);
    Ok(Measured { recall, queries: rows.len(), hnsw_us, exact_us })
}

/// Purity of the codes that `exact` searches, and of the pixels of the same pictures on the same device.
fn purity(exact: ExactSearch<'_>, labels: &[u32], data: &Dataset, rows: &[usize], flags: &Flags) -> Result<Purity> {
    let mut exact = exact;
    let codes = search::purity(&mut exact, labels, rows, flags.k)?;
    let session: Session = exact.into_session()?;
    let all: Vec<u32> = (0..data.len() as u32).collect();
    let pixels = Codes::new(data.floats(&all, 0.0), data.sample_len())?;
    let mut exact = ExactSearch::new(session, &pixels, metric(flags.metric))?;
    let pixels = search::purity(&mut exact, labels, rows, flags.k)?;
    Ok(Purity { codes, pixels, queries: rows.len() })
}

/// The name of picture `index` inside its folder or archive; none in arrays.
fn path_of(data: &Dataset, index: usize) -> Option<&str> {
    data.names.get(index).map(String::as_str).filter(|name| !name.starts_with('#'))
}

fn label_of(data: &Dataset, index: usize) -> Option<&str> {
    data.labels.as_ref().and_then(|labels| labels.name(index))
}

/// What the labels of the neighbours say, that of the query itself aside: the label, its votes, and all of them.
fn vote<'d>(answer: &Answer<'_>, data: &'d Dataset) -> Option<(&'d str, usize, usize)> {
    let labels = data.labels.as_ref()?;
    let itself = |near: &&Neighbour| matches!(answer.query, Picture::Index(index) if *index == near.index);
    let others: Vec<Neighbour> = answer.neighbours.iter().filter(|near| !itself(near)).copied().collect();
    let vote = search::vote(&others, &labels.ids)?;
    Some((labels.names.get(vote.label as usize)?, vote.votes, vote.of))
}

fn draw(answers: &[Answer<'_>], data: &Dataset, low: f32) -> Result<Sheet> {
    let cell = |values: &[f32], caption: String| -> Result<Cell> {
        let image = sheet::picture(values, data.shape, (low, low + 1.0))?;
        Ok(Cell { image, caption: Some(caption) })
    };
    let captioned = |first: String, label: Option<&str>| match label {
        Some(label) => format!("{first} {label}"),
        None => first,
    };
    let row = |answer: &Answer<'_>| -> Result<Vec<Cell>> {
        let label = match answer.query {
            Picture::Index(index) => label_of(data, *index),
            Picture::File(_) => None,
        };
        let name = match answer.query {
            Picture::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            query => query.to_string(),
        };
        let query = cell(&answer.picture, captioned(name, label))?;
        let neighbours = answer.neighbours.iter().map(|near| {
            let values = data.floats(&[near.index as u32], low);
            cell(&values, captioned(format!("{:.4}", near.distance), label_of(data, near.index)))
        });
        std::iter::once(Ok(query)).chain(neighbours).collect()
    };
    let most = answers.iter().map(|answer| answer.neighbours.len()).max().unwrap_or(0);
    Ok(Sheet {
        column_titles: std::iter::once("query".to_owned()).chain((1..=most).map(|i| i.to_string())).collect(),
        row_titles: Vec::new(),
        rows: answers.iter().map(row).collect::<Result<_>>()?,
        scale: (CELL_SIDE / data.shape[0].max(data.shape[1]).max(1)).max(1) as u32,
    })
}

fn object(
    flags: &Flags,
    answers: &[Answer<'_>],
    data: &Dataset,
    measured: Option<&Measured>,
    purity: Option<&Purity>,
) -> Value {
    let neighbour = |near: &Neighbour| {
        let mut object = Map::new();
        object.insert("index".to_owned(), json!(near.index));
        object.insert("distance".to_owned(), json!(near.distance));
        object.extend(path_of(data, near.index).map(|path| ("path".to_owned(), json!(path))));
        object.extend(label_of(data, near.index).map(|label| ("label".to_owned(), json!(label))));
        Value::Object(object)
    };
    let list = |answer: &Answer<'_>| -> Vec<Value> { answer.neighbours.iter().map(neighbour).collect() };
    let answered = |answer: &Answer<'_>| {
        let mut object = json!({ "query": answer.query.to_string(), "neighbours": list(answer) });
        if let (Some((label, votes, of)), Some(object)) = (vote(answer, data), object.as_object_mut()) {
            object.insert("vote".to_owned(), json!({ "label": label, "votes": votes, "of": of }));
        }
        object
    };
    let mut object = json!({
        "neighbours": answers.first().map(list).unwrap_or_default(),
        "queries": answers.iter().map(answered).collect::<Vec<_>>(),
        "metric": metric(flags.metric).name(),
        "count": data.len(),
        "skipped": data.skipped,
    });
    let Some(members) = object.as_object_mut() else { return object };
    if let Some(Measured { recall, queries, hnsw_us, exact_us }) = measured {
        members.insert("recall".to_owned(), json!(recall));
        members.insert("recall_queries".to_owned(), json!(queries));
        members.insert("query_us".to_owned(), json!({ "hnsw": hnsw_us, "exact": exact_us }));
    }
    if let Some(Purity { codes, pixels, queries }) = purity {
        let purity = json!({ "k": flags.k, "codes": codes, "pixels": pixels, "queries": queries });
        members.insert("purity".to_owned(), purity);
    }
    members.extend(flags.sheet.iter().map(|path| ("sheet".to_owned(), json!(path.display().to_string()))));
    object
}

fn text(
    flags: &Flags,
    answers: &[Answer<'_>],
    data: &Dataset,
    measured: Option<&Measured>,
    purity: Option<&Purity>,
) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = |line: std::fmt::Arguments<'_>| lines.push(line.to_string().trim_end().to_owned());
    for answer in answers {
        line(format_args!("{}", answer.query));
        let width = answer.neighbours.iter().filter_map(|near| label_of(data, near.index)).map(str::len).max();
        for (rank, near) in answer.neighbours.iter().enumerate() {
            let (label, path) = (label_of(data, near.index).unwrap_or(""), path_of(data, near.index).unwrap_or(""));
            let index = format!("#{}", near.index);
            let width = width.unwrap_or(0);
            line(format_args!("{:>4}  {index:<9} {:>12.6}  {label:<width$}  {path}", rank + 1, near.distance));
        }
        if let Some((label, votes, of)) = vote(answer, data) {
            line(format_args!("      vote: {label}, {votes} of {of}"));
        }
    }
    let k = flags.k;
    if let Some(Measured { recall, queries, hnsw_us, exact_us }) = measured {
        line(format_args!("recall@{k} {recall:.4} over {}", count(*queries, "picture")));
        let times = exact_us / hnsw_us;
        line(format_args!("one query: {hnsw_us:.0} us, exactly {exact_us:.0} us ({times:.1} times as long)"));
    }
    if let Some(Purity { codes, pixels, queries }) = purity {
        let queries = count(*queries, "picture");
        line(format_args!("purity@{k} {codes:.4} of codes, {pixels:.4} of raw pixels, over {queries}"));
    }
    if let Some(path) = &flags.sheet {
        line(format_args!("sheet -> {}", path.display()));
    }
    lines.join("\n")
}
