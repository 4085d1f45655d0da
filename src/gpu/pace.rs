//! How replays are dealt out to submits: by measured time, so that no driver takes one for a hang.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Work that one submit may hold. Desktop drivers end submits of seconds, and a desktop stutters from 100 ms on; the rest is
/// left for what a measurement is off by.
pub(super) const SUBMIT_NS: f64 = 80e6;
/// Most replays in one submit: what is not yet submitted can still be called off.
const MOST_REPLAYS: usize = 256;
/// How long a measurement counts: a device that gets warm becomes slower.
const FRESH: Duration = Duration::from_secs(5);

/// What is known of a recording's time, and what follows for its submits.
#[derive(Default)]
pub(super) struct Pace {
    /// Measured time of each launch.
    launch_ns: Vec<f64>,
    /// Work that one submit may hold.
    limit_ns: f64,
    /// Whether a replay that is longer than a submit may be is split.
    splits: bool,
    /// Replays that were measured. The first compiles on some drivers, the others do not.
    measured: usize,
    /// When the last of them was, if it told all that is to be known.
    settled: Option<Instant>,
}

/// How the next replay is to be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Measurement {
    /// Launch by launch, each a submit of its own: nothing certain is known of their length, or all of them together are too
    /// long for one submit.
    Launches,
    /// In one submit.
    Replay,
}

impl Pace {
    /// Of a recording of this many launches. Without a limit a replay is never split: nothing ends the submits of software
    /// drivers.
    pub(super) fn new(launches: usize, limit_ns: Option<f64>) -> Self {
        Self {
            launch_ns: vec![0.0; launches],
            limit_ns: limit_ns.unwrap_or(SUBMIT_NS),
            splits: limit_ns.is_some(),
            measured: 0,
            settled: None,
        }
    }

    /// How to run the next replay; none where enough is known for as long as that is fresh.
    pub(super) fn next(&self, now: Instant) -> Option<Measurement> {
        if self.settled.is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
            return None;
        }
        let is_long = self.measured == 0 || self.replay_ns() > self.limit_ns;
        Some(if self.splits && is_long { Measurement::Launches } else { Measurement::Replay })
    }

    /// Takes the times of the launches of one replay.
    pub(super) fn see_launches(&mut self, launch_ns: Vec<f64>, now: Instant) {
        self.launch_ns = launch_ns;
        self.measured += 1;
        // What fits one submit is measured in one, since latency counts for each of those that were measured.
        self.settled = (self.measured > 1 && self.replay_ns() > self.limit_ns).then_some(now);
    }

    /// Takes the time of one replay in one submit.
    pub(super) fn see_replay(&mut self, ns: f64, now: Instant) {
        let (known, launches) = (self.replay_ns(), self.launch_ns.len() as f64);
        for launch in &mut self.launch_ns {
            *launch = if known > 0.0 { *launch * (ns / known) } else { ns / launches };
        }
        self.measured += 1;
        self.settled = (self.measured > 1).then_some(now);
    }

    /// Time of one replay, as far as it is known.
    pub(super) fn replay_ns(&self) -> f64 {
        self.launch_ns.iter().sum()
    }

    /// Whole replays that one submit may hold, at least one.
    pub(super) fn replays_in_submit(&self) -> usize {
        ((self.limit_ns / self.replay_ns().max(1.0)) as usize).clamp(1, MOST_REPLAYS)
    }

    /// The launches of one replay, submit by submit: as many in each as it may hold by their times, and one where that alone
    /// is longer. All in one where a replay need not be split; each by itself before anything was measured.
    pub(super) fn parts(&self) -> Vec<Range<usize>> {
        let launches = self.launch_ns.len();
        match (self.splits, self.measured) {
            (false, _) => whole(launches),
            (true, 0) => (0..launches).map(|launch| launch..launch + 1).collect(),
            (true, _) => pack(&self.launch_ns, self.limit_ns),
        }
    }
}

/// All launches in one submit.
fn whole(launches: usize) -> Vec<Range<usize>> {
    std::iter::once(0..launches).collect()
}

/// Ranges of neighbours that add up to no more than `limit_ns` each, but for single ones that are longer.
fn pack(launch_ns: &[f64], limit_ns: f64) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut held_ns = 0.0;
    for (launch, ns) in launch_ns.iter().enumerate() {
        match parts.last_mut() {
            Some(part) if held_ns + ns <= limit_ns => {
                part.end = launch + 1;
                held_ns += ns;
            }
            _ => {
                parts.push(launch..launch + 1);
                held_ns = *ns;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: f64 = 1e6;

    /// A recording whose launches take these times, measured as it asks for it; and how it was.
    fn settled(launch_ns: &[f64], first: f64, limit_ns: Option<f64>) -> (Pace, Vec<Measurement>) {
        let (mut pace, now) = (Pace::new(launch_ns.len(), limit_ns), Instant::now());
        let mut asked = Vec::new();
        while let Some(measurement) = pace.next(now) {
            let slower = if asked.is_empty() { first } else { 1.0 };
            asked.push(measurement);
            assert!(asked.len() < 9, "{asked:?}");
            match measurement {
                // Each submit that is waited for has a latency of its own.
                Measurement::Launches => pace.see_launches(launch_ns.iter().map(|ns| slower * ns + 5e4).collect(), now),
                Measurement::Replay => pace.see_replay(slower * launch_ns.iter().sum::<f64>(), now),
            }
        }
        (pace, asked)
    }

    #[test]
    fn many_short_replays_share_a_submit() {
        use Measurement::{Launches, Replay};
        let (pace, asked) = settled(&[0.1 * MS; 20], 1.0, Some(SUBMIT_NS));
        assert_eq!(asked, [Launches, Replay]);
        assert_eq!(pace.replays_in_submit(), 40, "2 ms each");
        assert_eq!(pace.parts(), whole(20));
        let (pace, asked) = settled(&[0.1 * MS; 20], 100.0, Some(SUBMIT_NS));
        assert_eq!(asked, [Launches, Launches, Replay], "the first one compiled its kernels");
        assert_eq!(pace.replays_in_submit(), 40);
        let (pace, _) = settled(&[10.0], 1.0, Some(SUBMIT_NS));
        assert_eq!(pace.replays_in_submit(), MOST_REPLAYS);
    }

    #[test]
    fn a_long_replay_is_split_by_the_times_of_its_launches() {
        let times = [1.0, 1.0, 70.0, 1.0, 60.0, 30.0, 30.0, 19.0, 500.0, 2.0].map(|ms| ms * MS);
        let (pace, asked) = settled(&times, 3.0, Some(SUBMIT_NS));
        assert_eq!(asked, [Measurement::Launches; 2]);
        assert_eq!(pace.parts(), [0..4, 4..5, 5..8, 8..9, 9..10]);
        assert_eq!(pace.replays_in_submit(), 1);
        for part in pace.parts() {
            let ns: f64 = times[part.clone()].iter().sum();
            assert!(ns <= SUBMIT_NS || part.len() == 1, "{part:?} is {ns} ns");
        }
    }

    #[test]
    fn before_anything_is_known_each_launch_is_alone() {
        assert_eq!(Pace::new(3, Some(SUBMIT_NS)).parts(), [0..1, 1..2, 2..3]);
        assert_eq!(Pace::new(0, Some(SUBMIT_NS)).parts(), []);
    }

    #[test]
    fn a_software_driver_never_splits_a_replay() {
        let (pace, asked) = settled(&[300.0 * MS; 10], 2.0, None);
        assert_eq!(asked, [Measurement::Replay; 2]);
        assert_eq!((pace.parts(), pace.replays_in_submit()), (whole(10), 1));
        let (pace, _) = settled(&[MS; 10], 2.0, None);
        assert_eq!(pace.replays_in_submit(), 8, "several short ones still go together");
    }

    #[test]
    fn a_device_that_becomes_slower_is_noticed() {
        let (mut pace, _) = settled(&[10.0 * MS, 30.0 * MS], 1.0, Some(SUBMIT_NS));
        assert_eq!((pace.replays_in_submit(), pace.parts()), (2, whole(2)));
        let later = Instant::now() + 2 * FRESH;
        assert_eq!(pace.next(later), Some(Measurement::Replay));
        pace.see_replay(120.0 * MS, later);
        assert_eq!(pace.next(later), None);
        assert_eq!((pace.replays_in_submit(), pace.parts()), (1, vec![0..1, 1..2]), "30 and 90 ms now");
    }
}
