//! The time-conditional discriminator of DDGAN (Xiao et al., arXiv 2112.07804, appendix C). Method §3.3.
//!
//! It tells real pairs (x_t, x_{t+1}) of the diffusion from pairs whose x_t came from the generator.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::leaky_relu;
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Resize, resize};

use super::layers::{Conv, Init, Linear, Spread, sinusoidal_embedding};
use super::published::{Parameter, Published, parameters};
use super::tangent::{Dual, FlatSignal, SLOPE, Signal, group_size};

/// How deep a [`TimeDiscriminator`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscriminatorSize {
    /// Six halvings, for images of 64 px and more.
    Large,
    /// Three halvings, for smaller images.
    Small,
}

impl DiscriminatorSize {
    /// The size for training on crops of this side.
    pub fn for_crop(crop: usize) -> Self {
        if crop < 64 { Self::Small } else { Self::Large }
    }

    /// The widths of the blocks, in units of the base width, and the width before them.
    fn widths(self) -> (usize, &'static [usize]) {
        match self {
            Self::Large => (2, &[4, 8, 8, 8, 8, 8]),
            Self::Small => (2, &[2, 4, 8, 8]),
        }
    }

    /// Whether block `i` halves its feature map.
    fn halves(self, i: usize) -> bool {
        self == Self::Large || i > 0
    }

    /// Height and width of every input must be a multiple of this, so that at least one pixel is left.
    pub fn multiple(self) -> usize {
        match self {
            Self::Large => 64,
            Self::Small => 8,
        }
    }
}

/// The shape of a [`TimeDiscriminator`]. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeDiscriminatorConfig {
    /// Base number of channels (the widest blocks have eight times as many).
    pub width: usize,
    /// Length of the time embedding.
    pub time_dim: usize,
}

impl Default for TimeDiscriminatorConfig {
    fn default() -> Self {
        Self { width: 64, time_dim: 256 }
    }
}

impl TimeDiscriminatorConfig {
    /// A new network of the given depth.
    pub fn init(&self, size: DiscriminatorSize, init: &mut Init) -> TimeDiscriminator {
        let (first, widths) = size.widths();
        let default = Spread::FanOut(1.0);
        let mut channels = first * self.width;
        let time_in = init.linear(self.time_dim, self.time_dim, default);
        let time_out = init.linear(self.time_dim, self.time_dim, default);
        let stem = init.conv([2, channels], 1, default);
        let blocks = widths
            .iter()
            .enumerate()
            .map(|(i, width)| {
                let channels_in = std::mem::replace(&mut channels, width * self.width);
                DownBlock {
                    conv_in: init.conv([channels_in, channels], 3, default),
                    time: init.linear(self.time_dim, channels, default),
                    conv_out: init.conv([channels, channels], 3, Spread::FanOut(0.0)),
                    skip: init.conv([channels_in, channels], 1, default).without_bias(),
                    halve: size.halves(i),
                }
            })
            .collect();
        let final_spread = match size {
            DiscriminatorSize::Large => default,
            DiscriminatorSize::Small => Spread::FanOut(0.0),
        };
        TimeDiscriminator {
            time_in,
            time_out,
            stem,
            blocks,
            final_conv: init.conv([channels + 1, channels], 3, final_spread),
            head: init.linear(channels, 1, default),
            time_dim: self.time_dim,
        }
    }
}

/// The time-conditional discriminator of one domain. See the module's doc.
#[derive(Module, Debug)]
pub struct TimeDiscriminator {
    time_in: Linear,
    time_out: Linear,
    stem: Conv,
    blocks: Vec<DownBlock>,
    final_conv: Conv,
    head: Linear,
    time_dim: usize,
}

#[derive(Module, Debug)]
struct DownBlock {
    conv_in: Conv,
    time: Linear,
    conv_out: Conv,
    skip: Conv,
    halve: bool,
}

impl TimeDiscriminator {
    /// One logit for each sample: large for real pairs.
    ///
    /// # Shapes
    /// - x_t, x_next: `[batch, 1, height, width]`, x_t and x_{t+1}; height and width multiples of
    ///   [`DiscriminatorSize::multiple`]
    /// - steps: t of each sample
    /// - output: `[batch]`
    pub fn forward(&self, x_t: Tensor<4>, steps: &[f32], x_next: Tensor<4>) -> Tensor<1> {
        let group = group_size(steps.len());
        self.run(Tensor::cat(vec![x_t, x_next], 1), steps, group).squeeze_dim(1)
    }

    /// What [`forward`](Self::forward) says of two batches of x_t with the same t and x_{t+1}, computed together.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward), of each batch.
    pub fn forward_two(&self, [first, second]: [Tensor<4>; 2], steps: &[f32], x_next: Tensor<4>) -> [Tensor<1>; 2] {
        let [batch, _, height, width] = x_next.dims();
        let group = group_size(batch);
        let positions = batch / group;
        // Groups of samples have members of one batch only where the positions of both stand side by side.
        let side_by_side = |first: Tensor<4>, second: Tensor<4>| {
            let parted = |x: Tensor<4>| x.reshape([group, positions, height, width]);
            Tensor::cat(vec![parted(first), parted(second)], 1).reshape([2 * batch, 1, height, width])
        };
        let input = Tensor::cat(vec![side_by_side(first, second), side_by_side(x_next.clone(), x_next)], 1);
        let steps: Vec<f32> = steps.chunks(positions).flat_map(|steps| [steps, steps].concat()).collect();
        let logits = self.run(input, &steps, group).reshape([group, 2, positions]);
        [0, 1].map(|which| logits.clone().narrow(1, which, 1).reshape([batch]))
    }

    /// The logits, and their change as x_t moves along `direction`.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward); direction: `[batch, 1, height, width]`.
    pub fn forward_dual(
        &self,
        x_t: Tensor<4>,
        direction: Tensor<4>,
        steps: &[f32],
        x_next: Tensor<4>,
    ) -> (Tensor<1>, Tensor<1>) {
        let still = x_next.zeros_like();
        let input = Dual { value: Tensor::cat(vec![x_t, x_next], 1), tangent: Tensor::cat(vec![direction, still], 1) };
        let logits = self.run(input, steps, group_size(steps.len()));
        (logits.value.squeeze_dim(1), logits.tangent.squeeze_dim(1))
    }

    /// ∇_x ΣD(x, t, x_{t+1}), as a constant. No gradient of the weights is computed.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward); output: `[batch, 1, height, width]`.
    pub fn input_gradient(&self, x_t: Tensor<4>, steps: &[f32], x_next: Tensor<4>) -> Tensor<4> {
        let x_t = x_t.detach().autodiff().require_grad();
        let logits = self.valid().forward(x_t.clone(), steps, x_next);
        x_t.grad(&logits.sum().backward()).expect("the logits depend on the input")
    }

    fn run<S: Signal>(&self, input: S, steps: &[f32], group: usize) -> S::Flat {
        let act = |x: Tensor<2>| leaky_relu(x, SLOPE);
        let embedding = sinusoidal_embedding(steps, self.time_dim, &self.time_in.weight.val());
        let time = act(self.time_out.forward(act(self.time_in.forward(embedding))));
        let h = self.blocks.iter().fold(input.conv(&self.stem), |h, block| block.run(h, &time));
        h.with_minibatch_deviation(group).conv(&self.final_conv).act().sum_pixels().linear(&self.head)
    }
}

impl DownBlock {
    fn run<S: Signal>(&self, x: S, time: &Tensor<2>) -> S {
        let h = x.clone().act().conv_shifted(&self.conv_in, self.time.forward(time.clone()));
        let (h, skip) = if self.halve {
            (h.act_resized(Resize::Halve), x.linear_op(|x| resize(x, Resize::Halve)))
        } else {
            (h.act(), x)
        };
        h.conv_residual(&self.conv_out, skip.conv(&self.skip), FRAC_1_SQRT_2)
    }
}

impl Published for TimeDiscriminator {
    fn published_names(&self) -> Vec<(Parameter, String)> {
        parameters(self)
            .into_iter()
            .map(|parameter| {
                let (layer, leaf) = parameter.path.rsplit_once('.').expect("a parameter stands in a layer");
                let layer = match layer.split('.').collect::<Vec<_>>()[..] {
                    ["time_in"] => "t_embed.main.0".into(),
                    ["time_out"] => "t_embed.main.2".into(),
                    ["stem"] => "start_conv".into(),
                    ["head"] => "end_linear".into(),
                    ["blocks", index, field] => {
                        let index: usize = index.parse().expect("the blocks are a list");
                        let field = match field {
                            "conv_in" => "conv1.0",
                            "conv_out" => "conv2.0",
                            "time" => "dense_t1",
                            _ => "skip.0",
                        };
                        format!("conv{}.{field}", index + 1)
                    }
                    _ => layer.to_string(),
                };
                let name = format!("{layer}.{leaf}");
                (parameter, name)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::Precision;
    use crate::random::Stream;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn two_batches_are_judged_together_as_each_alone() {
        let device = Device::flex();
        let mut init = Init::new(Stream::new(1), &device, Precision::F32);
        let config = TimeDiscriminatorConfig { width: 4, time_dim: 8 };
        let judge = config.init(DiscriminatorSize::Large, &mut init);
        let mut stream = Stream::new(2);
        // Groups of one, two and four samples, and two groups of four.
        for batch in [1, 2, 4, 8] {
            let [first, second, x_next] = [(); 3].map(|()| {
                let values = TensorData::new(stream.normals(batch * 64 * 64), [batch, 1, 64, 64]);
                Tensor::<4>::from_data(values, &device)
            });
            let steps: Vec<f32> = (0..batch).map(|i| (i % 4) as f32).collect();
            let together = judge.forward_two([first.clone(), second.clone()], &steps, x_next.clone());
            for (together, x_t) in together.into_iter().zip([first, second]) {
                let alone = judge.forward(x_t, &steps, x_next.clone());
                let close = Tolerance::absolute(1e-5);
                together.into_data().assert_approx_eq::<f32>(&alone.into_data(), close);
            }
        }
    }
}
