//! Learning-rate schedules: how the rate of each step follows from `train.lr`.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

/// How much below its peak the one-cycle schedule begins, as in PyTorch.
const CYCLE_BEGIN: f64 = 25.0;
/// How much below its beginning the one-cycle schedule ends, as in PyTorch.
const CYCLE_END: f64 = 1e4;

/// A learning-rate schedule. In a preset file `train.schedule`: `constant`, `step:EPOCHS:FACTOR`, `cosine:FLOOR`,
/// `one-cycle:RISE`, `plateau:EPOCHS:FACTOR`. A warm-up (`train.warmup`) comes on top of any of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// `lr` throughout.
    #[default]
    Constant,
    /// Times `factor` after every so many epochs.
    Step {
        /// Epochs between two changes.
        epochs: u64,
        /// What the rate is multiplied with.
        factor: f64,
    },
    /// Half a cosine over all steps of the run, from `lr` down to `floor lr` (Loshchilov and Hutter 2017, one period).
    Cosine {
        /// The last rate as a share of the first, 0 to 1.
        floor: f64,
    },
    /// Up from `lr / 25` to `lr` over a share of the steps, then down to `lr / 250,000`, both along half a cosine
    /// (Smith and Topin 2018, as in PyTorch's `OneCycleLR`).
    OneCycle {
        /// Share of the steps on the way up.
        rise: f64,
    },
    /// Times `factor` after so many epochs without a better validation loss (the training loss where nothing is held
    /// out); then the count begins anew.
    Plateau {
        /// Epochs to wait.
        epochs: u64,
        /// What the rate is multiplied with.
        factor: f64,
    },
}

impl Schedule {
    /// The rate of step `step` (from 0) in epoch `epoch` (from 0) of a run of `steps`, as a share of `lr`. A plateau is
    /// the trainer's to see.
    pub fn share(self, step: u64, epoch: u64, steps: u64) -> f64 {
        match self {
            Self::Constant | Self::Plateau { .. } => 1.0,
            Self::Step { epochs, factor } => factor.powi((epoch / epochs.max(1)).min(i32::MAX as u64) as i32),
            Self::Cosine { floor } => between(1.0, floor, step as f64 / steps.max(1) as f64),
            Self::OneCycle { rise } => {
                let peak = rise * steps as f64 - 1.0;
                let (begin, end) = (1.0 / CYCLE_BEGIN, 1.0 / (CYCLE_BEGIN * CYCLE_END));
                if step as f64 <= peak {
                    between(begin, 1.0, step as f64 / peak)
                } else {
                    between(1.0, end, (step as f64 - peak) / (steps as f64 - 1.0 - peak))
                }
            }
        }
    }

    /// Whether the rate may differ from step to step within an epoch.
    pub fn varies_within_epochs(self) -> bool {
        matches!(self, Self::Cosine { .. } | Self::OneCycle { .. })
    }
}

/// Along half a cosine from `from` to `to`, `way` from 0 to 1.
fn between(from: f64, to: f64, way: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * way.min(1.0)).cos()) / 2.0
}

impl FromStr for Schedule {
    /// One line that says what is wrong.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let epochs = |word: &str| match word.parse() {
            Ok(epochs) if epochs > 0 => Ok(epochs),
            _ => Err(format!("schedule {text:?}: {word:?} is not a whole number of epochs above 0")),
        };
        let share = |word: &str| match word.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(format!("schedule {text:?}: {word:?} is not a number from 0 to 1")),
        };
        match parts[..] {
            ["constant"] => Ok(Self::Constant),
            ["step", wait, factor] => Ok(Self::Step { epochs: epochs(wait)?, factor: share(factor)? }),
            ["cosine"] => Ok(Self::Cosine { floor: 0.0 }),
            ["cosine", floor] => Ok(Self::Cosine { floor: share(floor)? }),
            ["one-cycle"] => Ok(Self::OneCycle { rise: 0.3 }),
            ["one-cycle", rise] => Ok(Self::OneCycle { rise: share(rise)? }),
            ["plateau", wait, factor] => Ok(Self::Plateau { epochs: epochs(wait)?, factor: share(factor)? }),
            _ => Err(format!(
                "schedule {text:?} is not known: wanted constant, step:EPOCHS:FACTOR, cosine[:FLOOR], \
                 one-cycle[:RISE] or plateau:EPOCHS:FACTOR"
            )),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Step { epochs, factor } => write!(f, "step:{epochs}:{factor}"),
            Self::Cosine { floor } => write!(f, "cosine:{floor}"),
            Self::OneCycle { rise } => write!(f, "one-cycle:{rise}"),
            Self::Plateau { epochs, factor } => write!(f, "plateau:{epochs}:{factor}"),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn shares<const N: usize>(text: &str, steps: [u64; N], of: u64) -> [f64; N] {
        let schedule: Schedule = text.parse().unwrap();
        steps.map(|step| schedule.share(step, step / 10, of))
    }

    fn assert_near<const N: usize>(got: [f64; N], wanted: [f64; N]) {
        for (got, wanted) in got.into_iter().zip(wanted) {
            assert!((got - wanted).abs() <= 1e-12 + 1e-9 * wanted, "{got}, wanted {wanted}");
        }
    }

    /// Rates of PyTorch's schedulers over 100 steps of lr 1.
    #[test]
    fn rates_are_those_of_pytorch() {
        let wanted = [0.040000000000000036, 0.29516394846410077, 1.0, 0.9994965352845243, 0.5892800902855287, 4e-06];
        assert_near(shares("one-cycle", [0, 10, 29, 30, 60, 99], 100), wanted);
        let wanted =
            [1.0, 0.9779754323328191, 0.8258081741438394, 0.814503363531613, 0.4109423525312741, 0.10022204783542078];
        assert_near(shares("cosine:0.1", [0, 10, 29, 30, 60, 99], 100), wanted);
    }

    #[test]
    fn steps_count_epochs() {
        assert_eq!(shares("step:2:0.5", [0, 9, 19, 20, 39, 40], 100), [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]);
        assert_eq!(shares("constant", [0, 99], 100), [1.0, 1.0]);
    }

    #[test]
    fn short_runs_and_odd_shares_stay_finite() {
        for text in ["constant", "step:1:0", "cosine", "one-cycle", "one-cycle:0", "one-cycle:1", "plateau:1:0.5"] {
            let schedule: Schedule = text.parse().unwrap();
            for steps in 1..6 {
                for step in 0..steps {
                    let share = schedule.share(step, step, steps);
                    assert!((0.0..=1.0).contains(&share), "{text}, step {step} of {steps}: {share}");
                }
            }
        }
    }

    #[test]
    fn text_reads_back_and_bad_text_is_named() {
        for text in ["constant", "step:3:0.1", "cosine:0.05", "one-cycle:0.25", "plateau:4:0.5"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for text in ["", "linear", "step:3", "step:0:0.1", "step:3:2", "cosine:x", "plateau:1:nan", "constant:1"] {
            let message = text.parse::<Schedule>().unwrap_err();
            assert!(message.contains(text) && !message.contains('\n'), "{message}");
        }
    }
}
