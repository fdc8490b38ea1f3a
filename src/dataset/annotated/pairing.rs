//! Which masks belong to which image, by names and folders alone.

use super::super::names::{CONFIDENCE, image_stems, is_mask_folder, parts_below, stem};
use super::super::{Dataset, Skipped};
use crate::error::{Error, Result};
use crate::imaging::has_image_extension;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The class name of masks that show two classes.
const AXON_AND_MYELIN: &str = "axonmyelin";

/// What stands for a class name where there is none.
const UNNAMED: &str = "";

/// A mask file and what its name says.
pub(super) struct Mask {
    pub(super) path: PathBuf,
    pub(super) shows: Shows,
    author: Author,
}

/// What is to be seen on a mask.
pub(super) enum Shows {
    Class(String),
    Objects(String),
    AxonAndMyelin,
    /// The values decide.
    Unnamed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Author {
    Unknown,
    Human,
}

impl Mask {
    /// By the words after `_seg-`: the class, then what kind of mask it is.
    fn new(path: PathBuf) -> Self {
        let stem = stem(&path);
        let Some((_, words)) = stem.rsplit_once("_seg-") else {
            return Self { path, shows: Shows::Unnamed, author: Author::Unknown };
        };
        let words = words.to_lowercase();
        let (kinds, class): (Vec<&str>, Vec<&str>) =
            words.split('-').partition(|word| ["manual", "instance", "instances"].contains(word));
        let class = class.join("-");
        let shows = match class.as_str() {
            "" => Shows::Unnamed,
            AXON_AND_MYELIN => Shows::AxonAndMyelin,
            _ if kinds.iter().any(|kind| *kind != "manual") => Shows::Objects(class),
            _ => Shows::Class(class),
        };
        let author = if kinds.contains(&"manual") { Author::Human } else { Author::Unknown };
        Self { path, shows, author }
    }

    /// What only one mask of an image is used for.
    fn subject(&self) -> &str {
        match &self.shows {
            Shows::Class(class) | Shows::Objects(class) => class,
            Shows::AxonAndMyelin => AXON_AND_MYELIN,
            Shows::Unnamed => UNNAMED,
        }
    }

    /// The higher, the better; objects say no more than the class, and touching ones may have been parted.
    fn rank(&self) -> (Author, bool) {
        (self.author, !matches!(self.shows, Shows::Objects(_)))
    }
}

/// The masks of each case. Those that belong to no image are left in [`Dataset::masks`], with a note.
pub(super) fn assign(dataset: &mut Dataset) -> Result<Vec<Vec<Mask>>> {
    let mut paths = std::mem::take(&mut dataset.masks);
    paths.extend(masks_in_derivatives(dataset));
    let mut cases_of_stem: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, case) in dataset.cases.iter().enumerate() {
        cases_of_stem.entry(stem(&case.path)).or_default().push(i);
    }
    let mut masks: Vec<Vec<Mask>> = dataset.cases.iter().map(|_| Vec::new()).collect();
    for path in paths {
        match owner(&path, dataset, &cases_of_stem)? {
            Some(case) => masks[case].push(Mask::new(path)),
            None => dataset.masks.push(path),
        }
    }
    if let Some(first) = dataset.masks.first() {
        let note = format!("{} masks belong to no image, such as {}", dataset.masks.len(), first.display());
        dataset.notes.push(note);
    }
    Ok(masks)
}

/// The image files in each `derivatives/labels` beside or above an image; what cannot be looked into is skipped.
fn masks_in_derivatives(dataset: &mut Dataset) -> Vec<PathBuf> {
    let above = dataset.cases.iter().flat_map(|case| case.path.ancestors().skip(1));
    let folders: BTreeSet<&Path> = above.filter(|folder| folder.starts_with(&dataset.root)).collect();
    let folders = folders.into_iter().map(|folder| folder.join("derivatives/labels")).filter(|folder| folder.is_dir());
    let mut masks = Vec::new();
    for entry in folders.flat_map(|folder| WalkDir::new(folder).follow_links(true).sort_by_file_name()) {
        match entry {
            Ok(entry) if is_no_mask(&entry.file_name().to_string_lossy()) => {}
            Ok(entry) if entry.file_type().is_file() && has_image_extension(entry.path()) => {
                masks.push(entry.into_path())
            }
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(&dataset.root).to_path_buf();
                dataset.skipped.push(Skipped { path, reason: format!("it cannot be looked into: {error}") });
            }
        }
    }
    masks
}

/// Whether a name is that of a hidden file or of a map of confidence.
fn is_no_mask(name: &str) -> bool {
    name.starts_with('.') || name.contains(CONFIDENCE)
}

/// The case that a mask belongs to: of those with a fitting name and place the nearest.
fn owner(mask: &Path, dataset: &Dataset, cases_of_stem: &HashMap<String, Vec<usize>>) -> Result<Option<usize>> {
    let folders = parts_below(&dataset.root, mask.parent().unwrap_or(mask));
    let place = Place::of_mask(&folders);
    let stem = stem(mask);
    let stems = match stem.rsplit_once("_seg-") {
        Some((image, _)) => vec![image.to_string()],
        // nnU-Net numbers the channels of images, and masks have none.
        None if place.is_apart => [vec![stem.clone(), format!("{stem}_0000")], image_stems(&stem)].concat(),
        None => image_stems(&stem),
    };
    for stem in stems {
        let distance = |case: usize| {
            let image = &dataset.cases[case].path;
            place.distance(&parts_below(&dataset.root, image.parent().unwrap_or(image)))
        };
        let cases = cases_of_stem.get(&stem).into_iter().flatten();
        let mut fitting: Vec<(usize, usize)> = cases.filter_map(|case| Some((distance(*case)?, *case))).collect();
        fitting.sort_unstable();
        match fitting.as_slice() {
            [] => {}
            [(near, a), (next, b), ..] if near == next => {
                let [a, b] = [a, b].map(|case| dataset.cases[*case].path.display());
                let reason = format!("as a mask it could belong to {a} or to {b}; put it beside its image");
                return Err(Error::image(mask, reason));
            }
            [(_, case), ..] => return Ok(Some(*case)),
        }
    }
    Ok(None)
}

/// Where the image of a mask may be: in `base`, or below it in a folder whose path ends in `rest`.
struct Place<'a> {
    base: &'a [String],
    rest: &'a [String],
    /// Whether masks have a folder of their own; otherwise the image is beside the mask.
    is_apart: bool,
    /// `Tr` of a folder `labelsTr`, which does not go with `imagesTs`.
    part: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// From the folders that lead to the mask: `x/masks/y` goes with `x/y`, `x/images/y` and so on.
    fn of_mask(folders: &'a [String]) -> Self {
        let Some(at) = folders.iter().position(|name| name == "derivatives" || is_mask_folder(name)) else {
            return Self { base: folders, rest: &[], is_apart: false, part: None };
        };
        // `derivatives/labels` are two.
        let end = if folders[at] == "derivatives" { at + 2 } else { at + 1 };
        let part = folders[at].strip_prefix("labels").filter(|part| !part.is_empty());
        Self { base: &folders[..at], rest: folders.get(end..).unwrap_or_default(), is_apart: true, part }
    }

    /// How many folders lie between `base` and `rest` on the way to an image; None if it is elsewhere.
    fn distance(&self, folders: &[String]) -> Option<usize> {
        let between = folders.len().checked_sub(self.base.len() + self.rest.len())?;
        let is_of_other_part = |folder: &String| {
            let part = folder.strip_prefix("images").filter(|part| !part.is_empty());
            part.zip(self.part).is_some_and(|(image, mask)| image != mask)
        };
        let fits = folders.starts_with(self.base)
            && folders.ends_with(self.rest)
            && (self.is_apart || between == 0)
            && !folders[self.base.len()..].iter().any(is_of_other_part);
        fits.then_some(between)
    }
}

/// The masks of an image to use, and those that others make needless: one for each class, drawn by a human if there is
/// such a one, and not both classes in one file where each has its own.
pub(super) fn choose(masks: Vec<Mask>) -> Result<(Vec<Mask>, Vec<PathBuf>)> {
    let mut unused = Vec::new();
    let mut used: BTreeMap<String, Mask> = BTreeMap::new();
    for mask in masks {
        let Some(other) = used.remove(mask.subject()) else {
            used.insert(mask.subject().to_string(), mask);
            continue;
        };
        if mask.rank() == other.rank() {
            let reason = format!("{} is a mask of the same; remove one of them", other.path.display());
            return Err(Error::image(&mask.path, reason));
        }
        let (better, worse) = if mask.rank() > other.rank() { (mask, other) } else { (other, mask) };
        unused.push(worse.path);
        used.insert(better.subject().to_string(), better);
    }
    // What a name says goes before what values may say.
    if used.len() > 1 {
        unused.extend(used.remove(UNNAMED).map(|mask| mask.path));
    }
    if let Some(both) = used.get(AXON_AND_MYELIN) {
        let apart = ["axon", "myelin"];
        let is_as_good = |class: &str| used.get(class).is_some_and(|mask| mask.author >= both.author);
        let needless = if apart.into_iter().all(is_as_good) { &[AXON_AND_MYELIN][..] } else { &apart };
        unused.extend(needless.iter().filter_map(|class| used.remove(*class)).map(|mask| mask.path));
    }
    Ok((used.into_values().collect(), unused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(mask: &str, image: &str) -> Option<usize> {
        let folders = |path: &str| parts_below(Path::new(""), Path::new(path));
        Place::of_mask(&folders(mask)).distance(&folders(image))
    }

    #[test]
    fn a_mask_beside_images_goes_with_its_own_folder_only() {
        assert_eq!(distance("train", "train"), Some(0));
        assert!(["", "test", "train/x"].into_iter().all(|image| distance("train", image).is_none()));
    }

    #[test]
    fn a_mask_folder_goes_with_the_folder_beside_it_and_below() {
        assert_eq!(distance("train/masks/x", "train/x"), Some(0));
        assert_eq!(distance("train/masks/x", "train/images/x"), Some(1));
        assert_eq!(distance("derivatives/labels/sub-1/micr", "sub-1/micr"), Some(0));
        assert_eq!(distance("derivatives/labels", "images"), Some(1));
        assert_eq!((distance("labelsTr", "imagesTr"), distance("labelsTr", "imagesTs")), (Some(1), None));
        assert!(["test/x", "train", "train/y", "x"].into_iter().all(|i| distance("train/masks/x", i).is_none()));
    }

    #[test]
    fn the_words_after_seg_are_the_class_and_the_kind() {
        let of = |name: &str| Mask::new(PathBuf::from(name));
        assert!(
            matches!(of("x_seg-soma-left-manual.png"), Mask { shows: Shows::Class(class), author: Author::Human, .. }
            if class == "soma-left")
        );
        assert!(matches!(of("x_seg-nuclei-instance.tif").shows, Shows::Objects(class) if class == "nuclei"));
        assert!(matches!(of("x_seg-AxonMyelin.png").shows, Shows::AxonAndMyelin));
        assert!(matches!(of("x_seg-manual.png").shows, Shows::Unnamed) && matches!(of("x.png").shows, Shows::Unnamed));
    }
}
