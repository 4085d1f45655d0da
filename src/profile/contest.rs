//! Measurements in turn: several contestants, each timed again and again until the middle of its times is known well.

use super::statistics::{quantile, sorted};
use super::{Ratio, Statistics};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// When to stop measuring, and how long a sample should be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    /// A contestant is known well once the 99 % confidence interval of its median lies within this part of the median on
    /// either side.
    pub precision: f64,
    /// Time for all samples together; it ends with the round that exceeds it.
    pub seconds: f64,
    /// Fewest samples of each contestant, even where the time is spent.
    pub min_samples: usize,
    /// Most samples of each contestant.
    pub max_samples: usize,
    /// Shortest sample: what is shorter runs several times within one.
    pub sample_us: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { precision: 0.01, seconds: 2.0, min_samples: 5, max_samples: 500, sample_us: 100.0 }
    }
}

/// Runs of one contestant that are timed together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Which contestant.
    pub contestant: usize,
    /// How often it runs.
    pub runs: u32,
}

/// What times the contestants.
pub trait Stopwatch {
    /// Runs these turns one after the other and times each, in microseconds. A time that is not positive and finite is no
    /// time: the device's clock failed.
    ///
    /// # Errors
    /// Whatever keeps a turn from ending.
    fn time_us(&mut self, turns: &[Turn]) -> Result<Vec<f64>>;

    /// Time of a turn without any runs, in microseconds, where turns contain it; else none.
    ///
    /// # Errors
    /// As `time_us`.
    fn idle_us(&mut self) -> Result<Option<f64>>;
}

/// Why a measurement ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// All medians are known to the wanted precision.
    Precise,
    /// The time was spent before; the interval says how noisy the times were.
    TimeSpent,
    /// The most samples were taken before.
    EnoughSamples,
}

/// Times of all contestants.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// For every contestant the time of one run in microseconds, by round.
    pub samples_us: Vec<Vec<f64>>,
    /// For every contestant, how many runs a sample is the mean of.
    pub runs_per_sample: Vec<u32>,
    /// Runs of all contestants before the first sample: first runs, compilation, clocks that rise.
    pub warm_up_runs: u64,
    /// Times that the device's clock gave and that cannot be: negative, wrapped, zero or longer than the host waited. Their
    /// rounds are left out.
    pub discarded: usize,
    /// Median time of an idle turn, which samples are already less by, in microseconds.
    pub idle_us: Option<f64>,
    /// Why it ended.
    pub stopped: Stopped,
}

/// Blocks of rounds that a ratio is taken from, where there are so many rounds: as many as an interval needs to be steady.
const RATIO_BLOCKS: usize = 24;

impl Outcome {
    /// How many times as long as `base` another contestant takes. None where there are fewer than five rounds.
    ///
    /// A round's ratio is that of two times next to each other, which what else the machine does changes alike. But rounds in a
    /// row see the same disturbances and are no independent samples: an interval from all of them would be too narrow. So
    /// each of up to 24 blocks of consecutive rounds, as many in the one order as in the other, gives its median.
    pub fn ratio(&self, base: usize, other: usize) -> Option<Ratio> {
        let (base, other) = (self.samples_us.get(base)?, self.samples_us.get(other)?);
        let ratios: Vec<f64> = base.iter().zip(other).map(|(base, other)| other / base).collect();
        let rounds = ratios.len() / RATIO_BLOCKS;
        let rounds = if rounds > 1 { rounds - rounds % 2 } else { 1 };
        let medians = ratios.chunks_exact(rounds).filter_map(|block| Some(Statistics::of(block)?.median));
        let medians: Vec<f64> = medians.collect();
        Ratio::of(&vec![1.0; medians.len()], &medians)
    }
}

/// Longest batch of turns, predicted, in microseconds: drivers kill longer ones, and a time limit is for one run.
const BATCH_US: f64 = 20_000.0;
/// Most turns in a batch.
const BATCH_TURNS: usize = 64;
/// Most runs in a sample.
const MAX_RUNS: u32 = 1000;
/// Fewest samples whose smallest and largest enclose the median 99 times of 100.
const SAMPLES_OF_INTERVAL: usize = 8;

/// Measures contestants 0 to `count - 1` in turn, in reversed order every other round, after a warm-up that is not counted.
///
/// # Errors
/// Those of the stopwatch.
pub fn contest(watch: &mut impl Stopwatch, count: usize, budget: &Budget) -> Result<Outcome> {
    let (runs, run_us, mut warm_up_runs) = pilot(watch, count, budget)?;
    let turns = |round: usize| {
        let mut turns: Vec<Turn> = (0..count).map(|i| Turn { contestant: i, runs: runs[i] }).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        turns
    };
    let round_us: f64 = runs.iter().zip(&run_us).map(|(&n, us)| f64::from(n) * us).sum();
    let batch = batch_rounds(round_us, count);
    warm_up_runs += warm_up(watch, &turns(0), budget)?;
    let (mut rounds, mut idle, mut discarded) = (Vec::<Vec<f64>>::new(), Vec::new(), 0);
    let started = Instant::now();
    let mut number = 0;
    let stopped = loop {
        let batch = batch.min(budget.max_samples.saturating_sub(rounds.len())).max(1);
        let planned: Vec<Turn> = (number..number + batch).flat_map(turns).collect();
        idle.extend(watch.idle_us()?);
        let times = time_in_batches(watch, &planned, &runs, &run_us)?;
        for (turns, times) in planned.chunks(count.max(1)).zip(times.chunks(count.max(1))) {
            let wrong = times.iter().filter(|us| !is_time(**us)).count();
            discarded += wrong;
            if wrong == 0 {
                let mut round = vec![0.0; count];
                turns.iter().zip(times).for_each(|(turn, us)| round[turn.contestant] = *us);
                rounds.push(round);
            }
        }
        number += batch;
        let elapsed = started.elapsed().as_secs_f64();
        if let Some(why) = verdict(&rounds, number, count, elapsed, budget) {
            break why;
        }
    };
    Ok(outcome(&rounds, &runs, &idle, warm_up_runs, discarded, stopped))
}

fn is_time(us: f64) -> bool {
    us > 0.0 && us.is_finite()
}

/// Runs of each contestant in a sample, the time of one run, and the runs that this took.
fn pilot(watch: &mut impl Stopwatch, count: usize, budget: &Budget) -> Result<(Vec<u32>, Vec<f64>, u64)> {
    let (mut runs, mut run_us, mut total) = (Vec::new(), Vec::new(), 0);
    let idle = watch.idle_us()?.unwrap_or(0.0);
    for contestant in 0..count {
        // The first run compiles, and touches memory for the first time.
        watch.time_us(&[Turn { contestant, runs: 1 }])?;
        total += 1;
        let mut n = 1;
        loop {
            let us = watch.time_us(&[Turn { contestant, runs: n }])?.first().copied().unwrap_or(0.0) - idle;
            total += u64::from(n);
            let enough = is_time(us) && us >= budget.sample_us;
            if enough || n >= MAX_RUNS {
                runs.push(n);
                run_us.push(if is_time(us) { us / f64::from(n) } else { 1.0 });
                break;
            }
            // A little more than needed, so that noise does not ask for one more turn.
            let wanted = if is_time(us) { (1.2 * budget.sample_us / us).ceil().clamp(1.0, 16.0) as u32 } else { 2 };
            n = n.saturating_mul(wanted.max(2)).min(MAX_RUNS);
        }
    }
    // The same number for all, where that is cheap: then what a turn itself costs weighs the same on all.
    let most = runs.iter().copied().max().unwrap_or(1);
    if run_us.iter().all(|us| us * f64::from(most) <= BATCH_US) {
        runs.fill(most);
    }
    Ok((runs, run_us, total))
}

/// Rounds that are timed at once.
fn batch_rounds(round_us: f64, count: usize) -> usize {
    let fitting = (BATCH_US / round_us.max(1e-3)) as usize;
    fitting.min(BATCH_TURNS / count.max(1)).clamp(1, 16)
}

/// Runs one round after the other until a twentieth of the time is spent, and says how many runs that were.
fn warm_up(watch: &mut impl Stopwatch, turns: &[Turn], budget: &Budget) -> Result<u64> {
    let started = Instant::now();
    let mut runs = 0;
    for round in 0.. {
        if round >= 2 && started.elapsed().as_secs_f64() >= budget.seconds / 20.0 || round >= budget.max_samples {
            break;
        }
        for turn in turns {
            watch.time_us(&[*turn])?;
            runs += u64::from(turn.runs);
        }
    }
    Ok(runs)
}

/// Times turns, as many at once as are short enough together. The first of several at once bears the device's waking up, so
/// an additional one, which is not counted, goes before them.
fn time_in_batches(watch: &mut impl Stopwatch, turns: &[Turn], runs: &[u32], run_us: &[f64]) -> Result<Vec<f64>> {
    let longest = runs.iter().zip(run_us).map(|(&n, us)| f64::from(n) * us).fold(1e-3, f64::max);
    let at_once = ((BATCH_US / longest) as usize).clamp(1, turns.len().max(1));
    let mut times = Vec::with_capacity(turns.len());
    for part in turns.chunks(at_once) {
        let lead = if part.len() > 1 { &part[..1] } else { &[] };
        let mut part_times = watch.time_us(&[lead, part].concat())?;
        part_times.resize(lead.len() + part.len(), f64::NAN);
        times.extend(part_times.into_iter().skip(lead.len()));
    }
    Ok(times)
}

fn verdict(rounds: &[Vec<f64>], number: usize, count: usize, elapsed: f64, budget: &Budget) -> Option<Stopped> {
    let precise = |contestant: usize| {
        let samples: Vec<f64> = rounds.iter().map(|round| round[contestant]).collect();
        half_width(&samples).is_some_and(|width| width <= budget.precision)
    };
    // A clock that never gives a time must not keep it from ending.
    if rounds.len() < budget.min_samples && number < 4 * budget.max_samples.max(budget.min_samples) {
        return None;
    }
    if (0..count).all(precise) {
        Some(Stopped::Precise)
    } else if rounds.len() >= budget.max_samples || number >= 4 * budget.max_samples {
        Some(Stopped::EnoughSamples)
    } else if elapsed >= budget.seconds {
        Some(Stopped::TimeSpent)
    } else {
        None
    }
}

/// Half of the 99 % confidence interval of the median, as a part of the median: between two order statistics, which hold
/// for any distribution (Conover, Practical Nonparametric Statistics, 1999, section 3.2). None of too few samples.
pub(super) fn half_width(samples: &[f64]) -> Option<f64> {
    let n = samples.len();
    if n < SAMPLES_OF_INTERVAL {
        return None;
    }
    let sorted = sorted(samples);
    let reach = 2.576 * (n as f64).sqrt() / 2.0;
    let low = (n as f64 / 2.0 - reach).floor().max(0.0) as usize;
    let high = (n - 1).saturating_sub(low);
    let (low, high) = (sorted.get(low)?, sorted.get(high)?);
    let median = quantile(&sorted, 0.5);
    (median > 0.0).then_some((high - low) / 2.0 / median)
}

fn outcome(
    rounds: &[Vec<f64>],
    runs: &[u32],
    idle: &[f64],
    warm_up_runs: u64,
    mut discarded: usize,
    stopped: Stopped,
) -> Outcome {
    let idle_us = Statistics::of(idle).map(|idle| idle.median);
    let less = |us: f64| us - idle_us.unwrap_or(0.0);
    let whole: Vec<&Vec<f64>> = rounds.iter().filter(|round| round.iter().all(|us| is_time(less(*us)))).collect();
    discarded += rounds.iter().flatten().filter(|us| !is_time(less(**us))).count();
    let of = |contestant: usize, runs: u32| {
        whole.iter().map(|round| less(round[contestant]) / f64::from(runs)).collect::<Vec<f64>>()
    };
    let samples_us = runs.iter().enumerate().map(|(i, &n)| of(i, n)).collect();
    Outcome { samples_us, runs_per_sample: runs.to_vec(), warm_up_runs, discarded, idle_us, stopped }
}

#[cfg(test)]
mod tests;
