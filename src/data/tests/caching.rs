//! The cache.

use super::*;
use std::fs;

fn open_cached(source: &Path, target: &Target, cache: &Path) -> Dataset {
    open(&[source.to_path_buf()], target, None, &CacheMode::Folder(cache.to_path_buf()), &()).unwrap()
}

/// A folder with pictures in two sub-folders and a damaged one, and an empty folder for the cache.
fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("pictures");
    write(source.join("a/1.png"), png(4, [1; 3]));
    write(source.join("b/2.png"), png(4, [2; 3]));
    write(source.join("b/bad.png"), "bad");
    write(source.join("notes.txt"), "x");
    let cache = folder.path().join("cache/deep");
    (folder, source, cache)
}

fn only_file(cache: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(cache).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn the_second_reading_comes_from_the_cache_with_everything() {
    let (_folder, source, cache) = folders();
    let target = Target::new(2, 2, 3);
    let first = open_cached(&source, &target, &cache);
    assert!(!first.from_cache);
    let second = open_cached(&source, &target, &cache);
    assert_eq!(second, Dataset { from_cache: true, ..first.clone() });
    assert_eq!((second.skipped.len(), second.ignored), (1, 1));
    only_file(&cache);
    assert!(!open_cached(&source, &Target::new(2, 2, 1), &cache).from_cache, "another target");
    write(source.join("a/3.png"), png(4, [3; 3]));
    let changed = open_cached(&source, &target, &cache);
    assert_eq!((changed.from_cache, changed.len()), (false, 3));
    assert!(open_cached(&source, &target, &cache).from_cache);
}

#[test]
fn damage_is_noticed_and_repaired() {
    let (_folder, source, cache) = folders();
    let target = Target::new(2, 2, 3);
    let good = open_cached(&source, &target, &cache);
    let file = only_file(&cache);
    let whole = fs::read(&file).unwrap();
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut long_header = whole.clone();
    long_header[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let version = 8;
    let damaged = [
        Vec::new(),
        b"text".to_vec(),
        whole[..whole.len() - 1].to_vec(),
        long_header,
        flip(0),
        flip(version),
        flip(40),
        flip(whole.len() - 1),
    ];
    for bytes in damaged {
        fs::write(&file, &bytes).unwrap();
        assert_eq!(open_cached(&source, &target, &cache), good);
        assert_eq!(fs::read(&file).unwrap(), whole, "rewritten");
    }
    assert!(open_cached(&source, &target, &cache).from_cache);
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let (folder, source, _) = folders();
    let file = write(folder.path().join("a file"), "x");
    let target = Target::new(2, 2, 3);
    assert_eq!(open_cached(&source, &target, &file.join("cache")).len(), 2);
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn a_limited_reading_is_not_kept_but_is_served() {
    let (_folder, source, cache) = folders();
    let target = Target::new(2, 2, 3);
    let limited =
        || open(std::slice::from_ref(&source), &target, Some(1), &CacheMode::Folder(cache.clone()), &()).unwrap();
    assert_eq!(limited().len(), 1);
    assert!(!cache.exists());
    assert_eq!(open_cached(&source, &target, &cache).len(), 2);
    let first = limited();
    assert_eq!((first.len(), first.from_cache, first.labels.unwrap().ids.len()), (1, true, 1));
}
