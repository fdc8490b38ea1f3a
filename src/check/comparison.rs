//! How far two data sets are apart before one is translated into the look of the other, and what to do about it.
//!
//! Everything is measured at the resolution that training would work at, and without masks.

use super::{CheckOptions, Survey};
use crate::dataset;
use crate::domain::{Domain, Pair};
use crate::error::Result;
use crate::imaging::Plane;
use crate::prepare::to_working_size;
use crate::set_distance::{SetDistance, self_distance};
use crate::structure::{EdgeMap, EdgeThreshold, TypicalSize, sampled_blocks, typical_size};
use serde::Serialize;
use std::path::Path;

/// Sizes of structures that differ by this factor are to be matched.
const UNLIKE_SIZES: f64 = 1.4;
/// A crop is mostly empty below this part of the denser set's median density.
const EMPTY: f64 = 0.25;
/// A difference in the share of empty crops that spoils adversarial training.
const UNLIKE_DENSITY: f64 = 0.15;
/// Grey distances of this size and more can be seen.
const UNLIKE_GREY: f64 = 0.05;

/// One of the two sets at the working resolution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetFigures {
    /// Images that can be used.
    pub images: usize,
    /// The median pixel size of its files, in micrometres.
    pub pixel_size_um: Option<f64>,
    /// Mean grey value in [0, 1].
    pub mean: f64,
    /// Standard deviation of the grey values.
    pub deviation: f64,
    /// Share of all classes together, where there are masks.
    pub foreground: Option<f64>,
    /// Diameters of structures in pixels at the working resolution.
    pub structure_px: Option<TypicalSize>,
    /// Share of pixels on edges in crops: lower quartile, median, upper quartile.
    pub density: [f64; 3],
    /// Share of crops that are mostly empty.
    pub empty_crops: f64,
}

/// A thing to do, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What was seen.
    pub because: String,
    /// What to do: options of `synlabel train` and of the commands that train a translator.
    pub then: String,
}

/// How far two sets are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Micrometres per pixel at which the sets were compared; none where a pixel size is not known and images were
    /// compared as they are.
    pub working_um: Option<f64>,
    /// Side of the crops in pixels.
    pub crop: usize,
    /// The sets.
    pub sets: Pair<SetFigures>,
    /// How far the grey values are apart (Wasserstein distance of the histograms, in [0, 1]).
    pub grey: f64,
    /// The same after one set is inverted.
    pub grey_inverted: f64,
    /// How far the textures are apart, in standard deviations of the target (see `set_distance`).
    pub texture: f64,
    /// The same between two halves of the target.
    pub texture_floor: f64,
    /// How many times as large structures of the target are, in pixels at the working resolution.
    pub size_ratio: Option<f64>,
    /// What to do.
    pub advice: Vec<Advice>,
}

/// Compares two sets that were surveyed, by crops of side `crop`.
pub fn compare(surveys: Pair<&Survey>, options: Pair<&CheckOptions>, crop: usize) -> Result<Comparison> {
    let sizes = Pair::from_fn(|domain| median_size(surveys.of(domain)));
    let working_um = sizes.labelled.zip(sizes.target).map(|(labelled, target)| labelled.max(target));
    let planes = Pair::try_from_fn(|domain| read(&surveys.of(domain).root, options.of(domain), working_um))?;
    let borrowed = Pair::from_fn(|domain| planes.of(domain).iter().collect::<Vec<&Plane>>());
    let densities = borrowed.map(|planes| crop_densities(planes, crop));
    let densest = Domain::BOTH.iter().map(|domain| quantile(densities.of(*domain), 0.5)).fold(0.0, f64::max);
    let histograms = borrowed.map(|planes| histogram(planes));
    let figures = |domain: Domain| {
        let (densities, histogram) = (densities.of(domain), histograms.of(domain));
        let moment = |power: i32| histogram.iter().zip(0..).map(|(p, grey)| p * centre(grey).powi(power)).sum::<f64>();
        let empty = densities.iter().filter(|density| **density < EMPTY * densest).count();
        SetFigures {
            images: borrowed.of(domain).len(),
            pixel_size_um: median_size(surveys.of(domain)),
            mean: moment(1),
            deviation: (moment(2) - moment(1).powi(2)).max(0.0).sqrt(),
            foreground: foreground(surveys.of(domain)),
            structure_px: typical_size(borrowed.of(domain)),
            density: [0.25, 0.5, 0.75].map(|share| quantile(densities, share)),
            empty_crops: empty as f64 / densities.len().max(1) as f64,
        }
    };
    let sets = Pair::from_fn(figures);
    let blocks = Pair::from_fn(|domain| sampled_blocks(borrowed.of(domain)));
    let blocks = Pair::from_fn(|domain| blocks.of(domain).iter().collect::<Vec<&Plane>>());
    let inverted: Vec<f64> = histograms.labelled.iter().rev().copied().collect();
    let mut comparison = Comparison {
        working_um,
        crop,
        grey: grey_distance(&histograms.labelled, &histograms.target),
        grey_inverted: grey_distance(&inverted, &histograms.target),
        texture: SetDistance::to(&blocks.target, 0).distance(&blocks.labelled).total,
        texture_floor: self_distance(&blocks.target, 0).total,
        size_ratio: sets.labelled.structure_px.zip(sets.target.structure_px).map(|(l, t)| t.median / l.median),
        sets,
        advice: Vec::new(),
    };
    comparison.advice = advice(&comparison);
    Ok(comparison)
}

/// The images of a set at the working resolution.
fn read(root: &Path, options: &CheckOptions, working_um: Option<f64>) -> Result<Vec<Plane>> {
    let dataset = dataset::discover_as(root, options.format)?;
    let loaded = dataset::load(&dataset, options.pixel_size_um, &options.reading)?;
    let scaled = loaded.images.iter().map(|image| to_working_size(&image.plane, image.case.pixel_size_um, working_um));
    Ok(scaled.collect())
}

/// The median pixel size, if all images for training have one.
fn median_size(survey: &Survey) -> Option<f64> {
    let rows = survey.images.iter().filter(|row| !row.is_test);
    let mut sizes = rows.map(|row| row.pixel_size_um).collect::<Option<Vec<f64>>>()?;
    sizes.sort_by(f64::total_cmp);
    sizes.get(sizes.len() / 2).copied()
}

fn foreground(survey: &Survey) -> Option<f64> {
    let shares: Vec<f64> =
        survey.images.iter().filter_map(|row| row.classes.as_ref()).map(|classes| classes.iter().sum()).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

/// The density of edges in crops half a side apart, in order.
fn crop_densities(planes: &[&Plane], crop: usize) -> Vec<f64> {
    let threshold = EdgeThreshold::of(planes);
    let starts = |length: usize| (0..=length.saturating_sub(crop)).step_by((crop / 2).max(1));
    let mut densities = Vec::new();
    for plane in planes {
        let edges = EdgeMap::of(plane, threshold);
        let size = [crop.min(plane.height()), crop.min(plane.width())];
        for top in starts(plane.height()) {
            densities.extend(starts(plane.width()).map(|left| edges.share(top, left, size)));
        }
    }
    densities.sort_by(f64::total_cmp);
    densities
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted.get((share * sorted.len().saturating_sub(1) as f64).round() as usize).copied().unwrap_or(0.0)
}

const GREYS: usize = 256;

/// The share of pixels of each grey.
fn histogram(planes: &[&Plane]) -> Vec<f64> {
    let mut counts = vec![0u64; GREYS];
    for value in planes.iter().flat_map(|plane| plane.pixels()) {
        counts[((value * GREYS as f32) as usize).min(GREYS - 1)] += 1;
    }
    let total: u64 = counts.iter().sum();
    counts.into_iter().map(|count| count as f64 / total.max(1) as f64).collect()
}

fn centre(grey: usize) -> f64 {
    (grey as f64 + 0.5) / GREYS as f64
}

/// The mean difference of the cumulative histograms: how far grey must be moved to make one of the other.
fn grey_distance(a: &[f64], b: &[f64]) -> f64 {
    let (mut difference, mut moved) = (0.0f64, 0.0);
    for (a, b) in a.iter().zip(b) {
        difference += a - b;
        moved += difference.abs();
    }
    moved / a.len() as f64
}

fn advice(comparison: &Comparison) -> Vec<Advice> {
    let Comparison { sets, working_um, .. } = comparison;
    let mut advice = Vec::new();
    let mut add = |because: String, then: String| advice.push(Advice { because, then });
    let unknown: Vec<&str> = Domain::BOTH
        .iter()
        .filter(|domain| sets.of(**domain).pixel_size_um.is_none())
        .map(|domain| domain.name())
        .collect();
    match working_um {
        Some(working) => add(
            format!("the coarser of the two median pixel sizes is {} um", rounded(*working)),
            "this is the resolution that training works at by itself; --pixel-size-um chooses another".to_string(),
        ),
        None => add(
            format!(
                "the pixel size of the {} images is not known, so images are compared as they are",
                unknown.join(" and ")
            ),
            unknown.iter().map(|name| format!("give --{name}-pixel-size-um")).collect::<Vec<_>>().join(" and "),
        ),
    }
    if let Some(ratio) = comparison.size_ratio.filter(|ratio| !(1.0 / UNLIKE_SIZES..UNLIKE_SIZES).contains(ratio)) {
        let (times, which) = if ratio > 1.0 { (ratio, "target") } else { (1.0 / ratio, "labelled") };
        let because = format!("structures of the {which} images are about {times:.1} times as large");
        add(
            because,
            match (sets.labelled.pixel_size_um, working_um) {
                (Some(size), Some(_)) => format!(
                    "give --labelled-pixel-size-um {} instead of {}, so that they have the same size in pixels (this is a \
                 scale for training, no longer the true size)",
                    rounded(size * ratio),
                    rounded(size)
                ),
                _ => format!(
                    "give --labelled-pixel-size-um {} --target-pixel-size-um 1, which says how large the pixels are against \
                 one another if nothing else is known",
                    rounded(ratio)
                ),
            },
        );
    }
    let [labelled, target] = [sets.labelled.empty_crops, sets.target.empty_crops];
    if (labelled - target).abs() > UNLIKE_DENSITY {
        let (emptier, more, denser, less) = if labelled > target {
            ("labelled", labelled, "target", target)
        } else {
            ("target", target, "labelled", labelled)
        };
        add(
            format!(
                "{:.0} % of the {emptier} crops are mostly empty, and {:.0} % of the {denser} ones: adversarial training \
                 would learn to paint structures in, or to wipe them away",
                100.0 * more,
                100.0 * less
            ),
            "give --balance-crops, which draws crops so that both sets are as dense".to_string(),
        );
    }
    let is_closer_inverted = comparison.grey_inverted + UNLIKE_GREY < comparison.grey;
    let hint = if is_closer_inverted { " (the grey values are closer after inversion)" } else { "" };
    add(
        format!("whether structures that are dark in one set are dark in the other is to be seen, not computed{hint}"),
        "look at the contact sheets, and train with --contrast kept where they are, --contrast inverted where they are not"
            .to_string(),
    );
    advice
}

/// Three significant digits, as short as they can be.
pub(super) fn rounded(value: f64) -> String {
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_all_grey_by_a_tenth_is_a_distance_of_a_tenth() {
        let flat = |value: f32| histogram(&[&Plane::from_fn(4, 4, |_, _| value)]);
        assert!((grey_distance(&flat(0.3), &flat(0.4)) - 0.1).abs() < 0.01);
        assert_eq!(grey_distance(&flat(0.3), &flat(0.3)), 0.0);
    }

    #[test]
    fn numbers_are_shown_with_three_digits() {
        assert_eq!([0.0952, 1.0, 12.345, 0.18].map(rounded), ["0.0952", "1", "12.3", "0.18"]);
    }
}
