//! `metrics.csv` and `steps.csv`: rows that are appended as training goes on, and cut back on resuming.

use crate::atomic_file::{write_bytes, write_file};
use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// No row is longer; a longer line is damage.
const MAX_LINE_BYTES: u64 = 4096;

/// A line of a CSV file of numbers.
pub trait Row: Sized {
    /// Names of the columns.
    const HEADER: &'static str;

    /// Epoch or step: rows come in this order.
    fn index(&self) -> u64;

    /// Appends the row to `line`, without an end of line, in digits that read back exactly.
    fn format(&self, line: &mut String);

    /// Reads what [`Row::format`] wrote.
    fn parse(line: &str) -> Option<Self>;
}

/// A row of `steps.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRow {
    /// 1 for the first step of the run.
    pub step: u64,
    /// Loss of the batch before its update.
    pub loss: f32,
}

/// A row of `metrics.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochRow {
    /// 1 for the first epoch of the run.
    pub epoch: u64,
    /// Mean loss over the epoch's batches.
    pub train_loss: f64,
    /// Loss on the held-out pictures; empty where there are none.
    pub val_loss: Option<f64>,
    /// Wall-clock time of the epoch, validation included.
    pub seconds: f64,
    /// Training pictures per second.
    pub images_per_second: f64,
    /// Means of the parts of the loss, in training and on the held-out pictures; empty where it has one part.
    pub parts: [Option<f64>; PARTS],
}

/// Columns of `metrics.csv` for the parts of the loss.
pub const PARTS: usize = 6;

impl Row for StepRow {
    const HEADER: &'static str = "step,loss";

    fn index(&self) -> u64 {
        self.step
    }

    fn format(&self, line: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(line, "{},{}", self.step, self.loss);
    }

    fn parse(line: &str) -> Option<Self> {
        let (step, loss) = line.split_once(',')?;
        Some(Self { step: step.parse().ok()?, loss: loss.parse().ok()? })
    }
}

impl Row for EpochRow {
    const HEADER: &'static str = "epoch,train_loss,val_loss,seconds,images_per_second,\
        reconstruction,code_penalty,weight_penalty,val_reconstruction,val_code_penalty,val_weight_penalty";

    fn index(&self) -> u64 {
        self.epoch
    }

    fn format(&self, line: &mut String) {
        let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let val_loss = optional(self.val_loss);
        let Self { epoch, train_loss, seconds, images_per_second, .. } = self;
        // Writing to a String cannot fail.
        let _ = write!(line, "{epoch},{train_loss},{val_loss},{seconds},{images_per_second}");
        for part in self.parts {
            let _ = write!(line, ",{}", optional(part));
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        fn optional(field: &str) -> Option<Option<f64>> {
            if field.is_empty() { Some(None) } else { field.parse().ok().map(Some) }
        }
        let [epoch, train_loss, val_loss, seconds, images_per_second, parts @ ..] = &fields[..] else { return None };
        let parts: Vec<Option<f64>> = parts.iter().map(|field| optional(field)).collect::<Option<_>>()?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            train_loss: train_loss.parse().ok()?,
            val_loss: optional(val_loss)?,
            seconds: seconds.parse().ok()?,
            images_per_second: images_per_second.parse().ok()?,
            parts: parts.try_into().ok()?,
        })
    }
}

/// A CSV file that is open for appending.
#[derive(Debug)]
pub struct RowLog<R> {
    path: PathBuf,
    file: File,
    text: String,
    rows: PhantomData<fn(R)>,
}

impl<R: Row> RowLog<R> {
    /// A new file with a header and no rows, in place of any that was there.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn create(path: &Path) -> Result<Self> {
        write_bytes(path, format!("{}\n", R::HEADER).as_bytes())?;
        Self::open(path)
    }

    /// Goes on with a file: rows up to and including index `last` stay, the rest goes, and so does a last line that
    /// a killed process left half written. A file that is not there is begun.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file, [`Error::File`] for a file of something else.
    pub fn resume(path: &Path, last: u64) -> Result<Self> {
        let mut rows = match Rows::<R>::open(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Self::create(path),
            rows => rows?,
        };
        let mut kept_bytes = rows.bytes;
        while let Some(row) = rows.next().transpose()? {
            if row.index() > last {
                break;
            }
            kept_bytes = rows.bytes;
        }
        if kept_bytes == 0 {
            return Self::create(path);
        }
        let source = File::open(path).map_err(Error::io(path, "read"))?;
        write_file(path, |file| io::copy(&mut source.take(kept_bytes), file).map(drop))?;
        Self::open(path)
    }

    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io(path, "write"))?;
        Ok(Self { path: path.to_path_buf(), file, text: String::new(), rows: PhantomData })
    }

    /// Appends rows; they are with the operating system when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file, for a full disk for instance.
    pub fn append(&mut self, rows: &[R]) -> Result<()> {
        self.text.clear();
        for row in rows {
            row.format(&mut self.text);
            self.text.push('\n');
        }
        self.file.write_all(self.text.as_bytes()).map_err(Error::io(&self.path, "write"))
    }

    /// Waits until the rows are on the disk. Call it before a checkpoint is written: resuming keeps the rows up to the
    /// checkpoint, so they must not be lost where it is not.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path, "write"))
    }
}

/// Reads all rows of a file, for plots.
///
/// # Errors
/// [`Error::Io`] naming the file, [`Error::File`] for a file of something else.
pub fn read_rows<R: Row>(path: &Path) -> Result<Vec<R>> {
    Rows::open(path)?.collect()
}

/// The rows of a file one by one; ends before a last line that is not whole.
struct Rows<R> {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    line_number: u64,
    /// Length of the lines that were whole so far.
    bytes: u64,
    rows: PhantomData<fn() -> R>,
}

impl<R: Row> Rows<R> {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        let reader = BufReader::with_capacity(1 << 16, file);
        let path = path.to_path_buf();
        let mut rows = Self { path, reader, line: Vec::new(), line_number: 0, bytes: 0, rows: PhantomData };
        let whole = rows.next_line()?;
        let expected = R::HEADER.as_bytes();
        if whole && rows.text() == Some(R::HEADER) {
            rows.bytes = rows.line.len() as u64;
        } else if whole || !expected.starts_with(&rows.line) {
            return Err(Error::file(&rows.path, format!("does not begin with the line {:?}", R::HEADER)));
        }
        Ok(rows)
    }

    /// Reads a line; false if it does not end, because the file does or because it is too long.
    fn next_line(&mut self) -> Result<bool> {
        self.line.clear();
        self.line_number += 1;
        let mut limited = self.reader.by_ref().take(MAX_LINE_BYTES);
        limited.read_until(b'\n', &mut self.line).map_err(Error::io(&self.path, "read"))?;
        Ok(self.line.ends_with(b"\n"))
    }

    /// The line without its end, which may be Windows's.
    fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.line).ok()?.strip_suffix('\n')?;
        Some(text.strip_suffix('\r').unwrap_or(text))
    }

    fn at_end(&mut self) -> Result<bool> {
        Ok(self.reader.fill_buf().map_err(Error::io(&self.path, "read"))?.is_empty())
    }

    fn read_row(&mut self) -> Result<Option<R>> {
        self.next_line()?;
        if let Some(row) = self.text().and_then(R::parse) {
            self.bytes += self.line.len() as u64;
            return Ok(Some(row));
        }
        if self.at_end()? {
            return Ok(None);
        }
        let problem = format!("line {} is no row of {}: mend it or remove the file", self.line_number, R::HEADER);
        Err(Error::file(&self.path, problem))
    }
}

impl<R: Row> Iterator for Rows<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_row().transpose()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn steps(range: std::ops::RangeInclusive<u64>) -> Vec<StepRow> {
        range.map(|step| StepRow { step, loss: 1.0 / step as f32 }).collect()
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps.csv");
        (folder, path)
    }

    fn epoch(epoch: u64, val_loss: Option<f64>) -> EpochRow {
        EpochRow {
            epoch,
            train_loss: 0.1 + epoch as f64 / 3.0,
            val_loss,
            seconds: 1.25,
            images_per_second: 1e5 / 7.0,
            parts: [val_loss; PARTS],
        }
    }

    proptest! {
        #[test]
        fn rows_read_back_exactly(step in any::<u64>(), loss in any::<f32>(), train in any::<f64>(), val in any::<Option<f64>>()) {
            let mut line = String::new();
            StepRow { step, loss }.format(&mut line);
            let read = StepRow::parse(&line).unwrap();
            prop_assert!(read.step == step && (read.loss.to_bits() == loss.to_bits() || loss.is_nan() && read.loss.is_nan()));
            let row = EpochRow { epoch: step, train_loss: train, val_loss: val, seconds: train, images_per_second: train, parts: [val; PARTS] };
            line.clear();
            row.format(&mut line);
            let read = EpochRow::parse(&line).unwrap();
            prop_assert!(read == row || train.is_nan() || val.is_some_and(f64::is_nan), "{line}");
        }
    }

    #[test]
    fn a_file_is_a_header_and_its_rows() {
        let (_folder, path) = file();
        let mut log = RowLog::create(&path).unwrap();
        log.append(&[StepRow { step: 1, loss: 0.1 }]).unwrap();
        log.append(&[StepRow { step: 2, loss: 1e-10 }, StepRow { step: 3, loss: f32::NAN }]).unwrap();
        log.append(&[]).unwrap();
        log.sync().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "step,loss\n1,0.1\n2,0.0000000001\n3,NaN\n");
        let mut log = RowLog::create(&path).unwrap();
        log.append(&[epoch(1, None), epoch(2, Some(0.5))]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(
                "epoch,train_loss,val_loss,seconds,images_per_second,reconstruction,code_penalty,weight_penalty,"
            ) && text.contains("\n1,0.43333333333333335,,1.25,"),
            "{text}"
        );
        assert_eq!(read_rows::<EpochRow>(&path).unwrap(), [epoch(1, None), epoch(2, Some(0.5))]);
    }

    #[test]
    fn resuming_drops_what_came_after() {
        let (_folder, path) = file();
        for last in [0, 1, 5, 9, 10, 11] {
            RowLog::create(&path).unwrap().append(&steps(1..=10)).unwrap();
            let mut log = RowLog::resume(&path, last).unwrap();
            let kept = last.min(10);
            assert_eq!(read_rows::<StepRow>(&path).unwrap(), steps(1..=kept), "{last}");
            log.append(&steps(kept + 1..=kept + 2)).unwrap();
            assert_eq!(read_rows::<StepRow>(&path).unwrap(), steps(1..=kept + 2), "{last}");
        }
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_was_torn() {
        let (_folder, path) = file();
        let mut whole = String::from("step,loss\n");
        for row in steps(1..=3) {
            row.format(&mut whole);
            whole.push('\n');
        }
        for len in 0..=whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let complete = whole[..len].matches('\n').count().saturating_sub(1) as u64;
            let mut log = RowLog::resume(&path, 100).unwrap();
            log.append(&steps(complete + 1..=4)).unwrap();
            assert_eq!(read_rows::<StepRow>(&path).unwrap(), steps(1..=4), "{len}");
        }
        fs::write(&path, b"step,loss\n1,1\n2,\0\0\0\0").unwrap();
        RowLog::<StepRow>::resume(&path, 100).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"step,loss\n1,1\n");
    }

    #[test]
    fn a_missing_file_is_begun() {
        let (_folder, path) = file();
        RowLog::<StepRow>::resume(&path, 100).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"step,loss\n");
    }

    #[test]
    fn foreign_files_are_refused_and_left_alone() {
        let (_folder, path) = file();
        let long = format!("step,loss\n1,{}\n2,3\n", "0".repeat(10_000));
        let cases = [
            ("a,b\n1,2\n", "does not begin with the line \"step,loss\""),
            ("notes", "does not begin"),
            ("step,loss\n1,0.5\nx\n3,0.5\n", "line 3 is no row of step,loss"),
            ("step,loss\n1,0.5,7\n3,0.5\n", "line 2 is no row"),
            (long.as_str(), "line 2 is no row"),
        ];
        for (text, wanted) in cases {
            fs::write(&path, text).unwrap();
            let message = RowLog::<StepRow>::resume(&path, 100).unwrap_err().to_string();
            assert!(message.starts_with(&path.display().to_string()) && message.contains(wanted), "{message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, "step,loss\r\n1,0.5\r\n").unwrap();
        assert_eq!(read_rows::<StepRow>(&path).unwrap(), [StepRow { step: 1, loss: 0.5 }]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut log = RowLog::<StepRow>::open(Path::new("/dev/full")).unwrap();
        match log.append(&steps(1..=1)).unwrap_err() {
            Error::Io { path, source, .. } => {
                assert_eq!((path.as_path(), source.kind()), (Path::new("/dev/full"), io::ErrorKind::StorageFull));
            }
            other => panic!("{other}"),
        }
    }
}
