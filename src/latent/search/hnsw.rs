//! The approximate search: a hierarchical navigable small world graph (Malkov and Yashunin, 2016), built by the
//! `instant-distance` crate and kept in a file.
//!
//! That crate keeps its graph as plain serialisable data, is small, without C, and reads no file by itself. `hnsw_rs`,
//! which is larger and more active, ends the process on a file that it cannot read and writes to standard output, which a
//! library may not do; it would also bring a logger and regular expressions.

use super::{Metric, Neighbour, Points, check_queries};
use crate::atomic_file::write_file;
use crate::cpu::nearest::squared_distance_f32;
use crate::cpu::vector::wide;
use crate::error::{Error, Result};
use crate::latent::Codes;
use instant_distance::{Builder, Hnsw, Search};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a file of an index begins with.
const MAGIC: &[u8] = b"degrain hnsw 1\n";
/// Bytes of the checksum at the end.
const CHECKSUM: usize = 4;
/// Queries below which this thread searches alone: to wake others takes as long as a search.
const FEW_QUERIES: usize = 8;

/// How a graph is built and searched; both cost time for recall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HnswSettings {
    /// Candidates that building keeps for each code.
    pub ef_construction: usize,
    /// Candidates that a search keeps; never fewer than it is asked for.
    pub ef_search: usize,
    /// Seed of the layers.
    pub seed: u64,
}

/// Of 34,500 codes of `quickdraw-conv` (128 numbers), these find .997 of the 10 nearest others in 270 us of processor time; an
/// `ef_search` of 16, 48 and 100 finds .994, .999 and 1.000 in 220, 380 and 700 us.
impl Default for HnswSettings {
    fn default() -> Self {
        Self { ef_construction: 40, ef_search: 24, seed: 1 }
    }
}

/// Where an index came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was built anew and is now in this file.
    Built(PathBuf),
    /// It was read from this file.
    Read(PathBuf),
}

/// A code in the graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Point {
    index: u32,
    values: Vec<f32>,
}

impl instant_distance::Point for Point {
    fn distance(&self, other: &Self) -> f32 {
        wide(
            #[inline(always)]
            || squared_distance_f32(&self.values, &other.values),
        )
    }
}

/// An approximate index of codes. It finds most of the nearest neighbours in far less time than an exact search, which
/// [`super::recall`] measures; what it finds has exact distances and stands in the exact order.
///
/// Threads insert codes side by side, so that two builds may find other neighbours.
///
/// ```
/// use degrain::latent::Codes;
/// use degrain::latent::search::{HnswIndex, HnswSettings, Metric};
///
/// let codes = Codes::new((0..2000).map(|i| (i as f32).sin()).collect(), 4)?; // (500, 4)
/// let index = HnswIndex::build(&codes, Metric::Cosine, HnswSettings::default())?;
/// let found = index.nearest(codes.get(7).unwrap(), 3)?;
/// assert_eq!(found[0][0].index, 7);
/// # Ok::<(), degrain::Error>(())
/// ```
pub struct HnswIndex<'a> {
    codes: &'a Codes,
    metric: Metric,
    graph: Hnsw<Point>,
    settings: HnswSettings,
}

impl<'a> HnswIndex<'a> {
    /// Builds the graph of `codes`, on all threads.
    ///
    /// # Errors
    /// More codes than 2^32 - 2, or none.
    pub fn build(codes: &'a Codes, metric: Metric, settings: HnswSettings) -> Result<Self> {
        if codes.is_empty() || codes.len() >= u32::MAX as usize {
            return Err(Error::shape("hnsw", "1 to 2^32 - 2 codes", format!("{} codes", codes.len())));
        }
        let values = Points { codes, metric }.flat(Cow::Borrowed(codes.values()));
        let rows = values.chunks_exact(codes.dim()).zip(0..);
        let nodes = rows.map(|(values, index)| Point { index, values: values.to_vec() }).collect();
        let builder = Builder::default().ef_construction(settings.ef_construction).ef_search(settings.ef_search);
        let (graph, _) = builder.seed(settings.seed).build_hnsw(nodes);
        Ok(Self { codes, metric, graph, settings })
    }

    /// The index of `codes` from its file in `folder`; where there is none, or a damaged one, it is built and written there.
    ///
    /// The file's name holds the metric and a hash of the codes and settings, so that other data, other weights or
    /// other settings have a file of their own.
    ///
    /// # Errors
    /// As [`HnswIndex::build`], and where the file cannot be written.
    pub fn open_or_build(
        folder: &Path,
        codes: &'a Codes,
        metric: Metric,
        settings: HnswSettings,
    ) -> Result<(Self, Origin)> {
        let path = folder.join(file_name(codes, metric, settings));
        if let Some(graph) = read(&path) {
            return Ok((Self { codes, metric, graph, settings }, Origin::Read(path)));
        }
        let index = Self::build(codes, metric, settings)?;
        index.write(&path)?;
        Ok((index, Origin::Built(path)))
    }

    /// Writes the graph to a file: it is complete or as it was.
    fn write(&self, path: &Path) -> Result<()> {
        let graph = postcard::to_stdvec(&self.graph).map_err(|error| Error::file(path, error.to_string()))?;
        write_file(path, |file| {
            file.write_all(MAGIC)?;
            file.write_all(&graph)?;
            file.write_all(&crc32c::crc32c(&graph).to_le_bytes())
        })
    }

    /// Up to `k` near codes of each of the queries (Q, D), by distance and index: as many as the settings' `ef_search`, at
    /// most.
    ///
    /// # Errors
    /// A part of a query, one that is not finite, or a k of 0.
    pub fn nearest(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<Neighbour>>> {
        let dim = self.codes.dim();
        check_queries(queries, dim, k)?;
        let places = Points { codes: self.codes, metric: self.metric };
        let points = places.flat(Cow::Borrowed(queries));
        let one = |search: &mut Search, (values, query): (&[f32], &[f32])| {
            let point = Point { index: u32::MAX, values: values.to_vec() };
            let near = self.graph.search(&point, search).take(self.settings.ef_search);
            places.ranked(&places.query(query), near.map(|item| item.point.index as usize), k)
        };
        if queries.len() < FEW_QUERIES * dim {
            let mut search = Search::default();
            let pairs = points.chunks(dim).zip(queries.chunks(dim));
            return pairs.map(|pair| one(&mut search, pair)).collect();
        }
        let pairs = points.par_chunks(dim).zip(queries.par_chunks(dim));
        pairs.map_init(Search::default, one).collect()
    }
}

/// The graph in a file; none where there is no file or its contents are damaged.
fn read(path: &Path) -> Option<Hnsw<Point>> {
    let bytes = fs::read(path).ok()?;
    let (graph, checksum) = bytes.strip_prefix(MAGIC)?.split_last_chunk::<CHECKSUM>()?;
    if crc32c::crc32c(graph) != u32::from_le_bytes(*checksum) {
        return None;
    }
    postcard::from_bytes(graph).ok()
}

/// `search-euclidean-0123456789abcdef.hnsw`.
fn file_name(codes: &Codes, metric: Metric, settings: HnswSettings) -> String {
    // FNV-1a over words in place of bytes.
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3);
    let HnswSettings { ef_construction, ef_search, seed } = settings;
    let head = [codes.dim() as u64, codes.len() as u64, ef_construction as u64, ef_search as u64, seed];
    let hash = head.into_iter().fold(0xcbf2_9ce4_8422_2325, step);
    let hash = codes.values().iter().map(|value| u64::from(value.to_bits())).fold(hash, step);
    format!("search-{}-{hash:016x}.hnsw", metric.name())
}
