//! How good a segmentation is without a truth to compare with: from how sure those that made it were.
//!
//! Everything here is as right as the probabilities: networks that are wrong together, and sure of it, go unnoticed.

use crate::imaging::{IGNORE, LabelMap, Plane};

/// The Dice coefficient of a class that is to be expected if a pixel has the class with its `probability`:
/// `2 sum of p over the labelled pixels / (sum of p + labelled pixels)`, both without [`IGNORE`]d pixels. It is the
/// plug-in estimate "soft Dice confidence" (Borges, Pacheco & Silva 2024, arXiv 2402.10665).
///
/// None when neither has the class: no pixel is labelled, and the probabilities add up to less than half a pixel.
///
/// # Panics
/// When the sizes differ.
pub fn expected_dice(labels: &LabelMap, probability: &Plane, class: u8) -> Option<f64> {
    assert_same_size(labels, probability);
    let [mut labelled, mut inside, mut everywhere] = [0.0; 3];
    for (label, p) in labels.classes().iter().zip(probability.pixels()).filter(|(label, _)| **label != IGNORE) {
        let p = f64::from(*p);
        everywhere += p;
        if *label == class {
            labelled += 1.0;
            inside += p;
        }
    }
    (labelled > 0.0 || everywhere >= 0.5).then(|| 2.0 * inside / (everywhere + labelled))
}

/// How sure each pixel's label is: the probability of the chosen class, of one plane for each class in order. Where
/// these are means over networks and the label is the most probable class, this is in [1/classes, 1], and low where the
/// networks disagree. 0 where the label is [`IGNORE`].
///
/// # Panics
/// When the sizes differ or a label has no plane.
pub fn confidence(labels: &LabelMap, probabilities: &[Plane]) -> Plane {
    probabilities.iter().for_each(|plane| assert_same_size(labels, plane));
    let chosen = |(pixel, label): (usize, &u8)| match *label {
        IGNORE => 0.0,
        class => probabilities[usize::from(class)].pixels()[pixel],
    };
    Plane::new(labels.height(), labels.width(), labels.classes().iter().enumerate().map(chosen).collect())
}

fn assert_same_size(labels: &LabelMap, plane: &Plane) {
    let [labels, plane] = [[labels.height(), labels.width()], [plane.height(), plane.width()]];
    assert_eq!(labels, plane, "labels and their probabilities (height, width) must have the same size");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::dice;

    fn row(values: &[f32]) -> Plane {
        Plane::new(1, values.len(), values.to_vec())
    }

    fn labels(classes: &[u8]) -> LabelMap {
        LabelMap::new(1, classes.len(), classes.to_vec())
    }

    #[test]
    fn the_expected_dice_of_a_case_worked_by_hand() {
        let probability = row(&[1.0, 0.75, 0.25, 0.0]);
        assert_eq!(expected_dice(&labels(&[2, 2, 0, 1]), &probability, 2), Some(2.0 * 1.75 / (2.0 + 2.0)));
        assert_eq!(expected_dice(&labels(&[2, 0, 0, 1]), &probability, 2), Some(2.0 / 3.0));
    }

    #[test]
    fn certain_probabilities_expect_the_dice_itself() {
        let (found, truth) = (labels(&[0, 1, 1, 1, 0]), labels(&[0, 0, 1, 1, 1]));
        let certain = row(&truth.classes().iter().map(|class| f32::from(*class)).collect::<Vec<_>>());
        assert_eq!(expected_dice(&found, &certain, 1), dice(&found, &truth, 1));
        assert_eq!(expected_dice(&truth, &certain, 1), Some(1.0));
    }

    #[test]
    fn pixels_that_nobody_judged_are_left_out() {
        let judged = expected_dice(&labels(&[1, 0]), &row(&[0.5, 0.25]), 1);
        assert_eq!(expected_dice(&labels(&[1, 0, IGNORE, IGNORE]), &row(&[0.5, 0.25, 1.0, 0.0]), 1), judged);
        assert_eq!(confidence(&labels(&[0, IGNORE]), &[row(&[0.75, 0.75])]), row(&[0.75, 0.0]));
    }

    #[test]
    fn nothing_is_expected_of_a_class_that_is_absent_and_zero_of_one_that_was_not_labelled() {
        assert_eq!(expected_dice(&labels(&[0, 0]), &row(&[0.125, 0.25]), 1), None);
        assert_eq!(expected_dice(&labels(&[0, 0]), &row(&[0.25, 0.25]), 1), Some(0.0));
        assert_eq!(expected_dice(&labels(&[1, 0]), &row(&[0.0, 0.0]), 1), Some(0.0));
    }

    #[test]
    fn confidence_is_the_probability_of_the_chosen_class() {
        let probabilities = [row(&[0.5, 0.125, 0.25]), row(&[0.25, 0.75, 0.25]), row(&[0.25, 0.125, 0.5])];
        assert_eq!(confidence(&labels(&[0, 1, 2]), &probabilities), row(&[0.5, 0.75, 0.5]));
    }

    #[test]
    #[should_panic(expected = "must have the same size")]
    fn probabilities_of_another_size_are_refused() {
        expected_dice(&labels(&[1, 0]), &row(&[0.5]), 1);
    }
}
