//! Event files that TensorBoard shows: scalars, pictures and text along the steps of a run.
//!
//! A file is a list of records in the framing of [TFRecord]: length, masked CRC-32C of the length, an `Event` in
//! protocol buffers, masked CRC-32C of the event. All files of a folder together are one run, in the order of their
//! names; a run that is resumed begins a file of its own and says from which step on the earlier ones no longer count.
//!
//! [TFRecord]: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details

mod messages;

use crate::error::{Error, Result};
use messages::{Dim, Event, Image, PluginData, SessionLog, Summary, SummaryMetadata, TaggedValue, Tensor, TensorShape};
use messages::{Value, What};
use prost::Message;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

/// What the names of event files begin with.
const NAME: &str = "events.out.tfevents.";
/// The format that TensorFlow has written since 2016; readers look for it in the first record.
const FILE_VERSION: &str = "brain.Event:2";

/// Writes an event file. Each record is stamped with the time at which it is written.
///
/// ```
/// use degrain::report::EventWriter;
///
/// let mut events = EventWriter::new(Vec::new())?;
/// events.scalars(1, &[("loss/train", 0.25), ("learning_rate", 0.002)])?;
/// events.text(1, "config", "```\nepochs = 3\n```")?;
/// assert!(events.into_inner().len() > 100);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventWriter<W: Write> {
    out: W,
    record: Vec<u8>,
}

impl EventWriter<BufWriter<File>> {
    /// Begins a new file in `folder`, under a name that sorts behind those of the event files there.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub fn create(folder: &Path) -> Result<Self> {
        let begin = || -> io::Result<Self> {
            let seconds =
                (seconds_since_1970() as u64).max(latest(folder)?.map_or(0, |latest| latest.saturating_add(1)));
            let host = gethostname::gethostname().to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let name = format!("{NAME}{seconds:010}.{host}.{}", std::process::id());
            Self::new(BufWriter::new(File::create_new(folder.join(name))?))
        };
        begin().map_err(Error::io(folder, "write an event file"))
    }
}

/// Whether there are event files in `folder`. A folder that cannot be read has none.
pub fn has_event_files(folder: &Path) -> bool {
    latest(folder).is_ok_and(|latest| latest.is_some())
}

/// The time in the name of the last event file in `folder`.
fn latest(folder: &Path) -> io::Result<Option<u64>> {
    let mut latest = None;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let time = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('.').next()?.parse().ok());
        latest = latest.max(time);
    }
    Ok(latest)
}

impl<W: Write> EventWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of the writer, as in all methods.
    pub fn new(out: W) -> io::Result<Self> {
        let mut events = Self { out, record: Vec::new() };
        events.write(0, What::FileVersion(FILE_VERSION.to_owned()))?;
        Ok(events)
    }

    /// Says that the run goes on with `step`: what earlier files of the folder hold from there on is dropped by readers.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn begin_at(&mut self, step: u64) -> io::Result<()> {
        self.write(step, What::SessionLog(SessionLog { status: messages::START }))
    }

    /// Logs values under their tags, such as `loss/train`; TensorBoard puts what stands before the `/` together.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let value = |&(tag, value): &(&str, f64)| tagged(tag, Value::Scalar(value as f32), None);
        self.summary(step, values.iter().map(value).collect())
    }

    /// Logs a colour picture: the bytes of a PNG, JPEG or GIF file of `size` = [height, width] pixels.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn image(&mut self, step: u64, tag: &str, encoded: &[u8], size: [u32; 2]) -> io::Result<()> {
        let [height, width] = size.map(|pixels| i32::try_from(pixels).unwrap_or(i32::MAX));
        let image = Image { height, width, colorspace: 3, encoded_image_string: encoded.to_vec() };
        self.summary(step, vec![tagged(tag, Value::Image(image), None)])
    }

    /// Logs a text in Markdown.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn text(&mut self, step: u64, tag: &str, text: &str) -> io::Result<()> {
        let tensor = Tensor {
            dtype: messages::DT_STRING,
            tensor_shape: Some(TensorShape { dim: vec![Dim { size: 1 }] }),
            string_val: vec![text.as_bytes().to_vec()],
        };
        self.summary(step, vec![tagged(tag, Value::Tensor(tensor), Some("text"))])
    }

    /// Hands everything to the writer's file, where TensorBoard sees it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn summary(&mut self, step: u64, value: Vec<TaggedValue>) -> io::Result<()> {
        self.write(step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> io::Result<()> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let event = Event { wall_time: seconds_since_1970(), step, what: Some(what) };
        frame(&mut self.record, &event);
        self.out.write_all(&self.record)
    }
}

/// Puts an event into `record` with its length and checksums.
fn frame(record: &mut Vec<u8>, event: &Event) {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    record.clear();
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend_from_slice(&data);
    record.extend(masked_crc(&data).to_le_bytes());
}

/// The checksum of TFRecord: CRC-32C, turned and shifted so that a checksum of data that holds checksums is no weaker.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn tagged(tag: &str, value: Value, plugin: Option<&str>) -> TaggedValue {
    let metadata = |name: &str| SummaryMetadata { plugin_data: Some(PluginData { plugin_name: name.to_owned() }) };
    TaggedValue { tag: tag.to_owned(), metadata: plugin.map(metadata), value: Some(value) }
}

/// A clock that stands before 1970 counts as 1970.
fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[cfg(test)]
#[path = "tensorboard/tests.rs"]
mod tests;
