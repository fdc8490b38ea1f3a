//! Kernels as frequencies, laid out as the inner loop reads them.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use pulp::{Arch, Simd, WithSimd};

use super::{FREQUENCIES, MOST_LANES, SIDE, both_ways};
use crate::geometry::{Geometry, Weights};
use crate::simd::{load, store, with_scratch};
use crate::team::each_chunk;

/// The most kernels that the inner loop takes together.
pub const MOST_ROWS: usize = 8;
/// As many as that with half as many registers.
pub const FEWER_ROWS: usize = MOST_ROWS / 2;

/// G·g·Gᵀ of all kernels.
#[derive(Clone, Copy)]
pub struct Kernels<'a> {
    /// `[blocks of outputs, frequencies, inputs, outputs of a block]`, each frequency filled up to whole vectors.
    values: &'a [f32],
    /// Outputs of a block.
    pub rows: usize,
    /// Floats of a frequency of a block.
    pub line: usize,
}

impl Kernels<'_> {
    /// Does work with transformed kernels.
    pub fn with<R>(arch: Arch, geometry: &Geometry, weights: Weights, work: impl FnOnce(Kernels) -> R) -> R {
        let Geometry { inputs, outputs, .. } = *geometry;
        let rows = rows_at_once(arch);
        let line = (inputs * rows).next_multiple_of(MOST_LANES);
        with_scratch(outputs.div_ceil(rows) * FREQUENCIES * line, |values| {
            each_chunk(values, FREQUENCIES * line, |place, block| {
                let first = place * rows;
                with_scratch(9 * line, |taps| {
                    for (row, output) in (first..outputs.min(first + rows)).enumerate() {
                        part(weights, geometry, output, taps, [line, rows, row]);
                    }
                    transform(arch, taps, block);
                });
            });
            work(Kernels { values, rows, line })
        })
    }

    /// `[frequencies, inputs, rows]` of the outputs from `first` on, which must begin a block; a line from one frequency to
    /// the next.
    pub fn of(&self, first: usize) -> &[f32] {
        let block = FREQUENCIES * self.line;
        &self.values[first / self.rows * block..][..block]
    }
}

fn rows_at_once(arch: Arch) -> usize {
    struct Rows;
    impl WithSimd for Rows {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if S::REGISTER_COUNT >= 32 { MOST_ROWS } else { FEWER_ROWS }
        }
    }
    arch.dispatch(Rows)
}

/// The taps of the kernels of an output, from place `row` on every `rows`-th, a line from one tap to the next. What stands for
/// outputs that are not there, nobody looks at.
fn part(weights: Weights, geometry: &Geometry, output: usize, taps: &mut [f32], [line, rows, row]: [usize; 3]) {
    let Geometry { inputs, outputs, .. } = *geometry;
    let kernels = weights.values().as_chunks::<9>().0;
    match weights {
        Weights::Plain(_) => {
            for (input, kernel) in kernels[output * inputs..][..inputs].iter().enumerate() {
                for (taps, value) in taps.chunks_exact_mut(line).zip(kernel) {
                    taps[input * rows + row] = *value;
                }
            }
        }
        Weights::TurnedRound(_) => {
            for (input, kernel) in kernels[output..].iter().step_by(outputs).enumerate() {
                for (taps, value) in taps.chunks_exact_mut(line).zip(kernel.iter().rev()) {
                    taps[input * rows + row] = *value;
                }
            }
        }
    }
}

/// `[frequencies, ..]` from `[taps, ..]`.
fn transform(arch: Arch, taps: &[f32], frequencies: &mut [f32]) {
    struct Transform<'a>(&'a [f32], &'a mut [f32]);
    impl WithSimd for Transform<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(taps, frequencies) = self;
            let length = taps.len() / 9;
            assert!(length.is_multiple_of(S::F32_LANES) && frequencies.len() == FREQUENCIES * length);
            for place in (0..length).step_by(S::F32_LANES) {
                let mut kernel = [[simd.splat_f32s(0.0); 3]; 3];
                for y in 0..3 {
                    for x in 0..3 {
                        // SAFETY: there are nine lines of this length.
                        kernel[y][x] = unsafe { load::<S>(taps.as_ptr().add((3 * y + x) * length + place)) };
                    }
                }
                let kernel = both_ways(
                    kernel,
                    #[inline(always)]
                    |line| of_kernel(simd, line),
                );
                for y in 0..SIDE {
                    for x in 0..SIDE {
                        // SAFETY: there are sixteen lines of this length.
                        unsafe {
                            store::<S>(frequencies.as_mut_ptr().add((SIDE * y + x) * length + place), kernel[y][x]);
                        }
                    }
                }
            }
        }
    }
    arch.dispatch(Transform(taps, frequencies));
}

/// G of a line of a kernel.
#[inline(always)]
fn of_kernel<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
    let half = simd.splat_f32s(0.5);
    let (outer, inner) = (simd.mul_f32s(half, simd.add_f32s(a, c)), simd.mul_f32s(half, b));
    [a, simd.add_f32s(outer, inner), simd.sub_f32s(outer, inner), c]
}
