//! Faults, injected: what was saved is there, and a run that went on gives the bits of one that was never disturbed.
//!
//! `DEGRAIN_FAULTS=N` repeats the tests of random moments N times in place of a few.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use degrain::train::Weights;
use lab::{Ended, Lab};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run that nobody sees the end of: its epochs take some milliseconds, each with a checkpoint.
const ENDLESS: [&str; 9] = [
    "train",
    "tiny.toml",
    "--data=pictures",
    "--device=cpu",
    "--no-pca",
    "--epochs=9999999",
    "--out",
    "run",
    "--quiet",
];

/// How many times a fault strikes at a random moment.
fn times(few: usize) -> usize {
    std::env::var("DEGRAIN_FAULTS").map_or(few, |times| times.parse().unwrap())
}

/// Starts the endless run or goes on with it, and sends it `signal` after `delay`; false where it could not be started for
/// the folder, as it was killed before it had settings.
fn strike(lab: &Lab, signal: &str, delay: Duration) -> Ended {
    let begun = lab.path("run/config.toml").exists();
    let resume = ["train", "--resume", "run", "--device=cpu", "--no-pca", "--epochs=9999999", "--quiet"];
    let mut command = lab.command(if begun { &resume } else { &ENDLESS });
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(delay);
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status();
    assert!(kill.unwrap().success(), "the run ended by itself: {:?}", Ended::from(child.wait_with_output().unwrap()));
    child.wait_with_output().unwrap().into()
}

/// Goes on with the run for ten steps more than it logged, and holds it against one that was never disturbed.
fn assert_undisturbed(lab: &Lab) {
    let steps = (lab.steps("run") + 10).to_string();
    lab.run(&["train", "--resume", "run", "--steps", &steps, "--device=cpu", "--no-pca"]).ok();
    lab.train("whole", &["--epochs", "9999999", "--steps", &steps, "--no-pca"]).ok();
    lab.assert_same_run("whole", "run");
}

/// The time that a run needs until its first checkpoint.
fn time_to_save(lab: &Lab) -> Duration {
    let begin = Instant::now();
    lab.train("first", &["--steps", "1", "--no-pca", "--val", "0"]).ok();
    begin.elapsed()
}

#[test]
fn a_run_that_is_killed_at_any_moment_goes_on() {
    let lab = Lab::new();
    let scale = time_to_save(&lab);
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    for kill in 0..times(12) {
        assert_eq!(strike(&lab, "-KILL", scale.mul_f64(rng.random_range(0.0..2.5))).code, None);
        let whole = |name| {
            let path = lab.path(name);
            path.exists().then(|| Weights::read(&path)).map(|read| read.unwrap())
        };
        let state = whole("run/state.safetensors").or_else(|| whole("run/state-before.safetensors"));
        assert!(state.is_some() || lab.steps_if_any("run") == 0, "kill {kill} left steps without a checkpoint");
        whole("run/last.safetensors");
        whole("run/best.safetensors");
    }
    assert!(lab.steps("run") > 0, "no kill struck a training run");
    assert_undisturbed(&lab);
}

#[test]
fn a_run_that_is_killed_while_it_ends_ends_later() {
    let lab = Lab::new();
    let ended = |run: &str| lab.path(run).join("summary.json").exists();
    lab.train("whole", &["--no-pca"]).ok();
    let scale = time_to_save(&lab);
    let mut rng = ChaCha12Rng::seed_from_u64(2);
    for kill in 0..times(6) {
        let run = format!("run{kill}");
        let mut command =
            lab.command(&["train", "tiny.toml", "--data=pictures", "--device=cpu", "--no-pca", "--out", &run]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(scale.mul_f64(rng.random_range(0.3..1.6)));
        child.kill().unwrap();
        child.wait().unwrap();
        let finish = match lab.path(&run).join("config.toml").exists() {
            true => lab.run(&["train", "--resume", &run, "--device=cpu", "--no-pca"]),
            false => lab.train(&run, &["--no-pca"]),
        };
        finish.ok();
        assert!(ended(&run), "kill {kill}");
        lab.assert_same_run("whole", &run);
        for sheet in ["denoised.png", "codes.png", "noise_levels.png"] {
            assert!(lab.read(&format!("whole/{sheet}")) == lab.read(&format!("{run}/{sheet}")), "kill {kill}: {sheet}");
        }
    }
}

#[test]
fn a_signal_at_any_moment_saves() {
    let lab = Lab::new();
    let scale = time_to_save(&lab);
    let mut rng = ChaCha12Rng::seed_from_u64(3);
    for _ in 0..times(6) {
        let stopped = strike(&lab, "-INT", scale.mul_f64(rng.random_range(0.5..2.5)));
        // Before it trains there is nothing to save, and the process just ends.
        assert!(stopped.code == Some(130) || stopped.code.is_none(), "{stopped:?}");
        assert!(!stopped.stderr.contains("panicked"), "{stopped:?}");
    }
    assert!(lab.steps("run") > 0, "no signal struck a training run");
    assert_undisturbed(&lab);
}

/// Bytes of memory that a process has, at the moment and at most so far.
#[cfg(target_os = "linux")]
fn memory_kib(process: u32) -> Option<[u64; 2]> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let of =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().split(' ').next()?.parse().ok());
    Some([of("VmRSS:")?, of("VmHWM:")?])
}

/// `DEGRAIN_LONG_STEPS=N` makes it N steps: 100,000 take half a minute.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat_over_a_long_run() {
    let steps: u64 = std::env::var("DEGRAIN_LONG_STEPS").map_or(4_000, |steps| steps.parse().unwrap());
    let lab = Lab::new();
    let mut command = lab.command(&ENDLESS[..]);
    // A checkpoint every 32 steps: more of them would measure the disk.
    let more = ["--steps".to_owned(), steps.to_string(), "--batch=1".to_owned()];
    let mut child = command.args(more).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let done = || lab.steps_if_any("run") as u64;
    let mut early = None;
    while child.try_wait().unwrap().is_none() {
        if early.is_none() && done() > steps / 5 {
            early = memory_kib(child.id());
        }
        std::thread::sleep(Duration::from_millis(20));
        if let (Some([early, _]), Some([now, _])) = (early, memory_kib(child.id())) {
            assert!(now < early + early / 4 + 8 * 1024 || done() == steps, "{early} KiB became {now} KiB");
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(early.is_some(), "the run was over before it could be looked at");
    assert_eq!(done(), steps);
}

/// Trains a run of two epochs, so that it has a checkpoint before the last one.
fn with_two_checkpoints() -> Lab {
    let lab = Lab::new();
    lab.train("run", &["--epochs", "2", "--no-pca"]).ok();
    assert!(lab.path("run/state-before.safetensors").exists());
    lab
}

const LONGER: [&str; 6] = ["train", "--resume", "run", "--epochs=4", "--device=cpu", "--no-pca"];

/// What is done to a checkpoint, and what is then said of it.
type Damage = (&'static str, fn(&mut Vec<u8>));

#[test]
fn a_damaged_checkpoint_is_refused_and_the_one_before_it_used() {
    let damages: [Damage; 4] = [
        ("is damaged", |bytes| {
            let last = bytes.len() - 5;
            bytes[last] ^= 16;
        }),
        ("is cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("is cut off", |bytes| bytes.clear()),
        ("is damaged or no safetensors file", |bytes| bytes[8..40].fill(b'x')),
    ];
    for (words, damage) in damages {
        let lab = with_two_checkpoints();
        let mut bytes = lab.read("run/state.safetensors");
        damage(&mut bytes);
        fs::write(lab.path("run/state.safetensors"), bytes).unwrap();
        let resumed = lab.run(&LONGER).ok();
        let warning = resumed.stderr.lines().find(|line| line.starts_with("warning: ")).unwrap_or_default();
        assert!(warning.contains("run/state.safetensors") && warning.contains(words), "{warning}");
        assert!(warning.ends_with("going on from the checkpoint before it"), "{warning}");
        lab.train("whole", &["--epochs", "4", "--no-pca"]).ok();
        lab.assert_same_run("whole", "run");
    }
}

#[test]
fn two_damaged_checkpoints_are_an_error_and_stay() {
    let lab = with_two_checkpoints();
    for name in ["run/state.safetensors", "run/state-before.safetensors"] {
        fs::write(lab.path(name), b"nothing").unwrap();
    }
    lab.run(&LONGER).fails(&["run/state.safetensors", "is cut off"]);
    assert_eq!(lab.read("run/state.safetensors"), b"nothing");
    assert!(lab.path("run/best.safetensors").exists());
}

/// `degrain` with these words, begun by a shell that first does something else.
fn after(lab: &Lab, first: &str, words: &[&str]) -> Command {
    let command = lab.command(words);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{first}; exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.args(command.get_args()).current_dir(lab.path("."));
    for (name, value) in command.get_envs() {
        value.map(|value| shell.env(name, value));
    }
    shell.stdin(Stdio::null());
    shell
}

/// Runs `degrain` with these words where no file may grow past `kib` KiB.
fn within(lab: &Lab, kib: usize, words: &[&str]) -> Ended {
    after(lab, &format!("ulimit -f {}", 2 * kib), words).output().unwrap().into()
}

#[test]
fn signals_that_were_ignored_stay_ignored() {
    let lab = Lab::new();
    let pause = 4 * time_to_save(&lab) + Duration::from_millis(300);
    // As `nohup` does, and shells with what they start in the background.
    let mut child =
        after(&lab, "trap '' HUP INT", &ENDLESS).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let id = child.id().to_string();
    let send = |signal: &str| assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    std::thread::sleep(pause);
    for signal in ["-HUP", "-INT"] {
        send(signal);
        std::thread::sleep(pause);
        assert_eq!(child.try_wait().unwrap(), None, "{signal}");
    }
    send("-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_disk_that_is_full_leaves_the_checkpoint() {
    let lab = with_two_checkpoints();
    let saved = lab.read("run/state.safetensors");
    let sizes = ["state", "last", "best"].map(|name| lab.read(&format!("run/{name}.safetensors")).len());
    // Room for the tables, not for a checkpoint.
    let kib = sizes.into_iter().min().unwrap() / 1024;
    let full = within(&lab, kib, &LONGER);
    assert_eq!(full.code, Some(1), "{full:?}");
    let error = full.stderr.lines().last().unwrap_or_default();
    assert!(error.contains(".safetensors: cannot write: File too large"), "{error}");
    let left = [lab.path("run/state.safetensors"), lab.path("run/state-before.safetensors")];
    assert!(left.iter().any(|path| fs::read(path).is_ok_and(|bytes| bytes == saved)), "the checkpoint is gone");
    let mut names = fs::read_dir(lab.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.all(|name| !name.to_string_lossy().ends_with("tmp")), "half a file was left");
    lab.run(&LONGER).ok();
    lab.train("whole", &["--epochs", "4", "--no-pca"]).ok();
    lab.assert_same_run("whole", "run");
}

/// Whether this process may write where modes forbid it, as root may.
fn modes_are_ignored(folder: &Path) -> bool {
    fs::write(folder.join("probe"), b"").is_ok_and(|()| fs::remove_file(folder.join("probe")).is_ok())
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    fs::create_dir(lab.path("locked")).unwrap();
    fs::set_permissions(lab.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    // Where modes mean nothing, a file in the folder's place refuses as well.
    let out = if modes_are_ignored(&lab.path("locked")) { "pictures/00.png/run" } else { "locked/run" };
    lab.train(out, &["--no-pca"]).fails(&[out, "create the folder"]);
    fs::set_permissions(lab.path("locked"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_device_that_runs_out_of_memory_says_what_would_fit() {
    let lab = Lab::new();
    let mut shell = Command::new("sh");
    // Half a million codes of an 8x8 picture are 64 million parameters, four numbers each.
    shell.arg("-c").arg("ulimit -v 1500000; exec \"$0\" \"$@\"").arg(env!("CARGO_BIN_EXE_degrain"));
    shell.args(["train", "tiny.toml", "--data=pictures", "--device=cpu", "--no-pca", "--code=2000000", "--out=run"]);
    shell.current_dir(lab.path(".")).env("DEGRAIN_CACHE", lab.path("cache")).env("RAYON_NUM_THREADS", "2");
    let ended = Ended::from(shell.stdin(Stdio::null()).output().unwrap());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error = ended.stderr.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: --batch: a batch of 5 needs "), "{error}");
}

#[test]
fn two_runs_into_one_folder_do_not_meet() {
    let lab = Lab::new();
    let start = || {
        let mut command = lab.command(&ENDLESS[..]);
        command.args(["--steps", "400"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let ended = [start(), start()].map(|child| Ended::from(child.wait_with_output().unwrap()));
    let (won, lost): (Vec<&Ended>, Vec<&Ended>) = ended.iter().partition(|ended| ended.code == Some(0));
    assert_eq!((won.len(), lost.len()), (1, 1), "{ended:?}");
    let error = lost[0].stderr.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: run: "), "{error}");
    assert!(error.contains("another degrain process") || error.contains("is not empty"), "{error}");
    lab.train("whole", &["--epochs", "9999999", "--steps", "400", "--no-pca"]).ok();
    lab.assert_same_run("whole", "run");
}
