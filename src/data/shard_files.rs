//! The files of a set of shards, found by what a user names of it.

use crate::data::Shard;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Missing shards that are named one by one.
const MAX_NAMED: usize = 8;

/// The files that `path` stands for, in the order of their shards: an array of codes or another file; a shard, and with it the
/// other ones of its set; a name such as `codes.npy` of which there are only shards; or a folder that holds one set of arrays.
///
/// # Errors
/// No such file, a shard that is missing, or a folder that holds several sets or none.
pub fn shard_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        return match &sets(path, None)?[..] {
            [] => Err(Error::file(path, "holds no arrays in shards such as codes.0-of-4.npy: name the file")),
            [(whole, count)] => complete(whole, *count),
            several => {
                let names = several.iter().map(|(whole, count)| format!("{} in {count}", name(whole)));
                let names = names.collect::<Vec<_>>().join(", ");
                Err(Error::file(path, format!("holds several sets of shards ({names}): name a file of one of them")))
            }
        };
    }
    if let Some((whole, shard)) = Shard::of_file(path) {
        return complete(&whole, shard.count());
    }
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match &(if folder.is_dir() { sets(folder, Some(path))? } else { Vec::new() })[..] {
        [(_, count)] => complete(path, *count),
        [] => {
            let example = Shard::WHOLE.file(path);
            Err(Error::file(path, format!("no such file, and no shards of it such as {}", name(&example))))
        }
        several => {
            let counts = several.iter().map(|(_, count)| count.to_string()).collect::<Vec<_>>().join(" and of ");
            Err(Error::file(path, format!("there are sets of {counts} shards of it: name a file of one of them")))
        }
    }
}

/// What shards in `folder` are parts of, and of how many: of `only`, where it is given, else of any array.
fn sets(folder: &Path, only: Option<&Path>) -> Result<Vec<(PathBuf, usize)>> {
    let mut sets = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let file = folder.join(entry.map_err(Error::io(folder, "read"))?.file_name());
        let array = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
        let Some((whole, shard)) = Shard::of_file(&file) else { continue };
        let wanted = only.map_or(array, |only| whole.file_name() == only.file_name());
        if wanted {
            sets.insert((only.map_or(whole, Path::to_owned), shard.count()));
        }
    }
    Ok(sets.into_iter().collect())
}

/// All shards of `whole`, which must be there.
fn complete(whole: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let folder = whole.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What is there is looked up, not what should be: a name may claim any number of shards.
    let mut there = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let file = whole.with_file_name(entry.map_err(Error::io(folder, "read"))?.file_name());
        if let Some((of, shard)) = Shard::of_file(&file)
            && of == whole
            && shard.count() == count
        {
            there.insert(shard.index(), file);
        }
    }
    if there.len() == count {
        return Ok(there.into_values().collect());
    }
    let missing = (0..count).filter(|index| !there.contains_key(index)).take(MAX_NAMED);
    let names = missing.filter_map(|index| Some(name(&Shard::new(index, count).ok()?.file(whole))));
    let names = names.collect::<Vec<_>>().join(", ");
    let missing = count - there.len();
    let (verb, more) = (if missing == 1 { "is" } else { "are" }, if missing > MAX_NAMED { ", …" } else { "" });
    Err(Error::file(whole, format!("{missing} of its {count} shards {verb} missing: {names}{more}")))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_found_by_any_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let touch = |name: &str| fs::write(path(name), "").unwrap();
        // Eleven, so that the order is that of numbers, not of letters.
        let set: Vec<PathBuf> = (0..11).map(|i| path(&format!("codes.{i}-of-11.npy"))).collect();
        set.iter().for_each(|file| fs::write(file, "").unwrap());
        ["names.0-of-1.txt", "other.npy", "codes.1-of-2.txt"].into_iter().for_each(touch);
        for name in ["codes.npy", "codes.3-of-11.npy", ""] {
            assert_eq!(shard_files(&path(name)).unwrap(), set, "{name:?}");
        }
        assert_eq!(shard_files(&path("other.npy")).unwrap(), [path("other.npy")]);
        assert_eq!(shard_files(&path("names.txt")).unwrap(), [path("names.0-of-1.txt")]);
        let problem = |name: &str| shard_files(&path(name)).unwrap_err().to_string();
        assert!(
            problem("nothing.npy")
                .contains("nothing.npy: no such file, and no shards of it such as nothing.0-of-1.npy")
        );
        fs::remove_file(&set[4]).unwrap();
        assert!(
            problem("").ends_with("codes.npy: 1 of its 11 shards is missing: codes.4-of-11.npy"),
            "{}",
            problem("")
        );
        fs::remove_file(&set[10]).unwrap();
        assert!(problem("codes.0-of-11.npy").contains("are missing: codes.4-of-11.npy, codes.10-of-11.npy"));
        touch("codes.0-of-3.npy");
        assert!(problem("codes.npy").contains("sets of 3 and of 11 shards"), "{}", problem("codes.npy"));
        assert!(problem("").contains("several sets of shards (codes.npy in 3, codes.npy in 11)"), "{}", problem(""));
        // The whole one comes before its shards.
        touch("codes.npy");
        assert_eq!(shard_files(&path("codes.npy")).unwrap(), [path("codes.npy")]);
        // However many a name claims.
        touch("vast.0-of-18446744073709551615.npy");
        assert!(
            problem("vast.npy").contains("vast.1-of-18446744073709551615.npy") && problem("vast.npy").ends_with(", …")
        );
    }
}
