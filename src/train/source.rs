//! Where the pictures of a batch come from: all of them lie on the device, or they stream to it while it computes.

use super::device_data::{DeviceData, pack_samples};
use super::program::{Phase, names};
use crate::data::Values;
use crate::error::{Error, Result};
use crate::session::Session;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Brings the pictures of an epoch to the device, in the epoch's order.
pub(super) trait Source {
    /// A pass over the rows of the data set in this order begins.
    ///
    /// # Errors
    /// If the device is lost.
    fn begin(&mut self, session: &mut Session, phase: Phase, order: Arc<[u32]>) -> Result<()>;

    /// Sees to it that pictures from position `at` of the order on are on the device, and returns the position up to
    /// which they are. Steps that were handed to the device before still see the pictures that were there then.
    ///
    /// # Errors
    /// If the device is lost.
    fn prepare(&mut self, session: &mut Session, at: usize) -> Result<usize>;

    /// Uploads what is ready for later steps, while the device works on those that it was handed.
    ///
    /// # Errors
    /// If the device is lost.
    fn look_ahead(&mut self, session: &mut Session) -> Result<()>;

    /// Whether pictures stream.
    fn is_streamed(&self) -> bool;
}

/// The source of `values`, which lie on the device as `data` says. Pictures that do not stream are uploaded.
///
/// # Errors
/// If the device is lost.
pub(super) fn of(data: DeviceData, session: &mut Session, values: &Values) -> Result<Box<dyn Source>> {
    Ok(match data.ring_rows() {
        Some(_) => Box::new(Streamed::new(data, values.clone())),
        None => Box::new(Resident::upload(session, &data, values)?),
    })
}

/// All pictures lie on the device; an epoch needs its order alone.
struct Resident {
    len: usize,
}

impl Resident {
    /// Uploads all pictures.
    ///
    /// # Errors
    /// If the device is lost.
    fn upload(session: &mut Session, data: &DeviceData, values: &Values) -> Result<Self> {
        data.write_all(session, values)?;
        Ok(Self { len: 0 })
    }
}

impl Source for Resident {
    fn begin(&mut self, session: &mut Session, phase: Phase, order: Arc<[u32]>) -> Result<()> {
        self.len = order.len();
        session.write_words(&names::order(phase), &order)
    }

    fn prepare(&mut self, _: &mut Session, _: usize) -> Result<usize> {
        Ok(self.len)
    }

    fn look_ahead(&mut self, _: &mut Session) -> Result<()> {
        Ok(())
    }

    fn is_streamed(&self) -> bool {
        false
    }
}

/// Pictures stream through a ring of two halves: while the device works on one, a thread packs the pictures of the next,
/// and they are uploaded to the other. Halves are numbered through the epoch, the even ones in the front of the ring.
struct Streamed {
    data: DeviceData,
    values: Values,
    /// Rows of half the ring, a multiple of the batch.
    half_rows: usize,
    order: Arc<[u32]>,
    /// The half that each half of the ring holds.
    held: [Option<usize>; 2],
    /// The half that is being packed.
    coming: Option<(usize, JoinHandle<Vec<u32>>)>,
    /// The half that the device works on.
    working: usize,
}

impl Streamed {
    /// Pictures of `values` through the ring of `data`.
    fn new(data: DeviceData, values: Values) -> Self {
        let half_rows = (data.ring_rows().unwrap_or(2) / 2).max(1);
        Self { data, values, half_rows, order: [].into(), held: [None; 2], coming: None, working: 0 }
    }

    fn rows_of(&self, half: usize) -> &[u32] {
        let end = self.order.len().min((half + 1) * self.half_rows);
        self.order.get(half * self.half_rows..end).unwrap_or(&[])
    }

    /// Packs a half in another thread.
    fn pack(&mut self, half: usize) -> Result<()> {
        let (values, columns, rows) = (self.values.clone(), self.data.sample().len(), self.rows_of(half).to_vec());
        if !rows.is_empty() {
            let thread = std::thread::Builder::new().name("pictures".to_owned());
            let packing = thread.spawn(move || pack_samples(&values, columns, &rows));
            let failed = |e| Error::setting("data", format!("no thread to pack pictures: {e}"));
            self.coming = Some((half, packing.map_err(failed)?));
        }
        Ok(())
    }

    /// Uploads the half that is being packed, and has the next one packed.
    fn upload(&mut self, session: &mut Session) -> Result<()> {
        let Some((half, packing)) = self.coming.take() else { return Ok(()) };
        let words = packing.join().map_err(|_| Error::setting("data", "a packing thread failed"))?;
        let first = half % 2 * self.half_rows;
        self.data.write(session, first, &words)?;
        session.write_part(names::RING, first, self.rows_of(half))?;
        self.held[half % 2] = Some(half);
        self.pack(half + 1)
    }
}

impl Source for Streamed {
    fn begin(&mut self, _: &mut Session, _: Phase, order: Arc<[u32]>) -> Result<()> {
        self.order = order;
        (self.held, self.coming, self.working) = ([None; 2], None, 0);
        Ok(())
    }

    fn prepare(&mut self, session: &mut Session, at: usize) -> Result<usize> {
        let half = at / self.half_rows;
        self.working = half;
        if self.held[half % 2] != Some(half) {
            // A resumed epoch begins anywhere.
            if self.coming.as_ref().is_none_or(|(coming, _)| *coming != half) {
                self.pack(half)?;
            }
            self.upload(session)?;
        }
        Ok(self.order.len().min((half + 1) * self.half_rows))
    }

    fn look_ahead(&mut self, session: &mut Session) -> Result<()> {
        // The half before the one at work has been handed to the device whole, and the device does everything in order:
        // its place in the ring is free.
        match &self.coming {
            Some((half, packing)) if *half == self.working + 1 && packing.is_finished() => self.upload(session),
            _ => Ok(()),
        }
    }

    fn is_streamed(&self) -> bool {
        true
    }
}
