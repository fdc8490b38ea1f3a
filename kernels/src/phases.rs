//! Strided convolutions from output to input: which taps lead to which of the input's pixels.

use super::geometry::Geometry;
use super::sharing::Task;
use super::simd::Shared;
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
    remainder: [usize; 2],
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
            Phase { remainder, taps, reach, weights: turned }
        });
        Self { all: all.collect(), reach }
    }

    /// Puts the pixels of the phases of a task, `[phases, channels, images, rows, columns]`, where they belong.
    ///
    /// # Safety
    /// `target` must be images of the geometry's inputs.
    pub unsafe fn merge(&self, geometry: &Geometry, task: &Task, columns: usize, results: &[f32], target: Shared) {
        let Geometry { inputs, size: [height, width], stride, padding, .. } = *geometry;
        let lines = task.channels * task.images * task.rows;
        for (phase, results) in self.all.iter().zip(results.chunks_exact(lines * columns)) {
            for (line, values) in results.chunks_exact(columns).enumerate() {
                let (plane, row) = (line / task.rows, line % task.rows);
                let (channel, image) = (task.channel + plane / task.images, task.image + plane % task.images);
                let y = ((task.first + row) * stride[0] + phase.remainder[0]).wrapping_sub(padding[0]);
                if y >= height {
                    continue;
                }
                let start = phase.remainder[1] as isize - padding[1] as isize;
                // The first column of the phase that is in the image, and where it stands there.
                let skipped = if start < 0 { (-start as usize).div_ceil(stride[1]) } else { 0 };
                let x = (start + (skipped * stride[1]) as isize) as usize;
                // SAFETY: rows and columns outside of the image are left out.
                unsafe {
                    let to = target.at(((image * inputs + channel) * height + y) * width);
                    if stride[1] == 1 {
                        let count = (width - x).min(values.len() - skipped);
                        std::ptr::copy_nonoverlapping(values.as_ptr().add(skipped), to.add(x), count);
                    } else {
                        for (value, x) in values[skipped..].iter().zip((x..width).step_by(stride[1])) {
                            *to.add(x) = *value;
                        }
                    }
                }
            }
        }
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
