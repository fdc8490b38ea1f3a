//! Which mask of a folder of predictions belongs to which of a folder of truth, and what its classes are called.
//!
//! Names of files alone are looked at, unless label maps have no names for their classes: then all are read, to count
//! the classes.

use super::ScoreOptions;
use super::names::{MaskName, classes_of_dataset_json, fold_folder, folds_of_splits_json, without_ignored};
use crate::dataset::{Encoding, MaskFile, largest_value};
use crate::error::{Error, Result};
use crate::imaging::{IGNORE, has_image_extension};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// Where a class of an image is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMask {
    /// The file, and what its grey values mean.
    pub file: MaskFile,
    /// The number of the class once the file is read.
    pub number: u8,
}

/// A class of an image that both sides have a mask of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassPair {
    /// The name of the class.
    pub class: String,
    /// The predicted mask.
    pub predicted: ClassMask,
    /// The mask that is held to be true.
    pub truth: ClassMask,
}

/// An image with masks on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePair {
    /// The name of the image.
    pub image: String,
    /// The fold that predicted it.
    pub fold: Option<String>,
    /// The classes to score; never empty.
    pub classes: Vec<ClassPair>,
}

/// What can be scored of two folders, and what cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// Ordered by fold and name; never empty.
    pub images: Vec<ImagePair>,
    /// All classes of the images: those of label maps by number, then the others by name.
    pub classes: Vec<String>,
    /// Predictions without truth, by name (and fold).
    pub without_truth: Vec<String>,
    /// Truth without prediction, by name.
    pub without_prediction: Vec<String>,
    /// What else the user should know: classes that only one side has, files that are no masks.
    pub notes: Vec<String>,
}

/// Pairs the masks of two folders, or of two files, by the name of their image.
///
/// Folders are searched with their sub-folders, except hidden ones and nnU-Net's `imagesTr` and `imagesTs`. A file is
/// - a mask of the class that its name tells: `IMAGE_seg-axon.png`, `IMAGE_seg-axon-manual.png`,
///   `IMAGE_seg-nuclei-instance.png`, or of two classes: `IMAGE_seg-axonmyelin.png`, which gives way to masks of one
///   class. Where an image has a manual and another mask, the manual one is the truth and the other the prediction.
/// - a label map of class numbers, `IMAGE.png`, when no file of the folder has `_seg-` in its name. Its classes are
///   called as `options.classes` says, or the `dataset.json` in its folder or one above (up to the one above the
///   folder given), or that of the other side; or else `class_1`, `class_2` ... If the last is `ignore`, it is no
///   class: true pixels of it are not scored.
///
/// Two files are a pair whatever their names. It is an error when nothing can be scored.
pub fn find_pairs(predictions: &Path, truth: &Path, options: &ScoreOptions) -> Result<Pairs> {
    let mut sides = [Side::search(predictions, Role::Prediction)?, Side::search(truth, Role::Truth)?];
    if predictions.is_file() && truth.is_file() {
        sides[1].files[0].name.image = sides[0].files[0].name.image.clone();
    }
    let names = class_names(&sides, options)?;
    let mut predicted = sides[0].masks_of_images(&names[0])?;
    if let Some(path) = &options.folds {
        predicted = with_folds(predicted, path)?;
    }
    let mut true_masks: HashMap<String, Classes> =
        sides[1].masks_of_images(&names[1])?.into_iter().map(|((_, image), classes)| (image, classes)).collect();
    let mut pairing = Pairing::default();
    let mut met = BTreeSet::new();
    for ((fold, image), predicted) in predicted {
        match true_masks.get(&image) {
            Some(truth) => pairing.add(fold, &image, predicted, truth)?,
            None => pairing.without_truth.push(full_name(fold.as_deref(), &image)),
        }
        met.insert(image);
    }
    true_masks.retain(|image, _| !met.contains(image));
    pairing.finish(sides, &names, true_masks.into_keys().collect())
}

/// The name of an image, and before it that of the fold.
pub(super) fn full_name(fold: Option<&str>, image: &str) -> String {
    fold.map_or(image.to_string(), |fold| format!("{fold}/{image}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Prediction,
    Truth,
}

/// The masks of one of the folders.
struct Side {
    root: PathBuf,
    role: Role,
    files: Vec<File>,
    /// How many files were left out since their names have no `_seg-`.
    unnamed: usize,
}

struct File {
    path: PathBuf,
    fold: Option<String>,
    name: MaskName,
}

/// The masks of an image by class, each with its rank: of two files for one class the lower rank is taken.
type Classes = BTreeMap<String, (u8, ClassMask)>;

/// By fold and image.
type Images = BTreeMap<(Option<String>, String), Classes>;

impl Side {
    fn search(root: &Path, role: Role) -> Result<Self> {
        if !root.exists() {
            return Err(Error::dataset(
                root,
                "there is no such file or folder; give masks, or the folder that holds them",
            ));
        }
        let mut paths = Vec::new();
        for entry in WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter().filter_entry(is_entered) {
            let entry = entry.map_err(|error| Error::dataset(root, format!("it cannot be looked into: {error}")))?;
            if entry.file_type().is_file() && (entry.depth() == 0 || has_image_extension(entry.path())) {
                paths.push(entry.into_path());
            }
        }
        let fold_of = |path: &Path| if role == Role::Prediction { fold_folder(root, path) } else { None };
        let to_file = |path: PathBuf| File { fold: fold_of(&path), name: MaskName::of(&path), path };
        let mut files: Vec<File> = paths.into_iter().map(to_file).collect();
        let found = files.len();
        if files.iter().any(|file| file.name.class.is_some()) {
            // The others are the images, and the pictures that AxonDeepSeg draws.
            files.retain(|file| file.name.class.is_some());
        }
        if files.is_empty() {
            return Err(Error::dataset(
                root,
                "there is no mask in a format that is read (such as .png or .tif) in it or its sub-folders; give the folder of \
                 the masks",
            ));
        }
        Ok(Self { root: root.to_path_buf(), role, unnamed: found - files.len(), files })
    }

    fn has_label_maps(&self) -> bool {
        self.files[0].name.class.is_none()
    }

    /// The class names of the `dataset.json` nearest to the label maps.
    fn names_in_dataset_json(&self) -> Result<Option<Vec<String>>> {
        let top = self.root.parent().unwrap_or(&self.root);
        let folders: BTreeSet<&Path> = self.files.iter().filter_map(|file| file.path.parent()).collect();
        let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for folder in folders {
            let above = folder.ancestors().take_while(|above| above.starts_with(top));
            if let Some(path) = above.map(|above| above.join("dataset.json")).find(|path| path.is_file()) {
                found.insert(path.clone(), classes_of_dataset_json(&path)?);
            }
        }
        let mut found = found.into_iter();
        let Some((first, names)) = found.next() else { return Ok(None) };
        match found.find(|(_, others)| *others != names) {
            Some((other, _)) => {
                let reason = format!("its labels differ from those of {}; score them apart", first.display());
                Err(Error::dataset(other, reason))
            }
            None => Ok(Some(names)),
        }
    }

    fn largest_number(&self) -> Result<u8> {
        self.files.iter().try_fold(0, |largest, file| Ok(largest.max(largest_number(&file.path)?)))
    }

    /// The best mask of each class of each image; `names` are those of the classes 1, 2 ... of label maps.
    fn masks_of_images(&self, names: &[String]) -> Result<Images> {
        let mut images = Images::new();
        for file in &self.files {
            let classes = images.entry((file.fold.clone(), file.name.image.clone())).or_default();
            for (class, rank, mask) in self.classes_of(file, names) {
                match classes.get(&class) {
                    Some((other, _)) if *other < rank => {}
                    Some((other, known)) if *other == rank => {
                        let reason = format!(
                            "it shows the class {class} of {}, and so does {}; give each image another name, or give \
                             one of their folders",
                            file.name.image,
                            known.file.path.display()
                        );
                        return Err(Error::image(&file.path, reason));
                    }
                    _ => drop(classes.insert(class, (rank, mask))),
                }
            }
        }
        Ok(images)
    }

    /// The classes that a file shows, each with its rank.
    fn classes_of(&self, file: &File, names: &[String]) -> Vec<(String, u8, ClassMask)> {
        let MaskName { class, is_manual, is_instances, .. } = &file.name;
        let combined = AXON_MYELIN.map(String::from);
        let (encoding, classes) = match class.as_ref().map(|class| class.as_str()) {
            // One class may be 1, as in a label map, or white, as in a mask.
            None if names.len() == 1 => (Encoding::Binary(1), names),
            None => match without_ignored(names) {
                all if all.len() == names.len() => (Encoding::Numbers(all.len() as u8), all),
                judged => (Encoding::NumbersAndIgnore(judged.len() as u8), judged),
            },
            Some("axonmyelin") => (Encoding::Greys(vec![(127, 1), (128, 1), (255, 2)]), combined.as_slice()),
            Some(_) if *is_instances => (Encoding::Objects(1), class.as_slice()),
            Some(_) => (Encoding::Binary(1), class.as_slice()),
        };
        let second_hand = match encoding {
            Encoding::Greys(_) => 2,
            Encoding::Objects(_) => 1,
            Encoding::Numbers(_) | Encoding::NumbersAndIgnore(_) | Encoding::Binary(_) => 0,
        };
        let rank = 2 * second_hand + u8::from(*is_manual != (self.role == Role::Truth));
        let mask =
            |number| ClassMask { file: MaskFile { path: file.path.clone(), encoding: encoding.clone() }, number };
        classes.iter().zip(1..).map(|(class, number)| (class.clone(), rank, mask(number))).collect()
    }
}

/// Hidden folders and the images of nnU-Net are not looked into, except where the search starts.
fn is_entered(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || !(name.starts_with('.') || name == "imagesTr" || name == "imagesTs")
}

/// The classes of a mask of two of them: NeuroPoly's convention.
const AXON_MYELIN: [&str; 2] = ["myelin", "axon"];

/// The largest class number of a label map whose classes have no names. Greater values are taken for grey values.
const LARGEST_UNNAMED: u16 = 31;

/// The largest class number of a label map whose classes have no names; 1 for what is a mask of one class, if anything.
fn largest_number(path: &Path) -> Result<u8> {
    let largest = largest_value(path)?;
    Ok(if largest <= LARGEST_UNNAMED { largest as u8 } else { 1 })
}

/// The names of the classes 1, 2 ... in the label maps of both sides; none for a side without label maps.
fn class_names(sides: &[Side; 2], options: &ScoreOptions) -> Result<[Vec<String>; 2]> {
    let numbered = sides.each_ref().map(Side::has_label_maps);
    let given = options.classes.as_ref();
    if let Some(names) = given {
        let unique: BTreeSet<&String> = names.iter().collect();
        let is_too_long = without_ignored(names).len() >= usize::from(IGNORE);
        if unique.len() < names.len() || names.is_empty() || is_too_long || names.iter().any(String::is_empty) {
            return Err(Error::Config(format!(
                "--classes {} does not name each class once; give names in the order of their numbers, such as \
                 --classes myelin,axon",
                names.join(",")
            )));
        }
    }
    let mut found = [None, None];
    for (side, found) in sides.iter().zip(&mut found).filter(|(side, _)| side.has_label_maps() && given.is_none()) {
        *found = side.names_in_dataset_json()?;
    }
    let counted = if numbered == [true, true] && given.is_none() && found == [None, None] {
        let [a, b] = [sides[0].largest_number()?, sides[1].largest_number()?];
        Some((1..=a.max(b)).map(|number| format!("class_{number}")).collect())
    } else {
        None
    };
    let mut names = [Vec::new(), Vec::new()];
    for side in (0..2).filter(|side| numbered[*side]) {
        let known = given.or(found[side].as_ref()).or(found[1 - side].as_ref()).or(counted.as_ref());
        // A prediction judges every pixel, unless its own description says otherwise.
        let is_own = found[side].is_some() && given.is_none();
        let judges_all = sides[side].role == Role::Prediction && !is_own;
        let known = known.map(|names| if judges_all { without_ignored(names) } else { names });
        names[side] = known.filter(|names| !names.is_empty()).map(<[String]>::to_vec).ok_or_else(|| {
            let reason = "nothing tells what the classes of its label maps are called; give the names in the order of \
                          the class numbers, such as --classes myelin,axon";
            Error::dataset(&sides[side].root, reason)
        })?;
    }
    Ok(names)
}

/// Gives the predictions that lie in no folder of a fold the fold that validates them.
fn with_folds(images: Images, path: &Path) -> Result<Images> {
    let folds = folds_of_splits_json(path)?;
    let images: Images = images
        .into_iter()
        .map(|((fold, image), classes)| ((fold.or_else(|| folds.get(&image).cloned()), image), classes))
        .collect();
    if images.keys().all(|(fold, _)| fold.is_none()) {
        return Err(Error::dataset(path, "none of its cases is among the predictions; give the folds of these images"));
    }
    Ok(images)
}

/// Pairs in the making.
#[derive(Default)]
struct Pairing {
    images: Vec<ImagePair>,
    without_truth: Vec<String>,
    /// The images in which only one side has a class.
    one_sided: BTreeMap<(String, &'static str), Vec<String>>,
}

impl Pairing {
    fn add(&mut self, fold: Option<String>, image: &str, predicted: Classes, truth: &Classes) -> Result<()> {
        let full_name = full_name(fold.as_deref(), image);
        for class in truth.keys().filter(|class| !predicted.contains_key(*class)) {
            self.one_sided.entry((class.clone(), "true, but not predicted,")).or_default().push(full_name.clone());
        }
        let mut classes = Vec::new();
        for (class, (_, predicted)) in predicted {
            let Some((_, truth)) = truth.get(&class) else {
                self.one_sided.entry((class, "predicted, but not true,")).or_default().push(full_name.clone());
                continue;
            };
            let [path, true_path] = [&predicted.file.path, &truth.file.path].map(|path| path.canonicalize().ok());
            if path.is_some() && path == true_path {
                let reason = "it is both the prediction and the truth; give another folder, or name one mask -manual";
                return Err(Error::image(&predicted.file.path, reason));
            }
            classes.push(ClassPair { class, predicted, truth: truth.clone() });
        }
        if !classes.is_empty() {
            self.images.push(ImagePair { image: image.to_string(), fold, classes });
        }
        Ok(())
    }

    fn finish(self, sides: [Side; 2], names: &[Vec<String>; 2], mut without_prediction: Vec<String>) -> Result<Pairs> {
        without_prediction.sort();
        let mut notes: Vec<String> = self
            .one_sided
            .iter()
            .map(|((class, how), images)| format!("{class} is {how} in {}; it is not scored there", some_of(images)))
            .collect();
        if self.images.is_empty() {
            let reason = match (notes.first(), self.without_truth.first(), without_prediction.first()) {
                (Some(note), ..) => format!("no class is on both sides ({note}); --classes names those of label maps"),
                (_, Some(a), Some(b)) => format!("no image is called as in {} ({a}; {b})", sides[1].root.display()),
                _ => "no mask has a counterpart".to_string(),
            };
            return Err(Error::dataset(&sides[0].root, reason));
        }
        for side in sides.iter().filter(|side| side.unnamed > 0) {
            let files =
                if side.unnamed == 1 { "1 file has".to_string() } else { format!("{} files have", side.unnamed) };
            notes.push(format!("{}: {files} no _seg- in the name and are not masks", side.root.display()));
        }
        let scored: BTreeSet<&String> =
            self.images.iter().flat_map(|image| &image.classes).map(|pair| &pair.class).collect();
        let mut classes: Vec<String> = Vec::new();
        for name in names[1].iter().chain(&names[0]).chain(scored.iter().copied()) {
            if scored.contains(name) && !classes.contains(name) {
                classes.push(name.clone());
            }
        }
        Ok(Pairs { images: self.images, classes, without_truth: self.without_truth, without_prediction, notes })
    }
}

/// The first few of many names.
fn some_of(names: &[String]) -> String {
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}{more}", names[..names.len().min(3)].join(", "))
}

#[cfg(test)]
mod tests;
