//! Doubling and halving of feature maps by small fixed filters (method §3.1; StyleGAN2, Karras et al. 2019).
//!
//! See [`Resize`](synlabel_kernels::Resize) for the arithmetic.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Resize, resize};

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

impl Resampling {
    /// Doubles height and width.
    pub fn up(self) -> Resize {
        match self {
            Self::Fir => Resize::Double,
            Self::Plain => Resize::Repeat,
        }
    }

    /// Halves height and width, which must be even.
    pub fn down(self) -> Resize {
        match self {
            Self::Fir => Resize::Halve,
            Self::Plain => Resize::Average,
        }
    }
}

/// The low-pass filter before a 3×3 convolution of stride 2 without padding: two zeros on each side, one pixel larger.
///
/// # Shapes
/// - input: `[batch, channels, height, width]`
/// - output: `[batch, channels, height + 1, width + 1]`
pub fn blur_for_strided_conv(x: Tensor<4>) -> Tensor<4> {
    resize(x, Resize::Blur)
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
        let up = resize(row(&[1.0, 5.0]), Resampling::Plain.up());
        up.clone().narrow(2, 0, 1).into_data().assert_eq(&TensorData::from([[[[1.0f32, 1.0, 5.0, 5.0]]]]), true);
        resize(up, Resampling::Plain.down()).into_data().assert_eq(&row(&[1.0, 5.0]).into_data(), true);
    }

    #[test]
    fn fir_resampling_keeps_the_inside_of_a_ramp() {
        let ramp = Tensor::<4>::from_data(
            TensorData::new((0..64).map(|i| (i % 8) as f32).collect::<Vec<_>>(), [1, 1, 8, 8]),
            &Device::flex(),
        );
        // Away from the zero border, halving a ramp gives the means of pairs.
        let down = resize(ramp, Resampling::Fir.down()).narrow(2, 1, 1).narrow(3, 1, 2);
        down.into_data().assert_approx_eq::<f32>(&TensorData::from([[[[2.5f32, 4.5]]]]), Default::default());
    }
}
