//! The non-diffusive translator: the residual network of CycleGAN (Zhu et al., arXiv 1703.10593). Method §3.4.
//!
//! One pass from an image of one look to a first estimate of the other; it serves the diffusive generator as source.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Activation, activate};

use super::layers::{Conv, Init, Spread, TransposedConv};
use super::norms::instance_norm;
use super::published::{Parameter, Published, parameters};

/// The shape of a [`Translator`]. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranslatorConfig {
    /// Channels at full resolution.
    pub width: usize,
    /// Residual blocks at a quarter of the resolution.
    pub blocks: usize,
}

impl Default for TranslatorConfig {
    fn default() -> Self {
        Self { width: 64, blocks: 6 }
    }
}

impl TranslatorConfig {
    /// A new network.
    pub fn init(&self, init: &mut Init) -> Translator {
        let spread = Spread::Normal(0.02);
        let width = self.width;
        let inner = 4 * width;
        Translator {
            stem: init.conv([1, width], 7, spread),
            down: [[width, 2 * width], [2 * width, inner]]
                .into_iter()
                .map(|channels| init.conv(channels, 3, spread).strided(2, 1))
                .collect(),
            blocks: (0..self.blocks)
                .map(|_| TranslatorBlock {
                    first: init.conv([inner, inner], 3, spread),
                    second: init.conv([inner, inner], 3, spread),
                })
                .collect(),
            up: [[inner, 2 * width], [2 * width, width]]
                .into_iter()
                .map(|channels| init.transposed_conv(channels, spread))
                .collect(),
            head: init.conv([width, 1], 7, spread),
        }
    }
}

/// The translator of one direction.
#[derive(Module, Debug)]
pub struct Translator {
    stem: Conv,
    down: Vec<Conv>,
    blocks: Vec<TranslatorBlock>,
    up: Vec<TransposedConv>,
    head: Conv,
}

#[derive(Module, Debug)]
struct TranslatorBlock {
    first: Conv,
    second: Conv,
}

impl Translator {
    /// Translates.
    ///
    /// # Shapes
    /// - input: `[batch, 1, height, width]` in [-1, 1]; height and width multiples of 4, at least 8
    /// - output: the same, in [-1, 1]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let normed = |x| instance_norm(x, Activation::Relu);
        let mut x = normed(self.stem.forward_mirrored(x));
        for conv in &self.down {
            x = normed(conv.forward(x));
        }
        for block in &self.blocks {
            let h = normed(block.first.forward_mirrored(x.clone()));
            x = x + instance_norm(block.second.forward_mirrored(h), Activation::Identity);
        }
        for conv in &self.up {
            x = normed(conv.forward(x));
        }
        activate(self.head.forward_mirrored(x), Activation::Tanh)
    }
}

impl Published for Translator {
    /// The published list counts paddings, norms and activations as places too.
    fn published_names(&self) -> Vec<(Parameter, String)> {
        let after_blocks = 10 + self.blocks.len();
        parameters(self)
            .into_iter()
            .map(|parameter| {
                let number = |index: &str| index.parse::<usize>().expect("a list is numbered");
                let name = match parameter.path.split('.').collect::<Vec<_>>()[..] {
                    ["down", i, leaf] => format!("model.{}.{leaf}", 4 + 3 * number(i)),
                    ["blocks", i, field, leaf] => {
                        let place = if field == "first" { 1 } else { 5 };
                        format!("model.{}.conv_block.{place}.{leaf}", 10 + number(i))
                    }
                    ["up", i, leaf] => format!("model.{}.{leaf}", after_blocks + 3 * number(i)),
                    ["head", leaf] => format!("model.{}.{leaf}", after_blocks + 7),
                    [_, leaf] => format!("model.1.{leaf}"),
                    _ => unreachable!("the translator has no other layers"),
                };
                (parameter, name)
            })
            .collect()
    }
}
