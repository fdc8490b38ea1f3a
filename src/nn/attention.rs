//! Self-attention over all positions of a feature map (method §3.2).

use std::f64::consts::FRAC_1_SQRT_2;
use synlabel_kernels::{add_scaled, attend};

use burn::module::Module;
use burn::tensor::Tensor;

use super::layers::{Init, Linear, Spread};
use super::norms::GroupNorm;

/// Single-head attention with a residual connection: (x + project(softmax(qᵀk/√C)·v))/√2.
#[derive(Module, Debug)]
pub struct Attention {
    norm: GroupNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    project: Linear,
}

impl Attention {
    /// A new layer; its last map starts at zero, so that at first the input passes through.
    pub fn new(channels: usize, init: &mut Init) -> Self {
        Self {
            norm: init.group_norm(channels),
            query: init.linear(channels, channels, Spread::FanAverage(0.1)),
            key: init.linear(channels, channels, Spread::FanAverage(0.1)),
            value: init.linear(channels, channels, Spread::FanAverage(0.1)),
            project: init.linear(channels, channels, Spread::FanAverage(0.0)),
        }
    }

    /// Attends.
    ///
    /// # Shapes
    /// - input, output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let features = self.norm.forward(x.clone());
        let map = |linear: &Linear| linear.forward_pixels(features.clone());
        let attended = attend(map(&self.query), map(&self.key), map(&self.value));
        add_scaled(x, self.project.forward_pixels(attended), FRAC_1_SQRT_2)
    }
}
