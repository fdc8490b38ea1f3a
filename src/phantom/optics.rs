//! What a microscope adds to a phantom: grey levels for each look, texture, point spread, uneven light.

use std::f64::consts::TAU;

use super::Look;
use crate::imaging::Plane;
use crate::random::Stream;

/// Grey levels, grain (standard deviation of the texture) and faults of a look; lengths in pixels, the rest in [0, 1].
pub(super) struct Optics {
    pub(super) ground: f32,
    pub(super) ground_grain: f32,
    pub(super) myelin: f32,
    pub(super) myelin_grain: f32,
    pub(super) axon: f32,
    pub(super) axon_grain: f32,
    /// Standard deviation of the axons' grey levels.
    pub(super) axon_spread: f32,
    pub(super) organelle: f32,
    pub(super) process: f32,
    /// The membrane of an unmyelinated process.
    pub(super) rim: f32,
    /// Standard deviation of the point spread.
    pub(super) blur: f64,
    /// Noise at full brightness that grows with the root of the signal.
    pub(super) shot: f32,
    /// Noise that does not depend on the signal.
    pub(super) read: f32,
    /// Uneven light from the middle to a corner.
    pub(super) light: f32,
}

impl Look {
    pub(super) fn optics(self) -> Optics {
        match self {
            Self::DarkMyelin => Optics {
                ground: 0.76,
                ground_grain: 0.06,
                myelin: 0.12,
                myelin_grain: 0.03,
                axon: 0.80,
                axon_grain: 0.05,
                axon_spread: 0.05,
                organelle: 0.55,
                process: 0.70,
                rim: 0.36,
                blur: 0.55,
                shot: 0.02,
                read: 0.015,
                light: 0.06,
            },
            Self::BrightMyelin => Optics {
                ground: 0.30,
                ground_grain: 0.06,
                myelin: 0.76,
                myelin_grain: 0.06,
                axon: 0.14,
                axon_grain: 0.02,
                axon_spread: 0.04,
                organelle: 0.28,
                process: 0.24,
                rim: 0.48,
                blur: 0.9,
                shot: 0.07,
                read: 0.025,
                light: 0.12,
            },
        }
    }
}

/// Uneven light: a gain `1 + strength (a u + b v + c u v + d (u^2 + v^2))` with u, v from -1 to 1 across the image.
pub(super) struct Light {
    terms: [f32; 4],
}

impl Light {
    /// A random tilt and bend.
    pub(super) fn draw(strength: f32, stream: &mut Stream) -> Self {
        Self { terms: std::array::from_fn(|_| strength * stream.between(-0.5, 0.5) as f32) }
    }

    /// The gain at a place given as fractions of height and width.
    pub(super) fn at(&self, y: f32, x: f32) -> f32 {
        let [v, u] = [2.0 * y - 1.0, 2.0 * x - 1.0];
        let [a, b, c, d] = self.terms;
        1.0 + a * u + b * v + c * u * v + d * (u * u + v * v)
    }
}

/// White noise blurred with standard deviation `scale` pixels and brought back to unit variance, which the blur
/// had divided by `4 pi scale^2`.
pub(super) fn texture([height, width]: [usize; 2], scale: f64, stream: &Stream) -> Plane {
    let gain = (2.0 * TAU).sqrt() * scale;
    let mut noise = Plane::from_fn(height, width, |y, x| gain as f32 * stream.normal_at(y, x));
    blur(&mut noise, scale);
    noise
}

/// A Gaussian blur of standard deviation `sigma` pixels; edge pixels repeat.
pub(super) fn blur(plane: &mut Plane, sigma: f64) {
    let reach = (3.0 * sigma).ceil() as usize;
    let weights: Vec<f64> =
        (0..=2 * reach).map(|i| (-0.5 * ((i as f64 - reach as f64) / sigma).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|weight| (weight / total) as f32).collect();
    let [height, width] = [plane.height(), plane.width()];
    // Whole rows at a time, which the compiler turns into vector instructions: this is most of the work of a phantom.
    let mut down = vec![0.0; height * width];
    for (y, row) in down.chunks_exact_mut(width).enumerate() {
        for (weight, y) in weights.iter().zip(y..) {
            let start = y.saturating_sub(reach).min(height - 1) * width;
            row.iter_mut().zip(&plane.pixels()[start..]).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    let mut padded = vec![0.0; width + 2 * reach];
    for (from, to) in down.chunks_exact(width).zip(plane.pixels_mut().chunks_exact_mut(width)) {
        padded[reach..reach + width].copy_from_slice(from);
        padded[..reach].fill(from[0]);
        padded[reach + width..].fill(from[width - 1]);
        to.fill(0.0);
        for (weight, shift) in weights.iter().zip(0..) {
            to.iter_mut().zip(&padded[shift..]).for_each(|(sum, value)| *sum += weight * value);
        }
    }
}
