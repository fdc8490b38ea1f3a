//! Gaussian scale space of a plane and its derivatives: separable sums, no Fourier transform, no seam at the border.

/// Values of a plane, row by row, and its `[height, width]`.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) size: [usize; 2],
    pub(super) values: Vec<f32>,
}

impl Field {
    /// The field convolved with a Gaussian of standard deviation `sigma` pixels; the image is mirrored at its border,
    /// the border's pixels twice.
    pub(super) fn smoothed(&self, sigma: f64) -> Self {
        let [height, width] = self.size;
        let weights = gaussian(sigma);
        let reach = weights.len() / 2;
        let mut columns = vec![0.0; self.values.len()];
        for (y, sums) in columns.chunks_exact_mut(width).enumerate() {
            for (weight, offset) in weights.iter().zip(0..) {
                let from = mirrored(y + offset, reach, height);
                add(sums, &self.values[from * width..][..width], *weight);
            }
        }
        let mut values = vec![0.0; self.values.len()];
        let mut padded = vec![0.0; width + 2 * reach];
        for (row, sums) in columns.chunks_exact(width).zip(values.chunks_exact_mut(width)) {
            for (x, value) in padded.iter_mut().enumerate() {
                *value = row[mirrored(x, reach, width)];
            }
            for (weight, offset) in weights.iter().zip(0..) {
                add(sums, &padded[offset..][..width], *weight);
            }
        }
        Self { size: self.size, values }
    }

    /// The largest value of each pixel and its eight neighbours.
    pub(super) fn widened(&self) -> Self {
        let [height, width] = self.size;
        let around = |place: usize, length: usize| place.saturating_sub(1)..(place + 2).min(length);
        let largest = |i: usize| {
            let rows = around(i / width, height).map(|y| &self.values[y * width..][around(i % width, width)]);
            rows.flatten().copied().fold(f32::NEG_INFINITY, f32::max)
        };
        Self { size: self.size, values: (0..self.values.len()).map(largest).collect() }
    }

    /// The derivatives `[d/dy, d/dx, d2/dy2 + d2/dx2]` at each pixel, by differences of its side neighbours.
    pub(super) fn derivatives(&self) -> impl Iterator<Item = [f32; 3]> {
        let [height, width] = self.size;
        (0..height).flat_map(move |y| {
            let row = |y: usize| &self.values[y * width..][..width];
            let [above, here, below] = [row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1))];
            (0..width).map(move |x| {
                let [left, right] = [here[x.saturating_sub(1)], here[(x + 1).min(width - 1)]];
                let [up, down] = [above[x], below[x]];
                [(down - up) / 2.0, (right - left) / 2.0, up + down + left + right - 4.0 * here[x]]
            })
        })
    }
}

fn add(sums: &mut [f32], values: &[f32], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

/// Weights of a Gaussian up to three standard deviations, of sum 1.
fn gaussian(sigma: f64) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil() as i32;
    let weights: Vec<f64> = (-reach..=reach).map(|x| (-0.5 * (f64::from(x) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

/// The place that stands for `place - margin` in a line of `length` pixels: `.. 1 0 | 0 1 2 .. n | n n-1 ..`.
fn mirrored(place: usize, margin: usize, length: usize) -> usize {
    let period = 2 * length;
    let place = (place + margin.div_ceil(period) * period - margin) % period;
    place.min(period - 1 - place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_mirrored_at_both_ends_however_short_they_are() {
        let line: Vec<usize> = (0..11).map(|place| mirrored(place, 4, 3)).collect();
        assert_eq!(line, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
        assert!((0..9).all(|place| mirrored(place, 4, 1) == 0));
    }

    #[test]
    fn smoothing_keeps_the_sum_and_widens_a_point_by_its_deviation() {
        let mut point = Field { size: [41, 41], values: vec![0.0; 41 * 41] };
        point.values[20 * 41 + 20] = 1.0;
        let smooth = point.smoothed(2.0);
        let moment = |power: i32| -> f64 {
            smooth.values.iter().zip(0..).map(|(v, i)| f64::from(*v) * f64::from(i % 41 - 20).powi(power)).sum()
        };
        assert!((moment(0) - 1.0).abs() < 1e-5 && moment(1).abs() < 1e-5, "{} {}", moment(0), moment(1));
        // Cutting the Gaussian at three deviations takes 3 % of its variance.
        assert!((moment(2) - 4.0).abs() < 0.15, "{}", moment(2));
    }

    #[test]
    fn derivatives_of_a_polynomial_are_exact_inside() {
        let values = (0..5).flat_map(|y| (0..6).map(move |x| (y * y + 3 * x) as f32)).collect();
        let derivatives: Vec<[f32; 3]> = Field { size: [5, 6], values }.derivatives().collect();
        assert_eq!(derivatives[2 * 6 + 3], [4.0, 3.0, 2.0]);
        assert_eq!(derivatives.len(), 30);
    }
}
