//! BioImage.IO model descriptions, formats 0.4 and 0.5: where a model's ONNX weights are, in what order its axes lie,
//! how an image is prepared for it and what its outputs are.
//!
//! Only what a segmentation of grey 2D images needs is read. Whatever would change its result and is not understood is
//! refused by name. Specification: <https://github.com/bioimage-io/spec-bioimage-io>.

mod format;
mod preprocessing;
mod steps;
#[cfg(test)]
mod tests;

pub use preprocessing::{Look, Pointwise, Preprocessing, fit};

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use format::{Header, Processing, Record, Tensor};

/// A result whose error is the reason of a refusal, still without the file's name.
pub(super) type Reason<T> = std::result::Result<T, String>;

/// What a model's description says.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The ONNX file.
    pub weights: PathBuf,
    /// What its SHA-256 must be, in hexadecimal.
    pub sha256: Option<String>,
    /// The axes of the input; its only channel and all axes but `Y` and `X` have one element.
    pub input_axes: Vec<Axis>,
    /// The sizes that rows and columns of the input may have.
    pub sizes: [SizeRule; 2],
    /// How an image is prepared, first step first.
    pub preprocessing: Vec<Preprocessing>,
    /// The axes of the output.
    pub output_axes: Vec<Axis>,
    /// What turns the outputs into probabilities; the network does not do it itself.
    pub activation: Option<Activation>,
    /// The names of the output's channels.
    pub channel_names: Option<Vec<String>>,
    /// What the user should know of the description.
    pub notes: Vec<String>,
}

/// An axis of a network's input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Batch, depth, time: one element.
    Single,
    /// Channels.
    Channel,
    /// Rows.
    Y,
    /// Columns.
    X,
}

/// The sizes `min + n * step` with n = 0, 1, 2, ...; a step of 0 leaves `min` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRule {
    /// The least size, in pixels.
    pub min: usize,
    /// The distance between sizes, in pixels.
    pub step: usize,
}

impl SizeRule {
    /// Any size at all.
    pub const ANY: Self = Self { min: 1, step: 1 };

    /// This size only.
    pub fn fixed(size: usize) -> Self {
        Self { min: size, step: 0 }
    }

    /// Whether a network takes this size.
    pub fn allows(self, size: usize) -> bool {
        size >= self.min && (size - self.min).checked_rem(self.step).unwrap_or(size - self.min) == 0
    }

    /// The least size that is at least `wanted`; the only one where there is one only.
    pub fn at_least(self, wanted: usize) -> usize {
        let steps = wanted.saturating_sub(self.min).checked_div(self.step).unwrap_or(0);
        let below = self.min + steps * self.step;
        if below < wanted { below.saturating_add(self.step) } else { below }
    }
}

impl Display for SizeRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self { min, step: 0 } => write!(f, "{min}"),
            Self { min, step } => write!(f, "{min} and every {step} above"),
        }
    }
}

/// What turns a network's outputs into probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Classes that exclude each other.
    Softmax,
    /// Every channel by itself.
    Sigmoid,
}

/// The names of the description in a model's folder.
const NAMES: [&str; 3] = ["bioimageio.yaml", "rdf.yaml", "model.yaml"];

impl Description {
    /// Reads the description in a model's folder.
    pub fn find(folder: &Path) -> Result<Self> {
        let path = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
            Error::weights(
                folder,
                "the folder has no bioimageio.yaml or rdf.yaml, so it is no BioImage.IO model; to use an ONNX file \
                 without a description, give the file itself",
            )
        })?;
        Self::read(&path)
    }

    /// Reads a description (`bioimageio.yaml`, `rdf.yaml`); the files it names are looked for beside it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|reason| Error::weights(path, reason))
    }

    /// Refuses weights that are not those described.
    pub fn check_weights(&self, bytes: &[u8]) -> Result<()> {
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.sha256 {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&found) => Err(Error::weights(
                &self.weights,
                format!(
                    "its SHA-256 is {found}, but the description beside it says {wanted}: the file is damaged or \
                     another; download the model again"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn parse(text: &str, folder: &Path) -> Reason<Self> {
        let header: Header = format::from_yaml(text)?;
        if header.kind != "model" {
            return Err(format!("it describes a {}, not a model", header.kind));
        }
        if !["0.4", "0.5"].iter().any(|version| header.format_version.starts_with(version)) {
            return Err(format!("its format_version is {}; only 0.4 and 0.5 are understood", header.format_version));
        }
        let record: Record = format::from_yaml(text)?;
        let (weights, sha256) = record.onnx(folder)?;
        let input = only(&record.inputs, "input")?;
        let output = only(&record.outputs, "output")?;
        let mut notes = Vec::new();
        let (input_axes, sizes) = input.image_axes()?;
        let (output_axes, channel_names) = output.score_axes()?;
        Ok(Self {
            weights,
            sha256,
            input_axes,
            sizes,
            preprocessing: steps::read(input, &mut notes)?,
            output_axes,
            activation: activation(output.postprocessing(), &mut notes)?,
            channel_names,
            notes,
        })
    }
}

fn only<'a>(tensors: &'a [Tensor], what: &str) -> Reason<&'a Tensor> {
    let [tensor] = tensors else {
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.id.as_str()).collect();
        return Err(format!(
            "it describes {} {what}s ({}); only models with one image as input and one map of class scores as output \
             are understood",
            tensors.len(),
            names.join(", ")
        ));
    };
    Ok(tensor)
}

/// The activation among the steps that follow a network. Those that only make a mask of probabilities are left out.
fn activation(steps: &[Processing], notes: &mut Vec<String>) -> Reason<Option<Activation>> {
    let mut activation = None;
    for step in steps {
        match step.id.as_str() {
            "sigmoid" => activation = Some(Activation::Sigmoid),
            "softmax" => activation = Some(Activation::Softmax),
            "clip" | "ensure_dtype" => (),
            "binarize" => {
                notes.push("the description's binarize is left out: every pixel gets its most probable class".into());
            }
            other => {
                return Err(format!(
                    "its outputs are to be processed by {other}, which is not understood (understood are sigmoid, \
                     softmax, binarize, clip and ensure_dtype)"
                ));
            }
        }
    }
    Ok(activation)
}
