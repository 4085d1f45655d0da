//! `degrain search`: the pictures of a data set whose codes are the nearest to that of a picture.

use super::console::{Console, count};
use super::neighbours::{Answer, Measured, Pictures, Purity, Shown};
use super::network::{DataFlags, Network, Picture};
use super::run::RunFlags;
use super::train_flags::parse_bytes;
use clap::{Args, ValueEnum};
use degrain::data::Dataset;
use degrain::latent::search::{self, ExactSearch, HnswIndex, HnswSettings, Limits, Metric, Origin};
use degrain::latent::{CodeFiles, CodeSource, Codes};
use degrain::session::Session;
use degrain::{Error, Result};
use std::path::PathBuf;
use std::time::Instant;

/// Codes of the data whose neighbours are looked up for the recall of an index.
const RECALL_QUERIES: usize = 200;
/// Of them, those that are looked up one by one for the time that takes.
const TIMED_QUERIES: usize = 20;
/// Codes of the data whose neighbours are looked up for purity.
const PURITY_QUERIES: usize = 2000;
/// Least memory that a search may be held to.
const MIN_DEVICE_MEMORY: u64 = 1 << 20;

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
    /// The data's codes as `degrain encode` wrote them, in place of encoding it: a file, or by one of them, the name without
    /// I-of-N or the folder all shards of a set
    #[arg(long, value_name = "CODES.npy|FOLDER")]
    codes: Option<PathBuf>,
    /// Search --codes alone: the pictures are not read, so that there are no labels, and #INDEX is a code
    #[arg(long, requires = "codes", conflicts_with_all = ["data", "labels", "attribute", "limit", "sheet", "purity"])]
    no_data: bool,
    /// With --no-data: the names of the pictures, as `degrain encode --names` wrote them, in one file or in shards
    #[arg(long, value_name = "NAMES.txt", requires = "no_data")]
    names: Option<PathBuf>,
    /// Most memory on the device, such as 512M or 4G; codes that do not fit stream to it [default: 1G, or half of what it has]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    device_memory: Option<u64>,
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

/// The codes that are searched.
enum Searched {
    Memory(Codes),
    Files(CodeFiles),
}

impl Searched {
    fn source(&self) -> &dyn CodeSource {
        match self {
            Self::Memory(codes) => codes,
            Self::Files(codes) => codes,
        }
    }

    /// All of them in memory, as a graph needs them.
    fn into_memory(self) -> Result<Codes> {
        match self {
            Self::Memory(codes) => Ok(codes),
            Self::Files(codes) => codes.load(),
        }
    }
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    check(flags)?;
    let mut network = Network::open(&flags.run, device, console)?;
    let data = if flags.no_data { None } else { Some(flags.data.load(&mut network.preset, console)?) };
    if flags.purity && data.as_ref().is_none_or(|data| data.labels.is_none()) {
        return Err(Error::setting("--purity", "needs labels: name them by --labels, or pictures in folders by label"));
    }
    // Before the codes, which take time: a query may not be there.
    let read = |query: &Picture| match (query, &data) {
        (Picture::Index(_), None) => Ok(Vec::new()),
        _ => query.read(&network.preset, data.as_ref(), console),
    };
    let pictures: Vec<Vec<f32>> = flags.query.iter().map(read).collect::<Result<_>>()?;
    let searched = codes(flags, &mut network, data.as_ref(), console)?;
    let queries = query_codes(flags, &mut network, searched.source(), &pictures)?;
    let Network { preset, inference } = network;
    let mut session = inference.into_session();
    session.clear()?;
    let (metric, seed) = (metric(flags.metric), preset.train.seed);
    let limits = flags.device_memory.map_or_else(|| Limits::of(&session), Limits::within);
    let (mut measured, mut purity) = (None, None);
    let searched = match flags.index {
        Index::Exact => searched,
        Index::Hnsw => Searched::Memory(searched.into_memory()?),
    };
    let mut exact = ExactSearch::with_limits(session, searched.source(), metric, limits)?;
    if exact.parts() > 1 {
        let codes = count(exact.codes().len(), "code");
        console.note(format_args!("{codes} go through the device in {} parts", exact.parts()));
    }
    let found = match &searched {
        Searched::Memory(codes) if flags.index == Index::Hnsw => {
            let index = open_index(flags, codes, console)?;
            measured = Some(measure(&index, &mut exact, flags.k, seed)?);
            index.nearest(&queries, flags.k)?
        }
        _ => exact.nearest(&queries, flags.k)?,
    };
    if let (true, Some(data)) = (flags.purity, &data) {
        let rows = search::sample(data.len(), PURITY_QUERIES, seed);
        purity = purity_of(exact, data, &rows, flags, limits)?;
    }
    let answers = flags.query.iter().zip(pictures).zip(found);
    let answers: Vec<Answer<'_>> =
        answers.map(|((query, picture), neighbours)| Answer { query, picture, neighbours }).collect();
    let pictures = match data {
        Some(data) => Pictures::Read(Box::new(data)),
        None => Pictures::named(flags.names.as_deref(), searched.source().len(), &answers)?,
    };
    let sheet = flags.sheet.as_deref();
    let shown = Shown { answers: &answers, pictures: &pictures, metric, k: flags.k, measured, purity, sheet };
    if let Some(path) = sheet {
        shown.draw(preset.data.offset as f32)?.write_png(path)?;
    }
    console.result(&shown.object(), shown.text())
}

fn check(flags: &Flags) -> Result<()> {
    if flags.k == 0 {
        return Err(Error::setting("-k", "must be at least 1"));
    }
    if flags.device_memory.is_some_and(|bytes| bytes < MIN_DEVICE_MEMORY) {
        return Err(Error::setting("--device-memory", "must be at least 1M"));
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

/// The codes of the data: from `--codes`, which must be of it and of this network, or else by the network.
fn codes(flags: &Flags, network: &mut Network, data: Option<&Dataset>, console: &Console) -> Result<Searched> {
    let path = match (&flags.codes, data) {
        (None, Some(data)) => return network.codes(data, console).map(Searched::Memory),
        (None, None) => return Err(Error::setting("--no-data", "needs --codes")),
        (Some(path), _) => path,
    };
    let codes = CodeFiles::open(path)?;
    let dim = network.inference.code_len();
    let got = || format!("holds {} of {} values", count(codes.len(), "code"), codes.dim());
    let network_has = format!("this network's codes {dim} values");
    match data {
        Some(data) if (codes.len(), codes.dim()) != (data.len(), dim) => {
            let pictures = count(data.len(), "picture");
            Err(Error::file(path, format!("{}, but the data has {pictures} and {network_has}", got())))
        }
        None if codes.dim() != dim => Err(Error::file(path, format!("{}, but {network_has}", got()))),
        _ => Ok(Searched::Files(codes)),
    }
}

/// A code for each query: that of the data, or of its picture.
fn query_codes(
    flags: &Flags,
    network: &mut Network,
    codes: &dyn CodeSource,
    pictures: &[Vec<f32>],
) -> Result<Vec<f32>> {
    let mut queries = Vec::with_capacity(flags.query.len() * codes.dim());
    for (query, picture) in flags.query.iter().zip(pictures) {
        match query {
            Picture::Index(index) if *index < codes.len() => {
                queries.extend_from_slice(&codes.rows(*index..index + 1)?);
            }
            Picture::Index(_) => {
                let problem = format!("there is no such code: there are {}, counted from #0", codes.len());
                return Err(Error::setting(query.to_string(), problem));
            }
            Picture::File(_) => queries.extend(network.inference.encode(picture)?),
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
    let queries = rows.iter().take(TIMED_QUERIES).map(|&row| codes.rows(row..row + 1));
    let queries: Vec<_> = queries.collect::<Result<_>>()?;
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

/// Purity of the codes that `exact` searches, and of the pixels of the same pictures on the same device; none without labels.
fn purity_of(
    exact: ExactSearch<'_>,
    data: &Dataset,
    rows: &[usize],
    flags: &Flags,
    limits: Limits,
) -> Result<Option<Purity>> {
    let Some(labels) = &data.labels else { return Ok(None) };
    let mut exact = exact;
    let codes = search::purity(&mut exact, &labels.ids, rows, flags.k)?;
    let session: Session = exact.into_session()?;
    let all: Vec<u32> = (0..data.len() as u32).collect();
    let pixels = Codes::new(data.floats(&all, 0.0), data.sample_len())?;
    let mut exact = ExactSearch::with_limits(session, &pixels, metric(flags.metric), limits)?;
    let pixels = search::purity(&mut exact, &labels.ids, rows, flags.k)?;
    Ok(Some(Purity { codes, pixels, queries: rows.len() }))
}
