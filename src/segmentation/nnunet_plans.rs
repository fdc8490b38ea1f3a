//! What nnU-Net v2 writes down of a model in `plans.json` and `dataset.json`: which network, which patches, how images
//! are prepared, what the classes are called.
//!
//! Both forms of plans are read: the one that spells out the arguments of the network (`architecture`) and the older
//! one with settings of a U-Net (`UNet_class_name`). What would change the result and is not understood is refused by
//! name; so are networks for volumes, images of several channels and classes that overlap (regions).

mod architecture;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::plan::{ForegroundIntensities, Normalisation};
use crate::error::{Error, Result};
use crate::nn::UnetConfig;

/// A result whose error is the reason of a refusal, still without the file's name.
type Reason<T> = std::result::Result<T, String>;

/// The most bytes of a JSON file; nnU-Net's own have a few thousand.
const MAX_JSON_BYTES: u64 = 16_000_000;

/// What nnU-Net's plans say of one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct NnunetPlans {
    /// The network.
    pub network: UnetConfig,
    /// Rows and columns of a patch; the strides of the network divide them.
    pub patch_size: [usize; 2],
    /// Patches in an iteration of training.
    pub batch_size: usize,
    /// Distance of rows and of columns at which the network works, in the unit of the training images; that of images
    /// without one, such as PNG, is 1.
    pub spacing: [f64; 2],
    /// How intensities are normalised.
    pub normalisation: Normalisation,
    /// Whether z-scores are those of the image without its black surroundings, which then stay 0.
    pub within_nonzero: bool,
    /// The names of the labels 0, 1, 2, ...; the background first.
    pub classes: Vec<String>,
    /// The ending of images and masks, with its dot.
    pub file_ending: String,
}

/// The configuration to read: the one that a checkpoint names, else the last part of a folder's name such as
/// `nnUNetTrainer__nnUNetPlans__2d`, else `2d`.
pub fn choose_configuration<'a>(in_checkpoint: Option<&'a str>, folder_name: &'a str) -> &'a str {
    let in_name = || folder_name.rsplit_once("__").map(|(_, configuration)| configuration);
    in_checkpoint.or_else(in_name).unwrap_or("2d")
}

impl NnunetPlans {
    /// Reads one configuration.
    pub fn read(plans: &Path, dataset: &Path, configuration: &str) -> Result<Self> {
        let dataset_file: DatasetFile = read_json(dataset)?;
        dataset_file.check_channels().map_err(|reason| Error::weights(dataset, reason))?;
        let classes = dataset_file.classes().map_err(|reason| Error::weights(dataset, reason))?;
        let plans_file: PlansFile = read_json(plans)?;
        let explain = |reason| Error::weights(plans, format!("in its configuration {configuration}, {reason}"));
        let merged = plans_file.configuration(configuration).map_err(|reason| Error::weights(plans, reason))?;
        Self::from_parts(plans_file, merged, classes, dataset_file.file_ending).map_err(explain)
    }

    fn from_parts(
        plans: PlansFile,
        merged: Map<String, Value>,
        classes: Vec<String>,
        file_ending: String,
    ) -> Reason<Self> {
        let settings: Configuration = parse(&merged)?;
        let patch_size = pair(&settings.patch_size, "patch_size")?;
        let spacing = pair(&settings.spacing, "spacing")?;
        if spacing.iter().any(|side| !side.is_finite() || *side <= 0.0) || settings.batch_size == 0 {
            return Err("spacing and batch_size must be positive".into());
        }
        if !plans.transpose_forward.is_sorted() {
            let order = plans.transpose_forward;
            return Err(format!("transpose_forward is {order:?}; only images with their axes in order are understood"));
        }
        let (normalisation, within_nonzero) = settings.normalisation(&plans.foreground)?;
        let network = architecture::network(&merged, classes.len())?;
        architecture::check_patch(&network, patch_size)?;
        let batch_size = settings.batch_size;
        Ok(Self { network, patch_size, batch_size, spacing, normalisation, within_nonzero, classes, file_ending })
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let size = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size > MAX_JSON_BYTES {
        return Err(Error::weights(path, format!("it has {size} bytes; such a file of nnU-Net has a few thousand")));
    }
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    // Windows editors add a byte order mark.
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Error::weights(path, format!("it is not such a file of nnU-Net v2 ({error})")))
}

fn parse<T: DeserializeOwned>(settings: &Map<String, Value>) -> Reason<T> {
    T::deserialize(settings).map_err(|error| format!("a setting is not understood ({error})"))
}

/// The two numbers of an image; volumes have three.
fn pair<T: Copy>(sides: &[T], name: &str) -> Reason<[T; 2]> {
    sides.try_into().map_err(|_| {
        let count = sides.len();
        format!(
            "{name} has {count} numbers; only networks for images, with two, are understood: take a 2d configuration"
        )
    })
}

/// `plans.json`, as far as it is used.
#[derive(Deserialize)]
struct PlansFile {
    configurations: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    transpose_forward: Vec<usize>,
    /// By the number of the channel.
    #[serde(default, rename = "foreground_intensity_properties_per_channel")]
    foreground: BTreeMap<String, Value>,
}

impl PlansFile {
    /// The settings of a configuration over those that it inherits.
    fn configuration(&self, name: &str) -> Reason<Map<String, Value>> {
        let mut merged = Map::new();
        let mut next = Some(name.to_string());
        for _ in 0..=self.configurations.len() {
            let Some(name) = next else { return Ok(merged) };
            let settings = self.configurations.get(&name).ok_or_else(|| {
                let there = self.configurations.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("it has no configuration {name}; it has {there}")
            })?;
            for (setting, value) in settings {
                merged.entry(setting.as_str()).or_insert_with(|| value.clone());
            }
            next = settings.get("inherits_from").and_then(Value::as_str).map(String::from);
        }
        Err(format!("its configuration {name} inherits from itself"))
    }
}

/// The settings of a configuration that both forms share.
#[derive(Deserialize)]
struct Configuration {
    patch_size: Vec<usize>,
    batch_size: usize,
    spacing: Vec<f64>,
    normalization_schemes: Vec<String>,
    use_mask_for_norm: Vec<bool>,
}

impl Configuration {
    fn normalisation(&self, foreground: &BTreeMap<String, Value>) -> Reason<(Normalisation, bool)> {
        let ([scheme], [within_nonzero]) = (&self.normalization_schemes[..], &self.use_mask_for_norm[..]) else {
            let count = self.normalization_schemes.len();
            return Err(format!("{count} channels are normalised; only images of one channel are understood"));
        };
        let normalisation = match scheme.as_str() {
            "ZScoreNormalization" => return Ok((Normalisation::ZScore, *within_nonzero)),
            "RescaleTo01Normalization" => Normalisation::RescaleTo01,
            "RGBTo01Normalization" => Normalisation::RgbTo01,
            "NoNormalization" => Normalisation::None,
            "CTNormalization" => Normalisation::Ct(intensities(foreground)?),
            other => {
                return Err(format!(
                    "the normalisation is {other}; ZScoreNormalization, RescaleTo01Normalization, \
                     RGBTo01Normalization, CTNormalization and NoNormalization are understood"
                ));
            }
        };
        Ok((normalisation, false))
    }
}

fn intensities(foreground: &BTreeMap<String, Value>) -> Reason<ForegroundIntensities> {
    let channel = foreground.get("0");
    let number = |name: &str| {
        let value = channel.and_then(|channel| channel.get(name)).and_then(Value::as_f64);
        value.ok_or_else(|| {
            format!(
                "images are normalised by the foreground, whose {name} is not a number in \
                 foreground_intensity_properties_per_channel"
            )
        })
    };
    Ok(ForegroundIntensities {
        min: number("min")?,
        max: number("max")?,
        mean: number("mean")?,
        sd: number("std")?,
        percentile_00_5: number("percentile_00_5")?,
        percentile_99_5: number("percentile_99_5")?,
    })
}

/// `dataset.json`, as far as it is used.
#[derive(Deserialize)]
struct DatasetFile {
    channel_names: Option<BTreeMap<String, String>>,
    /// The older name of the channels; nnU-Net prefers it.
    modality: Option<BTreeMap<String, String>>,
    labels: BTreeMap<String, Value>,
    file_ending: String,
}

impl DatasetFile {
    fn check_channels(&self) -> Reason<()> {
        let channels = self.modality.as_ref().or(self.channel_names.as_ref()).ok_or("it has no channel_names")?;
        if channels.len() != 1 {
            let names = channels.values().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("its images have the channels {names}; only networks for one channel are understood"));
        }
        Ok(())
    }

    /// The names of the labels in their order. The label `ignore` only marks pixels that training leaves out; no
    /// network predicts it.
    fn classes(&self) -> Reason<Vec<String>> {
        let mut classes = BTreeMap::new();
        for (name, label) in self.labels.iter().filter(|(name, _)| *name != "ignore") {
            let label = match label {
                Value::Array(_) => {
                    Err(format!("its class {name} is a region of several labels; such models are not understood"))
                }
                label => {
                    label.as_u64().ok_or_else(|| format!("its class {name} has the label {label}, not a number from 0"))
                }
            }?;
            if let Some(other) = classes.insert(label, name.clone()) {
                return Err(format!("its classes {other} and {name} have the same label {label}"));
            }
        }
        if classes.len() < 2 || classes.keys().zip(0..).any(|(label, place)| *label != place) {
            let labels: Vec<u64> = classes.into_keys().collect();
            return Err(format!("its labels are {labels:?}; they must be 0, 1 and so on without a gap"));
        }
        Ok(classes.into_values().collect())
    }
}
