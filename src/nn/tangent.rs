//! Values, and values with a tangent pushed forward beside them.
//!
//! The R1 penalty needs the gradient of a gradient, and the framework differentiates once. With v = ∇_x D(x) held
//! constant, ∇_θ ‖∇_x D‖² = 2·∇_θ (∂/∂ε D(x + εv))|_{ε=0} (method §4), so it is enough to push the tangent v forward
//! through the discriminator and differentiate what comes out. A discriminator is written once over [`Signal`] and
//! runs either way.

use burn::tensor::Tensor;
use synlabel_kernels::{Activation, Resize, activate, add_scaled, resize, resize_activated};

use super::layers::{Conv, Linear};

/// The slope of every leaky ReLU in the discriminators.
pub const SLOPE: f64 = 0.2;

/// What flows through a discriminator: a [`Tensor`], or a tensor with its [`Dual`] tangent.
pub trait Signal: Clone {
    /// The same kind of signal with two axes.
    type Flat: FlatSignal;

    /// Convolves; the bias moves the value only.
    fn conv(self, conv: &Conv) -> Self;
    /// Leaky ReLU with [`SLOPE`].
    fn act(self) -> Self;
    /// Leaky ReLU with [`SLOPE`], then another size.
    fn act_resized(self, how: Resize) -> Self;
    /// Applies a linear operation to the value and to the tangent.
    fn linear_op(self, op: impl Fn(Tensor<4>) -> Tensor<4>) -> Self;
    /// Convolves and adds a constant to each channel of each sample's value, `[batch, channels_out]`.
    fn conv_shifted(self, conv: &Conv, by: Tensor<2>) -> Self;
    /// Convolves, adds another signal and multiplies by a factor.
    fn conv_residual(self, conv: &Conv, rest: Self, factor: f64) -> Self;
    /// Appends a channel with the standard deviation within groups of so many samples. See [`minibatch_deviation`].
    fn with_minibatch_deviation(self, group: usize) -> Self;
    /// Sums over height and width: `[batch, channels]`.
    fn sum_pixels(self) -> Self::Flat;
}

/// A [`Signal`] of shape `[batch, features]`.
pub trait FlatSignal {
    /// Applies a linear map; its bias moves the value only.
    fn linear(self, linear: &Linear) -> Self;
}

impl Signal for Tensor<4> {
    type Flat = Tensor<2>;

    fn conv(self, conv: &Conv) -> Self {
        conv.forward(self)
    }
    fn act(self) -> Self {
        activate(self, Activation::LeakyRelu(SLOPE))
    }
    fn act_resized(self, how: Resize) -> Self {
        resize_activated(self, Activation::LeakyRelu(SLOPE), how)
    }
    fn linear_op(self, op: impl Fn(Tensor<4>) -> Tensor<4>) -> Self {
        op(self)
    }
    fn conv_shifted(self, conv: &Conv, by: Tensor<2>) -> Self {
        conv.forward_shifted(self, by)
    }
    fn conv_residual(self, conv: &Conv, rest: Self, factor: f64) -> Self {
        conv.forward_residual(self, rest, factor)
    }
    fn with_minibatch_deviation(self, group: usize) -> Self {
        let deviation = minibatch_deviation(&self, None, group).0;
        Tensor::cat(vec![self, deviation], 1)
    }
    fn sum_pixels(self) -> Tensor<2> {
        self.sum_dims_squeeze(&[2, 3])
    }
}

impl FlatSignal for Tensor<2> {
    fn linear(self, linear: &Linear) -> Self {
        linear.forward(self)
    }
}

/// A value and its tangent: how the value changes as the input moves along a given direction.
#[derive(Debug, Clone)]
pub struct Dual<const D: usize> {
    /// The value.
    pub value: Tensor<D>,
    /// Its derivative along the direction.
    pub tangent: Tensor<D>,
}

impl Signal for Dual<4> {
    type Flat = Dual<2>;

    fn conv(self, conv: &Conv) -> Self {
        Self { value: conv.forward(self.value), tangent: conv.forward_tangent(self.tangent) }
    }
    fn act(self) -> Self {
        let slope = self.value.clone().greater_equal_elem(0.0).float().cast(self.value.dtype()) * (1.0 - SLOPE) + SLOPE;
        Self { value: self.value.act(), tangent: self.tangent * slope }
    }
    fn act_resized(self, how: Resize) -> Self {
        self.act().linear_op(|x| resize(x, how))
    }
    fn linear_op(self, op: impl Fn(Tensor<4>) -> Tensor<4>) -> Self {
        Self { value: op(self.value), tangent: op(self.tangent) }
    }
    fn conv_shifted(self, conv: &Conv, by: Tensor<2>) -> Self {
        Self { value: conv.forward_shifted(self.value, by), tangent: conv.forward_tangent(self.tangent) }
    }
    fn conv_residual(self, conv: &Conv, rest: Self, factor: f64) -> Self {
        Self {
            value: conv.forward_residual(self.value, rest.value, factor),
            tangent: add_scaled(rest.tangent, conv.forward_tangent(self.tangent), factor),
        }
    }
    fn with_minibatch_deviation(self, group: usize) -> Self {
        let (deviation, change) = minibatch_deviation(&self.value, Some(&self.tangent), group);
        let change = change.expect("a tangent in gives a tangent out");
        Self { value: Tensor::cat(vec![self.value, deviation], 1), tangent: Tensor::cat(vec![self.tangent, change], 1) }
    }
    fn sum_pixels(self) -> Dual<2> {
        Dual { value: self.value.sum_pixels(), tangent: self.tangent.sum_pixels() }
    }
}

impl FlatSignal for Dual<2> {
    fn linear(self, linear: &Linear) -> Self {
        Self { value: linear.forward(self.value), tangent: linear.forward_tangent(self.tangent) }
    }
}

/// The samples of one group of [`minibatch_deviation`]: at most four, as many as there are in a small batch.
pub fn group_size(batch: usize) -> usize {
    batch.min(4)
}

/// Minibatch standard deviation (Karras et al. 2018, as in StyleGAN2): √(biased variance over the group + 1e-8), mean
/// over channels and pixels, of groups of G samples; sample i gets the value of group position i mod batch/G. With it,
/// optionally, its tangent.
///
/// # Shapes
/// - x, tangent: `[batch, channels, height, width]`
/// - outputs: `[batch, 1, height, width]`
///
/// # Panics
/// When the group size does not divide the batch.
fn minibatch_deviation(x: &Tensor<4>, tangent: Option<&Tensor<4>>, group: usize) -> (Tensor<4>, Option<Tensor<4>>) {
    let [batch, channels, height, width] = x.dims();
    assert!(batch.is_multiple_of(group), "a batch of {batch} does not divide into groups of {group}");
    let positions = batch / group;
    let centred = |x: &Tensor<4>| {
        let grouped = x.clone().reshape([group, positions, channels * height * width]);
        grouped.clone() - grouped.mean_dim(0)
    };
    // One value for each group position, tiled to one channel.
    let tile = |values: Tensor<3>| {
        values
            .mean_dim(2)
            .reshape([1, positions, 1, 1])
            .repeat(&[group, 1, height, width])
            .reshape([batch, 1, height, width])
    };
    let x = centred(x);
    let deviation = (x.clone().square().mean_dim(0) + 1e-8).sqrt();
    let change = tangent.map(|tangent| tile((x * centred(tangent)).mean_dim(0) / deviation.clone()));
    (tile(deviation), change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn deviation_is_tiled_over_group_positions() {
        // Five samples of one pixel cannot be grouped by four; eight can: positions 0 and 1 alternate.
        let values: Vec<f32> = vec![0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0];
        let x = Tensor::<4>::from_data(TensorData::new(values, [8, 1, 1, 1]), &Device::flex());
        let (deviation, _) = minibatch_deviation(&x, None, group_size(8));
        let expected: Vec<f32> = [1.0, 1e-4].repeat(4);
        deviation.into_data().assert_approx_eq::<f32>(&TensorData::new(expected, [8, 1, 1, 1]), Default::default());
    }
}
