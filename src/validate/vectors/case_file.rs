//! `case.json`: which op, with which attributes, on which arrays.

use super::Problem;
use super::folder::CASE_FILE;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Keys that a case may have for people; nothing reads them.
const REMARKS: [&str; 7] = ["name", "description", "comment", "note", "origin", "source", "seed"];

/// Order of the axes of pictures and kernels in the arrays of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Layout {
    /// Pictures (N, H, W, C), kernels (kh, kw, in, out), transposed kernels (kh, kw, out, in), dense (in, out).
    #[default]
    Nhwc,
    /// Pictures (N, C, H, W), kernels (out, in, kh, kw), transposed kernels (in, out, kh, kw), dense (out, in).
    Nchw,
}

/// The content of a `case.json`. Files are relative to its folder.
#[derive(Debug, Deserialize)]
pub(super) struct CaseFile {
    pub(super) op: String,
    #[serde(default)]
    pub(super) attributes: Map<String, Value>,
    #[serde(default)]
    pub(super) layout: Layout,
    pub(super) inputs: BTreeMap<String, PathBuf>,
    #[serde(default)]
    pub(super) outputs: BTreeMap<String, PathBuf>,
    #[serde(default)]
    gradients: Option<BTreeMap<String, PathBuf>>,
    #[serde(default)]
    pub(super) upstream: Option<PathBuf>,
    #[serde(default = "default_rtol")]
    pub(super) rtol: f64,
    #[serde(default = "default_atol")]
    pub(super) atol: f64,
    /// A misspelt key would silently leave a comparison out, so unknown ones are refused.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn default_rtol() -> f64 {
    1e-4
}

fn default_atol() -> f64 {
    1e-5
}

impl CaseFile {
    /// Reads the `case.json` of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(folder.join(CASE_FILE))
            .map_err(|error| Problem::Wrong(format!("{CASE_FILE}: cannot be read: {error}")))?;
        Self::parse(&text).map_err(|problem| Problem::Wrong(format!("{CASE_FILE}: {problem}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let case: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if let Some(key) = case.rest.keys().find(|key| !REMARKS.contains(&key.as_str())) {
            return Err(format!("key `{key}` is not known"));
        }
        for (name, value) in [("rtol", case.rtol), ("atol", case.atol)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("{name} must not be negative, got {value}"));
            }
        }
        if case.outputs.is_empty() && case.gradients().next().is_none() {
            return Err("there is nothing to compare: neither `outputs` nor `gradients` names an array".to_owned());
        }
        Ok(case)
    }

    /// Names and files of the gradients to compare.
    pub(super) fn gradients(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.gradients.iter().flatten().map(|(name, file)| (name.as_str(), file.as_path()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let case = CaseFile::parse(r#"{"op": "relu", "inputs": {"x": "x.npy"}, "outputs": {"y": "y.npy"}}"#).unwrap();
        assert_eq!((case.rtol, case.atol, case.layout), (1e-4, 1e-5, Layout::Nhwc));
        assert!(case.attributes.is_empty() && case.gradients().next().is_none() && case.upstream.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |rest: &str| CaseFile::parse(&format!(r#"{{"op": "relu", "inputs": {{"x": "x.npy"}}{rest}}}"#));
        let outputs = r#", "outputs": {"y": "y.npy"}"#;
        for (rest, reason) in [
            (String::new(), "nothing to compare"),
            (format!(r#"{outputs}, "gradient": {{"x": "dx.npy"}}"#), "`gradient` is not known"),
            (format!(r#"{outputs}, "layout": "chwn""#), "chwn"),
            (format!(r#"{outputs}, "rtol": -1"#), "rtol"),
            (format!(r#"{outputs}, "atol": "small""#), "small"),
            (r#", "outputs": {"y": 3}"#.to_owned(), "integer `3`"),
        ] {
            let problem = with(&rest).unwrap_err();
            assert!(problem.contains(reason) && !problem.contains('\n'), "{rest}: {problem}");
        }
        assert!(with(&format!(r#"{outputs}, "comment": "fine""#)).is_ok());
        assert!(CaseFile::parse("{").is_err());
        assert!(CaseFile::parse("[]").is_err());
    }
}
