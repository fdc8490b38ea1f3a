//! Which parts of a translation kept the structures of their source.

use super::features::Features;
use super::{StructureScore, assert_same_size, score_at};
use crate::imaging::{Plane, Window, is_blank};
use std::ops::Range;

/// Share of an image's mean squared edge length below which a part has hardly a structure, and its score would be that
/// of noise. On phantoms, noise on empty ground has 0.01, parts full of fibres have 2.
const LEAST_EDGES: f64 = 0.1;

/// The score of a part of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalScore {
    /// Where the part is.
    pub window: Window,
    /// How far its structures were kept; None where the source has nothing to lose.
    pub score: Option<StructureScore>,
}

/// The structure score of each part of a translation, from the features of the whole images. What was invented in a part
/// where the source is blank or nearly so has no score: see [`disagreement_map`](super::disagreement_map).
///
/// The parts cover the image row by row, without gaps or overlaps. Each axis is cut into parts that are equal to a pixel
/// and as near to `side` pixels as can be.
///
/// # Panics
/// When the planes differ in size or `side` is 0.
pub fn local_scores(source: &Plane, translation: &Plane, side: usize) -> Vec<LocalScore> {
    assert_same_size(source, translation);
    let features = [source, translation].map(Features::of);
    let reliefs = features.each_ref().map(Features::relief);
    let least = LEAST_EDGES * mean_edges(&features[0], 0..source.pixels().len());
    let of_window = |window: Window| {
        let pixels = indices(&window, source.width());
        let has_structure = !is_blank(&cut(source, &window)) && mean_edges(&features[0], pixels.clone()) > least;
        let score = || score_at(pixels, features.each_ref(), reliefs.each_ref().map(Vec::as_slice));
        LocalScore { score: has_structure.then(score), window }
    };
    windows([source.height(), source.width()], side).into_iter().map(of_window).collect()
}

fn windows([height, width]: [usize; 2], side: usize) -> Vec<Window> {
    let columns = parts(width, side);
    let row =
        |rows: Range<usize>| columns.iter().map(move |columns| Window { rows: rows.clone(), columns: columns.clone() });
    parts(height, side).into_iter().flat_map(row).collect()
}

/// The equal parts of a line.
fn parts(length: usize, side: usize) -> Vec<Range<usize>> {
    let few = (length / side).max(1);
    let [longer, shorter] = [few, few + 1].map(|count| length as f64 / count as f64);
    let count = if longer - side as f64 > side as f64 - shorter { few + 1 } else { few };
    (0..count).map(|part| part * length / count..(part + 1) * length / count).collect()
}

/// The pixels of a window, as indices into an image of this width.
fn indices(window: &Window, width: usize) -> impl Iterator<Item = usize> + Clone {
    let columns = window.columns.clone();
    window.rows.clone().flat_map(move |y| columns.clone().map(move |x| y * width + x))
}

fn cut(plane: &Plane, window: &Window) -> Plane {
    Plane::from_fn(window.height(), window.width(), |y, x| plane.get(window.rows.start + y, window.columns.start + x))
}

fn mean_edges(features: &Features, pixels: impl Iterator<Item = usize> + Clone) -> f64 {
    let square = |pixel: usize| features.edges[pixel].iter().map(|part| f64::from(part * part)).sum::<f64>();
    pixels.clone().map(square).sum::<f64>() / pixels.count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::draw_pair;
    use crate::random::Stream;
    use crate::structure::score;

    fn pair(seed: u64) -> [Plane; 2] {
        let (dark, bright) = draw_pair(96, 130, &Stream::new(seed));
        [dark.image, bright.image]
    }

    /// The plane with other values from column 65 on.
    fn with_right_half(plane: &Plane, value: impl Fn(usize, usize) -> f32) -> Plane {
        Plane::from_fn(96, 130, |y, x| if x < 65 { plane.get(y, x) } else { value(y, x) })
    }

    /// The combined scores of the four parts, `[[left, right]; 2]`.
    fn quarters(source: &Plane, translation: &Plane) -> [[Option<f64>; 2]; 2] {
        let scores: Vec<Option<f64>> =
            local_scores(source, translation, 60).iter().map(|part| Some(part.score?.combined())).collect();
        assert_eq!(scores.len(), 4);
        [[scores[0], scores[1]], [scores[2], scores[3]]]
    }

    #[test]
    fn an_axis_is_cut_into_equal_parts_as_near_to_the_side_as_can_be() {
        assert_eq!(parts(7, 3), [0..3, 3..7]);
        assert_eq!(parts(96, 64), [0..48, 48..96], "48 is nearer to 64 than 96 is");
        assert_eq!([parts(10, 64).len(), parts(64, 64).len(), parts(1, 1).len()], [1; 3]);
    }

    #[test]
    fn each_pixel_is_in_one_part() {
        let noise = Stream::new(1);
        let plane = Plane::from_fn(23, 50, |y, x| noise.normal_at(y, x));
        let mut seen = vec![0; 23 * 50];
        for part in local_scores(&plane, &plane, 8) {
            indices(&part.window, 50).for_each(|pixel| seen[pixel] += 1);
        }
        assert!(seen.iter().all(|count| *count == 1));
    }

    #[test]
    fn one_part_has_the_score_of_the_image() {
        let [dark, bright] = pair(1);
        let parts = local_scores(&dark, &bright, 1000);
        assert_eq!(
            parts,
            [LocalScore { window: Window { rows: 0..96, columns: 0..130 }, score: score(&dark, &bright) }]
        );
    }

    #[test]
    fn the_parts_that_lost_their_structures_are_found() {
        let ([dark, bright], [_, other]) = (pair(2), pair(3));
        for wrong in [with_right_half(&bright, |y, x| other.get(y, x)), with_right_half(&bright, |_, _| 0.5)] {
            for [kept, lost] in quarters(&dark, &wrong) {
                assert!(kept.unwrap() > 0.5 && lost.unwrap() < 0.2, "{kept:?} {lost:?}");
            }
        }
    }

    #[test]
    fn a_part_of_the_source_that_is_blank_or_only_noise_has_nothing_to_lose() {
        let [dark, bright] = pair(4);
        let noise = Stream::new(5);
        for deviation in [0.0, 0.05] {
            let source = with_right_half(&dark, |y, x| 0.7 + deviation * noise.normal_at(y, x));
            for [kept, empty] in quarters(&source, &bright) {
                assert!(kept.unwrap() > 0.5 && empty.is_none(), "{kept:?} {empty:?}");
            }
        }
        let blank = with_right_half(&Plane::new(96, 130, vec![0.7; 96 * 130]), |_, _| 0.7);
        assert_eq!(quarters(&blank, &bright), [[None; 2]; 2]);
        let small_parts = local_scores(&with_right_half(&dark, |_, _| 0.7), &bright, 8);
        assert!(small_parts.iter().all(|part| part.window.columns.start < 65 || part.score.is_none()));
    }
}
