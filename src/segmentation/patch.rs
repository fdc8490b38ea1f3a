//! A normalised image with its labels: a whole case, or the part of it that a network sees.

use std::ops::Range;

/// An image and the class of each of its pixels, both row by row.
///
/// Unlike a [`Plane`](crate::imaging::Plane) it holds intensities of any range: z-scores as a rule, whose mean is 0, so
/// that 0 is also what lies outside of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
    /// Normalised intensities, `height * width` of them.
    pub intensities: Vec<f32>,
    /// Class numbers, or [`IGNORE`](crate::imaging::IGNORE), `height * width` of them; 0 is background.
    pub labels: Vec<u8>,
}

impl Patch {
    /// A patch from its intensities and classes, row by row.
    ///
    /// # Panics
    /// When the number of intensities or of classes is not `height * width`.
    pub fn new(height: usize, width: usize, intensities: Vec<f32>, labels: Vec<u8>) -> Self {
        assert_eq!(intensities.len(), height * width, "a {height} x {width} patch needs height * width intensities");
        assert_eq!(labels.len(), height * width, "a {height} x {width} patch needs height * width labels");
        Self { height, width, intensities, labels }
    }

    /// A patch of zeros, all background.
    pub fn background(height: usize, width: usize) -> Self {
        Self { height, width, intensities: vec![0.0; height * width], labels: vec![0; height * width] }
    }

    /// The part of `size` (rows, columns) whose upper left pixel is at `origin` (row, column) of this patch. What lies
    /// outside of this patch is 0 and background.
    pub fn crop(&self, origin: [isize; 2], size: [usize; 2]) -> Self {
        let [height, width] = size;
        let mut part = Self::background(height, width);
        let columns = inside(origin[1], width, self.width);
        if columns.is_empty() {
            return part;
        }
        let left = columns.start.strict_add_signed(origin[1]);
        for y in inside(origin[0], height, self.height) {
            let from = y.strict_add_signed(origin[0]) * self.width + left;
            let to = y * width + columns.start;
            part.intensities[to..][..columns.len()].copy_from_slice(&self.intensities[from..][..columns.len()]);
            part.labels[to..][..columns.len()].copy_from_slice(&self.labels[from..][..columns.len()]);
        }
        part
    }

    /// Turns the patch upside down.
    pub fn mirror_rows(&mut self) {
        for y in 0..self.height / 2 {
            let opposite = self.height - 1 - y;
            for x in 0..self.width {
                self.intensities.swap(y * self.width + x, opposite * self.width + x);
                self.labels.swap(y * self.width + x, opposite * self.width + x);
            }
        }
    }

    /// Swaps left and right.
    pub fn mirror_columns(&mut self) {
        // A patch without columns has no rows to turn.
        let width = self.width.max(1);
        self.intensities.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        self.labels.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
}

/// Those of the places `0..length` that lie in `0..available` once `origin` is added.
fn inside(origin: isize, length: usize, available: usize) -> Range<usize> {
    let first = origin.min(0).unsigned_abs().min(length);
    let end = available.saturating_add_signed(origin.saturating_neg()).min(length);
    first..end.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Intensity and label of a pixel are both its number.
    fn numbered(height: usize, width: usize) -> Patch {
        let labels: Vec<u8> = (0..(height * width) as u8).collect();
        Patch::new(height, width, labels.iter().map(|label| f32::from(*label)).collect(), labels)
    }

    #[test]
    fn a_crop_over_the_border_is_filled_with_background() {
        let cases = [
            ([0, 1], [2, 2], vec![1, 2, 4, 5]),
            ([-1, -1], [3, 3], vec![0, 0, 0, 0, 0, 1, 0, 3, 4]),
            ([1, 1], [2, 3], vec![4, 5, 0, 0, 0, 0]),
            ([-1, -1], [4, 5], vec![0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 5, 0, 0, 0, 0, 0, 0]),
            ([5, 0], [1, 2], vec![0, 0]),
            ([0, -7], [1, 2], vec![0, 0]),
            ([0, 7], [2, 1], vec![0, 0]),
        ];
        for (origin, size, expected) in cases {
            let crop = numbered(2, 3).crop(origin, size);
            assert_eq!(crop.labels, expected, "{origin:?} {size:?}");
            assert_eq!(crop.intensities, expected.iter().map(|label| f32::from(*label)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn mirroring_swaps_ends() {
        let mut patch = numbered(3, 2);
        patch.mirror_rows();
        assert_eq!(patch.labels, [4, 5, 2, 3, 0, 1]);
        patch.mirror_columns();
        assert_eq!(patch.labels, [5, 4, 3, 2, 1, 0]);
        assert_eq!(patch.intensities, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    }
}
