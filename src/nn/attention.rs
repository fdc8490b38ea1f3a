//! Self-attention over all positions of a feature map (method §3.2).

use std::f64::consts::FRAC_1_SQRT_2;
use synlabel_kernels::{add_scaled, softmax};

use burn::module::Module;
use burn::tensor::Tensor;

use super::layers::{Init, Linear, Spread};
use super::norms::GroupNorm;

/// Weights that are held at a time: all pairs of positions of a large map would not fit into the caches.
const WEIGHTS: usize = 1 << 20;

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
        let [batch, channels, height, width] = x.dims();
        let positions = height * width;
        // [batch * positions, channels]
        let features = self
            .norm
            .forward(x.clone())
            .reshape([batch, channels, positions])
            .swap_dims(1, 2)
            .reshape([batch * positions, channels]);
        let map = |linear: &Linear| linear.forward(features.clone()).reshape([batch, positions, channels]);
        let (query, key, value) = (map(&self.query), map(&self.key), map(&self.value));
        let (key, factor) = (key.swap_dims(1, 2), (channels as f64).sqrt().recip());
        let attended = query
            .split((WEIGHTS / (batch * positions)).max(1), 1)
            .into_iter()
            .map(|query| softmax(query.matmul(key.clone()), factor).matmul(value.clone()))
            .collect();
        let attended = Tensor::cat(attended, 1).reshape([batch * positions, channels]);
        let attended = self
            .project
            .forward(attended)
            .reshape([batch, positions, channels])
            .swap_dims(1, 2)
            .reshape([batch, channels, height, width]);
        add_scaled(x, attended, FRAC_1_SQRT_2)
    }
}
