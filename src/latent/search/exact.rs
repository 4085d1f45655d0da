//! The exact search: a device finds candidates in f32, and f64 decides.

use super::{Metric, Neighbour, Points, check_queries};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::latent::CodeSource;
use crate::op::{Nearest, NearestExtents};
use crate::session::{ProgramId, Session};
use crate::tensor::{Class, TensorType};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;

/// Queries that are searched for at once, at most.
const QUERIES: usize = 1024;
/// Bytes of codes that are read and handed to the device at a time: the allocator keeps what holds them, so that the system
/// need not give cleared memory for each.
const PIECE_BYTES: usize = 4 << 20;
/// Candidates of a query at most: their lists stay far below what a buffer holds.
const MAX_KEPT: usize = 4096;
/// Below, f32 has fewer digits.
const MIN_SQUARE: f64 = 1e-30;
/// Half a unit in the last place of 1, in f32.
const HALF_ULP: f64 = 1.0 / (1 << 24) as f64;

/// Blocks that are on the device at a time, at least, where the codes stream through a small memory: the host's copies of one
/// are small beside it.
const STREAMED_BLOCKS: usize = 4;

/// How much memory a search takes on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of codes in one buffer; less where the device binds less.
    pub block_bytes: usize,
    /// Bytes of codes that stay on the device; more of them stream to it, for each 1,024 queries once.
    pub resident_bytes: usize,
    /// Bytes of queries and of what is found: fewer queries are searched for at once where there would be more.
    pub working_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { block_bytes: 64 << 20, resident_bytes: 1 << 30, working_bytes: 256 << 20 }
    }
}

impl Limits {
    /// A search that takes no more than `bytes` on its device, if that is room for one query and one code.
    pub fn within(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let working_bytes = bytes / 4;
        let resident_bytes = bytes - working_bytes;
        let block_bytes = Self::default().block_bytes.min(resident_bytes / STREAMED_BLOCKS);
        Self { block_bytes, resident_bytes, working_bytes }
    }

    /// The default, or half of what the session's device or system has left, where that is less.
    pub fn of(session: &Session) -> Self {
        let default = Self::default();
        match session.memory_bytes().map(|bytes| bytes / 2) {
            Some(half) if half < (default.resident_bytes + default.working_bytes) as u64 => Self::within(half),
            _ => default,
        }
    }
}

/// An exact search for nearest neighbours among codes, on one device.
///
/// The device goes through the codes in blocks, a [`Nearest`] op each, and keeps for every query some more candidates than
/// asked for, by f32 distances, which are off by at most (D + 3) 2^-24 of themselves. The candidates' distances are then
/// taken anew from the codes in f64. Where these show that no other code can be among the k nearest, the result is
/// that of sorting all distances in f64, equal ones by index; where they do not, as with many codes alike, all of them
/// are sorted so, for this query alone. The result does not depend on the blocks.
///
/// Codes that are more than [`Limits::resident_bytes`] go through the device in turn, read from their source one block at a
/// time: neither device nor host need hold all of them.
pub struct ExactSearch<'a> {
    session: Session,
    points: Points<'a>,
    limits: Limits,
    blocks: Blocks,
    programs: HashMap<(usize, usize), ProgramId>,
    /// Which of the parts that take turns on the device is there.
    loaded: Option<usize>,
    /// Whether f32 holds all squared distances between codes.
    in_range: bool,
}

/// How the codes are laid out on the device.
struct Blocks {
    /// Codes in a block.
    rows: usize,
    /// Blocks on the device at a time.
    count: usize,
    /// Times that they are filled to go through all codes.
    parts: usize,
}

impl Blocks {
    fn new(codes: &dyn CodeSource, limits: Limits, max_binding: usize) -> Self {
        let row_bytes = codes.dim() * 4;
        let most = (limits.block_bytes.min(max_binding) / row_bytes).clamp(1, codes.len().max(1));
        let blocks = codes.len().div_ceil(most).max(1);
        let rows = codes.len().div_ceil(blocks).max(1);
        let count = (limits.resident_bytes / (rows * row_bytes)).clamp(1, blocks);
        Self { rows, count, parts: blocks.div_ceil(count) }
    }
}

fn codes_name(block: usize) -> String {
    format!("search.codes.{block}")
}

fn range_name(block: usize) -> String {
    format!("search.range.{block}")
}

/// Names of the queries of a search, and of the distances and indices found.
fn names(queries: usize, kept: usize) -> [String; 3] {
    [
        format!("search.queries.{queries}"),
        format!("search.distances.{queries}.{kept}"),
        format!("search.indices.{queries}.{kept}"),
    ]
}

impl<'a> ExactSearch<'a> {
    /// A search among `codes` on the session's device, within [`Limits::of`] it.
    ///
    /// # Errors
    /// More codes than 2^32 - 2, or none.
    pub fn new(session: Session, codes: &'a dyn CodeSource, metric: Metric) -> Result<Self> {
        let limits = Limits::of(&session);
        Self::with_limits(session, codes, metric, limits)
    }

    /// As [`ExactSearch::new`], within other limits.
    ///
    /// # Errors
    /// As [`ExactSearch::new`].
    pub fn with_limits(session: Session, codes: &'a dyn CodeSource, metric: Metric, limits: Limits) -> Result<Self> {
        if codes.is_empty() || codes.len() >= Nearest::NOBODY as usize {
            return Err(Error::shape("search", "1 to 2^32 - 2 codes", format!("{} codes", codes.len())));
        }
        let max_binding = session.target().map_or(u64::MAX, |target| target.max_binding_bytes);
        let blocks = Blocks::new(codes, limits, usize::try_from(max_binding).unwrap_or(usize::MAX));
        let points = Points { codes, metric };
        let in_range = points.in_range();
        Ok(Self { session, points, limits, blocks, programs: HashMap::new(), loaded: None, in_range })
    }

    /// The codes that are searched.
    pub fn codes(&self) -> &'a dyn CodeSource {
        self.points.codes
    }

    /// How often the device is filled to go through all codes: 1 where they fit.
    pub fn parts(&self) -> usize {
        self.blocks.parts
    }

    /// Bytes that the search holds on its device now.
    pub fn device_bytes(&self) -> usize {
        self.session.allocated_bytes()
    }

    /// The `k` nearest codes (all, if there are fewer) of each of the queries (Q, D), by distance and index.
    ///
    /// # Errors
    /// A part of a query, one that is not finite, a k of 0, codes that cannot be read any more, or a device that is lost or
    /// has no room.
    pub fn nearest(&mut self, queries: &[f32], k: usize) -> Result<Vec<Vec<Neighbour>>> {
        let dim = self.points.codes.dim();
        check_queries(queries, dim, k)?;
        let count = self.points.codes.len();
        let k = k.min(count);
        let kept = k + k / 4 + 6;
        let points = self.points.flat(Cow::Borrowed(queries));
        if kept >= count || kept > MAX_KEPT || !self.in_range || !is_in_range(&points) {
            let queries: Vec<&[f32]> = queries.chunks_exact(dim).collect();
            let found = queries.chunks(QUERIES).map(|queries| self.points.brute_force(queries, k));
            return Ok(found.collect::<Result<Vec<_>>>()?.concat());
        }
        let mut found = Vec::with_capacity(queries.len() / dim);
        let tile = self.tile(kept) * dim;
        for (points, queries) in points.chunks(tile).zip(queries.chunks(tile)) {
            let (near, indices) = self.candidates(points, kept)?;
            let lists = near.par_chunks(kept).zip(indices.par_chunks(kept));
            let decided = lists.zip(queries.par_chunks(dim)).map(|((near, indices), query)| {
                let farthest = f64::from(near.last().copied().unwrap_or_default());
                decide(&self.points, query, indices, farthest, k)
            });
            found.extend(self.settle(queries, decided.collect::<Result<_>>()?, k)?);
        }
        Ok(found)
    }

    /// What was found, and for the queries without a decision what looking at all codes finds.
    fn settle(&self, queries: &[f32], decided: Vec<Option<Vec<Neighbour>>>, k: usize) -> Result<Vec<Vec<Neighbour>>> {
        let rows = queries.chunks_exact(self.points.codes.dim());
        let open: Vec<&[f32]> = rows.zip(&decided).filter(|(_, found)| found.is_none()).map(|(row, _)| row).collect();
        let mut rest = if open.is_empty() { Vec::new() } else { self.points.brute_force(&open, k)? }.into_iter();
        Ok(decided.into_iter().map(|found| found.or_else(|| rest.next()).unwrap_or_default()).collect())
    }

    /// Queries that are searched for at once, so that what they take stays within its limit.
    fn tile(&self, kept: usize) -> usize {
        let mut queries = QUERIES;
        while queries > 1 && self.working_bytes(queries, kept) > self.limits.working_bytes {
            queries /= 2;
        }
        queries
    }

    fn working_bytes(&self, queries: usize, kept: usize) -> usize {
        let dim = self.points.codes.dim();
        let lists = NearestExtents { codes: self.blocks.rows, queries, dim, kept };
        Nearest::working_bytes(&lists)
    }

    /// The squared distances and indices (Q, kept) that the device finds for one tile of queries.
    fn candidates(&mut self, queries: &[f32], kept: usize) -> Result<(Vec<f32>, Vec<u32>)> {
        let count = queries.len() / self.points.codes.dim();
        let program = self.program(count, kept)?;
        let [queries_name, distances, indices] = names(count, kept);
        self.session.write(&queries_name, queries)?;
        self.session.write(&distances, &vec![Nearest::FAR; count * kept])?;
        self.session.write_words(&indices, &vec![Nearest::NOBODY; count * kept])?;
        for part in 0..self.blocks.parts {
            self.load(part)?;
            self.session.run(program, 1)?;
            if self.blocks.parts > 1 {
                // What is written next waits in the host's memory for as long as the device computes.
                self.session.wait()?;
            }
        }
        Ok((self.session.read(&distances)?, self.session.read_words(&indices)?))
    }

    /// The search of all blocks on the device for this many queries.
    fn program(&mut self, queries: usize, kept: usize) -> Result<ProgramId> {
        if let Some(&program) = self.programs.get(&(queries, kept)) {
            return Ok(program);
        }
        self.make_room(queries, kept)?;
        let dim = self.points.codes.dim();
        let [queries_name, distances, indices] = names(queries, kept);
        let mut graph = Graph::new();
        graph.set_label("search");
        let tile = graph.persistent(Class::Input, &queries_name, TensorType::f32([queries, dim]))?;
        let mut near = graph.persistent(Class::State, &distances, TensorType::f32([queries, kept]))?;
        let mut whose = graph.persistent(Class::State, &indices, TensorType::u32([queries, kept]))?;
        for block in 0..self.blocks.count {
            let codes = TensorType::f32([self.blocks.rows, dim]);
            let codes = graph.persistent(Class::Input, &codes_name(block), codes)?;
            let range = graph.persistent(Class::Input, &range_name(block), TensorType::u32([2]))?;
            let found = graph.apply(Nearest, &[codes, tile, range, near, whose])?;
            (near, whose) = (found[0], found[1]);
        }
        let program = self.session.record(&graph)?;
        self.programs.insert((queries, kept), program);
        Ok(program)
    }

    /// Forgets the tiles of other sizes, if another one would take more than there is for them.
    fn make_room(&mut self, queries: usize, kept: usize) -> Result<()> {
        let taken: usize = self.programs.keys().map(|&(queries, kept)| self.working_bytes(queries, kept)).sum();
        if taken > 0 && taken + self.working_bytes(queries, kept) > self.limits.working_bytes {
            self.session.clear()?;
            self.programs.clear();
            self.loaded = None;
        }
        Ok(())
    }

    /// Brings a part of the codes to the device, unless it is there.
    fn load(&mut self, part: usize) -> Result<()> {
        if self.loaded == Some(part) {
            return Ok(());
        }
        self.loaded = None;
        let (dim, count, rows) = (self.points.codes.dim(), self.points.codes.len(), self.blocks.rows);
        let piece = (PIECE_BYTES / (4 * dim)).max(1);
        for block in 0..self.blocks.count {
            let first = ((part * self.blocks.count + block) * rows).min(count);
            let end = (first + rows).min(count);
            for start in (first..end).step_by(piece) {
                let values = self.points.flat(self.points.codes.rows(start..(start + piece).min(end))?);
                self.session.write_part(&codes_name(block), (start - first) * dim, bytemuck::cast_slice(&values))?;
            }
            self.session.write_words(&range_name(block), &[first as u32, (end - first) as u32])?;
        }
        self.loaded = Some(part);
        Ok(())
    }

    /// Gives the session back, without what the search kept on its device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn into_session(mut self) -> Result<Session> {
        self.session.clear()?;
        Ok(self.session)
    }
}

/// The `k` nearest among the candidates; none where another code might be nearer. `farthest` is the squared distance, in f32,
/// that no other code is below.
fn decide(
    points: &Points<'_>,
    query: &[f32],
    candidates: &[u32],
    farthest: f64,
    k: usize,
) -> Result<Option<Vec<Neighbour>>> {
    let query = points.query(query);
    let found = points.ranked(&query, candidates.iter().map(|&index| index as usize), k)?;
    let last = found.last().map_or(f64::INFINITY, |near| near.distance);
    let slack = 1.0 + (points.codes.dim() + 8) as f64 * HALF_ULP;
    let beyond = (farthest / slack).sqrt();
    let settled = match points.metric {
        Metric::Euclidean => last < beyond,
        // Each rounded unit vector is off by up to half a unit in the last place.
        Metric::Cosine => (2.0 * last).sqrt() < beyond - 3.0 * HALF_ULP,
    };
    Ok((settled && farthest > MIN_SQUARE).then_some(found))
}

/// Whether f32 holds the squared distances of such queries.
fn is_in_range(values: &[f32]) -> bool {
    values.par_iter().all(|value| value.abs() <= super::MAX_MAGNITUDE)
}
