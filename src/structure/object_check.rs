//! Which objects of a mask a translation kept, by a segmentation of the translation.

use crate::imaging::{IGNORE, LabelMap};
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
/// translation: compare with how it does on real images. Pixels that are [`IGNORE`]d in one map are taken out of both;
/// of an object that reaches into them, only the rest counts.
///
/// # Panics
/// When the maps differ in size.
pub fn check_objects(truth: &LabelMap, found: &LabelMap, class: u8) -> ObjectCheck {
    let [truth, found] = judged(truth, found);
    let dice = dice(&truth, &found, class);
    let [truth, found] = [&truth, &found].map(|labels| Objects::of(Region { labels, class }));
    let kept = matches(&truth, &found).len();
    ObjectCheck { class, dice, kept, lost: truth.count() - kept, invented: found.count() - kept }
}

/// The outlines of the objects that [`check_objects`] counts as lost and as invented, of all these classes together.
///
/// # Panics
/// When the maps differ in size.
pub fn outlines(truth: &LabelMap, found: &LabelMap, classes: impl IntoIterator<Item = u8>) -> Outlines {
    let (maps, width) = (judged(truth, found), truth.width());
    let none = vec![false; truth.classes().len()];
    let mut outlines = Outlines { lost: none.clone(), invented: none };
    for class in classes {
        let [truth, found] = maps.each_ref().map(|labels| Objects::of(Region { labels, class }));
        let pairs = matches(&truth, &found);
        outline_unmatched(&truth, pairs.iter().map(|pair| pair[0]), width, &mut outlines.lost);
        outline_unmatched(&found, pairs.iter().map(|pair| pair[1]), width, &mut outlines.invented);
    }
    outlines
}

/// Sets the outermost pixels of the objects that are not `matched`, in an image of this width.
fn outline_unmatched(objects: &Objects, matched: impl Iterator<Item = usize>, width: usize, drawn: &mut [bool]) {
    let mut alone = vec![true; objects.count()];
    matched.for_each(|object| alone[object] = false);
    let outline = outline(&objects.mask(|object| alone[object]), width);
    drawn.iter_mut().zip(outline).for_each(|(drawn, set)| *drawn |= set);
}

/// Both maps, ignored wherever one of them is.
fn judged(truth: &LabelMap, found: &LabelMap) -> [LabelMap; 2] {
    let [size, other] = [truth, found].map(|labels| [labels.height(), labels.width()]);
    assert_eq!(size, other, "masks (height, width) of different sizes cannot be compared");
    let without = |labels: &LabelMap, other: &LabelMap| {
        let pixels = labels.classes().iter().zip(other.classes());
        let classes = pixels.map(|(class, other)| if *other == IGNORE { IGNORE } else { *class }).collect();
        LabelMap::new(size[0], size[1], classes)
    };
    [without(truth, found), without(found, truth)]
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

    /// A map from rows of text: `#` is class 1, `o` class 2, and `?` nobody judged.
    fn map(rows: &[&str]) -> LabelMap {
        let class = |byte| match byte {
            b'#' => 1,
            b'o' => 2,
            b'?' => IGNORE,
            _ => 0,
        };
        LabelMap::new(rows.len(), rows[0].len(), rows.concat().bytes().map(class).collect())
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
        let Outlines { lost, invented } = outlines(&truth, &found, [1]);
        assert_eq!(lost, pixels(&["###......", "#.#......", "###......"]));
        assert_eq!(invented, pixels(&["....##...", "....##...", "........."]));
    }

    #[test]
    fn a_class_that_neither_map_has_checks_nothing() {
        let empty = map(&["...", "..."]);
        let check = check_objects(&empty, &empty, 1);
        assert_eq!(check, ObjectCheck { class: 1, dice: None, kept: 0, lost: 0, invented: 0 });
        assert!(outlines(&empty, &empty, [1]).lost.iter().all(|pixel| !pixel));
    }

    #[test]
    fn the_outlines_of_all_classes_lie_on_one_another() {
        let truth = map(&["###.oo", "#o#.oo", "###..."]);
        let found = map(&["....oo", "....oo", "......"]);
        assert_eq!(outlines(&truth, &found, [1]).lost, pixels(&["###...", "#.#...", "###..."]));
        let Outlines { lost, invented } = outlines(&truth, &found, 1..=2);
        assert_eq!(lost, pixels(&["###...", "###...", "###..."]));
        assert!(invented.iter().all(|pixel| !pixel));
    }

    #[test]
    fn pixels_that_nobody_judged_count_as_nothing_on_either_side() {
        let truth = map(&["##..?", "##..?", ".....", "....#"]);
        let found = map(&["##..#", "##..#", ".....", "#...?"]);
        let check = check_objects(&truth, &found, 1);
        assert_eq!(check, ObjectCheck { class: 1, dice: Some(8.0 / 9.0), kept: 1, lost: 0, invented: 1 });
        let Outlines { lost, invented } = outlines(&truth, &found, [1]);
        assert!(lost.iter().all(|pixel| !pixel));
        assert_eq!(invented, pixels(&[".....", ".....", ".....", "#...."]));
    }
}
