//! Stored images at another size, made row by row.

use super::{Plane, StoredImage, Window, resize_in_bands};
use crate::error::Result;
use std::ops::Range;

/// A window of a stored image at another size: rows that are asked for are made, and no others touched.
#[derive(Debug, Clone)]
pub struct ScaledRaster<'a, I> {
    image: &'a I,
    window: Window,
    height: usize,
    width: usize,
}

impl<'a, I: StoredImage> ScaledRaster<'a, I> {
    /// The window `window` of `image` as `height` rows and `width` columns.
    ///
    /// # Panics
    /// When the window or the new size has no pixels.
    pub fn new(image: &'a I, window: Window, height: usize, width: usize) -> Self {
        assert!(height > 0 && width > 0, "a raster cannot be resized to {height} x {width}: there must be a pixel");
        assert!(!window.rows.is_empty() && !window.columns.is_empty(), "an empty window cannot be resized");
        Self { image, window, height, width }
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Some rows, those of [`resize`](super::resize()) of the window's plane.
    ///
    /// # Panics
    /// When `rows` is empty or reaches beyond the last row.
    pub fn rows(&self, rows: Range<usize>) -> Result<Plane> {
        let (old, new) = ([self.window.height(), self.window.width()], [self.height, self.width]);
        let (top, left) = (self.window.rows.start, self.window.columns.start);
        let moved = |range: &Range<usize>, by: usize| range.start + by..range.end + by;
        resize_in_bands(old, new, &Window { rows, columns: 0..self.width }, |needed| {
            let part =
                self.image.part(&Window { rows: moved(&needed.rows, top), columns: moved(&needed.columns, left) })?;
            Ok(part.plane(&part.window()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Raster, resize};
    use super::*;

    /// A raster without any regularity that a resampling filter could hide behind.
    fn noise(height: usize, width: usize) -> Raster {
        let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 13) as u16;
        Raster::new(height, width, (0..height * width).map(value).collect())
    }

    #[test]
    fn bands_of_any_height_make_the_resized_plane() {
        let raster = noise(53, 37);
        let window = Window { rows: 5..51, columns: 2..35 };
        let plane = raster.plane(&window);
        let (h, w) = (plane.height(), plane.width());
        let scaled = |size: usize, ratio: f64| (size as f64 * ratio).round() as usize;
        let ratios = [(1.0, 1.0), (0.5, 0.5), (0.7, 0.7), (1.3, 1.3), (2.0, 3.0), (0.7, 1.3), (1.3, 0.7), (1.0, 1.3)];
        let sizes = ratios.map(|(down, across)| (scaled(h, down), scaled(w, across)));
        for (height, width) in sizes.into_iter().chain([(1, 1), (h + 1, w - 1), (h - 1, w + 1), (400, 1)]) {
            let expected = resize(&plane, height, width);
            let small = ScaledRaster::new(&raster, window.clone(), height, width);
            for band in [1, 2, 7, 16, height] {
                for top in (0..height).step_by(band) {
                    let rows = small.rows(top..(top + band).min(height)).unwrap();
                    let expected = &expected.pixels()[top * width..][..rows.pixels().len()];
                    let close = rows.pixels().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
                    assert!(close, "rows {top}.. in bands of {band} of {height} x {width}");
                }
            }
        }
    }

    #[test]
    fn images_of_a_single_row_or_column_can_be_scaled() {
        for (height, width, new_height, new_width) in [(1, 40, 3, 13), (40, 1, 90, 2), (1, 1, 5, 5), (2, 9, 1, 20)] {
            let raster = noise(height, width);
            let expected = resize(&raster.plane(&raster.window()), new_height, new_width);
            let scaled = ScaledRaster::new(&raster, raster.window(), new_height, new_width);
            for y in 0..new_height {
                let row = scaled.rows(y..y + 1).unwrap();
                let expected = &expected.pixels()[y * new_width..][..new_width];
                assert!(row.pixels().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "row {y}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "there is no Window { rows: 3..5, columns: 0..4 } in 4 x 4 pixels")]
    fn rows_beyond_the_last_are_refused() {
        let raster = noise(8, 8);
        ScaledRaster::new(&raster, raster.window(), 4, 4).rows(3..5).unwrap();
    }
}
