//! The gradient of the kernels: each frequency of it is a sum over tiles of products, of a frequency of the input by one of
//! the gradient of the output.
//!
//! Vectors go along channels here, so that nothing is summed over the lanes of a vector.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]
#![expect(
    clippy::redundant_closure,
    reason = "functions by reference are not compiled with the instructions of the vectors"
)]

use std::ops::{Range, RangeInclusive};

use pulp::{Arch, Simd, WithSimd};

use super::transforms::{long, short};
use super::{TAPS, both_ways, tiles};
use crate::geometry::{Border, Geometry};
use crate::pixels::{Planes, ROWS, add_pixels};
use crate::products::Products;
use crate::simd::{MOST_LANES, Shared, load, store, vectorised, with_scratch};
use crate::team::{each, each_chunk, made_of_chunks, threads};

/// Frequencies that are computed before they are summed up, in floats: they stay in the second cache. As many as there are sums, so that
/// many sums are not read and written more often than need be, within these limits.
const AT_A_TIME: RangeInclusive<usize> = 1 << 17..=1 << 18;
/// Sums of all parts, in floats.
const SUMS: usize = 1 << 20;
/// Tiles of a part, at least.
const TILES: usize = 64;
/// Parts that are summed up alone, at most.
const PARTS: usize = 8;
/// Tiles of 2 x 4 pixels below which what is transformed is not read often enough.
const FEWEST_TILES: usize = 16;
/// Larger tiles, of 4 x 4 pixels, that make up for the larger sums of so many kernels. Fewer kernels need as many.
const TILES_OF_KERNELS: [usize; 2] = [32, 1 << 14];

/// The size of tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tiling {
    /// Rows and columns of pixels of an output tile: how far tiles are apart.
    steps: [usize; 2],
    /// Rows and columns of an input tile, and of a transformed one.
    sides: [usize; 2],
}

const SMALL: Tiling = Tiling { steps: [short::STEP, long::STEP], sides: [short::SIDE, long::SIDE] };
const LARGE: Tiling = Tiling { steps: [long::STEP; 2], sides: [long::SIDE; 2] };

impl Tiling {
    /// The faster one, if this is the faster way at all.
    fn of(geometry: &Geometry) -> Option<Self> {
        let tiles = |tiling: Self| geometry.batch * tiles(geometry, tiling.steps).iter().product::<usize>();
        let [fewest, kernels] = TILES_OF_KERNELS;
        let large = tiles(LARGE) >= fewest.max(fewest * geometry.inputs * geometry.outputs / kernels);
        let tiling = if large { LARGE } else { SMALL };
        (super::suits(geometry) && tiles(SMALL) >= FEWEST_TILES).then_some(tiling)
    }

    /// Numbers of a transformed tile.
    fn frequencies(self) -> usize {
        self.sides[0] * self.sides[1]
    }
}

/// Whether this is the faster way.
pub fn suits(geometry: &Geometry) -> bool {
    Tiling::of(geometry).is_some()
}

/// The gradient of the weights, `[outputs, inputs, 3, 3]`; and the sums of the planes of the gradient, `[batch, outputs]`, where
/// there is room for them.
pub fn weight_gradient(
    arch: Arch,
    geometry: &Geometry,
    input: &[f32],
    gradient: &[f32],
    plane_sums: Option<&mut [f32]>,
) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, size, padding, border, .. } = *geometry;
    let tiling = Tiling::of(geometry).unwrap_or(SMALL);
    let frequencies = tiling.frequencies();
    let tiles = tiles(geometry, tiling.steps);
    let [rows, columns] = tiles;
    let planes = |values, all: usize, size, padding, border| Planes {
        values,
        all,
        first: 0,
        channels: all,
        padded: all.next_multiple_of(ROWS),
        size,
        padding,
        border,
    };
    let before = planes(input, inputs, size, padding, border);
    let after = planes(gradient, outputs, geometry.size_out(), [0, 0], Border::Zero);
    // Rows of tiles of all images, one after another. How they are parted decides how sums are rounded, so the number of
    // threads has no say in it; parts that are too few for all threads are shared out by outputs.
    let lines = batch * rows;
    let of_part = frequencies * outputs * before.padded;
    let parts = (SUMS / of_part).min(lines * columns / TILES).clamp(1, PARTS).min(lines);
    let ranges = threads().div_ceil(parts).min(outputs.div_ceil(ROWS));
    let range = outputs.div_ceil(ranges).next_multiple_of(ROWS);
    let at_a_time = of_part.clamp(*AT_A_TIME.start(), *AT_A_TIME.end());
    let at_a_time = (at_a_time / (frequencies * (before.padded + after.padded) * columns)).clamp(1, lines);
    // Of each part.
    let mut sums_of_parts = vec![0.0; if plane_sums.is_some() { parts * batch * outputs } else { 0 }];
    let sums_of = Shared(sums_of_parts.as_mut_ptr());
    let sums_of = |part: usize| {
        // SAFETY: there is room for all parts.
        plane_sums.is_some().then(|| Shared(unsafe { sums_of.at(part * batch * outputs) }))
    };
    // An odd number: lines a power of two apart would share the places of the caches.
    let apart = (at_a_time * columns) | 1;
    let weights = with_scratch(parts * of_part, |sums| {
        let target = Shared(sums.as_mut_ptr());
        each(parts * ranges, |task| {
            let (part, output) = (task / ranges, task % ranges * range);
            if output >= outputs {
                return;
            }
            let channels = range.min(outputs - output);
            let after = Planes { first: output, channels, padded: channels.next_multiple_of(ROWS), ..after };
            let (begin, end) = (part * lines / parts, (part + 1) * lines / parts);
            with_scratch(frequencies * apart * (before.padded + after.padded), |scratch| {
                let (right, left) = scratch.split_at_mut(frequencies * apart * before.padded);
                for first in (begin..end).step_by(at_a_time) {
                    let lines = first..end.min(first + at_a_time);
                    let count = lines.len() * columns;
                    let side = |planes, taps| Side { planes, tiling, taps, tiles };
                    side(before, tiling.sides).transform(arch, lines.clone(), right, apart, None);
                    side(after, tiling.steps).transform(arch, lines, left, apart, sums_of(part));
                    for frequency in 0..frequencies {
                        let place = part * of_part + (frequency * outputs + output) * before.padded;
                        // One row of tiles. Channels are filled up, so that there are as many as are computed together.
                        let left = (&left[frequency * apart * after.padded..], [0, after.padded]);
                        let right = (&right[frequency * apart * before.padded..], [0, before.padded]);
                        let (sums, goes_on) = ([channels, before.padded], first > begin);
                        // SAFETY: all tiles are transformed, and each task has rows of sums of its own.
                        unsafe {
                            let target = Shared(target.at(place));
                            Products { left, right, pixels: [1, count], sums, goes_on, target }.run(arch);
                        }
                    }
                }
            });
        });
        back(arch, geometry, tiling, sums, before.padded)
    });
    if let Some(plane_sums) = plane_sums {
        plane_sums.fill(0.0);
        for part in sums_of_parts.chunks_exact(batch * outputs) {
            plane_sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
    }
    weights
}

/// The input, or the gradient of the output.
struct Side<'a> {
    planes: Planes<'a>,
    tiling: Tiling,
    /// Rows and columns of a tile of this side.
    taps: [usize; 2],
    /// Rows and columns of tiles in an image.
    tiles: [usize; 2],
}

impl Side<'_> {
    /// The frequencies of rows of tiles, counted through all images: `[frequencies, tiles, channels]`, `apart` tiles between
    /// frequencies. The sums of what is laid out are added to those of `[batch, all channels]`.
    fn transform(&self, arch: Arch, lines: Range<usize>, target: &mut [f32], apart: usize, sums: Option<Shared>) {
        let [rows, columns] = self.tiles;
        let width = self.tiling.steps[1] * (columns - 1) + self.taps[1];
        let mut line = lines.start;
        while line < lines.end {
            // As many as belong to one image.
            let (image, row) = (line / rows, line % rows);
            let count = (lines.end - line).min(rows - row);
            let height = self.tiling.steps[0] * (count - 1) + self.taps[0];
            let Planes { all, first, channels, padded, .. } = self.planes;
            with_scratch(height * width * padded, |laid_out| {
                vectorised(
                    arch,
                    #[inline(always)]
                    || self.planes.lay_out(image, self.tiling.steps[0] * row, [height, width], laid_out),
                );
                if let Some(sums) = sums {
                    // SAFETY: the channels of an image; each task has lines or channels of its own.
                    let sums = unsafe { std::slice::from_raw_parts_mut(sums.at(image * all + first), channels) };
                    vectorised(
                        arch,
                        #[inline(always)]
                        || add_pixels(laid_out, padded, sums),
                    );
                }
                let place = (line - lines.start) * columns;
                let target = Shared(target.as_mut_ptr());
                arch.dispatch(Transform { side: self, laid_out, width, rows: count, target, apart, first: place });
            });
            line += count;
        }
    }
}

/// The frequencies of rows of tiles.
struct Transform<'a> {
    side: &'a Side<'a>,
    /// `[height, width, channels]`
    laid_out: &'a [f32],
    width: usize,
    /// Rows of tiles.
    rows: usize,
    target: Shared,
    /// Tiles between frequencies.
    apart: usize,
    /// The place of the first tile.
    first: usize,
}

impl WithSimd for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        macro_rules! transform {
            ($columns:path, $rows:path) => {
                self.transform(
                    simd,
                    #[inline(always)]
                    |column| $columns(simd, column),
                    #[inline(always)]
                    |row| $rows(simd, row),
                )
            };
        }
        match (self.side.tiling == LARGE, self.side.taps == self.side.tiling.sides) {
            (true, true) => transform!(long::of_input, long::of_input),
            (true, false) => transform!(long::of_output, long::of_output),
            (false, true) => transform!(short::of_input, long::of_input),
            (false, false) => transform!(short::of_output, long::of_output),
        }
    }
}

impl Transform<'_> {
    #[inline(always)]
    fn transform<S: Simd, const H: usize, const W: usize, const P: usize, const Q: usize>(
        &self,
        simd: S,
        down: impl Fn([S::f32s; H]) -> [S::f32s; P],
        across: impl Fn([S::f32s; W]) -> [S::f32s; Q],
    ) {
        let Side { tiles: [_, columns], planes: Planes { padded, .. }, tiling: Tiling { steps, sides }, .. } =
            *self.side;
        assert!(self.laid_out.len() >= (steps[0] * (self.rows - 1) + H) * self.width * padded && [P, Q] == sides);
        for place in 0..self.rows * columns {
            let (row, column) = (place / columns, place % columns);
            for channel in (0..padded).step_by(S::F32_LANES) {
                let mut tile = [[simd.splat_f32s(0.0); W]; H];
                for y in 0..H {
                    for x in 0..W {
                        let pixel = (steps[0] * row + y) * self.width + steps[1] * column + x;
                        // SAFETY: the last tile of the last row ends with what was laid out.
                        tile[y][x] = unsafe { load::<S>(self.laid_out.as_ptr().add(pixel * padded + channel)) };
                    }
                }
                let tile = both_ways(
                    tile,
                    #[inline(always)]
                    |column| down(column),
                    #[inline(always)]
                    |row| across(row),
                );
                for y in 0..P {
                    for x in 0..Q {
                        let to = ((y * Q + x) * self.apart + self.first + place) * padded + channel;
                        // SAFETY: there is room for all frequencies of all tiles, and these are the task's own.
                        unsafe { store::<S>(self.target.at(to), tile[y][x]) };
                    }
                }
            }
        }
    }
}

/// The gradient of the kernels from that of their frequencies, `[parts, frequencies, outputs, padded inputs]`.
fn back(arch: Arch, geometry: &Geometry, tiling: Tiling, sums: &mut [f32], padded: usize) -> Vec<f32> {
    let Geometry { inputs, outputs, .. } = *geometry;
    let apart = outputs * padded;
    let (all, others) = sums.split_at_mut(tiling.frequencies() * apart);
    each_chunk(all, apart, |frequency, all| {
        for part in others.chunks_exact(tiling.frequencies() * apart) {
            for (sum, value) in all.iter_mut().zip(&part[frequency * apart..][..apart]) {
                *sum += value;
            }
        }
    });
    let fill = |output: usize, kernels: &mut [f32]| {
        let frequencies = &all[output * padded..];
        arch.dispatch(Back { tiling, frequencies, apart, kernels: kernels.as_chunks_mut().0 });
    };
    // SAFETY: an output has kernels of all inputs.
    unsafe { made_of_chunks(outputs * inputs * TAPS * TAPS, inputs * TAPS * TAPS, fill) }
}

struct Back<'a> {
    tiling: Tiling,
    /// Of all inputs, filled up to whole vectors.
    frequencies: &'a [f32],
    /// Floats from one frequency to the next.
    apart: usize,
    /// Of each input.
    kernels: &'a mut [[f32; TAPS * TAPS]],
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.tiling == LARGE {
            self.back(
                simd,
                #[inline(always)]
                |column: [S::f32s; long::SIDE]| long::to_kernel(simd, column),
            );
        } else {
            self.back(
                simd,
                #[inline(always)]
                |column: [S::f32s; short::SIDE]| short::to_kernel(simd, column),
            );
        }
    }
}

impl Back<'_> {
    #[inline(always)]
    fn back<S: Simd, const P: usize>(self, simd: S, down: impl Fn([S::f32s; P]) -> [S::f32s; TAPS]) {
        for (i, kernels) in self.kernels.chunks_mut(S::F32_LANES).enumerate() {
            let mut tile = [[simd.splat_f32s(0.0); long::SIDE]; P];
            for y in 0..P {
                for x in 0..long::SIDE {
                    let values =
                        &self.frequencies[(y * long::SIDE + x) * self.apart + i * S::F32_LANES..][..S::F32_LANES];
                    // SAFETY: a whole vector.
                    tile[y][x] = unsafe { load::<S>(values.as_ptr()) };
                }
            }
            let kernel = both_ways(
                tile,
                #[inline(always)]
                |column| down(column),
                #[inline(always)]
                |row| long::to_kernel(simd, row),
            );
            let mut lanes = [[0.0f32; MOST_LANES]; TAPS * TAPS];
            for y in 0..TAPS {
                for x in 0..TAPS {
                    // SAFETY: no vector has more lanes.
                    unsafe { store::<S>(lanes[TAPS * y + x].as_mut_ptr(), kernel[y][x]) };
                }
            }
            for i in 0..kernels.len().min(MOST_LANES) {
                for tap in 0..TAPS * TAPS {
                    kernels[i][tap] = lanes[tap][i];
                }
            }
        }
    }
}
