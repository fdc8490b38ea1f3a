//! Norms over groups of channels with scale, shift, activation and a change of size in one pass, on slices.
//!
//! A group's values are read from memory once: what follows finds them in the cache.

use pulp::Arch;

use super::curve::{Activation, Curve, with_curve};
use super::simd::{Shared, sum_by, vectorised, with_scratch, written};
use super::stencil::{Resize, resize_plane};
use super::team::each_chunk;

/// The sizes of a norm.
#[derive(Debug, Clone, Copy)]
pub struct Groups {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Height and width.
    pub sides: [usize; 2],
    /// Groups of channels that are normalised together.
    pub groups: usize,
    /// Keeps flat groups finite.
    pub eps: f32,
    /// What follows.
    pub activation: Activation,
    /// What becomes of the size after that.
    pub resize: Option<Resize>,
}

impl Groups {
    /// Pixels.
    pub fn area(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Height and width of the output.
    pub fn sides_after(&self) -> [usize; 2] {
        self.sides.map(|side| self.resize.map_or(side, |how| how.length(side)))
    }

    /// Pixels of the output.
    fn area_after(&self) -> usize {
        let [height, width] = self.sides_after();
        height * width
    }

    /// Channels of a group.
    pub fn width(&self) -> usize {
        self.channels / self.groups
    }

    /// Values of a group.
    fn length(&self) -> usize {
        self.width() * self.area()
    }

    /// The factor or summand of a channel of an image, from `[channels]` or `[batch, channels]`.
    fn of(&self, table: Option<&[f32]>, otherwise: f32, image: usize, channel: usize) -> f32 {
        table.map_or(otherwise, |table| {
            if table.len() == self.channels { table[channel] } else { table[image * self.channels + channel] }
        })
    }
}

/// Mean and reciprocal standard deviation of a group.
pub type Moments = (f32, f32);

/// activation(scale·(x − mean)/√(variance + eps) + shift), resized, and the moments of each group of each image.
pub fn forward(
    arch: Arch,
    groups: &Groups,
    x: &[f32],
    scale: Option<&[f32]>,
    shift: Option<&[f32]>,
) -> (Vec<f32>, Vec<Moments>) {
    with_curve!(groups.activation, curve => forward_by(arch, groups, x, scale, shift, curve))
}

fn forward_by(
    arch: Arch,
    groups: &Groups,
    x: &[f32],
    scale: Option<&[f32]>,
    shift: Option<&[f32]>,
    curve: impl Curve,
) -> (Vec<f32>, Vec<Moments>) {
    let (length, area, area_after) = (groups.length(), groups.area(), groups.area_after());
    let length_after = groups.width() * area_after;
    let mut moments = vec![(0.0, 0.0); groups.batch * groups.groups];
    let fill = |target: Shared| {
        each_chunk(&mut moments, 1, |group, moments| {
            let values = &x[group * length..][..length];
            // SAFETY: each group has values of its own.
            let out = unsafe { std::slice::from_raw_parts_mut(target.at(group * length_after), length_after) };
            let (mean, rate) = vectorised(
                arch,
                #[inline(always)]
                || moments_of(values, groups.eps),
            );
            moments[0] = (mean, rate);
            let (image, first) = (group / groups.groups, group % groups.groups * groups.width());
            for (channel, (out, values)) in out.chunks_exact_mut(area_after).zip(values.chunks_exact(area)).enumerate()
            {
                let factor = rate * groups.of(scale, 1.0, image, first + channel);
                let summand = groups.of(shift, 0.0, image, first + channel);
                let activate = |out: &mut [f32]| {
                    vectorised(
                        arch,
                        #[inline(always)]
                        || {
                            for (out, value) in out.iter_mut().zip(values) {
                                *out = curve.value((value - mean) * factor + summand);
                            }
                        },
                    );
                };
                match groups.resize {
                    None => activate(out),
                    Some(how) => with_scratch(area, |plane| {
                        activate(plane);
                        resize_plane(arch, plane, groups.sides[1], how, 1.0, out);
                    }),
                }
            }
        });
    };
    // SAFETY: the groups are all of the output.
    let values = unsafe { written(groups.batch * groups.channels * area_after, fill) };
    (values, moments)
}

#[inline(always)]
fn moments_of(values: &[f32], eps: f32) -> Moments {
    let count = values.len() as f32;
    let mean = sum_by([values], |[value]| value) / count;
    let variance = sum_by([values], |[value]| (value - mean) * (value - mean)) / count;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// Lanes of sums: enough to hide the latency of an addition.
const LANES: usize = 32;

/// The gradients of scale and shift, each `[batch, channels]`, from that of the output; the gradient of x goes to `target`,
/// which without a change of size holds the gradient of the output before.
///
/// # Safety
/// `target` must have room for as many values as x has, and without a change of size hold them.
pub unsafe fn backward(
    arch: Arch,
    groups: &Groups,
    x: &[f32],
    affine: [Option<&[f32]>; 2],
    moments: &[Moments],
    resized: Option<&[f32]>,
    target: Shared,
) -> [Vec<f32>; 2] {
    with_curve!(groups.activation, curve => {
        // SAFETY: the caller's promise.
        unsafe { backward_by(arch, groups, x, affine, moments, resized, target, curve) }
    })
}

/// # Safety
/// As [`backward`].
#[expect(clippy::too_many_arguments, reason = "those of `backward`, and the curve")]
unsafe fn backward_by(
    arch: Arch,
    groups: &Groups,
    x: &[f32],
    [scale, shift]: [Option<&[f32]>; 2],
    moments: &[Moments],
    resized: Option<&[f32]>,
    target: Shared,
    curve: impl Curve,
) -> [Vec<f32>; 2] {
    let (length, width, area) = (groups.length(), groups.width(), groups.area());
    let ([_, width_after], area_after) = (groups.sides_after(), groups.area_after());
    let back = groups.resize.map(Resize::transpose).zip(resized);
    // Of the shift and the scale of each channel of each image.
    let mut tables = vec![(0.0, 0.0); groups.batch * groups.channels];
    each_chunk(&mut tables, width, |group, tables| {
        let (mean, rate) = moments[group];
        let (image, first) = (group / groups.groups, group % groups.groups * width);
        let values = &x[group * length..][..length];
        // SAFETY: each group has values of its own.
        let gradient = unsafe { std::slice::from_raw_parts_mut(target.at(group * length), length) };
        let line = |channel: usize| {
            let factor = groups.of(scale, 1.0, image, first + channel);
            Line { mean, rate, factor, summand: groups.of(shift, 0.0, image, first + channel) }
        };
        // The sums over the group of the gradient of the normalised values, plain and weighted by them.
        let (mut plain, mut weighted) = (0.0, 0.0);
        let planes = values.chunks_exact(area).zip(gradient.chunks_exact_mut(area));
        for (channel, ((values, gradient), table)) in planes.zip(tables).enumerate() {
            if let Some(((back, factor), resized)) = back {
                let resized = &resized[(group * width + channel) * area_after..][..area_after];
                resize_plane(arch, resized, width_after, back, factor, gradient);
            }
            let line = line(channel);
            *table = vectorised(
                arch,
                #[inline(always)]
                || line.through_curve(curve, values, gradient),
            );
            plain += line.factor * table.0;
            weighted += line.factor * table.1;
        }
        let (plain, weighted) = (plain / length as f32, weighted / length as f32);
        let planes = values.chunks_exact(area).zip(gradient.chunks_exact_mut(area));
        for (channel, (values, gradient)) in planes.enumerate() {
            let line = line(channel);
            vectorised(
                arch,
                #[inline(always)]
                || line.through_norm(values, plain, weighted, gradient),
            );
        }
    });
    let (shift, scale) = tables.into_iter().unzip();
    [scale, shift]
}

/// What is done to the values of a channel.
struct Line {
    mean: f32,
    rate: f32,
    factor: f32,
    summand: f32,
}

impl Line {
    /// Turns the gradient into the one before the activation, and sums it up, plain and weighted by the normalised values.
    #[inline(always)]
    fn through_curve(&self, curve: impl Curve, values: &[f32], gradient: &mut [f32]) -> (f32, f32) {
        let mut sums = [[0.0f32; LANES]; 2];
        let step = |i: usize, value: f32, gradient: &mut f32, sums: &mut [[f32; LANES]; 2]| {
            let normalised = (value - self.mean) * self.rate;
            *gradient *= curve.slope(normalised * self.factor + self.summand);
            sums[0][i] += *gradient;
            sums[1][i] += *gradient * normalised;
        };
        let (values, values_rest) = values.as_chunks::<LANES>();
        let (gradient, gradient_rest) = gradient.as_chunks_mut::<LANES>();
        for (values, gradient) in values.iter().zip(gradient) {
            for i in 0..LANES {
                step(i, values[i], &mut gradient[i], &mut sums);
            }
        }
        for (i, (value, gradient)) in values_rest.iter().zip(gradient_rest).enumerate() {
            step(i, *value, gradient, &mut sums);
        }
        (sums[0].iter().sum(), sums[1].iter().sum())
    }

    /// Turns the gradient before the activation into that of x.
    #[inline(always)]
    fn through_norm(&self, values: &[f32], plain: f32, weighted: f32, gradient: &mut [f32]) {
        for (gradient, value) in gradient.iter_mut().zip(values) {
            let normalised = (value - self.mean) * self.rate;
            *gradient = self.rate * (*gradient * self.factor - plain - normalised * weighted);
        }
    }
}
