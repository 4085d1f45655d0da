//! Whether a run fits on its device, told before anything is allocated.

use super::device_data::DeviceData;
use super::placement::Placement;
use crate::error::{Error, Result};
use crate::memory::readable;
use crate::model::Preset;
use crate::session::Session;

/// A run on a device that says how much memory it has.
pub(super) struct Room<'a> {
    pub(super) placement: Placement<'a>,
    pub(super) data: &'a DeviceData,
    pub(super) session: &'a Session,
}

impl Room<'_> {
    /// Refuses a run that needs more than the device has. Where the device does not say what it has, everything passes.
    ///
    /// # Errors
    /// [`Error::Setting`] with the largest batch that fits, if one does.
    pub(super) fn check(&self) -> Result<()> {
        match self.session.memory_bytes() {
            Some(has) if self.needed(self.placement.preset.train.batch)? > has => Err(self.refusal(has)),
            _ => Ok(()),
        }
    }

    /// What a device that ran out of memory all the same could have done with `has` bytes.
    pub(super) fn refusal(&self, has: u64) -> Error {
        let batch = self.placement.preset.train.batch;
        let needs = self.needed(batch).map_or_else(|_| "more than it has".to_owned(), readable);
        let problem = format!("a batch of {batch} needs {needs} on the device, which has {}", readable(has));
        match self.largest_batch(has) {
            Some(largest) => Error::setting("--batch", format!("{problem}: take at most {largest}")),
            None => Error::setting("--batch", format!("{problem}: not even a batch of 1 fits")),
        }
    }

    /// Bytes of the run at a batch size: parameters, optimiser state, temporaries and data.
    fn needed(&self, batch: usize) -> Result<u64> {
        let preset = with_batch(self.placement.preset, batch);
        let placement = Placement { preset: &preset, ..self.placement };
        Ok(placement.step_bytes(self.data, self.session)? + self.data.size_bytes())
    }

    /// The largest batch below the run's that needs no more than `has` bytes.
    fn largest_batch(&self, has: u64) -> Option<usize> {
        let fits = |batch: usize| self.needed(batch).is_ok_and(|needed| needed <= has);
        let (mut low, mut high) = (0, self.placement.preset.train.batch);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        (low > 0).then_some(low)
    }
}

fn with_batch(preset: &Preset, batch: usize) -> Preset {
    let mut preset = preset.clone();
    preset.train.batch = batch;
    preset
}
