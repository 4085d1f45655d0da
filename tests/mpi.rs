//! Training by several processes under `mpirun`: what one process would do with their batch, the same bits twice, wrong
//! input told once, and a rank that is killed.
//!
//! Needs an MPI library with `mpirun` in the path. Two hosts are network namespaces of this machine, which only root may
//! make; elsewhere that test is reported as ignored.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "mpi/hosts.rs"]
mod hosts;
#[path = "lab/mod.rs"]
mod lab;

use degrain::gpu::adapters;
use hosts::two_hosts_train_together;
use lab::{Ended, Lab};
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The tiny preset with batch normalisation, in a file of its own.
const NORMED: &str = "normed.toml";

/// A command on so many ranks of this machine.
fn job(lab: &Lab, ranks: usize, words: &[&str]) -> Command {
    let plain = lab.command(&[]);
    let mut command = Command::new("mpirun");
    // Tests may run as root and on fewer cores than ranks.
    command.args(["--allow-run-as-root", "--oversubscribe", "--mca", "btl", "self,vader", "-n", &ranks.to_string()]);
    command.arg(plain.get_program()).args(words).current_dir(lab.path("")).stdin(Stdio::null());
    fs::create_dir_all(lab.path("tmp")).unwrap();
    command
        .env("TMPDIR", lab.path("tmp"))
        .env("DEGRAIN_CACHE", lab.path("cache"))
        .env("DEGRAIN_DEVICE", "cpu")
        .env("OMPI_MCA_mpi_yield_when_idle", "1");
    command
}

fn run(lab: &Lab, ranks: usize, words: &[&str]) -> Ended {
    job(lab, ranks, words).output().unwrap().into()
}

fn lab() -> Lab {
    let lab = Lab::new();
    let norm = "    { layer = \"batch_norm\", momentum = 0.9, epsilon = 1e-3 },\n    { layer = \"max_pool2d\"";
    let text = lab::TINY.replace("    { layer = \"max_pool2d\"", norm);
    assert_ne!(text, lab::TINY);
    fs::write(lab.path(NORMED), text).unwrap();
    lab
}

fn losses(lab: &Lab, run: &str) -> Vec<f64> {
    let text = lab.text(&format!("{run}/steps.csv"));
    text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect()
}

/// Twenty steps of a preset on one process with a batch of 8, and on 2 and 4 that share it.
fn ranks_are_one_rank_with_their_batch(device: &str) {
    let lab = lab();
    for (preset, more) in [("tiny.toml", &[][..]), (NORMED, &["--set", "train.sync_batch_norm=true"])] {
        let words = |batch: &'static str, out: &'static str| -> Vec<&str> {
            let words = ["train", preset, "--data=pictures", "--steps=20", "--epochs=9", "--no-pca", "--lr=0.003"];
            [&words[..], &["--batch", batch, "--out", out, "--device", device], more].concat()
        };
        lab.run(&words("8", "one")).ok();
        for (ranks, batch, out) in [(2, "4", "two"), (4, "2", "four")] {
            let summary = run(&lab, ranks, &[&words(batch, out)[..], &["--json"]].concat()).ok().json();
            assert_eq!(summary["ranks"], ranks, "one process told of itself, and no other");
            let (got, wanted) = (losses(&lab, out), losses(&lab, "one"));
            assert_eq!((got.len(), wanted.len()), (20, 20));
            for (step, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                let error = (got - wanted).abs() / wanted;
                assert!(error <= 1e-5, "{preset}: step {step} of {ranks} ranks at {got}, of one at {wanted}");
            }
        }
        for out in ["one", "two", "four"] {
            fs::remove_dir_all(lab.path(out)).unwrap();
        }
    }
}

fn the_same_job_gives_the_same_bits() {
    let lab = lab();
    for out in ["a", "b"] {
        run(&lab, 3, &["train", NORMED, "--data=pictures", "--epochs=2", "--no-pca", "--out", out]).ok();
    }
    lab.assert_same_run("a", "b");
    assert!(lab.text("a/summary.json").contains("mpirun -n 3 "), "the command that repeats it names the ranks");
    // A folder of each other rank's own is gone.
    let left = fs::read_dir(lab.path("tmp")).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap_or_default();
        name.starts_with("degrain-") && name.contains("-rank-")
    });
    assert_eq!(left.count(), 0);
}

/// Lines that degrain wrote about an error.
fn errors(ended: &Ended) -> Vec<&str> {
    ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect()
}

fn wrong_input_is_told_once() {
    let lab = lab();
    let ended = run(&lab, 2, &["train", "tiny.toml", "--data=nowhere"]);
    assert_eq!((ended.code, errors(&ended).len()), (Some(1), 1), "{}", ended.stderr);
    assert!(
        errors(&ended)[0].starts_with("error: rank 0 of 2: ") && ended.stderr.contains("nowhere"),
        "{}",
        ended.stderr
    );
    let ended = run(&lab, 2, &["presets"]);
    assert_eq!((ended.code, errors(&ended).len(), ended.stdout.as_str()), (Some(1), 1, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("only train and encode"), "{}", ended.stderr);
    let ended = run(&lab, 2, &["train", "--resume", "nowhere"]);
    assert_eq!((ended.code, errors(&ended).len()), (Some(1), 1), "{}", ended.stderr);
}

fn stage_by_stage_training_is_shared() {
    let lab = lab();
    let words = ["train", "stacked", "--data=bundled:quickdraw", "--limit=200", "--set", "train.pretrain_epochs=1"];
    let more = ["--epochs=1", "--no-pca", "--quiet", "--batch=20", "--out=run"];
    run(&lab, 2, &[&words[..], &more].concat()).ok();
    assert!(lab.path("run/summary.json").is_file() && lab.path("run/pretrain-1/state.safetensors").is_file());
}

/// The process of a rank whose folder is the lab's.
pub(crate) fn process_of(lab: &Lab, rank: usize) -> Option<u32> {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let folder = lab.path("").canonicalize().unwrap();
    let is_it = |pid: &u32| {
        let of = |file: &str| format!("/proc/{pid}/{file}");
        let environment = fs::read(of("environ")).unwrap_or_default();
        let has = environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes());
        has && fs::read_link(of("cwd")).is_ok_and(|cwd| cwd == folder)
            && fs::read_to_string(of("comm")).is_ok_and(|name| name.trim() == "degrain")
    };
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).find(is_it)
}

/// Waits for the first checkpoints of an endless run, kills a rank, and waits for the others' end.
pub(crate) fn kill_rank(lab: &Lab, mut job: Command, rank: usize) -> Ended {
    let child = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while lab.steps_if_any("run") < 40 || !lab.path("run/state.safetensors").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the job does not train");
        std::thread::sleep(Duration::from_millis(20));
    }
    let victim = process_of(lab, rank).unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &victim]).status().unwrap().success());
    let killed = Instant::now();
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert!(killed.elapsed() < Duration::from_secs(30), "the job went on for {:?}", killed.elapsed());
    ended
}

fn a_rank_that_is_killed_leaves_a_checkpoint() {
    let lab = lab();
    let words = ["train", NORMED, "--data=pictures", "--epochs=9999999", "--no-pca", "--out=run", "--quiet"];
    for rank in [1, 0] {
        let ended = kill_rank(&lab, job(&lab, 2, &words), rank);
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains("exited on signal 9"), "{}", ended.stderr);
        // One process goes on alone, and so do three.
        let before = lab.steps("run");
        let end = |more: usize| (before + more).to_string();
        lab.run(&["train", "--resume", "run", "--steps", &end(50), "--no-pca", "--quiet"]).ok();
        run(&lab, 3, &["train", "--resume", "run", "--steps", &end(90), "--no-pca", "--quiet"]).ok();
        assert_eq!(lab.steps("run"), before + 90);
        fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

fn ranks_encode_a_part_each() {
    let lab = lab();
    lab.train("run", &["--epochs=1", "--no-pca"]).ok();
    let words = ["encode", "run", "--data=pictures", "-o"];
    lab.run(&[&words[..], &["whole.npy"]].concat()).ok();
    run(&lab, 3, &[&words[..], &["codes.npy"]].concat()).ok();
    let search = ["search", "run", "--data=pictures", "--query=#7", "--json", "--codes"];
    let results = |codes: &str| lab.run(&[&search[..], &[codes]].concat()).ok().json()["neighbours"].clone();
    assert!(results("whole.npy").as_array().is_some_and(|found| !found.is_empty()));
    assert_eq!(results("codes.0-of-3.npy"), results("whole.npy"));
    assert_eq!(run(&lab, 2, &[&words[..], &["codes.txt"]].concat()).code, Some(1));
}

fn one_rank_is_a_process_by_itself() {
    let lab = lab();
    let words = ["train", "tiny.toml", "--data=pictures", "--epochs=2", "--no-pca", "--out"];
    run(&lab, 1, &[&words[..], &["under"]].concat()).ok();
    lab.run(&[&words[..], &["alone"]].concat()).ok();
    lab.assert_same_run("under", "alone");
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Ranks wait for each other at full speed.
    arguments.test_threads = Some(1);
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    let mut trials = vec![
        trial("cpu::ranks_are_one_rank_with_their_batch", || ranks_are_one_rank_with_their_batch("cpu")),
        trial("the_same_job_gives_the_same_bits", the_same_job_gives_the_same_bits),
        trial("wrong_input_is_told_once", wrong_input_is_told_once),
        trial("stage_by_stage_training_is_shared", stage_by_stage_training_is_shared),
        trial("a_rank_that_is_killed_leaves_a_checkpoint", a_rank_that_is_killed_leaves_a_checkpoint),
        trial("ranks_encode_a_part_each", ranks_encode_a_part_each),
        trial("one_rank_is_a_process_by_itself", one_rank_is_a_process_by_itself),
        trial("two_hosts_train_together", two_hosts_train_together).with_ignored_flag(!hosts::can_be_made()),
    ];
    let has_gpu = !adapters().is_empty();
    let required = std::env::var_os("DEGRAIN_REQUIRE_GPU").is_some_and(|value| value == "1");
    let on_gpu = trial("gpu::ranks_are_one_rank_with_their_batch", || ranks_are_one_rank_with_their_batch("0"));
    trials.push(on_gpu.with_ignored_flag(!has_gpu && !required));
    libtest_mimic::run(&arguments, trials).exit_code()
}
