//! What is said of the source and of what it is built from, held against them: unsafe code, the oldest compiler, licences.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The names in a text like `src/{a,b}.rs`.
fn expand(text: &str) -> Vec<String> {
    match (text.find('{'), text.find('}')) {
        (Some(open), Some(close)) => {
            let names = text[open + 1..close].split(',');
            names.map(|name| format!("{}{name}{}", &text[..open], &text[close + 1..])).collect()
        }
        _ => vec![text.to_owned()],
    }
}

#[test]
fn every_file_with_unsafe_code_is_listed_and_no_other() {
    let words = ["unsafe {", "unsafe fn ", "unsafe impl ", "unsafe extern "];
    let is_unsafe = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().any(|line| !line.trim_start().starts_with("//") && words.iter().any(|word| line.contains(word)))
    };
    let found: BTreeSet<String> = files(&root().join("src"))
        .iter()
        .filter(|path| is_unsafe(path))
        .map(|path| path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/"))
        .collect();
    let docs = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let section = docs.split("## Unsafe code").nth(1).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> = rows
        .filter_map(|row| row.split(" |").next())
        .flat_map(|cell| cell.split('`').filter(|text| text.starts_with("src/")).flat_map(expand).collect::<Vec<_>>())
        .collect();
    assert!(!found.is_empty());
    assert_eq!(found, listed, "docs/reliability.md lists the files on the right");
}

/// `1.89` as numbers.
fn version(text: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = text.split('.').map(|number| number.parse().unwrap()).collect();
    numbers.resize(3, 0);
    numbers
}

/// What is built for this system, itself among it.
fn packages() -> Vec<Value> {
    let cargo = env!("CARGO");
    let said = Command::new(cargo).arg("-vV").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Those of other systems may not have been fetched.
    let words = ["metadata", "--offline", "--locked", "--format-version=1", "--filter-platform", host];
    let output = Command::new(cargo).args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100, "{}", packages.len());
    packages
}

#[test]
fn no_dependency_asks_for_a_newer_compiler() {
    let own = version(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages() {
        if let Some(needed) = package["rust_version"].as_str() {
            let name = format!("{} {}", package["name"], package["version"]);
            assert!(version(needed) <= own, "{name} needs Rust {needed}: raise rust-version in Cargo.toml");
        }
    }
}

/// Some licences of an expression like `(MIT OR Apache-2.0) AND Unicode-3.0` that are together enough are allowed.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let is_one = |part: &str| {
        let part = part.trim_matches(['(', ')', ' ']).replace('/', " OR ");
        part.split(" OR ").any(|licence| allowed.contains(licence.trim()))
    };
    expression.split(" AND ").all(is_one)
}

/// What `cargo deny check licenses` says of the crates for all systems, of those for this one.
#[test]
fn every_licence_is_one_of_those_allowed() {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let names = table["licenses"]["allow"].as_array().unwrap();
    let allowed: BTreeSet<String> = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert!(is_allowed("(GPL-3.0 OR MIT) AND Zlib", &allowed) && !is_allowed("MIT AND GPL-3.0", &allowed));
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_allowed(licence, &allowed), "{} {}: {licence}", package["name"], package["version"]);
    }
}
