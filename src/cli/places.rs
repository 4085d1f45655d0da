//! Files that a command may not write (those that it reads, another of its own, those that a run goes on from) or read (devices).

use clap::ArgMatches;
use degrain::train::run_dir::{BEST, CONFIG, LAST, METRICS, STATE, STATE_BEFORE, STEPS, SUMMARY};
use degrain::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Arguments that name files to write. `encode` writes its `--names` as well, which other commands read.
const OUTPUTS: [&str; 6] = ["output", "csv", "trace", "roofline", "report", "sheet"];
/// Arguments that may name files to read.
const INPUTS: [&str; 19] = [
    "bisect", "codes", "compare", "data", "init", "inputs", "labels", "model", "models", "names", "near", "paths",
    "pictures", "preset", "query", "resume", "vs", "weights", "what",
];
/// What a run cannot go on or be looked at without.
const OF_A_RUN: [&str; 8] = [BEST, CONFIG, LAST, METRICS, STATE, STATE_BEFORE, STEPS, SUMMARY];

/// Looks at the files that a command line names, before anything is read or computed. Folders are the commands' own business.
///
/// # Errors
/// An output that is a file that another argument names, or one of the files of a run; an input that is a device, which may have no
/// end.
pub(super) fn check(matches: &ArgMatches) -> Result<()> {
    let Some((command, arguments)) = matches.subcommand() else { return Ok(()) };
    let is_output = |id: &str| OUTPUTS.contains(&id) || id == "names" && command == "encode";
    let named = |id: &str| -> Vec<PathBuf> {
        let values = arguments.try_get_raw(id).ok().flatten();
        values.into_iter().flatten().map(PathBuf::from).collect()
    };
    let ids: Vec<&str> = arguments.ids().map(|id| id.as_str()).collect();
    let inputs = ids.iter().filter(|id| INPUTS.contains(id) && !is_output(id));
    let inputs: Vec<PathBuf> = inputs.flat_map(|id| named(id)).filter(|path| path.exists()).collect();
    if let Some(device) = inputs.iter().find(|path| is_device(path)) {
        return Err(Error::file(device, "is a device: name a file"));
    }
    let read: HashSet<PathBuf> = inputs.iter().filter_map(|path| file_at(path)).collect();
    let mut written: HashMap<PathBuf, &str> = HashMap::new();
    for id in ids.into_iter().filter(|id| is_output(id)) {
        let flag = if id == "output" { "-o".to_owned() } else { format!("--{id}") };
        for path in named(id) {
            let Some(place) = file_at(&path) else { continue };
            if read.contains(&place) {
                return Err(Error::file(&path, format!("is one of the inputs: choose another place with {flag}")));
            }
            if is_of_a_run(&place) {
                let problem = format!("belongs to the run in that folder: choose another place with {flag}");
                return Err(Error::file(&path, problem));
            }
            if let Some(other) = written.insert(place, id) {
                return Err(Error::file(&path, format!("is what --{other} writes: choose another place with {flag}")));
            }
        }
    }
    Ok(())
}

/// Where a file is or would be, whatever it is called; none of folders and devices, nor in folders that are not there.
fn file_at(path: &Path) -> Option<PathBuf> {
    match path.canonicalize() {
        Ok(found) => found.is_file().then_some(found),
        Err(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(folder.canonicalize().ok()?.join(path.file_name()?))
        }
    }
}

/// Whether this is a device of single bytes or of blocks, but for the empty one.
fn is_device(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let is_one = |file: std::fs::FileType| file.is_char_device() || file.is_block_device();
        path != Path::new("/dev/null") && path.metadata().is_ok_and(|metadata| is_one(metadata.file_type()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn is_of_a_run(place: &Path) -> bool {
    let is_kept = place.file_name().is_some_and(|name| OF_A_RUN.iter().any(|kept| name == *kept));
    is_kept && place.parent().is_some_and(|folder| folder.join(CONFIG).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_there() {
        let command = super::super::Cli::command();
        let all: HashSet<&str> = command
            .get_subcommands()
            .flat_map(|command| command.get_arguments().map(|argument| argument.get_id().as_str()))
            .collect();
        for id in OUTPUTS.iter().chain(&INPUTS) {
            assert!(all.contains(id), "{id}");
        }
    }
}
