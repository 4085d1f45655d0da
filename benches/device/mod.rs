//! Where the benches run.

use degrain::gpu::{Adapter, adapters};
use degrain::session::{ProgramId, Session};
use std::time::{Duration, Instant};

/// The CPU executor and, where `DEGRAIN_DEVICE` holds a part of an adapter's name, that adapter; under short names.
pub(crate) fn sessions() -> Vec<(String, Session)> {
    let mut sessions = vec![("cpu".to_owned(), Session::cpu())];
    let Some(wanted) = std::env::var("DEGRAIN_DEVICE").ok().map(|name| name.to_lowercase()) else { return sessions };
    if wanted.is_empty() || wanted == "cpu" {
        return sessions;
    }
    let fits = |adapter: &Adapter| adapter.name().to_lowercase().contains(&wanted);
    let adapter = adapters().into_iter().find(fits);
    let adapter = adapter.unwrap_or_else(|| panic!("DEGRAIN_DEVICE={wanted}: there is no adapter of this name"));
    sessions.push((wanted, Session::gpu(adapter.open(false).unwrap())));
    sessions
}

/// Time of some replays, to the end of the last.
pub(crate) fn time(session: &mut Session, program: ProgramId, times: u64) -> Duration {
    let begin = Instant::now();
    session.run(program, times as usize).unwrap();
    session.wait().unwrap();
    begin.elapsed()
}
