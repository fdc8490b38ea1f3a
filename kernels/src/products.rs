//! The two inner loops of a convolution: over vectors of pixels, and over pixels with vectors of channels.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::simd::{Shared, load, store};
use super::spots::{Spot, Spots};

/// Products that are added up one after another: eight channels of a 3 x 3 kernel. The sums of such parts are added up in
/// turn, since one long sum loses digits with its length.
const AT_ONCE: usize = 72;

/// Sums of laid-out inputs under the taps, weighted: `target[row][pixel] = bias[row] + Σ weights[row][k]·source[offset[k] + pixel]`.
pub struct Correlation<'a> {
    /// `[rows, offsets]`
    pub weights: &'a [f32],
    /// Rows to compute.
    pub rows: usize,
    /// For each channel and tap, how far its values are from the first.
    pub offsets: &'a [usize],
    /// The pixels.
    pub spots: &'a Spots,
    /// The laid-out input; readable a vector beyond what any spot needs.
    pub source: &'a [f32],
    /// `[rows]`
    pub bias: Option<&'a [f32]>,
    /// Where row 0 goes.
    pub target: Shared,
    /// Floats between rows of the target.
    pub target_plane: usize,
}

impl Correlation<'_> {
    /// Computes all rows.
    ///
    /// # Safety
    /// Every run of every spot, of every row, must be writable in the target, and every spot under every offset readable
    /// in the source for a whole vector.
    pub unsafe fn run(&self, arch: Arch) {
        arch.dispatch(self)
    }

    /// `M` rows from `row` on at `N` spots.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize, spots: &[Spot]) {
        let mut sources = [self.source.as_ptr(); N];
        for j in 0..N {
            sources[j] = sources[j].wrapping_add(spots[j].source);
        }
        // The first part by itself: where it is the only one, sums stay in registers.
        let first = self.offsets.len().min(AT_ONCE);
        // SAFETY: the caller's promise.
        let mut totals = unsafe { self.sums::<S, M, N>(simd, row, sources, 0..first) };
        for start in (first..self.offsets.len()).step_by(AT_ONCE) {
            let part = start..self.offsets.len().min(start + AT_ONCE);
            // SAFETY: the caller's promise.
            let sums = unsafe { self.sums::<S, M, N>(simd, row, sources, part) };
            for i in 0..M {
                for j in 0..N {
                    totals[i][j] = simd.add_f32s(totals[i][j], sums[i][j]);
                }
            }
        }
        if let Some(bias) = self.bias {
            for i in 0..M {
                let bias = simd.splat_f32s(bias[row + i]);
                for j in 0..N {
                    totals[i][j] = simd.add_f32s(totals[i][j], bias);
                }
            }
        }
        for j in 0..N {
            for run in self.spots.runs(&spots[j]) {
                // SAFETY: the runs lie within the target's plane by the caller's promise; masked lanes are not touched.
                unsafe {
                    let to = self.target.at(row * self.target_plane).wrapping_add(run.target);
                    if run.to - run.from == S::F32_LANES {
                        for i in 0..M {
                            store::<S>(to.add(i * self.target_plane), totals[i][j]);
                        }
                    } else {
                        let mask = simd.mask_between_m32s(run.from as u32, run.to as u32);
                        for i in 0..M {
                            let to = to.wrapping_add(i * self.target_plane).wrapping_sub(run.from);
                            simd.mask_store_ptr_f32s(mask, to, totals[i][j]);
                        }
                    }
                }
            }
        }
    }

    /// The sums of part of the offsets.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn sums<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        row: usize,
        sources: [*const f32; N],
        part: Range<usize>,
    ) -> [[S::f32s; N]; M] {
        let depth = self.offsets.len();
        let weights = self.weights[row * depth + part.start..].as_ptr();
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        for (k, offset) in self.offsets[part].iter().enumerate() {
            // SAFETY: rows and offsets are within the weights by construction; the source is readable by the caller's promise.
            unsafe {
                let mut values = [simd.splat_f32s(0.0); N];
                for j in 0..N {
                    values[j] = load::<S>(sources[j].add(*offset));
                }
                for i in 0..M {
                    let weight = simd.splat_f32s(*weights.add(i * depth + k));
                    for j in 0..N {
                        sums[i][j] = simd.mul_add_e_f32s(weight, values[j], sums[i][j]);
                    }
                }
            }
        }
        sums
    }

    /// `M` rows at all spots.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn row_block<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize) {
        let mut groups = self.spots.spots.chunks_exact(N);
        // SAFETY: the caller's promise.
        unsafe {
            for group in groups.by_ref() {
                self.block::<S, M, N>(simd, row, group);
            }
            let mut rest = groups.remainder();
            if rest.len() >= 2 {
                let pairs = rest.chunks_exact(2);
                rest = pairs.remainder();
                for pair in pairs {
                    self.block::<S, M, 2>(simd, row, pair);
                }
            }
            if let [_] = rest {
                self.block::<S, M, 1>(simd, row, rest);
            }
        }
    }
}

impl WithSimd for &Correlation<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut row = 0;
        // As many sums at once as registers hold, and enough to hide the latency of a sum.
        // SAFETY: `run`, the only caller, passes its own promise on.
        unsafe {
            while row < self.rows {
                row += match self.rows - row {
                    8.. if S::REGISTER_COUNT >= 32 => {
                        self.row_block::<S, 8, 3>(simd, row);
                        8
                    }
                    4.. => {
                        self.row_block::<S, 4, 3>(simd, row);
                        4
                    }
                    2.. => {
                        self.row_block::<S, 2, 4>(simd, row);
                        2
                    }
                    _ => {
                        self.row_block::<S, 1, 6>(simd, row);
                        1
                    }
                };
            }
        }
    }
}

/// Adds sums of products, `M` by `N` vectors of them: `sums[i][j] += Σ_step left[step][i]·right[step][j]`, with the floats from
/// one step to the next of both sides.
///
/// # Safety
/// All steps of both sides must be readable.
#[inline(always)]
pub unsafe fn add_products<S: Simd, const M: usize, const N: usize>(
    simd: S,
    [left, right]: [(*const f32, usize); 2],
    steps: usize,
    sums: &mut [[S::f32s; N]; M],
) {
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
}

/// Sums over pixels of products: `sums[row][k] = Σ_pixel left[pixel][row]·right[pixel][k]`.
pub struct Products<'a> {
    /// Both sides, and the floats from one row of pixels and from one pixel to the next; readable beyond what any sum needs for
    /// as many as are computed together.
    pub left: (&'a [f32], [usize; 2]),
    pub right: (&'a [f32], [usize; 2]),
    /// Rows and columns of pixels.
    pub pixels: [usize; 2],
    /// Rows of sums, and floats of each: whole vectors.
    pub sums: [usize; 2],
    /// Whether they are added to those that are there.
    pub goes_on: bool,
    /// Where they go.
    pub target: Shared,
}

/// Rows of sums that are computed together at most.
pub const TOGETHER: usize = 16;

impl Products<'_> {
    /// Computes all sums.
    ///
    /// # Safety
    /// All pixels must be readable on both sides, and all sums writable.
    pub unsafe fn run(&self, arch: Arch) {
        arch.dispatch(self)
    }

    /// `M` rows from `row` on, `N` vectors together.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn rows<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize) {
        let (mut k, lanes) = (0, S::F32_LANES);
        // SAFETY: the caller's promise.
        unsafe {
            while k + N * lanes <= self.sums[1] {
                self.block::<S, M, N>(simd, row, k);
                k += N * lanes;
            }
            while k < self.sums[1] {
                if k + 2 * lanes <= self.sums[1] {
                    self.block::<S, M, 2>(simd, row, k);
                    k += 2 * lanes;
                } else {
                    self.block::<S, M, 1>(simd, row, k);
                    k += lanes;
                }
            }
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize, k: usize) {
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        // SAFETY: the caller's promise.
        unsafe {
            for y in 0..self.pixels[0] {
                let left = self.left.0.as_ptr().add(y * self.left.1[0] + row);
                let right = self.right.0.as_ptr().add(y * self.right.1[0] + k);
                let sides = [(left, self.left.1[1]), (right, self.right.1[1])];
                add_products(simd, sides, self.pixels[1], &mut sums);
            }
            for i in 0..M.min(self.sums[0] - row) {
                for j in 0..N {
                    let to = self.target.at((row + i) * self.sums[1] + k + j * S::F32_LANES);
                    let sum = if self.goes_on { simd.add_f32s(load::<S>(to), sums[i][j]) } else { sums[i][j] };
                    store::<S>(to, sum);
                }
            }
        }
    }
}

impl WithSimd for &Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut row = 0;
        // SAFETY: `run`, the only caller, passes its own promise on.
        unsafe {
            while row < self.sums[0] {
                // As many sums at once as registers hold. What is computed beyond the last row goes nowhere.
                row += match self.sums[0] - row {
                    // With one vector more rows together, since both sides are read for them.
                    9.. if S::REGISTER_COUNT >= 32 && self.sums[1] == S::F32_LANES => {
                        self.rows::<S, TOGETHER, 1>(simd, row);
                        TOGETHER
                    }
                    5.. if S::REGISTER_COUNT >= 32 => {
                        self.rows::<S, 8, 3>(simd, row);
                        8
                    }
                    3.. => {
                        self.rows::<S, 4, 3>(simd, row);
                        4
                    }
                    _ => {
                        self.rows::<S, 1, 8>(simd, row);
                        1
                    }
                };
            }
        }
    }
}
