//! Kernels as frequencies, laid out as the inner loop reads them.

#![expect(clippy::needless_range_loop, reason = "loops over registers, all of one length, that must be unrolled")]

use pulp::{Arch, Simd, WithSimd};

use super::forward::{FREQUENCIES, SIDES};
use super::transforms::{long, short};
use super::{TAPS, both_ways};
use crate::geometry::{Geometry, Weights};
use crate::simd::{MOST_LANES, gathered, odd_lines, store, with_scratch};
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
                let rows = [place * rows, rows];
                arch.dispatch(Transform { weights, geometry, rows, line, frequencies: block });
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

/// The frequencies of the kernels of a block of outputs, `[frequencies, inputs, outputs]`. What stands for outputs that are not
/// there, nobody looks at.
struct Transform<'a> {
    weights: Weights<'a>,
    geometry: &'a Geometry,
    /// The first output of the block, and how many there are.
    rows: [usize; 2],
    /// Floats of a frequency.
    line: usize,
    frequencies: &'a mut [f32],
}

impl WithSimd for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weights, geometry: Geometry { inputs, outputs, .. }, rows: [first, rows], line, frequencies } = self;
        let (values, inputs, outputs) = (weights.values(), *inputs, *outputs);
        assert!(values.len() == outputs * inputs * TAPS * TAPS && first < outputs);
        assert!(frequencies.len() == FREQUENCIES * line && line >= (inputs * rows).next_multiple_of(S::F32_LANES));
        // Floats from the kernel of one output and of one input to the next.
        let [of_output, of_input] = match weights {
            Weights::Plain(_) => [inputs, 1],
            Weights::TurnedRound(_) => [1, outputs],
        }
        .map(|kernels| kernels * TAPS * TAPS);
        // A vector has some outputs of one input, or all of several.
        let (rows_at_once, inputs_at_once) = (rows.min(S::F32_LANES), S::F32_LANES.div_ceil(rows));
        for row in (0..rows).step_by(rows_at_once) {
            // Of what is not there, the last that is stands in.
            let places = |inputs: usize| {
                let mut places = [0i32; MOST_LANES];
                for lane in 0..S::F32_LANES {
                    let output = (first + row + lane % rows).min(outputs - 1) - first;
                    places[lane] = (output * of_output + (lane / rows).min(inputs - 1) * of_input) as i32;
                }
                places
            };
            let (all, of_last) = (places(inputs_at_once), places((inputs - 1) % inputs_at_once + 1));
            for input in (0..inputs).step_by(inputs_at_once) {
                let places = if input + inputs_at_once > inputs { &of_last } else { &all };
                let from = values[first * of_output + input * of_input..].as_ptr();
                let mut kernel = [[simd.splat_f32s(0.0); TAPS]; TAPS];
                for y in 0..TAPS {
                    for x in 0..TAPS {
                        let tap = TAPS * y + x;
                        let tap = if matches!(weights, Weights::Plain(_)) { tap } else { TAPS * TAPS - 1 - tap };
                        // SAFETY: kernels of outputs and inputs that are there.
                        kernel[y][x] = unsafe { gathered(simd, from.add(tap), places) };
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
                        let to = (SIDES[1] * y + x) * line + input * rows + row;
                        // SAFETY: there are as many lines of this length as frequencies.
                        unsafe { store::<S>(frequencies.as_mut_ptr().add(to), kernel[y][x]) };
                    }
                }
            }
        }
    }
}
