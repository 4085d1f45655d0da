//! Ctrl-C, or a signal to end: while a run trains, the first one asks it to finish its step and save; any other ends the
//! process at once.

use super::{INTERRUPTED, signals};
use degrain::{Error, Result};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

static TRAINING: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);
static LAST_WORDS: OnceLock<String> = OnceLock::new();

/// What a step and a checkpoint may take before a process that was asked to end says that it will not get there. Starters of
/// jobs kill a second after they asked.
const PATIENCE: Duration = Duration::from_millis(700);

/// While it lives, Ctrl-C is a request. There is one at a time.
pub(super) struct Guard(());

impl Guard {
    /// From now on Ctrl-C asks for an end.
    ///
    /// # Errors
    /// Where the system lets no handler be set.
    pub(super) fn new() -> Result<Self> {
        let set = signals::keeping_ignored(|| ctrlc::set_handler(on_interrupt));
        set.map_err(|error| Error::setting("Ctrl-C", format!("cannot be handled: {error}")))?;
        TRAINING.store(true, Ordering::SeqCst);
        Ok(Self(()))
    }

    /// What to say where an end was asked for and does not come: a rank waits for another that is gone.
    pub(super) fn set_last_words(&self, words: String) {
        // The first run of a process is its only one among ranks.
        drop(LAST_WORDS.set(words));
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
    if let Some(words) = LAST_WORDS.get() {
        thread::sleep(PATIENCE);
        if !TRAINING.load(Ordering::SeqCst) {
            return;
        }
        drop(writeln!(std::io::stderr(), "{words}"));
    }
}
