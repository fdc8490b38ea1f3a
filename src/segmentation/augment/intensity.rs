//! Changes of intensities alone. All work on the values of one patch, row by row, of any range.

use crate::random::Stream;

/// What a spread or a range is at least where it divides.
const EPSILON: f64 = 1e-7;

/// Adds normal noise of this standard deviation.
pub(super) fn add_noise(values: &mut [f32], sd: f64, stream: &mut Stream) {
    values.iter_mut().for_each(|value| *value += sd as f32 * stream.normal());
}

/// Blurs along columns and rows with Gaussians of the given standard deviations in pixels, [vertical, horizontal]. The
/// patch continues beyond its border as in a mirror that stands on the outermost pixels.
pub(super) fn blur(values: &mut [f32], [height, width]: [usize; 2], [vertical, horizontal]: [f64; 2]) {
    let kernel = gaussian(vertical);
    let original = values.to_vec();
    for (y, row) in values.chunks_exact_mut(width).enumerate() {
        row.fill(0.0);
        for (i, weight) in kernel.iter().enumerate() {
            let source = reflected(y + i, kernel.len() / 2, height) * width;
            row.iter_mut().zip(&original[source..]).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    let kernel = gaussian(horizontal);
    for row in values.chunks_exact_mut(width) {
        let places = 0..width + kernel.len() - 1;
        let wider: Vec<f32> = places.map(|x| row[reflected(x, kernel.len() / 2, width)]).collect();
        for (value, window) in row.iter_mut().zip(wider.windows(kernel.len())) {
            *value = window.iter().zip(&kernel).map(|(value, weight)| value * weight).sum();
        }
    }
}

/// A Gaussian of standard deviation `sigma` pixels that sums to 1, cut off at about 3 sigma: `2 floor(3 sigma + 1/4) + 1`
/// weights.
fn gaussian(sigma: f64) -> Vec<f32> {
    let radius = (3.0 * sigma + 0.25).floor();
    let weights: Vec<f64> =
        (0..=2 * radius as usize).map(|i| (-0.5 * ((i as f64 - radius) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

/// Where `place - margin` falls within `0..length` when reflected at both ends; the ends are not repeated.
fn reflected(place: usize, margin: usize, length: usize) -> usize {
    let period = 2 * (length - 1).max(1) as isize;
    let place = (place as isize - margin as isize).rem_euclid(period);
    place.min(period - place).min(length as isize - 1) as usize
}

/// Multiplies all intensities.
pub(super) fn brighten(values: &mut [f32], factor: f64) {
    values.iter_mut().for_each(|value| *value *= factor as f32);
}

/// Multiplies the distances from the mean; values stay between the smallest and largest there were.
pub(super) fn change_contrast(values: &mut [f32], factor: f64) {
    let (mean, _) = mean_and_sd(values);
    let [low, high] = extremes(values);
    let (mean, factor) = (mean as f32, factor as f32);
    values.iter_mut().for_each(|value| *value = ((*value - mean) * factor + mean).clamp(low, high));
}

/// Shows the patch as if it had been taken with `scale` times the pixels along each axis: keeps the nearest pixels of
/// the coarser grid and interpolates linearly between them.
pub(super) fn lower_resolution(values: &mut [f32], [height, width]: [usize; 2], scale: f64) {
    let original = values.to_vec();
    let columns = coarser(width, scale);
    for (row, (above, below, down)) in values.chunks_exact_mut(width).zip(coarser(height, scale)) {
        let [above, below] = [above, below].map(|y| &original[y * width..][..width]);
        for (value, (left, right, across)) in row.iter_mut().zip(&columns) {
            let between = |row: &[f32]| row[*left] + across * (row[*right] - row[*left]);
            *value = between(above) + down * (between(below) - between(above));
        }
    }
}

/// For each place of an axis: the places of the two kept pixels it lies between, and how far it is from the first to the
/// second (0 to 1). Of `length` pixels, `scale * length` are kept, evenly spread.
fn coarser(length: usize, scale: f64) -> Vec<(usize, usize, f32)> {
    let kept = ((length as f64 * scale).round_ties_even() as usize).max(1);
    let step = length as f64 / kept as f64;
    let place_of = |pixel: usize| ((pixel.min(kept - 1) as f64 + 0.5) * step) as usize;
    let between = |i: usize| {
        let position = ((i as f64 + 0.5) / step - 0.5).clamp(0.0, kept as f64 - 1.0);
        let first = position as usize;
        (place_of(first), place_of(first + 1), position.fract() as f32)
    };
    (0..length).map(between).collect()
}

/// Raises intensities to a power on the scale from the smallest (0) to the largest (1), then gives them back their mean
/// and standard deviation.
pub(super) fn apply_gamma(values: &mut [f32], gamma: f64) {
    let (mean, sd) = mean_and_sd(values);
    let [low, high] = extremes(values);
    let range = (high - low).max(EPSILON as f32);
    values.iter_mut().for_each(|value| *value = ((*value - low) / range).powf(gamma as f32));
    let (mean_here, sd_here) = mean_and_sd(values);
    // The power has brought the values to 0..=1, so the original range is part of the factor.
    let factor = sd / sd_here.max(EPSILON);
    values.iter_mut().for_each(|value| *value = ((f64::from(*value) - mean_here) * factor + mean) as f32);
}

/// [`apply_gamma`] to the negative.
pub(super) fn apply_gamma_to_negative(values: &mut [f32], gamma: f64) {
    brighten(values, -1.0);
    apply_gamma(values, gamma);
    brighten(values, -1.0);
}

/// Mean and standard deviation (of the population).
fn mean_and_sd(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / n;
    let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// The smallest and the largest value.
fn extremes(values: &[f32]) -> [f32; 2] {
    values.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], value| [low.min(*value), high.max(*value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(values: &[f32], expected: &[f32]) {
        assert_eq!(values.len(), expected.len());
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{values:?} is not {expected:?}");
    }

    fn noise(n: usize) -> Vec<f32> {
        Stream::new(5).normals(n)
    }

    #[test]
    fn noise_has_the_standard_deviation_asked_for() {
        let mut values = vec![2.0; 20_000];
        add_noise(&mut values, 0.3, &mut Stream::new(1));
        let (mean, sd) = mean_and_sd(&values);
        // Five standard errors of each.
        assert!(
            (mean - 2.0).abs() < 5.0 * 0.3 / 20_000f64.sqrt() && (sd - 0.3).abs() < 5.0 * 0.3 / 200.0,
            "{mean} {sd}"
        );
    }

    #[test]
    fn a_blurred_point_is_the_kernel_and_the_border_a_mirror() {
        // Three weights for sigma 1/2: exp(-2) : 1 : exp(-2).
        let [side, middle] = [0.106_507, 0.786_986];
        let mut point = [0.0, 0.0, 1.0, 0.0, 0.0];
        blur(&mut point, [1, 5], [0.5, 0.5]);
        assert_close(&point, &[0.0, side, middle, side, 0.0]);
        let mut column = [0.0, 1.0, 0.0];
        blur(&mut column, [3, 1], [0.5, 0.5]);
        // Above the first pixel the second appears again.
        assert_close(&column, &[2.0 * side, middle, 2.0 * side]);
        assert_eq!([0.5, 0.74, 0.75, 0.91, 0.92, 1.0].map(|sigma| gaussian(sigma).len()), [3, 5, 5, 5, 7, 7]);
    }

    #[test]
    fn contrast_keeps_the_range() {
        let mut values = [0.0, 4.0, 5.0, 7.0];
        change_contrast(&mut values, 1.25);
        assert_close(&values, &[0.0, 4.0, 5.25, 7.0]);
        change_contrast(&mut values, 0.0);
        assert_close(&values, &[4.0625; 4]);
    }

    #[test]
    fn half_the_resolution_keeps_every_second_pixel_and_interpolates() {
        let mut values = [0.0, 1.0, 2.0, 3.0];
        lower_resolution(&mut values, [1, 4], 0.5);
        assert_close(&values, &[1.0, 1.5, 2.5, 3.0]);
        let mut values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        lower_resolution(&mut values, [4, 4], 0.5);
        assert_close(&values[..8], &[5.0, 5.5, 6.5, 7.0, 7.0, 7.5, 8.5, 9.0]);
        let mut same = noise(35);
        lower_resolution(&mut same, [5, 7], 1.0);
        assert_close(&same, &noise(35));
    }

    #[test]
    fn gamma_bends_intensities_but_keeps_mean_and_spread() {
        let mut values = noise(1000);
        apply_gamma(&mut values, 1.5);
        let (mean, sd) = mean_and_sd(&values);
        let (mean_before, sd_before) = mean_and_sd(&noise(1000));
        assert!((mean - mean_before).abs() < 1e-5 && (sd - sd_before).abs() < 1e-5);
        // 0, 1/2, 1 become 0, 1/4, 1, whose mean is 5/12 and variance 13/72; before, mean 2 and variance 2/3.
        let mut three = [1.0, 2.0, 3.0];
        apply_gamma(&mut three, 2.0);
        let stretch = (2.0f32 / 3.0 / (13.0 / 72.0)).sqrt();
        assert_close(&three, &[0.0, 0.25, 1.0].map(|value: f32| (value - 5.0 / 12.0) * stretch + 2.0));
        let mut negative = [-3.0, -2.0, -1.0];
        apply_gamma_to_negative(&mut negative, 2.0);
        assert_close(&negative, &[-three[2], -three[1], -three[0]]);
    }

    #[test]
    fn a_patch_of_one_value_survives_everything() {
        let mut values = [0.5; 6];
        blur(&mut values, [2, 3], [1.0, 0.7]);
        change_contrast(&mut values, 1.2);
        lower_resolution(&mut values, [2, 3], 0.5);
        apply_gamma(&mut values, 0.7);
        assert_close(&values, &[0.5; 6]);
    }
}
