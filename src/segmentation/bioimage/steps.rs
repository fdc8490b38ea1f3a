//! The steps of a description before the network, by their names in both formats.

use serde::Deserialize;

use super::format::{Processing, Tensor};
use super::{Pointwise, Preprocessing, Reason};

/// The settings of `zero_mean_unit_variance`; `mode`, `mean` and `std` in format 0.4 only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZeroMeanUnitVariance {
    mode: Option<String>,
    axes: Option<Names>,
    mean: Option<OneOrMany>,
    std: Option<OneOrMany>,
    #[serde(default = "epsilon")]
    eps: f64,
}

/// The settings of `fixed_zero_mean_unit_variance`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedZeroMeanUnitVariance {
    #[serde(rename = "axis")]
    _axis: Option<String>,
    mean: OneOrMany,
    std: OneOrMany,
}

/// The settings of `scale_range`; `mode` in format 0.4 only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleRange {
    mode: Option<String>,
    axes: Option<Names>,
    #[serde(default)]
    min_percentile: f64,
    #[serde(default = "hundred")]
    max_percentile: f64,
    #[serde(default = "epsilon")]
    eps: f64,
    reference_tensor: Option<String>,
}

/// The settings of `scale_linear`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleLinear {
    #[serde(rename = "axis", alias = "axes")]
    _axis: Option<String>,
    gain: Option<OneOrMany>,
    offset: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clip {
    min: Option<f64>,
    max: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binarize {
    threshold: OneOrMany,
    #[serde(rename = "axis")]
    _axis: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnsureDtype {
    dtype: String,
}

/// Axes: the letters of format 0.4 or the names of 0.5.
#[derive(Deserialize)]
#[serde(untagged, expecting = "axes must be letters or a list of names")]
enum Names {
    Letters(String),
    Listed(Vec<String>),
}

/// A number, or one for each channel.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or a list of numbers")]
enum OneOrMany {
    One(f64),
    Many(Vec<f64>),
}

/// The specification's default.
fn epsilon() -> f64 {
    1e-6
}

fn hundred() -> f64 {
    100.0
}

/// The steps of an input. Notes are what the user should know of them.
pub(super) fn read(input: &Tensor, notes: &mut Vec<String>) -> Reason<Vec<Preprocessing>> {
    let mut steps = Vec::new();
    for step in input.preprocessing() {
        match step.id.as_str() {
            "zero_mean_unit_variance" => steps.push(zero_mean_unit_variance(step, notes)?),
            "scale_range" => steps.push(scale_range(step, &input.id, notes)?),
            _ => steps.extend(fixed(step)?.map(Preprocessing::Fixed)),
        }
    }
    Ok(steps)
}

/// A step that is the same for all images; nothing where values stay as they are.
fn fixed(step: &Processing) -> Reason<Option<Pointwise>> {
    Ok(Some(match step.id.as_str() {
        "fixed_zero_mean_unit_variance" => {
            let settings: FixedZeroMeanUnitVariance = step.settings()?;
            // The specification's formula has no epsilon here; its reference program adds the default one.
            Pointwise::standardise(settings.mean.only(step)?, settings.std.only(step)? + epsilon())
        }
        "scale_linear" => {
            let settings: ScaleLinear = step.settings()?;
            let number = |value: Option<OneOrMany>, default| value.map_or(Ok(default), |value| value.only(step));
            Pointwise::Linear { gain: number(settings.gain, 1.0)?, offset: number(settings.offset, 0.0)? }
        }
        "clip" => {
            let settings: Clip = step.settings()?;
            Pointwise::Clip {
                low: settings.min.unwrap_or(f64::NEG_INFINITY),
                high: settings.max.unwrap_or(f64::INFINITY),
            }
        }
        "binarize" => Pointwise::Binarize { threshold: step.settings::<Binarize>()?.threshold.only(step)? },
        "ensure_dtype" => return ensure_dtype(step),
        other => {
            return Err(format!(
                "its input is to be prepared by {other}, which is not understood (understood are \
                 zero_mean_unit_variance, fixed_zero_mean_unit_variance, scale_range, scale_linear, clip, binarize and \
                 ensure_dtype)"
            ));
        }
    }))
}

fn ensure_dtype(step: &Processing) -> Reason<Option<Pointwise>> {
    let EnsureDtype { dtype } = step.settings()?;
    let (low, high) = match dtype.as_str() {
        "float32" | "float64" => return Ok(None),
        "uint8" => (u8::MIN.into(), u8::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "uint16" => (u16::MIN.into(), u16::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "uint32" => (u32::MIN.into(), u32::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        other => return Err(format!("its step ensure_dtype asks for {other}, which is not understood")),
    };
    Ok(Some(Pointwise::Truncate { low, high }))
}

fn zero_mean_unit_variance(step: &Processing, notes: &mut Vec<String>) -> Reason<Preprocessing> {
    let settings: ZeroMeanUnitVariance = step.settings()?;
    // Without a mode, format 0.4 means fixed numbers and 0.5, which has no modes, the image's own.
    if let (Some(mean), Some(std)) = (&settings.mean, &settings.std) {
        let unit = std.only(step)? + settings.eps;
        return Ok(Preprocessing::Fixed(Pointwise::standardise(mean.only(step)?, unit)));
    }
    check_scope(step, settings.mode.as_deref(), settings.axes.as_ref(), notes)?;
    Ok(Preprocessing::ZeroMeanUnitVariance { epsilon: settings.eps })
}

fn scale_range(step: &Processing, input: &str, notes: &mut Vec<String>) -> Reason<Preprocessing> {
    let settings: ScaleRange = step.settings()?;
    check_scope(step, settings.mode.as_deref(), settings.axes.as_ref(), notes)?;
    if let Some(reference) = settings.reference_tensor.filter(|name| name != input) {
        return Err(format!(
            "its step scale_range takes percentiles of {reference}; only those of {input} are understood"
        ));
    }
    let percentiles = [settings.min_percentile, settings.max_percentile];
    if !(0.0 <= percentiles[0] && percentiles[0] < percentiles[1] && percentiles[1] <= 100.0) {
        return Err(format!(
            "its step scale_range has the percentiles {percentiles:?}; they must rise within 0 to 100"
        ));
    }
    Ok(Preprocessing::ScaleRange { percentiles, epsilon: settings.eps })
}

/// Statistics must be of whole images: not of each row, and not of many images together, which is replaced.
fn check_scope(step: &Processing, mode: Option<&str>, axes: Option<&Names>, notes: &mut Vec<String>) -> Reason<()> {
    match mode {
        None | Some("per_sample") => (),
        Some("per_dataset") => notes.push(format!(
            "the description's {} asks for the statistics of a whole data set; those of each image are taken",
            step.id
        )),
        Some(other) => return Err(format!("its step {} has the mode {other}, which is not understood", step.id)),
    }
    if axes.is_some_and(|axes| !(axes.contain("y") && axes.contain("x"))) {
        return Err(format!("its step {} works along one axis; only whole images are understood", step.id));
    }
    Ok(())
}

impl Names {
    fn contain(&self, name: &str) -> bool {
        match self {
            Self::Letters(letters) => letters.contains(name),
            Self::Listed(names) => names.iter().any(|listed| listed == name),
        }
    }
}

impl OneOrMany {
    fn only(&self, step: &Processing) -> Reason<f64> {
        match self {
            Self::One(value) => Ok(*value),
            Self::Many(values) if values.len() == 1 => Ok(values[0]),
            Self::Many(values) => {
                Err(format!("its step {} has numbers for {} channels; the input has one", step.id, values.len()))
            }
        }
    }
}
