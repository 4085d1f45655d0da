//! Labels from a file beside the data, and the choice of samples by label.

use crate::data::attributes::Table;
use crate::data::{Dataset, Labels, labels, picture, read_labels};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

impl Dataset {
    /// Labels from `path`, and how many pictures were left out. A file of
    ///
    /// - lines `path,label` (CSV, with or without that header) labels every picture by its path inside the folder or
    ///   archive, of which leading folders may be missing; each picture must be listed;
    /// - `person imagenum Male …` (`lfw_attributes.txt`) leaves the listed pictures, gives them
    ///   [`Dataset::attributes`], and keeps the labels that they have;
    /// - anything that [`read_labels`] takes has one label per picture, in file order.
    ///
    /// # Errors
    /// A file of none of these kinds, a picture without a label, or another number of labels than of pictures.
    pub fn with_labels(mut self, path: &Path) -> Result<(Self, usize)> {
        match labels::text(path)? {
            Some(text) if Table::is_one(&text) => return self.with_attributes(&text, path),
            Some(text) if is_list(path, &text) => {
                self.labels = Some(by_path(&text, &self).map_err(|problem| Error::file(path, problem))?);
            }
            _ => self.set_labels(read_labels(path)?, &path.display().to_string())?,
        }
        Ok((self, 0))
    }

    /// The sign of this attribute as the label of every sample, the attributes being kept.
    ///
    /// # Errors
    /// Samples without attributes, or no attribute of this name.
    pub fn label_by_attribute(&mut self, attribute: &str) -> Result<()> {
        let Some(attributes) = &self.attributes else {
            let problem =
                format!("the pictures of {} have no attributes: name lfw_attributes.txt by --labels", self.origin);
            return Err(Error::setting("data.attribute", problem));
        };
        self.labels = Some(attributes.labels(attribute)?);
        Ok(())
    }

    /// The samples that have one of these labels.
    ///
    /// # Errors
    /// Samples without labels, or a label that none of them has.
    pub fn keep_labels(&self, kept: &[String]) -> Result<Self> {
        let fail = |problem: String| Err(Error::setting("data.labels_kept", problem));
        let Some(labels) = &self.labels else {
            return fail(format!(
                "the pictures of {} have no labels to choose by: name a file by --labels, or take all by --keep-labels ''",
                self.origin
            ));
        };
        if let Some(unknown) = kept.iter().find(|name| !labels.names.contains(name)) {
            let known = labels::listed(&labels.names);
            return fail(format!(
                "there is no label {unknown:?}; there are {known}; all are taken by --keep-labels ''"
            ));
        }
        let has_one = |i: &u32| labels.name(*i as usize).is_some_and(|name| kept.iter().any(|kept| kept == name));
        let indices: Vec<u32> = (0..self.len() as u32).filter(has_one).collect();
        if indices.is_empty() {
            return fail(format!("no picture of {} has the label {}", self.origin, kept.join(" or ")));
        }
        let mut chosen = self.select(&indices);
        chosen.labels = chosen.labels.map(|labels| labels.without_unused());
        Ok(chosen)
    }
}

/// Whether a text lists paths with labels.
fn is_list(path: &Path, text: &str) -> bool {
    let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let first = text.lines().next().unwrap_or_default().trim();
    let names_picture =
        first.rsplit_once(',').is_some_and(|(path, _)| picture::has_picture_name(path.trim_matches('"')));
    is_csv || first.eq_ignore_ascii_case("path,label") || names_picture
}

/// The label of every picture of `data`, from lines `path,label`.
fn by_path(text: &str, data: &Dataset) -> Result<Labels, String> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut listed: HashMap<String, String> = HashMap::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(index as u64 + 1, csv::Position::line);
        let (Some(path), Some(label), 2) = (record.get(0), record.get(1), record.len()) else {
            return Err(format!("line {line} has {} fields; wanted path,label", record.len()));
        };
        if index == 0 && path.eq_ignore_ascii_case("path") && label.eq_ignore_ascii_case("label") {
            continue;
        }
        if path.is_empty() || label.is_empty() {
            return Err(format!("line {line}: a path or label is missing"));
        }
        let path = path.replace('\\', "/").trim_start_matches("./").to_string();
        if let Some(other) = listed.insert(path.clone(), label.to_string()).filter(|other| other != label) {
            return Err(format!("line {line}: {path} is {label:?} here and {other:?} before"));
        }
    }
    let labels: Vec<Option<&String>> = data.names.iter().map(|name| of_path(name, &listed)).collect();
    let missing = labels.iter().filter(|label| label.is_none()).count();
    let first = labels.iter().position(Option::is_none).and_then(|i| data.names.get(i));
    match first {
        Some(first) => {
            Err(format!("{missing} of the {} pictures have no label here; the first is {first}", data.len()))
        }
        None => Ok(Labels::from_names(&labels.into_iter().flatten().collect::<Vec<_>>())),
    }
}

/// The label listed for a path, or for its end: `a/b.png` for `set/a/b.png`.
fn of_path<'a>(name: &str, listed: &'a HashMap<String, String>) -> Option<&'a String> {
    let mut path = name;
    loop {
        if let Some(label) = listed.get(path) {
            return Some(label);
        }
        path = path.split_once('/')?.1;
    }
}
