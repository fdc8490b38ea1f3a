//! The gradients of the weights and the bias of a convolution, on slices.

use pulp::Arch;

use super::geometry::{Border, Geometry};
use super::pixels::{self, Planes};
use super::products::{Correlation, Products, TOGETHER};
use super::sharing::{BAND, ROWS};
use super::simd::{Shared, lanes, sum_by, vectorised, with_scratch, written};
use super::spots::Spots;
use super::team::{each_chunk, each_of, made_of_chunks, threads};
use super::window::Window;
use super::winograd;

/// Floats of both sides that are laid out at a time: they stay in the second cache, beside the sums.
const AT_A_TIME: usize = 1 << 16;
/// Pixels for which sums that stay nowhere near may be read and written once.
const PIXELS_AT_A_TIME: usize = 256;
/// Sums of all parts, in floats.
const SUMS: usize = 1 << 20;
/// Pixels of a part, at least.
const PIXELS: usize = 1 << 11;
/// Parts that are summed up alone, at most.
const PARTS: usize = 8;

/// Outputs below which vectors go along inputs.
const FEW_OUTPUTS: usize = 8;

/// Vectors of pixels below which sums would be read and written more often than products are added.
const FEW_VECTORS: usize = 32;

/// The gradient of the weights of a convolution, `[outputs, inputs, kernel..]`, and the sums of the planes of the gradient,
/// `[batch, outputs]`: where the way to the first reads these anyhow, they are read only once.
pub fn weight_gradient_and_plane_sums(
    arch: Arch,
    geometry: &Geometry,
    input: &[f32],
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    if winograd::weights::suits(geometry) {
        let mut sums = vec![0.0; geometry.batch * geometry.outputs];
        let weights = winograd::weights::weight_gradient(arch, geometry, input, gradient, Some(&mut sums));
        return (weights, sums);
    }
    (weight_gradient(arch, geometry, input, gradient), plane_sums(arch, gradient, geometry.area_out()))
}

/// The gradient of the weights of a convolution, `[outputs, inputs, kernel..]`.
pub fn weight_gradient(arch: Arch, geometry: &Geometry, input: &[f32], gradient: &[f32]) -> Vec<f32> {
    if winograd::weights::suits(geometry) {
        return winograd::weights::weight_gradient(arch, geometry, input, gradient, None);
    }
    let Geometry { batch, inputs, outputs, .. } = *geometry;
    let [height, width] = geometry.size_out();
    let window = Window::new(geometry, height);
    let vectors = batch * Spots::count([height, width], window.pitch, lanes(arch));
    if vectors < FEW_VECTORS && outputs >= 2 * ROWS && inputs > 1 {
        return weight_gradient_by_patches(arch, geometry, &window, input, gradient);
    }
    weight_gradient_by_pixels(arch, geometry, input, gradient)
}

/// By products of the channels of pixels, added up pixel by pixel.
fn weight_gradient_by_pixels(arch: Arch, geometry: &Geometry, input: &[f32], gradient: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, size, kernel, stride, padding, border } = *geometry;
    let [height, width] = geometry.size_out();
    // Vectors go along outputs, where there are more than a few: then each side has its own.
    let along_outputs = outputs >= FEW_OUTPUTS;
    // How rows are parted decides how sums are rounded, so the number of threads has no say in it; parts that are too few for all
    // threads are shared out by outputs.
    let of_all = kernel[0] * kernel[1] * inputs.next_multiple_of(pixels::ROWS) * outputs.next_multiple_of(pixels::ROWS);
    let lines = batch * height;
    let parts = (SUMS / of_all).min(lines * width / PIXELS).clamp(1, PARTS).min(lines);
    let vectors = if along_outputs { outputs.div_ceil(pixels::ROWS) } else { 1 };
    let ranges = threads().div_ceil(parts).min(vectors);
    let range = if along_outputs { vectors.div_ceil(ranges) * pixels::ROWS } else { outputs };
    let before =
        Planes { values: input, all: inputs, first: 0, channels: inputs, padded: inputs, size, padding, border };
    let after = Planes {
        values: gradient,
        all: outputs,
        channels: outputs,
        padded: range,
        size: [height, width],
        padding: [0, 0],
        border: Border::Zero,
        ..before
    };
    let columns = (width - 1) * stride[1] + kernel[1];
    // Numbers of the input that a row of taps sees, side by side.
    let run = kernel[1] * inputs;
    let sums = if along_outputs { [run, range] } else { [outputs, run.next_multiple_of(pixels::ROWS)] };
    let of_taps = sums[0] * sums[1];
    let of_range = kernel[0] * of_taps;
    let of_part = ranges * of_range;
    // Of all outputs, since it decides how sums are rounded too.
    let of_row = stride[0] * columns * inputs + width * outputs;
    let at_a_time = (AT_A_TIME / of_row).max(PIXELS_AT_A_TIME.div_ceil(width)).clamp(1, height);
    let rows_before = |rows: usize| (rows - 1) * stride[0] + kernel[0];
    let beyond = TOGETHER * pixels::ROWS;
    let sizes = [rows_before(at_a_time) * columns * inputs + beyond, at_a_time * width * range + beyond];
    with_scratch(parts * of_part, |all| {
        each_chunk(all, of_range, |task, target| {
            let (part, first) = (task / ranges, task % ranges * range);
            if first >= outputs {
                return;
            }
            let after = Planes { first, channels: range.min(outputs - first), ..after };
            let (begin, end) = (part * lines / parts, (part + 1) * lines / parts);
            with_scratch(sizes[0] + sizes[1], |scratch| {
                let (inner, outer) = scratch.split_at_mut(sizes[0]);
                let mut line = begin;
                while line < end {
                    // As many as belong to one image.
                    let (image, row) = (line / height, line % height);
                    let rows = (end - line).min(height - row).min(at_a_time);
                    vectorised(
                        arch,
                        #[inline(always)]
                        || {
                            before.lay_out(image, row * stride[0], [rows_before(rows), columns], inner);
                            after.lay_out(image, row, [rows, width], outer);
                        },
                    );
                    for tap in 0..kernel[0] {
                        let inputs =
                            (&inner[tap * columns * inputs..], [stride[0] * columns * inputs, stride[1] * inputs]);
                        let gradients = (&*outer, [width * range, range]);
                        let (left, right) = if along_outputs { (inputs, gradients) } else { (gradients, inputs) };
                        let target = Shared(target[tap * of_taps..].as_mut_ptr());
                        let products =
                            Products { left, right, pixels: [rows, width], sums, goes_on: line > begin, target };
                        // SAFETY: the pixels are laid out, with room beyond them, and the sums are the part's own.
                        unsafe { products.run(arch) };
                    }
                    line += rows;
                }
            });
        });
        let (all, others) = all.split_at_mut(of_part);
        for part in others.chunks_exact(of_part) {
            all.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        let taps = (0..kernel[0]).flat_map(|row| (0..kernel[1]).map(move |column| (row, column)));
        let fill = |output: usize, kernels: &mut [f32]| {
            let (all, output) = (&all[output / range * of_range..], output % range);
            for (input, kernel) in kernels.chunks_exact_mut(geometry.taps()).enumerate() {
                for (value, (row, column)) in kernel.iter_mut().zip(taps.clone()) {
                    let place = column * inputs + input;
                    let [i, k] = if along_outputs { [place, output] } else { [output, place] };
                    *value = all[row * of_taps + i * sums[1] + k];
                }
            }
        };
        // SAFETY: an output has kernels of all inputs.
        unsafe { made_of_chunks(outputs * inputs * geometry.taps(), inputs * geometry.taps(), fill) }
    })
}

/// The same for few pixels and many channels: vectors go along the inputs and taps, so that nothing is summed over lanes.
fn weight_gradient_by_patches(
    arch: Arch,
    geometry: &Geometry,
    window: &Window,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, kernel, .. } = *geometry;
    let ([height, width], area, taps) = (geometry.size_out(), geometry.area_out(), geometry.taps());
    // [outputs, batch, pixels]
    let mut weights = vec![0.0; gradient.len()];
    for (line, values) in gradient.chunks_exact(area).enumerate() {
        let (image, output) = (line / outputs, line % outputs);
        weights[(output * batch + image) * area..][..area].copy_from_slice(values);
    }
    let channels_at_once = (inputs.div_ceil(2 * threads())).min((BAND / (batch * area * taps)).max(1));
    let tasks: Vec<usize> = (0..inputs).step_by(channels_at_once).collect();
    let fill = |target: Shared| {
        each_of(&tasks, |_, &channel| {
            let channels = channels_at_once.min(inputs - channel);
            let depth = channels * taps;
            let pitch = depth.next_multiple_of(2 * ROWS);
            let patches = batch * area * pitch;
            with_scratch(patches + window.length(channels), |scratch| {
                let (patches, laid_out) = scratch.split_at_mut(patches);
                patches.fill(0.0);
                let places = window.offsets(channels, kernel);
                for (image, patches) in patches.chunks_exact_mut(area * pitch).enumerate() {
                    let planes = &input[(image * inputs + channel) * geometry.area()..][..channels * geometry.area()];
                    window.fill(arch, planes, channels, 0, laid_out);
                    for (pixel, patch) in patches.chunks_exact_mut(pitch).enumerate() {
                        let start = pixel / width * window.pitch + pixel % width;
                        for (value, place) in patch.iter_mut().zip(&places) {
                            *value = laid_out[start + place];
                        }
                    }
                }
                let of_pixels: Vec<usize> = (0..batch * height * width).map(|pixel| pixel * pitch).collect();
                let correlation = Correlation {
                    weights: &weights,
                    rows: outputs,
                    offsets: &of_pixels,
                    spots: &Spots::new([1, depth], depth, lanes(arch)),
                    source: patches,
                    bias: None,
                    // SAFETY: each task has columns of the result of its own.
                    target: Shared(unsafe { target.at(channel * taps) }),
                    target_plane: inputs * taps,
                };
                // SAFETY: a patch is as long as the vectors of its values, and the columns are the task's own.
                unsafe { correlation.run(arch) };
            });
        });
    };
    // SAFETY: the tasks are all columns of the result.
    unsafe { written(outputs * inputs * taps, fill) }
}

/// The sum of each plane: the gradient of a bias, before it is summed over images.
pub fn plane_sums(arch: Arch, planes: &[f32], area: usize) -> Vec<f32> {
    let mut sums = vec![0.0; planes.len() / area];
    each_chunk(&mut sums, 1, |i, sum| {
        let plane = &planes[i * area..][..area];
        sum[0] = vectorised(
            arch,
            #[inline(always)]
            || sum_by([plane], |[value]| value),
        );
    });
    sums
}
