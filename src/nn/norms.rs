//! Norms over groups of channels, with fixed, learnt or style-dependent scale and shift.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use synlabel_kernels::{Activation, Norm, Resize, normalise};

use super::layers::{Init, Linear, Spread};

impl Init {
    /// A group norm with weight 1 and bias 0.
    pub fn group_norm(&mut self, channels: usize) -> GroupNorm {
        GroupNorm {
            weight: self.given(vec![1.0; channels], [channels]),
            bias: self.given(vec![0.0; channels], [channels]),
        }
    }

    /// An instance norm with weight 1 and bias 0.
    pub fn instance_norm(&mut self, channels: usize, eps: f64) -> InstanceNorm {
        InstanceNorm {
            weight: self.given(vec![1.0; channels], [channels]),
            bias: self.given(vec![0.0; channels], [channels]),
            eps,
        }
    }

    /// A group norm whose scale and shift are linear in a style vector, starting near scale 1 and shift 0.
    pub fn adaptive_group_norm(&mut self, channels: usize, style_dim: usize) -> AdaptiveGroupNorm {
        let mut style = self.linear(style_dim, 2 * channels, Spread::FanOut(1.0));
        let identity = (0..2 * channels).map(|i| if i < channels { 1.0 } else { 0.0 }).collect();
        style.bias = self.given(identity, [2 * channels]);
        AdaptiveGroupNorm { style }
    }
}

/// Group norm with min(channels / 4, 32) groups, eps 1e-6, and a learnt scale and shift per channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`
    pub weight: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
}

impl GroupNorm {
    /// Normalises within each group of channels, then scales and shifts.
    ///
    /// # Shapes
    /// - input, output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_then(x, Activation::Identity)
    }

    /// The same with an activation after it.
    pub fn forward_then(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let affine = [self.weight.val().unsqueeze(), self.bias.val().unsqueeze()];
        normalise_groups(x, Some(affine), activation, None)
    }
}

/// Group norm whose scale and shift depend on a style vector (Huang and Belongie 2017; here on the latent of DDGAN).
#[derive(Module, Debug)]
pub struct AdaptiveGroupNorm {
    /// style → (scale, shift), `[style_dim, 2 * channels]`.
    pub style: Linear,
}

impl AdaptiveGroupNorm {
    /// activation(scale(style)·GN(x) + shift(style)), resized.
    ///
    /// # Shapes
    /// - x: `[batch, channels, height, width]`
    /// - style: `[batch, style_dim]`
    /// - output: that of x, or with other sides
    pub fn forward_then(
        &self,
        x: Tensor<4>,
        style: Tensor<2>,
        activation: Activation,
        resize: Option<Resize>,
    ) -> Tensor<4> {
        let channels = x.dims()[1];
        let style = self.style.forward(style);
        let affine = [style.clone().narrow(1, 0, channels), style.narrow(1, channels, channels)];
        normalise_groups(x, Some(affine), activation, resize)
    }
}

fn normalise_groups(
    x: Tensor<4>,
    affine: Option<[Tensor<2>; 2]>,
    activation: Activation,
    resize: Option<Resize>,
) -> Tensor<4> {
    let groups = (x.dims()[1] / 4).clamp(1, 32);
    normalise(x, affine, &Norm { groups, eps: 1e-6, activation, resize })
}

/// Instance norm with a learnt scale and shift per channel.
#[derive(Module, Debug)]
pub struct InstanceNorm {
    /// `[channels]`
    pub weight: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
    /// Keeps a flat channel finite.
    #[module(skip)]
    pub eps: f64,
}

impl InstanceNorm {
    /// Normalises each channel of each sample over its pixels, scales and shifts, and applies an activation.
    ///
    /// # Shapes
    /// - input, output: `[batch, channels, height, width]`
    pub fn forward_then(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let affine = [self.weight.val().unsqueeze(), self.bias.val().unsqueeze()];
        normalise_channels(x, Some(affine), self.eps, activation)
    }
}

/// Instance norm without scale and shift, eps 1e-5: one group for each channel; then an activation.
pub fn instance_norm(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    normalise_channels(x, None, 1e-5, activation)
}

fn normalise_channels(x: Tensor<4>, affine: Option<[Tensor<2>; 2]>, eps: f64, activation: Activation) -> Tensor<4> {
    let groups = x.dims()[1];
    normalise(x, affine, &Norm { groups, eps, activation, resize: None })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::random::Stream;

    #[test]
    fn norms_give_mean_zero_and_variance_one_in_each_group() {
        let device = Device::flex();
        let values: Vec<f32> = Stream::new(3).normals(2 * 8 * 6 * 6).iter().map(|v| 3.0 * v + 5.0).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [2, 8, 6, 6]), &device);
        // min(8/4, 32) = 2 groups of 4 channels.
        for (normed, groups) in [
            (normalise_groups(x.clone(), None, Activation::Identity, None), 2),
            (instance_norm(x, Activation::Identity), 8),
        ] {
            let (variance, mean) = normed.reshape([2 * groups, 8 / groups * 36]).var_mean_bias(1);
            assert!(mean.abs().max().into_scalar::<f32>() < 1e-5);
            assert!((variance - 1.0).abs().max().into_scalar::<f32>() < 1e-4);
        }
    }
}
