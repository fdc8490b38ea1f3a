//! Overlapping tiles over a plane of any size, and the way back to one plane.
//!
//! A network sees a tile at a time; where tiles overlap, their results are mixed with raised-cosine weights
//! (a Hann taper, Harris 1978, "On the use of windows for harmonic analysis", Proc. IEEE 66), so that tiles
//! that disagree leave a gentle slope instead of a seam. This module only moves pixels: it knows no network.

use crate::imaging::Plane;

/// Where one tile lies. Below and right of the image's end it holds reflected pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// First row, in image pixels.
    pub top: usize,
    /// First column, in image pixels.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

/// The tiles that cover a plane of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileGrid {
    height: usize,
    width: usize,
    overlap: usize,
    tiles: Vec<Tile>,
}

impl TileGrid {
    /// Covers `height` x `width` pixels with square tiles of side `tile` that share `overlap` pixels.
    ///
    /// On an axis shorter than `tile`, the one tile there has the axis' length rounded up to `multiple` (what the
    /// network's depth divides). On a longer one, tiles start every `tile - overlap` pixels, and the last is shifted
    /// back to end where the image ends.
    ///
    /// # Panics
    /// When the image is empty, when `multiple` does not divide `tile`, or when `overlap` is not below `tile`.
    pub fn new(height: usize, width: usize, tile: usize, overlap: usize, multiple: usize) -> Self {
        assert!(height > 0 && width > 0, "an image of {height} x {width} pixels has no tiles");
        assert!(
            multiple > 0 && tile > 0 && tile.is_multiple_of(multiple),
            "tile side {tile} must be a multiple of {multiple}"
        );
        assert!(overlap < tile, "tiles of side {tile} cannot overlap by {overlap} pixels");
        let tile_height = tile.min(height.next_multiple_of(multiple));
        let tile_width = tile.min(width.next_multiple_of(multiple));
        let lefts = starts(width, tile_width, tile - overlap);
        let tiles = starts(height, tile_height, tile - overlap)
            .into_iter()
            .flat_map(|top| lefts.iter().map(move |&left| Tile { top, left, height: tile_height, width: tile_width }))
            .collect();
        Self { height, width, overlap, tiles }
    }

    /// The tiles, row by row.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Height and width of the image that the grid covers.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }
}

/// The pixels of `plane` under `tile`; beyond the image they are mirrored about its last row and column.
///
/// # Panics
/// When the tile starts outside the plane.
pub fn cut(plane: &Plane, tile: &Tile) -> Plane {
    assert!(tile.top < plane.height() && tile.left < plane.width(), "{tile:?} starts outside the plane");
    let columns: Vec<usize> = (tile.left..tile.left + tile.width).map(|x| fold(x, plane.width())).collect();
    Plane::from_fn(tile.height, tile.width, |y, x| plane.get(fold(tile.top + y, plane.height()), columns[x]))
}

/// The plane with `margin` more pixels on each side, mirrored about its first and last rows and columns.
pub fn surround(plane: &Plane, margin: usize) -> Plane {
    let place = |i: usize, length: usize| fold(i.abs_diff(margin), length);
    let columns: Vec<usize> = (0..plane.width() + 2 * margin).map(|x| place(x, plane.width())).collect();
    Plane::from_fn(plane.height() + 2 * margin, columns.len(), |y, x| plane.get(place(y, plane.height()), columns[x]))
}

/// The plane without the outer `margin` pixels on each side: what [`surround`] added.
///
/// # Panics
/// When nothing would be left.
pub fn inner(plane: &Plane, margin: usize) -> Plane {
    assert!(plane.height().min(plane.width()) > 2 * margin, "a margin of {margin} pixels leaves nothing of the plane");
    let (height, width) = (plane.height() - 2 * margin, plane.width() - 2 * margin);
    Plane::from_fn(height, width, |y, x| plane.get(y + margin, x + margin))
}

/// Puts tiles back together: each pixel is the weighted mean of the tiles that hold it.
///
/// The weight of a tile is `w(y) w(x)` with `w(i) = sin^2(pi (i + 1/2) / (2 r))` on the first `r` pixels from an
/// inner edge, `r` = overlap (at most half a tile), and 1 elsewhere. Edges on the image's border do not taper:
/// there is nobody to hand over to, and the weights then add up to at least 1 everywhere, which bounds the slope
/// between disagreeing tiles even where the last one is shifted. Values may have any range; none is clamped.
#[derive(Debug, Clone)]
pub struct Blender {
    height: usize,
    width: usize,
    overlap: usize,
    // f64: with a large overlap dozens of tiles add up in a pixel.
    weighted: Vec<f64>,
    weights: Vec<f64>,
}

impl Blender {
    /// An empty canvas for the tiles of `grid`.
    pub fn new(grid: &TileGrid) -> Self {
        let pixels = grid.height * grid.width;
        Self {
            height: grid.height,
            width: grid.width,
            overlap: grid.overlap,
            weighted: vec![0.0; pixels],
            weights: vec![0.0; pixels],
        }
    }

    /// Adds the pixels of one tile; the order of tiles matters only to rounding.
    ///
    /// # Panics
    /// When `pixels` has not the size of `tile`, or the tile starts outside the canvas.
    pub fn add(&mut self, tile: &Tile, pixels: &Plane) {
        assert_eq!(
            [pixels.height(), pixels.width()],
            [tile.height, tile.width],
            "a plane of another size than its tile"
        );
        assert!(tile.top < self.height && tile.left < self.width, "{tile:?} starts outside the canvas");
        let rows = taper(tile.top, tile.height, self.height, self.overlap);
        let columns = taper(tile.left, tile.width, self.width, self.overlap);
        for (y, row_weight) in rows.iter().enumerate() {
            let canvas = (tile.top + y) * self.width + tile.left;
            for (x, column_weight) in columns.iter().enumerate() {
                let weight = row_weight * column_weight;
                self.weighted[canvas + x] += weight * pixels.get(y, x) as f64;
                self.weights[canvas + x] += weight;
            }
        }
    }

    /// The blended plane.
    ///
    /// # Panics
    /// When a pixel was in no tile.
    pub fn finish(self) -> Plane {
        let mean = |(value, weight): (&f64, &f64)| {
            assert!(*weight > 0.0, "a tile of the grid was not added");
            (value / weight) as f32
        };
        Plane::new(self.height, self.width, self.weighted.iter().zip(&self.weights).map(mean).collect())
    }
}

/// First pixels of the tiles on one axis.
fn starts(length: usize, tile: usize, step: usize) -> Vec<usize> {
    let last = length.saturating_sub(tile);
    (0..last).step_by(step).chain([last]).collect()
}

/// Mirrors an index about 0 and `length - 1` as often as needed; the edge pixels are not doubled.
fn fold(index: usize, length: usize) -> usize {
    let period = (2 * (length - 1)).max(1);
    let place = index % period;
    place.min(period - place).min(length - 1)
}

/// Weights along one axis of a tile, for those of its pixels that lie in the image.
fn taper(start: usize, tile: usize, length: usize, overlap: usize) -> Vec<f64> {
    let ramp = overlap.min(tile / 2) as f64;
    let rise = |distance: f64| match distance + 0.5 {
        inside if inside < ramp => (std::f64::consts::FRAC_PI_2 * inside / ramp).sin().powi(2),
        _ => 1.0,
    };
    let end = start + tile;
    (start..end.min(length))
        .map(|i| {
            let before = if start == 0 { 1.0 } else { rise((i - start) as f64) };
            let after = if end >= length { 1.0 } else { rise((end - 1 - i) as f64) };
            before * after
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Sizes that are one pixel, thin, prime, exactly a tile, one more than a tile.
    const SIZES: [(usize, usize); 12] = [
        (1, 1),
        (1, 50),
        (2, 3),
        (3, 200),
        (16, 16),
        (17, 16),
        (31, 33),
        (32, 32),
        (33, 33),
        (61, 97),
        (64, 64),
        (127, 5),
    ];

    fn noise(height: usize, width: usize) -> Plane {
        let stream = Stream::new(1);
        Plane::from_fn(height, width, |y, x| stream.normal_at(y, x))
    }

    #[test]
    fn blending_what_was_cut_restores_the_image() {
        for (height, width) in SIZES {
            for (tile, overlap, multiple) in [(32, 0, 1), (32, 8, 16), (32, 16, 32), (32, 27, 8), (8, 7, 4), (1, 0, 1)]
            {
                let image = noise(height, width);
                let grid = TileGrid::new(height, width, tile, overlap, multiple);
                let mut blender = Blender::new(&grid);
                for tile in grid.tiles() {
                    let pixels = cut(&image, tile);
                    assert!(pixels.height().is_multiple_of(multiple) && pixels.width().is_multiple_of(multiple));
                    blender.add(tile, &pixels);
                }
                for (blended, original) in blender.finish().pixels().iter().zip(image.pixels()) {
                    assert!((blended - original).abs() <= 1e-6, "{height} x {width}, {tile}, {overlap}");
                }
            }
        }
    }

    #[test]
    fn the_last_tile_ends_where_the_image_ends() {
        let grid = TileGrid::new(10, 5, 8, 4, 2);
        let tile = |top| Tile { top, left: 0, height: 8, width: 6 };
        assert_eq!(grid.tiles(), [tile(0), tile(2)]);
        assert_eq!(starts(33, 16, 12), [0, 12, 17]);
        assert_eq!(starts(16, 16, 12), [0]);
        assert_eq!(starts(28, 16, 12), [0, 12]);
    }

    #[test]
    fn surroundings_are_mirrored_and_come_off_again() {
        let plane = Plane::new(1, 3, vec![0.1, 0.2, 0.3]);
        assert_eq!(surround(&plane, 2).pixels()[..7], [0.3, 0.2, 0.1, 0.2, 0.3, 0.2, 0.1]);
        for (height, width) in SIZES {
            let plane = Plane::from_fn(height, width, |y, x| ((5 * y + 3 * x) % 7) as f32);
            assert_eq!(inner(&surround(&plane, 9), 9), plane);
        }
    }

    #[test]
    fn padding_mirrors_without_doubling_the_edge_and_folds_again_when_it_is_long() {
        let image = Plane::new(1, 3, vec![1.0, 2.0, 3.0]);
        let padded = cut(&image, &Tile { top: 0, left: 0, height: 2, width: 8 });
        let row = [1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0];
        assert_eq!(padded.pixels(), [row, row].concat());
    }

    #[test]
    fn tiles_that_disagree_leave_no_step_steeper_than_the_window() {
        for (height, width) in [(33, 33), (61, 97), (65, 40), (100, 127)] {
            let overlap = 12;
            let grid = TileGrid::new(height, width, 32, overlap, 1);
            let mut blender = Blender::new(&grid);
            for (number, tile) in grid.tiles().iter().enumerate() {
                let offset = if number % 2 == 0 { 1.0 } else { -1.0 };
                blender.add(tile, &Plane::from_fn(tile.height, tile.width, |_, _| offset));
            }
            let blended = blender.finish();
            // The steepest step of sin^2 over `overlap` pixels; three tiles at most change at a time, each by up to 2 offsets.
            let bound = 3.0 * 2.0 * (std::f32::consts::FRAC_PI_2 / overlap as f32);
            for y in 0..height - 1 {
                for x in 0..width - 1 {
                    assert!((blended.get(y, x) - blended.get(y, x + 1)).abs() < bound);
                    assert!((blended.get(y, x) - blended.get(y + 1, x)).abs() < bound);
                }
            }
        }
    }

    #[test]
    fn two_tiles_hand_over_with_weights_that_add_up_to_one() {
        let down = taper(0, 8, 12, 4);
        let up = taper(4, 8, 12, 4);
        assert_eq!(&down[..4], [1.0; 4]);
        for i in 0..4 {
            assert!((down[4 + i] + up[i] - 1.0).abs() < 1e-6);
            assert!(up[i] > 0.0);
        }
    }

    #[test]
    fn the_order_of_tiles_does_not_matter_and_values_are_not_clamped() {
        let grid = TileGrid::new(40, 50, 16, 6, 4);
        let blend = |order: Vec<usize>| {
            let mut blender = Blender::new(&grid);
            for i in order {
                blender.add(&grid.tiles()[i], &Plane::from_fn(16, 16, |_, _| 100.0 * i as f32 - 300.0));
            }
            blender.finish()
        };
        let forward = blend((0..grid.tiles().len()).collect());
        let shuffled = blend(Stream::new(4).permutation(grid.tiles().len()));
        assert!(forward.pixels().iter().zip(shuffled.pixels()).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_eq!(forward.get(0, 0), -300.0);
    }

    #[test]
    #[should_panic(expected = "was not added")]
    fn a_forgotten_tile_is_noticed() {
        Blender::new(&TileGrid::new(10, 10, 8, 2, 1)).finish();
    }
}
