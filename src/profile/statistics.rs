//! What many measurements of one thing say, noise included.

use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Samples of one quantity, in its own unit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Statistics {
    /// Number of samples.
    pub samples: usize,
    /// The smallest.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The 95th percentile, by linear interpolation between samples.
    pub p95: f64,
    /// Median absolute deviation from the median: half of the samples lie within it. Outliers do not move it.
    pub mad: f64,
}

impl Statistics {
    /// Of these samples; none where there are none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        let (&min, median) = (sorted.first()?, quantile(&sorted, 0.5));
        let deviations: Vec<f64> = sorted.iter().map(|x| (x - median).abs()).collect();
        let mad = quantile(&self::sorted(&deviations), 0.5);
        Some(Self { samples: sorted.len(), min, median, p95: quantile(&sorted, 0.95), mad })
    }

    /// The median absolute deviation as a part of the median: how noisy the measurement was.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { self.mad / self.median } else { 0.0 }
    }
}

/// The samples in order.
pub(super) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The quantile `q` of samples in order, by linear interpolation; 0 where there are none.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q * last as f64;
    let below = at as usize;
    sorted[below] + (at - below as f64) * (sorted[(below + 1).min(last)] - sorted[below])
}

/// How many times as long one thing takes as another, from measurements in turn.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub median: f64,
    /// Lower end of its 99 % confidence interval.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
}

impl Ratio {
    /// Of `other` to `base`, measured in turn: sample `i` of both belongs to round `i`, so that a machine that becomes slower
    /// slows both. The interval is the percentile bootstrap of the median (Efron and Tibshirani 1993, chapter 13) with 2,000
    /// resamples from a fixed seed. None with fewer than five rounds.
    pub fn of(base: &[f64], other: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = base.iter().zip(other).filter(|(a, _)| **a > 0.0).map(|(a, b)| b / a).collect();
        if ratios.len() < 5 {
            return None;
        }
        let mut rng = rand_pcg::Pcg64::seed_from_u64(1);
        let mut medians: Vec<f64> = (0..2000)
            .map(|_| {
                let drawn: Vec<f64> = ratios.iter().map(|_| ratios[rng.random_range(0..ratios.len())]).collect();
                quantile(&sorted(&drawn), 0.5)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let median = quantile(&sorted(&ratios), 0.5);
        Some(Self { median, low: quantile(&medians, 0.005), high: quantile(&medians, 0.995) })
    }

    /// Whether the interval leaves out 1, so that one of the two is faster.
    pub fn is_clear(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_numpy() {
        // numpy: min, median, percentile(95), median(|x - median|) of these.
        let s = Statistics::of(&[5.0, 1.0, 4.0, 2.0, 100.0, 3.0]).unwrap();
        assert_eq!((s.samples, s.min, s.median, s.mad), (6, 1.0, 3.5, 1.5));
        assert!((s.p95 - 76.25).abs() < 1e-12, "{s:?}");
        assert!((s.spread() - 1.5 / 3.5).abs() < 1e-12);
        let one = Statistics::of(&[7.0]).unwrap();
        assert_eq!((one.min, one.median, one.p95, one.mad), (7.0, 7.0, 7.0, 0.0));
        assert_eq!(Statistics::of(&[]), None);
    }

    #[test]
    fn a_ratio_s_interval_holds_the_truth_about_as_often_as_it_says() {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(3);
        let mut held = 0;
        for _ in 0..100 {
            let mut noisy = |scale: f64| (0..40).map(|_| scale * (1.0 + 0.2 * rng.random::<f64>())).collect::<Vec<_>>();
            let (base, twice) = (noisy(1.0), noisy(2.0));
            let ratio = Ratio::of(&base, &twice).unwrap();
            assert!(ratio.low <= ratio.median && ratio.median <= ratio.high && ratio.is_clear(), "{ratio:?}");
            held += usize::from(ratio.low <= 2.0 && 2.0 <= ratio.high);
        }
        assert!(held >= 95, "{held} of 100");
    }

    #[test]
    fn drift_that_both_share_does_not_widen_a_ratio() {
        let base: Vec<f64> = (1..=50).map(f64::from).collect();
        let other: Vec<f64> = base.iter().map(|x| 3.0 * x).collect();
        let ratio = Ratio::of(&base, &other).unwrap();
        assert!((ratio.low - 3.0).abs() < 1e-12 && (ratio.high - 3.0).abs() < 1e-12, "{ratio:?}");
        assert_eq!(Ratio::of(&base[..4], &other[..4]), None);
    }
}
