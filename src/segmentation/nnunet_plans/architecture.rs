//! The networks of nnU-Net's plans.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Reason, pair, parse};
use crate::nn::{Encoder, UnetConfig};

/// Bounds far beyond any network of nnU-Net, so that a damaged file cannot ask for the memory of a network that size.
const MAX_STAGES: usize = 16;
const MAX_FEATURES: usize = 4096;
const MAX_BLOCKS: usize = 64;
const MAX_SIDE: usize = 64;

/// Where nnU-Net's networks come from.
const LIBRARY: &str = "dynamic_network_architectures.";

/// Arguments without effect on a trained network.
const WITHOUT_EFFECT: [&str; 5] =
    ["dropout_op", "dropout_op_kwargs", "stochastic_depth_p", "squeeze_excitation_reduction_ratio", "deep_supervision"];

/// The network of a configuration, in whichever form the plans describe it.
pub(super) fn network(configuration: &Map<String, Value>, classes: usize) -> Reason<UnetConfig> {
    let config = match configuration.get("architecture") {
        Some(Value::Object(architecture)) => parse::<Architecture>(architecture)?.into_config(classes)?,
        Some(other) => return Err(format!("architecture is {other}, not a table")),
        None => parse::<OlderSettings>(configuration)?.into_config(classes)?,
    };
    let bounds = [
        (config.features.iter().chain([&config.stem]).max(), MAX_FEATURES, "features"),
        (config.blocks.iter().chain(&config.decoder_convs).max(), MAX_BLOCKS, "convolutions in a stage"),
        (config.kernels.iter().chain(&config.strides).flatten().max(), MAX_SIDE, "pixels of a kernel or stride"),
    ];
    for (found, bound, what) in bounds {
        if let Some(found) = found.filter(|found| **found > bound) {
            return Err(format!("the network has {found} {what}; at most {bound} are understood"));
        }
    }
    config.fault().map_or(Ok(config), Err)
}

/// Refuses a network whose output would not have the size of the patch.
pub(super) fn check_patch(network: &UnetConfig, patch_size: [usize; 2]) -> Reason<()> {
    if network.strides[0] != [1, 1] {
        return Err(format!("the first stride is {:?}; it must be [1, 1]", network.strides[0]));
    }
    let divides = |axis: usize| {
        let rest = network
            .strides
            .iter()
            .try_fold(patch_size[axis], |side, stride| side.is_multiple_of(stride[axis]).then(|| side / stride[axis]));
        rest.is_some_and(|side| side > 0)
    };
    if !divides(0) || !divides(1) {
        return Err(format!("the strides {:?} do not divide the patch of {patch_size:?}", network.strides));
    }
    Ok(())
}

/// One value for each stage, or one for all.
#[derive(Deserialize)]
#[serde(untagged)]
enum PerStage<T> {
    Each(Vec<T>),
    All(T),
}

impl<T: Clone> PerStage<T> {
    fn spread(self, stages: usize) -> Vec<T> {
        match self {
            Self::Each(values) => values,
            Self::All(value) => vec![value; stages],
        }
    }
}

/// Height and width, or one number for both.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Sides {
    Each(Vec<usize>),
    Both(usize),
}

fn sides(stages: PerStage<Sides>, count: usize, name: &str) -> Reason<Vec<[usize; 2]>> {
    let sides = stages.spread(count).into_iter().map(|sides| match sides {
        Sides::Each(sides) => pair(&sides, name),
        Sides::Both(side) => Ok([side, side]),
    });
    sides.collect()
}

/// The older form: a class and the settings that differ between data sets.
#[derive(Deserialize)]
struct OlderSettings {
    #[serde(rename = "UNet_class_name")]
    class: String,
    #[serde(rename = "UNet_base_num_features")]
    base_features: usize,
    #[serde(rename = "unet_max_num_features")]
    max_features: usize,
    conv_kernel_sizes: PerStage<Sides>,
    pool_op_kernel_sizes: PerStage<Sides>,
    n_conv_per_stage_encoder: Vec<usize>,
    n_conv_per_stage_decoder: Vec<usize>,
}

impl OlderSettings {
    /// Features double from stage to stage up to a maximum; nnU-Net fixed all other arguments.
    fn into_config(self, classes: usize) -> Reason<UnetConfig> {
        let stages = self.n_conv_per_stage_encoder.len();
        check_stages(stages)?;
        let features: Vec<usize> =
            (0..stages).map(|stage| self.base_features.saturating_mul(1 << stage).min(self.max_features)).collect();
        Ok(UnetConfig {
            encoder: encoder(&self.class)?,
            channels_in: 1,
            classes,
            stem: features[0],
            features,
            strides: sides(self.pool_op_kernel_sizes, stages, "pool_op_kernel_sizes")?,
            kernels: sides(self.conv_kernel_sizes, stages, "conv_kernel_sizes")?,
            blocks: self.n_conv_per_stage_encoder,
            decoder_convs: self.n_conv_per_stage_decoder,
            bias: true,
            norm_eps: 1e-5,
            slope: 0.01,
        })
    }
}

fn check_stages(stages: usize) -> Reason<()> {
    if stages == 0 || stages > MAX_STAGES {
        return Err(format!("the network has {stages} stages; 2 to {MAX_STAGES} are understood"));
    }
    Ok(())
}

fn encoder(class: &str) -> Reason<Encoder> {
    match class {
        "PlainConvUNet" => Ok(Encoder::Plain),
        "ResidualEncoderUNet" => Ok(Encoder::Residual),
        other => Err(format!("the network is {other}; PlainConvUNet and ResidualEncoderUNet are understood")),
    }
}

/// The newer form: a class and its arguments.
#[derive(Deserialize)]
struct Architecture {
    network_class_name: String,
    arch_kwargs: Arguments,
}

/// The arguments of a network. What is not listed has its default in PyTorch or in nnU-Net's library of networks.
#[derive(Deserialize)]
struct Arguments {
    n_stages: usize,
    features_per_stage: PerStage<usize>,
    conv_op: String,
    kernel_sizes: PerStage<Sides>,
    strides: PerStage<Sides>,
    #[serde(alias = "n_blocks_per_stage")]
    n_conv_per_stage: PerStage<usize>,
    n_conv_per_stage_decoder: PerStage<usize>,
    #[serde(default)]
    conv_bias: bool,
    norm_op: Option<String>,
    norm_op_kwargs: Option<NormArguments>,
    nonlin: Option<String>,
    nonlin_kwargs: Option<RectifierArguments>,
    block: Option<String>,
    stem_channels: Option<usize>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize, Default)]
struct NormArguments {
    eps: Option<f64>,
    #[serde(default)]
    affine: bool,
    #[serde(default)]
    track_running_stats: bool,
}

#[derive(Deserialize, Default)]
struct RectifierArguments {
    negative_slope: Option<f64>,
}

impl Architecture {
    fn into_config(self, classes: usize) -> Reason<UnetConfig> {
        let class = self.network_class_name.strip_prefix(LIBRARY).and_then(|path| path.rsplit('.').next());
        let encoder = encoder(class.unwrap_or(&self.network_class_name))?;
        let arguments = self.arch_kwargs;
        let (norm_eps, slope) = arguments.check_layers()?;
        let stages = arguments.n_stages;
        check_stages(stages)?;
        let features = arguments.features_per_stage.spread(stages);
        Ok(UnetConfig {
            encoder,
            channels_in: 1,
            classes,
            stem: arguments.stem_channels.or(features.first().copied()).unwrap_or_default(),
            features,
            strides: sides(arguments.strides, stages, "strides")?,
            kernels: sides(arguments.kernel_sizes, stages, "kernel_sizes")?,
            blocks: arguments.n_conv_per_stage.spread(stages),
            decoder_convs: arguments.n_conv_per_stage_decoder.spread(stages - 1),
            bias: arguments.conv_bias,
            norm_eps,
            slope,
        })
    }
}

impl Arguments {
    /// The norms' eps and the rectifiers' slope; refuses layers that are not these.
    fn check_layers(&self) -> Reason<(f64, f64)> {
        let layers = [
            (Some(&self.conv_op), "conv_op", "Conv2d"),
            (self.norm_op.as_ref(), "norm_op", "InstanceNorm2d"),
            (self.nonlin.as_ref(), "nonlin", "LeakyReLU"),
        ];
        for (found, argument, expected) in layers {
            let found = found.map_or("nothing", String::as_str);
            if !found.starts_with("torch.nn.") || found.rsplit('.').next() != Some(expected) {
                return Err(format!("{argument} is {found}; only torch.nn.{expected} is understood"));
            }
        }
        if let Some(block) = self.block.as_ref().filter(|block| !block.ends_with(".BasicBlockD")) {
            return Err(format!("block is {block}; only BasicBlockD is understood"));
        }
        let is_off = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        let mut others = self.others.iter().filter(|(name, _)| !WITHOUT_EFFECT.contains(&name.as_str()));
        if let Some((name, value)) = others.find(|(_, value)| !is_off(value)) {
            return Err(format!("the network is made with {name} = {value}, which is not understood"));
        }
        let norm = self.norm_op_kwargs.as_ref();
        if !norm.is_some_and(|norm| norm.affine && !norm.track_running_stats) {
            return Err("norm_op_kwargs must say affine = true and keep no running statistics".into());
        }
        let eps = norm.and_then(|norm| norm.eps).unwrap_or(1e-5);
        let slope = self.nonlin_kwargs.as_ref().and_then(|rectifier| rectifier.negative_slope).unwrap_or(0.01);
        if !(eps.is_finite() && eps >= 0.0 && slope.is_finite()) {
            return Err(format!("eps is {eps} and negative_slope {slope}; they must be finite and eps not negative"));
        }
        Ok((eps, slope))
    }
}
