//! Whether a translation between looks kept the structures of its source: every edge in its place.
//!
//! [`score`] needs no mask. It does not see grey levels: contrast may turn over (dark myelin becomes bright) and
//! texture and blur may change. [`reference()`] is what the same figures are between images that have nothing in common
//! but their kind: a score says something as far as it is above. [`local_scores`] says which parts of an image kept their
//! structures, [`disagreement_map`] where edges were lost or invented. Where both sides have masks, [`check_objects`]
//! counts the objects that were kept, lost and invented. [`EdgeMap`] says how much structure there is anywhere, and
//! [`typical_size`] how large it is, also without masks.
//!
//! Limits: edges are looked for at [`SCALES`], in pixels, so that images should be at the resolution of the networks.
//! What moves by a pixel or two loses little, by half the width of an object nearly all. No figure is 1 for two looks of
//! one thing, since each look has its own texture and noise: on phantoms `edges` is 0.9 and `phase` 0.7.

mod density;
mod features;
mod filters;
mod local;
mod object_check;
mod size;

use self::features::Features;
use self::filters::Field;
use crate::imaging::Plane;
use crate::metrics::Summary;
use serde::{Deserialize, Serialize};

pub use self::density::{EdgeMap, EdgeThreshold};
pub use self::features::SCALES;
pub use self::local::{LocalScore, local_scores};
pub use self::object_check::{ObjectCheck, Outlines, check_objects, outlines};
pub use self::size::{TypicalSize, sampled_blocks, typical_size};

/// How far two images have the same structure; each figure in [0, 1], 1 for an image and itself or its negative, about 0
/// for unrelated images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StructureScore {
    /// Edges in the same places run in the same directions.
    pub edges: f64,
    /// Edges and lines, whatever their contrast, are in the same places.
    pub phase: f64,
}

impl StructureScore {
    /// One figure for both: their geometric mean, which is 0 as soon as one is.
    pub fn combined(&self) -> f64 {
        (self.edges * self.phase).sqrt()
    }
}

/// How far a translation has the structure of its source. None when both are blank; 0 when one is.
///
/// - `edges` is the correlation `sum a . b / sqrt(sum |a|^2 sum |b|^2)` of the images' edge vectors: of twice the angle
///   of the gradient, so that a turned contrast counts as the same, and of a length from 0 (no edge, or no one
///   direction) to 1.
/// - `phase` is the correlation of the images' phase congruency, less that of its surroundings: how far the scales
///   agree that there is an edge or a line.
///
/// Both are symmetric, the same for `1 - image`, for a brighter or a stronger image, and little different for other
/// monotone changes of grey. Negative correlations count as 0.
///
/// # Panics
/// When the planes differ in size.
pub fn score(source: &Plane, translation: &Plane) -> Option<StructureScore> {
    assert_same_size(source, translation);
    compare(&Features::of(source), &Features::of(translation))
}

/// The scores between images of the same kinds that do not show the same place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Of [`StructureScore::edges`].
    pub edges: Summary,
    /// Of [`StructureScore::phase`].
    pub phase: Summary,
    /// Of [`StructureScore::combined`].
    pub combined: Summary,
}

/// Translations that each source is compared with in [`reference`]: what the estimate costs.
const STRANGERS: usize = 4;

/// What the score is by chance: of each source with the translations of the next four others, on the part that both
/// images have when their top left corners are laid on each other. One image alone is cut across its longer side, and
/// each half compared with the translation of the other. None when there is no pair that is not blank.
///
/// # Panics
/// When there are not as many sources as translations.
pub fn reference(sources: &[&Plane], translations: &[&Plane]) -> Option<Reference> {
    assert_eq!(sources.len(), translations.len(), "each source needs its translation");
    if let ([source], [translation]) = (sources, translations) {
        let [sources, translations] = [source, translation].map(|plane| halves(plane));
        return summarise(&[
            compare_common(&sources[0], &translations[1]),
            compare_common(&sources[1], &translations[0]),
        ]);
    }
    let count = sources.len();
    let pairs = (0..count).flat_map(|i| (1..count.min(STRANGERS + 1)).map(move |step| [i, (i + step) % count]));
    summarise(&pairs.map(|[i, j]| compare_common(sources[i], translations[j])).collect::<Vec<_>>())
}

/// Where an image has an edge that the other lacks: 0 where they agree, 1 for a clear edge with nothing beside it. An
/// edge may be about a pixel off, and is clear when it is among the strongest 5 % of its image's pixels.
///
/// # Panics
/// When the planes differ in size or have no pixel.
pub fn disagreement_map(source: &Plane, translation: &Plane) -> Plane {
    assert_same_size(source, translation);
    let [source, translation] = [source, translation].map(|plane| Features::of(plane).strength());
    let [near_source, near_translation] = [&source, &translation].map(Field::widened);
    let difference = |i: usize| {
        let lost = source.values[i] - near_translation.values[i];
        let invented = translation.values[i] - near_source.values[i];
        lost.max(invented).max(0.0)
    };
    Plane::new(source.size[0], source.size[1], (0..source.values.len()).map(difference).collect())
}

fn compare(a: &Features, b: &Features) -> Option<StructureScore> {
    if a.is_blank() && b.is_blank() {
        return None;
    }
    let reliefs = [a, b].map(Features::relief);
    Some(score_at(0..a.edges.len(), [a, b], reliefs.each_ref().map(Vec::as_slice)))
}

/// The score of some pixels of two images, by their indices, from the features and the reliefs of both.
fn score_at(
    pixels: impl Iterator<Item = usize> + Clone,
    features: [&Features; 2],
    reliefs: [&[f32]; 2],
) -> StructureScore {
    let [a_edges, b_edges] = features.map(|features| pixels.clone().flat_map(|pixel| features.edges[pixel]));
    let [a_phase, b_phase] = reliefs.map(|relief| pixels.clone().map(|pixel| relief[pixel]));
    StructureScore { edges: correlation(a_edges, b_edges), phase: correlation(a_phase, b_phase) }
}

/// `sum a b / sqrt(sum a^2 sum b^2)`, at least 0, and 0 where it is undefined.
fn correlation(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>) -> f64 {
    let [aa, bb, ab] = a
        .zip(b)
        .map(|(a, b)| [f64::from(a), f64::from(b)])
        .fold([0.0; 3], |[aa, bb, ab], [a, b]| [aa + a * a, bb + b * b, ab + a * b]);
    if aa > 0.0 && bb > 0.0 { (ab / (aa * bb).sqrt()).clamp(0.0, 1.0) } else { 0.0 }
}

fn compare_common(a: &Plane, b: &Plane) -> Option<StructureScore> {
    let [height, width] = [a.height().min(b.height()), a.width().min(b.width())];
    let part = |plane: &Plane| Plane::from_fn(height, width, |y, x| plane.get(y, x));
    score(&part(a), &part(b))
}

/// The two sides of an image cut across its longer side, of the same size: the middle line of an odd side is left out.
fn halves(plane: &Plane) -> [Plane; 2] {
    let [height, width] = [plane.height(), plane.width()];
    let [half_height, half_width] = if height > width { [height / 2, width] } else { [height, width / 2] };
    let half = |top, left| Plane::from_fn(half_height, half_width, |y, x| plane.get(top + y, left + x));
    [half(0, 0), half(height - half_height, width - half_width)]
}

fn summarise(scores: &[Option<StructureScore>]) -> Option<Reference> {
    let of =
        |figure: fn(&StructureScore) -> f64| Summary::of(&scores.iter().flatten().map(figure).collect::<Vec<f64>>());
    Some(Reference { edges: of(|s| s.edges)?, phase: of(|s| s.phase)?, combined: of(StructureScore::combined)? })
}

fn assert_same_size(a: &Plane, b: &Plane) {
    let [a, b] = [a, b].map(|plane| [plane.height(), plane.width()]);
    assert_eq!(a, b, "a source and its translation (height, width) must have the same size");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::draw_pair;
    use crate::random::Stream;

    fn pair(seed: u64) -> [Plane; 2] {
        let (dark, bright) = draw_pair(110, 120, &Stream::new(seed));
        [dark.image, bright.image]
    }

    fn changed(plane: &Plane, change: impl Fn(f32) -> f32) -> Plane {
        Plane::new(plane.height(), plane.width(), plane.pixels().iter().map(|value| change(*value)).collect())
    }

    /// The 100 columns from `left` on.
    fn columns(plane: &Plane, left: usize) -> Plane {
        Plane::from_fn(110, 100, |y, x| plane.get(y, left + x))
    }

    /// The mean of each pixel and those up to `reach` away in a row and a column.
    fn blurred(plane: &Plane, reach: usize) -> Plane {
        let [height, width] = [plane.height(), plane.width()];
        Plane::from_fn(height, width, |y, x| {
            let rows = y.saturating_sub(reach)..(y + reach + 1).min(height);
            let columns = x.saturating_sub(reach)..(x + reach + 1).min(width);
            let count = (rows.len() * columns.len()) as f32;
            rows.flat_map(|y| columns.clone().map(move |x| plane.get(y, x))).sum::<f32>() / count
        })
    }

    fn combined(a: &Plane, b: &Plane) -> f64 {
        score(a, b).unwrap().combined()
    }

    #[test]
    fn an_image_agrees_with_itself_and_its_negative_and_nearly_with_its_gamma() {
        let [dark, bright] = pair(1);
        let same = score(&dark, &dark).unwrap();
        assert!(same.edges > 1.0 - 1e-9 && same.phase > 1.0 - 1e-9, "{same:?}");
        assert!(combined(&dark, &changed(&dark, |value| 0.9 - 0.5 * value)) > 0.9999);
        assert!(combined(&dark, &changed(&dark, |value| 1.0 - value.sqrt())) > 0.9);
        assert_eq!(score(&dark, &bright), score(&bright, &dark));
    }

    #[test]
    fn the_same_nerve_in_another_look_is_far_above_another_nerve() {
        for seed in 0..2 {
            let ([dark, bright], [_, other]) = (pair(seed), pair(seed + 100));
            let [same, unrelated] = [&bright, &other].map(|translation| score(&dark, translation).unwrap());
            assert!(same.edges > 0.85 && same.phase > 0.6, "{same:?}");
            assert!(unrelated.edges < 0.2 && unrelated.phase < 0.1, "{unrelated:?}");
        }
    }

    #[test]
    fn blur_and_noise_cost_little_and_shifts_the_more_the_further() {
        let [dark, bright] = pair(2);
        let noise = Stream::new(7);
        let noisy = Plane::from_fn(110, 120, |y, x| bright.get(y, x) + 0.2 * noise.normal_at(y, x));
        assert!(combined(&dark, &noisy) > 0.6, "{}", combined(&dark, &noisy));
        assert!(combined(&dark, &blurred(&bright, 1)) > 0.6);
        let shifted = [0, 1, 3, 10].map(|by| combined(&columns(&dark, 0), &columns(&bright, by)));
        assert!(shifted.windows(2).all(|two| two[1] < two[0] - 0.02), "{shifted:?}");
        assert!(shifted[2] < shifted[0] - 0.15 && shifted[3] < 0.1, "{shifted:?}");
    }

    #[test]
    fn a_blank_translation_lost_everything_and_two_blanks_have_nothing_to_lose() {
        let [dark, _] = pair(3);
        let blank = changed(&dark, |_| 0.5);
        assert_eq!(score(&dark, &blank), Some(StructureScore { edges: 0.0, phase: 0.0 }));
        assert_eq!(score(&blank, &blank), None);
        assert_eq!(reference(&[&blank], &[&blank]), None);
        assert_eq!(reference(&[], &[]), None);
    }

    #[test]
    fn the_reference_is_near_zero_for_many_images_and_for_one() {
        let pairs: Vec<[Plane; 2]> = (0..3).map(|seed| pair(10 + seed)).collect();
        let [dark, bright] = [0, 1].map(|look| pairs.iter().map(|pair| &pair[look]).collect::<Vec<_>>());
        let many = reference(&dark, &bright).unwrap();
        assert_eq!(many.combined.n, 6);
        let one = reference(&dark[..1], &bright[..1]).unwrap();
        assert_eq!(one.combined.n, 2);
        assert!(many.edges.mean < 0.1 && many.phase.mean < 0.1 && one.combined.mean < 0.1, "{many:?} {one:?}");
        // Images of different sizes are compared where they overlap.
        let small = columns(bright[1], 0);
        assert!(reference(&dark[..2], &[bright[0], &small]).is_some());
    }

    #[test]
    fn disagreement_is_where_an_edge_was_lost_or_invented() {
        let square =
            |left: usize| move |y: usize, x: usize| ((20..40).contains(&y) && (left..left + 20).contains(&x)) as u8;
        let both = Plane::from_fn(60, 100, |y, x| f32::from(square(10)(y, x) + square(60)(y, x)));
        let one = Plane::from_fn(60, 100, |y, x| 1.0 - f32::from(square(10)(y, x)));
        for map in [disagreement_map(&both, &one), disagreement_map(&one, &both)] {
            assert!(map.get(30, 60) > 0.5 && map.get(20, 70) > 0.5, "{} {}", map.get(30, 60), map.get(20, 70));
            assert!(map.get(30, 10) < 0.1 && map.get(5, 5) < 0.1 && map.get(30, 70) < 0.1);
        }
        let small = Plane::from_fn(60, 100, |y, x| f32::from(y == 30 && x == 50));
        let lone = disagreement_map(&small, &changed(&small, |_| 0.0));
        assert!(lone.get(30, 50) > 0.5 && lone.get(30, 70) == 0.0, "{}", lone.get(30, 50));
        assert!(disagreement_map(&both, &both).pixels().iter().all(|value| *value == 0.0));
    }
}
