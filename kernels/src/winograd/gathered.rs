//! Small images as the transform reads them: each number of a tile in a line of its own, where the tiles of several images follow
//! one another without a gap.

use super::forward::{FREQUENCIES, SIDES, STEPS};
use crate::geometry::Geometry;
use crate::window::Bordered;

/// How bands of images are laid out: `[channels, rows and columns of a tile, images, rows and columns of tiles]`.
pub struct Gathered<'a> {
    geometry: &'a Geometry,
    /// Columns of tiles of an image.
    tiles: usize,
    /// Places of a line.
    line: usize,
}

/// Columns of tiles of an image, at most.
pub const MOST_COLUMNS: usize = 3;
/// Places of a row with its border.
const PLACES: usize = STEPS[1] * (MOST_COLUMNS - 1) + SIDES[1];

impl<'a> Gathered<'a> {
    /// For so many columns of tiles, and so many rows of them in all images, with lines of whole vectors.
    pub fn new(geometry: &'a Geometry, tiles: usize, rows: usize, lanes: usize) -> Self {
        Self { geometry, tiles, line: (rows * tiles).next_multiple_of(lanes) }
    }

    /// Floats of a channel.
    pub fn plane(&self) -> usize {
        FREQUENCIES * self.line
    }

    /// How far the number of a row and column of a tile is from the first.
    pub fn tap(&self, row: usize, column: usize) -> usize {
        (row * SIDES[1] + column) * self.line
    }

    /// Lays out `[images, channels, height, width]`, so many rows of tiles of each from one on.
    pub fn fill(&self, images: &[f32], rows: [usize; 2], laid_out: &mut [f32]) {
        match self.tiles {
            1 => self.fill_columns::<1>(images, rows, laid_out),
            2 => self.fill_columns::<2>(images, rows, laid_out),
            MOST_COLUMNS => self.fill_columns::<MOST_COLUMNS>(images, rows, laid_out),
            _ => unreachable!("no image has more columns of tiles"),
        }
    }

    fn fill_columns<const TILES: usize>(&self, images: &[f32], [first, rows]: [usize; 2], laid_out: &mut [f32]) {
        let Geometry { inputs, size: [height, width], padding, border, .. } = *self.geometry;
        let bordered = Bordered::new(width, padding[1], 0..PLACES, border);
        let mut values = [0.0; PLACES];
        for (place, image) in images.chunks_exact(height * width).enumerate() {
            let (i, channel) = (place / inputs, place % inputs);
            let plane = &mut laid_out[channel * self.plane()..][..self.plane()];
            for place in 0..STEPS[0] * (rows - 1) + SIDES[0] {
                match border.place(STEPS[0] * first + place, padding[0], height) {
                    Some(y) => bordered.put(&image[y * width..][..width], &mut values),
                    None => values.fill(0.0),
                }
                // The rows of tiles that see it.
                for row in (place + 1).saturating_sub(SIDES[0]).div_ceil(STEPS[0])..(place / STEPS[0] + 1).min(rows) {
                    let target = &mut plane[self.tap(place - STEPS[0] * row, 0) + (i * rows + row) * self.tiles..];
                    for (x, line) in target.chunks_mut(self.line).take(SIDES[1]).enumerate() {
                        for column in 0..TILES {
                            line[column] = values[STEPS[1] * column + x];
                        }
                    }
                }
            }
        }
    }
}
