//! What was found out about a lone kernel, as data and as text.

use super::contest::Stopped;
use super::{Ratio, Statistics};
use crate::gpu::LoneLimits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What the times come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimedBy {
    /// Timestamps that the device writes around compute passes.
    Timestamps,
    /// The host's clock around whole submits, less an empty one.
    Submits,
}

/// A buffer that a kernel uses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BoundBuffer {
    /// `GROUP:BINDING`.
    pub binding: String,
    /// The variable.
    pub name: String,
    /// `uniform` or `storage`.
    pub kind: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Whether the entry point reads it.
    pub read: bool,
    /// Whether the entry point writes it.
    pub written: bool,
}

impl BoundBuffer {
    /// Bytes that move if all of the buffer is read once, written once, or both.
    pub fn moved_bytes(&self) -> u64 {
        self.size_bytes * (u64::from(self.read) + u64::from(self.written))
    }
}

/// How many times as long builds with a run-time check take as builds without it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckEffects {
    /// Of indices that are kept within arrays. Where the driver promises that for buffers, wgpu leaves it to the driver in
    /// either build, and this is about arrays in other memory alone.
    pub bounds_checks: Ratio,
    /// Of counting the turns of loops.
    pub loop_bounding: Ratio,
}

/// How long a kernel takes, and how well it was launched.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KernelProfile {
    /// The kernel's name or path.
    pub kernel: String,
    /// Entry point.
    pub entry: String,
    /// Constants that were given, as written.
    pub constants: BTreeMap<String, String>,
    /// The device.
    pub device: String,
    /// Backend, driver and version.
    pub driver: String,
    /// Time of one run, in microseconds.
    pub us: Statistics,
    /// Half of the 99 % confidence interval of the median, as a part of the median; none of too few samples.
    pub interval: Option<f64>,
    /// What the times come from.
    pub timed_by: TimedBy,
    /// Median time of an empty submit, in microseconds, which is taken off every sample; none with timestamps.
    pub empty_submit_us: Option<f64>,
    /// Runs in one compute pass, of which a sample is the mean.
    pub runs_per_sample: u32,
    /// Runs before the first sample, of all kernels measured in turn with this one.
    pub warm_up_runs: u64,
    /// Times of all kernels measured in turn that were negative, wrapped or longer than the host waited, and left out.
    pub discarded_timestamps: usize,
    /// Why the measurement ended.
    pub stopped: Stopped,
    /// How long the measurement took, of all kernels measured in turn.
    pub seconds: f64,
    /// Copies of the buffers that took turns; none where every run had the same.
    pub cold_copies: Option<usize>,
    /// Whether the build has wgpu's run-time checks.
    pub checked: bool,
    /// Floating-point operations of a run, as given.
    pub flops: Option<f64>,
    /// Billions of them in a second, at the median.
    pub gflops: Option<f64>,
    /// Bytes that a run moves; none where the kernel has no buffers.
    pub bytes: Option<f64>,
    /// Whether they were given; else every buffer counts once for reading and once for writing.
    pub bytes_given: bool,
    /// Billions of them in a second, at the median.
    pub gbps: Option<f64>,
    /// Workgroup counts.
    pub workgroups: [u32; 3],
    /// Invocations of a workgroup by axis.
    pub workgroup_size: [u32; 3],
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Workgroup memory, in bytes.
    pub workgroup_memory_bytes: u32,
    /// What the device allows.
    pub limits: LoneLimits,
    /// Short sentences about how the launch fills the device.
    pub hints: Vec<String>,
    /// The buffers that the entry point uses.
    pub buffers: Vec<BoundBuffer>,
    /// What run-time checks cost, where it was measured.
    pub runtime_checks: Option<CheckEffects>,
}

/// A time with the digits that matter: `1.234 us`, `56.7 ms`.
pub fn duration(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e4 => (us / 1e3, "ms"),
        us => (us, "us"),
    };
    let digits = if value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    format!("{value:.digits$} {unit}")
}

/// `12 B`, `3.00 KiB`, `1.50 MiB`.
fn size(bytes: f64) -> String {
    match bytes {
        b if b >= (1u64 << 30) as f64 => format!("{:.2} GiB", b / (1u64 << 30) as f64),
        b if b >= (1 << 20) as f64 => format!("{:.2} MiB", b / f64::from(1 << 20)),
        b if b >= 1024.0 => format!("{:.2} KiB", b / 1024.0),
        b => format!("{b} B"),
    }
}

/// Three digits that matter, and thousands in full.
pub fn rate(rate: f64) -> String {
    let digits = if rate >= 100.0 { 0 } else { (2.0 - rate.max(1e-6).log10().floor()).clamp(0.0, 8.0) as usize };
    format!("{rate:.digits$}")
}

/// `1.020 times (99 %: 0.990 to 1.040)`.
pub fn ratio(ratio: &Ratio) -> String {
    let Ratio { median, low, high } = ratio;
    format!("{median:.3} times (99 %: {low:.3} to {high:.3})")
}

impl KernelProfile {
    /// How the times came about, in a sentence.
    pub fn method(&self) -> String {
        let runs = match self.runs_per_sample {
            1 => String::new(),
            runs => format!(" of {runs} runs each"),
        };
        let clock = match (self.timed_by, self.empty_submit_us) {
            (TimedBy::Timestamps, _) => "by the device's timestamps".to_owned(),
            (TimedBy::Submits, Some(us)) => format!("whole submits less an empty one's {}", duration(us)),
            (TimedBy::Submits, None) => "whole submits".to_owned(),
        };
        format!("{} samples{runs}, {clock}", self.us.samples)
    }

    /// How sure the median is, in one line.
    pub fn certainty(&self) -> String {
        let interval = match self.interval {
            Some(width) => format!("median within {:.2} % (99 % interval)", 100.0 * width),
            None => "too few samples for an interval".to_owned(),
        };
        match self.stopped {
            Stopped::Precise => interval,
            Stopped::TimeSpent => format!("{interval}; the time was spent"),
            Stopped::EnoughSamples => format!("{interval}; all samples were taken"),
        }
    }
}

impl fmt::Display for KernelProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let triple = |[x, y, z]: [u32; 3]| format!("{x} x {y} x {z}");
        writeln!(f, "{}, {} on {}", self.kernel, self.entry, self.device)?;
        writeln!(f, "  driver      {}", self.driver)?;
        let us = &self.us;
        writeln!(f, "  median      {}   min {}   p95 {}", duration(us.median), duration(us.min), duration(us.p95))?;
        writeln!(f, "  spread      MAD {} ({:.2} %)", duration(us.mad), 100.0 * us.spread())?;
        writeln!(f, "  certainty   {}", self.certainty())?;
        labelled(f, "measured", "", &self.method())?;
        if self.discarded_timestamps > 0 {
            writeln!(f, "  discarded   {} impossible timestamps", self.discarded_timestamps)?;
        }
        if let Some(copies) = self.cold_copies {
            writeln!(f, "  cold        {copies} copies of the buffers take turns")?;
        }
        if let (Some(flops), Some(gflops)) = (self.flops, self.gflops) {
            writeln!(f, "  arithmetic  {} GFLOP/s, {flops:.4e} operations", rate(gflops))?;
        }
        if let (Some(bytes), Some(gbps)) = (self.bytes, self.gbps) {
            let from = if self.bytes_given { "as given" } else { "what is read once, what is written once" };
            writeln!(f, "  memory      {} GB/s, {}: {from}", rate(gbps), size(bytes))?;
        }
        let invocations = format!("{} of {} invocations", self.invocations, self.limits.invocations);
        let (used, limit) = (f64::from(self.workgroup_memory_bytes), f64::from(self.limits.workgroup_memory_bytes));
        writeln!(f, "  launched    {} workgroups of {}", triple(self.workgroups), triple(self.workgroup_size))?;
        writeln!(f, "  workgroup   {invocations}, {} of {} memory", size(used), size(limit))?;
        match &self.runtime_checks {
            Some(effects) => {
                writeln!(f, "  checks      bounds checks take {}", ratio(&effects.bounds_checks))?;
                writeln!(f, "              loop bounding takes {}", ratio(&effects.loop_bounding))?;
            }
            None if !self.checked => writeln!(f, "  checks      none: a trusted build")?,
            None => {}
        }
        for (at, hint) in self.hints.iter().enumerate() {
            labelled(f, if at == 0 { "hints" } else { "" }, "- ", hint)?;
        }
        Ok(())
    }
}

/// Text behind a label, with a mark in front of its first line.
fn labelled(f: &mut fmt::Formatter<'_>, label: &str, mark: &str, text: &str) -> fmt::Result {
    let width = mark.len();
    for (at, line) in wrap(text, 66).iter().enumerate() {
        let (label, mark) = if at == 0 { (label, mark) } else { ("", "") };
        writeln!(f, "  {label:11} {mark:width$}{line}")?;
    }
    Ok(())
}

/// Lines of at most `width` characters, broken between words.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        assert_eq!([0.5, 12.345, 123.45, 4321.0].map(duration), ["0.500 us", "12.35 us", "123.5 us", "4321 us"]);
        assert_eq!([12_340.0, 2.5e6].map(duration), ["12.34 ms", "2.500 s"]);
        assert_eq!([12.0, 2048.0, 1.5 * 1048576.0].map(size), ["12 B", "2.00 KiB", "1.50 MiB"]);
        assert_eq!([1234.5, 12.345, 0.0123].map(rate), ["1234", "12.3", "0.0123"]);
        assert_eq!(wrap("aa bb cc ddddddd", 5), ["aa bb", "cc", "ddddddd"]);
    }
}
