//! A data set dealt to several processes: each takes one contiguous part.

use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One of `count` parts of a whole, counted from 0, as schedulers number the tasks of an array (`SLURM_ARRAY_TASK_ID` of
/// `--array=0-3`, `SLURM_PROCID`) and MPI its ranks. Written `I/N`: of four parts `0/4`, `1/4`, `2/4` and `3/4`.
///
/// ```
/// use degrain::data::Shard;
/// use std::path::Path;
///
/// let shard: Shard = "1/4".parse()?;
/// assert_eq!(shard.range(10), 2..5); // of ten: 0..2, 2..5, 5..7 and 7..10
/// assert_eq!(shard.file(Path::new("out/codes.npy")), Path::new("out/codes.1-of-4.npy"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// The only part: all of it.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Part `index` of `count`.
    ///
    /// # Errors
    /// An index that is not below the count.
    pub fn new(index: usize, count: usize) -> Result<Self> {
        Self::checked(index, count).map_err(|problem| Error::setting("--shard", problem))
    }

    /// The part of one of several ranks.
    pub(crate) fn of_rank(rank: usize, ranks: usize) -> Self {
        Self { index: rank, count: ranks.max(1) }
    }

    fn checked(index: usize, count: usize) -> Result<Self, String> {
        match (index, count) {
            (_, 0) => Err(format!("{index}/0: there is at least one part")),
            (index, count) if index >= count => {
                let last = count - 1;
                Err(format!("{index}/{count}: parts are counted from 0, so that the last one is {last}/{count}"))
            }
            _ => Ok(Self { index, count }),
        }
    }

    /// Which part, from 0 on.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many parts there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// Its part of `len` things in a row. The parts of all shards follow each other without a gap and differ by one
    /// thing at most; where there are more parts than things, some are empty.
    pub fn range(self, len: usize) -> Range<usize> {
        let bound = |index: usize| (index as u128 * len as u128 / self.count as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }

    /// The file that holds its part of what `path` would hold whole: `codes.1-of-4.npy` of `codes.npy`.
    pub fn file(self, path: &Path) -> PathBuf {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        path.with_file_name(format!("{stem}.{}-of-{}{}", self.index, self.count, extension.unwrap_or_default()))
    }

    /// The name of the whole and the shard, where `path` is named as [`Shard::file`] names files.
    pub fn of_file(path: &Path) -> Option<(PathBuf, Self)> {
        let stem = path.file_stem()?.to_str()?;
        let (whole, part) = stem.rsplit_once('.')?;
        let (index, count) = part.split_once("-of-")?;
        let shard = Self::checked(plain_number(index)?, plain_number(count)?).ok()?;
        let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        Some((path.with_file_name(format!("{whole}{}", extension.unwrap_or_default())), shard))
    }
}

/// A number as [`Shard::file`] writes it: no sign, no zeros before it.
fn plain_number(text: &str) -> Option<usize> {
    text.parse::<usize>().ok().filter(|number| number.to_string() == text)
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        match text.split_once('/').map(|(index, count)| (number(index), number(count))) {
            Some((Some(index), Some(count))) => Self::checked(index, count),
            _ => Err(format!("{text} is no I/N, the number of a part from 0 on and how many there are, such as 0/4")),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_are_even() {
        for (len, count) in [(0, 1), (0, 3), (2, 5), (10, 4), (1000, 7), (usize::MAX, 3)] {
            let mut end = 0;
            for index in 0..count {
                let range = Shard::new(index, count).unwrap().range(len);
                assert_eq!(range.start, end, "{index}/{count} of {len}");
                assert!((len / count..=len.div_ceil(count)).contains(&range.len()), "{index}/{count} of {len}");
                end = range.end;
            }
            assert_eq!(end, len);
        }
        assert_eq!(Shard::WHOLE.range(9), 0..9);
    }

    #[test]
    fn words_are_read_or_refused() {
        assert_eq!("3/4".parse::<Shard>().unwrap(), Shard::new(3, 4).unwrap());
        assert_eq!(Shard::new(3, 4).unwrap().to_string(), "3/4");
        for (text, says) in [
            ("4/4", "the last one is 3/4"),
            ("0/0", "at least one"),
            ("1", "such as 0/4"),
            ("-1/4", "such as 0/4"),
            ("+1/4", "such as 0/4"),
            ("a/4", "such as 0/4"),
            ("1/4/5", "such as 0/4"),
            ("/", "such as 0/4"),
            ("99999999999999999999/4", "such as 0/4"),
        ] {
            let problem = text.parse::<Shard>().unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
        assert!(Shard::new(2, 2).unwrap_err().to_string().starts_with("--shard: 2/2"));
    }

    #[test]
    fn files_tell_their_shard() {
        for (whole, part) in
            [("codes.npy", "codes.2-of-30.npy"), ("a/b.c.npy", "a/b.c.2-of-30.npy"), ("n", "n.2-of-30")]
        {
            let shard = Shard::new(2, 30).unwrap();
            assert_eq!(shard.file(Path::new(whole)), Path::new(part));
            if whole.contains('.') {
                assert_eq!(Shard::of_file(Path::new(part)), Some((PathBuf::from(whole), shard)));
            }
        }
        for other in ["codes.npy", "codes.3-of-3.npy", "codes.01-of-3.npy", "0-of-3.npy", "codes.0of3.npy", ""] {
            assert_eq!(Shard::of_file(Path::new(other)), None, "{other}");
        }
    }
}
