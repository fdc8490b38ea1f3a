//! How good a translator is, without pairs: there-and-back fidelity, and how close translated images come to real ones.

use serde::{Deserialize, Serialize};

use crate::domain::{Domain, Pair};
use crate::imaging::Plane;
use crate::metrics::{Summary, correlation, l1, psnr, ssim};
use crate::random::Stream;
use crate::set_distance::{SetDistance, self_distance};
use crate::syndiff::ImageTranslator;

/// How well an image came back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Structural similarity of the image and its there-and-back translation.
    pub ssim: f64,
    /// Peak signal-to-noise ratio in dB.
    pub psnr: f64,
    /// Mean absolute difference.
    pub l1: f64,
}

impl Fidelity {
    /// Compares an image with its there-and-back translation; images below 7 px have no SSIM and count as 0.
    pub fn of(image: &Plane, back: &Plane) -> Self {
        Self { ssim: ssim(image, back).unwrap_or(0.0), psnr: psnr(image, back), l1: l1(image, back) }
    }
}

/// How far a set of images is from the real images of a look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Closeness {
    /// Of the translated images.
    pub translated: f64,
    /// Of the same images before translation.
    pub untranslated: f64,
    /// Of one half of the real images from the other half: what a perfect translation could reach.
    pub floor: f64,
}

/// An image on its way there and back.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    /// The image.
    pub source: Plane,
    /// In the other look.
    pub translation: Plane,
    /// In its own look again.
    pub back: Plane,
}

/// The figures of one validation pass. The labelled entry is about the direction that starts at labelled images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationScore {
    /// Mean there-and-back fidelity of each domain's images.
    pub fidelity: Pair<Fidelity>,
    /// Distance of each domain's translations from the real images of the other domain.
    pub distance: Pair<f64>,
    /// The same before translation.
    pub untranslated: Pair<f64>,
    /// Mean correlation of each domain's images with their translations: above 0 where light stays light, below 0 where
    /// it becomes dark.
    pub contrast: Pair<f64>,
    /// What the best checkpoint is chosen by; see [`ValidationScore::total`].
    pub score: f64,
}

impl ValidationScore {
    /// The rule by which the best checkpoint is chosen, lower is better: the mean over both directions of
    /// (distance of the translations from the real look)/(the same before translation) + (1 − there-and-back SSIM).
    ///
    /// A translator that does nothing scores 1 (nothing gained, everything kept), one that draws the right look over a
    /// lost structure is punished by the second term.
    pub fn total(fidelity: &Pair<Fidelity>, distance: &Pair<f64>, untranslated: &Pair<f64>) -> f64 {
        let of = |domain: Domain| {
            distance.of(domain) / untranslated.of(domain).max(f64::MIN_POSITIVE) + 1.0 - fidelity.of(domain).ssim
        };
        (of(Domain::Labelled) + of(Domain::Target)) / 2.0
    }
}

/// Fixed crops on which every epoch is judged.
pub struct Validation {
    crops: Pair<Vec<Plane>>,
    real: Pair<SetDistance>,
    untranslated: Pair<f64>,
    noise: Stream,
}

impl Validation {
    /// Judges by `crops` of each domain; `reference` stands for the real look of each domain.
    pub fn new(crops: Pair<Vec<Plane>>, reference: &Pair<Vec<Plane>>, seed: u64) -> Self {
        let real = reference.map(|planes| SetDistance::to(&planes.iter().collect::<Vec<_>>(), seed));
        let untranslated = Pair::from_fn(|domain| {
            real.of(domain.other()).distance(&crops.of(domain).iter().collect::<Vec<_>>()).total
        });
        Self { crops, real, untranslated, noise: Stream::new(seed).child("validation") }
    }

    /// Translates all crops there and back. The noise is the same each time, so that epochs can be compared.
    pub fn judge(&self, translator: &ImageTranslator) -> (ValidationScore, Pair<Vec<RoundTrip>>) {
        let trips = Pair::from_fn(|domain| round_trips(translator, self.crops.of(domain), domain, &self.noise));
        let fidelity = trips.map(|trips| mean_fidelity(trips));
        let distance = Pair::from_fn(|domain| {
            let translated: Vec<&Plane> = trips.of(domain).iter().map(|trip| &trip.translation).collect();
            self.real.of(domain.other()).distance(&translated).total
        });
        let contrast = trips.map(|trips| mean_contrast(trips));
        let score = ValidationScore::total(&fidelity, &distance, &self.untranslated);
        (ValidationScore { fidelity, distance, untranslated: self.untranslated, contrast, score }, trips)
    }
}

/// Each plane of a domain translated there and back.
pub fn round_trips(translator: &ImageTranslator, planes: &[Plane], from: Domain, noise: &Stream) -> Vec<RoundTrip> {
    let there = translator.translate_each(planes, from.other(), &noise.child("there"));
    let back = translator.translate_each(&there, from, &noise.child("back"));
    let trips = planes.iter().zip(there).zip(back);
    trips.map(|((source, translation), back)| RoundTrip { source: source.clone(), translation, back }).collect()
}

/// The mean correlation of images with their translations; blank ones correlate with nothing.
fn mean_contrast(trips: &[RoundTrip]) -> f64 {
    let each: Vec<f64> = trips.iter().filter_map(|trip| correlation(&trip.source, &trip.translation)).collect();
    Summary::of(&each).map_or(0.0, |summary| summary.mean)
}

fn mean_fidelity(trips: &[RoundTrip]) -> Fidelity {
    let each: Vec<Fidelity> = trips.iter().map(|trip| Fidelity::of(&trip.source, &trip.back)).collect();
    let mean = |value: fn(&Fidelity) -> f64| {
        Summary::of(&each.iter().map(value).collect::<Vec<_>>()).map_or(f64::NAN, |summary| summary.mean)
    };
    Fidelity { ssim: mean(|f| f.ssim), psnr: mean(|f| f.psnr), l1: mean(|f| f.l1) }
}

/// How close translations are to the real images of their look, beside the two figures that give it a scale.
pub fn closeness(translated: &[&Plane], untranslated: &[&Plane], real: &[&Plane], seed: u64) -> Closeness {
    let distance = SetDistance::to(real, seed);
    Closeness {
        translated: distance.distance(translated).total,
        untranslated: distance.distance(untranslated).total,
        floor: self_distance(real, seed).total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doing_nothing_scores_one_and_a_good_translator_less() {
        let fidelity = |ssim| Pair::from_fn(|_| Fidelity { ssim, psnr: 20.0, l1: 0.1 });
        let pair = |value| Pair::from_fn(|_| value);
        assert_eq!(ValidationScore::total(&fidelity(1.0), &pair(0.4), &pair(0.4)), 1.0);
        let good = ValidationScore::total(&fidelity(0.8), &pair(0.1), &pair(0.4));
        assert!((good - 0.45).abs() < 1e-12);
        // The right look with the structures lost is worse than doing nothing.
        assert!(ValidationScore::total(&fidelity(0.0), &pair(0.1), &pair(0.4)) > 1.0);
    }
}
