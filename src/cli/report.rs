//! `degrain report`: the page of a run, written anew, or several runs side by side.

use super::console::{Console, count};
use clap::Args;
use degrain::report::{RunRecord, compare};
use degrain::train::run_dir::REPORT;
use degrain::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where several runs are compared.
const COMPARISON: &str = "compare.html";

/// Flags of `degrain report`.
#[derive(Args)]
pub(super) struct Flags {
    /// Folders of runs: of one its page is written anew, several are set side by side
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The page [default: report.html of the run, or compare.html]
    #[arg(short, long, value_name = "FILE.html")]
    output: Option<PathBuf>,
}

pub(super) fn run(flags: &Flags, console: &Console) -> Result<()> {
    let records: Vec<RunRecord> = flags.runs.iter().map(|run| RunRecord::read(run)).collect::<Result<_>>()?;
    for record in &records {
        for name in &record.left_out {
            let path = record.path.join(name);
            console.warn(format_args!("left out {}: it is no PNG, too large, or one too many", path.display()));
        }
    }
    let (page, usual) = match records.as_slice() {
        [one] => (one.page()?, one.path.join(REPORT)),
        several => (compare(several)?, PathBuf::from(COMPARISON)),
    };
    let output = flags.output.clone().unwrap_or(usual);
    check(&output)?;
    page.write(&output)?;
    let names: Vec<String> = flags.runs.iter().map(|run| run.display().to_string()).collect();
    let object = json!({ "output": output.display().to_string(), "runs": names });
    console.result(&object, format_args!("{} -> {}", count(records.len(), "run"), output.display()))
}

/// A page by another name than a page's is more likely a slip, such as a forgotten `-o`.
fn check(output: &Path) -> Result<()> {
    let is_page = output
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("html") || extension.eq_ignore_ascii_case("htm"));
    if is_page { Ok(()) } else { Err(Error::file(output, "is no name of a page: choose one such as compare.html")) }
}
