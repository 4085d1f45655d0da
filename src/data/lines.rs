//! Samples as text: one a line, its numbers between commas or blanks, with or without brackets around them; plain or
//! gzipped, lines ended by LF or CRLF. Some packs of QuickDraw have one such file per category.

use crate::data::archive::Counted;
use crate::data::rows::append;
use crate::data::source::Progress;
use crate::data::{Target, Values, arrays};
use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

/// Longest line that is read, in bytes.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// About how many bytes of text are taken in before the cores turn them into numbers.
const CHUNK_BYTES: usize = 4 << 20;

/// Whether a file, unzipped, begins like lines of numbers.
pub(super) fn is_lines(head: &[u8]) -> bool {
    let has_digit = head.iter().any(u8::is_ascii_digit);
    has_digit && head.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE,;[] \t\r\n".contains(byte))
}

/// The samples `window` of the file, as far as they are there: reals, taken as they are.
pub(super) fn read(path: &Path, target: &Target, window: Range<usize>, progress: &dyn Progress) -> Result<Values> {
    let mut reader = open(path, progress)?;
    let mut values = || {
        let mut lines = Lines { reader: &mut *reader, number: 0 };
        lines.pass_over(window.start)?;
        let (mut values, mut length, mut count) = (Vec::new(), None, 0);
        loop {
            let chunk = lines.chunk(window.len() - count)?;
            let Some(first) = chunk.first() else { break };
            // The first line tells how many numbers all of them have.
            let length = match length {
                Some(length) => length,
                None => *length.insert(numbers(first)?.len()),
            };
            let rows: Vec<Vec<f32>> =
                chunk.par_iter().map(|line| of_length(line, length)).collect::<Result<_, String>>()?;
            let shape = arrays::row_shape(length as u64, target)?;
            append(&mut values, rows.concat(), shape.map(|n| n as usize), target);
            count += chunk.len();
        }
        match count {
            0 => Err("holds no samples".to_string()),
            _ => Ok(Values::F32(values.into())),
        }
    };
    values().map_err(|problem| Error::file(path, problem))
}

/// How many samples there are.
pub(super) fn count(path: &Path) -> Result<usize> {
    let mut reader = open(path, &())?;
    let count = Lines { reader: &mut *reader, number: 0 }.pass_over(usize::MAX);
    count.map_err(|problem| Error::file(path, problem))
}

/// How many numbers the first line has.
pub(super) fn length(path: &Path) -> Result<u64> {
    let mut reader = open(path, &())?;
    let mut length = || {
        let first = Lines { reader: &mut *reader, number: 0 }.chunk(1)?;
        first.first().map_or(Err("holds no samples".to_string()), |line| Ok(numbers(line)?.len() as u64))
    };
    length().map_err(|problem| Error::file(path, problem))
}

fn open<'a>(path: &Path, progress: &'a dyn Progress) -> Result<Box<dyn BufRead + 'a>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    progress.total(file.metadata().map_or(0, |m| m.len()));
    let mut file = BufReader::new(Counted { inner: file, progress });
    let gzipped = file.fill_buf().map_err(Error::io(path, "read"))?.starts_with(&[0x1f, 0x8b]);
    Ok(if gzipped { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) })
}

struct Line {
    number: u64,
    text: String,
}

struct Lines<'a> {
    reader: &'a mut dyn BufRead,
    /// Of the last line that was read, counted from 1.
    number: u64,
}

impl Lines<'_> {
    /// Reads this many lines that are not empty, as far as they are there, and tells how many they were.
    fn pass_over(&mut self, most: usize) -> Result<usize, String> {
        let mut count = 0;
        loop {
            match self.chunk(most - count)?.len() {
                0 => return Ok(count),
                more => count += more,
            }
        }
    }

    /// The next lines that are not empty, at most `most`; none at the end.
    fn chunk(&mut self, most: usize) -> Result<Vec<Line>, String> {
        let (mut chunk, mut size_bytes) = (Vec::new(), 0);
        while chunk.len() < most && size_bytes < CHUNK_BYTES {
            let mut bytes = Vec::new();
            let damaged = |e: std::io::Error| format!("the file is damaged or truncated ({e}); fetch it again");
            if (&mut *self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).map_err(damaged)? == 0 {
                break;
            }
            self.number += 1;
            size_bytes += bytes.len();
            if bytes.len() as u64 == MAX_LINE_BYTES {
                return Err(format!("line {} is longer than {} MiB", self.number, MAX_LINE_BYTES >> 20));
            }
            let text = String::from_utf8_lossy(&bytes).trim().to_string();
            if !text.is_empty() {
                chunk.push(Line { number: self.number, text });
            }
        }
        Ok(chunk)
    }
}

fn of_length(line: &Line, length: usize) -> Result<Vec<f32>, String> {
    let numbers = numbers(line)?;
    if numbers.len() != length {
        return Err(format!("line {} has {} numbers, those before it {length}", line.number, numbers.len()));
    }
    Ok(numbers)
}

fn numbers(line: &Line) -> Result<Vec<f32>, String> {
    let text = line.text.trim_start_matches('[').trim_end_matches([']', ',']);
    let words = text.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|word| !word.is_empty());
    words
        .map(|word| match word.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("line {}: {word:?} is no finite number", line.number)),
        })
        .collect()
}
