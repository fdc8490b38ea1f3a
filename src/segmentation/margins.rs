//! The black surroundings of an image, which nnU-Net cuts off and, for images that are mostly black, leaves out of the
//! statistics.

use crate::imaging::{Raster, Window};

/// What is done about black pixels around the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Margins {
    /// Nothing.
    Keep,
    /// Rows and columns of zeros on the border are cut off; they become background.
    CutOff,
    /// The same, and z-scores are those of the rest of the image without the zeros that reach its border, which stay 0.
    LeaveOut,
}

/// The pixels of a window that are 0 and connected to its border by zeros, sides touching; row by row.
pub fn surroundings(raster: &Raster, window: &Window) -> Vec<bool> {
    let is_zero = |y: usize, x: usize| raster.is_zero(window.rows.start + y, window.columns.start + x);
    let [height, width] = [window.height(), window.width()];
    let mut outside = vec![false; height * width];
    let border = (0..height).flat_map(|y| [(y, 0), (y, width - 1)]);
    let mut open: Vec<(usize, usize)> = border.chain((0..width).flat_map(|x| [(0, x), (height - 1, x)])).collect();
    while let Some((y, x)) = open.pop() {
        if outside[y * width + x] || !is_zero(y, x) {
            continue;
        }
        outside[y * width + x] = true;
        open.extend((y > 0).then(|| (y - 1, x)));
        open.extend((x > 0).then(|| (y, x - 1)));
        open.extend((y + 1 < height).then_some((y + 1, x)));
        open.extend((x + 1 < width).then_some((y, x + 1)));
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_within_the_image_are_not_its_surroundings() {
        #[rustfmt::skip]
        let samples: Vec<u8> = vec![
            9, 0, 0, 0, 0,
            9, 0, 1, 1, 1,
            9, 1, 0, 1, 0,
            9, 1, 1, 1, 1,
        ];
        let raster = Raster::new(4, 5, samples);
        let window = Window { rows: 0..4, columns: 1..5 };
        let expected = [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]].concat();
        let found: Vec<i32> = surroundings(&raster, &window).into_iter().map(i32::from).collect();
        assert_eq!(found, expected);
    }
}
