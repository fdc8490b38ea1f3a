//! What of an image is structure: edges with their directions, and phase congruency.

use super::filters::Field;
use crate::imaging::{Plane, is_blank};

/// Standard deviations, in pixels, of the Gaussians at which features are looked for.
pub const SCALES: [f64; 3] = [1.0, 1.4, 2.0];
/// Of [`SCALES`], the one of the gradient.
const EDGE_SCALE: usize = 0;
/// Standard deviation, in pixels, of the window of the structure tensor.
const WINDOW: f64 = 2.0;
/// Share of the even part in the energy, `C` of Lindeberg 2018: between 1 and 1/2, which would make the parts equal for
/// waves of the lengths that first and second derivatives see best.
const EVEN: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// Amplitude, in mean amplitudes of the image, at which congruency counts half: what is weaker is mostly noise.
const FLOOR: f32 = 2.0;
/// Standard deviation, in pixels, of the blur that forgives features a small offset.
const TOLERANCE: f64 = 1.5;
/// Standard deviation, in pixels, of the surroundings with which a pixel is compared. Large parts that are richer in
/// features than others (tissue beside a black margin) would make unrelated images alike otherwise.
const SURROUNDINGS: f64 = 8.0;
/// Share of the pixels that are weaker than a clear feature.
const CLEAR: f64 = 0.95;
/// The least congruency that is clear: in a nearly empty image, 5 % of the pixels hold more than its features.
const LEAST_CLEAR: f32 = 0.2;

/// The structure of an image; all 0 for a blank one.
#[derive(Debug, Clone)]
pub(super) struct Features {
    /// An edge vector for each pixel: `[cos 2 angle, sin 2 angle]` of the gradient, of length 0 to 1.
    pub(super) edges: Vec<[f32; 2]>,
    /// Phase congruency of each pixel, in [0, 1].
    pub(super) congruency: Field,
}

impl Features {
    pub(super) fn of(plane: &Plane) -> Self {
        let size = [plane.height(), plane.width()];
        if is_blank(plane) {
            let values = vec![0.0; plane.pixels().len()];
            return Self { edges: vec![[0.0; 2]; values.len()], congruency: Field { size, values } };
        }
        let image = Field { size, values: plane.pixels().to_vec() };
        let scales = SCALES.map(|sigma| image.smoothed(sigma));
        Self { edges: edges(&scales[EDGE_SCALE]), congruency: congruency(&scales) }
    }

    /// Whether there is no feature.
    pub(super) fn is_blank(&self) -> bool {
        self.congruency.values.iter().all(|value| *value == 0.0)
    }

    /// How clear a feature each pixel shows, to look at: 1 from the quantile [`CLEAR`] on.
    ///
    /// # Panics
    /// When there is no pixel.
    pub(super) fn strength(&self) -> Field {
        let mut near = self.congruency.smoothed(TOLERANCE);
        let mut sorted = near.values.clone();
        let rank = (CLEAR * (sorted.len() - 1) as f64) as usize;
        let clear = sorted.select_nth_unstable_by(rank, f32::total_cmp).1.max(LEAST_CLEAR);
        near.values.iter_mut().for_each(|value| *value = (*value / clear).min(1.0));
        near
    }

    /// How far each pixel's congruency is above that of its surroundings.
    pub(super) fn relief(&self) -> Vec<f32> {
        let near = self.congruency.smoothed(TOLERANCE);
        let around = near.smoothed(SURROUNDINGS);
        near.values.iter().zip(&around.values).map(|(near, around)| near - around).collect()
    }
}

/// The structure tensor's direction and coherence (Bigun & Granlund 1987), `[Jxx - Jyy, 2 Jxy] / (Jxx + Jyy + floor)`,
/// with the image's mean `Jxx + Jyy` for the floor, so that what is weaker than the average counts little.
fn edges(smooth: &Field) -> Vec<[f32; 2]> {
    let field = |part: fn([f32; 3]) -> f32| {
        Field { size: smooth.size, values: smooth.derivatives().map(part).collect() }.smoothed(WINDOW)
    };
    let cosine = field(|[y, x, _]| x * x - y * y);
    let sine = field(|[y, x, _]| 2.0 * x * y);
    let energy = field(|[y, x, _]| x * x + y * y);
    let floor = mean(&energy.values);
    let parts = cosine.values.iter().zip(&sine.values).zip(&energy.values);
    parts.map(|((cosine, sine), energy)| [cosine, sine].map(|part| part / (energy + floor))).collect()
}

/// Phase congruency (Kovesi 1999, "Image features from phase congruency"), `|sum f| / (sum |f| + floor)` over the
/// scales: 1 where they all see the same, be it an edge (odd) or a line (even).
///
/// `f = [s d/dy, s d/dx, sqrt(C) s^2 (d2/dy2 + d2/dx2)]` of the image smoothed by a Gaussian of deviation `s`. Like the
/// monogenic signal (Felsberg & Sommer 2001) it has an odd part for each axis and an even one, here by the quasi
/// quadrature of Gaussian derivatives (Lindeberg 2018, "Dense scale selection over space, time, and space-time"), which
/// needs no Fourier transform.
fn congruency(scales: &[Field; 3]) -> Field {
    let mut sums = vec![[0.0f32; 3]; scales[0].values.len()];
    let mut amplitudes = vec![0.0f32; sums.len()];
    for (field, sigma) in scales.iter().zip(SCALES) {
        let [odd, even] = [sigma as f32, (EVEN.sqrt() * sigma * sigma) as f32];
        for ((sum, amplitude), [y, x, laplacian]) in sums.iter_mut().zip(&mut amplitudes).zip(field.derivatives()) {
            let part = [odd * y, odd * x, even * laplacian];
            *amplitude += norm(part);
            *sum = std::array::from_fn(|i| sum[i] + part[i]);
        }
    }
    let floor = FLOOR * mean(&amplitudes);
    let values = sums.iter().zip(&amplitudes).map(|(sum, amplitude)| norm(*sum) / (amplitude + floor)).collect();
    Field { size: scales[0].size, values }
}

fn norm(vector: [f32; 3]) -> f32 {
    vector.iter().map(|part| part * part).sum::<f32>().sqrt()
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64) as f32
}
