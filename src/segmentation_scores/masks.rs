//! Reading one mask file into a label map. Strict: silent repair of a mask would change the score.

use crate::error::{Error, Result};
use crate::imaging::{LabelMap, Raster, Samples};
use std::path::Path;

/// What the grey values of a mask file mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Class numbers, of which the largest is given. With one class, 0 and white do as well.
    Numbers(u8),
    /// One class: 0, and white (or 1) where the class is.
    Binary,
    /// AxonDeepSeg's mask of two classes: 0, 127 or 128 for myelin (which becomes 1) and 255 for axon (2).
    AxonMyelin,
    /// One value for each instance of one class: all above 0 become 1.
    Instances,
}

/// The numbers 1 and 2 of [`Content::AxonMyelin`]: NeuroPoly's convention.
pub(super) const AXON_MYELIN: [&str; 2] = ["myelin", "axon"];

/// The largest class number in a label map whose classes have no names. Greater values are taken for grey values.
const LARGEST_UNNAMED: u8 = 31;

/// From half-way between background and myelin on, a grey value of [`Content::AxonMyelin`] is myelin.
const MYELIN_THRESHOLD: u16 = 64;

/// The largest value of an 8-bit image.
const WHITE: u16 = 255;

/// Reads a mask; the class numbers of the result are those that `content` tells.
///
/// Other values than `content` tells are refused, unless there is a `threshold`: then grey values from there up are the
/// class; in an axon and myelin mask they are axon, and those from 64 up to there myelin. In a 16-bit file with values
/// above 255, all these count 257-fold. A mask that holds no other values is read as if there were no threshold, and
/// class numbers always are.
pub(super) fn read(path: &Path, content: Content, threshold: Option<u8>) -> Result<LabelMap> {
    let stored = Stored::read(path)?;
    let classes = content.classes_of(&stored, threshold).map_err(|reason| Error::image(path, reason))?;
    Ok(stored.to_labels(&classes))
}

/// The largest class number of a label map whose classes have no names; 1 for a mask of 0 and white.
pub(super) fn largest_number(path: &Path, threshold: Option<u8>) -> Result<u8> {
    let stored = Stored::read(path)?;
    let largest = stored.largest();
    if largest <= u16::from(LARGEST_UNNAMED) {
        return Ok(largest as u8);
    }
    Content::Numbers(1).classes_of(&stored, threshold).map(|_| 1).map_err(|reason| Error::image(path, reason))
}

/// A mask file as stored.
struct Stored {
    raster: Raster,
    /// How many pixels have each value.
    counts: Vec<u64>,
}

impl Stored {
    fn read(path: &Path) -> Result<Self> {
        let raster = Raster::read(path)?.raster;
        let mut counts = vec![0; 1 << u16::BITS];
        match raster.samples() {
            Samples::Eight(samples) => samples.iter().for_each(|value| counts[usize::from(*value)] += 1),
            Samples::Sixteen(samples) => samples.iter().for_each(|value| counts[usize::from(*value)] += 1),
        }
        Ok(Self { raster, counts })
    }

    /// The values that occur, in rising order.
    fn values(&self) -> impl DoubleEndedIterator<Item = u16> {
        (0..=u16::MAX).filter(|value| self.counts[usize::from(*value)] > 0)
    }

    fn largest(&self) -> u16 {
        self.values().next_back().unwrap_or(0)
    }

    /// How many times an 8-bit value its counterpart in this file is. Some programs keep 0 to 255 in 16 bits.
    fn scale(&self) -> u16 {
        if self.largest() > WHITE { u16::MAX / WHITE } else { 1 }
    }

    /// The most frequent of these values, in words.
    fn most_frequent(&self, values: &[u16]) -> String {
        let pixels = |value: &u16| self.counts[usize::from(*value)];
        let mut values = values.to_vec();
        values.sort_by_key(|value| std::cmp::Reverse(pixels(value)));
        let listed: Vec<String> =
            values.iter().take(4).map(|value| format!("{value} (pixels: {})", pixels(value))).collect();
        let more = if values.len() > 4 { format!(" and {} other values", values.len() - 4) } else { String::new() };
        listed.join(", ") + &more
    }

    fn to_labels(&self, classes: &[u8]) -> LabelMap {
        let classes = match self.raster.samples() {
            Samples::Eight(samples) => samples.iter().map(|value| classes[usize::from(*value)]).collect(),
            Samples::Sixteen(samples) => samples.iter().map(|value| classes[usize::from(*value)]).collect(),
        };
        LabelMap::new(self.raster.height(), self.raster.width(), classes)
    }
}

impl Content {
    /// The class of each stored value that occurs (0 for others), or a sentence about those that mean nothing.
    fn classes_of(self, stored: &Stored, threshold: Option<u8>) -> std::result::Result<Vec<u8>, String> {
        let (largest_number, scale) = (self.largest_number_in(stored), stored.scale());
        let class_of = |value: u16| match largest_number {
            Some(largest) => u8::try_from(value).ok().filter(|number| *number <= largest),
            None if self == Self::Instances => Some(u8::from(value > 0)),
            None if value.is_multiple_of(scale) => self.class_of_grey(value / scale),
            None => None,
        };
        let unexpected: Vec<u16> = stored.values().filter(|value| class_of(*value).is_none()).collect();
        let mut classes = vec![0; stored.counts.len()];
        for value in stored.values() {
            classes[usize::from(value)] = match (class_of(value), threshold) {
                (Some(class), _) if unexpected.is_empty() => class,
                (_, Some(threshold)) if largest_number.is_none() => self.class_by_threshold(value / scale, threshold),
                _ => return Err(self.complaint(stored, &unexpected)),
            };
        }
        Ok(classes)
    }

    /// The largest class number that the file may hold, if its values are class numbers and not grey values.
    fn largest_number_in(self, stored: &Stored) -> Option<u8> {
        match self {
            // Small values of a label map with one class are numbers of further classes, not a dark mask.
            Self::Numbers(count) if count != 1 || stored.largest() <= u16::from(LARGEST_UNNAMED) => Some(count),
            Self::Binary if stored.largest() <= 1 => Some(1),
            _ => None,
        }
    }

    /// The class that an 8-bit value stands for, if it stands for one.
    fn class_of_grey(self, value: u16) -> Option<u8> {
        match (self, value) {
            (_, 0) => Some(0),
            (Self::AxonMyelin, 127 | 128) => Some(1),
            (Self::AxonMyelin, WHITE) => Some(2),
            (Self::Numbers(_) | Self::Binary, WHITE) => Some(1),
            _ => None,
        }
    }

    /// The class of any 8-bit value.
    fn class_by_threshold(self, value: u16, threshold: u8) -> u8 {
        let is_brightest = value >= u16::from(threshold);
        match self {
            Self::AxonMyelin if is_brightest => 2,
            Self::AxonMyelin => u8::from(value >= MYELIN_THRESHOLD),
            Self::Numbers(_) | Self::Binary | Self::Instances => u8::from(is_brightest),
        }
    }

    fn complaint(self, stored: &Stored, unexpected: &[u16]) -> String {
        let white = WHITE * stored.scale();
        let (expected, remedy) = match self {
            Self::Numbers(_) => (
                match self.largest_number_in(stored) {
                    Some(largest) => format!("the class numbers 0 to {largest}"),
                    None => format!("class numbers, or 0 and {white}"),
                },
                "name all the classes with --classes; a mask that holds grey values needs a name that says its class, \
                 such as NAME_seg-axon.png (0 and 255) or NAME_seg-axonmyelin.png (0, 127 and 255), and where it holds \
                 others than these, --mask-threshold",
            ),
            Self::AxonMyelin => (
                format!("0, {} (myelin) and {white} (axon)", 127 * stored.scale()),
                "give --mask-threshold 200 to take values from 200 up as axon and lower ones from 64 up as myelin, or \
                 correct the mask",
            ),
            Self::Binary | Self::Instances => (
                format!("0 and {white}, or 0 and 1"),
                "give --mask-threshold 128 (or another value of 1 to 255) to take values from there up as the class, \
                 or correct the mask",
            ),
        };
        format!("it should hold {expected}, and holds {}; {remedy}", stored.most_frequent(unexpected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{BitDepth, Plane, write};

    /// The classes of a mask of one row of stored values, or what is wrong with it.
    fn classes(
        values: &[u16],
        depth: BitDepth,
        content: Content,
        threshold: Option<u8>,
    ) -> std::result::Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mask.png");
        let plane = Plane::from_fn(1, values.len(), |_, x| f32::from(values[x]) / depth.white());
        write(&path, &plane, depth, None).unwrap();
        read(&path, content, threshold).map(|labels| labels.classes().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn binary_masks_hold_zero_and_white_or_zero_and_one() {
        use BitDepth::{Eight, Sixteen};
        for (values, depth) in [([0, 255], Eight), ([0, 1], Eight), ([0, 65535], Sixteen), ([0, 255], Sixteen)] {
            for content in [Content::Binary, Content::Numbers(1)] {
                for threshold in [None, Some(200)] {
                    assert_eq!(classes(&values, depth, content, threshold), Ok(vec![0, 1]), "{values:?} {content:?}");
                }
            }
        }
        assert_eq!(classes(&[0, 0], Eight, Content::Binary, None), Ok(vec![0, 0]));
    }

    #[test]
    fn a_threshold_divides_grey_values_on_the_scale_of_8_bits() {
        let binary = |values: &[u16], depth| classes(values, depth, Content::Binary, Some(200));
        assert_eq!(binary(&[1, 130, 199, 200, 255], BitDepth::Eight), Ok(vec![0, 0, 0, 1, 1]));
        assert_eq!(binary(&[200 * 257 - 1, 200 * 257], BitDepth::Sixteen), Ok(vec![0, 1]));
        let both =
            |threshold| classes(&[0, 63, 64, 128, 199, 200, 255], BitDepth::Eight, Content::AxonMyelin, threshold);
        assert_eq!(both(Some(200)), Ok(vec![0, 0, 1, 1, 1, 2, 2]));
        assert_eq!(both(Some(40)), Ok(vec![0, 2, 2, 2, 2, 2, 2]));
        let clean = classes(&[0, 127, 255], BitDepth::Eight, Content::AxonMyelin, Some(40));
        assert_eq!(clean, Ok(vec![0, 1, 2]), "a threshold is for masks that need one");
        assert!(both(None).unwrap_err().contains("--mask-threshold 200"));
    }

    #[test]
    fn axon_and_myelin_masks_and_instances_become_class_numbers() {
        let of = |values: &[u16], depth, content| classes(values, depth, content, None);
        assert_eq!(of(&[0, 127, 128, 255], BitDepth::Eight, Content::AxonMyelin), Ok(vec![0, 1, 1, 2]));
        assert_eq!(of(&[0, 127 * 257, 65535], BitDepth::Sixteen, Content::AxonMyelin), Ok(vec![0, 1, 2]));
        assert_eq!(of(&[0, 1, 700], BitDepth::Sixteen, Content::Instances), Ok(vec![0, 1, 1]));
    }

    #[test]
    fn values_that_mean_nothing_are_listed_with_the_file_and_the_remedy() {
        let message = classes(&[0, 7, 7, 9, 255], BitDepth::Eight, Content::Binary, None).unwrap_err();
        assert!(message.contains("mask.png: it should hold 0 and 255, or 0 and 1"), "{message}");
        assert!(message.contains("7 (pixels: 2), 9 (pixels: 1); give --mask-threshold"), "{message}");
        let message = classes(&[0, 1, 2, 3], BitDepth::Eight, Content::Numbers(2), Some(200)).unwrap_err();
        assert!(message.contains("class numbers 0 to 2, and holds 3 (pixels: 1); name all"), "{message}");
        let message = classes(&[0, 1, 2], BitDepth::Eight, Content::Numbers(1), Some(200)).unwrap_err();
        assert!(message.contains("class numbers 0 to 1, and holds 2"), "not a dark mask: {message}");
    }
}
