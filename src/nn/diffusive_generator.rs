//! The diffusive generator: NCSN++ (Song et al., arXiv 2011.13456) with adaptive group norm driven by a latent, as in
//! DDGAN (Xiao et al., arXiv 2112.07804). Method §3.2.
//!
//! From a noisy target image, the source image, a time and a latent it estimates the clean target image.

mod names;

use std::f64::consts::FRAC_1_SQRT_2;

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::ops::PadMode;
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Activation, Resize, activate, add_scaled, resize};

use super::attention::Attention;
use super::layers::{Conv, Init, Linear, Spread, constant, sinusoidal_embedding};
use super::norms::{AdaptiveGroupNorm, GroupNorm};
use super::resample::{Resampling, blur_for_strided_conv};
use crate::error::{Error, Result};

/// How the time enters the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Embedding {
    /// Sinusoids of the step number.
    #[default]
    Positional,
    /// Sinusoids of random frequencies of the logarithm of a positive time.
    Fourier,
}

impl Embedding {
    /// The network's time input for diffusion step `step` (from 0). The logarithm in the Fourier embedding has no
    /// value at 0, so its steps count from 1.
    pub fn time_of_step(self, step: usize) -> f32 {
        match self {
            Self::Positional => step as f32,
            Self::Fourier => step as f32 + 1.0,
        }
    }
}

/// Whether ever smaller copies of the network's input are fed to the deeper levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputPyramid {
    /// Each copy is convolved to the level's width and averaged with the features.
    #[default]
    Residual,
    /// No pyramid.
    None,
}

/// The shape of a [`DiffusiveGenerator`]. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusiveGeneratorConfig {
    /// Channels of the finest level; a multiple of 4.
    pub width: usize,
    /// Channels of each level, finest first, in units of `width`.
    pub multipliers: Vec<usize>,
    /// Residual blocks a level.
    pub blocks: usize,
    /// Side lengths of feature maps, at the size of the training crop, at which there is attention.
    pub attention_at: Vec<usize>,
    /// Length of the latent z.
    pub latent_dim: usize,
    /// Length of the style vector that the latent is mapped to.
    pub style_dim: usize,
    /// Linear layers of the mapping after the first.
    pub mapping_layers: usize,
    /// Share of features dropped in each residual block during training, in [0, 1).
    pub dropout: f64,
    /// The filters for halving and doubling.
    pub resampling: Resampling,
    /// The input pyramid.
    pub input_pyramid: InputPyramid,
    /// The time embedding.
    pub embedding: Embedding,
    /// Standard deviation of the frequencies of the Fourier embedding.
    pub fourier_scale: f64,
    /// Whether the output goes through tanh.
    pub tanh: bool,
}

impl Default for DiffusiveGeneratorConfig {
    fn default() -> Self {
        Self {
            width: 64,
            multipliers: vec![1, 1, 2, 2, 4, 4],
            blocks: 2,
            attention_at: vec![16],
            latent_dim: 100,
            style_dim: 256,
            mapping_layers: 3,
            dropout: 0.0,
            resampling: Resampling::Fir,
            input_pyramid: InputPyramid::Residual,
            embedding: Embedding::Positional,
            fourier_scale: 16.0,
            tanh: true,
        }
    }
}

/// Noisy target and source.
const CHANNELS_IN: usize = 2;
/// Channel 0 is the estimate; the published network has a second one that nothing reads.
const CHANNELS_OUT: usize = 2;

impl DiffusiveGeneratorConfig {
    /// Height and width of every input must be a multiple of this.
    pub fn multiple(&self) -> usize {
        1 << (self.multipliers.len() - 1)
    }

    /// Refuses numbers that no network can be built from.
    pub fn check(&self, crop: usize) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Config(sentence));
        if self.multipliers.is_empty() || self.multipliers.contains(&0) || self.blocks == 0 {
            return refuse("the generator needs at least one level, and no multiplier or block count of 0".into());
        }
        if self.width < 4 || !self.width.is_multiple_of(4) {
            return refuse(format!("the generator's width is {}; it must be a multiple of 4", self.width));
        }
        if let Some(channels) = self.multipliers.iter().map(|m| m * self.width).find(|c| c % (c / 4).clamp(1, 32) != 0)
        {
            return refuse(format!("a generator level of {channels} channels does not divide into 32 norm groups"));
        }
        if self.latent_dim == 0 || self.style_dim == 0 || !(0.0..1.0).contains(&self.dropout) {
            return refuse("latent_dim and style_dim must be at least 1, and dropout in [0, 1)".into());
        }
        let multiple = self.multiple();
        if crop == 0 || !crop.is_multiple_of(multiple) {
            return refuse(format!(
                "a crop of {crop} px cannot be halved {} times: choose a multiple of {multiple}, such as {}",
                self.multipliers.len() - 1,
                crop.div_ceil(multiple).max(1) * multiple
            ));
        }
        Ok(())
    }

    /// A new network for training on crops of side `crop`: where attention stands is decided here, once, and stays
    /// with the level whatever the size of later inputs.
    pub fn init(&self, crop: usize, init: &mut Init) -> DiffusiveGenerator {
        let time_dim = 4 * self.width;
        let default = Spread::FanAverage(1.0);
        let frequencies = (self.embedding == Embedding::Fourier).then(|| {
            let spread = Spread::Normal(self.fourier_scale);
            TimeFrequencies { weight: init.param([self.width], 1, 1, spread).set_require_grad(false) }
        });
        let embedding_dim = if frequencies.is_some() { 2 * self.width } else { self.width };
        let time_in = init.linear(embedding_dim, time_dim, default);
        let time_out = init.linear(time_dim, time_dim, default);
        let stem = init.conv([CHANNELS_IN, self.width], 3, default);

        let mut builder = Builder { config: self, init, crop, skips: vec![self.width] };
        let encoder = builder.encoder();
        let deepest = builder.channels(self.multipliers.len() - 1);
        let middle = Middle {
            first: builder.residual(deepest, deepest, Direction::Same),
            attention: Attention::new(deepest, builder.init),
            second: builder.residual(deepest, deepest, Direction::Same),
        };
        let decoder = builder.decoder(deepest);

        let finest = self.multipliers[0] * self.width;
        let mapping = (0..=self.mapping_layers)
            .map(|i| {
                let features_in = if i == 0 { self.latent_dim } else { self.style_dim };
                init.linear(features_in, self.style_dim, Spread::FanOut(1.0))
            })
            .collect();
        DiffusiveGenerator {
            frequencies,
            time_in,
            time_out,
            stem,
            encoder,
            middle,
            decoder,
            out_norm: init.group_norm(finest),
            out_conv: init.conv([finest, CHANNELS_OUT], 3, Spread::FanAverage(0.0)),
            mapping,
            resampling: self.resampling,
            width: self.width,
            tanh: self.tanh,
        }
    }
}

/// What the levels have in common while the network is built.
struct Builder<'a> {
    config: &'a DiffusiveGeneratorConfig,
    init: &'a mut Init,
    crop: usize,
    /// Channels of the encoder's outputs that the decoder will take up, last one on top.
    skips: Vec<usize>,
}

impl Builder<'_> {
    fn channels(&self, level: usize) -> usize {
        self.config.multipliers[level] * self.config.width
    }

    fn attention(&mut self, level: usize) -> Option<Attention> {
        let side = self.crop >> level;
        let channels = self.channels(level);
        self.config.attention_at.contains(&side).then(|| Attention::new(channels, self.init))
    }

    fn residual(&mut self, channels_in: usize, channels_out: usize, direction: Direction) -> ResidualBlock {
        let config = self.config;
        let default = Spread::FanAverage(1.0);
        let has_skip = channels_in != channels_out || direction != Direction::Same;
        ResidualBlock {
            norm_in: self.init.adaptive_group_norm(channels_in, config.style_dim),
            conv_in: self.init.conv([channels_in, channels_out], 3, default),
            time: self.init.linear(4 * config.width, channels_out, default),
            norm_out: self.init.adaptive_group_norm(channels_out, config.style_dim),
            dropout: DropoutConfig::new(config.dropout).init(),
            conv_out: self.init.conv([channels_out, channels_out], 3, Spread::FanAverage(0.0)),
            skip: has_skip.then(|| self.init.conv([channels_in, channels_out], 1, default)),
            direction,
            resampling: config.resampling,
        }
    }

    fn encoder(&mut self) -> Vec<EncoderLevel> {
        let config = self.config;
        let mut channels = config.width;
        let mut pyramid_channels = CHANNELS_IN;
        let mut levels = Vec::new();
        for level in 0..config.multipliers.len() {
            let width = self.channels(level);
            let mut stages = Vec::new();
            for _ in 0..config.blocks {
                let residual = self.residual(channels, width, Direction::Same);
                stages.push(Stage { residual, attention: self.attention(level) });
                channels = width;
                self.skips.push(channels);
            }
            let down = (level + 1 < config.multipliers.len()).then(|| {
                let residual = self.residual(channels, channels, Direction::Down);
                let pyramid = (config.input_pyramid == InputPyramid::Residual).then(|| {
                    let conv = self.init.conv([pyramid_channels, channels], 3, Spread::FanAverage(1.0));
                    pyramid_channels = channels;
                    conv.strided(2, 0)
                });
                self.skips.push(channels);
                Downward { residual, pyramid }
            });
            levels.push(EncoderLevel { stages, down });
        }
        levels
    }

    fn decoder(&mut self, mut channels: usize) -> Vec<DecoderLevel> {
        let mut levels = Vec::new();
        for level in (0..self.config.multipliers.len()).rev() {
            let width = self.channels(level);
            let mut blocks = Vec::new();
            for _ in 0..=self.config.blocks {
                let skip = self.skips.pop().expect("the encoder left one skip for each decoder block");
                blocks.push(self.residual(channels + skip, width, Direction::Same));
                channels = width;
            }
            let attention = self.attention(level);
            let up = (level > 0).then(|| self.residual(channels, channels, Direction::Up));
            levels.push(DecoderLevel { blocks, attention, up });
        }
        levels
    }
}

/// The diffusive generator of one direction. See the module's doc.
#[derive(Module, Debug)]
pub struct DiffusiveGenerator {
    // The published code numbers its layers in this order; `published_names` counts along it.
    frequencies: Option<TimeFrequencies>,
    time_in: Linear,
    time_out: Linear,
    stem: Conv,
    encoder: Vec<EncoderLevel>,
    middle: Middle,
    decoder: Vec<DecoderLevel>,
    out_norm: GroupNorm,
    out_conv: Conv,
    mapping: Vec<Linear>,
    #[module(skip)]
    resampling: Resampling,
    width: usize,
    tanh: bool,
}

/// The fixed random frequencies of the Fourier embedding.
#[derive(Module, Debug)]
struct TimeFrequencies {
    /// `[width]`, never trained.
    weight: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct EncoderLevel {
    stages: Vec<Stage>,
    down: Option<Downward>,
}

#[derive(Module, Debug)]
struct Stage {
    residual: ResidualBlock,
    attention: Option<Attention>,
}

#[derive(Module, Debug)]
struct Downward {
    residual: ResidualBlock,
    pyramid: Option<Conv>,
}

#[derive(Module, Debug)]
struct Middle {
    first: ResidualBlock,
    attention: Attention,
    second: ResidualBlock,
}

#[derive(Module, Debug)]
struct DecoderLevel {
    blocks: Vec<ResidualBlock>,
    attention: Option<Attention>,
    up: Option<ResidualBlock>,
}

/// Whether a residual block changes the size of its feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
    Same,
}

impl DiffusiveGenerator {
    /// The estimate of the clean target.
    ///
    /// # Shapes
    /// - noisy: `[batch, 1, height, width]`, the noisy target x_{t+1}; height and width multiples of
    ///   [`DiffusiveGeneratorConfig::multiple`]
    /// - source: `[batch, 1, height, width]` in [-1, 1]
    /// - times: one for each sample, see [`Embedding::time_of_step`]
    /// - latent: `[batch, latent_dim]`, standard normal
    /// - output: `[batch, 1, height, width]`, in [-1, 1] with tanh
    pub fn forward(&self, noisy: Tensor<4>, source: Tensor<4>, times: &[f32], latent: Tensor<2>) -> Tensor<4> {
        self.forward_raw(Tensor::cat(vec![noisy, source], 1), times, latent).narrow(1, 0, 1)
    }

    /// The published network as it is: two channels in, two out.
    ///
    /// # Shapes
    /// - x, output: `[batch, 2, height, width]`
    pub fn forward_raw(&self, x: Tensor<4>, times: &[f32], latent: Tensor<2>) -> Tensor<4> {
        let condition = Condition { time: self.embed(times, &latent), style: self.style(latent) };
        let mut h = self.stem.forward(x.clone());
        let mut pyramid = x;
        let mut skips = vec![h.clone()];
        for level in &self.encoder {
            for stage in &level.stages {
                h = stage.residual.forward(h, &condition);
                if let Some(attention) = &stage.attention {
                    h = attention.forward(h);
                }
                skips.push(h.clone());
            }
            if let Some(down) = &level.down {
                h = down.residual.forward(h, &condition);
                if let Some(conv) = &down.pyramid {
                    pyramid = add_scaled(self.halve(pyramid, conv), h, FRAC_1_SQRT_2);
                    h = pyramid.clone();
                }
                skips.push(h.clone());
            }
        }
        h = self.middle.first.forward(h, &condition);
        h = self.middle.attention.forward(h);
        h = self.middle.second.forward(h, &condition);
        for level in &self.decoder {
            for block in &level.blocks {
                let skip = skips.pop().expect("the encoder left one skip for each decoder block");
                h = block.forward(Tensor::cat(vec![h, skip], 1), &condition);
            }
            if let Some(attention) = &level.attention {
                h = attention.forward(h);
            }
            if let Some(up) = &level.up {
                h = up.forward(h, &condition);
            }
        }
        let y = self.out_conv.forward(self.out_norm.forward_then(h, Activation::Silu));
        if self.tanh { activate(y, Activation::Tanh) } else { y }
    }

    fn halve(&self, x: Tensor<4>, conv: &Conv) -> Tensor<4> {
        conv.forward(match self.resampling {
            Resampling::Fir => blur_for_strided_conv(x),
            Resampling::Plain => x.pad([(0, 1), (0, 1)], PadMode::Constant(0.0)),
        })
    }

    fn embed(&self, times: &[f32], like: &Tensor<2>) -> Tensor<2> {
        let embedding = match &self.frequencies {
            None => sinusoidal_embedding(times, self.width, like),
            Some(frequencies) => frequencies.forward(times, like),
        };
        self.time_out.forward(silu(self.time_in.forward(embedding)))
    }

    /// z/√(mean z² + 1e-8), then linear maps, each followed by SiLU.
    fn style(&self, latent: Tensor<2>) -> Tensor<2> {
        let scale = (latent.clone().square().mean_dim(1) + 1e-8).sqrt();
        self.mapping.iter().fold(latent / scale, |style, linear| silu(linear.forward(style)))
    }
}

impl TimeFrequencies {
    /// \[sin, cos\] of 2π·f·ln t, for t > 0.
    fn forward(&self, times: &[f32], like: &Tensor<2>) -> Tensor<2> {
        let logarithms: Tensor<2> = constant(times.iter().map(|time| time.ln()).collect(), [times.len(), 1], like);
        let angle = logarithms * self.weight.val().unsqueeze_dim::<2>(0) * std::f64::consts::TAU;
        Tensor::cat(vec![angle.clone().sin(), angle.cos()], 1)
    }
}

/// What every block is told beside the image.
struct Condition {
    /// `[batch, 4 * width]`
    time: Tensor<2>,
    /// `[batch, style_dim]`
    style: Tensor<2>,
}

/// The BigGAN-style residual block of NCSN++, (skip(x) + h(x))/√2.
#[derive(Module, Debug)]
struct ResidualBlock {
    norm_in: AdaptiveGroupNorm,
    conv_in: Conv,
    time: Linear,
    norm_out: AdaptiveGroupNorm,
    dropout: Dropout,
    conv_out: Conv,
    skip: Option<Conv>,
    #[module(skip)]
    direction: Direction,
    #[module(skip)]
    resampling: Resampling,
}

impl ResidualBlock {
    fn resize(&self) -> Option<Resize> {
        match self.direction {
            Direction::Up => Some(self.resampling.up()),
            Direction::Down => Some(self.resampling.down()),
            Direction::Same => None,
        }
    }

    fn forward(&self, x: Tensor<4>, condition: &Condition) -> Tensor<4> {
        let (resized, style) = (self.resize(), &condition.style);
        let h = self.norm_in.forward_then(x.clone(), style.clone(), Activation::Silu, resized);
        let time = self.time.forward(silu(condition.time.clone()));
        let h = self.conv_in.forward_shifted(h, time);
        let h = self.norm_out.forward_then(h, style.clone(), Activation::Silu, None);
        let h = self.dropout.forward(h);
        let x = resized.into_iter().fold(x, resize);
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        self.conv_out.forward_residual(h, x, FRAC_1_SQRT_2)
    }
}
