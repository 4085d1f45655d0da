//! The engine on contestants whose times are known.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use rand::{RngExt, SeedableRng};

/// Contestants of known times with a bit of noise, a slow first run each, and a clock that sometimes fails.
struct Fake {
    run_us: Vec<f64>,
    noise: f64,
    idle_us: Option<f64>,
    seen: Vec<u32>,
    turns: Vec<Turn>,
    fails_every: usize,
    rng: rand_pcg::Pcg64,
    /// Something else on the machine, that comes and goes slowly.
    disturbance: f64,
    disturbed: f64,
}

impl Fake {
    fn new(run_us: &[f64], noise: f64) -> Self {
        let (seen, rng) = (vec![0; run_us.len()], rand_pcg::Pcg64::seed_from_u64(5));
        Self {
            run_us: run_us.to_vec(),
            noise,
            idle_us: None,
            seen,
            turns: Vec::new(),
            fails_every: usize::MAX,
            rng,
            disturbance: 0.0,
            disturbed: 0.0,
        }
    }
}

impl Stopwatch for Fake {
    fn time_us(&mut self, turns: &[Turn]) -> Result<Vec<f64>> {
        let time = |turn: &Turn| {
            self.turns.push(*turn);
            let first = self.seen[turn.contestant] == 0;
            self.seen[turn.contestant] += turn.runs;
            if self.turns.len().is_multiple_of(self.fails_every) {
                return [-3.0, 0.0, f64::NAN][self.turns.len() % 3];
            }
            self.disturbance = 0.95 * self.disturbance + self.disturbed * (self.rng.random::<f64>() - 0.5);
            let noise = 1.0 + self.noise * self.rng.random::<f64>() + self.disturbance.abs();
            let run = self.run_us[turn.contestant] * f64::from(turn.runs) * noise;
            run + self.idle_us.unwrap_or(0.0) + if first { 1e5 } else { 0.0 }
        };
        Ok(turns.iter().map(time).collect())
    }

    fn idle_us(&mut self) -> Result<Option<f64>> {
        Ok(self.idle_us)
    }
}

#[test]
fn samples_are_long_enough_and_the_first_run_is_not_among_them() {
    let mut fake = Fake::new(&[3.0, 250.0], 0.001);
    let outcome = contest(&mut fake, 2, &Budget::default()).unwrap();
    assert_eq!(outcome.stopped, Stopped::Precise);
    let n = outcome.runs_per_sample[0];
    assert!(f64::from(n) * 3.0 >= 100.0 && outcome.runs_per_sample == [n, n], "{:?}", outcome.runs_per_sample);
    let medians: Vec<f64> = outcome.samples_us.iter().map(|s| Statistics::of(s).unwrap().median).collect();
    assert!((medians[0] - 3.0).abs() < 0.01 && (medians[1] - 250.0).abs() < 1.0, "{medians:?}");
    assert!(outcome.samples_us[0].iter().all(|us| *us < 4.0) && outcome.warm_up_runs > 2);
}

#[test]
fn the_order_turns_round_every_round() {
    let mut fake = Fake::new(&[300.0, 400.0, 500.0], 0.1);
    contest(&mut fake, 3, &Budget { max_samples: 12, ..Budget::default() }).unwrap();
    let order: Vec<usize> = fake.turns.iter().map(|turn| turn.contestant).collect();
    // All twelve rounds fit into one batch, behind a turn that is not counted.
    let (lead, rounds) = order.get(order.len() - 12 * 3 - 1..).unwrap().split_first().unwrap();
    assert_eq!(*lead, 0);
    assert!(rounds.chunks(6).all(|two| two == [0, 1, 2, 2, 1, 0]), "{rounds:?}");
}

#[test]
fn ratios_are_found_whatever_a_turn_costs() {
    for idle_us in [None, Some(80.0)] {
        let mut fake = Fake { idle_us, ..Fake::new(&[40.0, 80.0, 40.0], 0.02) };
        let outcome = contest(&mut fake, 3, &Budget { max_samples: 60, ..Budget::default() }).unwrap();
        assert_eq!(outcome.idle_us, idle_us);
        let ratio = |other: usize| outcome.ratio(0, other).unwrap();
        assert!((ratio(1).median - 2.0).abs() < 0.02 && ratio(1).is_clear(), "{:?}", ratio(1));
        assert!((ratio(2).median - 1.0).abs() < 0.01, "{:?}", ratio(2));
    }
}

#[test]
fn the_interval_of_equals_holds_one_though_the_machine_is_disturbed() {
    let budget = Budget { max_samples: 200, precision: 0.0, ..Budget::default() };
    let held = (0..60).filter(|&seed| {
        let rng = rand_pcg::Pcg64::seed_from_u64(seed);
        let mut fake = Fake { disturbed: 0.2, rng, ..Fake::new(&[400.0, 400.0], 0.1) };
        let found = contest(&mut fake, 2, &budget).unwrap().ratio(0, 1).unwrap();
        found.low <= 1.0 && 1.0 <= found.high && found.high - found.low < 0.2
    });
    assert!(held.count() >= 57);
}

#[test]
fn impossible_times_are_left_out_and_counted() {
    let mut fake = Fake { fails_every: 5, ..Fake::new(&[400.0, 400.0], 0.001) };
    let outcome = contest(&mut fake, 2, &Budget::default()).unwrap();
    assert!(outcome.discarded > 0, "{outcome:?}");
    assert_eq!(outcome.samples_us[0].len(), outcome.samples_us[1].len());
    assert!(outcome.samples_us.iter().flatten().all(|us| (399.0..401.0).contains(us)), "{outcome:?}");
    // A clock that never works ends, too, and says nothing.
    let mut broken = Fake { fails_every: 1, ..Fake::new(&[400.0], 0.0) };
    let outcome = contest(&mut broken, 1, &Budget { max_samples: 10, ..Budget::default() }).unwrap();
    assert!(outcome.samples_us[0].is_empty() && outcome.discarded >= 10, "{outcome:?}");
}

#[test]
fn a_noisy_machine_is_measured_until_the_time_or_the_samples_are_spent() {
    let few = Budget { max_samples: 30, ..Budget::default() };
    let outcome = contest(&mut Fake::new(&[200.0], 2.0), 1, &few).unwrap();
    assert_eq!((outcome.stopped, outcome.samples_us[0].len()), (Stopped::EnoughSamples, 30));
    let short = Budget { seconds: 0.0, ..Budget::default() };
    let outcome = contest(&mut Fake::new(&[90_000.0], 2.0), 1, &short).unwrap();
    assert_eq!((outcome.stopped, outcome.samples_us[0].len()), (Stopped::TimeSpent, short.min_samples));
}

#[test]
fn the_interval_of_the_median_holds_for_few_and_many() {
    assert_eq!(half_width(&[1.0; 7]), None);
    assert_eq!(half_width(&[2.0; 8]), Some(0.0));
    let eight: Vec<f64> = (1..=8).map(f64::from).collect();
    assert_eq!(half_width(&eight), Some(3.5 / 4.5));
    // Of 100, the binomial distribution (n = 100, p = 1/2) gives the 38th and the 63rd.
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(half_width(&hundred), Some((63.0 - 38.0) / 2.0 / 50.5));
}
