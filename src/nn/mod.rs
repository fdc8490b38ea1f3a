//! The networks of SynDiff and of segmentation, and the layers that they share. No file is read or written here.
//!
//! Images are tensors `[batch, channels, height, width]`; those of SynDiff have values in [-1, 1].

mod attention;
mod diffusive_generator;
mod discriminator;
pub mod host_tensor;
mod layers;
mod norms;
mod patch_discriminator;
pub mod published;
pub mod resample;
mod tangent;
mod translator;
mod unet;

pub use attention::Attention;
pub use diffusive_generator::{DiffusiveGenerator, DiffusiveGeneratorConfig, Embedding, InputPyramid};
pub use discriminator::{DiscriminatorSize, TimeDiscriminator, TimeDiscriminatorConfig};
pub use layers::{Cast, Conv, Init, Linear, Precision, Recompute, Spread, TransposedConv, constant};
pub use norms::{AdaptiveGroupNorm, GroupNorm, InstanceNorm};
pub use patch_discriminator::{PatchDiscriminator, PatchDiscriminatorConfig};
pub use tangent::Signal;
pub use translator::{Translator, TranslatorConfig};
pub use unet::{Encoder, Unet, UnetConfig};
