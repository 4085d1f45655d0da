//! A device that has no memory left all the same. It is the only test of its process, which is short of memory while it runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small;

use libtest_mimic::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut trials = Vec::new();
    // The address space of a process is what llvmpipe takes memory from. SwiftShader crashes where that is at its end.
    #[cfg(target_os = "linux")]
    trials.extend(small::trials_on(
        |adapter| adapter.name().contains("llvmpipe"),
        [("a_device_without_memory_keeps_the_run", linux::a_device_without_memory_keeps_the_run as _)],
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::small::{Quiet, assert_same, files, preset};
    use degrain::data::{Dataset, Split, Values};
    use degrain::gpu::Adapter;
    use degrain::session::Session;
    use degrain::train::{RunDir, TrainOptions, Trainer};
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use std::path::Path;

    /// A tensor of the first layer's takes 33 MB at this batch.
    const BATCH: usize = 16_000;

    fn pictures() -> Dataset {
        let rows = BATCH + 8;
        let values = (0..rows * 192).map(|i| (i * i % 251) as u8).collect();
        Dataset::new([8, 8, 3], Values::U8(values), (0..rows).map(|i| format!("#{i}")).collect())
    }

    fn split() -> Split {
        Split { train: (0..BATCH as u32).collect(), held_out: (BATCH as u32..BATCH as u32 + 8).collect() }
    }

    /// Begins a run of this many steps, each an epoch, or goes on with it.
    fn train(adapter: &Adapter, path: &Path, epochs: usize) -> degrain::Result<()> {
        let run = if path.exists() { RunDir::open(path)? } else { RunDir::create(path)? };
        let preset = preset(&[&format!("train.batch={BATCH}"), &format!("train.epochs={epochs}")]);
        let session = Session::gpu(adapter.open(true)?);
        let options = TrainOptions::default();
        Trainer::resume(&preset, &pictures(), &split(), session, run, &options)?.run(&mut Quiet).map(drop)
    }

    /// Runs `work` in a process that gets this many bytes more.
    fn with_no_more_than<T>(bytes: u64, work: impl FnOnce() -> T) -> T {
        let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        setrlimit(Resource::RLIMIT_AS, 4096 * pages + bytes, hard).unwrap();
        let result = work();
        setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
        result
    }

    pub(crate) fn a_device_without_memory_keeps_the_run(adapter: &Adapter) {
        let folder = tempfile::tempdir().unwrap();
        let (whole, halted) = (folder.path().join("whole"), folder.path().join("halted"));
        train(adapter, &whole, 2).unwrap();
        train(adapter, &halted, 1).unwrap();
        let before = files(&halted);
        // Kernels are compiled already; what is left is enough for the pictures, not for the step.
        let error = with_no_more_than(64 << 20, || train(adapter, &halted, 2)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--batch: a batch of {BATCH} needs ")), "{error}");
        assert!(error.contains(": take at most ") || error.ends_with("not even a batch of 1 fits"), "{error}");
        assert!(!error.contains('\n') && files(&halted) == before, "{error}");
        train(adapter, &halted, 2).unwrap();
        assert_same(&whole, &halted);
    }
}
