//! Resampling on cards: a unit for each pixel of the result, which reads its sources itself.

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::super::stencil::Resize;
use super::curve::{Curve, value};
use super::{beside, cubes_for_values};

/// Planes `[batch, channels, height, width]`, in a row, resized and multiplied by a factor.
pub fn resample(x: CubeTensor, how: Resize, factor: f32) -> CubeTensor {
    let [batch, channels, height, width] = x.meta.shape().dims();
    let (tall, wide) = (how.length(height), how.length(width));
    let shape = Shape::new([batch, channels, tall, wide]);
    let out = beside(&x, shape.clone());
    let (count, dim) = cubes_for_values(shape.num_elements());
    let client = x.client.clone();
    resample_kernel::launch(
        &client,
        count,
        dim,
        x.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        height,
        width,
        tall,
        wide,
        factor,
        how,
    );
    out
}

/// Lines that a line of the result is made of.
fn taps(how: Resize) -> usize {
    how.sources(0).1.iter().filter(|weight| **weight != 0.0).count()
}

#[cube(launch)]
fn resample_kernel(
    x: &[f32],
    out: &mut [f32],
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    factor: f32,
    #[comptime] how: Resize,
) {
    let place = ABSOLUTE_POS;
    if place < out.len() {
        out[place] = resized(x, place, height, width, tall, wide, how) * factor;
    }
}

/// A value of planes resized from planes of height and width to tall and wide.
#[cube]
pub fn resized(
    x: &[f32],
    place: usize,
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    #[comptime] how: Resize,
) -> f32 {
    resized_after(x, place, height, width, tall, wide, how, Line::none(), comptime!(None))
}

/// What values go through before they are resized: curve((x − mean)·rate·factor + summand).
#[derive(CubeType, Clone, Copy)]
pub struct Line {
    pub mean: f32,
    pub rate: f32,
    pub factor: f32,
    pub summand: f32,
    /// Of the curve.
    pub slope: f32,
}

#[cube]
impl Line {
    /// Of no matter where there is no curve.
    fn none() -> Line {
        Line { mean: 0.0, rate: 0.0, factor: 0.0, summand: 0.0, slope: 0.0 }
    }

    /// The value after it.
    pub fn of(&self, x: f32, #[comptime] curve: Curve) -> f32 {
        value((x - self.mean) * self.rate * self.factor + self.summand, self.slope, curve)
    }
}

/// A value of planes that go through a line first, where there is a curve.
#[cube]
#[expect(clippy::too_many_arguments, reason = "a function of kernels takes sizes one by one")]
pub fn resized_after(
    x: &[f32],
    place: usize,
    height: usize,
    width: usize,
    tall: usize,
    wide: usize,
    #[comptime] how: Resize,
    line: Line,
    #[comptime] curve: Option<Curve>,
) -> f32 {
    let column = place % wide;
    let row = place / wide % tall;
    let plane = place / (wide * tall) * height * width;
    let (top, left) = (first_source(row, how), first_source(column, how));
    let mut sum = 0.0f32;
    #[unroll]
    for down in 0..comptime!(taps(how)) {
        let y = top + down as i32;
        if y >= 0 && y < height as i32 {
            let begin = plane + y as usize * width;
            let mut across = 0.0f32;
            #[unroll]
            for right in 0..comptime!(taps(how)) {
                let x_at = left + right as i32;
                if x_at >= 0 && x_at < width as i32 {
                    let source = x[begin + x_at as usize];
                    if comptime!(curve.is_some()) {
                        across += weight(column, right, how) * line.of(source, comptime!(curve.unwrap()));
                    } else {
                        across += weight(column, right, how) * source;
                    }
                }
            }
            sum += weight(row, down, how) * across;
        }
    }
    sum
}

/// The first of the neighbouring lines that a line is made of; it may lie before the first.
#[cube]
fn first_source(line: usize, #[comptime] how: Resize) -> i32 {
    let line = line as i32;
    match how {
        Resize::Double => (line + 1) / 2 - 1,
        Resize::Repeat => line / 2,
        Resize::Average => 2 * line,
        Resize::Halve => 2 * line - 1,
        Resize::Blur => line - 2,
        Resize::Unblur => line - 1,
    }
}

/// The weight of one of these lines.
#[cube]
fn weight(line: usize, #[comptime] source: usize, #[comptime] how: Resize) -> f32 {
    if comptime!(how == Resize::Double) {
        select(line % 2 == source, 0.25f32, 0.75f32)
    } else {
        comptime!(how.sources(0).1[source]).runtime()
    }
}
