//! Strided convolutions from output to input: which taps lead to which of the input's pixels.

use pulp::Arch;

use super::geometry::Geometry;
use super::sharing::Task;
use super::simd::{Shared, vectorised};
use super::team::each_chunk;
use super::window::Window;

/// The taps of a convolution by the remainder of the input's row and column (counted from where the padding starts) that
/// they lead to.
pub struct Phases {
    pub all: Vec<Phase>,
    /// The most taps of a phase, down and across.
    pub reach: [usize; 2],
}

/// The taps of one phase.
pub struct Phase {
    taps: [usize; 2],
    reach: [usize; 2],
    /// `[inputs, outputs, taps]`
    pub weights: Vec<f32>,
}

impl Phases {
    pub fn new(geometry: &Geometry, weights: &[f32]) -> Self {
        let Geometry { inputs, outputs, kernel, stride, .. } = *geometry;
        let reach = [0, 1].map(|axis| kernel[axis].div_ceil(stride[axis]));
        let remainders = (0..stride[0]).flat_map(|row| (0..stride[1]).map(move |column| [row, column]));
        let all = remainders.map(|remainder| {
            let taps = [0, 1].map(|axis| kernel[axis].saturating_sub(remainder[axis]).div_ceil(stride[axis]));
            let count = taps[0] * taps[1];
            let places: Vec<usize> = (0..count)
                .map(|place| {
                    let row = remainder[0] + place / taps[1] * stride[0];
                    row * kernel[1] + remainder[1] + place % taps[1] * stride[1]
                })
                .collect();
            let mut turned = vec![0.0; inputs * outputs * count];
            each_chunk(&mut turned, (outputs * count).max(1), |input, line| {
                let kernels = weights[input * geometry.taps()..].chunks(inputs * geometry.taps());
                for (turned, kernel) in line.chunks_exact_mut(count).zip(kernels) {
                    for (value, place) in turned.iter_mut().zip(&places) {
                        *value = kernel[*place];
                    }
                }
            });
            Phase { taps, reach, weights: turned }
        });
        Self { all: all.collect(), reach }
    }

    /// Puts the pixels of the phases of a task, `[phases, channels, images, rows, columns]`, where they belong.
    ///
    /// # Safety
    /// `target` must be images of the geometry's inputs.
    pub unsafe fn merge(
        &self,
        arch: Arch,
        geometry: &Geometry,
        task: &Task,
        columns: usize,
        results: &[f32],
        target: Shared,
    ) {
        vectorised(
            arch,
            #[inline(always)]
            // SAFETY: the caller's promise.
            || unsafe { self.merge_lines(geometry, task, columns, results, target) },
        );
    }

    /// # Safety
    /// As [`merge`](Self::merge).
    #[inline(always)]
    unsafe fn merge_lines(&self, geometry: &Geometry, task: &Task, columns: usize, results: &[f32], target: Shared) {
        let Geometry { inputs, size: [height, width], stride: [down, across], padding, .. } = *geometry;
        let lines = task.channels * task.images * task.rows;
        // The phases of one remainder of the row together: their columns come by turns.
        for (remainder, results) in results.chunks_exact(across * lines * columns).enumerate() {
            for line in 0..lines {
                let (plane, row) = (line / task.rows, line % task.rows);
                let (channel, image) = (task.channel + plane / task.images, task.image + plane % task.images);
                let y = ((task.first + row) * down + remainder).wrapping_sub(padding[0]);
                if y >= height {
                    continue;
                }
                // SAFETY: a row of the image, which no other line has.
                let to = unsafe {
                    let start = target.at(((image * inputs + channel) * height + y) * width);
                    std::slice::from_raw_parts_mut(start, width)
                };
                let phase = |phase: usize| &results[(phase * lines + line) * columns..][..columns];
                if across == 2 {
                    by_turns(phase(0), phase(1), padding[1], to);
                    continue;
                }
                for x in 0..across.min(width) {
                    let place = x + padding[1];
                    let values = &phase(place % across)[place / across..];
                    to[x..].iter_mut().step_by(across).zip(values).for_each(|(to, value)| *to = *value);
                }
            }
        }
    }
}

/// The values of two lists by turns, without the first `skipped`.
#[inline(always)]
fn by_turns(firsts: &[f32], seconds: &[f32], skipped: usize, out: &mut [f32]) {
    let mut pairs = skipped / 2;
    let mut out = out;
    if !skipped.is_multiple_of(2) {
        out[0] = seconds[pairs];
        pairs += 1;
        out = &mut out[1..];
    }
    let (chunks, last) = out.as_chunks_mut::<2>();
    let (firsts, seconds) = (&firsts[pairs..], &seconds[pairs..]);
    if let [last] = last {
        *last = firsts[chunks.len()];
    }
    for ((pair, first), second) in chunks.iter_mut().zip(firsts).zip(seconds) {
        *pair = [*first, *second];
    }
}

impl Phase {
    /// Distances of the taps of all channels in a window over the gradient.
    pub fn offsets(&self, window: &Window, channels: usize) -> Vec<usize> {
        let [down, across] = self.reach;
        let taps = (0..self.taps[0]).flat_map(|row| (0..self.taps[1]).map(move |column| (row, column)));
        // The window begins `reach − 1` before the gradient; the first tap is the nearest.
        let taps: Vec<usize> = taps.map(|(row, column)| window.tap(down - 1 - row, across - 1 - column)).collect();
        (0..channels).flat_map(|channel| taps.iter().map(move |tap| channel * window.plane() + tap)).collect()
    }
}
