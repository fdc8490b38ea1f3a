//! Doubling and halving of feature maps by small fixed filters (method §3.1; StyleGAN2, Karras et al. 2019).
//!
//! The filters are separable, so a resampling is a product by one banded matrix from the left (rows) and one from the
//! right (columns). Matrix products are the fastest operation of every backend and their gradients are matrix products.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::layers::constant;

/// The family of filters that a network resamples with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// The binomial filter \[1, 3, 3, 1\]/8, which does not alias.
    #[default]
    Fir,
    /// Nearest neighbour up, mean of two down.
    Plain,
}

/// The binomial taps; their sum is 8.
const TAPS: [f32; 4] = [1.0, 3.0, 3.0, 1.0];

impl Resampling {
    /// Doubles height and width.
    ///
    /// # Shapes
    /// - input: `[batch, channels, height, width]`
    /// - output: `[batch, channels, 2 * height, 2 * width]`
    pub fn up(self, x: Tensor<4>) -> Tensor<4> {
        // Output sample n sees input (n + k - 2)/2 where that is whole: one zero follows each sample, two go before.
        along_both_axes(x, |side| {
            Banded::new(2 * side, side, |n, m| match self {
                Self::Plain => ((n / 2) == m) as u8 as f32,
                Self::Fir => tap(2 * m as isize + 2 - n as isize) / 4.0,
            })
        })
    }

    /// Halves height and width, which must be even.
    ///
    /// # Shapes
    /// - input: `[batch, channels, height, width]`
    /// - output: `[batch, channels, height / 2, width / 2]`
    pub fn down(self, x: Tensor<4>) -> Tensor<4> {
        along_both_axes(x, |side| {
            Banded::new(side / 2, side, |n, m| match self {
                Self::Plain => ((m / 2) == n) as u8 as f32 / 2.0,
                Self::Fir => tap(m as isize + 1 - 2 * n as isize) / 8.0,
            })
        })
    }
}

/// The low-pass filter before a 3×3 convolution of stride 2 without padding: two zeros on each side, one pixel larger.
///
/// # Shapes
/// - input: `[batch, channels, height, width]`
/// - output: `[batch, channels, height + 1, width + 1]`
pub fn blur_for_strided_conv(x: Tensor<4>) -> Tensor<4> {
    along_both_axes(x, |side| Banded::new(side + 1, side, |n, m| tap(m as isize + 2 - n as isize) / 8.0))
}

fn tap(k: isize) -> f32 {
    usize::try_from(k).ok().and_then(|k| TAPS.get(k)).copied().unwrap_or(0.0)
}

/// A matrix `[outputs, inputs]` of filter weights.
struct Banded {
    outputs: usize,
    inputs: usize,
    weights: Vec<f32>,
}

impl Banded {
    fn new(outputs: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let weights = (0..outputs * inputs).map(|i| weight(i / inputs, i % inputs)).collect();
        Self { outputs, inputs, weights }
    }

    fn to_tensor(&self, like: &Tensor<4>) -> Tensor<2> {
        constant(self.weights.clone(), [self.outputs, self.inputs], like)
    }
}

fn along_both_axes(x: Tensor<4>, matrix: impl Fn(usize) -> Banded) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let (rows, columns) = (matrix(height), matrix(width));
    let (from_left, from_right) = (rows.to_tensor(&x), columns.to_tensor(&x).transpose());
    let across = x.reshape([batch * channels * height, width]).matmul(from_right).reshape([
        batch * channels,
        height,
        columns.outputs,
    ]);
    from_left.unsqueeze::<3>().matmul(across).reshape([batch, channels, rows.outputs, columns.outputs])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn row(values: &[f32]) -> Tensor<4> {
        let n = values.len();
        let tall = values.iter().flat_map(|v| [*v; 2]).collect::<Vec<_>>();
        Tensor::<2>::from_data(TensorData::new(tall, [n, 2]), &Device::flex()).transpose().reshape([1, 1, 2, n])
    }

    #[test]
    fn plain_resampling_repeats_and_averages() {
        let up = Resampling::Plain.up(row(&[1.0, 5.0]));
        up.clone().narrow(2, 0, 1).into_data().assert_eq(&TensorData::from([[[[1.0f32, 1.0, 5.0, 5.0]]]]), true);
        Resampling::Plain.down(up).into_data().assert_eq(&row(&[1.0, 5.0]).into_data(), true);
    }

    #[test]
    fn fir_resampling_keeps_the_inside_of_a_ramp() {
        let ramp = Tensor::<4>::from_data(
            TensorData::new((0..64).map(|i| (i % 8) as f32).collect::<Vec<_>>(), [1, 1, 8, 8]),
            &Device::flex(),
        );
        // Away from the zero border, halving a ramp gives the means of pairs.
        let down = Resampling::Fir.down(ramp).narrow(2, 1, 1).narrow(3, 1, 2);
        down.into_data().assert_approx_eq::<f32>(&TensorData::from([[[[2.5f32, 4.5]]]]), Default::default());
    }
}
