//! Signals as scripts and shells want them.

/// Runs `set_handlers`, which handles signals to end, and leaves those that this process was told to ignore: `nohup` does so
/// with hang-ups, and shells with Ctrl-C for what they start in the background.
#[cfg(unix)]
pub(super) fn keeping_ignored<T>(set_handlers: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigHandler, Signal, signal};
    let may_end = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let ignored: Vec<Signal> = may_end
        .into_iter()
        .filter(|&which| {
            // SAFETY: ignoring a signal installs no handler.
            let before = unsafe { signal(which, SigHandler::SigIgn) };
            if let Ok(before) = before {
                // SAFETY: it is what stood there, which no code of this process has set.
                let _ = unsafe { signal(which, before) };
            }
            matches!(before, Ok(SigHandler::SigIgn))
        })
        .collect();
    let set = set_handlers();
    for which in ignored {
        // SAFETY: ignoring a signal installs no handler.
        let _ = unsafe { signal(which, SigHandler::SigIgn) };
    }
    set
}

/// Runs `set_handlers`.
#[cfg(not(unix))]
pub(super) fn keeping_ignored<T>(set_handlers: impl FnOnce() -> T) -> T {
    set_handlers()
}

/// From now on a write past a limit on the size of files fails as one to a full disk does, where it would end the process
/// without a word and leave half a file.
pub(super) fn survive_file_limits() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigHandler, Signal, signal};
        // SAFETY: ignoring a signal installs no handler.
        let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    }
}
