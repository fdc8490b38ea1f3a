//! Convolutions by kernels of 3 x 3 with step 1, by the algorithm F(2 x 4, 3 x 3) of Winograd (Lavin and Gray 2015, arXiv
//! 1509.09308): of each channel, the eight pixels of a tile take 24 products instead of 72.
//!
//! An input tile d of 4 x 6, a kernel g and an output tile y of 2 x 4 belong together by
//! y = Aᵀ((G·g·Hᵀ) ∘ (Bᵀ·d·C))·D, where ∘ is a product of each number with its counterpart: the 24 *frequencies*. A, B and G
//! are those of F(2, 3), down; across it is F(4, 3) with the points 0, ±[`NEAR`], ±[`FAR`] and infinity, for which the usual 0,
//! ±1, ±2 would lose more digits (Alam et al. 2022, arXiv 2201.10369).

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use pulp::Simd;

use super::geometry::Geometry;
use super::simd::load;

pub mod forward;
mod gathered;
mod kernels;
pub mod weights;

/// Rows and columns of a transformed tile, and of the input of one.
const SIDES: [usize; 2] = [4, 6];
/// Rows and columns of an output tile: how far tiles are apart.
const STEPS: [usize; 2] = [2, 4];
/// Numbers of a transformed tile.
pub const FREQUENCIES: usize = SIDES[0] * SIDES[1];

/// The points across, at either sign: binary fractions, so that no factor is rounded.
const NEAR: f32 = 0.75;
const FAR: f32 = 1.5;
/// Their squares, whose product and sum are the factors of zero and infinity.
const NEAR_SQUARED: f32 = NEAR * NEAR;
const FAR_SQUARED: f32 = FAR * FAR;
const PRODUCT: f32 = NEAR_SQUARED * FAR_SQUARED;
const SUM: f32 = NEAR_SQUARED + FAR_SQUARED;

/// The most lanes of a vector.
const MOST_LANES: usize = 16;

/// Channels on either side below which transforms cost more than they save.
const FEWEST_CHANNELS: usize = 8;

/// Tiles of a plane: rows and columns.
fn tiles(geometry: &Geometry) -> [usize; 2] {
    let size = geometry.size_out();
    [0, 1].map(|axis| size[axis].div_ceil(STEPS[axis]))
}

/// Whether a convolution of this geometry is faster this way, with so many tiles for which its kernels are transformed.
fn suits(geometry: &Geometry, fewest_tiles: usize) -> bool {
    let tiles = geometry.batch * tiles(geometry).iter().product::<usize>();
    let channels = geometry.inputs.min(geometry.outputs);
    geometry.kernel == [3, 3] && geometry.stride == [1, 1] && channels >= FEWEST_CHANNELS && tiles >= fewest_tiles
}

/// Applies a transform to the columns and another one to the rows of what comes of it.
///
/// By loops: the closures of `map` would be compiled without the instructions of the vectors.
#[inline(always)]
fn both_ways<T: Copy, const H: usize, const W: usize, const P: usize, const Q: usize>(
    tile: [[T; W]; H],
    down: impl Fn([T; H]) -> [T; P],
    across: impl Fn([T; W]) -> [T; Q],
) -> [[T; Q]; P] {
    let mut rows = [[tile[0][0]; W]; P];
    for x in 0..W {
        let mut column = [tile[0][0]; H];
        for y in 0..H {
            column[y] = tile[y][x];
        }
        let column = down(column);
        for y in 0..P {
            rows[y][x] = column[y];
        }
    }
    let mut result = [[tile[0][0]; Q]; P];
    for y in 0..P {
        result[y] = across(rows[y]);
    }
    result
}

/// Bᵀ of a column of an input tile.
#[inline(always)]
fn of_input<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// Cᵀ of a row of an input tile: of each point the polynomial that is zero at all others.
#[inline(always)]
fn of_input_across<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 6] {
    let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
    let (near_squared, far_squared) = (simd.splat_f32s(-NEAR_SQUARED), simd.splat_f32s(-FAR_SQUARED));
    let (product, sum) = (simd.splat_f32s(PRODUCT), simd.splat_f32s(-SUM));
    let (even, odd) = (simd.mul_add_e_f32s(far_squared, c, e), simd.mul_add_e_f32s(far_squared, b, d));
    let (even_far, odd_far) = (simd.mul_add_e_f32s(near_squared, c, e), simd.mul_add_e_f32s(near_squared, b, d));
    [
        simd.mul_add_e_f32s(product, a, simd.mul_add_e_f32s(sum, c, e)),
        simd.mul_add_e_f32s(near, odd, even),
        simd.mul_add_e_f32s(simd.neg_f32s(near), odd, even),
        simd.mul_add_e_f32s(far, odd_far, even_far),
        simd.mul_add_e_f32s(simd.neg_f32s(far), odd_far, even_far),
        simd.mul_add_e_f32s(product, b, simd.mul_add_e_f32s(sum, d, f)),
    ]
}

/// Aᵀ of a column of products.
#[inline(always)]
fn to_output<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
    [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
}

/// Dᵀ of a row of products: the powers of the points.
#[inline(always)]
fn to_output_across<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 4] {
    let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
    let (sum_far, difference_far) = (simd.add_f32s(d, e), simd.sub_f32s(d, e));
    let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
    let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
    let (near_cubed, far_cubed) = (simd.splat_f32s(NEAR * NEAR_SQUARED), simd.splat_f32s(FAR * FAR_SQUARED));
    [
        simd.add_f32s(a, simd.add_f32s(sum, sum_far)),
        simd.mul_add_e_f32s(near, difference, simd.mul_f32s(far, difference_far)),
        simd.mul_add_e_f32s(near_squared, sum, simd.mul_f32s(far_squared, sum_far)),
        simd.mul_add_e_f32s(near_cubed, difference, simd.mul_add_e_f32s(far_cubed, difference_far, f)),
    ]
}

/// A of a column of an output tile: back through [`to_output`].
#[inline(always)]
fn of_output<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
    [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
}

/// D of a row of an output tile: back through [`to_output_across`].
#[inline(always)]
fn of_output_across<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 6] {
    let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
    let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
    let (even, odd) = (simd.mul_add_e_f32s(near_squared, c, a), simd.mul_add_e_f32s(near_squared, d, b));
    let (even_far, odd_far) = (simd.mul_add_e_f32s(far_squared, c, a), simd.mul_add_e_f32s(far_squared, d, b));
    [
        a,
        simd.mul_add_e_f32s(near, odd, even),
        simd.mul_add_e_f32s(simd.neg_f32s(near), odd, even),
        simd.mul_add_e_f32s(far, odd_far, even_far),
        simd.mul_add_e_f32s(simd.neg_f32s(far), odd_far, even_far),
        d,
    ]
}

/// G of a column of a kernel.
#[inline(always)]
fn of_kernel<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
    let half = simd.splat_f32s(0.5);
    let (outer, inner) = (simd.mul_f32s(half, simd.add_f32s(a, c)), simd.mul_f32s(half, b));
    [a, simd.add_f32s(outer, inner), simd.sub_f32s(outer, inner), c]
}

/// What the polynomials of [`of_input_across`] are at their points, inverted.
const SHARES: [f32; 3] =
    [1.0 / PRODUCT, 0.5 / (NEAR_SQUARED * (NEAR_SQUARED - FAR_SQUARED)), 0.5 / (FAR_SQUARED * (FAR_SQUARED - NEAR_SQUARED))];

/// H of a row of a kernel: its values at the points.
#[inline(always)]
fn of_kernel_across<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 6] {
    let (of_zero, of_near, of_far) = (simd.splat_f32s(SHARES[0]), simd.splat_f32s(SHARES[1]), simd.splat_f32s(SHARES[2]));
    let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
    let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
    let even = simd.mul_f32s(of_near, simd.mul_add_e_f32s(near_squared, c, a));
    let even_far = simd.mul_f32s(of_far, simd.mul_add_e_f32s(far_squared, c, a));
    let (odd, odd_far) = (simd.mul_f32s(of_near, simd.mul_f32s(near, b)), simd.mul_f32s(of_far, simd.mul_f32s(far, b)));
    [
        simd.mul_f32s(of_zero, a),
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        simd.add_f32s(even_far, odd_far),
        simd.sub_f32s(even_far, odd_far),
        c,
    ]
}

/// Gᵀ of a column of frequencies: back through [`of_kernel`].
#[inline(always)]
fn to_kernel<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let (sum, difference) = (simd.mul_f32s(half, simd.add_f32s(b, c)), simd.mul_f32s(half, simd.sub_f32s(b, c)));
    [simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d)]
}

/// Hᵀ of a row of frequencies: back through [`of_kernel_across`].
#[inline(always)]
fn to_kernel_across<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 3] {
    let (of_zero, of_near, of_far) = (simd.splat_f32s(SHARES[0]), simd.splat_f32s(SHARES[1]), simd.splat_f32s(SHARES[2]));
    let (near, far) = (simd.splat_f32s(NEAR), simd.splat_f32s(FAR));
    let (near_squared, far_squared) = (simd.splat_f32s(NEAR_SQUARED), simd.splat_f32s(FAR_SQUARED));
    let (sum, difference) = (simd.mul_f32s(of_near, simd.add_f32s(b, c)), simd.mul_f32s(of_near, simd.sub_f32s(b, c)));
    let (sum_far, difference_far) =
        (simd.mul_f32s(of_far, simd.add_f32s(d, e)), simd.mul_f32s(of_far, simd.sub_f32s(d, e)));
    [
        simd.mul_add_e_f32s(of_zero, a, simd.add_f32s(sum, sum_far)),
        simd.mul_add_e_f32s(near, difference, simd.mul_f32s(far, difference_far)),
        simd.mul_add_e_f32s(near_squared, sum, simd.mul_add_e_f32s(far_squared, sum_far, f)),
    ]
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
