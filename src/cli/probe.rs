//! `degrain probe`: how well a linear classifier tells labels from codes, beside the same from pixels.

use super::console::{Console, count};
use super::data::listed;
use super::network::{DataFlags, Network};
use super::run::RunFlags;
use clap::Args;
use degrain::data::{Dataset, Labels, Split, stratified_split};
use degrain::latent::{ClassScore, Classified, Codes, LinearProbe};
use degrain::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Labels in the table that people see; of more, those that the codes tell worst.
const MAX_LINES: usize = 40;

/// Flags of `degrain probe`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    data: DataFlags,
    /// Fraction of the pictures of each label that is held out
    #[arg(long, value_name = "FRACTION", default_value_t = 0.2, allow_negative_numbers = true)]
    val: f64,
    /// Seed of the split [default: the run's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Leave out labels with fewer pictures than this
    #[arg(long, value_name = "N", default_value_t = 5)]
    min_count: usize,
    /// Strength of the penalty on the weights, 1/C of scikit-learn [default: the best of six on a part of the training]
    #[arg(long, value_name = "STRENGTH", allow_negative_numbers = true)]
    l2: Option<f64>,
    /// Skip the classifier on pixels
    #[arg(long)]
    no_pixels: bool,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let mut network = Network::open(&flags.run, device, console)?;
    let seed = flags.seed.unwrap_or(network.preset.train.seed);
    let data = with_enough(flags.data.load(&mut network.preset, console)?, flags.min_count, console)?;
    let labels = data.labels.as_ref().ok_or_else(no_labels)?;
    let split = stratified_split(labels, data.groups.as_deref(), flags.val, seed)?;
    let codes = network.codes(&data, console)?;
    let task = Task { labels, split: &split, l2: flags.l2, seed };
    console.note(format_args!("a linear classifier on codes of {}", count(codes.dim(), "value")));
    let on_codes = task.fit(&|rows| picked(&codes, rows))?;
    let on_pixels = if flags.no_pixels {
        None
    } else {
        console.note(format_args!("a linear classifier on {}", count(data.sample_len(), "value")));
        Some(task.fit(&|rows| network.floats(&data, rows))?)
    };
    let result = Probed { labels, split: &split, majority: task.majority(), on_codes, on_pixels };
    console.result(&result.json(codes.dim(), data.sample_len()), result.text(codes.dim(), data.sample_len()))
}

fn no_labels() -> Error {
    let problem = "the pictures have none: name a file of them, or give a folder with one sub-folder for each label";
    Error::setting("--labels", problem)
}

/// The pictures of labels that enough of them have.
fn with_enough(data: Dataset, min_count: usize, console: &Console) -> Result<Dataset> {
    let labels = data.labels.as_ref().ok_or_else(no_labels)?;
    let counts = labels.counts();
    let kept: Vec<String> = labels
        .names
        .iter()
        .zip(&counts)
        .filter(|&(_, &count)| count >= min_count.max(1))
        .map(|(name, _)| name.clone())
        .collect();
    if kept.len() < 2 {
        let problem = format!(
            "{} of {} with at least {min_count} pictures: a classifier needs two (--min-count, --limit)",
            count(kept.len(), "label"),
            labels.names.len()
        );
        return Err(Error::setting("--labels", problem));
    }
    let left_out = labels.names.len() - kept.len();
    if left_out == 0 {
        return Ok(data);
    }
    let all = data.len();
    let data = data.keep_labels(&kept)?;
    let pictures = count(all - data.len(), "picture");
    console
        .note(format_args!("left out {} with fewer than {min_count} pictures: {pictures}", count(left_out, "label")));
    Ok(data)
}

fn picked(codes: &Codes, rows: &[u32]) -> Vec<f32> {
    rows.iter().filter_map(|&row| codes.get(row as usize)).flatten().copied().collect()
}

/// What both classifiers share.
struct Task<'a> {
    labels: &'a Labels,
    split: &'a Split,
    l2: Option<f64>,
    seed: u64,
}

/// A classifier and how well it does on the held-out pictures.
struct Fitted {
    l2: f64,
    found: Classified,
}

impl Task<'_> {
    /// Fits the training part of the features that `of` gives for rows.
    fn fit(&self, of: &dyn Fn(&[u32]) -> Vec<f32>) -> Result<Fitted> {
        let Self { labels, split, l2, seed } = *self;
        let (rows, train) = (of(&split.train), self.part(&split.train));
        let probe = match l2 {
            Some(l2) => LinearProbe::fit(&rows, &train, l2)?,
            None => LinearProbe::tuned(&rows, &train, seed)?,
        };
        drop(rows);
        let predicted = probe.predict(&of(&split.held_out))?;
        let found = Classified::of(&self.part(&split.held_out).ids, &predicted, labels.names.len());
        Ok(Fitted { l2: probe.l2(), found })
    }

    fn part(&self, rows: &[u32]) -> Labels {
        let ids = rows.iter().filter_map(|&row| self.labels.ids.get(row as usize)).copied().collect();
        Labels { names: self.labels.names.clone(), ids }
    }

    /// The accuracy of always naming the label that most training pictures have.
    fn majority(&self) -> f64 {
        let counts = self.part(&self.split.train).counts();
        let most = counts.iter().copied().max().unwrap_or(0);
        let most = counts.iter().position(|&count| count == most).unwrap_or(0) as u32;
        let held_out = self.part(&self.split.held_out).ids;
        held_out.iter().filter(|&&id| id == most).count() as f64 / held_out.len().max(1) as f64
    }
}

/// What is printed.
struct Probed<'a> {
    labels: &'a Labels,
    split: &'a Split,
    majority: f64,
    on_codes: Fitted,
    on_pixels: Option<Fitted>,
}

impl Probed<'_> {
    /// Name, score by codes and, where there is one, by pixels of each label.
    fn classes(&self) -> impl Iterator<Item = (&str, ClassScore, Option<ClassScore>)> {
        let pixels = |i: usize| self.on_pixels.as_ref().and_then(|fitted| fitted.found.classes.get(i)).copied();
        let classes = self.labels.names.iter().zip(&self.on_codes.found.classes).enumerate();
        classes.map(move |(i, (name, &codes))| (name.as_str(), codes, pixels(i)))
    }

    fn json(&self, code_len: usize, pixel_len: usize) -> Value {
        let class = |(name, codes, pixels): (&str, ClassScore, Option<ClassScore>)| {
            json!({
                "label": name,
                "count": codes.count,
                "recall": codes.recall,
                "precision": codes.precision,
                "pixel_recall": pixels.and_then(|score| score.recall),
                "pixel_precision": pixels.and_then(|score| score.precision),
            })
        };
        let pixels = self.on_pixels.as_ref();
        json!({
            "accuracy": self.on_codes.found.accuracy,
            "pixel_accuracy": pixels.map(|fitted| fitted.found.accuracy),
            "majority_accuracy": self.majority,
            "code": code_len,
            "pixels": pixel_len,
            "l2": self.on_codes.l2,
            "pixel_l2": pixels.map(|fitted| fitted.l2),
            "train_pictures": self.split.train.len(),
            "held_out_pictures": self.split.held_out.len(),
            "classes": self.classes().map(class).collect::<Vec<_>>(),
        })
    }

    fn text(&self, code_len: usize, pixel_len: usize) -> String {
        let (trained, held_out) = (self.split.train.len(), self.split.held_out.len());
        let labels = self.labels.names.len();
        let mut text =
            format!("linear classifier of {labels} labels, {trained} pictures trained, {held_out} held out\n");
        let mut line = |name: &str, accuracy: f64, what: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<11} {:>5.1} %  {what}", 100.0 * accuracy);
        };
        let Fitted { l2, found } = &self.on_codes;
        line("on codes", found.accuracy, format!("({code_len} values, penalty {l2})"));
        if let Some(Fitted { l2, found }) = &self.on_pixels {
            line("on pixels", found.accuracy, format!("({pixel_len} values, penalty {l2})"));
        }
        line("majority", self.majority, "(always the commonest label)".to_owned());
        text.push_str(&self.table());
        text
    }

    /// The share of each label's held-out pictures that was told right.
    fn table(&self) -> String {
        let mut classes: Vec<_> = self.classes().filter(|(_, codes, _)| codes.count > 0).collect();
        let all = classes.len();
        if all > MAX_LINES {
            classes.sort_by(|a, b| a.1.recall.unwrap_or(0.0).total_cmp(&b.1.recall.unwrap_or(0.0)));
            classes.truncate(MAX_LINES);
        }
        let width = classes.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0).max(5);
        let share = |score: Option<ClassScore>| {
            score.and_then(|score| score.recall).map_or(String::new(), |recall| format!("{:.1} %", 100.0 * recall))
        };
        let pixels = if self.on_pixels.is_some() { format!("{:>9}", "pixels") } else { String::new() };
        let mut text = format!("\n{:<width$}  pictures {:>9}{pixels}\n", "label", "codes");
        for (name, codes, pixels) in classes {
            let _ = writeln!(text, "{name:<width$}  {:>8} {:>9}{:>9}", codes.count, share(Some(codes)), share(pixels));
        }
        if all > MAX_LINES {
            let _ = writeln!(text, "(the {MAX_LINES} of {all} labels that the codes tell worst; --json has all)");
        }
        text
    }
}

/// Names of labels for a message.
pub(super) fn names(labels: &Labels) -> String {
    listed(labels.names.iter().cloned())
}
