//! The flags of `degrain train`, and the settings of a preset that they stand for.

use super::pictures::BUNDLED;
use clap::Args;
use clap::builder::PossibleValuesParser;
use degrain::model::{Noise, Preset};
use degrain::{Error, Result};
use std::path::PathBuf;

/// Flags of `degrain train`.
#[derive(Args, Default)]
pub(super) struct Flags {
    /// A preset's name or a preset file [default: emoji-denoise]
    #[arg(value_name = "PRESET|FILE.toml")]
    pub(super) preset: Option<String>,
    /// Folder, archive (.tar, .tgz, .zip), picture, .npy, .npz, IDX or bundled:emoji|quickdraw; may be repeated
    #[arg(long, value_name = "D")]
    pub(super) data: Vec<String>,
    /// Labels of the pictures: path,label (CSV), one a line, .npy, IDX, or lfw_attributes.txt
    #[arg(long, value_name = "F")]
    pub(super) labels: Option<String>,
    /// Label by the sign of this attribute in the file of --labels
    #[arg(long, value_name = "NAME")]
    pub(super) attribute: Option<String>,
    /// Use only the pictures with these labels, such as 0,5; '' for all
    #[arg(long, value_name = "LABEL,...", value_delimiter = ',')]
    pub(super) keep_labels: Vec<String>,
    /// Use only the first N pictures
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Fraction of the pictures that is held out for validation and test
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(super) val: Option<f64>,
    /// Which pictures are held out
    #[arg(long, value_parser = PossibleValuesParser::new(["seeded", "last"]))]
    pub(super) split: Option<String>,
    /// Folder of the run [default: runs/PRESET-N]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Go on with a run, to its own end; --epochs and --steps may move the end
    #[arg(long, value_name = "RUN")]
    pub(super) resume: Option<PathBuf>,
    /// Begin with these weights
    #[arg(long, value_name = "WEIGHTS.safetensors")]
    pub(super) init: Option<PathBuf>,
    /// Passes over the training pictures
    #[arg(long, value_name = "N")]
    pub(super) epochs: Option<u64>,
    /// End after N steps in all
    #[arg(long, value_name = "N")]
    pub(super) steps: Option<u64>,
    /// Pictures per step
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<usize>,
    /// Learning rate
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub(super) lr: Option<f64>,
    /// Rule that updates the parameters
    #[arg(long, value_parser = PossibleValuesParser::new(["adam", "adamax", "nadam", "rmsprop", "sgd"]))]
    pub(super) optimizer: Option<String>,
    /// Noise on the inputs: none, gaussian:SIGMA, mask:SHARE, salt-pepper:SHARE or rect:PIXELS
    #[arg(long)]
    pub(super) noise: Option<Noise>,
    /// What products are computed of; f16 pays on devices with matrix units
    #[arg(long, value_parser = PossibleValuesParser::new(["f32", "f16"]))]
    pub(super) precision: Option<String>,
    /// Values in a code
    #[arg(long, value_name = "N")]
    pub(super) code: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Stop after N epochs without a better validation loss
    #[arg(long, value_name = "N")]
    pub(super) patience: Option<u64>,
    /// A validation loss is better if it is smaller by more than this
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    pub(super) min_delta: Option<f64>,
    /// Take the pictures in file order, in every epoch
    #[arg(long)]
    pub(super) no_shuffle: bool,
    /// Leave out the last, short batch of an epoch
    #[arg(long)]
    pub(super) drop_last: bool,
    /// Log the loss every N steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) log_every: Option<u64>,
    /// Most memory on the device, such as 512M or 4G; pictures that do not fit stream to it [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(super) device_memory: Option<u64>,
    /// Write an event file for TensorBoard into the run's folder; a resumed run that has one goes on with it unasked
    #[arg(long)]
    pub(super) tensorboard: bool,
    /// Run every op by itself: slower, and the same training
    #[arg(long)]
    pub(super) no_fuse: bool,
    /// Skip the exact PCA of the same code size
    #[arg(long)]
    pub(super) no_pca: bool,
    /// Change any setting of the preset, such as train.beta1=0.95
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) settings: Vec<String>,
}

/// A flag that was given, and the setting that it stands for.
struct Override {
    flag: &'static str,
    key: &'static str,
    value: String,
}

impl Flags {
    /// The preset with all flags applied, and paths to its pictures that hold from any folder.
    ///
    /// # Errors
    /// A preset that is not there, and settings that cannot work.
    pub(super) fn preset(&self) -> Result<Preset> {
        let mut preset = Preset::load(self.preset.as_deref().unwrap_or(Preset::DEFAULT))?;
        let overrides = self.overrides();
        apply(&mut preset, &overrides, &self.settings)?;
        for source in &mut preset.data.source {
            *source = absolute(source)?;
        }
        if let Some(labels) = &mut preset.data.labels {
            *labels = absolute(labels)?;
        }
        if self.init.is_some() && preset.train.pretrain_epochs > 0 {
            let problem = "the first weights are either given or pre-trained: add --set train.pretrain_epochs=0";
            return Err(Error::setting("--init", problem));
        }
        Ok(preset)
    }

    /// The settings of an earlier run, with its end moved where the flags say so.
    ///
    /// # Errors
    /// A flag that would make it another run.
    pub(super) fn resumed(&self, mut preset: Preset) -> Result<Preset> {
        let (ends, changes): (Vec<_>, Vec<_>) = self.overrides().into_iter().partition(Override::moves_the_end);
        let named = [
            ("a preset", self.preset.is_some()),
            ("--out", self.out.is_some()),
            ("--init", self.init.is_some()),
            ("--set", !self.settings.is_empty()),
        ];
        let named = named.into_iter().filter_map(|(flag, given)| given.then_some(flag));
        match changes.iter().map(|change| change.flag).chain(named).next() {
            None => apply(&mut preset, &ends, &[])?,
            Some(flag) => {
                let problem = format!("{flag} would make it another run: only --epochs and --steps may change its end");
                return Err(Error::setting("--resume", problem));
            }
        }
        Ok(preset)
    }

    /// Whether the flags move the end of a resumed run.
    pub(super) fn moves_the_end(&self) -> bool {
        self.epochs.is_some() || self.steps.is_some()
    }

    fn overrides(&self) -> Vec<Override> {
        let text = |value: &Option<String>| value.clone();
        let float = |value: Option<f64>| value.map(|value| format!("{value:?}"));
        let size = |value: Option<usize>| value.map(|value| value.to_string());
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let array = |texts: &[String]| {
            let items = texts.iter().map(|text| toml::Value::from(text.as_str())).collect();
            toml::Value::Array(items).to_string()
        };
        // An empty label stands for all of them, whatever the preset chooses.
        let labels: Vec<String> = self.keep_labels.iter().filter(|label| !label.is_empty()).cloned().collect();
        let all = [
            ("--data", "data.source", (!self.data.is_empty()).then(|| array(&self.data))),
            ("--labels", "data.labels", self.labels.as_ref().map(|path| toml::Value::from(path.as_str()).to_string())),
            ("--attribute", "data.attribute", text(&self.attribute)),
            ("--keep-labels", "data.labels_kept", (!self.keep_labels.is_empty()).then(|| array(&labels))),
            ("--limit", "data.limit", size(self.limit)),
            ("--val", "train.val", float(self.val)),
            ("--split", "train.split", text(&self.split)),
            ("--epochs", "train.epochs", number(self.epochs)),
            ("--steps", "train.steps", number(self.steps)),
            ("--batch", "train.batch", size(self.batch)),
            ("--lr", "train.lr", float(self.lr)),
            ("--optimizer", "train.optimizer", text(&self.optimizer)),
            ("--noise", "train.noise", self.noise.map(|noise| noise.to_string())),
            ("--precision", "train.precision", text(&self.precision)),
            ("--code", "model.code", size(self.code)),
            ("--seed", "train.seed", number(self.seed)),
            ("--patience", "train.patience", number(self.patience)),
            ("--min-delta", "train.min_delta", float(self.min_delta)),
            ("--no-shuffle", "train.shuffle", self.no_shuffle.then(|| "false".to_owned())),
            ("--drop-last", "train.drop_last", self.drop_last.then(|| "true".to_owned())),
        ];
        all.into_iter().filter_map(|(flag, key, value)| Some(Override { flag, key, value: value? })).collect()
    }
}

impl Override {
    /// Whether it changes only where a run ends, none of its steps.
    fn moves_the_end(&self) -> bool {
        matches!(self.flag, "--epochs" | "--steps")
    }
}

/// Applies flags, then `--set`; a setting that cannot work is called by its flag where it has one.
fn apply(preset: &mut Preset, overrides: &[Override], settings: &[String]) -> Result<()> {
    let from_flags = overrides.iter().map(|change| format!("{}={}", change.key, change.value));
    let assignments: Vec<String> = from_flags.chain(settings.iter().cloned()).collect();
    preset.set_all(&assignments).map_err(|error| match error {
        Error::Setting { name, problem } => {
            let flag = overrides.iter().find(|change| change.key == name).map(|change| change.flag.to_owned());
            Error::Setting { name: flag.unwrap_or(name), problem }
        }
        other => other,
    })
}

/// A number of bytes with an optional unit: K, M, G or T for powers of 1024, with or without B or iB behind it.
pub(super) fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let problem = || format!("{text:?} is no size in bytes, such as 512M or 4G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.trim_end().parse().map_err(|_| problem())?;
    let shift = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(problem()),
    };
    let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes > 0);
    bytes.ok_or_else(problem)
}

/// A path that means the same from any folder.
fn absolute(source: &str) -> Result<String> {
    if source.starts_with(BUNDLED) {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source).map_err(Error::io(source, "read"))?;
    path.into_os_string().into_string().map_err(|_| Error::file(source, "lies in a folder whose name is not UTF-8"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn flags(line: &str) -> Flags {
        Line::try_parse_from(std::iter::once("train").chain(line.split_whitespace())).ok().unwrap().flags
    }

    #[test]
    fn flags_become_settings() {
        let line = "lfw-denoise --data /a/b --data bundled:emoji --limit 9 --val 0 --split last --epochs 3 --steps 7 \
                    --batch 5 --lr 1 --optimizer adam --noise none --code 8 --seed 4 --patience 2 --min-delta 1e-3 \
                    --no-shuffle --drop-last --set train.beta1=0.5";
        let preset = flags(line).preset().unwrap();
        assert_eq!(preset.data.source, ["/a/b", "bundled:emoji"]);
        assert_eq!((preset.data.limit, preset.train.steps, preset.train.patience), (Some(9), Some(7), Some(2)));
        assert_eq!((preset.train.epochs, preset.train.batch, preset.model.code), (3, 5, 8));
        assert_eq!((preset.train.val, preset.train.lr, preset.train.min_delta), (0.0, 1.0, 1e-3));
        assert_eq!((preset.train.noise, preset.train.seed, preset.train.beta1), (Noise::None, 4, 0.5));
        assert!(!preset.train.shuffle && preset.train.drop_last);
        assert_eq!(preset.train.split, degrain::model::Split::Last);
        assert_eq!(flags("").preset().unwrap(), Preset::load(Preset::DEFAULT).unwrap());
    }

    #[test]
    fn labels_become_settings() {
        let preset = flags("--labels here.csv --attribute Male --keep-labels 0,5 --keep-labels cat").preset().unwrap();
        assert_eq!(preset.data.labels_kept, ["0", "5", "cat"]);
        assert!(preset.data.labels.unwrap().ends_with("here.csv"));
        assert_eq!(preset.data.attribute.as_deref(), Some("Male"));
        let preset = flags("--set data.labels_kept=[0,5]").preset().unwrap();
        assert_eq!(preset.data.labels_kept, ["0", "5"]);
        assert_eq!(Preset::from_toml(&preset.to_toml().unwrap(), "x".as_ref()).unwrap(), preset);
        let all = |flag: &str| Line::try_parse_from(["train", "mnist-dae", flag]).ok().unwrap().flags.preset().unwrap();
        assert_eq!(all("--seed=1").data.labels_kept, ["0", "5"]);
        for flag in ["--keep-labels=", "--set=data.labels_kept=[]", "--set=data.labels_kept="] {
            let preset = all(flag);
            assert!(preset.data.labels_kept.is_empty(), "{flag}");
            assert_eq!(Preset::from_toml(&preset.to_toml().unwrap(), "x".as_ref()).unwrap(), preset);
        }
        let message = flags("--set data.channel_rows=true").preset().unwrap_err().to_string();
        assert!(message.starts_with("data.channel_rows: makes grey pictures, but data.channels is 3"), "{message}");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(flags("--device-memory 64M").device_memory, Some(64 << 20));
        for (text, bytes) in [("1", 1), ("2k", 2048), ("3GiB", 3 << 30), ("5 MB", 5 << 20), ("1T", 1 << 40)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1M", "1.5G", "0", "7X", "99999999999T"] {
            assert!(parse_bytes(text).unwrap_err().contains("is no size in bytes"), "{text}");
        }
    }

    #[test]
    fn odd_paths_survive() {
        let path = r#"/a "b" \c]=,'d'"#;
        let flags = Line::try_parse_from(["train", "--data", path]).ok().unwrap().flags;
        assert_eq!(flags.preset().unwrap().data.source, [path]);
        assert!(absolute("here").unwrap().ends_with("/here") || cfg!(windows));
    }

    #[test]
    fn settings_that_cannot_work_are_called_by_their_flag() {
        let message = |line| flags(line).preset().unwrap_err().to_string();
        assert_eq!(message("--batch 0"), "--batch: must be 1 to 65536, not 0");
        assert!(message("--lr -1").starts_with("--lr: must be a finite number above 0"));
        assert!(message("--set train.lr=-1").starts_with("train.lr: must be"));
        assert_eq!(message("--set train.momentum=0.9"), "train.momentum: only sgd takes a momentum, not adamax");
        assert!(flags("--noise mask:0.3").preset().is_ok());
        assert!(message("--attribute Male").starts_with("--attribute: needs a file of attributes"));
        assert!(message("stacked --init w").starts_with("--init: the first weights are either given or pre-trained"));
        assert!(flags("stacked --init w --set train.pretrain_epochs=0").preset().is_ok());
    }

    #[test]
    fn a_resumed_run_takes_no_flag_but_its_end() {
        let preset = || Preset::load("lfw-conv").unwrap();
        let resumed = |line: &str| flags(line).resumed(preset());
        assert_eq!(resumed("--resume r").unwrap(), preset());
        assert_eq!(resumed("--resume r --steps 9 --log-every 2 --no-pca --tensorboard").unwrap().train.steps, Some(9));
        for line in ["lfw-conv", "--batch 3", "--out x", "--init w", "--set train.lr=1", "--no-shuffle", "--data d"] {
            let message = resumed(line).unwrap_err().to_string();
            let flag = line.split(' ').next().unwrap().replace("lfw-conv", "a preset");
            assert!(message.starts_with(&format!("--resume: {flag} would make it another run")), "{message}");
        }
    }
}
