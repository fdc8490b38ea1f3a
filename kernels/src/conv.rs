//! Convolutions on slices, forth and back to the input. A transposed convolution is the way back of another one.
//!
//! Every value is summed in one fixed order, whatever the number of threads.

use std::ops::Range;

use pulp::Arch;

use super::geometry::{Border, Geometry, Weights};
use super::phases::Phases;
use super::products::Correlation;
use super::sharing::{Split, SpotsOfTasks, Task};
use super::simd::{Shared, lanes, vectorised, with_scratch, written};
use super::spots::Spots;
use super::team::{each_chunk, each_of};
use super::window::Window;
use super::winograd;

/// The biases of the channels of a task, from `[channels]` or `[batch, channels]`.
pub fn biases_of<'a>(task: &Task, bias: Option<&'a [f32]>, channels: usize) -> Option<&'a [f32]> {
    let first = |bias: &[f32]| if bias.len() == channels { 0 } else { task.image * channels };
    bias.map(|bias| &bias[first(bias) + task.channel..])
}

/// What is done to the sums of products of a convolution.
#[derive(Debug, Clone, Copy, Default)]
pub struct After<'a> {
    /// What is added to each channel, `[outputs]` or `[batch, outputs]`.
    pub bias: Option<&'a [f32]>,
    /// What is added to each pixel then, and what the sum is multiplied by.
    pub residual: Option<(&'a [f32], f32)>,
}

impl After<'_> {
    /// Adds the residual to what a task has written, while it is in the caches: some rows of its planes.
    ///
    /// # Safety
    /// The task's rows must have been written, and be the caller's own.
    pub unsafe fn finish(&self, arch: Arch, geometry: &Geometry, task: &Task, rows: Range<usize>, target: Shared) {
        let Some((residual, factor)) = self.residual else { return };
        let [height, width] = geometry.size_out();
        for image in task.image..task.image + task.images {
            for channel in task.channel..task.channel + task.channels {
                let start = ((image * geometry.outputs + channel) * height + rows.start) * width;
                let residual = &residual[start..][..rows.len() * width];
                // SAFETY: the caller's promise.
                let output = unsafe { std::slice::from_raw_parts_mut(target.at(start), residual.len()) };
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        for (output, residual) in output.iter_mut().zip(residual) {
                            *output = (*output + residual) * factor;
                        }
                    },
                );
            }
        }
    }
}

/// The convolution of `input` `[batch, inputs, ..]`.
pub fn forward(arch: Arch, geometry: &Geometry, input: &[f32], weights: Weights, after: After) -> Vec<f32> {
    if winograd::forward::suits(geometry) {
        return winograd::forward::forward(arch, geometry, input, weights, after);
    }
    let Geometry { batch, inputs, outputs, kernel, .. } = *geometry;
    let weights = weights.plain(geometry);
    let [height, width] = geometry.size_out();
    let floats_a_row = inputs * Window::new(geometry, 1).floats_a_row();
    let split = Split::new(batch, [height, width], outputs, floats_a_row, after.bias);
    let window = Window::new(geometry, split.band);
    let offsets = window.offsets(inputs, kernel);
    let (image, plane) = (window.length(inputs), height * width);
    let tasks = split.tasks(batch, height, outputs);
    let spots = SpotsOfTasks::new(&tasks, |images, rows| {
        Spots::new([rows, width], window.pitch, lanes(arch)).repeated(images, image, outputs * plane)
    });
    let depth = inputs * geometry.taps();
    let fill = |target: Shared| {
        each_of(&tasks, |_, task| {
            with_scratch(task.images * image, |source| {
                for (i, laid_out) in source.chunks_exact_mut(image).enumerate() {
                    let input = &input[(task.image + i) * inputs * geometry.area()..][..inputs * geometry.area()];
                    window.fill(arch, input, inputs, task.first, laid_out);
                }
                let start = (task.image * outputs + task.channel) * plane + task.first * width;
                // SAFETY: the vectors are those of the task's part of the output, and the window was laid out for them.
                unsafe {
                    let correlation = Correlation {
                        weights: &weights[task.channel * depth..],
                        rows: task.channels,
                        offsets: &offsets,
                        spots: spots.of(task),
                        source,
                        bias: biases_of(task, after.bias, outputs),
                        target: Shared(target.at(start)),
                        target_plane: plane,
                    };
                    correlation.run(arch);
                    after.finish(arch, geometry, task, task.first..task.first + task.rows, target);
                }
            });
        });
    };
    // SAFETY: the tasks are the whole output.
    unsafe { written(batch * outputs * plane, fill) }
}

/// The gradient of the input of a convolution, `[batch, inputs, ..]`; also the transposed convolution itself.
pub fn input_gradient(
    arch: Arch,
    geometry: &Geometry,
    gradient: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    if winograd::mirrored::suits(arch, geometry) {
        return winograd::mirrored::input_gradient(arch, geometry, gradient, weights, bias);
    }
    if geometry.border == Border::Reflect {
        let [vertical, horizontal] = geometry.padding;
        let size = [geometry.size[0] + 2 * vertical, geometry.size[1] + 2 * horizontal];
        let padded = Geometry { size, padding: [0, 0], border: Border::Zero, ..*geometry };
        return fold(geometry, &input_gradient(arch, &padded, gradient, weights, bias));
    }
    let Geometry { batch, inputs, outputs, size: [height, width], kernel, stride, padding, .. } = *geometry;
    if stride == [1, 1] {
        // A convolution too, by the kernels turned round.
        let padding = [0, 1].map(|axis| kernel[axis] - 1 - padding[axis]);
        let turned = Geometry { inputs: outputs, outputs: inputs, size: geometry.size_out(), padding, ..*geometry };
        return forward(arch, &turned, gradient, Weights::TurnedRound(weights), After { bias, ..After::default() });
    }
    let phases = Phases::new(geometry, weights);
    let size_out = geometry.size_out();
    // Rows and columns of a phase.
    let [phase_rows, phase_columns] = [0, 1].map(|axis| geometry.size[axis].div_ceil(stride[axis]));
    let window = |rows| Window::of(size_out, [rows, phase_columns], phases.reach, [1, 1], phases.before, Border::Zero);
    let floats_a_row = outputs * window(1).floats_a_row() + inputs * phase_columns;
    let split = Split::new(batch, [phase_rows, phase_columns], inputs, floats_a_row, bias);
    let window = window(split.band);
    let image = window.length(outputs);
    let tasks = split.tasks(batch, phase_rows, inputs);
    let spots = SpotsOfTasks::new(&tasks, |images, rows| {
        let spots = Spots::new([rows, phase_columns], window.pitch, lanes(arch));
        spots.repeated(images, image, rows * phase_columns)
    });
    let fill = |target: Shared| {
        each_of(&tasks, |_, task| {
            // A channel of the results of a phase: all images of the task, one after another.
            let plane = task.images * task.rows * phase_columns;
            let of_phase = task.channels * plane;
            with_scratch(task.images * image + phases.all.len() * of_phase, |scratch| {
                let (source, results) = scratch.split_at_mut(task.images * image);
                for (i, laid_out) in source.chunks_exact_mut(image).enumerate() {
                    let area = outputs * geometry.area_out();
                    window.fill(arch, &gradient[(task.image + i) * area..][..area], outputs, task.first, laid_out);
                }
                for (phase, results) in phases.all.iter().zip(results.chunks_exact_mut(of_phase)) {
                    let offsets = phase.offsets(&window, outputs);
                    let correlation = Correlation {
                        weights: &phase.weights[task.channel * offsets.len()..],
                        rows: task.channels,
                        offsets: &offsets,
                        spots: spots.of(task),
                        source,
                        bias: biases_of(task, bias, inputs),
                        target: Shared(results.as_mut_ptr()),
                        target_plane: plane,
                    };
                    // SAFETY: the results have room for all channels and pixels of the task.
                    unsafe { correlation.run(arch) };
                }
                // SAFETY: each task and phase has pixels of its own.
                unsafe { phases.merge(arch, geometry, task, phase_columns, results, target) };
            });
        });
    };
    // SAFETY: the tasks of all phases are the whole input.
    unsafe { written(batch * inputs * height * width, fill) }
}

/// The gradient of an image from that of the image with its mirrored border: each border pixel's is its origin's.
fn fold(geometry: &Geometry, padded: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, size: [height, width], padding: [vertical, horizontal], border, .. } = *geometry;
    let (padded_height, padded_width) = (height + 2 * vertical, width + 2 * horizontal);
    let mut folded = vec![0.0; batch * inputs * height * width];
    let padded_area = padded_height * padded_width;
    each_chunk(&mut folded, height * width, |plane, folded| {
        let padded = &padded[plane * padded_area..][..padded_area];
        for (row, line) in padded.chunks_exact(padded_width).enumerate() {
            let y = border.place(row, vertical, height).expect("a mirrored border has an origin");
            let folded = &mut folded[y * width..][..width];
            for (sum, value) in folded.iter_mut().zip(&line[horizontal..]) {
                *sum += value;
            }
            for column in (0..horizontal).chain(horizontal + width..padded_width) {
                folded[border.place(column, horizontal, width).expect("a mirrored border has an origin")] +=
                    line[column];
            }
        }
    });
    folded
}
