//! What a model says of an image when it is asked several times, about several draws of its translation.

use crate::error::Result;
use crate::imaging::{BitDepth, Container, IntensityMap, LabelMap, Plane, Raster, RasterPicture, resize};
use crate::segmentation::predict::{Segmenter, largest_class};
use crate::segmentation_quality::{confidence, expected_dice};

/// The answers of a model about one image, added up over draws.
///
/// Each draw is answered as `segment predict` answers an image. Beside that answer stand the votes: the mean over
/// networks and mirrorings of each one's class probabilities. A single softmax is nearly always sure of itself; a
/// vote is only as sure as networks, mirrored looks and draws agree.
#[derive(Debug, Clone)]
pub struct Opinion {
    /// For each class, the sum over the draws.
    probabilities: Vec<Plane>,
    votes: Vec<Plane>,
    draws: usize,
}

/// The label and the confidence of each pixel of an image.
#[derive(Debug, Clone)]
pub struct Labelling {
    /// The most probable class.
    pub labels: LabelMap,
    /// The share of the votes for it, in [0, 1].
    pub confidence: Plane,
    /// For each class but the background, the Dice to be expected if the votes are right; none where it is absent.
    pub expected_dice: Vec<Option<f64>>,
}

impl Opinion {
    /// Asks a model about the draws of an image. All draws have the same size; `on_window` is called after each window.
    pub fn of(
        segmenter: &Segmenter,
        draws: &[RasterPicture],
        pixel_size_um: Option<f64>,
        on_window: &mut dyn FnMut(),
    ) -> Result<Self> {
        let classes = segmenter.ensemble.classes;
        let [height, width] = [draws[0].raster.height(), draws[0].raster.width()];
        let mut sums = [0, 1].map(|_| vec![Vec::with_capacity(height * width); classes]);
        for (draw, picture) in draws.iter().enumerate() {
            let mut y = 0;
            let mut sink = |probabilities: &[f32], votes: &[f32]| {
                for (sums, row) in sums.iter_mut().zip([probabilities, votes]) {
                    for (sum, row) in sums.iter_mut().zip(row.chunks_exact(width)) {
                        if draw == 0 {
                            sum.extend_from_slice(row);
                        } else {
                            sum[y * width..][..width].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                        }
                    }
                }
                y += 1;
                Ok(())
            };
            segmenter.predict_with_votes(picture, pixel_size_um, &mut sink, on_window)?;
        }
        let [probabilities, votes] =
            sums.map(|sums| sums.into_iter().map(|values| Plane::new(height, width, values)).collect());
        Ok(Self { probabilities, votes, draws: draws.len() })
    }

    /// What it comes to on a grid of `size` (rows, columns).
    pub fn conclude(&self, size: [usize; 2]) -> Labelling {
        let scaled = |planes: &[Plane]| -> Vec<Plane> {
            let is_there = [planes[0].height(), planes[0].width()] == size;
            planes.iter().map(|plane| if is_there { plane.clone() } else { resize(plane, size[0], size[1]) }).collect()
        };
        let row = |planes: &[Plane], y: usize| -> Vec<f32> {
            planes.iter().flat_map(|plane| &plane.pixels()[y * size[1]..][..size[1]]).copied().collect()
        };
        let classes = self.probabilities.len();
        let (probabilities, mut votes) = (scaled(&self.probabilities), scaled(&self.votes));
        let labels: Vec<u8> = (0..size[0]).flat_map(|y| largest_class(&row(&probabilities, y), classes)).collect();
        let draws = self.draws as f32;
        for plane in &mut votes {
            *plane =
                Plane::new(size[0], size[1], plane.pixels().iter().map(|sum| (sum / draws).clamp(0.0, 1.0)).collect());
        }
        let labels = LabelMap::new(size[0], size[1], labels);
        let confidence = confidence(&labels, &votes);
        let expected_dice = (1..classes).map(|class| expected_dice(&labels, &votes[class], class as u8)).collect();
        Labelling { labels, confidence, expected_dice }
    }
}

/// A plane as a file of this depth would hold it.
pub fn to_picture(plane: &Plane, depth: BitDepth, pixel_size_um: Option<f64>) -> RasterPicture {
    let (height, width) = (plane.height(), plane.width());
    let stored = |white: f32| plane.pixels().iter().map(move |value| (value * white).round());
    let raster = match depth {
        BitDepth::Eight => Raster::new::<u8>(height, width, stored(255.0).map(|value| value as u8).collect()),
        _ => Raster::new::<u16>(height, width, stored(65535.0).map(|value| value as u16).collect()),
    };
    let intensity = IntensityMap::full(depth);
    RasterPicture { raster, depth, intensity, container: Container::Png, pixel_size_um, note: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(values: [f32; 4]) -> Plane {
        Plane::new(2, 2, values.to_vec())
    }

    /// Two draws of two classes: probabilities of the foreground 1, 0.8, 0.5 + 0.4, 0; votes that are less sure.
    fn opinion() -> Opinion {
        Opinion {
            probabilities: vec![plane([0.0, 0.4, 1.1, 2.0]), plane([2.0, 1.6, 0.9, 0.0])],
            votes: vec![plane([0.2, 0.6, 1.0, 2.0]), plane([1.8, 1.4, 1.0, 0.0])],
            draws: 2,
        }
    }

    #[test]
    fn the_label_is_the_most_probable_class_and_the_confidence_its_share_of_the_votes() {
        let Labelling { labels, confidence, expected_dice } = opinion().conclude([2, 2]);
        assert_eq!(labels.classes(), [1, 1, 0, 0]);
        assert_eq!(confidence, plane([0.9, 0.7, 0.5, 1.0]));
        // 2 (0.9 + 0.7) / (0.9 + 0.7 + 0.5 + 2).
        assert!((expected_dice[0].unwrap() - 3.2 / 4.1).abs() < 1e-6);
    }

    #[test]
    fn conclusions_fit_the_grid_that_is_asked_for() {
        let Labelling { labels, confidence, .. } = opinion().conclude([5, 4]);
        assert_eq!([labels.height(), labels.width(), confidence.height(), confidence.width()], [5, 4, 5, 4]);
        assert!(confidence.pixels().iter().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!((labels.classes()[0], labels.classes()[19]), (1, 0));
    }

    #[test]
    fn pictures_hold_what_a_file_of_their_depth_would() {
        let plane = plane([0.0, 0.5, 1.0, 1.0 / 3.0]);
        let eight = to_picture(&plane, BitDepth::Eight, Some(0.1));
        assert_eq!(eight.raster, Raster::new::<u8>(2, 2, vec![0, 128, 255, 85]));
        assert_eq!(
            to_picture(&plane, BitDepth::Sixteen, None).raster,
            Raster::new::<u16>(2, 2, vec![0, 32768, 65535, 21845])
        );
    }
}
