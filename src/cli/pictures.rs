//! The pictures that a command works on, with an account of those that could not be used.

use super::console::{Console, count};
use super::data::listed;
use degrain::data::{self, CacheMode, Dataset, Patches, Shard, Split, SplitKind, Target, Values};
use degrain::model::{self, Preset};
use degrain::report::Meter;
use degrain::{Error, Result};
use indicatif::ProgressBar;
use std::path::PathBuf;

/// What begins the name of data in the binary.
pub(super) const BUNDLED: &str = "bundled:";
/// Most files named one by one as skipped.
const MAX_NAMED: usize = 10;
/// Floats may leave the range of the preset's pictures by this share of its width before there is a warning.
const RANGE_SLACK: f32 = 0.05;

/// What the pictures of a data set are brought to: patches where the preset takes them, else the size of [`target`].
fn sample_target(preset: &Preset) -> Target {
    let patches = preset.data.patches.map(|count| Patches { count, seed: preset.train.seed });
    Target { patches, ..target(preset) }
}

/// The size that whole pictures are read at: what the preset's network takes, in colour where its channels are split later.
pub(super) fn target(preset: &Preset) -> Target {
    let data = &preset.data;
    let crop = data.crop.and_then(|crop| u32::try_from(crop).ok()).unwrap_or(0);
    let channels = if data.channel_rows { 3 } else { data.channels };
    Target { crop, ..Target::new(data.height, data.width, channels) }
}

/// Reads `sources`, folders, archives, pictures, arrays or `bundled:NAME`, up to the preset's limit, and labels and
/// chooses them as the preset says.
///
/// # Errors
/// No sources, or one that cannot be used.
pub(super) fn load(sources: &[String], preset: &Preset, console: &Console) -> Result<Dataset> {
    if sources.is_empty() {
        let obtain = preset.data.obtain.as_ref().map(|place| format!(". {place}")).unwrap_or_default();
        let problem = format!(
            "{} has no pictures of its own: name a folder, archive or array of pictures, or {}{obtain}",
            preset.name,
            bundled_names()
        );
        return Err(Error::setting("--data", problem));
    }
    // Which pictures count is known only once all of them have their labels.
    let chooses = preset.data.labels.is_some() || !preset.data.labels_kept.is_empty();
    let mut left = preset.data.limit.filter(|_| !chooses).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    for source in sources {
        if left == 0 {
            break;
        }
        let part = read_one(source, &sample_target(preset), left, console)?;
        left -= pictures_of(source, &part, preset).min(left);
        parts.push(part);
    }
    let data = Dataset::concat(parts)?;
    tell_as(&data, if preset.data.patches.is_some() { "patch" } else { "picture" }, console);
    let data = arrange(data, preset, console)?;
    check_range(&data, preset.data.offset as f32, console);
    Ok(data)
}

/// One shard of what [`load`] would read, without its labels. The other pictures are not decoded, unless there is a limit or a
/// choice by labels: then what the shards are parts of is known only once all are there.
///
/// # Errors
/// As [`load`].
pub(super) fn load_shard(sources: &[String], preset: &Preset, shard: Shard, console: &Console) -> Result<Dataset> {
    let settings = &preset.data;
    let chooses = settings.limit.is_some() || settings.labels.is_some() || !settings.labels_kept.is_empty();
    if chooses || sources.is_empty() || sources.iter().any(|source| source.starts_with(BUNDLED)) {
        let data = load(sources, preset, console)?;
        let rows: Vec<u32> = shard.range(data.len()).map(|row| row as u32).collect();
        let part = data.select(&rows);
        console.note(format_args!("shard {shard}: {} of {}", part.len(), count(data.len(), "picture")));
        return Ok(part);
    }
    let paths: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
    let bar = console.bar(0, "reading {msg}  [{bar:30}] {bytes}/{total_bytes}  ETA {eta}");
    bar.set_message(format!("shard {shard}"));
    let bar = ReadingBar(bar);
    let data = data::open_shard(&paths, &sample_target(preset), shard, &CacheMode::Standard, &bar);
    bar.0.finish_and_clear();
    let data = data?;
    console.note(format_args!("shard {shard}:"));
    tell_as(&data, if settings.patches.is_some() { "patch" } else { "picture" }, console);
    let data = arrange(data, preset, console)?;
    check_range(&data, settings.offset as f32, console);
    Ok(data)
}

/// The pictures with the preset's labels, those of them that it keeps, and their channels where it splits them.
fn arrange(mut data: Dataset, preset: &Preset, console: &Console) -> Result<Dataset> {
    let settings = &preset.data;
    if let Some(path) = &settings.labels {
        let (labelled, left_out) = data.with_labels(path.as_ref())?;
        data = labelled;
        if left_out > 0 {
            console.note(format_args!("left out {} that {path} does not list", count(left_out, "picture")));
        }
    }
    if let Some(attribute) = &settings.attribute {
        data.label_by_attribute(attribute)?;
    }
    if !settings.labels_kept.is_empty() {
        data = data.keep_labels(&settings.labels_kept)?;
        console.note(format_args!("{} with label {}", count(data.len(), "picture"), settings.labels_kept.join(" or ")));
    }
    // A limit of pictures is one of all their patches.
    data.limit(settings.limit.unwrap_or(usize::MAX).saturating_mul(settings.patches.unwrap_or(1)));
    Ok(if settings.channel_rows { data.channel_rows() } else { data })
}

/// Reads one source, up to `limit` pictures, as the preset's network takes them.
///
/// # Errors
/// One that cannot be used.
pub(super) fn load_one(source: &str, preset: &Preset, limit: usize, console: &Console) -> Result<Dataset> {
    let data = read_one(source, &target(preset), limit, console)?;
    Ok(if preset.data.channel_rows { data.channel_rows() } else { data })
}

fn read_one(source: &str, target: &Target, limit: usize, console: &Console) -> Result<Dataset> {
    match source.strip_prefix(BUNDLED) {
        Some(name) => {
            let mut data = bundled(name)?;
            data.limit(limit);
            data.fit(target)
        }
        None => read(&PathBuf::from(source), target, Some(limit), &CacheMode::Standard, console),
    }
}

/// Pictures that the samples of a source come of: arrays and what is in the binary are not cut into patches.
fn pictures_of(source: &str, part: &Dataset, preset: &Preset) -> usize {
    match (&part.groups, preset.data.patches) {
        (Some(_), Some(patches)) if !source.starts_with(BUNDLED) => part.len() / patches,
        _ => part.len(),
    }
}

/// The data in the binary of this name.
///
/// # Errors
/// No such data.
pub(super) fn bundled(name: &str) -> Result<Dataset> {
    match data::bundled(name) {
        Some(data) => data,
        None => Err(Error::setting(
            format!("{BUNDLED}{name}"),
            format!("there is no such bundled data: there is {}", bundled_names()),
        )),
    }
}

fn bundled_names() -> String {
    data::BUNDLED.map(|name| format!("{BUNDLED}{name}")).join(" or ")
}

/// Reads one folder, archive, picture or array as the preset's network takes it.
///
/// # Errors
/// As [`data::open`].
pub(super) fn open(
    path: &PathBuf,
    preset: &Preset,
    limit: Option<usize>,
    cache: &CacheMode,
    console: &Console,
) -> Result<Dataset> {
    let data = read(path, &target(preset), limit, cache, console)?;
    Ok(if preset.data.channel_rows { data.channel_rows() } else { data })
}

/// Reads one folder, archive, picture or array at the target's size.
///
/// # Errors
/// As [`data::open`].
pub(super) fn read(
    path: &PathBuf,
    target: &Target,
    limit: Option<usize>,
    cache: &CacheMode,
    console: &Console,
) -> Result<Dataset> {
    let bar = console.bar(0, "reading {msg}  [{bar:30}] {bytes}/{total_bytes}  ETA {eta}");
    bar.set_message(path.display().to_string());
    let bar = ReadingBar(bar);
    let limit = limit.filter(|&limit| limit < usize::MAX);
    let data = data::open(std::slice::from_ref(path), target, limit, cache, &bar);
    bar.0.finish_and_clear();
    data
}

struct ReadingBar(ProgressBar);

impl data::Progress for ReadingBar {
    fn total(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

/// What was read, and every file that was not.
pub(super) fn tell(data: &Dataset, console: &Console) {
    tell_as(data, "picture", console);
}

fn tell_as(data: &Dataset, noun: &str, console: &Console) {
    let [height, width, channels] = data.shape;
    let size = format!("{height}x{width}x{channels}");
    console.note(format_args!("{} of {size} from {}", count(data.len(), noun), data.origin));
    for skipped in data.skipped.iter().take(MAX_NAMED) {
        console.warn(format_args!("skipped {}: {}", skipped.path, skipped.reason));
    }
    if !data.skipped.is_empty() {
        let (bad, all) = (data.skipped.len(), data.skipped.len() + data.len());
        console.warn(format_args!("skipped {bad} of {all} pictures"));
    }
    if data.ignored > 0 {
        console.note(format_args!("passed over {} that are no pictures by their names", count(data.ignored, "file")));
    }
}

/// Floats are taken as they are, so it is worth a word if they lie elsewhere than pictures would.
fn check_range(data: &Dataset, offset: f32, console: &Console) {
    if !matches!(data.values, Values::F32(_)) {
        return;
    }
    let (low, high) = data.range();
    if low < offset - RANGE_SLACK || high > 1.0 + offset + RANGE_SLACK {
        console.warn(format_args!(
            "the floats of {} lie between {low} and {high} and are taken as they are; \
             pictures of this preset lie between {offset} and {}",
            data.origin,
            1.0 + offset
        ));
    }
}

/// Splits by the preset's fraction, kind and seed.
///
/// # Errors
/// A fraction that leaves nothing to train on or to hold out.
pub(super) fn split(data: &Dataset, preset: &Preset, console: &Console) -> Result<Split> {
    let kind = match preset.train.split {
        model::Split::Seeded => SplitKind::Seeded(preset.train.seed),
        model::Split::Last => SplitKind::Last,
    };
    let split = data::split(data.len(), data.groups.as_deref(), preset.train.val, kind)?;
    if let (SplitKind::Last, Some(labels), false) = (kind, &data.labels, split.held_out.is_empty()) {
        warn_of_last(labels, &split, console);
    }
    Ok(split)
}

/// Warns where the last pictures are not like the others, as their labels tell.
fn warn_of_last(labels: &data::Labels, split: &Split, console: &Console) {
    let whole = labels.held_out_whole(split);
    if !whole.is_empty() {
        let names = listed(whole.into_iter().map(str::to_owned));
        console.warn(format_args!(
            "--split last holds out every picture of labels that are then never trained on: {names}"
        ));
    } else if labels.are_sorted() {
        console.warn("--split last holds out pictures of the last label alone, as they stand label by label");
    }
}

/// A meter for pictures of the preset's size and range.
pub(super) fn meter(preset: &Preset) -> Result<Meter> {
    let low = preset.data.offset as f32;
    Meter::new([preset.data.height, preset.data.width, preset.data.channels], (low, low + 1.0))
}
