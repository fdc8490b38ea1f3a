//! Kernels as frequencies, laid out as the inner loop reads them.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use pulp::{Arch, Simd, WithSimd};

use super::both_ways;
use super::forward::{FREQUENCIES, SIDES};
use super::transforms::{long, short};
use crate::geometry::{Geometry, Weights};
use crate::simd::{load, odd_lines, store, transposed, with_scratch};
use crate::team::each_chunk;

/// The most kernels that the inner loop takes together.
pub const MOST_ROWS: usize = 8;
/// As many as that with half as many registers.
pub const FEWER_ROWS: usize = MOST_ROWS / 2;

/// G·g·G'ᵀ of all kernels.
#[derive(Clone, Copy)]
pub struct Kernels<'a> {
    /// `[blocks of outputs, frequencies, inputs, outputs of a block]`, each frequency filled up to an odd number of lines.
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
        let line = odd_lines(inputs * rows);
        with_scratch(outputs.div_ceil(rows) * FREQUENCIES * line, |values| {
            each_chunk(values, FREQUENCIES * line, |place, block| {
                let first = place * rows;
                with_scratch(9 * line, |taps| {
                    if rows == MOST_ROWS {
                        part::<MOST_ROWS>(weights, geometry, first, taps);
                    } else {
                        part::<FEWER_ROWS>(weights, geometry, first, taps);
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

/// The taps of the kernels of the outputs from `first` on, `[taps, inputs, outputs]`, each tap filled up. What stands for outputs
/// that are not there, nobody looks at.
fn part<const ROWS: usize>(weights: Weights, geometry: &Geometry, first: usize, taps: &mut [f32]) {
    let Geometry { inputs, outputs, .. } = *geometry;
    let kernels = weights.values().as_chunks::<9>().0;
    let line = taps.len() / 9;
    let mut lines = taps.chunks_exact_mut(line).map(|line| line.as_chunks_mut::<ROWS>().0);
    let mut lines: [&mut [[f32; ROWS]]; 9] = std::array::from_fn(|_| lines.next().expect("there are nine taps"));
    // Kernels from one output and from one input to the next.
    let (of_output, of_input) = match weights {
        Weights::Plain(_) => (inputs, 1),
        Weights::TurnedRound(_) => {
            lines.reverse();
            (1, outputs)
        }
    };
    let kernel = |row: usize, input: usize| &kernels[(first + row) * of_output + input * of_input..];
    let rows = ROWS.min(outputs - first);
    let rows_by_fours = rows / 4 * 4;
    let mut done = 0;
    for row in (0..rows_by_fours).step_by(4) {
        done = match weights {
            Weights::Plain(_) => turn::<4, ROWS>(&kernel, row, inputs, &mut lines),
            Weights::TurnedRound(_) => turn::<1, ROWS>(&kernel, row, inputs, &mut lines),
        };
    }
    for row in 0..rows {
        for input in if row < rows_by_fours { done } else { 0 }..inputs {
            for (line, value) in lines.iter_mut().zip(kernel(row, input)[0]) {
                line[input][row] = value;
            }
        }
    }
}

/// The kernels of four outputs from place `row` on, by vectors of four taps, those of `INPUTS` inputs that are neighbours
/// together; returns how many inputs are done.
#[inline(always)]
fn turn<'a, const INPUTS: usize, const ROWS: usize>(
    kernel: &impl Fn(usize, usize) -> &'a [[f32; 9]],
    row: usize,
    inputs: usize,
    lines: &mut [&mut [[f32; ROWS]]; 9],
) -> usize {
    let done = inputs / INPUTS * INPUTS;
    for input in (0..done).step_by(INPUTS) {
        let of_rows = [0, 1, 2, 3].map(|i| kernel(row + i, input)[..INPUTS].as_flattened().as_chunks::<4>());
        for four in 0..9 * INPUTS / 4 {
            let columns = transposed(of_rows.map(|(fours, _)| &fours[four]));
            for i in 0..4 {
                let place = 4 * four + i;
                lines[place % 9][input + place / 9][row..row + 4].copy_from_slice(&columns[i]);
            }
        }
        // What is left of one kernel.
        for i in 0..4 {
            for value in of_rows[i].1 {
                lines[8][input][row + i] = *value;
            }
        }
    }
    done
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
                    |column| short::of_kernel(simd, column),
                    #[inline(always)]
                    |row| long::of_kernel(simd, row),
                );
                for y in 0..SIDES[0] {
                    for x in 0..SIDES[1] {
                        let to = (SIDES[1] * y + x) * length + place;
                        // SAFETY: there are as many lines of this length as frequencies.
                        unsafe { store::<S>(frequencies.as_mut_ptr().add(to), kernel[y][x]) };
                    }
                }
            }
        }
    }
    arch.dispatch(Transform(taps, frequencies));
}
