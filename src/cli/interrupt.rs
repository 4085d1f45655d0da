//! Ctrl-C: while a run trains, the first one asks it to finish its step and save; any other ends the process at once.

use super::INTERRUPTED;
use degrain::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static TRAINING: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// While it lives, Ctrl-C is a request. There is one at a time.
pub(super) struct Guard(());

impl Guard {
    /// From now on Ctrl-C asks for an end.
    ///
    /// # Errors
    /// Where the system lets no handler be set.
    pub(super) fn new() -> Result<Self> {
        let set = ctrlc::set_handler(on_interrupt);
        set.map_err(|error| Error::setting("Ctrl-C", format!("cannot be handled: {error}")))?;
        TRAINING.store(true, Ordering::SeqCst);
        Ok(Self(()))
    }

    /// Whether the user asked for an end.
    pub(super) fn requested(&self) -> bool {
        REQUESTED.load(Ordering::SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TRAINING.store(false, Ordering::SeqCst);
    }
}

/// Runs on a thread of its own. Files are complete or absent whenever the process ends.
fn on_interrupt() {
    if !TRAINING.load(Ordering::SeqCst) || REQUESTED.swap(true, Ordering::SeqCst) {
        std::process::exit(INTERRUPTED.into());
    }
}
