//! The YAML of a description, as far as it is read, and the axes of its tensors in both formats.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_saphyr::NonFiniteFloatPolicy;

use super::{Axis, Reason, SizeRule};

/// What tells whether the rest can be understood.
#[derive(Deserialize)]
pub(super) struct Header {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) format_version: String,
}

/// The description of a model.
#[derive(Deserialize)]
pub(super) struct Record {
    pub(super) inputs: Vec<Tensor>,
    pub(super) outputs: Vec<Tensor>,
    weights: BTreeMap<String, Weights>,
}

#[derive(Deserialize)]
struct Weights {
    source: String,
    sha256: Option<String>,
}

/// An input or an output.
#[derive(Deserialize)]
pub(super) struct Tensor {
    #[serde(alias = "name")]
    pub(super) id: String,
    axes: Axes,
    /// Format 0.4 only.
    shape: Option<Shape>,
    preprocessing: Option<Vec<Processing>>,
    postprocessing: Option<Vec<Processing>>,
}

/// A step before or after the network.
#[derive(Deserialize)]
pub(super) struct Processing {
    #[serde(alias = "name")]
    pub(super) id: String,
    kwargs: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "axes must be letters or a list of axes with types")]
enum Axes {
    /// Format 0.4: one letter each, as in `bcyx`.
    Letters(String),
    /// Format 0.5.
    Listed(Vec<ListedAxis>),
}

#[derive(Deserialize)]
struct ListedAxis {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    size: Option<Size>,
    channel_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Fixed(usize),
    Stepped {
        min: usize,
        step: usize,
    },
    /// As another axis.
    Reference {
        axis_id: String,
        #[serde(default)]
        offset: i64,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    Fixed(Vec<usize>),
    Stepped { min: Vec<usize>, step: Vec<usize> },
    Other(IgnoredAny),
}

/// An axis in the words of either format.
struct DescribedAxis<'a> {
    name: &'a str,
    axis: Axis,
    /// What the description says of the size, if it says it outright.
    size: Option<SizeRule>,
}

/// A YAML document as a value. In YAML 1.2, which BioImage.IO uses, the axis `y` is no short `yes`; and data ranges,
/// which are not read, are often infinite.
pub(super) fn from_yaml<T: DeserializeOwned>(text: &str) -> Reason<T> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| format!("it is no model description as BioImage.IO defines it ({error})"))
}

impl Record {
    /// The path of the ONNX weights, which a relative name means beside the description, and their SHA-256.
    pub(super) fn onnx(&self, folder: &Path) -> Reason<(PathBuf, Option<String>)> {
        let Some(weights) = self.weights.get("onnx") else {
            let formats: Vec<&str> = self.weights.keys().map(String::as_str).collect();
            return Err(format!(
                "it has no weights in the format onnx, only {}; export the model to ONNX",
                formats.join(", ")
            ));
        };
        if weights.source.contains("://") {
            return Err(format!(
                "its ONNX weights are not beside it but at {}; download the model with its files",
                weights.source
            ));
        }
        Ok((folder.join(&weights.source), weights.sha256.clone()))
    }
}

impl Processing {
    /// The step's settings.
    pub(super) fn settings<T: DeserializeOwned>(&self) -> Reason<T> {
        let settings = self.kwargs.clone().unwrap_or_else(|| serde_json::json!({}));
        serde_json::from_value(settings)
            .map_err(|error| format!("the settings of its step {} are not understood ({error})", self.id))
    }
}

impl Tensor {
    /// The steps before the network.
    pub(super) fn preprocessing(&self) -> &[Processing] {
        self.preprocessing.as_deref().unwrap_or_default()
    }

    /// The steps after the network.
    pub(super) fn postprocessing(&self) -> &[Processing] {
        self.postprocessing.as_deref().unwrap_or_default()
    }

    /// The axes of an input that holds one grey 2D image, and the sizes that its rows and columns may have.
    pub(super) fn image_axes(&self) -> Reason<(Vec<Axis>, [SizeRule; 2])> {
        let axes = self.described_axes()?;
        for DescribedAxis { name, axis, size } in &axes {
            match (axis, size) {
                (Axis::Channel, Some(size)) if size.min != 1 => {
                    return Err(format!("its input has {} channels; only one grey channel is understood", size.min));
                }
                (Axis::Single, Some(size)) if *size != SizeRule::fixed(1) => {
                    return Err(format!(
                        "its input has an axis {name} of several elements; only 2D images are understood"
                    ));
                }
                _ => (),
            }
        }
        let size = |wanted: Axis| {
            let size = axes.iter().find(|axis| axis.axis == wanted).and_then(|axis| axis.size);
            size.ok_or_else(|| format!("it does not say what sizes its input may have along {wanted:?}"))
        };
        let sizes = [size(Axis::Y)?, size(Axis::X)?];
        Ok((axes.iter().map(|axis| axis.axis).collect(), sizes))
    }

    /// The axes of an output that holds class scores of a 2D image, and the names of its channels.
    pub(super) fn score_axes(&self) -> Reason<(Vec<Axis>, Option<Vec<String>>)> {
        let axes = self.described_axes()?.iter().map(|axis| axis.axis).collect();
        let names = match &self.axes {
            Axes::Letters(_) => None,
            Axes::Listed(axes) => axes.iter().find_map(|axis| axis.channel_names.clone()),
        };
        Ok((axes, names))
    }

    fn described_axes(&self) -> Reason<Vec<DescribedAxis<'_>>> {
        let axes: Vec<DescribedAxis> = match &self.axes {
            Axes::Letters(letters) => letters
                .char_indices()
                .map(|(index, letter)| &letters[index..index + letter.len_utf8()])
                .enumerate()
                .map(|(index, name)| {
                    let size = self.shape.as_ref().and_then(|shape| shape.size(index)).filter(|_| name != "b");
                    DescribedAxis { name, axis: Axis::named(name), size }
                })
                .collect(),
            Axes::Listed(list) => list.iter().map(|axis| axis.described(list)).collect(),
        };
        for wanted in [Axis::Y, Axis::X, Axis::Channel] {
            let count = axes.iter().filter(|axis| axis.axis == wanted).count();
            if count > 1 || (count == 0 && wanted != Axis::Channel) {
                let names: Vec<&str> = axes.iter().map(|axis| axis.name).collect();
                return Err(format!(
                    "the axes of {} are {}; a 2D image has one y, one x and at most one channel axis",
                    self.id,
                    names.join(", ")
                ));
            }
        }
        Ok(axes)
    }
}

impl Shape {
    fn size(&self, index: usize) -> Option<SizeRule> {
        match self {
            Self::Fixed(sizes) => sizes.get(index).copied().map(SizeRule::fixed),
            Self::Stepped { min, step } => Some(SizeRule { min: *min.get(index)?, step: *step.get(index)? }),
            Self::Other(_) => None,
        }
    }
}

impl ListedAxis {
    /// The axis; `all` are those of its tensor.
    fn described<'a>(&'a self, all: &[Self]) -> DescribedAxis<'a> {
        let name = self.id.as_deref().unwrap_or(&self.kind);
        let (axis, size) = match self.kind.as_str() {
            "batch" => (Axis::Single, None),
            "channel" => (Axis::Channel, self.channel_names.as_ref().map(|names| SizeRule::fixed(names.len()))),
            "space" => (Axis::named(name), self.size(all)),
            _ => (Axis::Single, self.size(all)),
        };
        DescribedAxis { name, axis, size }
    }

    fn size(&self, all: &[Self]) -> Option<SizeRule> {
        let size = match self.size.as_ref()? {
            Size::Reference { axis_id, offset: 0 } => {
                all.iter().find(|axis| axis.id.as_ref() == Some(axis_id))?.size.as_ref()?
            }
            size => size,
        };
        match size {
            Size::Fixed(size) => Some(SizeRule::fixed(*size)),
            Size::Stepped { min, step } => Some(SizeRule { min: *min, step: *step }),
            Size::Reference { .. } | Size::Other(_) => None,
        }
    }
}

impl Axis {
    fn named(name: &str) -> Self {
        match name {
            "c" => Self::Channel,
            "y" => Self::Y,
            "x" => Self::X,
            _ => Self::Single,
        }
    }
}
