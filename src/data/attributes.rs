//! Attributes of the pictures of the Labeled Faces in the Wild: `lfw_attributes.txt`.
//!
//! Format: tab-separated; comment lines begin with `#`; a header `person imagenum Male Asian …`, which may itself stand
//! behind a `#`; one line per picture with the person's name, the picture's number and one real per attribute, the higher
//! the surer. <https://www.cs.columbia.edu/CAVE/databases/pubfig/download/lfw_attributes.txt>

use crate::data::{Dataset, Labels};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Real-valued properties of every sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    /// Name of each attribute: `Male`, `Smiling`, …
    pub names: Vec<String>,
    /// (N, attributes), sample after sample; above 0 where the sample has it.
    pub values: Vec<f32>,
}

impl Attributes {
    /// The attributes of sample `i`.
    pub fn of(&self, i: usize) -> Option<&[f32]> {
        let start = i.checked_mul(self.names.len())?;
        self.values.get(start..start.checked_add(self.names.len())?)
    }

    /// The samples with these indices, in this order.
    pub(super) fn select(&self, kept: &[usize]) -> Self {
        let values = kept.iter().filter_map(|&i| self.of(i)).flatten().copied().collect();
        Self { names: self.names.clone(), values }
    }

    /// One class for a value above 0, named after the attribute, another for the rest, named `not …`.
    ///
    /// # Errors
    /// No attribute of this name; cases do not count.
    pub fn labels(&self, attribute: &str) -> Result<Labels> {
        let Some(column) = self.names.iter().position(|name| name.eq_ignore_ascii_case(attribute)) else {
            let names = self.names.join(", ");
            return Err(Error::setting("data.attribute", format!("there is no {attribute:?}; there are {names}")));
        };
        let name = self.names.get(column).cloned().unwrap_or_default();
        let rows = self.values.chunks_exact(self.names.len().max(1));
        let ids = rows.map(|row| u32::from(row.get(column).is_some_and(|&value| value > 0.0))).collect();
        Ok(Labels { names: vec![format!("not {name}"), name], ids })
    }
}

/// A file of attributes: for every picture that it lists, by file name.
#[derive(Debug)]
pub(super) struct Table {
    names: Vec<String>,
    /// Rows of `values` by the picture's file name.
    rows: HashMap<String, usize>,
    values: Vec<f32>,
}

impl Table {
    /// Whether a text is such a file, by its header.
    pub(super) fn is_one(text: &str) -> bool {
        text.lines()
            .take_while(|line| line.starts_with('#') || header(line).is_some())
            .any(|line| header(line).is_some())
    }

    /// From the text of a file. The error is the problem without the file's name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut names: Option<Vec<String>> = None;
        let (mut rows, mut values) = (HashMap::new(), Vec::new());
        for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end_matches(['\r', '\t']))) {
            if names.is_none() {
                names = header(line);
                continue;
            }
            let Some(names) = names.as_ref().filter(|_| !line.trim().is_empty() && !line.starts_with('#')) else {
                continue;
            };
            let mut fields = line.split('\t').map(str::trim);
            let (Some(person), Some(picture)) = (fields.next(), fields.next()) else {
                return Err(format!("line {number} has one field; wanted person, imagenum and the attributes"));
            };
            let Ok(picture) = picture.parse::<u32>() else {
                return Err(format!("line {number}: {picture:?} is no number of a picture"));
            };
            let first = values.len();
            for field in fields {
                match field.parse::<f32>() {
                    Ok(value) if value.is_finite() => values.push(value),
                    _ => return Err(format!("line {number}: {field:?} is no finite number")),
                }
            }
            let found = values.len() - first;
            if found != names.len() {
                return Err(format!("line {number} has {found} attributes, the header {}", names.len()));
            }
            let file = format!("{}_{picture:04}.jpg", person.replace(' ', "_"));
            if rows.insert(file.clone(), rows.len()).is_some() {
                return Err(format!("line {number} lists {file} again"));
            }
        }
        let names = names.ok_or("wanted a header with person, imagenum and the names of the attributes")?;
        if rows.is_empty() { Err("lists no pictures".into()) } else { Ok(Self { names, rows, values }) }
    }

    /// The pictures of `data` that are listed, with their attributes, and how many were not.
    fn join(&self, data: &Dataset) -> (Dataset, usize) {
        let row = |name: &String| self.rows.get(name.rsplit('/').next().unwrap_or(name)).copied();
        let found: Vec<(u32, usize)> =
            data.names.iter().enumerate().filter_map(|(i, name)| Some((i as u32, row(name)?))).collect();
        let indices: Vec<u32> = found.iter().map(|&(i, _)| i).collect();
        let rows: Vec<usize> = found.iter().map(|&(_, row)| row).collect();
        let all = Attributes { names: self.names.clone(), values: self.values.clone() };
        let mut joined = data.select(&indices);
        joined.attributes = Some(all.select(&rows));
        let left_out = data.len() - joined.len();
        (joined, left_out)
    }
}

/// The names of the attributes, if the line is a header.
fn header(line: &str) -> Option<Vec<String>> {
    let mut fields = line.trim_start_matches('#').trim().split('\t').map(str::trim).filter(|field| !field.is_empty());
    let is_header = fields.next() == Some("person") && fields.next() == Some("imagenum");
    let names: Vec<String> = fields.map(str::to_string).collect();
    (is_header && !names.is_empty()).then_some(names)
}

impl Dataset {
    /// The pictures that the attributes in `text` list, with these attributes, and how many others were left out.
    ///
    /// # Errors
    /// A damaged file, or one that lists none of the pictures; `path` is what messages call it.
    pub(super) fn with_attributes(&self, text: &str, path: &Path) -> Result<(Self, usize)> {
        let table = Table::parse(text).map_err(|problem| Error::file(path, problem))?;
        let (joined, left_out) = table.join(self);
        if joined.is_empty() {
            let problem = format!("lists none of the {} pictures of {}, by their file names", self.len(), self.origin);
            return Err(Error::file(path, problem));
        }
        Ok((joined, left_out))
    }
}
