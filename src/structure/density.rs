//! How much structure each place of an image shows, without masks: the share of its pixels that lie on edges.
//!
//! The measure is blind to the sign of contrast and, since the threshold is that of a whole set, to its strength. An image
//! of bare resin among images of tissue has hardly an edge. A set that holds nothing but noise looks dense.

use super::filters::Field;
use crate::imaging::Plane;

/// Standard deviation, in pixels, of the Gaussian of the gradient.
const SCALE: f64 = 1.0;
/// Share of the pixels of a set whose gradients are weaker than its strongest edges. One in a hundred lets edges decide
/// also where objects are rare.
const STRONG: f64 = 0.99;
/// What an edge must have of the gradient of the strongest edges.
const SHARE: f32 = 1.0 / 3.0;
/// Gradients of a set that are looked at, evenly spread.
const SAMPLED: usize = 1 << 20;

/// The gradient from which on a pixel of a set lies on an edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeThreshold(f32);

impl EdgeThreshold {
    /// The threshold of a set of images.
    pub fn of(planes: &[&Plane]) -> Self {
        let pixels: usize = planes.iter().map(|plane| plane.pixels().len()).sum();
        let stride = pixels.div_ceil(SAMPLED).max(1);
        let mut sampled = Vec::with_capacity(pixels / stride + planes.len());
        for plane in planes {
            sampled.extend(gradients(plane).into_iter().step_by(stride));
        }
        if sampled.is_empty() {
            return Self(f32::INFINITY);
        }
        let rank = (STRONG * (sampled.len() - 1) as f64) as usize;
        let strong = *sampled.select_nth_unstable_by(rank, f32::total_cmp).1;
        // In a set without any gradient nothing is an edge.
        Self(if strong > 0.0 { SHARE * strong } else { f32::INFINITY })
    }
}

/// The edges of an image, counted so that the share in any rectangle is known at once.
#[derive(Debug, Clone)]
pub struct EdgeMap {
    width: usize,
    /// One row and one column more than pixels: how many edges lie above and to the left.
    sums: Vec<u32>,
}

impl EdgeMap {
    /// The edges of an image of a set.
    pub fn of(plane: &Plane, threshold: EdgeThreshold) -> Self {
        let width = plane.width();
        let mut sums = vec![0; (plane.height() + 1) * (width + 1)];
        for (y, row) in gradients(plane).chunks(width.max(1)).enumerate() {
            let mut so_far = 0;
            for (x, gradient) in row.iter().enumerate() {
                so_far += u32::from(*gradient >= threshold.0);
                sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + so_far;
            }
        }
        Self { width, sums }
    }

    /// The share of pixels on edges in a rectangle of `[height, width]` pixels.
    ///
    /// # Panics
    /// When the rectangle reaches beyond the image.
    pub fn share(&self, top: usize, left: usize, [height, width]: [usize; 2]) -> f64 {
        let at = |y: usize, x: usize| f64::from(self.sums[y * (self.width + 1) + x]);
        let (bottom, right) = (top + height, left + width);
        let edges = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left);
        edges / ((height * width) as f64).max(1.0)
    }
}

fn gradients(plane: &Plane) -> Vec<f32> {
    let image = Field { size: [plane.height(), plane.width()], values: plane.pixels().to_vec() };
    image.smoothed(SCALE).derivatives().map(|[y, x, _]| y.hypot(x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stripes on the left half, nothing on the right.
    fn half_striped() -> Plane {
        Plane::from_fn(40, 80, |_, x| if x < 40 { ((x / 4) % 2) as f32 } else { 0.5 })
    }

    #[test]
    fn structure_is_where_the_edges_are() {
        let plane = half_striped();
        let edges = EdgeMap::of(&plane, EdgeThreshold::of(&[&plane]));
        let [left, right] = [edges.share(0, 0, [40, 36]), edges.share(0, 44, [40, 36])];
        assert!(left > 0.8 && right == 0.0, "{left} {right}");
        assert_eq!(edges.share(5, 44, [0, 0]), 0.0);
    }

    #[test]
    fn inverted_and_weaker_contrast_have_the_same_edges() {
        let plane = half_striped();
        let share = |plane: &Plane| EdgeMap::of(plane, EdgeThreshold::of(&[plane])).share(3, 7, [20, 50]);
        let changed = |change: fn(f32) -> f32| Plane::from_fn(40, 80, |y, x| change(plane.get(y, x)));
        assert_eq!(share(&plane), share(&changed(|value| 1.0 - value)));
        assert_eq!(share(&plane), share(&changed(|value| 0.25 * value + 0.5)));
    }

    #[test]
    fn blank_images_have_no_edges() {
        let blank = Plane::from_fn(8, 8, |_, _| 0.5);
        assert_eq!(EdgeMap::of(&blank, EdgeThreshold::of(&[&blank])).share(0, 0, [8, 8]), 0.0);
        assert_eq!(EdgeMap::of(&blank, EdgeThreshold::of(&[])).share(0, 0, [8, 8]), 0.0);
    }
}
