//! Whether a data set lies on the device or streams to it, and how large the ring is that it streams through.

use super::batches::Batches;
use super::device_data::DeviceData;
use super::program::{Phase, Recipe, names};
use super::steps::Steps;
use crate::data::{Split, Values};
use crate::error::{Error, Result};
use crate::model::{Architecture, Preset};
use crate::plan::Plan;
use crate::session::Session;

/// Largest ring, in bytes: two halves that each are uploaded in one piece. On a GPU that trains 100,000 pictures of 3 KiB
/// a second one half lasts 40 ms.
const MAX_RING_BYTES: u64 = 24 << 20;

/// A run whose data is to be placed.
#[derive(Clone, Copy)]
pub(super) struct Placement<'a> {
    pub(super) preset: &'a Preset,
    pub(super) architecture: &'a Architecture,
    pub(super) values: &'a Values,
    /// Samples of the data set.
    pub(super) rows: usize,
    pub(super) split: &'a Split,
    /// Most bytes on the device.
    pub(super) limit: Option<u64>,
}

impl Placement<'_> {
    /// All of the data on the device where it fits, else a ring.
    ///
    /// # Errors
    /// If not even two batches fit beside the step.
    pub(super) fn choose(&self, session: &Session) -> Result<DeviceData> {
        let (sample, bytes) = (self.architecture.input, matches!(self.values, Values::U8(_)));
        let target = session.target();
        let resident = DeviceData::resident(sample, self.rows, bytes, target);
        let (Some(limit), rows) = (self.limit, self.split.train.len() + self.split.held_out.len()) else {
            return match resident {
                Ok(data) => Ok(data),
                Err(problem) => self.ring(MAX_RING_BYTES, session).ok_or(problem),
            };
        };
        let smallest =
            self.ring(0, session).ok_or_else(|| Error::setting("data", "has pictures that are too large"))?;
        let step = self.step_bytes(&smallest, session)?;
        let left = limit.saturating_sub(step);
        if let Ok(data) = resident
            && data.size_bytes() + 4 * rows as u64 <= left
        {
            return Ok(data);
        }
        let least = ring_bytes(&smallest);
        if left < least {
            let problem = format!(
                "a step takes {}, and two batches of {} pictures come on top: give {} or more, or a smaller --batch",
                rounded_up(step),
                self.preset.train.batch,
                rounded_up(step + least)
            );
            return Err(Error::setting("--device-memory", problem));
        }
        Ok(self.ring(left.min(MAX_RING_BYTES), session).unwrap_or(smallest))
    }

    /// The largest ring of whole batches within `bytes`, at least two of them.
    fn ring(&self, bytes: u64, session: &Session) -> Option<DeviceData> {
        let is_bytes = matches!(self.values, Values::U8(_));
        let row = ring_bytes(&DeviceData::ring(self.architecture.input, 1, is_bytes, session.target())?);
        let batch = self.preset.train.batch;
        let longest = self.split.train.len().max(self.split.held_out.len());
        let halves = (bytes / (2 * row)) as usize;
        // No half need be longer than what passes through it.
        let half = (halves.min(longest) / batch).max(1) * batch;
        DeviceData::ring(self.architecture.input, 2 * half, is_bytes, session.target())
    }

    /// Bytes of everything but the data.
    pub(super) fn step_bytes(&self, ring: &DeviceData, session: &Session) -> Result<u64> {
        let recipe = Recipe { preset: self.preset, architecture: self.architecture, data: ring };
        let drop_last = self.preset.train.drop_last;
        let batches =
            |rows: &[u32], drop_last| Batches::new(self.preset.train.batch, rows.len(), drop_last, session.ranks());
        let training = Steps::graphs(&recipe, Phase::Training, batches(&self.split.train, drop_last))?;
        let validation = Steps::graphs(&recipe, Phase::Validation, batches(&self.split.held_out, false))?;
        let plans: Vec<Plan> =
            training.iter().chain(&validation).map(|graph| session.plan(graph)).collect::<Result<_>>()?;
        Ok(Plan::bytes_together(&plans, |name| name.starts_with(names::DATA)) as u64)
    }
}

/// A size as `--device-memory` takes it.
fn rounded_up(bytes: u64) -> String {
    if bytes < 16 << 20 { format!("{}K", bytes.div_ceil(1 << 10)) } else { format!("{}M", bytes.div_ceil(1 << 20)) }
}

/// Bytes of a ring with its row numbers.
fn ring_bytes(ring: &DeviceData) -> u64 {
    ring.size_bytes() + 4 * ring.ring_rows().unwrap_or(0) as u64
}
