//! The black surroundings of an image, which nnU-Net cuts off and, for images that are mostly black, leaves out of the
//! statistics.

use crate::error::Result;
use crate::imaging::{StoredImage, Window};
use crate::objects::{Contact, ObjectFinder, Objects};

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

/// The pixels of a window that are 0 and connected to its border by zeros, sides touching. They are kept as runs along
/// rows.
#[derive(Debug)]
pub struct Surroundings {
    zeros: Objects,
    is_outside: Vec<bool>,
}

impl Surroundings {
    /// Looks for those of a window of an image.
    pub fn of(image: &impl StoredImage, window: &Window) -> Result<Self> {
        let mut finder = ObjectFinder::new(window.width(), Contact::Side);
        image.each_band(window, &mut |band| {
            band.zeros().chunks_exact(window.width()).for_each(|row| finder.push_row(row, |is_zero| *is_zero));
        })?;
        let zeros = finder.finish();
        let is_outside = zeros.on_border();
        Ok(Self { zeros, is_outside })
    }

    /// Height and width of the window.
    pub fn size(&self) -> [usize; 2] {
        self.zeros.size()
    }

    /// How many pixels they are.
    pub fn pixels(&self) -> u64 {
        self.zeros.areas().iter().zip(&self.is_outside).filter(|(_, outside)| **outside).map(|(area, _)| area).sum()
    }

    /// Whether the pixel of the window at row `y`, column `x` is one of them.
    pub fn hold(&self, y: usize, x: usize) -> bool {
        self.zeros.at(y, x).is_some_and(|object| self.is_outside[object])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::Raster;

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
        let found = Surroundings::of(&raster, &Window { rows: 0..4, columns: 1..5 }).unwrap();
        let expected = [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]];
        for (y, row) in expected.iter().enumerate() {
            (0..4).for_each(|x| assert_eq!(found.hold(y, x), row[x] == 1, "{y}, {x}"));
        }
        assert_eq!((found.pixels(), found.size()), (6, [4, 4]));
    }
}
