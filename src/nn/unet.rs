//! The segmentation U-Nets of nnU-Net v2 (Isensee et al. 2021, Nat. Methods 18; 2024, arXiv 2404.09556): the plain
//! convolutional one and the one with a residual encoder. Method §6.
//!
//! Encoder stages halve the image with a strided first convolution; the decoder goes back up by transposed convolutions
//! whose kernel is their stride, and has a head with class logits on each of its levels (deep supervision).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Activation, activate};

use super::layers::{Conv, Init, Spread, TransposedConv};
use super::norms::InstanceNorm;
use super::published::{Parameter, Published, parameters};

/// What the stages of the encoder are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// Convolutions in a row: nnU-Net's `PlainConvUNet`.
    Plain,
    /// Residual blocks after a stem: nnU-Net's `ResidualEncoderUNet`.
    Residual,
}

/// The shape of a [`Unet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// What the encoder is made of.
    pub encoder: Encoder,
    /// Channels of the input.
    pub channels_in: usize,
    /// Classes, the background among them.
    pub classes: usize,
    /// Channels of each stage, the finest first; at least two stages.
    pub features: Vec<usize>,
    /// How much each stage shrinks height and width.
    pub strides: Vec<[usize; 2]>,
    /// Height and width of each stage's kernels; odd.
    pub kernels: Vec<[usize; 2]>,
    /// Convolutions, or residual blocks, of each stage.
    pub blocks: Vec<usize>,
    /// Convolutions of each level of the decoder, the coarsest first; one level less than stages.
    pub decoder_convs: Vec<usize>,
    /// Channels of the stem before a residual encoder.
    pub stem: usize,
    /// Whether convolutions have a bias.
    pub bias: bool,
    /// eps of the instance norms.
    pub norm_eps: f64,
    /// Slope of the leaky rectifiers for negative values.
    pub slope: f64,
}

impl UnetConfig {
    /// nnU-Net's default for these stages: 3 x 3 kernels, two convolutions a level.
    pub fn plain(classes: usize, features: Vec<usize>, strides: Vec<[usize; 2]>) -> Self {
        let stages = features.len();
        Self {
            encoder: Encoder::Plain,
            channels_in: 1,
            classes,
            stem: features[0],
            features,
            strides,
            kernels: vec![[3, 3]; stages],
            blocks: vec![2; stages],
            decoder_convs: vec![2; stages - 1],
            bias: true,
            norm_eps: 1e-5,
            slope: 0.01,
        }
    }

    /// What is wrong with the shape, if anything is.
    pub fn fault(&self) -> Option<String> {
        let stages = self.features.len();
        let lists = [self.strides.len(), self.kernels.len(), self.blocks.len(), self.decoder_convs.len() + 1];
        if stages < 2 {
            return Some(format!("a U-Net needs at least two stages, and {stages} are given"));
        }
        if lists.iter().any(|length| *length != stages) {
            return Some(format!(
                "{stages} stages need as many strides, kernels and blocks, and one level of the decoder less; there are \
                 {}, {}, {} and {}",
                lists[0],
                lists[1],
                lists[2],
                self.decoder_convs.len()
            ));
        }
        let counts = [&self.features, &self.blocks, &self.decoder_convs];
        let zero = counts.into_iter().flatten().chain(self.strides.iter().flatten()).any(|count| *count == 0);
        if zero || self.classes < 2 || self.channels_in == 0 || self.stem == 0 {
            return Some("features, strides, blocks and channels must be positive, and classes at least two".into());
        }
        let even = self.kernels.iter().flatten().find(|side| *side % 2 == 0);
        even.map(|side| format!("a kernel has the even side {side}; kernels must be odd"))
    }

    /// How much the coarsest stage is smaller than the input: what height and width must be multiples of.
    pub fn shrinkage(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.strides.iter().map(|stride| stride[axis]).product())
    }

    /// How much each head's output is smaller than the input, the finest first.
    pub fn head_strides(&self) -> Vec<[usize; 2]> {
        let mut total = [1, 1];
        let all = self.strides.iter().map(|stride| {
            total = [total[0] * stride[0], total[1] * stride[1]];
            total
        });
        let mut all: Vec<[usize; 2]> = all.collect();
        all.pop();
        all
    }

    /// A new network with He's initialisation (He et al. 2015, arXiv 1502.01852) for rectifiers of slope 0.01.
    ///
    /// # Panics
    /// When the shape has a [`fault`](Self::fault).
    pub fn init(&self, init: &mut Init) -> Unet {
        assert_eq!(self.fault(), None, "the shape of a network is checked before it is built");
        let stem = (self.encoder == Encoder::Residual)
            .then(|| self.conv_block(init, [self.channels_in, self.stem], self.kernels[0], [1, 1]));
        let mut channels = if stem.is_some() { self.stem } else { self.channels_in };
        let mut encoder = Vec::new();
        for stage in 0..self.features.len() {
            encoder.push(self.stage(init, stage, channels));
            channels = self.features[stage];
        }
        let decoder = (0..self.decoder_convs.len())
            .map(|level| {
                // Level 0 stands above the coarsest stage.
                let fine = self.features.len() - 2 - level;
                self.level(init, fine, self.decoder_convs[level])
            })
            .collect();
        Unet { stem, encoder, decoder, slope: self.slope }
    }

    fn spread(&self, fan_in: usize) -> Spread {
        // The gain of a leaky rectifier of this slope; nnU-Net passes 0.01 whatever the slope.
        Spread::Normal((2.0 / (1.0 + 0.01f64.powi(2)) / fan_in as f64).sqrt())
    }

    fn conv(&self, init: &mut Init, channels: [usize; 2], kernel: [usize; 2]) -> Conv {
        init.oblong_conv(channels, kernel, self.spread(channels[0] * kernel[0] * kernel[1]))
    }

    fn conv_block(&self, init: &mut Init, channels: [usize; 2], kernel: [usize; 2], stride: [usize; 2]) -> ConvBlock {
        let conv = self.conv(init, channels, kernel).with_stride(stride);
        let conv = if self.bias { conv } else { conv.without_bias() };
        ConvBlock { conv, norm: init.instance_norm(channels[1], self.norm_eps) }
    }

    fn stage(&self, init: &mut Init, stage: usize, channels_in: usize) -> Stage {
        let (channels, kernel) = (self.features[stage], self.kernels[stage]);
        let mut convs = Vec::new();
        let mut blocks = Vec::new();
        for place in 0..self.blocks[stage] {
            let (from, stride) = if place == 0 { (channels_in, self.strides[stage]) } else { (channels, [1, 1]) };
            match self.encoder {
                Encoder::Plain => convs.push(self.conv_block(init, [from, channels], kernel, stride)),
                Encoder::Residual => blocks.push(ResidualBlock {
                    conv1: self.conv_block(init, [from, channels], kernel, stride),
                    conv2: self.conv_block(init, [channels, channels], kernel, [1, 1]),
                    skip: (from != channels).then(|| ConvBlock {
                        conv: self.conv(init, [from, channels], [1, 1]).without_bias(),
                        norm: init.instance_norm(channels, self.norm_eps),
                    }),
                    stride,
                }),
            }
        }
        Stage { convs, blocks }
    }

    fn level(&self, init: &mut Init, fine: usize, convs: usize) -> Level {
        let (channels, kernel, stride) = (self.features[fine], self.kernels[fine], self.strides[fine + 1]);
        // PyTorch counts the fan-in of a transposed convolution on its outputs.
        let spread = self.spread(channels * stride[0] * stride[1]);
        let up = init.unpooling_conv([self.features[fine + 1], channels], stride, spread);
        Level {
            up: if self.bias { up } else { up.without_bias() },
            convs: (0..convs)
                .map(|place| {
                    let from = if place == 0 { 2 * channels } else { channels };
                    self.conv_block(init, [from, channels], kernel, [1, 1])
                })
                .collect(),
            head: self.conv(init, [channels, self.classes], [1, 1]),
        }
    }
}

/// A segmentation network: image to class logits.
#[derive(Module, Debug)]
pub struct Unet {
    stem: Option<ConvBlock>,
    encoder: Vec<Stage>,
    decoder: Vec<Level>,
    #[module(skip)]
    slope: f64,
}

/// Convolution, norm and what the caller wants after them.
#[derive(Module, Debug)]
struct ConvBlock {
    conv: Conv,
    norm: InstanceNorm,
}

impl ConvBlock {
    fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        self.norm.forward_then(self.conv.forward(x), activation)
    }
}

/// Convolutions or residual blocks; one of the lists is empty.
#[derive(Module, Debug)]
struct Stage {
    convs: Vec<ConvBlock>,
    blocks: Vec<ResidualBlock>,
}

/// ResNet-D's block (He et al. 2019, arXiv 1812.01187): the way around averages before it projects.
#[derive(Module, Debug)]
struct ResidualBlock {
    conv1: ConvBlock,
    conv2: ConvBlock,
    skip: Option<ConvBlock>,
    #[module(skip)]
    stride: [usize; 2],
}

impl ResidualBlock {
    fn forward(&self, x: Tensor<4>, rectifier: Activation) -> Tensor<4> {
        let inner = self.conv2.forward(self.conv1.forward(x.clone(), rectifier), Activation::Identity);
        let mut around = x;
        if self.shrinks() {
            around = avg_pool2d(around, AvgPoolOptions::new(self.stride).with_stride(self.stride));
        }
        if let Some(skip) = &self.skip {
            around = skip.forward(around, Activation::Identity);
        }
        activate(inner + around, rectifier)
    }

    fn shrinks(&self) -> bool {
        self.stride != [1, 1]
    }
}

/// One level of the decoder.
#[derive(Module, Debug)]
struct Level {
    up: TransposedConv,
    convs: Vec<ConvBlock>,
    head: Conv,
}

impl Unet {
    /// The class logits at the input's size.
    ///
    /// # Shapes
    /// - input: `[batch, channels_in, height, width]`, normalised; height and width multiples of
    ///   [`shrinkage`](UnetConfig::shrinkage)
    /// - output: `[batch, classes, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let levels = self.features(x);
        let finest = self.decoder.last().expect("a U-Net has a level");
        finest.head.forward(levels.into_iter().last().expect("each level has features"))
    }

    /// The class logits of all heads, the finest first: what training supervises.
    ///
    /// # Shapes
    /// - input: as [`forward`](Self::forward)
    /// - outputs: `[batch, classes, height / s, width / s]` with s of [`head_strides`](UnetConfig::head_strides)
    pub fn forward_all(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let heads = self.decoder.iter().zip(self.features(x)).map(|(level, x)| level.head.forward(x));
        let mut heads: Vec<Tensor<4>> = heads.collect();
        heads.reverse();
        heads
    }

    /// What comes out of each level of the decoder, the coarsest first.
    fn features(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let rectifier = Activation::LeakyRelu(self.slope);
        let mut x = match &self.stem {
            Some(stem) => stem.forward(x, rectifier),
            None => x,
        };
        let mut skips = Vec::with_capacity(self.encoder.len());
        for stage in &self.encoder {
            x = stage.convs.iter().fold(x, |x, conv| conv.forward(x, rectifier));
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x, rectifier));
            skips.push(x.clone());
        }
        skips.pop();
        let mut levels = Vec::with_capacity(self.decoder.len());
        for level in &self.decoder {
            let skip = skips.pop().expect("there is a stage for each level");
            x = Tensor::cat(vec![level.up.forward(x), skip], 1);
            x = level.convs.iter().fold(x, |x, conv| conv.forward(x, rectifier));
            levels.push(x.clone());
        }
        levels
    }
}

impl Published for Unet {
    /// The names of nnU-Net's `network_weights`, without the second name that it has for most tensors.
    fn published_names(&self) -> Vec<(Parameter, String)> {
        let name = |path: &str| match path.split('.').collect::<Vec<_>>()[..] {
            ["stem", part, leaf] => format!("encoder.stem.convs.0.{part}.{leaf}"),
            ["encoder", stage, "convs", place, part, leaf] => {
                format!("encoder.stages.{stage}.0.convs.{place}.{part}.{leaf}")
            }
            ["encoder", stage, "blocks", place, "skip", part, leaf] => {
                let index = |text: &str| text.parse::<usize>().expect("a list is numbered");
                // The pooling, where there is one, takes the first place.
                let step = usize::from(self.encoder[index(stage)].blocks[index(place)].shrinks());
                format!("encoder.stages.{stage}.blocks.{place}.skip.{step}.{part}.{leaf}")
            }
            ["encoder", stage, "blocks", place, conv, part, leaf] => {
                format!("encoder.stages.{stage}.blocks.{place}.{conv}.{part}.{leaf}")
            }
            ["decoder", level, "up", leaf] => format!("decoder.transpconvs.{level}.{leaf}"),
            ["decoder", level, "head", leaf] => format!("decoder.seg_layers.{level}.{leaf}"),
            ["decoder", level, "convs", place, part, leaf] => {
                format!("decoder.stages.{level}.convs.{place}.{part}.{leaf}")
            }
            _ => unreachable!("a U-Net has no other layers"),
        };
        parameters(self).into_iter().map(|parameter| (parameter.clone(), name(&parameter.path))).collect()
    }
}

#[cfg(test)]
mod tests;
