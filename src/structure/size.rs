//! How large the structures of a set of images are, without masks.
//!
//! Of each window the scale is found at which its scale-normalised Laplacian of Gaussian has the most energy: a disc
//! answers most at `diameter / (2 sqrt 2)` (Lindeberg 1998, "Feature detection with automatic scale selection"). The
//! energy is a square, so that dark and bright structures count alike. Windows count by the square of their density of
//! edges: bare resin, with its slow shades, says nothing about tissue.
//!
//! What it finds is what stands out most, rings with what they enclose as much as discs. It compares sets; it does not
//! measure objects.

use super::density::{EdgeMap, EdgeThreshold};
use super::filters::Field;
use crate::imaging::Plane;
use serde::{Deserialize, Serialize};

/// Standard deviations in pixels from 1 to 16, four in an octave.
const SCALES: usize = 17;
const PER_OCTAVE: f64 = 4.0;
/// Side of a window in pixels, and how far the next one is.
const WINDOW: usize = 64;
const STEP: usize = 32;
/// Images are looked at in blocks of this side, and at most so many of them, evenly spread over the set.
const BLOCK: usize = 256;
const BLOCKS: usize = 24;

/// Diameters of structures in pixels: the median over windows, and what a quarter of them lies below and above.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TypicalSize {
    /// The median.
    pub median: f64,
    /// The lower quartile.
    pub lower: f64,
    /// The upper quartile.
    pub upper: f64,
}

/// The size of structures, from 3 to 45 pixels; none when no window shows one in this range.
pub fn typical_size(planes: &[&Plane]) -> Option<TypicalSize> {
    let threshold = EdgeThreshold::of(planes);
    let mut found: Vec<(f64, f64)> = Vec::new();
    sampled_blocks(planes).iter().for_each(|block| sizes_in(block, threshold, &mut found));
    found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let total: f64 = found.iter().map(|(_, weight)| weight).sum();
    let quantile = |share: f64| {
        let mut before = 0.0;
        let reaches = |(_, weight): &&(f64, f64)| {
            before += weight;
            before >= share * total
        };
        found.iter().find(reaches).map(|(size, _)| *size)
    };
    if total <= 0.0 {
        return None;
    }
    Some(TypicalSize { median: quantile(0.5)?, lower: quantile(0.25)?, upper: quantile(0.75)? })
}

/// Parts of the images that stand for the set: up to 24 blocks of 256 x 256 pixels, evenly spread over it. The last of a
/// row or column of an image is smaller, and left out if it is smaller than a window.
pub fn sampled_blocks(planes: &[&Plane]) -> Vec<Plane> {
    let starts = |length: usize| (0..length).step_by(BLOCK).filter(move |at| *at == 0 || length - at >= WINDOW);
    let places: Vec<(&Plane, usize, usize)> = planes
        .iter()
        .flat_map(|plane| {
            let columns = move |top| starts(plane.width()).map(move |left| (*plane, top, left));
            starts(plane.height()).flat_map(columns)
        })
        .collect();
    let taken = places.len().min(BLOCKS);
    let block = |number: usize| {
        let (plane, top, left) = places[number * places.len() / taken];
        let [height, width] = [BLOCK.min(plane.height() - top), BLOCK.min(plane.width() - left)];
        Plane::from_fn(height, width, |y, x| plane.get(top + y, left + x))
    };
    (0..taken).map(block).collect()
}

/// The size in each window that has one, with its weight.
fn sizes_in(block: &Plane, threshold: EdgeThreshold, found: &mut Vec<(f64, f64)>) {
    let [height, width] = [block.height(), block.width()];
    let edges = EdgeMap::of(block, threshold);
    let energies = energies(block);
    let starts = |length: usize| (0..=length.saturating_sub(WINDOW)).step_by(STEP);
    let size = [WINDOW.min(height), WINDOW.min(width)];
    for (top, left) in starts(height).flat_map(|top| starts(width).map(move |left| (top, left))) {
        let density = edges.share(top, left, size);
        let rows = |energy: &[f32]| {
            let row =
                |y: usize| energy[y * width + left..][..size[1]].iter().map(|value| f64::from(*value)).sum::<f64>();
            (top..top + size[0]).map(row).sum::<f64>()
        };
        let of_scales: Vec<f64> = energies.iter().map(|energy| rows(energy)).collect();
        if let Some(sigma) = peak(&of_scales).filter(|_| density > 0.0) {
            found.push((sigma * 2.0 * std::f64::consts::SQRT_2, density * density));
        }
    }
}

/// `(s^2 laplacian)^2` of the block smoothed by `s`, for each scale.
fn energies(block: &Plane) -> Vec<Vec<f32>> {
    let mut smooth = Field { size: [block.height(), block.width()], values: block.pixels().to_vec() };
    let mut reached: f64 = 0.0;
    let mut energies = Vec::with_capacity(SCALES);
    for scale in 0..SCALES {
        let sigma = sigma(scale as f64);
        // Gaussians add up by their variances.
        smooth = smooth.smoothed((sigma * sigma - reached * reached).sqrt());
        reached = sigma;
        let square = (sigma * sigma) as f32;
        energies.push(smooth.derivatives().map(|[.., laplacian]| (square * laplacian).powi(2)).collect());
    }
    energies
}

fn sigma(scale: f64) -> f64 {
    (scale / PER_OCTAVE).exp2()
}

/// Where the energy is highest, between the scales by a parabola through logarithms; none at either end of the range.
fn peak(energies: &[f64]) -> Option<f64> {
    let highest = (0..energies.len()).max_by(|a, b| energies[*a].total_cmp(&energies[*b]))?;
    if highest == 0 || highest + 1 == energies.len() || energies[highest] <= 0.0 {
        return None;
    }
    let [before, here, after] = [highest - 1, highest, highest + 1].map(|i| energies[i].max(f64::MIN_POSITIVE).ln());
    let curvature = before - 2.0 * here + after;
    let offset = if curvature < 0.0 { (before - after) / (2.0 * curvature) } else { 0.0 };
    Some(sigma(highest as f64 + offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Discs of a diameter, as far apart as they are wide, dark on bright if `inverted`; resin on the right.
    fn discs(diameter: f64, inverted: bool) -> Plane {
        let pitch = 2.0 * diameter;
        Plane::from_fn(160, 240, |y, x| {
            if x > 160 {
                return 0.5 + x as f32 / 2400.0;
            }
            let offset = |at: usize| (at as f64 + 0.5) % pitch - pitch / 2.0;
            let inside = offset(y).hypot(offset(x)) < diameter / 2.0;
            if inside != inverted { 0.9 } else { 0.1 }
        })
    }

    #[test]
    fn the_size_is_about_the_diameter_of_discs() {
        for diameter in [6.0, 9.0, 14.0, 20.0] {
            let size = typical_size(&[&discs(diameter, false)]).unwrap();
            assert!((size.median / diameter - 1.0).abs() < 0.25, "{diameter}: {size:?}");
            assert!(size.lower <= size.median && size.median <= size.upper);
        }
    }

    #[test]
    fn the_sign_and_the_strength_of_contrast_do_not_matter() {
        let size = |plane: &Plane| typical_size(&[plane]).unwrap().median;
        let weak = |plane: Plane| Plane::from_fn(160, 240, |y, x| 0.4 + 0.1 * plane.get(y, x));
        let [normal, inverted] = [false, true].map(|inverted| discs(10.0, inverted));
        assert!((size(&normal) / size(&inverted) - 1.0).abs() < 0.1);
        assert!((size(&normal) / size(&weak(normal.clone())) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn twice_as_large_structures_have_twice_the_size() {
        let [small, large] = [7.0, 14.0].map(|diameter| typical_size(&[&discs(diameter, false)]).unwrap().median);
        assert!((large / small - 2.0).abs() < 0.3, "{small} {large}");
    }

    #[test]
    fn blank_and_tiny_images_have_no_size() {
        assert_eq!(typical_size(&[&Plane::from_fn(70, 70, |_, _| 0.5)]), None);
        assert_eq!(typical_size(&[]), None);
        assert!(
            typical_size(&[&Plane::from_fn(3, 2, |y, x| (y + x) as f32 / 4.0)]).is_none_or(|size| size.median > 0.0)
        );
    }
}
