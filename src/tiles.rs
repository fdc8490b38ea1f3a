//! Overlapping tiles over a plane of any size, and the way back to one plane.
//!
//! A network sees a tile at a time; where tiles overlap, their results are mixed with raised-cosine weights
//! (a Hann taper, Harris 1978, "On the use of windows for harmonic analysis", Proc. IEEE 66), so that tiles
//! that disagree leave a gentle slope instead of a seam. This module only moves pixels: it knows no network.

use std::ops::Range;

use crate::imaging::{Plane, Window};

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
    /// Rows and columns of every tile.
    tile: [usize; 2],
    /// First rows of the tiles.
    tops: Vec<usize>,
    /// First columns of the tiles.
    lefts: Vec<usize>,
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
        let sides = [height, width].map(|length| tile.min(length.next_multiple_of(multiple)));
        let [tops, lefts] =
            [(height, sides[0]), (width, sides[1])].map(|(length, side)| starts(length, side, tile - overlap));
        Self { height, width, overlap, tile: sides, tops, lefts }
    }

    /// All tiles, row by row.
    pub fn tiles(&self) -> Vec<Tile> {
        self.touching(&Window { rows: 0..self.height, columns: 0..self.width })
    }

    /// The tiles that hold pixels of a window, row by row.
    pub fn touching(&self, window: &Window) -> Vec<Tile> {
        let [height, width] = self.tile;
        let touches =
            |start: &usize, side: usize, range: &Range<usize>| *start < range.end && start + side > range.start;
        let lefts: Vec<usize> =
            self.lefts.iter().copied().filter(|left| touches(left, width, &window.columns)).collect();
        let tops = self.tops.iter().copied().filter(|top| touches(top, height, &window.rows));
        tops.flat_map(|top| lefts.iter().map(move |&left| Tile { top, left, height, width })).collect()
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

/// A plane with `margin` more pixels on each side, mirrored about its first and last rows and columns. It is never held as
/// a whole: parts of it are made from the parts of the plane that they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surrounded {
    /// Rows and columns of the plane.
    pub size: [usize; 2],
    /// Pixels on each side.
    pub margin: usize,
}

impl Surrounded {
    /// Rows and columns with the surroundings.
    pub fn outer_size(&self) -> [usize; 2] {
        self.size.map(|side| side + 2 * self.margin)
    }

    /// Where a window of the plane lies with its surroundings.
    pub fn outer(&self, window: &Window) -> Window {
        let moved = |range: &Range<usize>| range.start + self.margin..range.end + self.margin;
        Window { rows: moved(&window.rows), columns: moved(&window.columns) }
    }

    /// The pixels of a window, counted from the start of the surroundings; beyond their end they are mirrored again.
    /// `source` gives a window of the plane.
    pub fn part<E>(&self, window: &Window, source: impl FnOnce(&Window) -> Result<Plane, E>) -> Result<Plane, E> {
        let places = |range: &Range<usize>, length: usize| -> Vec<usize> {
            let inside = |i: usize| fold(fold(i, length + 2 * self.margin).abs_diff(self.margin), length);
            range.clone().map(inside).collect()
        };
        let (rows, columns) = (places(&window.rows, self.size[0]), places(&window.columns, self.size[1]));
        let needed = Window { rows: bounds(&rows), columns: bounds(&columns) };
        let plane = source(&needed)?;
        let (top, left) = (needed.rows.start, needed.columns.start);
        Ok(Plane::from_fn(rows.len(), columns.len(), |y, x| plane.get(rows[y] - top, columns[x] - left)))
    }
}

/// The smallest range that holds all places.
fn bounds(places: &[usize]) -> Range<usize> {
    let first = places.iter().copied().min().unwrap_or(0);
    first..places.iter().copied().max().map_or(0, |last| last + 1)
}

/// Puts tiles back together: each pixel is the weighted mean of the tiles that hold it.
///
/// The weight of a tile is `w(y) w(x)` with `w(i) = sin^2(pi (i + 1/2) / (2 r))` on the first `r` pixels from an
/// inner edge, `r` = overlap (at most half a tile), and 1 elsewhere. Edges on the image's border do not taper:
/// there is nobody to hand over to, and the weights then add up to at least 1 everywhere, which bounds the slope
/// between disagreeing tiles even where the last one is shifted. Values may have any range; none is clamped.
#[derive(Debug, Clone)]
pub struct Blender {
    /// Rows and columns of the plane that the grid covers.
    size: [usize; 2],
    overlap: usize,
    /// The part of it that is put together.
    window: Window,
    // f64: with a large overlap dozens of tiles add up in a pixel.
    weighted: Vec<f64>,
    weights: Vec<f64>,
}

impl Blender {
    /// An empty canvas for the tiles of `grid`.
    pub fn new(grid: &TileGrid) -> Self {
        Self::of(grid, &Window { rows: 0..grid.height, columns: 0..grid.width })
    }

    /// An empty canvas for a window of the plane: it takes the tiles that touch the window, and their pixels outside of it
    /// are left out. Its pixels are those that the whole plane has there.
    ///
    /// # Panics
    /// When the window reaches beyond the plane.
    pub fn of(grid: &TileGrid, window: &Window) -> Self {
        assert!(window.rows.end <= grid.height && window.columns.end <= grid.width, "{window:?} is not in the plane");
        let pixels = window.height() * window.width();
        Self {
            size: [grid.height, grid.width],
            overlap: grid.overlap,
            window: window.clone(),
            weighted: vec![0.0; pixels],
            weights: vec![0.0; pixels],
        }
    }

    /// Adds the pixels of one tile; the order of tiles matters only to rounding.
    ///
    /// # Panics
    /// When `pixels` has not the size of `tile`, or the tile starts outside the plane.
    pub fn add(&mut self, tile: &Tile, pixels: &Plane) {
        assert_eq!(
            [pixels.height(), pixels.width()],
            [tile.height, tile.width],
            "a plane of another size than its tile"
        );
        assert!(tile.top < self.size[0] && tile.left < self.size[1], "{tile:?} starts outside the plane");
        let row_weights = taper(tile.top, tile.height, self.size[0], self.overlap);
        let column_weights = taper(tile.left, tile.width, self.size[1], self.overlap);
        let rows = common(&(tile.top..tile.top + row_weights.len()), &self.window.rows);
        let columns = common(&(tile.left..tile.left + column_weights.len()), &self.window.columns);
        for y in rows {
            let canvas = (y - self.window.rows.start) * self.window.width();
            for x in columns.clone() {
                let weight = row_weights[y - tile.top] * column_weights[x - tile.left];
                let place = canvas + x - self.window.columns.start;
                self.weighted[place] += weight * f64::from(pixels.get(y - tile.top, x - tile.left));
                self.weights[place] += weight;
            }
        }
    }

    /// The blended plane, or window of it.
    ///
    /// # Panics
    /// When a pixel was in no tile.
    pub fn finish(self) -> Plane {
        let mean = |(value, weight): (&f64, &f64)| {
            assert!(*weight > 0.0, "a tile of the grid was not added");
            (value / weight) as f32
        };
        let pixels = self.weighted.iter().zip(&self.weights).map(mean).collect();
        Plane::new(self.window.height(), self.window.width(), pixels)
    }
}

/// What two ranges share; empty when they do not meet.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
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
    use std::convert::Infallible;

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
                for tile in &grid.tiles() {
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
    fn surroundings_are_mirrored_and_every_window_shows_its_part_of_them() {
        let part = |plane: &Plane, window: &Window, margin| {
            let surrounded = Surrounded { size: [plane.height(), plane.width()], margin };
            let part = surrounded.part::<Infallible>(window, |needed| Ok(plane.part(needed)));
            part.unwrap_or_else(|never| match never {})
        };
        let plane = Plane::new(1, 3, vec![0.1, 0.2, 0.3]);
        let row = part(&plane, &Window { rows: 2..3, columns: 0..9 }, 2);
        assert_eq!(row.pixels(), [0.3, 0.2, 0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3], "the last two lie beyond the end");
        for (height, width) in SIZES {
            let plane = Plane::from_fn(height, width, |y, x| ((5 * y + 3 * x) % 7) as f32);
            let surrounded = Surrounded { size: [height, width], margin: 9 };
            assert_eq!(part(&plane, &surrounded.outer(&plane.window()), 9), plane);
            let [outer_height, outer_width] = surrounded.outer_size();
            let whole = part(&plane, &Window { rows: 0..outer_height, columns: 0..outer_width }, 9);
            let window = Window { rows: 3..outer_height, columns: 5..9 };
            assert_eq!(part(&plane, &window, 9), whole.part(&window));
        }
    }

    #[test]
    fn windows_are_blended_as_the_whole_plane_is() {
        for (height, width) in SIZES {
            let grid = TileGrid::new(height, width, 16, 6, 4);
            let answer = |tile: &Tile| {
                Plane::from_fn(tile.height, tile.width, |y, x| ((tile.top * 31 + tile.left * 17 + y * x) % 13) as f32)
            };
            let blend = |window: &Window| {
                let mut blender = Blender::of(&grid, window);
                grid.touching(window).iter().for_each(|tile| blender.add(tile, &answer(tile)));
                blender.finish()
            };
            let whole = blend(&Window { rows: 0..height, columns: 0..width });
            for window in [
                Window { rows: 0..1, columns: 0..width },
                Window { rows: height / 2..height, columns: width / 3..width },
                Window { rows: height / 3..height / 3 + 1, columns: 0..width.min(20) },
            ] {
                assert_eq!(blend(&window), whole.part(&window), "{window:?} of {height} x {width}");
            }
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
