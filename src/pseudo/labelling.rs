//! Masks of the target images by one approach, with a confidence for each pixel and a quality for each image.
//!
//! ```text
//! FOLDER/NAME.png              label map
//! FOLDER/NAME_seg-axon.png     and AxonDeepSeg's other masks, where the classes are axon and myelin
//! FOLDER/NAME_confidence.png   share of the votes for the label, 255 for all
//! FOLDER/NAME.json             the figures; written last, so that it tells which images are done
//! FOLDER/dataset.json          the names of the classes
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::Event;
use super::opinion::{Labelling, Opinion, to_picture};
use super::targets::Target;
use super::translation::{Translated, draw_path};
use crate::dataset::{Encoding, MaskFile, read_mask};
use crate::error::Result;
use crate::files::{read_json, write_json};
use crate::imaging::{self, BitDepth, IGNORE, LabelMap, Plane, Raster, RasterPicture};
use crate::metrics::Summary;
use crate::segmentation::masks::{MaskOptions, MaskWriter, describe_classes};
use crate::segmentation::predict::Segmenter;
use crate::stages::Outcome;

/// What is known of the masks of an image without the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// The name of the image.
    pub image: String,
    /// How good the masks seem to be, in [0, 1]: see [`quality`]. None when nothing was found.
    pub quality: Option<f64>,
    /// For each class the Dice to be expected by the votes; none where nothing was found.
    pub expected_dice: Vec<Option<f64>>,
    /// Mean confidence over all pixels.
    pub confidence: f64,
    /// Where the image was translated, how far its translation kept its structures.
    pub structure: Option<f64>,
    /// For each class the part of the image that it covers.
    pub coverage: Vec<f64>,
}

/// How good masks seem to be: the mean over the classes of the Dice that is to be expected by the votes; where the
/// image was translated, its geometric mean with how far the translation kept the structures, since a model can be sure
/// of what the translation invented.
pub fn quality(expected_dice: &[Option<f64>], structure: Option<f64>) -> Option<f64> {
    let expected: Vec<f64> = expected_dice.iter().flatten().copied().collect();
    let agreement = Summary::of(&expected)?.mean;
    Some(structure.map_or(agreement, |structure| (agreement * structure).sqrt()))
}

/// What a model is shown of a target image.
pub enum Shown<'a> {
    /// The file as it is.
    AsIs,
    /// The image with other grey levels.
    Changed(&'a dyn Fn(&Plane) -> Plane),
    /// Its translations, which are in a folder.
    Translated {
        /// The folder of the translated set.
        folder: &'a Path,
        /// Draws of each image.
        draws: u64,
        /// Micrometres per pixel of the translations, where known.
        pixel_size_um: Option<f64>,
    },
}

/// Target images to make masks of.
pub struct SetToLabel<'a> {
    /// The images.
    pub targets: &'a [&'a Target],
    /// The model for each image: one that has not learnt from it.
    pub segmenter: &'a dyn Fn(&Target) -> &'a Segmenter,
    /// What it is shown.
    pub shown: Shown<'a>,
}

impl SetToLabel<'_> {
    /// Makes the masks that are not there yet.
    pub fn run(&self, folder: &Path, stop: &AtomicBool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        for (index, target) in self.targets.iter().enumerate() {
            on_event(Event::Progress { done: index, total: self.targets.len(), item: &target.name });
            if figures_path(folder, &target.name).is_file() {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::Stopped);
            }
            self.label(folder, target)?;
        }
        if let Some(first) = self.targets.first() {
            describe_classes(folder, &(self.segmenter)(first).class_names)?;
        }
        Ok(Outcome::Finished)
    }

    fn label(&self, folder: &Path, target: &Target) -> Result<()> {
        let segmenter = (self.segmenter)(target);
        let (pictures, pixel_size_um, structure) = self.pictures(target)?;
        let opinion = Opinion::of(segmenter, &pictures, pixel_size_um, &mut || ())?;
        let found = opinion.conclude(target.size);
        write_masks(folder, target, &found.labels, &segmenter.class_names)?;
        imaging::write(
            &confidence_path(folder, &target.name),
            &found.confidence,
            BitDepth::Eight,
            target.case.pixel_size_um,
        )?;
        let figures = to_figures(&target.name, &found, structure);
        write_json(&figures_path(folder, &target.name), &figures)
    }

    /// What the model is to see, its pixel size, and how far translations kept the structures.
    fn pictures(&self, target: &Target) -> Result<(Vec<RasterPicture>, Option<f64>, Option<f64>)> {
        let own = target.case.pixel_size_um;
        match &self.shown {
            Shown::AsIs => Ok((vec![target.picture()?], own, None)),
            Shown::Changed(change) => Ok((vec![to_picture(&change(&target.plane()?), target.depth, own)], own, None)),
            Shown::Translated { folder, draws, pixel_size_um } => {
                let read = |draw| Raster::read(&draw_path(folder, &target.name, draw));
                let pictures = (0..*draws).map(read).collect::<Result<Vec<_>>>()?;
                Ok((pictures, pixel_size_um.or(own), Translated::read(folder, &target.name)?.structure()))
            }
        }
    }
}

fn to_figures(name: &str, found: &Labelling, structure: Option<f64>) -> Labelled {
    let pixels = found.labels.classes().len() as f64;
    let covered = |class: usize| found.labels.classes().iter().filter(|label| usize::from(**label) == class).count();
    let sum: f64 = found.confidence.pixels().iter().map(|value| f64::from(*value)).sum();
    Labelled {
        image: name.to_string(),
        quality: quality(&found.expected_dice, structure),
        expected_dice: found.expected_dice.clone(),
        confidence: sum / pixels,
        structure,
        coverage: (1..=found.expected_dice.len()).map(|class| covered(class) as f64 / pixels).collect(),
    }
}

/// The masks of an image, as `segment predict` writes them.
fn write_masks(folder: &Path, target: &Target, labels: &LabelMap, classes: &[String]) -> Result<()> {
    let options = MaskOptions { probabilities: false };
    let mut writer =
        MaskWriter::create(folder, &target.name, target.size, classes, target.case.pixel_size_um, options)?;
    for row in labels.classes().chunks_exact(labels.width()) {
        let certain: Vec<f32> = (0..=classes.len())
            .flat_map(|class| row.iter().map(move |label| f32::from(u8::from(usize::from(*label) == class))))
            .collect();
        writer.write_row(&certain)?;
    }
    writer.finish()
}

/// The file of the confidence of an image.
pub fn confidence_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}_confidence.png"))
}

fn figures_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// What is known of an image's masks.
pub fn read_figures(folder: &Path, name: &str) -> Result<Labelled> {
    read_json(&figures_path(folder, name))
}

/// The label map of an image.
pub fn read_label_map(folder: &Path, name: &str, classes: usize) -> Result<LabelMap> {
    let path = folder.join(format!("{name}.png"));
    read_mask(&MaskFile { path, encoding: Encoding::Numbers(classes as u8) }, None)
}

/// The labels that have at least this share of the votes; other pixels are not judged.
pub fn judged(labels: &LabelMap, confidence: &Plane, least: f32) -> LabelMap {
    let pixels = labels.classes().iter().zip(confidence.pixels());
    let classes = pixels.map(|(label, votes)| if *votes >= least { *label } else { IGNORE }).collect();
    LabelMap::new(labels.height(), labels.width(), classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_few_votes_are_not_judged() {
        let labels = LabelMap::new(1, 3, vec![1, 0, 2]);
        let confidence = Plane::new(1, 3, vec![0.9, 0.4, 0.5]);
        assert_eq!(judged(&labels, &confidence, 0.5).classes(), [1, IGNORE, 2]);
    }

    #[test]
    fn quality_is_the_agreement_and_what_the_translation_kept() {
        assert_eq!(quality(&[Some(0.9), Some(0.7)], None), Some(0.8));
        assert!((quality(&[Some(0.9), None], Some(0.4)).unwrap() - 0.6).abs() < 1e-12);
        assert_eq!(quality(&[None, None], Some(0.4)), None);
        assert_eq!(quality(&[Some(0.9)], Some(0.0)), Some(0.0));
    }
}
