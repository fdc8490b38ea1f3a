//! Convolutions by kernels of 3 x 3 with step 1, by Winograd's algorithms (Lavin and Gray 2015, arXiv 1509.09308): F(2 x 4, 3 x 3)
//! takes 24 products for the eight pixels of a tile instead of 72, F(4 x 4, 3 x 3), where gradients of kernels have many tiles, 36
//! for sixteen instead of 144.
//!
//! An input tile d, a kernel g and an output tile y belong together by y = Aᵀ((G·g·G'ᵀ) ∘ (Bᵀ·d·B'))·A', where ∘ is a product
//! of each number with its counterpart: the *frequencies*. A, B and G belong to the algorithm of columns, A', B' and G' to that of
//! rows ([`transforms`]).

use super::geometry::Geometry;

pub mod forward;
mod gathered;
mod kernels;
pub mod mirrored;
mod straight;
mod transforms;
pub mod weights;

/// Taps of a kernel, down and across.
const TAPS: usize = 3;

/// Channels on either side below which transforms cost more than they save.
const FEWEST_CHANNELS: usize = 8;

/// Tiles of a plane, rows and columns, that are so many pixels apart.
fn tiles(geometry: &Geometry, steps: [usize; 2]) -> [usize; 2] {
    let size = geometry.size_out();
    [0, 1].map(|axis| size[axis].div_ceil(steps[axis]))
}

/// Whether a convolution of this geometry can be faster this way.
fn suits(geometry: &Geometry) -> bool {
    let channels = geometry.inputs.min(geometry.outputs);
    geometry.kernel == [TAPS; 2] && geometry.stride == [1, 1] && channels >= FEWEST_CHANNELS
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
