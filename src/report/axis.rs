//! The axes of plots: their scale, ends, ticks and numbers.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Values this close to 0 are drawn as 0.
const SMALLEST: f64 = 1e-30;

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Linear,
    /// Base 10.
    Logarithmic,
}

impl Scale {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        if low > SMALLEST && high / low > 10.0 { Self::Logarithmic } else { Self::Linear }
    }

    pub(super) fn forward(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
        }
    }
}

/// A range that always has an extent, with round ticks. plotters' own search for ticks does not end for some ranges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    /// Ends of the axis, as positions: logarithms where the scale is one.
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Axis {
    /// Covers `values` and a little more, or 0 to 1 where there are none.
    pub(super) fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let forward = values.map(|value| scale.forward(value));
        let (low, high) = forward.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            return Self { scale, low: 0.0, high: 1.0 };
        }
        let magnitude = low.abs().max(high.abs());
        let extent = high - low;
        let padding = if magnitude <= SMALLEST {
            1.0
        } else if extent <= magnitude * 1e-6 {
            magnitude * 0.1
        } else {
            extent * 0.04
        };
        Self { scale, low: low - padding, high: high + padding }
    }

    /// Round numbers in the range, at most `most` of them, as positions along the axis.
    fn ticks(&self, most: usize) -> Vec<f64> {
        if self.scale == Scale::Logarithmic {
            let decades = (self.low.ceil() as i64, self.high.floor() as i64);
            let step = ((decades.1 - decades.0 + 1) as usize).div_ceil(most.max(1)).max(1);
            let digits: &[f64] = if decades.1 - decades.0 < 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let below = decades.0 - 1..=decades.1;
            return below
                .step_by(step)
                .flat_map(|decade| digits.iter().map(move |digit| decade as f64 + digit.log10()))
                .filter(|at| (self.low..=self.high).contains(at))
                .collect();
        }
        let step = round_step((self.high - self.low) / most.max(1) as f64);
        let (first, last) = ((self.low / step).ceil(), (self.high / step).floor());
        (0..=(last - first).max(-1.0) as i64).map(|i| (first + i as f64) * step).take(2 * most + 2).collect()
    }
}

/// The least of 1, 2 and 5 times a power of ten that is no smaller than `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|round| *round >= step).unwrap_or(10.0 * power)
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        start + (f64::from(end - start) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.ticks(hint.max_num_points().min(12))
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        format_number(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        match self.scale {
            Scale::Linear => format_number(*value),
            Scale::Logarithmic => format_number(10f64.powf(*value)),
        }
    }
}

/// At most five significant digits, with an exponent where many zeros would be needed.
fn format_number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude < SMALLEST {
        return "0".to_owned();
    }
    if (1e-4..1e6).contains(&magnitude) {
        let decimals = (4.0 - magnitude.log10().floor()).clamp(0.0, 9.0) as usize;
        let text = format!("{value:.decimals$}");
        return if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    }
    let text = format!("{value:.3e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.')),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_logarithmic_past_a_decade_of_positive_values() {
        assert_eq!(Scale::of([0.1, 0.011].into_iter()), Scale::Linear);
        assert_eq!(Scale::of([0.1, 0.009].into_iter()), Scale::Logarithmic);
        assert_eq!(Scale::of([0.1, 0.0].into_iter()), Scale::Linear);
        assert_eq!(Scale::of([0.1, -3.0].into_iter()), Scale::Linear);
        assert_eq!(Scale::of(std::iter::empty()), Scale::Linear);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let axis = |scale, values: &[f64]| Axis::new(scale, values.iter().copied());
        assert_eq!(axis(Scale::Linear, &[1.0, 25.0]).ticks(10), [5.0, 10.0, 15.0, 20.0, 25.0]);
        let decades = axis(Scale::Logarithmic, &[0.002, 0.05]);
        let texts: Vec<String> = decades.ticks(8).iter().map(|at| decades.format_ext(at)).collect();
        assert_eq!(texts, ["0.002", "0.005", "0.01", "0.02", "0.05"]);
        let wide = axis(Scale::Logarithmic, &[1e-29, 1e29]).ticks(8);
        assert!((4..=9).contains(&wide.len()), "{wide:?}");
        for values in [[0.0, 0.0], [1e30, 1e30], [-1e30, 1e30], [1e-29, 1e-29], [1.0, 1.0 + 1e-15]] {
            let count = axis(Scale::Linear, &values).ticks(8).len();
            assert!((2..=18).contains(&count), "{values:?}: {count}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (25.0, "25"),
            (100_000.0, "100000"),
            (0.0125, "0.0125"),
            (1e-5, "1e-5"),
            (2.5e7, "2.5e7"),
            (-0.5, "-0.5"),
            (3.0 * 0.1, "0.3"),
        ];
        for (value, text) in cases {
            assert_eq!(format_number(value), text);
        }
    }
}
