//! How good predicted masks are: pixels and objects of each class, for each image, each fold and a whole set.
//!
//! [`find_pairs`] finds the masks that belong together, [`score`] reads and compares them. An image in which neither
//! side has a class has no scores of it and is counted as such, and means are over the images that have a value.
//! Objects are those of the module `objects`, matched one to one at an intersection over union of at least 1/2. Pixels
//! that are [`IGNORE`] in the truth are not scored, nor are predicted objects mostly in them. Masks are read a band of
//! rows at a time; what is held of them are the runs of their objects, 16 bytes for each.

mod figures;
mod names;
mod pairs;

pub use figures::{Figures, ObjectCounts, PixelCounts, Summaries, Values};
pub use pairs::{ClassMask, ClassPair, ImagePair, Pairs, find_pairs};

use crate::dataset::{Encoding, MaskFile, MaskReader};
use crate::error::{Error, Result};
use crate::imaging::{IGNORE, Window, bands};
use crate::objects::{Contact, ObjectFinder};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// How masks are read and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreOptions {
    /// The names of the classes 1, 2 ... of label maps.
    pub classes: Option<Vec<String>>,
    /// nnU-Net's `splits_final.json`, which tells the folds of predictions that are not in folders of folds.
    pub folds: Option<PathBuf>,
    /// From which grey value of 0 to 255 on a pixel has the class, for masks that hold more values than they should.
    pub threshold: Option<u8>,
    /// Predicted objects of fewer pixels are ignored.
    pub min_object: u64,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { classes: None, folds: None, threshold: None, min_object: 1 }
    }
}

/// The scores of one class in one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageScores {
    /// The name of the image.
    pub image: String,
    /// The fold that predicted it.
    pub fold: Option<String>,
    /// The name of the class.
    pub class: String,
    /// Its pixels.
    pub pixels: PixelCounts,
    /// Its objects.
    pub objects: ObjectCounts,
    /// The figures that follow from them.
    pub figures: Values,
}

/// The scores of one class over several images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScores {
    /// The name of the class.
    pub class: String,
    /// How many images were compared.
    pub images: usize,
    /// In how many of them neither side has the class.
    pub absent: usize,
    /// Mean and spread over the images.
    pub over_images: Summaries,
    /// The pixels of all images together.
    pub pixels: PixelCounts,
    /// The objects of all images together.
    pub objects: ObjectCounts,
    /// The figures that follow from these: large images and images full of objects count for more.
    pub pooled: Values,
}

/// The scores of the images of one fold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldScores {
    /// The name of the fold.
    pub fold: String,
    /// Each class that the fold's images have.
    pub classes: Vec<ClassScores>,
}

/// How far folds agree on a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldSummary {
    /// The name of the class.
    pub class: String,
    /// Mean and spread of the folds' means over images.
    pub over_folds: Summaries,
}

/// The scores of a set of images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentationScores {
    /// Predicted objects of fewer pixels were ignored.
    pub min_object: u64,
    /// Each image and class.
    pub images: Vec<ImageScores>,
    /// Each class over all images.
    pub classes: Vec<ClassScores>,
    /// Each fold; none when the predictions are not of folds.
    pub folds: Vec<FoldScores>,
    /// Each class over the folds, when there are several.
    pub across_folds: Vec<FoldSummary>,
    /// Images that could not be compared, with the reasons.
    pub failed: BTreeMap<String, String>,
    /// Predictions that have no truth, and truths that have no prediction; they are not scored.
    pub unpaired: [Vec<String>; 2],
}

/// Reads and compares all pairs. `on_image` is called after each image with its name. An image that cannot be compared is
/// told in [`SegmentationScores::failed`]; it is an error when that is so of all.
pub fn score(pairs: &Pairs, options: &ScoreOptions, mut on_image: impl FnMut(&str)) -> Result<SegmentationScores> {
    let mut images = Vec::new();
    let (mut failed, mut first_error) = (BTreeMap::new(), None);
    for pair in &pairs.images {
        match score_image(pair, options) {
            Ok(mut scores) => images.append(&mut scores),
            Err(error) => {
                failed.insert(pairs::full_name(pair.fold.as_deref(), &pair.image), error.to_string());
                first_error.get_or_insert(error);
            }
        }
        on_image(&pair.image);
    }
    match first_error.filter(|_| images.is_empty()) {
        Some(error) => Err(error),
        None => {
            let scores = SegmentationScores::of(images, &pairs.classes, options.min_object);
            let unpaired = [pairs.without_truth.clone(), pairs.without_prediction.clone()];
            Ok(SegmentationScores { failed, unpaired, ..scores })
        }
    }
}

fn score_image(pair: &ImagePair, options: &ScoreOptions) -> Result<Vec<ImageScores>> {
    let mut masks = Masks::new();
    for ClassMask { file, .. } in pair.classes.iter().flat_map(|class| [&class.predicted, &class.truth]) {
        if !masks.contains_key(file) {
            masks.insert(file, open(file, options.threshold)?);
        }
    }
    for ClassPair { predicted, truth, .. } in &pair.classes {
        check_sizes(predicted, truth, [predicted, truth].map(|mask| masks[&mask.file].size()))?;
    }
    let [height, width] = masks[&pair.classes[0].predicted.file].size();
    let mut comparisons: Vec<Comparison<'_>> = pair.classes.iter().map(|pair| Comparison::new(pair, width)).collect();
    for rows in bands(&Window { rows: 0..height, columns: 0..width }) {
        let read = masks.iter().map(|(file, mask)| Ok((*file, mask.classes(rows.clone())?)));
        let labels: HashMap<&MaskFile, Vec<u8>> = read.collect::<Result<_>>()?;
        for comparison in &mut comparisons {
            let ClassPair { predicted, truth, .. } = comparison.pair;
            comparison.push_rows(&labels[&predicted.file], &labels[&truth.file], width);
        }
    }
    let finish = |comparison: Comparison<'_>| {
        let class = comparison.pair.class.clone();
        let (pixels, objects) = comparison.finish(options.min_object);
        let figures = Values::of(&pixels, &objects);
        ImageScores { image: pair.image.clone(), fold: pair.fold.clone(), class, pixels, objects, figures }
    };
    Ok(comparisons.into_iter().map(finish).collect())
}

fn open(file: &MaskFile, threshold: Option<u8>) -> Result<MaskReader> {
    MaskReader::open(file, threshold).map_err(|error| match (&file.encoding, error) {
        (Encoding::Numbers(_) | Encoding::NumbersAndIgnore(_), Error::Image { path, reason }) => {
            Error::Image { path, reason: reason + "; --classes names all of them" }
        }
        (_, error) => error,
    })
}

/// The masks of one image, each opened once though it may show several classes.
type Masks<'a> = HashMap<&'a MaskFile, MaskReader>;

/// What is counted of one class of an image while its masks are read. Of the objects, outlines are kept.
struct Comparison<'a> {
    pair: &'a ClassPair,
    pixels: PixelCounts,
    predicted: ObjectFinder,
    truth: ObjectFinder,
    ignored: ObjectFinder,
}

impl<'a> Comparison<'a> {
    fn new(pair: &'a ClassPair, width: usize) -> Self {
        let [predicted, truth, ignored] = [(); 3].map(|()| ObjectFinder::new(width, Contact::SideOrCorner));
        Self { pair, pixels: PixelCounts::default(), predicted, truth, ignored }
    }

    /// Takes the next rows of both masks.
    fn push_rows(&mut self, predicted: &[u8], truth: &[u8], width: usize) {
        let [class, true_class] = [&self.pair.predicted, &self.pair.truth].map(|mask| mask.number);
        let is_predicted = predicted.iter().map(|label| *label == class);
        self.pixels.add(is_predicted.zip(truth.iter().copied()), true_class);
        for (predicted, truth) in predicted.chunks_exact(width).zip(truth.chunks_exact(width)) {
            self.predicted.push_row(predicted, |label| *label == class);
            self.truth.push_row(truth, |label| *label == true_class);
            self.ignored.push_row(truth, |label| *label == IGNORE);
        }
    }

    fn finish(self, min_object: u64) -> (PixelCounts, ObjectCounts) {
        let [predicted, truth, ignored] = [self.predicted, self.truth, self.ignored].map(ObjectFinder::finish);
        (self.pixels, ObjectCounts::of_objects(&predicted, &truth, &ignored, min_object))
    }
}

fn check_sizes(predicted: &ClassMask, truth: &ClassMask, sizes: [[usize; 2]; 2]) -> Result<()> {
    let [[height, width], [true_height, true_width]] = sizes;
    if sizes[0] == sizes[1] {
        return Ok(());
    }
    Err(Error::image(
        &predicted.file.path,
        format!(
            "it has {width} x {height} pixels (width x height) and {} has {true_width} x {true_height}; predict at the \
             size of the image, or see whether both are of the same image",
            truth.file.path.display()
        ),
    ))
}

impl SegmentationScores {
    /// Gathers the scores of images; `classes` gives the order of the classes.
    pub fn of(images: Vec<ImageScores>, classes: &[String], min_object: u64) -> Self {
        let of_fold = |fold: Option<&str>| -> Vec<ClassScores> {
            let is_meant = |scores: &&ImageScores| fold.is_none() || scores.fold.as_deref() == fold;
            let chosen: Vec<&ImageScores> = images.iter().filter(is_meant).collect();
            classes.iter().filter_map(|class| ClassScores::of(class, &chosen)).collect()
        };
        let names: BTreeSet<&String> = images.iter().filter_map(|scores| scores.fold.as_ref()).collect();
        let folds: Vec<FoldScores> =
            names.into_iter().map(|fold| FoldScores { fold: fold.clone(), classes: of_fold(Some(fold)) }).collect();
        let across_folds = if folds.len() > 1 { across(&folds, classes) } else { Vec::new() };
        let (failed, unpaired) = (BTreeMap::new(), [Vec::new(), Vec::new()]);
        Self { min_object, classes: of_fold(None), folds, across_folds, images, failed, unpaired }
    }
}

fn across(folds: &[FoldScores], classes: &[String]) -> Vec<FoldSummary> {
    let summary = |class: &String| {
        let of_class = folds.iter().flat_map(|fold| &fold.classes).filter(|scores| scores.class == *class);
        let means: Vec<Values> = of_class.map(|scores| scores.over_images.means()).collect();
        FoldSummary { class: class.clone(), over_folds: Summaries::of(means.iter()) }
    };
    classes.iter().map(summary).collect()
}

impl ClassScores {
    /// The scores of one class over images; None when none was compared.
    fn of(class: &str, images: &[&ImageScores]) -> Option<Self> {
        let of_class: Vec<&&ImageScores> = images.iter().filter(|scores| scores.class == class).collect();
        let pixels: PixelCounts = of_class.iter().map(|scores| scores.pixels).sum();
        let objects: ObjectCounts = of_class.iter().map(|scores| scores.objects).sum();
        (!of_class.is_empty()).then(|| Self {
            class: class.to_string(),
            images: of_class.len(),
            absent: of_class.iter().filter(|scores| scores.pixels.is_absent()).count(),
            over_images: Summaries::of(of_class.iter().map(|scores| &scores.figures)),
            pixels,
            objects,
            pooled: Values::of(&pixels, &objects),
        })
    }
}

#[cfg(test)]
mod tests;
