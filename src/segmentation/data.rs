//! From a folder of images with masks to the cases that a network learns from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::batches::TrainingCase;
use super::normalisation::Intensities;
use super::patch::Patch;
use super::plan::{Fingerprint, ForegroundIntensities, Plan};
use crate::dataset::{self, AnnotatedDataset, Format, Image, Skipped};
use crate::error::{Error, Result};
use crate::imaging::{BitDepth, IGNORE, LabelMap, Plane, ReadOptions, resize};
use crate::prepare::to_working_size;
use crate::random::Stream;

/// Foreground pixels of an image that enter the fingerprint; as many as nnU-Net takes.
const SAMPLED: usize = 10_000;

/// What the user says about a data set beyond the folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataOptions {
    /// Micrometres per pixel of all images; else each image's own, where it is known.
    pub pixel_size_um: Option<f64>,
    /// Where masks hold values between those of the classes, the value from which on a pixel is foreground.
    pub mask_threshold: Option<u8>,
    /// The layout of the folder; else it is recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The page or slice of images that have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<usize>,
}

/// An image with its labels, as they were read.
#[derive(Debug, Clone)]
pub struct LabelledImage {
    /// Unique in the data set.
    pub name: String,
    /// Who or what was imaged.
    pub subject: String,
    /// The kind of its stored numbers.
    pub depth: BitDepth,
    /// The pixels over the full range of these.
    pub plane: Plane,
    /// The class of each pixel.
    pub labels: LabelMap,
    /// Side of a pixel in micrometres, where it is known.
    pub pixel_size_um: Option<f64>,
    /// Of the whole image, in stored units.
    pub intensities: Intensities,
}

/// A data set to learn from.
#[derive(Debug, Clone)]
pub struct LabelledSet {
    /// Never empty, ordered as the files are.
    pub images: Vec<LabelledImage>,
    /// Names of the labels 1, 2, ….
    pub classes: Vec<String>,
    /// What the images show, by which nnU-Net chooses the normalisation; empty where nobody said.
    pub channel: String,
    /// The layout of the folder.
    pub format: Format,
    /// The pixel size to work at: the median of the images', none where one is not known.
    pub pixel_size_um: Option<f64>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Files left out, with reasons.
    pub skipped: Vec<Skipped>,
}

impl LabelledSet {
    /// Reads all images and masks of a folder. Faults of all masks are gathered into one error, so that a user can mend
    /// them in one go.
    pub fn read(dir: &Path, options: &DataOptions) -> Result<Self> {
        let annotated = dataset::discover_annotated_as(dir, options.format)?;
        // A segmentation has a normalisation of its own, from the stored numbers.
        let reading = ReadOptions::full(options.page);
        let loaded = dataset::load(&annotated.dataset, options.pixel_size_um, &reading)?;
        let mut notes = loaded.notes;
        let mut faults = Vec::new();
        let mut images = Vec::new();
        for image in loaded.images {
            match labelled(image, &annotated, options.mask_threshold, &mut notes) {
                Ok(image) => images.push(image),
                Err(error) => faults.push(error.to_string()),
            }
        }
        if !faults.is_empty() {
            return Err(faulty_masks(dir, faults));
        }
        if images.iter().all(|image| image.labels.classes().iter().all(|class| matches!(*class, 0 | IGNORE))) {
            return Err(Error::dataset(dir, "all masks are empty: there is nothing to learn from them"));
        }
        notes.extend(note_unlabelled(&annotated.unlabelled));
        let alone = images.iter().all(|image| image.subject == image.name);
        if alone && images.len() > 1 && annotated.dataset.format != Format::Bids {
            notes.push(
                "nothing says which images show the same subject, so each is taken for one of its own, and folds may \
                 share a subject; a table subjects.tsv (columns file, subject) in the folder tells them apart"
                    .into(),
            );
        }
        let pixel_size_um = median_pixel_size(&images);
        if pixel_size_um.is_none() {
            notes.push(
                "the pixel size of an image is not known, so all are used as they are; give --pixel-size-um if they \
                 share one"
                    .into(),
            );
        }
        Ok(Self {
            images,
            classes: annotated.classes,
            channel: annotated.channel.unwrap_or_default(),
            format: annotated.dataset.format,
            pixel_size_um,
            notes,
            skipped: loaded.skipped,
        })
    }

    /// A set of images that are in memory, to be worked on at this pixel size.
    pub fn of(images: Vec<LabelledImage>, classes: Vec<String>, pixel_size_um: Option<f64>) -> Self {
        Self {
            images,
            classes,
            channel: String::new(),
            format: Format::Plain,
            pixel_size_um,
            notes: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// What planning needs to know.
    pub fn fingerprint(&self) -> Fingerprint {
        let scaled = |image: &LabelledImage| {
            let ratio = match (image.pixel_size_um, self.pixel_size_um) {
                (Some(from), Some(to)) => from / to,
                _ => 1.0,
            };
            [image.plane.height(), image.plane.width()].map(|side| ((side as f64 * ratio).round() as usize).max(1))
        };
        let foreground = self.images.iter().flat_map(|image| {
            let labels = image.labels.classes();
            let is_foreground = |pixel: &usize| !matches!(labels[*pixel], 0 | IGNORE);
            let pixels: Vec<usize> = (0..labels.len()).filter(is_foreground).collect();
            let mut stream = Stream::new(0).child("fingerprint").child(image.name.as_str());
            let sampled = pixels.len().min(SAMPLED);
            let chosen: Vec<f32> =
                (0..sampled).map(|_| image.plane.pixels()[pixels[stream.below(pixels.len())]]).collect();
            chosen.into_iter().map(|value| image.intensities.stored(value))
        });
        Fingerprint {
            sizes: self.images.iter().map(scaled).collect(),
            pixel_size_um: self.pixel_size_um,
            foreground: ForegroundIntensities::of(foreground.collect()),
        }
    }

    /// The images as the plan wants them: at its pixel size, normalised.
    pub fn cases(&self, plan: &Plan) -> Vec<TrainingCase> {
        let case = |image: &LabelledImage| {
            let plane = to_working_size(&image.plane, image.pixel_size_um, plan.pixel_size_um);
            let labels = resize_labels(&image.labels, plane.height(), plane.width());
            let normalise = plan.normalisation.fit(&image.intensities);
            let intensities = plane.pixels().iter().map(|value| normalise.apply(*value)).collect();
            let patch = Patch::new(plane.height(), plane.width(), intensities, labels.classes().to_vec());
            let stream = Stream::new(plan.seed).child("places").child(image.name.as_str());
            TrainingCase::new(patch, plan.classes.len() + 1, &stream)
        };
        self.images.iter().map(case).collect()
    }

    /// Names and subjects of the images.
    pub fn subjects(&self) -> Vec<(String, String)> {
        self.images.iter().map(|image| (image.name.clone(), image.subject.clone())).collect()
    }
}

fn labelled(
    image: Image,
    annotated: &AnnotatedDataset,
    threshold: Option<u8>,
    notes: &mut Vec<String>,
) -> Result<LabelledImage> {
    let size = [image.plane.height(), image.plane.width()];
    let source = annotated.masks_of(&image.case).ok_or_else(|| Error::image(&image.case.path, "it has no mask"))?;
    let labels = dataset::read_labels(source, size, threshold)?;
    notes.extend(labels.note.map(|note| format!("{}: {note}", image.case.name)));
    let intensities = Intensities::of_plane(&image.plane, &image.intensity);
    Ok(LabelledImage {
        name: image.case.name,
        subject: image.case.subject,
        depth: image.depth,
        plane: image.plane,
        labels: labels.map,
        pixel_size_um: image.case.pixel_size_um,
        intensities,
    })
}

/// All faults in one error; the first ones in full.
fn faulty_masks(dir: &Path, mut faults: Vec<String>) -> Error {
    const SHOWN: usize = 5;
    if faults.len() == 1 {
        return Error::Config(faults.remove(0));
    }
    let count = faults.len();
    faults.truncate(SHOWN);
    let more = if count > SHOWN { format!("\n  and {} more", count - SHOWN) } else { String::new() };
    Error::dataset(dir, format!("{count} masks cannot be used:\n  {}{more}", faults.join("\n  ")))
}

fn note_unlabelled(unlabelled: &[PathBuf]) -> Option<String> {
    let first = unlabelled.first()?;
    Some(format!("{} images have no mask and are left out, such as {}", unlabelled.len(), first.display()))
}

fn median_pixel_size(images: &[LabelledImage]) -> Option<f64> {
    let mut sizes = images.iter().map(|image| image.pixel_size_um).collect::<Option<Vec<f64>>>()?;
    sizes.sort_by(f64::total_cmp);
    Some(sizes[sizes.len() / 2])
}

/// Labels at another size: each pixel gets the class that covers most of it, the lower number where two cover as much.
pub fn resize_labels(labels: &LabelMap, height: usize, width: usize) -> LabelMap {
    if [labels.height(), labels.width()] == [height, width] {
        return labels.clone();
    }
    let occurring: BTreeSet<u8> = labels.classes().iter().copied().collect();
    let mut best = vec![f32::NEG_INFINITY; height * width];
    let mut classes = vec![0; height * width];
    for class in occurring {
        let holds = labels.classes().iter().map(|label| f32::from(u8::from(*label == class))).collect();
        let share = resize(&Plane::new(labels.height(), labels.width(), holds), height, width);
        for ((best, label), share) in best.iter_mut().zip(&mut classes).zip(share.pixels()) {
            if share > best {
                (*best, *label) = (*share, class);
            }
        }
    }
    LabelMap::new(height, width, classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{write, write_labels};

    /// Two images of 40 x 40 with masks of two classes beside them.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let image = Plane::from_fn(40, 40, |y, x| ((3 * y + 5 * x) % 29) as f32 / 28.0);
            write(&dir.path().join(format!("{name}.png")), &image, BitDepth::Eight, None).unwrap();
            let mask = (0..1600).map(|i| [0, 127, 255][i % 40 / 14]).collect();
            let path = dir.path().join(format!("{name}_seg-axonmyelin.png"));
            write_labels(&path, &LabelMap::new(40, 40, mask)).unwrap();
        }
        dir
    }

    #[test]
    fn images_and_labels_become_cases_at_the_pixel_size_of_the_plan() {
        let dir = folder();
        let options = DataOptions { pixel_size_um: Some(0.1), ..DataOptions::default() };
        let set = LabelledSet::read(dir.path(), &options).unwrap();
        assert_eq!(
            (set.classes.as_slice(), set.pixel_size_um),
            (&["myelin".to_string(), "axon".into()][..], Some(0.1))
        );
        let fingerprint = set.fingerprint();
        assert_eq!(fingerprint.sizes, [[40, 40], [40, 40]]);
        let mut plan = Plan::for_images(&fingerprint, set.classes.clone(), "", &Default::default()).unwrap();
        plan.pixel_size_um = Some(0.2);
        let cases = set.cases(&plan);
        let image = &cases[0].image;
        assert_eq!((image.height, image.width), (20, 20));
        assert_eq!((image.labels[0], image.labels[10], image.labels[19]), (0, 1, 2));
        // z-scores by the statistics of the image before it was resampled.
        let mean = image.intensities.iter().sum::<f32>() / 400.0;
        assert!(mean.abs() < 0.05, "{mean}");
    }

    #[test]
    fn faults_of_all_masks_are_told_together() {
        let dir = folder();
        for name in ["a", "b"] {
            let path = dir.path().join(format!("{name}_seg-axonmyelin.png"));
            write_labels(&path, &LabelMap::new(2, 2, vec![0, 127, 255, 0])).unwrap();
        }
        let error = LabelledSet::read(dir.path(), &DataOptions::default()).unwrap_err().to_string();
        assert!(
            error.contains("2 masks cannot be used") && error.contains("a_seg") && error.contains("b_seg"),
            "{error}"
        );
    }

    #[test]
    fn resized_labels_take_the_class_that_covers_most() {
        let labels = LabelMap::new(1, 6, vec![0, 0, 2, 2, 2, 1]);
        assert_eq!(resize_labels(&labels, 1, 2).classes(), [0, 2]);
        assert_eq!(resize_labels(&labels, 2, 6).classes(), [0, 0, 2, 2, 2, 1, 0, 0, 2, 2, 2, 1]);
    }
}
