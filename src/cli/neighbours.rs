//! What `degrain search` found, as text, as JSON and as a sheet of pictures.

use super::console::count;
use super::network::Picture;
use degrain::data::{Dataset, shard_files};
use degrain::latent::search::{self, Metric, Neighbour};
use degrain::report::{Cell, Sheet, sheet};
use degrain::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A picture of a sheet is enlarged to about this many pixels a side.
const CELL_SIDE: usize = 96;

/// A query, and what was found.
pub(super) struct Answer<'a> {
    pub(super) query: &'a Picture,
    /// (H, W, C), as the network takes it; nothing where the pictures are not read.
    pub(super) picture: Vec<f32>,
    pub(super) neighbours: Vec<Neighbour>,
}

/// What an approximate index was measured to be.
pub(super) struct Measured {
    pub(super) recall: f64,
    pub(super) queries: usize,
    /// Microseconds of a lone query.
    pub(super) hnsw_us: f64,
    pub(super) exact_us: f64,
}

/// Purity of codes and of pixels.
pub(super) struct Purity {
    pub(super) codes: f64,
    pub(super) pixels: f64,
    pub(super) queries: usize,
}

/// What is known of the pictures whose codes are searched.
pub(super) enum Pictures {
    /// All of them.
    Read(Box<Dataset>),
    /// How many there are, and the names of those that were found, where names were given.
    Named(usize, HashMap<usize, String>),
}

impl Pictures {
    /// The names of what was found, of those in the file or shards at `path`, one for each of the `wanted` codes.
    ///
    /// # Errors
    /// A file that cannot be read, or another number of names.
    pub(super) fn named(path: Option<&Path>, wanted: usize, answers: &[Answer<'_>]) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Named(wanted, HashMap::new())) };
        let found = answers.iter().flat_map(|answer| &answer.neighbours);
        let mut names: HashMap<usize, String> = found.map(|near| (near.index, String::new())).collect();
        let mut have = 0;
        for file in shard_files(path)? {
            for line in BufReader::new(File::open(&file).map_err(Error::io(&file, "read"))?).lines() {
                let line = line.map_err(Error::io(&file, "read"))?;
                if let Some(name) = names.get_mut(&have) {
                    *name = line;
                }
                have += 1;
            }
        }
        if have != wanted {
            let problem = format!("has {} for {}", count(have, "name"), count(wanted, "code"));
            return Err(Error::file(path, problem));
        }
        Ok(Self::Named(wanted, names))
    }

    fn len(&self) -> usize {
        match self {
            Self::Read(data) => data.len(),
            Self::Named(count, _) => *count,
        }
    }

    fn data(&self) -> Option<&Dataset> {
        match self {
            Self::Read(data) => Some(data),
            Self::Named(..) => None,
        }
    }

    /// The name of picture `index` inside its folder or archive; none in arrays.
    fn path(&self, index: usize) -> Option<&str> {
        let name = match self {
            Self::Read(data) => data.names.get(index),
            Self::Named(_, names) => names.get(&index),
        };
        name.map(String::as_str).filter(|name| !name.starts_with('#'))
    }

    fn label(&self, index: usize) -> Option<&str> {
        self.data()?.labels.as_ref().and_then(|labels| labels.name(index))
    }
}

/// All that there is to show of a search.
pub(super) struct Shown<'a> {
    pub(super) answers: &'a [Answer<'a>],
    pub(super) pictures: &'a Pictures,
    pub(super) metric: Metric,
    pub(super) k: usize,
    pub(super) measured: Option<Measured>,
    pub(super) purity: Option<Purity>,
    /// Where the pictures are drawn.
    pub(super) sheet: Option<&'a Path>,
}

impl Shown<'_> {
    /// What the labels of the neighbours say, that of the query itself aside: the label, its votes, and all of them.
    fn vote(&self, answer: &Answer<'_>) -> Option<(&str, usize, usize)> {
        let labels = self.pictures.data()?.labels.as_ref()?;
        let itself = |near: &&Neighbour| matches!(answer.query, Picture::Index(index) if *index == near.index);
        let others: Vec<Neighbour> = answer.neighbours.iter().filter(|near| !itself(near)).copied().collect();
        let vote = search::vote(&others, &labels.ids)?;
        Some((labels.names.get(vote.label as usize)?, vote.votes, vote.of))
    }

    /// The queries and their neighbours, whose numbers begin at `low`.
    ///
    /// # Errors
    /// Where the pictures were not read.
    pub(super) fn draw(&self, low: f32) -> Result<Sheet> {
        let Some(data) = self.pictures.data() else {
            return Err(Error::setting("--sheet", "needs the pictures"));
        };
        let answers = self.answers;
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
                Picture::Index(index) => self.pictures.label(*index),
                Picture::File(_) => None,
            };
            let name = match answer.query {
                Picture::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
                query => query.to_string(),
            };
            let query = cell(&answer.picture, captioned(name, label))?;
            let neighbours = answer.neighbours.iter().map(|near| {
                let values = data.floats(&[near.index as u32], low);
                cell(&values, captioned(format!("{:.4}", near.distance), self.pictures.label(near.index)))
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

    pub(super) fn object(&self) -> Value {
        let Self { answers, pictures, metric, k, .. } = self;
        let neighbour = |near: &Neighbour| {
            let mut object = Map::new();
            object.insert("index".to_owned(), json!(near.index));
            object.insert("distance".to_owned(), json!(near.distance));
            object.extend(pictures.path(near.index).map(|path| ("path".to_owned(), json!(path))));
            object.extend(pictures.label(near.index).map(|label| ("label".to_owned(), json!(label))));
            Value::Object(object)
        };
        let list = |answer: &Answer<'_>| -> Vec<Value> { answer.neighbours.iter().map(neighbour).collect() };
        let answered = |answer: &Answer<'_>| {
            let mut object = json!({ "query": answer.query.to_string(), "neighbours": list(answer) });
            if let (Some((label, votes, of)), Some(object)) = (self.vote(answer), object.as_object_mut()) {
                object.insert("vote".to_owned(), json!({ "label": label, "votes": votes, "of": of }));
            }
            object
        };
        let mut object = json!({
            "neighbours": answers.first().map(list).unwrap_or_default(),
            "queries": answers.iter().map(answered).collect::<Vec<_>>(),
            "metric": metric.name(),
            "count": pictures.len(),
            "skipped": pictures.data().map(|data| data.skipped.as_slice()).unwrap_or_default(),
        });
        let Some(members) = object.as_object_mut() else { return object };
        if let Some(Measured { recall, queries, hnsw_us, exact_us }) = &self.measured {
            members.insert("recall".to_owned(), json!(recall));
            members.insert("recall_queries".to_owned(), json!(queries));
            members.insert("query_us".to_owned(), json!({ "hnsw": hnsw_us, "exact": exact_us }));
        }
        if let Some(Purity { codes, pixels, queries }) = &self.purity {
            let purity = json!({ "k": k, "codes": codes, "pixels": pixels, "queries": queries });
            members.insert("purity".to_owned(), purity);
        }
        members.extend(self.sheet.iter().map(|path| ("sheet".to_owned(), json!(path.display().to_string()))));
        object
    }

    pub(super) fn text(&self) -> String {
        let Self { answers, pictures, k, .. } = self;
        let mut lines: Vec<String> = Vec::new();
        let mut line = |line: std::fmt::Arguments<'_>| lines.push(line.to_string().trim_end().to_owned());
        for answer in *answers {
            line(format_args!("{}", answer.query));
            let width = answer.neighbours.iter().filter_map(|near| pictures.label(near.index)).map(str::len).max();
            for (rank, near) in answer.neighbours.iter().enumerate() {
                let (label, path) = (pictures.label(near.index).unwrap_or(""), pictures.path(near.index).unwrap_or(""));
                let index = format!("#{}", near.index);
                let width = width.unwrap_or(0);
                line(format_args!("{:>4}  {index:<9} {:>12.6}  {label:<width$}  {path}", rank + 1, near.distance));
            }
            if let Some((label, votes, of)) = self.vote(answer) {
                line(format_args!("      vote: {label}, {votes} of {of}"));
            }
        }
        if let Some(Measured { recall, queries, hnsw_us, exact_us }) = &self.measured {
            line(format_args!("recall@{k} {recall:.4} over {}", count(*queries, "picture")));
            let times = exact_us / hnsw_us;
            line(format_args!("one query: {hnsw_us:.0} us, exactly {exact_us:.0} us ({times:.1} times as long)"));
        }
        if let Some(Purity { codes, pixels, queries }) = &self.purity {
            let queries = count(*queries, "picture");
            line(format_args!("purity@{k} {codes:.4} of codes, {pixels:.4} of raw pixels, over {queries}"));
        }
        if let Some(path) = self.sheet {
            line(format_args!("sheet -> {}", path.display()));
        }
        lines.join("\n")
    }
}
