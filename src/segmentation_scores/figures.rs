//! What is counted in one image and class, and the figures that follow from the counts.

use crate::imaging::IGNORE;
use crate::metrics::Summary;
use crate::objects::{Objects, Region, matches};
use serde::Serialize;
use std::iter::Sum;

/// Pixels of an image, or of several, by what the prediction and the truth say of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PixelCounts {
    /// Predicted, and true.
    pub true_positive: u64,
    /// Predicted, not true.
    pub false_positive: u64,
    /// True, not predicted.
    pub false_negative: u64,
    /// Neither.
    pub true_negative: u64,
}

impl PixelCounts {
    /// Counts the pixels of one image, without those that are [`IGNORE`] in the truth.
    ///
    /// # Panics
    /// When the label maps differ in size.
    pub fn of(predicted: Region<'_>, truth: Region<'_>) -> Self {
        assert_eq!(predicted.size(), truth.size(), "label maps (height, width) of different sizes cannot be compared");
        let mut counts = Self::default();
        counts.add(predicted.pixels().zip(truth.labels.classes().iter().copied()), truth.class);
        counts
    }

    /// Counts more pixels: whether each is predicted, and its true label, of which `class` is the one to score.
    pub(super) fn add(&mut self, pixels: impl Iterator<Item = (bool, u8)>, class: u8) {
        // By `2 * predicted + truth`: an index is quicker than a choice for each pixel.
        let mut counts = [0; 4];
        for (predicted, label) in pixels.filter(|(_, label)| *label != IGNORE) {
            counts[2 * usize::from(predicted) + usize::from(label == class)] += 1;
        }
        let [true_negative, false_negative, false_positive, true_positive] = counts;
        *self = [*self, Self { true_positive, false_positive, false_negative, true_negative }].into_iter().sum();
    }

    /// Whether neither the prediction nor the truth has a pixel of the class.
    pub fn is_absent(&self) -> bool {
        self.true_positive + self.false_positive + self.false_negative == 0
    }
}

impl Sum for PixelCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |a, b| Self {
            true_positive: a.true_positive + b.true_positive,
            false_positive: a.false_positive + b.false_positive,
            false_negative: a.false_negative + b.false_negative,
            true_negative: a.true_negative + b.true_negative,
        })
    }
}

/// Objects (see [`Objects`]) of an image, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ObjectCounts {
    /// Predicted objects; specks, and objects mostly in pixels that nobody judged, are not counted.
    pub predicted: usize,
    /// Objects of the truth.
    pub truth: usize,
    /// Pairs of a predicted object and one of the truth whose intersection is at least half of their union.
    pub matched: usize,
}

impl ObjectCounts {
    /// Counts the objects of one image. Predicted ones of fewer than `min_object` pixels are specks, which are ignored
    /// whether right or wrong; objects of the truth count at any size. So are predicted objects of which more than half
    /// is [`IGNORE`] in the truth; none of them can be a match, since at most half of it is in an object of the truth.
    ///
    /// # Panics
    /// When the label maps differ in size.
    pub fn of(predicted: Region<'_>, truth: Region<'_>, min_object: u64) -> Self {
        let ignored = Region { labels: truth.labels, class: IGNORE };
        Self::of_objects(&Objects::of(predicted), &Objects::of(truth), &Objects::of(ignored), min_object)
    }

    /// The same of objects that were found already; `ignored` are those of [`IGNORE`].
    pub(super) fn of_objects(predicted: &Objects, truth: &Objects, ignored: &Objects, min_object: u64) -> Self {
        let areas = predicted.areas().iter().zip(predicted.areas_in(ignored));
        let is_counted: Vec<bool> = areas.map(|(area, ignored)| *area >= min_object && 2 * ignored <= *area).collect();
        let matched = matches(predicted, truth).iter().filter(|[i, _]| is_counted[*i]).count();
        Self { predicted: is_counted.iter().filter(|counted| **counted).count(), truth: truth.count(), matched }
    }
}

impl Sum for ObjectCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |a, b| Self {
            predicted: a.predicted + b.predicted,
            truth: a.truth + b.truth,
            matched: a.matched + b.matched,
        })
    }
}

/// One thing, such as a value or its mean over images, for each figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures<T> {
    /// Overlap of the pixels, `2 TP / (2 TP + FP + FN)`.
    pub dice: T,
    /// Intersection over union of the pixels, `TP / (TP + FP + FN)`.
    pub iou: T,
    /// Share of the predicted pixels that are right, `TP / (TP + FP)`.
    pub precision: T,
    /// Share of the true pixels that are predicted, `TP / (TP + FN)`.
    pub recall: T,
    /// Share of the predicted objects that are matched.
    pub object_precision: T,
    /// Share of the objects of the truth that are matched.
    pub object_recall: T,
    /// Harmonic mean of both, `2 matched / (predicted + truth)`.
    pub object_f1: T,
}

/// The figures of one image, or of counts pooled over several. None where a figure would divide by zero: there is
/// nothing to be right about, and a score of 1 would flatter.
pub type Values = Figures<Option<f64>>;

/// The figures' mean and spread. None where no image has a value.
pub type Summaries = Figures<Option<Summary>>;

impl<T> Figures<T> {
    /// The names of the figures, in the order of [`Figures::as_array`].
    pub const NAMES: [&str; 7] =
        ["dice", "iou", "precision", "recall", "object_precision", "object_recall", "object_f1"];

    /// All figures.
    pub fn as_array(&self) -> [&T; 7] {
        [
            &self.dice,
            &self.iou,
            &self.precision,
            &self.recall,
            &self.object_precision,
            &self.object_recall,
            &self.object_f1,
        ]
    }

    /// Another thing for each figure.
    pub fn map<U>(&self, to: impl FnMut(&T) -> U) -> Figures<U> {
        Figures::from_array(self.as_array().map(to))
    }

    fn from_array([dice, iou, precision, recall, object_precision, object_recall, object_f1]: [T; 7]) -> Self {
        Self { dice, iou, precision, recall, object_precision, object_recall, object_f1 }
    }
}

impl Values {
    /// The figures that follow from counts.
    pub fn of(pixels: &PixelCounts, objects: &ObjectCounts) -> Self {
        let PixelCounts { true_positive: tp, false_positive: fp, false_negative: fnn, .. } = *pixels;
        let [predicted, truth, matched] = [objects.predicted, objects.truth, objects.matched].map(|n| n as u64);
        Self {
            dice: ratio(2 * tp, 2 * tp + fp + fnn),
            iou: ratio(tp, tp + fp + fnn),
            precision: ratio(tp, tp + fp),
            recall: ratio(tp, tp + fnn),
            object_precision: ratio(matched, predicted),
            object_recall: ratio(matched, truth),
            object_f1: ratio(2 * matched, predicted + truth),
        }
    }
}

impl Summaries {
    /// Mean and spread of each figure over those that have a value.
    pub fn of<'a>(values: impl Iterator<Item = &'a Values> + Clone) -> Self {
        Self::from_array(std::array::from_fn(|figure| {
            Summary::of(&values.clone().filter_map(|values| *values.as_array()[figure]).collect::<Vec<_>>())
        }))
    }

    /// The means alone.
    pub fn means(&self) -> Values {
        self.map(|summary| summary.map(|summary| summary.mean))
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::LabelMap;
    use crate::metrics::{dice, iou};

    #[test]
    fn counts_and_figures_of_a_case_worked_by_hand() {
        let predicted = LabelMap::new(2, 6, vec![1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0]);
        let truth = LabelMap::new(2, 6, vec![2, 2, 0, 2, 0, 0, 2, 2, 0, 2, 0, 0]);
        let regions = (Region { labels: &predicted, class: 1 }, Region { labels: &truth, class: 2 });
        let pixels = PixelCounts::of(regions.0, regions.1);
        let expected = PixelCounts { true_positive: 4, false_positive: 1, false_negative: 2, true_negative: 5 };
        assert_eq!(pixels, expected);
        // IoU 3/4; 1/2 exactly; and a speck that is wrong.
        let objects = ObjectCounts::of(regions.0, regions.1, 1);
        assert_eq!(objects, ObjectCounts { predicted: 3, truth: 2, matched: 2 });
        let values = Values::of(&pixels, &objects);
        let by_hand = [8.0 / 11.0, 4.0 / 7.0, 4.0 / 5.0, 4.0 / 6.0, 2.0 / 3.0, 1.0, 4.0 / 5.0];
        assert_eq!(values.as_array().map(|value| value.unwrap()), by_hand);
        let without_specks = ObjectCounts::of(regions.0, regions.1, 2);
        assert_eq!(without_specks, ObjectCounts { predicted: 1, truth: 2, matched: 1 });
    }

    #[test]
    fn what_nobody_judged_is_neither_right_nor_wrong() {
        const I: u8 = IGNORE;
        let predicted = LabelMap::new(2, 6, vec![1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0]);
        let truth = LabelMap::new(2, 6, vec![1, 1, 0, I, I, 1, 1, I, I, I, 0, 0]);
        let regions = (Region { labels: &predicted, class: 1 }, Region { labels: &truth, class: 1 });
        let expected = PixelCounts { true_positive: 3, false_positive: 1, false_negative: 1, true_negative: 2 };
        assert_eq!(PixelCounts::of(regions.0, regions.1), expected);
        // Of the first predicted object 1/4 is ignored, and it matches; of the second 3/4.
        let expected = ObjectCounts { predicted: 1, truth: 2, matched: 1 };
        assert_eq!(ObjectCounts::of(regions.0, regions.1, 1), expected);
        let half = LabelMap::new(2, 6, vec![0, 0, 0, I, I, 0, 0, 0, 0, 0, 0, 0]);
        let counts = ObjectCounts::of(regions.0, Region { labels: &half, class: 1 }, 1);
        assert_eq!(counts, ObjectCounts { predicted: 2, truth: 0, matched: 0 }, "exactly half still counts");
    }

    #[test]
    fn dice_and_iou_are_those_of_the_metrics() {
        let a = LabelMap::new(2, 3, vec![0, 1, 1, 2, 2, 2]);
        let b = LabelMap::new(2, 3, vec![0, 0, 1, 1, 2, 2]);
        for class in 0..=3 {
            let [a_region, b_region] = [&a, &b].map(|labels| Region { labels, class });
            let values = Values::of(&PixelCounts::of(a_region, b_region), &ObjectCounts::of(a_region, b_region, 1));
            assert_eq!((values.dice, values.iou), (dice(&a, &b, class), iou(&a, &b, class)));
        }
    }

    #[test]
    fn what_would_divide_by_zero_has_no_value_and_is_left_out_of_the_mean() {
        let missed = PixelCounts { false_negative: 3, ..PixelCounts::default() };
        let values = Values::of(&missed, &ObjectCounts { truth: 1, ..ObjectCounts::default() });
        assert_eq!((values.dice, values.precision, values.recall), (Some(0.0), None, Some(0.0)));
        assert_eq!((values.object_precision, values.object_recall, values.object_f1), (None, Some(0.0), Some(0.0)));
        let absent = Values::of(&PixelCounts::default(), &ObjectCounts::default());
        assert!(absent.as_array().iter().all(|value| value.is_none()) && PixelCounts::default().is_absent());
        let summaries = Summaries::of([values, absent].iter());
        assert_eq!((summaries.dice.unwrap().n, summaries.precision), (1, None));
    }
}
