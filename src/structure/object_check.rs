//! Which objects of a mask a translation kept, by a segmentation of the translation.

use crate::imaging::LabelMap;
use crate::metrics::dice;
use crate::objects::{Objects, Region, matches};
use serde::{Deserialize, Serialize};

/// The objects of one class of a source, and those found in its translation. Objects are those of the module
/// `objects`: connected at sides and corners, the same from an intersection over union of 1/2 on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectCheck {
    /// Number of the class in the label maps.
    pub class: u8,
    /// Dice coefficient of the pixels; None when neither map has the class.
    pub dice: Option<f64>,
    /// True objects that were found.
    pub kept: usize,
    /// True objects that were not.
    pub lost: usize,
    /// Objects that were found where there is no true one.
    pub invented: usize,
}

/// The outermost pixels of objects, to draw: for each pixel, row by row, whether it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlines {
    /// Of the true objects that were not found.
    pub lost: Vec<bool>,
    /// Of the objects that were found where there is no true one.
    pub invented: Vec<bool>,
}

/// Compares the mask of a source with a segmentation of its translation. Mistakes of the segmenter count against the
/// translation: compare with how it does on real images.
///
/// # Panics
/// When the maps differ in size.
pub fn check_objects(truth: &LabelMap, found: &LabelMap, class: u8) -> ObjectCheck {
    let dice = dice(truth, found, class);
    let [truth, found] = [truth, found].map(|labels| Objects::of(Region { labels, class }));
    let kept = matches(&truth, &found).len();
    ObjectCheck { class, dice, kept, lost: truth.count() - kept, invented: found.count() - kept }
}

/// The outlines of the objects that [`check_objects`] counts as lost and as invented.
///
/// # Panics
/// When the maps differ in size.
pub fn outlines(truth: &LabelMap, found: &LabelMap, class: u8) -> Outlines {
    let width = truth.width();
    let [truth, found] = [truth, found].map(|labels| Objects::of(Region { labels, class }));
    let pairs = matches(&truth, &found);
    let unmatched = |objects: &Objects, side: usize| {
        let mut alone = vec![true; objects.count()];
        pairs.iter().for_each(|pair| alone[pair[side]] = false);
        outline(&objects.mask(|object| alone[object]), width)
    };
    Outlines { lost: unmatched(&truth, 0), invented: unmatched(&found, 1) }
}

/// The pixels of a mask that have a side neighbour outside it; beyond the image all is outside.
fn outline(mask: &[bool], width: usize) -> Vec<bool> {
    let inside = |index: usize| {
        let column = index % width;
        let beside = column > 0 && column + 1 < width && mask[index - 1] && mask[index + 1];
        beside && index >= width && mask[index - width] && mask.get(index + width).is_some_and(|below| *below)
    };
    mask.iter().enumerate().map(|(index, set)| *set && !inside(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map from rows of text, in which `#` is class 1.
    fn map(rows: &[&str]) -> LabelMap {
        let classes = rows.concat().bytes().map(|byte| u8::from(byte == b'#')).collect();
        LabelMap::new(rows.len(), rows[0].len(), classes)
    }

    fn pixels(rows: &[&str]) -> Vec<bool> {
        rows.concat().bytes().map(|byte| byte == b'#').collect()
    }

    #[test]
    fn objects_are_kept_lost_and_invented() {
        let truth = map(&["####..##", "####..##", "####....", "####..##"]);
        let found = map(&["####....", "####....", "####..#.", "........"]);
        let check = check_objects(&truth, &found, 1);
        assert_eq!((check.class, check.kept, check.lost, check.invented), (1, 1, 2, 1));
        assert_eq!(check.dice, Some(2.0 * 12.0 / (22.0 + 13.0)));
    }

    #[test]
    fn only_objects_without_a_counterpart_are_outlined() {
        let truth = map(&["###....##", "###....##", "###......"]);
        let found = map(&["....##.##", "....##.##", "........."]);
        let Outlines { lost, invented } = outlines(&truth, &found, 1);
        assert_eq!(lost, pixels(&["###......", "#.#......", "###......"]));
        assert_eq!(invented, pixels(&["....##...", "....##...", "........."]));
    }

    #[test]
    fn a_class_that_neither_map_has_checks_nothing() {
        let empty = map(&["...", "..."]);
        let check = check_objects(&empty, &empty, 1);
        assert_eq!(check, ObjectCheck { class: 1, dice: None, kept: 0, lost: 0, invented: 0 });
        assert!(outlines(&empty, &empty, 1).lost.iter().all(|pixel| !pixel));
    }
}
