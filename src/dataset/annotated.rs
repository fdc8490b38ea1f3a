//! Images with their masks: nnU-Net raw folders (`nnunet`), masks in `derivatives/labels` as BIDS folders keep them,
//! and masks beside the images or in a folder of their own.
//!
//! Names decide which masks belong to an image and what they show. Pixels are looked at only where a name says no
//! class; [`read_labels`](super::read_labels) reads them.

mod pairing;

use super::labels::{Encoding, MaskFile, MaskSource, guess_greys};
use super::{Case, Dataset, Format, discover_as, format, nnunet};
use crate::error::{Error, Result};
use crate::imaging::IGNORE;
use pairing::{Mask, Shows, assign, choose};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A data set in which each image has masks of the same classes.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedDataset {
    /// The images that have masks; [`Dataset::masks`] holds the masks that are not used, and [`Dataset::notes`] says
    /// how many of them belong to no image.
    pub dataset: Dataset,
    /// Names of the labels 1, 2 and so on; label 0 is the background.
    pub classes: Vec<String>,
    /// The masks of each case, in the order of [`Dataset::cases`].
    pub masks: Vec<MaskSource>,
    /// The name that an nnU-Net folder gives to the images' channel, by which nnU-Net chooses the normalisation.
    pub channel: Option<String>,
    /// Images without any mask, which are left out.
    pub unlabelled: Vec<PathBuf>,
}

impl AnnotatedDataset {
    /// The masks of a case, which may come from [`load`](fn@super::load).
    pub fn masks_of(&self, case: &Case) -> Option<&MaskSource> {
        self.dataset.cases.iter().position(|known| known.path == case.path).map(|i| &self.masks[i])
    }

    /// The images with masks by the names they have here, and those of the same folder that have none.
    pub fn with_unlabelled(&self, all: Dataset) -> Dataset {
        let known: BTreeSet<&PathBuf> = self.dataset.cases.iter().map(|case| &case.path).collect();
        let mut dataset = self.dataset.clone();
        dataset.cases.extend(all.cases.into_iter().filter(|case| !known.contains(&case.path)));
        dataset.cases.sort_by(|a, b| a.path.cmp(&b.path));
        dataset
    }
}

/// Finds the images of a folder that have masks, and the classes.
///
/// A mask belongs to the image `NAME` when it is called
///
/// - `NAME_seg-CLASS`, then perhaps `-manual` (preferred to a mask without it) or `-instance` (one number for each
///   object), beside the image, in `derivatives/labels`, or in a mask folder;
/// - `NAME_mask`, or `mask_7` for `image_7`, in the same places; or like the image, in a mask folder.
///
/// `CLASS` may be `axonmyelin`, a mask of 0, 127 (myelin) and 255 (axon), which is used where the two are not there
/// one by one. Of masks without `CLASS` the values tell the classes (`labels::guess_greys`).
///
/// The numbers of the classes are those of nnU-Net folders; myelin 1 and axon 2 when there are just these two, as in
/// NeuroPoly's models; else alphabetical from 1. It is an error when an image lacks a class that another has, since
/// nothing tells an image without such objects from one that nobody annotated.
pub fn discover_annotated(dir: &Path) -> Result<AnnotatedDataset> {
    discover_annotated_as(dir, None)
}

/// The same in a folder of which the user may have said what it is. In a plain one no masks are looked for.
pub fn discover_annotated_as(dir: &Path, format: Option<Format>) -> Result<AnnotatedDataset> {
    if format.map_or_else(|| nnunet::is_raw_folder(dir), |format| format == Format::NnUnet) {
        return nnunet::discover(dir);
    }
    if format == Some(Format::Plain) {
        let reason = "plain images have no masks; say which images have, or leave the format to be recognised";
        return Err(Error::dataset(dir, reason));
    }
    let mut dataset = discover_as(dir, format)?;
    let masks_of_all = assign(&mut dataset)?;
    let images = dataset.cases.len();
    let mut unlabelled = Vec::new();
    let mut masks_of_cases = Vec::new();
    for (case, masks) in std::mem::take(&mut dataset.cases).into_iter().zip(masks_of_all) {
        if masks.is_empty() {
            unlabelled.push(case.path);
            continue;
        }
        let (used, unused) = choose(masks)?;
        masks_of_cases.push(used);
        dataset.masks.extend(unused);
        dataset.cases.push(case);
    }
    if dataset.cases.is_empty() {
        return Err(nothing_annotated(&dataset.root, images));
    }
    let greys = greys_of_unnamed(&dataset.root, &masks_of_cases)?;
    let classes = number_classes(masks_of_cases.iter().flatten().flat_map(|mask| mask.classes(&greys)));
    check_all_have(&classes, &dataset, &masks_of_cases, &greys)?;
    if format.is_none() && dataset.format != Format::Bids {
        let used: Vec<PathBuf> = masks_of_cases.iter().flatten().map(|mask| mask.path.clone()).collect();
        dataset.format = format::by_masks(&used);
    }
    let to_file = |mask: Mask| mask.into_file(&greys, &classes);
    let to_source = |masks: Vec<Mask>| MaskSource { files: masks.into_iter().map(to_file).collect() };
    let masks = masks_of_cases.into_iter().map(to_source).collect();
    Ok(AnnotatedDataset { dataset, classes, masks, channel: None, unlabelled })
}

impl Mask {
    /// The classes that the mask tells of.
    fn classes<'a>(&'a self, greys: &'a [(u16, String)]) -> Vec<&'a str> {
        match &self.shows {
            Shows::Class(class) | Shows::Objects(class) => vec![class],
            Shows::AxonAndMyelin => vec!["myelin", "axon"],
            Shows::Unnamed => greys.iter().map(|(_, class)| class.as_str()).collect(),
        }
    }

    fn into_file(self, greys: &[(u16, String)], classes: &[String]) -> MaskFile {
        let number = |name: &str| 1 + classes.iter().take_while(|class| *class != name).count() as u8;
        let encoding = match &self.shows {
            Shows::Class(class) => Encoding::Binary(number(class)),
            Shows::Objects(class) => Encoding::Objects(number(class)),
            // 127 and 128 are both found for half of 255.
            Shows::AxonAndMyelin => {
                Encoding::Greys(vec![(127, number("myelin")), (128, number("myelin")), (255, number("axon"))])
            }
            Shows::Unnamed if greys.iter().all(|(value, class)| *value == u16::from(number(class))) => {
                Encoding::Numbers(greys.len() as u8)
            }
            Shows::Unnamed => Encoding::Greys(greys.iter().map(|(value, class)| (*value, number(class))).collect()),
        };
        MaskFile { path: self.path, encoding }
    }
}

/// The values of the masks whose names say no class, each with its class; none if there are no such masks.
fn greys_of_unnamed(root: &Path, masks_of_cases: &[Vec<Mask>]) -> Result<Vec<(u16, String)>> {
    let unnamed = masks_of_cases.iter().flatten().filter(|mask| matches!(mask.shows, Shows::Unnamed));
    let paths: Vec<&Path> = unnamed.map(|mask| mask.path.as_path()).collect();
    if paths.is_empty() { Ok(Vec::new()) } else { guess_greys(root, &paths) }
}

/// Each class once, in the order of the labels from 1 on.
fn number_classes<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: BTreeSet<&str> = names.collect();
    if names.iter().eq(&["axon", "myelin"]) {
        return ["myelin", "axon"].map(String::from).to_vec();
    }
    names.into_iter().map(String::from).collect()
}

fn check_all_have(
    classes: &[String],
    dataset: &Dataset,
    masks_of_cases: &[Vec<Mask>],
    greys: &[(u16, String)],
) -> Result<()> {
    if classes.len() >= usize::from(IGNORE) {
        let reason =
            format!("its masks have {} classes by their names; up to {} can be told apart", classes.len(), IGNORE - 1);
        return Err(Error::dataset(&dataset.root, reason));
    }
    for class in classes {
        let lacks = |masks: &&Vec<Mask>| !masks.iter().any(|mask| mask.classes(greys).contains(&class.as_str()));
        let lacking = masks_of_cases.iter().filter(lacks).count();
        if let Some(first) = masks_of_cases.iter().position(|masks| lacks(&masks)) {
            let reason = format!(
                "{lacking} of its {} images with masks have no mask of {class}, such as {}; add an empty mask where \
                 there is no {class}, or remove the masks of {class}",
                masks_of_cases.len(),
                dataset.cases[first].path.display()
            );
            return Err(Error::dataset(&dataset.root, reason));
        }
    }
    Ok(())
}

fn nothing_annotated(root: &Path, images: usize) -> Error {
    let reason = format!(
        "none of its {images} images has a mask; masks are called NAME_seg-CLASS.png or NAME_mask.png beside NAME.png, \
         mask_7.png beside image_7.png, or like the image in a folder masks or labels, or lie in derivatives/labels; \
         give the folder that holds \
         both images and masks, for nnU-Net the one with dataset.json"
    );
    Error::dataset(root, reason)
}

#[cfg(test)]
mod tests;
