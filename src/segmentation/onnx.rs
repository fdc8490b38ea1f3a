//! Segmentation networks as ONNX files, alone or with a BioImage.IO description: for architectures not built in.
//!
//! A network has one input, a grey image `[batch, 1, height, width]`, and one output of the same height and width with
//! a channel for each class; a description may order the axes otherwise. Networks run on the processor, one patch at a
//! time.
//!
//! Whether outputs are logits or probabilities is told by a description's post-processing, which a network leaves to be
//! done. Otherwise the network's last operator tells: after a softmax or sigmoid they are probabilities, else logits.
//! With softmax, channels are classes and channel 0 is the background. With sigmoid, and where there is one channel
//! only, every channel is a yes or no of its own and none is the background, unless a description names the first so.

mod graph;
mod network;
mod scores;
#[cfg(test)]
mod tests;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tract_onnx::prelude::TractResult;

use super::bioimage::{Description, Preprocessing, Reason};
use crate::error::{Error, Result};
use graph::Graph;
use network::Network;
use scores::Scores;

/// A segmentation network from an ONNX file.
#[derive(Debug)]
pub struct OnnxModel {
    network: Network,
    scores: Scores,
    preprocessing: Vec<Preprocessing>,
    notes: Vec<String>,
}

/// The greatest number of classes: a label map stores them in bytes.
const MOST_CLASSES: usize = 256;

/// What is done where nothing says how images are prepared. It makes the units of grey values irrelevant.
const USUAL: Preprocessing = Preprocessing::ZeroMeanUnitVariance { epsilon: 1e-6 };

impl OnnxModel {
    /// Opens an ONNX file, a BioImage.IO folder, or the description in one (`bioimageio.yaml`, `rdf.yaml`).
    pub fn open(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            _ if path.is_dir() => Self::described(Description::find(path)?),
            "yaml" | "yml" => Self::described(Description::read(path)?),
            "zip" => Err(Error::weights(path, "it is packed; unpack it and give the folder")),
            _ => Self::load(path, None),
        }
    }

    /// Number of classes, the background included; a network with one output channel has two.
    pub fn classes(&self) -> usize {
        self.scores.classes()
    }

    /// The names of the classes in order, if the description says.
    pub fn class_names(&self) -> Option<&[String]> {
        self.scores.class_names()
    }

    /// Height and width of the patches to give: what the network demands or else 256, enlarged to a size it takes.
    pub fn patch_size(&self) -> [usize; 2] {
        self.network.patch_size()
    }

    /// How an image is prepared, first step first; steps are in stored grey values, 0 to 255 or 65535.
    ///
    /// A file without a description does not say; zero mean and unit variance are taken, as nnU-Net does.
    pub fn preprocessing(&self) -> &[Preprocessing] {
        &self.preprocessing
    }

    /// What the user should know of how the model is used: what was assumed, what was left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Class logits of one prepared patch: their softmax over classes is the probability. Of a network that gives
    /// probabilities they are the logarithms, up to a constant for each pixel.
    ///
    /// # Shapes
    /// - patch: `[height, width]`, of this `size`, row by row
    /// - output: `[classes, height, width]`
    ///
    /// # Panics
    /// When the patch is not of this size.
    pub fn logits(&self, patch: &[f32], size: [usize; 2]) -> Result<Vec<f32>> {
        assert_eq!(patch.len(), size[0] * size[1], "a patch has height * width values");
        self.network.run(patch, size).map(|channels| self.scores.to_logits(channels, size[0] * size[1]))
    }

    fn described(description: Description) -> Result<Self> {
        Self::load(&description.weights.clone(), Some(description))
    }

    fn load(path: &Path, description: Option<Description>) -> Result<Self> {
        if !path.is_file() {
            return Err(Error::weights(path, "there is no such file"));
        }
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        if let Some(description) = &description {
            description.check_weights(&bytes)?;
        }
        let refuse = |reason| Error::weights(path, reason);
        let graph = Graph::decode(&bytes).map_err(refuse)?;
        let network = Network::new(path, &graph, description.as_ref())?;
        let scores = Scores::new(network.channels(), graph.activation(), description.as_ref()).map_err(refuse)?;
        if scores.classes() > MOST_CLASSES {
            let reason = format!("it has {} classes; at most {MOST_CLASSES} are understood", scores.classes());
            return Err(refuse(reason));
        }
        let mut notes = scores.notes();
        let preprocessing = match description {
            Some(description) => {
                notes.extend(description.notes);
                description.preprocessing
            }
            None => {
                notes.push(format!(
                    "{} does not say how images are to be prepared; each is shifted and scaled to zero mean and unit \
                     variance (a BioImage.IO description would say)",
                    path.display()
                ));
                vec![USUAL]
            }
        };
        Ok(Self { network, scores, preprocessing, notes })
    }
}

/// What the runtime does, with its panics as errors: a few malformed networks cause some, and must not end the program.
///
/// Nothing half done is seen afterwards: `work` gets no mutable state.
fn guarded<T>(work: impl Fn() -> TractResult<T>) -> Reason<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
        Err(_) => Err("the ONNX runtime cannot handle it; the file is malformed, export it again".into()),
    }
}
