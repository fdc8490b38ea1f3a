//! Masks against the truth, and whether the quality that was guessed without it orders images rightly.

use std::path::Path;

use serde::Serialize;

use super::labelling::{Labelled, read_label_map};
use super::targets::{Target, Truth};
use crate::error::Result;
use crate::imaging::LabelMap;
use crate::metrics::Summary;
use crate::objects::Region;
use crate::rank_correlation::{RankCorrelation, rank_correlation};
use crate::segmentation_scores::{ImageScores, ObjectCounts, PixelCounts, SegmentationScores, Values};

/// The scores of an approach.
#[derive(Debug, Clone, Serialize)]
pub struct Scored {
    /// Of each image and class, and over images.
    pub scores: SegmentationScores,
    /// Between the quality of images and their mean true Dice; none for fewer than three images.
    pub quality_against_dice: Option<RankCorrelation>,
}

impl Scored {
    /// Compares the masks in a folder, which are of `classes`, with the truth.
    pub fn of(
        folder: &Path,
        classes: &[String],
        targets: &[&Target],
        truth: &Truth,
        known: &[Labelled],
    ) -> Result<Self> {
        let shared: Vec<(u8, u8, &String)> = shared_classes(classes, &truth.classes);
        let mut images = Vec::new();
        for target in targets {
            let Some(true_labels) = truth.labels(target)? else { continue };
            let predicted = read_label_map(folder, &target.name, classes.len())?;
            images.extend(score_image(&target.name, &predicted, &true_labels, &shared));
        }
        let names: Vec<String> = shared.iter().map(|(_, _, name)| (*name).clone()).collect();
        let scores = SegmentationScores::of(images, &names, 1);
        let quality_against_dice = correlate(&scores, known);
        Ok(Self { scores, quality_against_dice })
    }

    /// The mean Dice of an image over its classes.
    pub fn dice_of_image(&self, image: &str) -> Option<f64> {
        dice_of_image(&self.scores, image)
    }

    /// Mean over the classes of each one's mean Dice over images.
    pub fn mean_dice(&self) -> Option<f64> {
        let of_classes = self.scores.classes.iter().filter_map(|class| Some(class.over_images.dice?.mean));
        Some(Summary::of(&of_classes.collect::<Vec<_>>())?.mean)
    }
}

/// Number in the masks, number in the truth and name of each class that both have.
fn shared_classes<'a>(classes: &'a [String], truth: &[String]) -> Vec<(u8, u8, &'a String)> {
    let number = |name: &String| truth.iter().position(|other| other.eq_ignore_ascii_case(name)).map(|i| i as u8 + 1);
    classes.iter().zip(1..).filter_map(|(name, own)| Some((own, number(name)?, name))).collect()
}

fn score_image(image: &str, predicted: &LabelMap, truth: &LabelMap, classes: &[(u8, u8, &String)]) -> Vec<ImageScores> {
    let score = |(own, other, name): &(u8, u8, &String)| {
        let (predicted, truth) = (Region { labels: predicted, class: *own }, Region { labels: truth, class: *other });
        let pixels = PixelCounts::of(predicted, truth);
        let objects = ObjectCounts::of(predicted, truth, 1);
        let figures = Values::of(&pixels, &objects);
        ImageScores { image: image.into(), fold: None, class: (*name).clone(), pixels, objects, figures }
    };
    classes.iter().map(score).collect()
}

fn dice_of_image(scores: &SegmentationScores, image: &str) -> Option<f64> {
    let of_image = scores.images.iter().filter(|scores| scores.image == image).filter_map(|scores| scores.figures.dice);
    Some(Summary::of(&of_image.collect::<Vec<_>>())?.mean)
}

fn correlate(scores: &SegmentationScores, known: &[Labelled]) -> Option<RankCorrelation> {
    // Masks in which nothing was found have no quality, and nobody would rank them above others.
    let pairs = known
        .iter()
        .filter_map(|figures| Some((figures.quality.unwrap_or(0.0), dice_of_image(scores, &figures.image)?)));
    let (quality, dice): (Vec<f64>, Vec<f64>) = pairs.unzip();
    rank_correlation(&quality, &dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_matched_by_name_whatever_their_number_and_case() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let (own, truth) = (names(&["myelin", "axon", "dust"]), names(&["Axon", "vessel", "Myelin"]));
        let shared = shared_classes(&own, &truth);
        assert_eq!(shared, [(1, 3, &own[0]), (2, 1, &own[1])]);
        let predicted = LabelMap::new(1, 4, vec![1, 1, 2, 0]);
        let true_labels = LabelMap::new(1, 4, vec![3, 1, 1, 2]);
        let dice: Vec<Option<f64>> =
            score_image("a", &predicted, &true_labels, &shared).iter().map(|scores| scores.figures.dice).collect();
        assert_eq!(dice, [Some(2.0 / 3.0), Some(2.0 / 3.0)]);
    }
}
