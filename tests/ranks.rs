//! Several ranks that train together, as threads of one process: what one rank would do with their batch, the same bits
//! twice and on all ranks, resuming with other ranks, and a rank that fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small;

use degrain::data::Split;
use degrain::exchange::{Local, Ranks};
use degrain::model::Preset;
use degrain::session::Session;
use degrain::train::{Ending, Outcome, RunDir, TrainOptions, Trainer};
use degrain::validate::{Open, device_trials};
use degrain::{Error, Result};
use libtest_mimic::Arguments;
use small::{StopAt, blobs, losses};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

const PRESET: &str = r#"
name = "small"
description = "convolutions with batch normalisation, a dense code, and back"
[data]
height = 8
width = 8
channels = 3
offset = -0.5
[model]
code = 6
batch_norm = "none"
encoder = [
  { layer = "conv2d", channels = 8, kernel = 3 },
  { layer = "batch_norm", momentum = 0.9, epsilon = 1e-3 },
  { layer = "max_pool2d", size = 2 },
  { layer = "flatten" },
  { layer = "dense", units = "code", activation = "sigmoid" },
]
decoder = [
  { layer = "dense", units = 64, activation = "elu" },
  { layer = "reshape", shape = [4, 4, 4] },
  { layer = "conv_transpose2d", channels = 3, kernel = 3, stride = 2 },
]
[train]
loss = "mse"
noise = "gaussian:0.1"
optimizer = "adamax"
lr = 0.003
epochs = 3
batch = 4
seed = 3
"#;

/// 85 pictures to train on (seven batches of 12 and one of one), 11 held out.
fn split() -> Split {
    Split { train: (0..96).filter(|i| i % 9 != 4).collect(), held_out: (0..96).filter(|i| i % 9 == 4).collect() }
}

fn preset(changes: &[&str]) -> Preset {
    let mut preset = Preset::from_toml(PRESET, Path::new("small.toml")).unwrap();
    preset.set_all(changes).unwrap();
    preset
}

/// A job of some ranks, each with a folder of its own.
#[derive(Clone, Copy)]
struct Job<'a> {
    ranks: usize,
    preset: &'a Preset,
    folder: &'a Path,
    stop: u64,
    bucket_words: Option<usize>,
}

impl Job<'_> {
    fn folder(&self, rank: usize) -> PathBuf {
        self.folder.join(format!("rank-{rank}"))
    }

    fn rank(&self, mut session: Session, ranks: Ranks) -> Result<Outcome> {
        let folder = self.folder(ranks.rank());
        let begun = folder.is_dir();
        let run = if begun { RunDir::open(&folder)? } else { RunDir::create(&folder)? };
        session.set_ranks(ranks);
        session.set_bucket_words(self.bucket_words);
        let begin = if begun { Trainer::resume } else { Trainer::start };
        // Steps between two questions are as many as time allows: to stop at a step, they are asked at each.
        let log_every = if self.stop == u64::MAX { 3 } else { 1 };
        let options = TrainOptions { log_every, ..TrainOptions::default() };
        begin(self.preset, &blobs(96), &split(), session, run, &options)?.run(&mut StopAt(self.stop, 0))
    }

    fn run(&self, open: &Open) -> Vec<Result<Outcome>> {
        thread::scope(|scope| {
            let start = |local| {
                let session = open();
                scope.spawn(move || self.rank(session, Ranks::of(local)))
            };
            let threads: Vec<_> = Local::group(self.ranks).into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

fn read(path: &Path, file: &str) -> Vec<u8> {
    fs::read(path.join(file)).unwrap()
}

/// Runs the preset on one rank with the batch of all, and on `ranks`, which must end as one; returns losses and folder.
fn compare(open: &Open, ranks: usize, changes: &[&str], tolerance: f64) {
    let folder = tempfile::tempdir().unwrap();
    let many = preset(changes);
    let mut one = many.clone();
    one.train.batch *= ranks;
    let (of_one, of_many) = (folder.path().join("one"), folder.path().join("many"));
    let job = |ranks, preset, folder| Job { ranks, preset, folder, stop: u64::MAX, bucket_words: None };
    let single = job(1, &one, &of_one).run(open).remove(0).unwrap();
    let several = job(ranks, &many, &of_many);
    for outcome in several.run(open) {
        let outcome = outcome.unwrap();
        assert_eq!((outcome.ending, outcome.epochs, outcome.steps), (single.ending, single.epochs, single.steps));
        let (got, wanted) = (outcome.val_loss.unwrap(), single.val_loss.unwrap());
        assert!((got - wanted).abs() <= 10.0 * tolerance * wanted, "validation at {got}, wanted {wanted}");
    }
    let (got, wanted) = (losses(&several.folder(0)), losses(&of_one.join("rank-0")));
    assert_eq!(got.len(), wanted.len());
    for (step, (got, wanted)) in got.iter().zip(&wanted).take(20).enumerate() {
        let error = f64::from((got - wanted).abs()) / f64::from(*wanted);
        assert!(error <= tolerance, "{changes:?}: step {step} of {ranks} ranks at {got}, wanted {wanted}");
    }
    for rank in 1..ranks {
        for file in ["steps.csv", "last.safetensors", "best.safetensors"] {
            let same = read(&several.folder(rank), file) == read(&several.folder(0), file);
            assert!(same, "{changes:?}: {file} of rank {rank} of {ranks} differs");
        }
    }
}

const EXACT: f64 = 1e-5;

fn ranks_are_one_rank_with_their_batch(open: &Open) {
    compare(open, 2, &[], EXACT);
    compare(open, 3, &["train.drop_last=true", "train.clip_norm=0.2", "train.optimizer=nadam"], EXACT);
}

fn batch_norm_is_over_all_ranks(open: &Open) {
    compare(open, 2, &["model.batch_norm=feature", "train.sync_batch_norm=true"], EXACT);
}

/// What takes long on a software driver and is no different there.
fn every_objective_is_shared(open: &Open) {
    if open().target().is_some() {
        return compare(open, 2, &["train.sparsity=0.1", "train.l2=0.01"], EXACT);
    }
    for changes in [
        &["train.sparsity=0.1", "train.l2=0.01"][..],
        &["train.activity_l1=0.01", "train.l1=0.001", "train.optimizer=sgd", "train.momentum=0.9", "train.lr=0.05"],
        &["train.contractive=0.01", "train.noise=mask:0.2"],
        &["train.contractive=0.01", "train.contractive_norm=projection", "train.optimizer=rmsprop"],
        &["model.batch_norm=tensor", "train.sync_batch_norm=true", "train.optimizer=adam"],
        &["train.schedule=cosine", "train.warmup=5", "train.shuffle=false"],
    ] {
        for ranks in [2, 4] {
            compare(open, ranks, changes, EXACT);
        }
    }
    // Of the last batch, of one picture, three ranks of four have nothing.
    compare(open, 4, &["train.batch=3"], EXACT);
}

fn own_statistics_stay_the_same_on_all_ranks(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let preset = preset(&["model.batch_norm=feature", "train.epochs=1"]);
    let job = Job { ranks: 2, preset: &preset, folder: folder.path(), stop: u64::MAX, bucket_words: None };
    let outcomes: Vec<Outcome> = job.run(open).into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes[0].val_loss, outcomes[1].val_loss);
    assert_eq!(read(&job.folder(0), "last.safetensors"), read(&job.folder(1), "last.safetensors"));
    let losses = losses(&job.folder(0));
    assert!(losses[losses.len() - 2] < losses[0], "{losses:?}");
}

fn the_same_job_gives_the_same_bits(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let preset = preset(&["model.batch_norm=feature", "train.sync_batch_norm=true", "train.epochs=2"]);
    let results = [None, None, Some(1), Some(300)].map(|bucket_words| {
        let folder = tempfile::tempdir_in(folder.path()).unwrap().keep();
        let job = Job { ranks: 2, preset: &preset, folder: &folder, stop: u64::MAX, bucket_words };
        job.run(open).into_iter().for_each(|outcome| assert!(outcome.is_ok(), "{outcome:?}"));
        ["steps.csv", "state.safetensors"].map(|file| read(&job.folder(0), file))
    });
    assert!(results.iter().all(|files| *files == results[0]), "again, or in other buckets, other bits came out");
}

fn a_run_goes_on_with_other_ranks(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let preset = preset(&[]);
    let whole = folder.path().join("whole");
    let preset = &preset;
    fn job<'a>(preset: &'a Preset, ranks: usize, folder: &'a Path, stop: u64) -> Job<'a> {
        Job { ranks, preset, folder, stop, bucket_words: None }
    }
    job(preset, 2, &whole, u64::MAX).run(open).remove(0).unwrap();
    // Stopped within an epoch, and at its end.
    for (stop, then, steps) in [(5, 2, 33), (5, 1, 5 + 12 + 2 * 22), (5, 3, 5 + 5 + 2 * 8), (11, 4, 11 + 2 * 6)] {
        let path = folder.path().join(format!("{stop}-{then}"));
        let first = job(preset, 2, &path, stop).run(open).remove(0).unwrap();
        assert_eq!(first.ending, Ending::Interrupted);
        // What a job has beside its first rank, it takes from there.
        for rank in 1..then {
            let own = path.join(format!("rank-{rank}"));
            drop(fs::remove_dir_all(&own));
            fs::create_dir(&own).unwrap();
            for entry in fs::read_dir(path.join("rank-0")).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), own.join(entry.file_name())).unwrap();
            }
        }
        let outcome = job(preset, then, &path, u64::MAX).run(open).remove(0).unwrap();
        assert_eq!((outcome.ending, outcome.epochs), (Ending::Finished, 3), "{stop} steps, then {then} ranks");
        assert_eq!(outcome.steps, steps, "{stop} steps of 2 ranks, then {then}");
        if then == 2 {
            for file in ["steps.csv", "state.safetensors", "best.safetensors"] {
                assert!(read(&path.join("rank-0"), file) == read(&whole.join("rank-0"), file), "{file} differs");
            }
        }
    }
}

fn a_rank_that_fails_ends_the_job(open: &Open) {
    let folder = tempfile::tempdir().unwrap();
    let preset = preset(&[]);
    let results: Vec<Result<Outcome>> = thread::scope(|scope| {
        let start = |(rank, local)| {
            let session = open();
            let job = Job { ranks: 3, preset: &preset, folder: folder.path(), stop: u64::MAX, bucket_words: None };
            scope.spawn(move || {
                if rank == 1 {
                    drop(local);
                    return Err(Error::setting("test", "is what fails"));
                }
                job.rank(session, Ranks::of(local))
            })
        };
        let threads: Vec<_> = Local::group(3).into_iter().enumerate().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for result in results {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("rank 1 of 3: has ended") || message.contains("is what fails"), "{message}");
    }
}

fn main() -> ExitCode {
    let tests = [
        ("ranks_are_one_rank_with_their_batch", ranks_are_one_rank_with_their_batch as fn(&Open)),
        ("batch_norm_is_over_all_ranks", batch_norm_is_over_all_ranks),
        ("every_objective_is_shared", every_objective_is_shared),
        ("own_statistics_stay_the_same_on_all_ranks", own_statistics_stay_the_same_on_all_ranks),
        ("the_same_job_gives_the_same_bits", the_same_job_gives_the_same_bits),
        ("a_run_goes_on_with_other_ranks", a_run_goes_on_with_other_ranks),
        ("a_rank_that_fails_ends_the_job", a_rank_that_fails_ends_the_job),
    ];
    libtest_mimic::run(&Arguments::from_args(), device_trials(tests)).exit_code()
}
