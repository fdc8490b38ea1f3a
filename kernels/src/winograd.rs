//! Convolutions by kernels of 3 x 3 with step 1, by the algorithm F(2 x 2, 3 x 3) of Winograd (Lavin and Gray 2015, arXiv
//! 1509.09308): of each channel, the four pixels of a tile take 16 products instead of 36.
//!
//! An input tile d of 4 x 4, a kernel g and an output tile y of 2 x 2 belong together by
//! y = Aᵀ((G·g·Gᵀ) ∘ (Bᵀ·d·B))·A, where ∘ is a product of each number with its counterpart: the sixteen *frequencies*.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use pulp::Simd;

use super::geometry::Geometry;
use super::simd::load;

pub mod forward;
mod kernels;
pub mod weights;

/// Rows and columns of a transformed tile.
const SIDE: usize = 4;
/// Numbers of a transformed tile.
pub const FREQUENCIES: usize = SIDE * SIDE;

/// The most lanes of a vector.
const MOST_LANES: usize = 16;

/// Channels on either side below which transforms cost more than they save.
const FEWEST_CHANNELS: usize = 8;

/// Tiles of a plane: rows and columns.
fn tiles(geometry: &Geometry) -> [usize; 2] {
    geometry.size_out().map(|side| side.div_ceil(2))
}

/// Whether a convolution of this geometry is faster this way, with so many tiles for which its kernels are transformed.
fn suits(geometry: &Geometry, fewest_tiles: usize) -> bool {
    let tiles = geometry.batch * tiles(geometry).iter().product::<usize>();
    let channels = geometry.inputs.min(geometry.outputs);
    geometry.kernel == [3, 3] && geometry.stride == [1, 1] && channels >= FEWEST_CHANNELS && tiles >= fewest_tiles
}

/// Applies a transform of one dimension to the rows and then to the columns of a square.
///
/// By loops: the closures of `map` would be compiled without the instructions of the vectors.
#[inline(always)]
fn both_ways<T: Copy, const I: usize, const O: usize>(
    square: [[T; I]; I],
    line: impl Fn([T; I]) -> [T; O],
) -> [[T; O]; O] {
    let mut columns = [[square[0][0]; I]; O];
    for i in 0..I {
        let row = line(square[i]);
        for o in 0..O {
            columns[o][i] = row[o];
        }
    }
    let mut result = [[square[0][0]; O]; O];
    for o in 0..O {
        let column = line(columns[o]);
        for i in 0..O {
            result[i][o] = column[i];
        }
    }
    result
}

/// Bᵀ of a line of an input tile.
#[inline(always)]
fn of_input<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// Aᵀ of a line of products.
#[inline(always)]
fn to_output<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
    [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
}

/// A of a line of an output tile: back through [`to_output`].
#[inline(always)]
fn of_output<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
    [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
}

/// Gᵀ of a line of frequencies: back through the transform of the kernels.
#[inline(always)]
fn to_kernel<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let (sum, difference) = (simd.mul_f32s(half, simd.add_f32s(b, c)), simd.mul_f32s(half, simd.sub_f32s(b, c)));
    [simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d)]
}

/// Sums of products, `M` by `N` vectors of them: `sums[i][j] = Σ_step left[step][i]·right[step][j]`, with the floats from one
/// step to the next of both sides.
///
/// # Safety
/// All steps of both sides must be readable.
#[inline(always)]
unsafe fn sums_of_products<S: Simd, const M: usize, const N: usize>(
    simd: S,
    [left, right]: [(*const f32, usize); 2],
    steps: usize,
) -> [[S::f32s; N]; M] {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for step in 0..steps {
        // SAFETY: the caller's promise.
        unsafe {
            let (left, right) = (left.0.add(step * left.1), right.0.add(step * right.1));
            let mut values = [simd.splat_f32s(0.0); N];
            for j in 0..N {
                values[j] = load::<S>(right.add(j * S::F32_LANES));
            }
            for i in 0..M {
                let weight = simd.splat_f32s(*left.add(i));
                for j in 0..N {
                    sums[i][j] = simd.mul_add_e_f32s(weight, values[j], sums[i][j]);
                }
            }
        }
    }
    sums
}
