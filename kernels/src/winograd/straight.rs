//! Images whose rows are whole vectors, as the transform reads them: from where they lie, so that nothing is laid out.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use pulp::Simd;

use super::forward::{SIDES, STEPS};
use crate::geometry::Geometry;
use crate::sharing::Task;
use crate::simd::{MOST_LANES, alone, every_fourth, load, picked};
use crate::spots::Spots;

/// What stands around an image, with a value before.
static ZEROS: [f32; 3 * MOST_LANES] = [0.0; 3 * MOST_LANES];

/// Stands for a row outside of the image.
const OUTSIDE: usize = usize::MAX;

/// What stands beyond the borders of images.
#[derive(Clone, Copy)]
pub enum Beyond {
    /// Zeros.
    Zeros,
    /// The images, mirrored.
    Mirrored,
    /// Zeros; and the outermost rows of an image are added to those two further in, for the outputs between them only
    /// ([`mirrored`](super::mirrored)).
    Folded,
}

/// Where the tiles of a vector are read.
pub struct Tiles {
    /// For each row of the tiles and each quarter of the lanes, the first of the pixels in the middle of the tiles, a vector of
    /// them; from the start of the channel of the first image.
    rows: [[usize; 4]; SIDES[0]],
    /// How far the pixel before the first one is, where it is not beyond the border, and the one behind the last.
    before: usize,
    behind: usize,
    /// From which lane each tile has the pixel before its middle, and the one behind; and where borders are mirrored, from which
    /// of its own pixels.
    neighbours: [[u32; MOST_LANES]; 2],
    mirrored: [[u32; MOST_LANES]; 2],
    /// As `rows`, what is added to the first and the last row of the tiles.
    folded: [[usize; 4]; 2],
}

/// Whether images of this geometry are read this way by vectors of so many lanes.
pub fn suits(geometry: &Geometry, lanes: usize) -> bool {
    let Geometry { size: [_, width], padding, .. } = *geometry;
    // With fewer lanes, putting tiles together costs more than laying them out.
    lanes == MOST_LANES && padding[1] == 1 && width.is_multiple_of(lanes)
}

impl Tiles {
    /// Of the spots of a task, by vectors of so many lanes.
    pub fn of_task(geometry: &Geometry, task: &Task, spots: &Spots, lanes: usize) -> Vec<Self> {
        let columns = geometry.size[1] / STEPS[1];
        spots.spots.iter().map(|spot| Self::new(geometry, task, columns, spot.source, lanes)).collect()
    }

    /// From this tile of the task on.
    fn new(geometry: &Geometry, task: &Task, columns: usize, first: usize, lanes: usize) -> Self {
        let Geometry { inputs, size: [height, width], padding, border, .. } = *geometry;
        let of_quarter = lanes / 4;
        // The last lanes of the last vector may be none of the task's tiles: any of its pixels will do for them.
        let last = task.images * task.rows * columns - of_quarter;
        let quarters = [0, 1, 2, 3].map(|quarter| (first + quarter * of_quarter).min(last));
        // Of the row of tiles of each quarter, the pixels of the row that `of` chooses.
        let rows = |of: &dyn Fn(usize) -> Option<usize>| {
            quarters.map(|tile| {
                let (line, column) = (tile / columns, tile % columns);
                let start = line / task.rows * inputs * geometry.area() + STEPS[1] * column;
                of(task.first + line % task.rows).map_or(OUTSIDE, |row| start + row * width)
            })
        };
        let column = |lane: usize| (first + lane) % columns;
        let is_last = |lane: usize| column(lane) + 1 == columns;
        // Of the second vector the first lane is the pixel beyond, the second one zero.
        let [beyond, zero] = [0, 1].map(|place| lanes + place);
        let before = |lane| if column(lane) == 0 { zero } else { lane.checked_sub(1).unwrap_or(beyond) };
        let behind = |lane| {
            if is_last(lane) {
                zero
            } else if lane + 1 == lanes {
                beyond
            } else {
                lane + 1
            }
        };
        let mirrored = |is_at_border: bool, lane| if is_at_border { lanes + lane } else { lane };
        let of_lanes = |of: &dyn Fn(usize) -> usize| std::array::from_fn(|lane| of(lane) as u32);
        Self {
            rows: std::array::from_fn(|y| rows(&|row| border.place(STEPS[0] * row + y, padding[0], height))),
            folded: [
                rows(&|row| (STEPS[0] * (row + 1) == height).then(|| height - 1)),
                rows(&|row| (row == 0).then_some(0)),
            ],
            before: usize::from(column(0) > 0),
            behind: if (quarters[3] + of_quarter).is_multiple_of(columns) { 0 } else { lanes },
            neighbours: [of_lanes(&before), of_lanes(&behind)],
            mirrored: [
                of_lanes(&|lane| mirrored(column(lane) == 0, lane)),
                of_lanes(&|lane| mirrored(is_last(lane), lane)),
            ],
        }
    }

    /// The tiles of a channel, which begins here, with what stands [`Beyond`].
    ///
    /// # Safety
    /// The channels of all images of the task must be readable.
    #[inline(always)]
    pub unsafe fn load<S: Simd, const MIRRORED: bool, const FOLDED: bool>(
        &self,
        simd: S,
        channel: *const f32,
    ) -> [[S::f32s; SIDES[1]]; SIDES[0]] {
        let mut tile = [[simd.splat_f32s(0.0); SIDES[1]]; SIDES[0]];
        for y in 0..SIDES[0] {
            // SAFETY: the caller's promise.
            unsafe {
                let mut row = self.row::<S>(simd, channel, &self.rows[y]);
                if FOLDED && (y == 0 || y + 1 == SIDES[0]) {
                    let folded = self.row::<S>(simd, channel, &self.folded[y / (SIDES[0] - 1)]);
                    for i in 0..row.len() {
                        row[i] = simd.add_f32s(row[i], folded[i]);
                    }
                }
                let [first, second, third, last, before, behind] = row;
                let middle = every_fourth(simd, [first, second, third, last]);
                let mut outer = [
                    picked(simd, [middle[3], before], &self.neighbours[0]),
                    picked(simd, [middle[0], behind], &self.neighbours[1]),
                ];
                if MIRRORED {
                    outer[0] = picked(simd, [outer[0], middle[1]], &self.mirrored[0]);
                    outer[1] = picked(simd, [outer[1], middle[2]], &self.mirrored[1]);
                }
                tile[y] = [outer[0], middle[0], middle[1], middle[2], middle[3], outer[1]];
            }
        }
        tile
    }

    /// The pixels of a row in the middle of the tiles, the one before them, and the one behind.
    ///
    /// # Safety
    /// As [`load`](Self::load).
    #[inline(always)]
    unsafe fn row<S: Simd>(&self, simd: S, channel: *const f32, starts: &[usize; 4]) -> [S::f32s; 6] {
        let mut pixels = [simd.splat_f32s(0.0); 6];
        let mut from = [channel; 4];
        for quarter in 0..4 {
            let start = starts[quarter];
            from[quarter] = if start == OUTSIDE { ZEROS[MOST_LANES..].as_ptr() } else { channel.wrapping_add(start) };
            // SAFETY: a whole vector of a row of the image, or of zeros.
            pixels[quarter] = unsafe { load::<S>(from[quarter]) };
        }
        // SAFETY: in the same rows, or not looked for.
        unsafe {
            pixels[4] = alone(simd, *from[0].sub(self.before));
            pixels[5] = alone(simd, *from[3].add(self.behind));
        }
        pixels
    }
}
