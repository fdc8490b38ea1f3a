//! The patch discriminator of CycleGAN (Zhu et al., arXiv 1703.10593). Method §3.5.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Activation, activate};

use super::layers::{Conv, Init, Spread};
use super::norms::instance_norm;
use super::published::{Parameter, Published, parameters};
use super::tangent::SLOPE;

/// The shape of a [`PatchDiscriminator`]. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchDiscriminatorConfig {
    /// Channels of the first layer; each further one doubles them, up to eight times.
    pub width: usize,
    /// Halvings.
    pub halvings: usize,
}

impl Default for PatchDiscriminatorConfig {
    fn default() -> Self {
        Self { width: 64, halvings: 3 }
    }
}

impl PatchDiscriminatorConfig {
    /// A new network.
    pub fn init(&self, init: &mut Init) -> PatchDiscriminator {
        let spread = Spread::Normal(0.02);
        let width = |i: usize| self.width * (1 << i.min(3));
        let mut layers = vec![init.conv([1, width(0)], 4, spread).strided(2, 1)];
        for i in 1..=self.halvings {
            let stride = if i < self.halvings { 2 } else { 1 };
            layers.push(init.conv([width(i - 1), width(i)], 4, spread).strided(stride, 1));
        }
        layers.push(init.conv([width(self.halvings), 1], 4, spread).strided(1, 1));
        PatchDiscriminator { layers }
    }

    /// The smallest side of an input that leaves a patch to judge.
    pub fn smallest_input(&self) -> usize {
        // Two convolutions of kernel 4 and padding 1 at the end take one pixel each.
        3 << self.halvings
    }
}

/// The patch discriminator of one domain: says of each patch whether it is real.
#[derive(Module, Debug)]
pub struct PatchDiscriminator {
    layers: Vec<Conv>,
}

impl PatchDiscriminator {
    /// One logit for each patch: large for real ones.
    ///
    /// # Shapes
    /// - input: `[batch, 1, height, width]`
    /// - output: `[batch, 1, height / 8 - 2, width / 8 - 2]` for three halvings
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let last = self.layers.len() - 1;
        let leaky = Activation::LeakyRelu(SLOPE);
        self.layers.iter().enumerate().fold(x, |x, (i, conv)| {
            let x = conv.forward(x);
            match i {
                0 => activate(x, leaky),
                i if i == last => x,
                _ => instance_norm(x, leaky),
            }
        })
    }
}

impl PatchDiscriminator {
    /// What [`forward`](Self::forward) says of two batches, computed together.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward), of each batch.
    pub fn forward_two(&self, [first, second]: [Tensor<4>; 2]) -> [Tensor<4>; 2] {
        let batch = first.dims()[0];
        let logits = self.forward(Tensor::cat(vec![first, second], 0));
        [0, 1].map(|which| logits.clone().narrow(0, which * batch, batch))
    }
}

impl Published for PatchDiscriminator {
    /// In the published list an activation follows the first convolution, a norm and an activation each further one.
    fn published_names(&self) -> Vec<(Parameter, String)> {
        parameters(self)
            .into_iter()
            .map(|parameter| {
                let mut parts = parameter.path.split('.').skip(1);
                let index: usize = parts.next().and_then(|i| i.parse().ok()).expect("the layers are a list");
                let place = if index == 0 { 0 } else { 3 * index - 1 };
                let name = format!("model.{place}.{}", parts.next().expect("a layer has fields"));
                (parameter, name)
            })
            .collect()
    }
}
