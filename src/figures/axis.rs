//! An axis of a chart: its range, its round numbers, and where on the picture a value lies.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// How the values of a chart are spread over its height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps are equal differences.
    Linear,
    /// Equal steps are equal ratios; values that are not above 0 are left out.
    Logarithmic,
}

impl Scale {
    /// Whether a value has a place on an axis of this scale.
    pub(super) fn admits(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Linear || value > 0.0)
    }

    /// A value in the units in which the axis is even.
    fn spread(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
        }
    }

    /// The inverse of [`Scale::spread`].
    fn gather(self, position: f64) -> f64 {
        match self {
            Self::Linear => position,
            Self::Logarithmic => 10f64.powf(position),
        }
    }
}

/// An axis with its ticks. Not one of plotters' own: those put no tick at all on a logarithmic axis between, say, 0.2
/// and 0.8, and number the epochs with halves.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    range: Range<f64>,
    scale: Scale,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis of counted things: ticks are whole numbers and the range is exactly that of the values.
    pub(super) fn of_counts(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values).unwrap_or((0.0, 1.0));
        let range = if high > low { low..high } else { low - 1.0..high + 1.0 };
        let ticks = linear_ticks(&range, 8, 1.0);
        Self { range, scale: Scale::Linear, ticks }
    }

    /// An axis of measured values, with a little room below the least and above the greatest.
    pub(super) fn of_values(values: impl Iterator<Item = f64>, scale: Scale) -> Self {
        let (low, high) = bounds(values.map(|value| scale.spread(value))).unwrap_or((-1.0, 0.0));
        let smallest = if scale == Scale::Linear { low.abs().max(high.abs()).max(1e-9) * 1e-3 } else { 0.05 };
        let room = ((high - low) * 0.06).max(smallest);
        let range = scale.gather(low - room)..scale.gather(high + room);
        let ticks = match scale {
            Scale::Linear => linear_ticks(&range, 8, 0.0),
            Scale::Logarithmic => logarithmic_ticks(&range, 6),
        };
        Self { range, scale, ticks }
    }

    /// The text beside a tick: enough digits to tell neighbours apart. Casts round away what powers of ten are off by.
    pub(super) fn label(&self, tick: f64) -> String {
        if tick != 0.0 && !(1e-4..1e6).contains(&tick.abs()) {
            return format!("{:e}", tick as f32);
        }
        let text = match (self.scale, self.ticks.as_slice()) {
            (Scale::Linear, [first, second, ..]) => {
                let digits = (-((second - first) * 1.000_001).log10().floor()).max(0.0) as usize;
                format!("{tick:.digits$}")
            }
            _ => (tick as f32).to_string(),
        };
        text.replace('-', "−")
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let [low, high, value] = [self.range.start, self.range.end, *value].map(|value| self.scale.spread(value));
        start + ((value - low) / (high - low) * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// The least and the greatest value; `None` when there is none.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |bounds, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// At most `most` round numbers in the range, 1, 2 or 5 times a power of ten apart, but not less than `smallest_step`.
fn linear_ticks(range: &Range<f64>, most: usize, smallest_step: f64) -> Vec<f64> {
    let raw = (range.end - range.start) / most as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|&step| step >= raw);
    let step = step.unwrap_or(raw).max(smallest_step);
    let (first, last) = ((range.start / step).ceil() as i64, (range.end / step).floor() as i64);
    (first..=last).map(|index| index as f64 * step).collect()
}

/// Powers of ten in the range when there are enough of them; else 1, 2 and 5 times those; else evenly spread numbers.
fn logarithmic_ticks(range: &Range<f64>, most: usize) -> Vec<f64> {
    let exponents = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let decades = range.end.log10() - range.start.log10();
    let candidates = |digits: &[f64], every: i32| -> Vec<f64> {
        let powers = exponents.clone().filter(|exponent| exponent.rem_euclid(every) == 0);
        powers.flat_map(|exponent| digits.iter().map(move |digit| digit * 10f64.powi(exponent))).collect()
    };
    let mut ticks = match decades {
        0.0..1.0 => candidates(&[1.0, 2.0, 5.0], 1),
        1.0..2.0 => candidates(&[1.0, 3.0], 1),
        _ => candidates(&[1.0], (decades / most as f64).ceil() as i32),
    };
    ticks.retain(|tick| range.contains(tick));
    if ticks.len() < 2 { linear_ticks(range, most, 0.0) } else { ticks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn epochs_are_numbered_with_whole_numbers() {
        assert_eq!(labels(&Axis::of_counts([1.0, 3.0].into_iter())), ["1", "2", "3"]);
        assert_eq!(labels(&Axis::of_counts([0.0, 500.0].into_iter())), ["0", "100", "200", "300", "400", "500"]);
        assert_eq!(labels(&Axis::of_counts([4.0].into_iter())), ["3", "4", "5"]);
    }

    #[test]
    fn values_get_round_ticks_with_just_enough_digits() {
        let axis = Axis::of_values([0.31, 0.84].into_iter(), Scale::Linear);
        assert_eq!(labels(&axis), ["0.3", "0.4", "0.5", "0.6", "0.7", "0.8"]);
        let axis = Axis::of_values([-24.0, 31.0].into_iter(), Scale::Linear);
        assert_eq!(labels(&axis), ["−20", "−10", "0", "10", "20", "30"]);
        let axis = Axis::of_values([0.0, 2e6].into_iter(), Scale::Linear);
        assert_eq!(labels(&axis), ["0", "500000", "1e6", "1.5e6", "2e6"]);
    }

    #[test]
    fn a_logarithmic_axis_has_ticks_whatever_its_range() {
        let ticks = |low: f64, high: f64| labels(&Axis::of_values([low, high].into_iter(), Scale::Logarithmic));
        assert_eq!(ticks(0.002, 30.0), ["0.01", "0.1", "1", "10"]);
        assert_eq!(ticks(0.25, 0.9), ["0.5", "1"]);
        assert_eq!(ticks(0.04, 1.5), ["0.1", "0.3", "1"]);
        assert_eq!(ticks(0.21, 0.223), ["0.2", "0.22", "0.24"]);
    }

    #[test]
    fn a_logarithmic_axis_maps_ratios_to_distances() {
        let axis = Axis { range: 0.01..100.0, scale: Scale::Logarithmic, ticks: vec![] };
        assert_eq!([0.01, 0.1, 1.0, 100.0].map(|value| axis.map(&value, (400, 0))), [400, 300, 200, 0]);
    }

    #[test]
    fn equal_values_and_none_at_all_still_make_a_range() {
        for values in [vec![0.0, 0.0], vec![0.7], vec![]] {
            for axis in [
                Axis::of_counts(values.iter().copied()),
                Axis::of_values(values.iter().copied(), Scale::Linear),
                Axis::of_values(values.iter().copied().filter(|&value| value > 0.0), Scale::Logarithmic),
            ] {
                assert!(axis.range.start < axis.range.end && axis.ticks.len() >= 2, "{axis:?}");
            }
        }
    }
}
