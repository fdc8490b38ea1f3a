//! The option names of the published Python code.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::nn::resample::Resampling;
use crate::nn::{
    DiffusiveGeneratorConfig, Embedding, InputPyramid, PatchDiscriminatorConfig, TimeDiscriminatorConfig,
    TranslatorConfig,
};

/// The options that shape the published diffusive generator. Options that only steer its training are ignored.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct PublishedGeneratorOptions {
    /// Side of the training crop.
    pub image_size: usize,
    num_channels: usize,
    num_channels_dae: usize,
    n_mlp: usize,
    ch_mult: Vec<usize>,
    num_res_blocks: usize,
    attn_resolutions: Vec<usize>,
    dropout: f64,
    resamp_with_conv: bool,
    conditional: bool,
    fir: bool,
    fir_kernel: Vec<usize>,
    skip_rescale: bool,
    resblock_type: String,
    progressive: String,
    progressive_input: String,
    embedding_type: String,
    fourier_scale: f64,
    not_use_tanh: bool,
    nz: usize,
    z_emb_dim: usize,
}

impl Default for PublishedGeneratorOptions {
    fn default() -> Self {
        Self {
            image_size: 512,
            num_channels: 2,
            num_channels_dae: 64,
            n_mlp: 3,
            ch_mult: vec![1, 1, 2, 2, 4, 4],
            num_res_blocks: 2,
            attn_resolutions: vec![16],
            dropout: 0.0,
            resamp_with_conv: true,
            conditional: true,
            fir: true,
            fir_kernel: vec![1, 3, 3, 1],
            skip_rescale: true,
            resblock_type: "biggan".into(),
            progressive: "none".into(),
            progressive_input: "residual".into(),
            embedding_type: "positional".into(),
            fourier_scale: 16.0,
            not_use_tanh: false,
            nz: 100,
            z_emb_dim: 256,
        }
    }
}

impl PublishedGeneratorOptions {
    /// The same network in our words. Refuses what our network does not do.
    pub fn to_config(&self) -> Result<DiffusiveGeneratorConfig> {
        let unsupported = |option: &str, value: &str| {
            Error::Config(format!("{option} = {value} is not supported; the published checkpoints do not use it"))
        };
        let fixed = [
            ("num_channels", self.num_channels != 2),
            ("conditional", !self.conditional),
            ("resamp_with_conv", !self.resamp_with_conv),
            ("skip_rescale", !self.skip_rescale),
            ("resblock_type", self.resblock_type != "biggan"),
            ("progressive", self.progressive != "none"),
            ("fir_kernel", self.fir_kernel != [1, 3, 3, 1]),
        ];
        if let Some((option, _)) = fixed.iter().find(|(_, differs)| *differs) {
            return Err(unsupported(option, "the value given"));
        }
        Ok(DiffusiveGeneratorConfig {
            width: self.num_channels_dae,
            multipliers: self.ch_mult.clone(),
            blocks: self.num_res_blocks,
            attention_at: self.attn_resolutions.clone(),
            latent_dim: self.nz,
            style_dim: self.z_emb_dim,
            mapping_layers: self.n_mlp,
            dropout: self.dropout,
            resampling: if self.fir { Resampling::Fir } else { Resampling::Plain },
            input_pyramid: match self.progressive_input.as_str() {
                "residual" => InputPyramid::Residual,
                "none" => InputPyramid::None,
                other => return Err(unsupported("progressive_input", other)),
            },
            embedding: match self.embedding_type.as_str() {
                "positional" => Embedding::Positional,
                "fourier" => Embedding::Fourier,
                other => return Err(unsupported("embedding_type", other)),
            },
            fourier_scale: self.fourier_scale,
            tanh: !self.not_use_tanh,
        })
    }
}

/// The options that shape the published non-diffusive translator.
#[derive(Debug, Clone, Deserialize)]
pub struct PublishedTranslatorOptions {
    ngf: usize,
    n_blocks: usize,
}

impl PublishedTranslatorOptions {
    /// The same network in our words.
    pub fn to_config(&self) -> TranslatorConfig {
        TranslatorConfig { width: self.ngf, blocks: self.n_blocks }
    }
}

/// The options that shape the published time-conditional discriminator.
#[derive(Debug, Clone, Deserialize)]
pub struct PublishedTimeDiscriminatorOptions {
    ngf: usize,
    t_emb_dim: usize,
}

impl PublishedTimeDiscriminatorOptions {
    /// The same network in our words.
    pub fn to_config(&self) -> TimeDiscriminatorConfig {
        TimeDiscriminatorConfig { width: self.ngf, time_dim: self.t_emb_dim }
    }
}

/// The options that shape the published patch discriminator.
#[derive(Debug, Clone, Deserialize)]
pub struct PublishedPatchDiscriminatorOptions {
    ndf: usize,
    n_layers: usize,
}

impl PublishedPatchDiscriminatorOptions {
    /// The same network in our words.
    pub fn to_config(&self) -> PatchDiscriminatorConfig {
        PatchDiscriminatorConfig { width: self.ndf, halvings: self.n_layers }
    }
}
