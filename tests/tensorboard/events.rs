//! Reads event files, written apart from the writer: framing, checksums bit by bit, protocol buffers field by field.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) wall_time: f64,
    pub(crate) step: i64,
    pub(crate) file_version: Option<String>,
    /// `SessionLog.status`.
    pub(crate) session_status: Option<u64>,
    pub(crate) values: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Scalar(f32),
    /// Height, width, number of channels, encoded bytes.
    Image([u64; 3], Vec<u8>),
    Text(String),
}

/// CRC-32C (Castagnoli), bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The event files of a run, in the order in which TensorBoard reads them.
pub(crate) fn files(run: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let is_event_file = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains("tfevents");
    let mut files: Vec<PathBuf> = names.filter(is_event_file).collect();
    files.sort();
    files
}

/// All records of a file; checksums that are wrong, and bytes that are left over, fail the test.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(8);
        let (crc, rest) = rest.split_at(4);
        assert_eq!(u32::from_le_bytes(crc.try_into().unwrap()), masked(length));
        let (data, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let (crc, rest) = rest.split_at(4);
        assert_eq!(u32::from_le_bytes(crc.try_into().unwrap()), masked(data));
        events.push(event(data));
        bytes = rest;
    }
    events
}

/// The scalars that TensorBoard shows of these files together: by tag, (step, value). A start takes back what was there
/// from its step on.
pub(crate) fn scalars(files: &[Vec<Event>]) -> BTreeMap<String, Vec<(i64, f32)>> {
    let mut shown: BTreeMap<String, Vec<(i64, f32)>> = BTreeMap::new();
    for event in files.iter().flatten() {
        if event.session_status == Some(1) {
            shown.values_mut().for_each(|points| points.retain(|(step, _)| *step < event.step));
        }
        for (tag, value) in &event.values {
            if let Value::Scalar(value) = value {
                shown.entry(tag.clone()).or_default().push((event.step, *value));
            }
        }
    }
    shown
}

fn event(data: &[u8]) -> Event {
    let mut event = Event::default();
    for (number, field) in fields(data) {
        match (number, field) {
            (1, Field::Fixed64(bits)) => event.wall_time = f64::from_bits(bits),
            (2, Field::Varint(step)) => event.step = step as i64,
            (3, Field::Bytes(text)) => event.file_version = Some(utf8(text)),
            (5, Field::Bytes(summary)) => event.values.extend(fields(summary).into_iter().map(|field| match field {
                (1, Field::Bytes(data)) => value(data),
                other => panic!("in a summary: {other:?}"),
            })),
            (7, Field::Bytes(log)) => match fields(log)[..] {
                [(1, Field::Varint(status))] => event.session_status = Some(status),
                ref other => panic!("in a session log: {other:?}"),
            },
            other => panic!("in an event: {other:?}"),
        }
    }
    event
}

fn value(data: &[u8]) -> (String, Value) {
    let (mut tag, mut value, mut plugin) = (None, None, None);
    for (number, field) in fields(data) {
        match (number, field) {
            (1, Field::Bytes(text)) => tag = Some(utf8(text)),
            (2, Field::Fixed32(bits)) => value = Some(Value::Scalar(f32::from_bits(bits))),
            (4, Field::Bytes(data)) => value = Some(image(data)),
            (8, Field::Bytes(tensor)) => {
                let fields = fields(tensor);
                assert_eq!(fields[0], (1, Field::Varint(7)), "a tensor of strings");
                let text = fields.iter().find_map(|field| match field {
                    (8, Field::Bytes(text)) => Some(utf8(text)),
                    _ => None,
                });
                value = text.map(Value::Text);
            }
            (9, Field::Bytes(metadata)) => plugin = Some(metadata.to_vec()),
            other => panic!("in a value: {other:?}"),
        }
    }
    let value = value.unwrap();
    assert_eq!(plugin, matches!(value, Value::Text(_)).then(|| b"\x0a\x06\x0a\x04text".to_vec()));
    (tag.unwrap(), value)
}

fn image(data: &[u8]) -> Value {
    let [(1, Field::Varint(h)), (2, Field::Varint(w)), (3, Field::Varint(c)), (4, Field::Bytes(bytes))] =
        fields(data)[..]
    else {
        panic!("an image of other fields")
    };
    Value::Image([h, w, c], bytes.to_vec())
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[derive(Debug, PartialEq)]
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Number and value of every field of a message.
fn fields(mut data: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut data)),
            1 => Field::Fixed64(u64::from_le_bytes(take(&mut data, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut data) as usize;
                Field::Bytes(take(&mut data, length))
            }
            5 => Field::Fixed32(u32::from_le_bytes(take(&mut data, 4).try_into().unwrap())),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn take<'a>(data: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, rest) = data.split_at(length);
    *data = rest;
    head
}

fn varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(data, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
