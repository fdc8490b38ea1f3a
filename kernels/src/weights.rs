//! The gradients of the weights and the bias of a convolution, on slices.

use std::borrow::Cow;

use pulp::Arch;

use super::geometry::Geometry;
use super::products::{Correlation, Products};
use super::sharing::{BAND, ROWS};
use super::simd::{Shared, lanes, sum_by, vectorised, with_scratch, written};
use super::spots::Spots;
use super::team::{each_chunk, each_of, threads};
use super::window::Window;
use super::winograd;

/// Channels that one task sums up together, at most: each time, the gradient comes from memory once.
const CHANNELS_AT_ONCE: usize = 8;
/// Rows of the result that one task sums up, at most.
const ROWS_AT_ONCE: usize = 64;

/// Vectors of pixels below which the sums over the lanes of a vector would cost more than the products.
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
    let Geometry { batch, inputs, outputs, kernel, .. } = *geometry;
    let [height, width] = geometry.size_out();
    let window = Window::new(geometry, height);
    let spots = Spots::new([height, width], window.pitch, lanes(arch));
    if batch * spots.spots.len() < FEW_VECTORS && outputs >= 2 * ROWS && inputs > 1 {
        return weight_gradient_by_patches(arch, geometry, &window, input, gradient);
    }
    let left = Lined::new(&spots, gradient, batch * outputs, height * width, lanes(arch));
    let threads = threads();
    let fits = BAND / (batch * window.plane());
    let channels_at_once = CHANNELS_AT_ONCE.min(inputs.div_ceil(2 * threads)).min(fits.max(1));
    let offsets = window.offsets(channels_at_once, kernel);
    let image = window.length(channels_at_once);
    let steps: Vec<(usize, usize)> = (0..batch)
        .flat_map(|i| left.places.iter().zip(&spots.spots).map(move |(place, spot)| (i, *place, spot.source)))
        .map(|(i, place, source)| (i * outputs * left.plane + place, i * image + source))
        .collect();
    // Without several channels in, threads share the channels out.
    let parts = (2 * threads).div_ceil(inputs.div_ceil(channels_at_once)).min(outputs.div_ceil(2 * ROWS)).max(1);
    let rows_at_once = outputs.div_ceil(parts).next_multiple_of(ROWS).min(ROWS_AT_ONCE);
    let tasks: Vec<[usize; 2]> = (0..inputs)
        .step_by(channels_at_once)
        .flat_map(|channel| (0..outputs).step_by(rows_at_once).map(move |row| [channel, row]))
        .collect();
    let fill = |target: Shared| {
        each_of(&tasks, |_, &[channel, row]| {
            let channels = channels_at_once.min(inputs - channel);
            with_scratch(batch * image, |right| {
                for (i, right) in right.chunks_exact_mut(image).enumerate() {
                    let planes = &input[(i * inputs + channel) * geometry.area()..][..channels * geometry.area()];
                    right[channels * window.plane()..].fill(0.0);
                    window.fill(arch, planes, channels, 0, right);
                }
                let depth = inputs * geometry.taps();
                // SAFETY: each task has rows and columns of the result of its own; steps are those of the spots.
                unsafe {
                    let products = Products {
                        left: &left.values[row * left.plane..],
                        left_plane: left.plane,
                        rows: rows_at_once.min(outputs - row),
                        right,
                        offsets: &offsets[..channels * geometry.taps()],
                        steps: &steps,
                        target: Shared(target.at(row * depth + channel * geometry.taps())),
                        target_row: depth,
                    };
                    products.run(arch);
                }
            });
        });
    };
    // SAFETY: the tasks are all rows and columns of the result.
    unsafe { written(outputs * inputs * geometry.taps(), fill) }
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

/// Planes whose pixels stand in vectors as the spots do, with zeros where a lane is no pixel.
struct Lined<'a> {
    values: Cow<'a, [f32]>,
    /// Floats of a plane.
    plane: usize,
    /// Where each spot's vector is in a plane.
    places: Vec<usize>,
}

impl<'a> Lined<'a> {
    fn new(spots: &Spots, planes: &'a [f32], count: usize, area: usize, lanes: usize) -> Self {
        if spots.are_whole(lanes) {
            let places = spots.runs.iter().map(|run| run.target).collect();
            return Self { values: planes.into(), plane: area, places };
        }
        let plane = spots.spots.len() * lanes;
        let mut values = vec![0.0; count * plane];
        each_chunk(&mut values, plane, |i, lined| {
            let plane = &planes[i * area..][..area];
            for (vector, spot) in lined.chunks_exact_mut(lanes).zip(&spots.spots) {
                for run in spots.runs(spot) {
                    vector[run.from..run.to].copy_from_slice(&plane[run.target..][..run.to - run.from]);
                }
            }
        });
        Self { values: values.into(), plane, places: (0..spots.spots.len()).map(|spot| spot * lanes).collect() }
    }
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
