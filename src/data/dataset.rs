//! The data set in memory.

use crate::data::{Attributes, Labels, Numbers, Target, fit};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// The numbers of a data set, sample after sample, each height x width x channels (NHWC), without gaps.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Pictures: 0 to 255.
    U8(Numbers<u8>),
    /// Floats as their file has them, all finite.
    F32(Numbers<f32>),
}

impl Values {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::U8(v) => v.truncate(len),
            Self::F32(v) => v.truncate(len),
        }
    }
}

/// A file that should have been a picture and is not in the data set.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// Its path inside the folder or archive.
    pub path: String,
    /// Why it could not be used.
    pub reason: String,
}

/// Pictures of one size, in a stable order: by path for folders and archives, by row for arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Height, width, channels of every sample.
    pub shape: [usize; 3],
    /// The pixels, (N, H, W, C).
    pub values: Values,
    /// One name per sample: the path inside its folder or archive, or `#row` for arrays.
    pub names: Vec<String>,
    /// One number per sample; samples that share it are near copies of each other and must stay on one side of a split.
    pub groups: Option<Vec<u32>>,
    /// The class of every sample, where the source tells: sub-folders, a label array, MNIST's label file.
    pub labels: Option<Labels>,
    /// Real-valued properties of every sample, where a file of them was joined.
    pub attributes: Option<Attributes>,
    /// The class that the name of the file tells, where it holds one category and no labels. It becomes the label once
    /// there are several such files.
    pub category: Option<String>,
    /// Files that look like pictures and could not be used.
    pub skipped: Vec<Skipped>,
    /// How many files were passed over because their names are not those of pictures.
    pub ignored: usize,
    /// What it was read from, for people.
    pub origin: String,
    /// Whether all of it came out of the cache.
    pub from_cache: bool,
}

impl Dataset {
    /// Samples without labels, groups or an origin: `values` (N, H, W, C) of `shape` = [H, W, C], one name each.
    pub fn new(shape: [usize; 3], values: Values, names: Vec<String>) -> Self {
        Self {
            shape,
            values,
            names,
            groups: None,
            labels: None,
            attributes: None,
            category: None,
            skipped: Vec::new(),
            ignored: 0,
            origin: String::new(),
            from_cache: false,
        }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none. What [`super::open`] returns never is.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Numbers in one sample: height x width x channels.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Writes sample `i` to `out` as floats: u8 as x/255 + `offset`, floats as they are. Returns whether there is a
    /// sample `i` and `out` has [`Self::sample_len`] numbers; otherwise `out` is left alone.
    #[must_use]
    pub fn sample_f32(&self, i: usize, offset: f32, out: &mut [f32]) -> bool {
        let len = self.sample_len();
        let Some(range) = i.checked_mul(len).and_then(|start| Some(start..start.checked_add(len)?)) else {
            return false;
        };
        if out.len() != len {
            return false;
        }
        match &self.values {
            Values::U8(v) => v.get(range).map(|x| {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f32::from(x) / 255.0 + offset;
                }
            }),
            Values::F32(v) => v.get(range).map(|x| out.copy_from_slice(x)),
        }
        .is_some()
    }

    /// Samples `rows` as floats, one after the other, each as [`Self::sample_f32`] gives it: (rows, H, W, C). A row that
    /// is not there is all zeros.
    pub fn floats(&self, rows: &[u32], offset: f32) -> Vec<f32> {
        let len = self.sample_len().max(1);
        let mut floats = vec![0.0; rows.len() * len];
        for (&row, sample) in rows.iter().zip(floats.chunks_exact_mut(len)) {
            let _ = self.sample_f32(row as usize, offset, sample);
        }
        floats
    }

    /// The smallest and the largest number. Floats are taken as they are, so a range like 0 to 255 is worth a warning.
    pub fn range(&self) -> (f32, f32) {
        fn of<T: Copy + Into<f32>>(values: &[T]) -> (f32, f32) {
            values
                .iter()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x.into()), high.max(x.into())))
        }
        match &self.values {
            Values::U8(v) => of(v),
            Values::F32(v) => of(v),
        }
    }

    /// Keeps the first `n` samples.
    pub fn limit(&mut self, n: usize) {
        if n >= self.len() {
            return;
        }
        self.values.truncate(n * self.sample_len());
        self.names.truncate(n);
        if let Some(groups) = &mut self.groups {
            groups.truncate(n);
        }
        if let Some(labels) = &mut self.labels {
            labels.ids.truncate(n);
        }
        if let Some(attributes) = &mut self.attributes {
            attributes.values.truncate(n * attributes.names.len());
        }
    }

    /// The samples with these indices, in this order; an index past the end is left out.
    pub fn select(&self, indices: &[u32]) -> Self {
        fn rows<T: Copy>(values: &[T], len: usize, kept: &[usize]) -> Vec<T> {
            kept.iter().flat_map(|&i| &values[i * len..(i + 1) * len]).copied().collect()
        }
        let kept: Vec<usize> = indices.iter().map(|&i| i as usize).filter(|&i| i < self.len()).collect();
        let len = self.sample_len();
        Self {
            shape: self.shape,
            values: match &self.values {
                Values::U8(v) => Values::U8(rows(v, len, &kept).into()),
                Values::F32(v) => Values::F32(rows(v, len, &kept).into()),
            },
            names: kept.iter().map(|&i| self.names[i].clone()).collect(),
            groups: self.groups.as_ref().map(|g| rows(g, 1, &kept)),
            labels: self.labels.as_ref().map(|l| Labels { names: l.names.clone(), ids: rows(&l.ids, 1, &kept) }),
            attributes: self.attributes.as_ref().map(|a| a.select(&kept)),
            category: self.category.clone(),
            skipped: self.skipped.clone(),
            ignored: self.ignored,
            origin: self.origin.clone(),
            from_cache: self.from_cache,
        }
    }

    /// Every sample brought to another size or number of channels, as pictures from files are; never cropped.
    ///
    /// # Errors
    /// A target that no picture can be brought to.
    pub fn fit(mut self, target: &Target) -> Result<Self> {
        fn all<T: fit::Pixel>(values: &[T], shape: [usize; 3], target: &Target) -> Vec<T> {
            let len = shape.iter().product::<usize>().max(1);
            let samples: Vec<Vec<T>> = values.par_chunks_exact(len).map(|s| fit::fit(s, shape, target)).collect();
            samples.concat()
        }
        target.check()?;
        if self.shape != target.shape() {
            self.values = match &self.values {
                Values::U8(v) => Values::U8(all(v, self.shape, target).into()),
                Values::F32(v) => Values::F32(all(v, self.shape, target).into()),
            };
            self.shape = target.shape();
        }
        Ok(self)
    }

    /// Gives the samples these labels, one each, in place of any that they had.
    ///
    /// # Errors
    /// Another number of labels than of samples; `from` names where they came from.
    pub fn set_labels(&mut self, labels: Labels, from: &str) -> Result<()> {
        if labels.ids.len() != self.len() {
            let problem = format!("{} labels for the {} pictures of {}", labels.ids.len(), self.len(), self.origin);
            return Err(Error::setting(from, problem));
        }
        self.labels = Some(labels);
        Ok(())
    }

    /// One data set after the other. Labels are kept where all have them or a category, joined by name; groups stay apart.
    ///
    /// # Errors
    /// No data sets, different sizes, or 8-bit pictures beside floats.
    pub fn concat(parts: Vec<Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let Some(mut whole) = parts.next() else {
            return Err(Error::setting("--data", "wanted at least one folder, archive, picture or array"));
        };
        for part in parts {
            whole.append(part)?;
        }
        Ok(whole)
    }

    fn append(&mut self, part: Self) -> Result<()> {
        let mixed = |problem| Err(Error::setting("--data", format!("{} and {}: {problem}", self.origin, part.origin)));
        if self.shape != part.shape {
            return mixed(format!("sizes {:?} and {:?} cannot be mixed", self.shape, part.shape));
        }
        match (&mut self.values, part.values) {
            (Values::U8(all), Values::U8(more)) => extend(all, &more),
            (Values::F32(all), Values::F32(more)) => extend(all, &more),
            _ => {
                return mixed(
                    "8-bit pictures and floats cannot be mixed; save the floats as u8, or all as floats".into(),
                );
            }
        }
        self.groups = match (self.groups.take(), part.groups) {
            (None, None) => None,
            (ours, theirs) => Some(join_groups(ours, self.names.len(), theirs, part.names.len())),
        };
        let ours = labels_or_category(self.labels.take(), self.category.take(), self.names.len());
        let theirs = labels_or_category(part.labels, part.category, part.names.len());
        self.labels = match (ours, theirs) {
            (Some(ours), Some(theirs)) => Some(ours.join(theirs)),
            _ => None,
        };
        self.attributes = match (self.attributes.take(), part.attributes) {
            (Some(mut ours), Some(theirs)) if ours.names == theirs.names => {
                ours.values.extend(theirs.values);
                Some(ours)
            }
            _ => None,
        };
        self.names.extend(part.names);
        self.skipped.extend(part.skipped);
        self.ignored += part.ignored;
        self.origin = format!("{} + {}", self.origin, part.origin);
        self.from_cache &= part.from_cache;
        Ok(())
    }
}

fn extend<T: bytemuck::Pod>(all: &mut Numbers<T>, more: &[T]) {
    let mut numbers = std::mem::replace(all, Vec::new().into()).into_vec();
    numbers.extend_from_slice(more);
    *all = numbers.into();
}

/// Groups of two data sets of which at least one has them: a sample without becomes a group of its own.
fn join_groups(ours: Option<Vec<u32>>, our_len: usize, theirs: Option<Vec<u32>>, their_len: usize) -> Vec<u32> {
    let alone = |len: usize| (0..len as u32).collect::<Vec<u32>>();
    let mut groups = ours.unwrap_or_else(|| alone(our_len));
    let next = groups.iter().max().map_or(0, |g| g.saturating_add(1));
    groups.extend(theirs.unwrap_or_else(|| alone(their_len)).iter().map(|g| g.saturating_add(next)));
    groups
}

fn labels_or_category(labels: Option<Labels>, category: Option<String>, len: usize) -> Option<Labels> {
    labels.or_else(|| Some(Labels { names: vec![category?], ids: vec![0; len] }))
}
