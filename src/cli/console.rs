//! Standard output and standard error: results on the one, everything else on the other.

use degrain::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// What standard output is called in messages.
const STDOUT: &str = "standard output";

/// Where a command writes.
pub(crate) struct Console {
    json: bool,
    silent: bool,
    quiet: bool,
    /// Whether progress is drawn as bars; else it is logged by lines.
    bars: bool,
    /// Start of the process.
    pub(crate) started: Instant,
}

impl Console {
    pub(crate) fn new(json: bool, quiet: bool, started: Instant) -> Self {
        Self { json, silent: false, quiet, bars: !quiet && io::stderr().is_terminal(), started }
    }

    /// Of a process that has others speak for it: nothing but its errors is written.
    pub(crate) fn silent(started: Instant) -> Self {
        Self { json: false, silent: true, quiet: true, bars: false, started }
    }

    /// The same for a part of a command that counts its time for itself, from now on.
    pub(crate) fn restarted(&self) -> Self {
        Self { started: Instant::now(), ..*self }
    }

    /// Prints a command's result: the object with `--json`, else the text.
    pub(crate) fn result(&self, object: &impl Serialize, text: impl Display) -> Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(object).map_err(|error| Error::setting("--json", error.to_string()))?
        } else {
            text.to_string()
        };
        if self.silent {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(Error::io(STDOUT, "write"))
    }

    /// Tells something on standard error, unless `-q`.
    pub(crate) fn note(&self, line: impl Display) {
        if !self.quiet {
            write_error_line(&line);
        }
    }

    /// Tells what the user should look into, on standard error, unless `-q`.
    pub(crate) fn warn(&self, line: impl Display) {
        self.note(format_args!("warning: {line}"));
    }

    /// The one line of a command that failed, after the lines of a shader that it is about.
    pub(crate) fn error(&self, error: &Error) {
        self.error_of(None, error);
    }

    /// As [`Console::error`], of something that has a name.
    pub(crate) fn error_of(&self, name: Option<String>, error: &Error) {
        if let Error::Wgsl { rendered, .. } = error {
            write_error_line(&rendered.trim_end());
        }
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
        write_error_line(&format_args!("error: {name}{}", lines.join(" ")));
    }

    /// Whether there are progress bars.
    pub(crate) fn has_bars(&self) -> bool {
        self.bars
    }

    /// A progress bar on standard error, which shows only on a terminal.
    pub(crate) fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let target = if self.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.progress_chars("=> ")),
            Err(_) => bar,
        }
    }
}

/// A reader of standard error that went away is no reason to stop.
fn write_error_line(line: &dyn Display) {
    // In one piece: several processes may write to one terminal.
    drop(io::stderr().lock().write_all(format!("{line}\n").as_bytes()));
}

/// Whether nobody reads standard output any more.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { path, source, .. }
        if path.as_os_str() == STDOUT && source.kind() == io::ErrorKind::BrokenPipe)
}

/// `1 picture`, `2 pictures`, `3 patches`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ if noun.ends_with("ch") => format!("{number} {noun}es"),
        _ => format!("{number} {noun}s"),
    }
}
