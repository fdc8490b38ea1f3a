//! How stored numbers become grey values in [0, 1]: the [`Intensity`] rule that the user chooses, and the
//! [`IntensityMap`] that it gives for one image, the same for all of its parts.

use super::ranks::{Ranks, percentile};
use super::{BitDepth, Samples, with_numbers};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// The share of the darkest and of the brightest pixels that [`Intensity::Automatic`] gives up, in percent: a few hot
/// pixels must not make an image dark.
const AUTOMATIC_PERCENTILES: (f64, f64) = (0.1, 99.9);

/// Which stored numbers become 0 and 1; what lies between follows a straight line, what lies beyond is cut off.
///
/// On the command line and in files: `auto`, `full`, `percentile`, `percentile:1,99.5`, `range:100,4095`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Intensity {
    /// 8 bits: the full range. Everything else: percentiles 0.1 and 99.9 of the image.
    #[default]
    Automatic,
    /// Unsigned integers: from 0 to the largest number of their kind. Signed integers and floats: from the least to the
    /// largest number of the image.
    Full,
    /// These percentiles of the image.
    Percentile {
        /// The percentage of numbers below 0.
        low: f64,
        /// The percentage of numbers below 1.
        high: f64,
    },
    /// These numbers, whatever the image holds.
    Range {
        /// Becomes 0.
        low: f64,
        /// Becomes 1.
        high: f64,
    },
}

impl FromStr for Intensity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::Config(format!(
                "the intensity rule {text} is not known; give auto, full, percentile, percentile:LOW,HIGH (in percent) or \
                 range:LOW,HIGH (in stored numbers), LOW below HIGH"
            ))
        };
        let (name, bounds) = text.split_once(':').map_or((text, None), |(name, rest)| (name, rest.split_once(',')));
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        let bounds = bounds.and_then(|(low, high)| number(low).zip(number(high))).filter(|(low, high)| low < high);
        match (name, bounds) {
            ("auto", None) if text == name => Ok(Self::Automatic),
            ("full", None) if text == name => Ok(Self::Full),
            ("percentile", None) if text == name => {
                Ok(Self::Percentile { low: AUTOMATIC_PERCENTILES.0, high: AUTOMATIC_PERCENTILES.1 })
            }
            ("percentile", Some((low, high))) if low >= 0.0 && high <= 100.0 => Ok(Self::Percentile { low, high }),
            ("range", Some((low, high))) => Ok(Self::Range { low, high }),
            _ => Err(refuse()),
        }
    }
}

impl Display for Intensity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Automatic => f.write_str("auto"),
            Self::Full => f.write_str("full"),
            Self::Percentile { low, high } => write!(f, "percentile:{low},{high}"),
            Self::Range { low, high } => write!(f, "range:{low},{high}"),
        }
    }
}

impl TryFrom<String> for Intensity {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Intensity> for String {
    fn from(intensity: Intensity) -> Self {
        intensity.to_string()
    }
}

/// The straight line from the stored numbers of an image to [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntensityMap {
    /// The stored number that becomes 0.
    pub low: f64,
    /// The stored number that becomes 1; larger than `low`.
    pub high: f64,
}

impl IntensityMap {
    /// The full range of a kind of number: from 0 to the largest integer, or to 1 for floats.
    pub fn full(depth: BitDepth) -> Self {
        Self { low: 0.0, high: depth.largest() }
    }

    /// The grey value of a stored number. Not-a-number becomes 0.
    pub fn to_unit(&self, number: impl Into<f64>) -> f32 {
        let value = (number.into() - self.low) / (self.high - self.low);
        if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) as f32 }
    }

    /// The stored number of a grey value, which is clamped to [0, 1] first; not rounded.
    pub fn to_stored(&self, value: f32) -> f64 {
        let value = if value.is_nan() { 0.0 } else { f64::from(value.clamp(0.0, 1.0)) };
        self.low + value * (self.high - self.low)
    }

    /// The line that spans two numbers, however close.
    fn spanning(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + low.abs().max(1.0) } }
    }
}

/// The map of an image, and how many of its numbers are no numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fitted {
    pub(super) map: IntensityMap,
    /// How many pixels are infinite or not a number; counted only where all pixels were looked at.
    pub(super) invalid: u64,
}

/// Looks at all samples of an image once; it may be called several times.
pub(super) type Pass<'a> = dyn FnMut(&mut dyn FnMut(&Samples)) -> Result<()> + 'a;

impl Intensity {
    /// Whether images of this kind keep all that their numbers can tell apart.
    pub fn is_full(self, depth: BitDepth) -> bool {
        self == Self::Full || self == Self::Automatic && depth == BitDepth::Eight
    }

    /// How images of these kinds were read, in one line; nothing where all were over their full range.
    pub fn remark(self, depths: &[BitDepth]) -> Option<String> {
        let count = depths.iter().filter(|depth| !self.is_full(**depth)).count();
        let [hold, are, their] = if count == 1 { ["holds", "is", "its"] } else { ["hold", "are", "their"] };
        let how = match self {
            Self::Automatic => {
                let (low, high) = AUTOMATIC_PERCENTILES;
                format!("{hold} more than 8 bits and {are} read between {their} percentiles {low} and {high}")
            }
            Self::Percentile { low, high } => format!("{are} read between {their} percentiles {low} and {high}"),
            Self::Range { low, high } => format!("{are} read between the stored numbers {low} and {high}"),
            Self::Full => return None,
        };
        let all = depths.len();
        (count > 0).then(|| format!("{count} of {all} images {how} (--intensity {self}; full: the whole range)"))
    }

    /// The map for an image of which files hold `depth` and memory holds `held`.
    ///
    /// Percentiles are exact: one pass over the samples counts integers of up to 16 bits; floats take two, doubles four,
    /// each settling 16 further bits of the numbers looked for.
    pub(super) fn fit(self, depth: BitDepth, held: BitDepth, pass: &mut Pass<'_>) -> Result<Fitted> {
        let (low, high) = match self {
            Self::Range { low, high } => return Ok(Fitted { map: IntensityMap { low, high }, invalid: 0 }),
            Self::Full | Self::Automatic if depth == BitDepth::Eight => {
                return Ok(Fitted { map: IntensityMap::full(depth), invalid: 0 });
            }
            Self::Full if depth == BitDepth::Sixteen || depth == BitDepth::Unsigned32 => {
                return Ok(Fitted { map: IntensityMap::full(depth), invalid: 0 });
            }
            Self::Full => (0.0, 100.0),
            Self::Automatic => AUTOMATIC_PERCENTILES,
            Self::Percentile { low, high } => (low, high),
        };
        let mut ranks = Ranks::new(held);
        pass(&mut |samples| with_numbers!(samples, numbers => ranks.count(numbers)))?;
        let invalid = ranks.invalid();
        if ranks.total() == 0 {
            return Ok(Fitted { map: IntensityMap { low: 0.0, high: 1.0 }, invalid });
        }
        let mut wanted = [0.0, low, high, 100.0].map(|percent| ranks.wanted(percent));
        while ranks.settle(&mut wanted) {
            pass(&mut |samples| with_numbers!(samples, numbers => ranks.count(numbers)))?;
        }
        let [least, low, high, largest] = wanted.map(|wanted| percentile(&wanted));
        // An image that is nearly all of one value has its contrast in the few pixels beyond.
        let map = if high > low { IntensityMap { low, high } } else { IntensityMap::spanning(least, largest) };
        Ok(Fitted { map, invalid })
    }

    /// The map for samples in memory.
    pub(super) fn fit_samples(self, depth: BitDepth, samples: &Samples) -> Fitted {
        self.fit(depth, samples.depth(), &mut |look| {
            look(samples);
            Ok(())
        })
        .expect("looking at memory cannot fail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(intensity: Intensity, depth: BitDepth, samples: Samples) -> IntensityMap {
        intensity.fit_samples(depth, &samples).map
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in ["auto", "full", "percentile:0.1,99.9", "percentile:1,99.5", "range:-100,4095"] {
            assert_eq!(text.parse::<Intensity>().unwrap().to_string(), text);
        }
        assert_eq!("percentile".parse::<Intensity>().unwrap().to_string(), "percentile:0.1,99.9");
        for wrong in ["", "Full", "range", "range:5,5", "range:1", "percentile:-1,99", "percentile:1,101", "full:1,2"] {
            let message = wrong.parse::<Intensity>().unwrap_err().to_string();
            assert!(message.contains("range:LOW,HIGH"), "{wrong}: {message}");
        }
    }

    #[test]
    fn the_user_is_told_where_the_range_is_not_the_full_one() {
        let depths = [BitDepth::Eight, BitDepth::Sixteen, BitDepth::Float32];
        let remark = Intensity::Automatic.remark(&depths).unwrap();
        assert!(
            remark.starts_with("2 of 3 images hold more than 8 bits and are read between their percentiles 0.1 and")
        );
        assert_eq!((Intensity::Automatic.remark(&depths[..1]), Intensity::Full.remark(&depths)), (None, None));
        let remark = Intensity::Range { low: 100.0, high: 4095.0 }.remark(&depths[..1]).unwrap();
        assert!(
            remark.starts_with("1 of 1 images is read between the stored numbers 100 and 4095 (--intensity range:")
        );
    }

    #[test]
    fn eight_bits_are_spread_over_their_full_range_and_sixteen_over_percentiles() {
        // 0 to 2000: percentile 0.1 is 2, percentile 99.9 is 1998.
        let ramp: Vec<u16> = (0..=2000).collect();
        let automatic = map(Intensity::Automatic, BitDepth::Sixteen, Samples::Sixteen(ramp));
        assert!((automatic.low - 2.0).abs() < 1e-9 && (automatic.high - 1998.0).abs() < 1e-9, "{automatic:?}");
        assert_eq!([0, 2, 1000, 1999, 2000].map(|v: u16| automatic.to_unit(v)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        let eight = map(Intensity::Automatic, BitDepth::Eight, Samples::Eight(vec![10, 20]));
        assert_eq!((eight.low, eight.high), (0.0, 255.0));
    }

    #[test]
    fn percentiles_of_floats_are_exact_and_leave_out_what_is_no_number() {
        let mut values: Vec<f32> = (0..=1000).map(|i| (i - 500) as f32 * 1e-3 + 1e3).collect();
        values.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let fitted =
            Intensity::Percentile { low: 10.0, high: 90.05 }.fit_samples(BitDepth::Float32, &Samples::Float(values));
        assert_eq!(fitted.invalid, 3);
        assert_eq!(fitted.map.low, f64::from(999.6f32));
        // Halfway between neighbours.
        assert!((fitted.map.high - f64::from(1000.4f32) / 2.0 - f64::from(1000.401f32) / 2.0).abs() < 1e-9);
        assert_eq!(fitted.map.to_unit(f32::NAN), 0.0);
        assert_eq!((fitted.map.to_unit(f32::INFINITY), fitted.map.to_unit(f32::NEG_INFINITY)), (1.0, 0.0));
    }

    #[test]
    fn percentiles_of_doubles_and_long_integers_keep_their_last_digit() {
        let values: Vec<f64> = (0..=10).map(|i| 4_000_000_000.0 + f64::from(i)).collect();
        let found = map(Intensity::Percentile { low: 10.0, high: 90.0 }, BitDepth::Unsigned32, Samples::Double(values));
        assert_eq!((found.low, found.high), (4_000_000_001.0, 4_000_000_009.0));
    }

    #[test]
    fn an_image_of_one_value_with_a_few_others_keeps_them_and_a_blank_one_is_black() {
        let mut sparse = vec![7u16; 5000];
        sparse[9] = 60_000;
        let found = map(Intensity::Automatic, BitDepth::Sixteen, Samples::Sixteen(sparse));
        assert_eq!((found.low, found.high), (7.0, 60_000.0));
        let blank = map(Intensity::Automatic, BitDepth::Float32, Samples::Float(vec![0.25; 9]));
        assert_eq!((blank.low, blank.to_unit(0.25f32)), (0.25, 0.0));
        let nothing = map(Intensity::Full, BitDepth::Float32, Samples::Float(vec![f32::NAN; 9]));
        assert_eq!((nothing.low, nothing.high), (0.0, 1.0));
    }

    #[test]
    fn the_full_range_of_signed_numbers_and_floats_is_that_of_the_image() {
        let found = map(Intensity::Full, BitDepth::Signed16, Samples::Float(vec![-100.0, 5.0, 300.0]));
        assert_eq!((found.low, found.high), (-100.0, 300.0));
        assert_eq!(map(Intensity::Full, BitDepth::Sixteen, Samples::Sixteen(vec![5])).high, 65_535.0);
        assert_eq!(map(Intensity::Full, BitDepth::Unsigned32, Samples::Double(vec![5.0])).high, 4_294_967_295.0);
    }

    #[test]
    fn stored_numbers_come_back_from_grey_values() {
        let map = IntensityMap { low: 300.0, high: 2500.0 };
        for number in 300..=2500u16 {
            assert_eq!(map.to_stored(map.to_unit(number)).round(), f64::from(number));
        }
        assert_eq!((map.to_stored(-1.0), map.to_stored(2.0), map.to_stored(f32::NAN)), (300.0, 2500.0, 300.0));
    }
}
