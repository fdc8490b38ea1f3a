//! The two inner loops of a convolution, over vectors of pixels.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

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
        let depth = self.offsets.len();
        let mut totals = [[simd.splat_f32s(0.0); N]; M];
        // SAFETY: rows and offsets are within the weights by construction; the source is readable by the caller's promise.
        unsafe {
            let weights = self.weights.as_ptr().add(row * depth);
            let mut sources = [self.source.as_ptr(); N];
            for j in 0..N {
                sources[j] = sources[j].add(spots.get_unchecked(j).source);
            }
            for (part, offsets) in self.offsets.chunks(AT_ONCE).enumerate() {
                let weights = weights.add(part * AT_ONCE);
                let mut sums = [[simd.splat_f32s(0.0); N]; M];
                for (k, offset) in offsets.iter().enumerate() {
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
                for i in 0..M {
                    for j in 0..N {
                        totals[i][j] = simd.add_f32s(totals[i][j], sums[i][j]);
                    }
                }
            }
        }
        for i in 0..M {
            let bias = simd.splat_f32s(self.bias.map_or(0.0, |bias| bias[row + i]));
            for j in 0..N {
                // SAFETY: the caller's promise.
                unsafe { self.put(simd, row + i, &spots[j], simd.add_f32s(totals[i][j], bias)) };
            }
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, simd: S, row: usize, spot: &Spot, values: S::f32s) {
        // SAFETY: the runs lie within the target's plane by the caller's promise; masked lanes are not touched.
        unsafe {
            let plane = self.target.at(row * self.target_plane);
            for run in self.spots.runs(spot) {
                if run.to - run.from == S::F32_LANES {
                    store::<S>(plane.add(run.target), values);
                } else {
                    let mask = simd.mask_between_m32s(run.from as u32, run.to as u32);
                    simd.mask_store_ptr_f32s(mask, plane.wrapping_add(run.target).wrapping_sub(run.from), values);
                }
            }
        }
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

/// Sums over pixels of products: `sums[row][k] = Σ_step left[row·left_plane + left_step]·right[offset[k] + right_step]`.
pub struct Products<'a> {
    /// Gradients of outputs.
    pub left: &'a [f32],
    /// Floats between rows of the left side.
    pub left_plane: usize,
    /// Rows.
    pub rows: usize,
    /// Laid-out inputs.
    pub right: &'a [f32],
    /// For each channel and tap, how far its values are from the first.
    pub offsets: &'a [usize],
    /// Where each vector of pixels begins on both sides.
    pub steps: &'a [(usize, usize)],
    /// Where `sums[0][0]` goes; neighbours of `k` are neighbours.
    pub target: Shared,
    /// Floats between rows of the target.
    pub target_row: usize,
}

/// Vectors of pixels that are gone through at a time, so that both sides stay in the fastest cache.
const CHUNK: usize = 32;

impl Products<'_> {
    /// Computes all sums.
    ///
    /// # Safety
    /// All steps must be readable on both sides, and all sums writable in the target.
    pub unsafe fn run(&self, arch: Arch) {
        arch.dispatch(self)
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        [row, k]: [usize; 2],
        steps: &[(usize, usize)],
        sums: &mut [S::f32s],
    ) {
        let depth = self.offsets.len();
        let mut held = [[simd.splat_f32s(0.0); N]; M];
        for i in 0..M {
            for j in 0..N {
                held[i][j] = sums[(row + i) * depth + k + j];
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            let left = self.left.as_ptr().add(row * self.left_plane);
            let mut right = [self.right.as_ptr(); N];
            for j in 0..N {
                right[j] = right[j].add(self.offsets[k + j]);
            }
            for (left_step, right_step) in steps {
                let mut values = [simd.splat_f32s(0.0); N];
                for j in 0..N {
                    values[j] = load::<S>(right[j].add(*right_step));
                }
                for i in 0..M {
                    let gradient = load::<S>(left.add(i * self.left_plane + *left_step));
                    for j in 0..N {
                        held[i][j] = simd.mul_add_e_f32s(gradient, values[j], held[i][j]);
                    }
                }
            }
        }
        for i in 0..M {
            for j in 0..N {
                sums[(row + i) * depth + k + j] = held[i][j];
            }
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn row_block<S: Simd, const M: usize>(
        &self,
        simd: S,
        row: usize,
        steps: &[(usize, usize)],
        sums: &mut [S::f32s],
    ) {
        let depth = self.offsets.len();
        let mut k = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while k + 3 <= depth {
                self.block::<S, M, 3>(simd, [row, k], steps, sums);
                k += 3;
            }
            while k < depth {
                self.block::<S, M, 1>(simd, [row, k], steps, sums);
                k += 1;
            }
        }
    }
}

impl WithSimd for &Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let depth = self.offsets.len();
        let mut sums = vec![simd.splat_f32s(0.0); self.rows * depth];
        for steps in self.steps.chunks(CHUNK) {
            let mut row = 0;
            // SAFETY: `run`, the only caller, passes its own promise on.
            unsafe {
                while row < self.rows {
                    row += match self.rows - row {
                        8.. if S::REGISTER_COUNT >= 32 => {
                            self.row_block::<S, 8>(simd, row, steps, &mut sums);
                            8
                        }
                        4.. => {
                            self.row_block::<S, 4>(simd, row, steps, &mut sums);
                            4
                        }
                        _ => {
                            self.row_block::<S, 1>(simd, row, steps, &mut sums);
                            1
                        }
                    };
                }
            }
        }
        for row in 0..self.rows {
            for k in 0..depth {
                let sum = simd.reduce_sum_f32s(sums[row * depth + k]);
                // SAFETY: the caller's promise.
                unsafe { *self.target.at(row * self.target_row + k) = sum };
            }
        }
    }
}
