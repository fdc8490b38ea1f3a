//! Norms on cards. A row is one channel of one image, its values lie side by side; groups are of neighbouring rows.
//!
//! Sums over a group are made of sums over parts of its rows, so that a few large groups still fill a card; they are
//! added up in a fixed order, so that results are the same each time.

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::super::norm::Groups;
use super::super::stencil::Resize;
use super::curve::{Curve, curve, slope_at};
use super::resample::{Line, resized, resized_after};
use super::{UNITS, beside, cubes, cubes_for_values};

/// Values of a row that one cube sums up.
const PART: usize = 16 * UNITS;

/// The norm of x `[batch, channels, height, width]` with scale and shift, each of 1, channels or batch·channels values;
/// and mean and reciprocal standard deviation of each group, `[batch * groups, 2]`.
pub fn forward([x, scale, shift]: [CubeTensor; 3], groups: &Groups) -> (CubeTensor, CubeTensor) {
    let client = x.client.clone();
    let moments = moments(&x, groups);
    let ([height, width], [tall, wide]) = (groups.sides, groups.sides_after());
    let shape = Shape::new([groups.batch, groups.channels, tall, wide]);
    let out = beside(&x, shape.clone());
    let (curve, slope) = curve(groups.activation);
    let (count, dim) = cubes_for_values(shape.num_elements());
    apply_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        moments.clone().into_buffer_arg(),
        scale.into_buffer_arg(),
        shift.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        height,
        width,
        tall,
        wide,
        groups.width(),
        slope,
        curve,
        groups.resize,
    );
    (out, moments)
}

fn moments(x: &CubeTensor, groups: &Groups) -> CubeTensor {
    let (rows, parts) = (groups.batch * groups.channels, groups.area().div_ceil(PART));
    let client = x.client.clone();
    let of_parts = beside(x, Shape::new([rows * parts, 2]));
    let (count, dim) = cubes(rows * parts);
    part_moments_kernel::launch(
        &client,
        count,
        dim,
        x.clone().into_buffer_arg(),
        of_parts.clone().into_buffer_arg(),
        groups.area(),
        parts,
        UNITS,
    );
    let all = groups.batch * groups.groups;
    let moments = beside(x, Shape::new([all, 2]));
    let (count, dim) = cubes(all);
    group_moments_kernel::launch(
        &client,
        count,
        dim,
        of_parts.into_buffer_arg(),
        moments.clone().into_buffer_arg(),
        groups.area(),
        parts,
        groups.width(),
        groups.eps,
        UNITS,
    );
    moments
}

/// The gradients of x, and of scale and shift, the latter `[batch, channels]`.
pub fn backward([x, scale, shift, moments, gradient]: [CubeTensor; 5], groups: &Groups) -> [CubeTensor; 3] {
    let (rows, parts) = (groups.batch * groups.channels, groups.area().div_ceil(PART));
    let client = x.client.clone();
    let (curve, slope) = curve(groups.activation);
    let ([height, width], [tall, wide]) = (groups.sides, groups.sides_after());
    let (back, back_factor) = groups.resize.map(Resize::transpose).unzip();
    let back_factor = back_factor.unwrap_or(1.0);
    let of_parts = beside(&x, Shape::new([rows * parts, 2]));
    let (count, dim) = cubes(rows * parts);
    part_sums_kernel::launch(
        &client,
        count,
        dim,
        x.clone().into_buffer_arg(),
        gradient.clone().into_buffer_arg(),
        moments.clone().into_buffer_arg(),
        scale.clone().into_buffer_arg(),
        shift.clone().into_buffer_arg(),
        of_parts.clone().into_buffer_arg(),
        height,
        width,
        tall,
        wide,
        parts,
        groups.width(),
        slope,
        back_factor,
        curve,
        back,
        UNITS,
    );
    let all = groups.batch * groups.groups;
    let of_groups = beside(&x, Shape::new([all, 2]));
    let [of_scale, of_shift] = [(); 2].map(|()| beside(&x, Shape::new([groups.batch, groups.channels])));
    let (count, dim) = cubes(all);
    group_sums_kernel::launch(
        &client,
        count,
        dim,
        of_parts.into_buffer_arg(),
        scale.clone().into_buffer_arg(),
        of_groups.clone().into_buffer_arg(),
        of_scale.clone().into_buffer_arg(),
        of_shift.clone().into_buffer_arg(),
        groups.area(),
        parts,
        groups.width(),
        UNITS,
    );
    let of_x = beside(&x, x.meta.shape().clone());
    let (count, dim) = cubes_for_values(x.meta.num_elements());
    gradient_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        gradient.into_buffer_arg(),
        moments.into_buffer_arg(),
        of_groups.into_buffer_arg(),
        scale.into_buffer_arg(),
        shift.into_buffer_arg(),
        of_x.clone().into_buffer_arg(),
        height,
        width,
        tall,
        wide,
        groups.width(),
        slope,
        back_factor,
        curve,
        back,
    );
    [of_x, of_scale, of_shift]
}

/// Mean and sum of squared deviations from it, of each part of each row.
#[cube(launch)]
fn part_moments_kernel(x: &[f32], of_parts: &mut [f32], area: usize, parts: usize, #[comptime] units: usize) {
    let part = CUBE_POS;
    if part < of_parts.len() / 2 {
        let (first, count) = place_of_part(part, area, parts);
        let mut sum = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < count {
            sum += x[first + i];
            i += units;
        }
        let mean = sum_over_cube(sum, units) / f32::cast_from(count as u32);
        let mut squares = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < count {
            let deviation = x[first + i] - mean;
            squares += deviation * deviation;
            i += units;
        }
        let squares = sum_over_cube(squares, units);
        if UNIT_POS == 0 {
            of_parts[2 * part] = mean;
            of_parts[2 * part + 1] = squares;
        }
    }
}

/// Mean and reciprocal standard deviation of each group from those of its parts.
#[cube(launch)]
fn group_moments_kernel(
    of_parts: &[f32],
    moments: &mut [f32],
    area: usize,
    parts: usize,
    width: usize,
    eps: f32,
    #[comptime] units: usize,
) {
    let group = CUBE_POS;
    if group < moments.len() / 2 {
        let first = group * width * parts;
        let all = f32::cast_from((width * area) as u32);
        let mut sum = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < width * parts {
            let (_, count) = place_of_part(first + i, area, parts);
            sum += of_parts[2 * (first + i)] * f32::cast_from(count as u32);
            i += units;
        }
        let mean = sum_over_cube(sum, units) / all;
        // The deviations from the mean of all are those from the mean of a part, and how far that is from it.
        let mut squares = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < width * parts {
            let (_, count) = place_of_part(first + i, area, parts);
            let deviation = of_parts[2 * (first + i)] - mean;
            squares += of_parts[2 * (first + i) + 1] + f32::cast_from(count as u32) * deviation * deviation;
            i += units;
        }
        let variance = sum_over_cube(squares, units) / all;
        if UNIT_POS == 0 {
            moments[2 * group] = mean;
            moments[2 * group + 1] = 1.0f32 / (variance + eps).sqrt();
        }
    }
}

/// The normalised values with scale, shift and activation, resized from planes of height and width to tall and wide.
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes its buffers and sizes one by one")]
fn apply_kernel(
    x: &[f32],
    moments: &[f32],
    scale: &[f32],
    shift: &[f32],
    out: &mut [f32],
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    channels: usize,
    slope: f32,
    #[comptime] curve: Curve,
    #[comptime] how: Option<Resize>,
) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        let row = place / (tall * wide);
        let group = row / channels;
        let line = Line {
            mean: moments[2 * group],
            rate: moments[2 * group + 1],
            factor: of_row(scale, row),
            summand: of_row(shift, row),
            slope,
        };
        if comptime!(how.is_some()) {
            let (how, curve) = comptime!((how.unwrap(), Some(curve)));
            out[place] = resized_after(x, place, height, width, tall, wide, how, line, curve);
        } else {
            out[place] = line.of(x[place], curve);
        }
    }
}

/// The gradient of a value of planes of height and width, from that of planes of tall and wide.
#[cube]
#[expect(clippy::too_many_arguments, reason = "a function of kernels takes sizes one by one")]
fn gradient_at(
    gradient: &[f32],
    place: usize,
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    factor: f32,
    #[comptime] back: Option<Resize>,
) -> f32 {
    if comptime!(back.is_some()) {
        let back = comptime!(back.unwrap());
        resized(gradient, place, tall, wide, height, width, back) * factor
    } else {
        gradient[place]
    }
}

/// The sums over each part of each row of the gradient before the activation, plain and weighted by the normalised values.
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes its buffers and sizes one by one")]
fn part_sums_kernel(
    x: &[f32],
    gradient: &[f32],
    moments: &[f32],
    scale: &[f32],
    shift: &[f32],
    of_parts: &mut [f32],
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    parts: usize,
    channels: usize,
    slope: f32,
    back_factor: f32,
    #[comptime] curve: Curve,
    #[comptime] back: Option<Resize>,
    #[comptime] units: usize,
) {
    let part = CUBE_POS;
    if part < of_parts.len() / 2 {
        let row = part / parts;
        let group = row / channels;
        let (first, count) = place_of_part(part, height * width, parts);
        let (mean, rate) = (moments[2 * group], moments[2 * group + 1]);
        let (factor, summand) = (of_row(scale, row), of_row(shift, row));
        let mut plain = 0.0f32;
        let mut weighted = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < count {
            let normalised = (x[first + i] - mean) * rate;
            let after = gradient_at(gradient, first + i, height, width, tall, wide, back_factor, back);
            let before = after * slope_at(normalised * factor + summand, slope, curve);
            plain += before;
            weighted += before * normalised;
            i += units;
        }
        let plain = sum_over_cube(plain, units);
        let weighted = sum_over_cube(weighted, units);
        if UNIT_POS == 0 {
            of_parts[2 * part] = plain;
            of_parts[2 * part + 1] = weighted;
        }
    }
}

/// The gradients of scale and shift of each row, and the means over each group of the gradient of the normalised values,
/// plain and weighted by them.
#[cube(launch)]
fn group_sums_kernel(
    of_parts: &[f32],
    scale: &[f32],
    of_groups: &mut [f32],
    of_scale: &mut [f32],
    of_shift: &mut [f32],
    area: usize,
    parts: usize,
    width: usize,
    #[comptime] units: usize,
) {
    let group = CUBE_POS;
    if group < of_groups.len() / 2 {
        let mut plain = 0.0f32;
        let mut weighted = 0.0f32;
        let mut channel = UNIT_POS as usize;
        while channel < width {
            let row = group * width + channel;
            let mut plain_of_row = 0.0f32;
            let mut weighted_of_row = 0.0f32;
            for part in 0..parts {
                plain_of_row += of_parts[2 * (row * parts + part)];
                weighted_of_row += of_parts[2 * (row * parts + part) + 1];
            }
            of_shift[row] = plain_of_row;
            of_scale[row] = weighted_of_row;
            plain += of_row(scale, row) * plain_of_row;
            weighted += of_row(scale, row) * weighted_of_row;
            channel += units;
        }
        let all = f32::cast_from((width * area) as u32);
        let plain = sum_over_cube(plain, units) / all;
        let weighted = sum_over_cube(weighted, units) / all;
        if UNIT_POS == 0 {
            of_groups[2 * group] = plain;
            of_groups[2 * group + 1] = weighted;
        }
    }
}

/// The gradient of x.
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes its buffers and sizes one by one")]
fn gradient_kernel(
    x: &[f32],
    gradient: &[f32],
    moments: &[f32],
    of_groups: &[f32],
    scale: &[f32],
    shift: &[f32],
    out: &mut [f32],
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    channels: usize,
    slope: f32,
    back_factor: f32,
    #[comptime] curve: Curve,
    #[comptime] back: Option<Resize>,
) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        let row = place / (height * width);
        let group = row / channels;
        let (mean, rate) = (moments[2 * group], moments[2 * group + 1]);
        let factor = of_row(scale, row);
        let normalised = (x[place] - mean) * rate;
        let after = gradient_at(gradient, place, height, width, tall, wide, back_factor, back);
        let before = after * slope_at(normalised * factor + of_row(shift, row), slope, curve);
        out[place] = rate * (before * factor - of_groups[2 * group] - normalised * of_groups[2 * group + 1]);
    }
}

/// Where a part begins and how many values it has.
#[cube]
fn place_of_part(part: usize, area: usize, parts: usize) -> (usize, usize) {
    let begin = part % parts * PART;
    let left = area - begin;
    (part / parts * area + begin, select(left < PART, left, PART))
}

/// The factor or summand of a row, from 1, channels or batch·channels values.
#[cube]
fn of_row(table: &[f32], row: usize) -> f32 {
    table[row % table.len()]
}

/// The sum of the values of all units of a cube, known to all of them.
#[cube]
pub fn sum_over_cube(value: f32, #[comptime] units: usize) -> f32 {
    let mut sums = Shared::<[f32]>::new_slice(units);
    let place = UNIT_POS as usize;
    sums[place] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.ilog2() as usize) {
        let half = comptime!(units >> (step + 1));
        if place < half {
            let other = sums[place + half];
            sums[place] += other;
        }
        sync_cube();
    }
    sums[0]
}
