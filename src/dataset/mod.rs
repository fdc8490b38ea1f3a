//! Folders of images: which files are cases, whose they are, and how large their pixels are.
//!
//! [`discover`] looks at names and sidecars only; [`load`] reads the pixels; [`split`] parts cases by subject. A folder's
//! [`Format`] is recognised, unless it is asked for. Outside BIDS each file is its own subject unless a `subjects.tsv` or
//! its name says otherwise. Nothing is dropped silently: see [`Dataset::skipped`] and [`Dataset::masks`].
//! [`RawFolder`] and [`Derivatives`] write data sets in the layouts of others.

mod annotated;
mod bids;
mod export;
mod format;
mod labels;
mod load;
mod names;
mod nnunet;
mod pixel_size;
mod split;

pub use annotated::{AnnotatedDataset, discover_annotated, discover_annotated_as};
pub use export::{BidsFolder, Derivatives, GeneratedBy, RawFolder, Unjudged, raw_folder_name};
pub use format::{BIDS_SUFFIXES, Format};
pub use labels::{Encoding, Labels, MaskFile, MaskReader, MaskSource, largest_value, read_labels, read_mask};
pub use load::{Image, Loaded, load, load_case};
pub use pixel_size::SizeSource;
pub use split::{Split, split};
pub(crate) use split::{check_held_out, listed_subjects};

use crate::error::{Error, Result};
use crate::imaging::has_image_extension;
use bids::Bids;
pub(crate) use names::stem;
use names::{common_folder, entity_of_subject, is_drawn_from, is_mask, subjects_of_plain_folder, unique_names};
use pixel_size::{Remarks, read_text_files};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// One image file that takes part.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Unique in its data set, whatever the letter case: the file stem, or more of the path where stems collide.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Who or what was imaged. Cases of one subject never meet in two parts of a [`Split`].
    pub subject: String,
    /// Side of a pixel in micrometres: what something beside the file tells after [`discover`], the one to use after
    /// [`load`](fn@load).
    pub pixel_size_um: Option<f64>,
    /// Where that was found.
    pub pixel_size_source: Option<SizeSource>,
}

/// A file that was left out, to be shown to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file or folder.
    pub path: PathBuf,
    /// Why, and what to do about it.
    pub reason: String,
}

/// The cases of a folder, ordered by path.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The folder that was searched, or the one that all the given files share.
    pub root: PathBuf,
    /// Its layout as it was recognised or asked for; BIDS as soon as a part of it is.
    pub format: Format,
    /// The images.
    pub cases: Vec<Case>,
    /// Files that a user might miss among the cases.
    pub skipped: Vec<Skipped>,
    /// Files left out because their name or folder says that they are masks.
    pub masks: Vec<PathBuf>,
    /// What the user should know: sidecars that cannot be read, rows that match no file.
    pub notes: Vec<String>,
}

/// Finds the images of a folder and its sub-folders, by the ends of their names ([`has_image_extension`]).
///
/// Hidden folders and `derivatives` are not entered, nor is `imagesTs` beside `imagesTr`. A mask is recognised by `_seg-`
/// in its name, by a folder called `masks` or `labels...`, or by the image beside it (`mask_7` and `image_7`, `cell_mask`
/// and `cell`). A JPEG or BMP beside an image of the same name is taken for its preview and left aside.
pub fn discover(dir: &Path) -> Result<Dataset> {
    discover_as(dir, None)
}

/// The same in a folder of which the user may have said what it is.
pub fn discover_as(dir: &Path, format: Option<Format>) -> Result<Dataset> {
    if dir.is_file() {
        let remedy = "it is a file; give the folder that holds the images, sub-folders are searched";
        return Err(Error::dataset(dir, remedy));
    }
    assemble(parts_of_folder(dir, format)?)
}

/// Finds the images of several folders and files together.
///
/// A file given by name is an image even if its name looks like that of a mask. Files given twice count once.
pub fn discover_files(paths: &[PathBuf], format: Option<Format>) -> Result<Dataset> {
    let mut parts = Vec::new();
    let mut files: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        if path.is_file() {
            files.entry(path.parent().unwrap_or(Path::new("")).to_path_buf()).or_default().push(path.clone());
        } else {
            parts.append(&mut parts_of_folder(path, format)?);
        }
    }
    for (folder, files) in files {
        let (images, others) = files.into_iter().partition(|path| has_image_extension(path));
        let refused = |path| Skipped { path, reason: format!("only {EXTENSIONS} files are read; convert it") };
        let skipped = Vec::into_iter(others).map(refused).collect();
        parts.push(describe(&folder, Found { images, skipped, ..Found::default() }, format)?);
    }
    if parts.is_empty() {
        return Err(Error::Config(format!("no images were given; name a folder or {EXTENSIONS} files")));
    }
    assemble(parts)
}

/// What is read, for messages.
const EXTENSIONS: &str = ".png, .tif, .jpg, .bmp, .nii or .npy";

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The files of a folder by what their names say.
#[derive(Default)]
struct Found {
    images: Vec<PathBuf>,
    masks: Vec<PathBuf>,
    skipped: Vec<Skipped>,
    /// Below the folder that was searched; of nested ones the outer comes first.
    bids_folders: Vec<PathBuf>,
    other_extensions: BTreeSet<String>,
    notes: Vec<String>,
}

/// Cases that share a folder and a layout; their names are still to be made unique.
struct Part {
    root: PathBuf,
    format: Format,
    cases: Vec<Case>,
    found: Found,
    notes: Vec<String>,
}

impl Dataset {
    /// What was found, in one line: `BIDS microscopy, 7 images of 5 subjects`.
    pub fn summary(&self) -> String {
        let subjects: BTreeSet<&str> = self.cases.iter().map(|case| case.subject.as_str()).collect();
        let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let images = plural(self.cases.len(), "image");
        // A subject that is named after its file is nobody's statement.
        let are_stated = self.cases.iter().any(|case| case.subject != case.name);
        let of = if are_stated { format!(" of {}", plural(subjects.len(), "subject")) } else { String::new() };
        format!("{}, {images}{of}", self.format)
    }
}

impl Part {
    fn read_text_files(&mut self) {
        let mut remarks = Remarks::default();
        self.notes.extend(read_text_files(&self.root, &mut self.cases, &mut remarks));
        self.notes.extend(remarks.into_notes());
    }
}

/// The folder itself, and each BIDS folder somewhere in it, whose rules hold for its files.
fn parts_of_folder(dir: &Path, format: Option<Format>) -> Result<Vec<Part>> {
    if !dir.is_dir() {
        let remedy =
            format!("there is no such folder; give a folder with {EXTENSIONS} images, sub-folders are searched");
        return Err(Error::dataset(dir, remedy));
    }
    let mut found = search(dir, format);
    let mut parts = Vec::new();
    if format.is_some() || Bids::containing(dir).is_some() {
        // What a BIDS folder holds below `sourcedata` may be its images once more, under another description.
        found.bids_folders.clear();
    }
    for bids_folder in std::mem::take(&mut found.bids_folders) {
        let images;
        (images, found.images) = found.images.into_iter().partition(|path| path.starts_with(&bids_folder));
        parts.push(describe(&bids_folder, Found { images, ..Found::default() }, None)?);
    }
    parts.push(describe(dir, found, format)?);
    Ok(parts)
}

/// Sorts the files below `dir` into images, masks and others.
fn search(dir: &Path, format: Option<Format>) -> Found {
    let mut found = Found::default();
    let mut candidates = Vec::new();
    // Links are followed since data sets are often links into a store; `walkdir` reports cycles as errors.
    for entry in WalkDir::new(dir).follow_links(true).sort_by_file_name().into_iter().filter_entry(is_entered) {
        match entry {
            Ok(entry) if !entry.file_type().is_file() => {}
            Ok(entry) if has_image_extension(entry.path()) => candidates.push(entry.into_path()),
            Ok(entry) if entry.depth() > 1 && entry.file_name() == "dataset_description.json" => {
                found.bids_folders.extend(entry.path().parent().map(Path::to_path_buf));
            }
            Ok(entry) => {
                found.other_extensions.insert(extension(entry.path()));
            }
            Err(error) => {
                let path = error.path().unwrap_or(dir).to_path_buf();
                found.skipped.push(Skipped { path, reason: format!("it cannot be looked into: {error}") });
            }
        }
    }
    candidates.sort();
    found.bids_folders.sort();
    if format == Some(Format::Plain) {
        found.images = candidates;
        return found;
    }
    let stems = |paths: &mut dyn Iterator<Item = &PathBuf>| -> HashSet<PathBuf> {
        paths.map(|path| path.with_file_name(stem(path))).collect()
    };
    let all = stems(&mut candidates.iter());
    let lossless = stems(&mut candidates.iter().filter(|path| !may_be_preview(path)));
    (found.masks, found.images) = candidates.into_iter().partition(|path| is_mask(path, dir, &all));
    found.leave_aside(|path| is_drawn_from(path, &all), "were drawn from the images by AxonDeepSeg");
    let is_preview = |path: &Path| may_be_preview(path) && lossless.contains(&path.with_file_name(stem(path)));
    found.leave_aside(is_preview, "are called like an image of another format beside them, as previews are,");
    if dir.join("imagesTr").is_dir() {
        let tests = dir.join("imagesTs");
        let reason = "lie in imagesTs, which is kept for a test (give that folder itself to use it)";
        found.leave_aside(|path| path.starts_with(&tests), reason);
    }
    found
}

/// Whether a file is of a format in which previews are saved.
fn may_be_preview(path: &Path) -> bool {
    ["jpg", "jpeg", "bmp"].contains(&extension(path).as_str())
}

impl Found {
    /// Takes images away, with a note.
    fn leave_aside(&mut self, test: impl Fn(&Path) -> bool, reason: &str) {
        let aside: Vec<PathBuf> = self.images.extract_if(.., |path| test(path)).collect();
        if let Some(first) = aside.first() {
            let count = aside.len();
            self.notes.push(format!("{count} files {reason} and are left aside, such as {}", first.display()));
        }
    }
}

/// Hidden files and folders and derivatives are not looked into, except where the search starts.
fn is_entered(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_derivatives = entry.file_type().is_dir() && name == "derivatives";
    entry.depth() == 0 || !(name.starts_with('.') || is_derivatives)
}

/// Gives each image its subject and the pixel size of its sidecar.
fn describe(root: &Path, mut found: Found, asked: Option<Format>) -> Result<Part> {
    let images = std::mem::take(&mut found.images);
    let notes = std::mem::take(&mut found.notes);
    let format = asked.or(format::by_folder(root)).unwrap_or_else(|| format::by_masks(&found.masks));
    let mut part = Part { root: root.to_path_buf(), format, cases: Vec::new(), found, notes };
    let new_case = |path, subject, size: Option<f64>, source| {
        let pixel_size_source = size.map(|_| source);
        Case { name: String::new(), path, subject, pixel_size_um: size, pixel_size_source }
    };
    let bids = match asked {
        None => Bids::containing(root).or_else(|| (format == Format::Bids).then(|| Bids::at(root))),
        Some(format) => (format == Format::Bids).then(|| Bids::containing(root).unwrap_or_else(|| Bids::at(root))),
    };
    let Some(mut bids) = bids else {
        let mut subjects = subjects_of_plain_folder(root, &images)?;
        part.notes.append(&mut subjects.notes);
        let to_case = |path: PathBuf| {
            let named = || entity_of_subject(&stem(&path)).map(String::from).filter(|_| subjects.of_file.is_empty());
            let subject = subjects.of_file.get(&path).cloned().or_else(named).unwrap_or_default();
            let size = subjects.pixel_sizes_um.get(&path).copied();
            new_case(path, subject, size, SizeSource::Table)
        };
        part.cases = images.into_iter().map(to_case).collect();
        part.read_text_files();
        return Ok(part);
    };
    part.format = Format::Bids;
    for path in images {
        if let Some(reason) = bids.reason_to_skip(&path) {
            part.found.skipped.push(Skipped { path, reason });
            continue;
        }
        let size = bids.pixel_size_um(&path);
        let subject = bids.subject(&path).unwrap_or_default();
        part.cases.push(new_case(path, subject, size, SizeSource::Sidecar));
    }
    part.notes.append(&mut bids.notes);
    part.read_text_files();
    Ok(part)
}

/// Joins the parts, drops files given twice and names the cases.
fn assemble(parts: Vec<Part>) -> Result<Dataset> {
    let root = common_folder(parts.iter().map(|part| part.root.as_path()));
    let is_bids = parts.iter().any(|part| part.format == Format::Bids);
    let format = if is_bids { Format::Bids } else { parts.first().map_or(Format::Plain, |part| part.format) };
    let mut dataset =
        Dataset { root, format, cases: Vec::new(), skipped: Vec::new(), masks: Vec::new(), notes: Vec::new() };
    let mut other_extensions = BTreeSet::new();
    for part in parts {
        dataset.cases.extend(part.cases);
        dataset.skipped.extend(part.found.skipped);
        dataset.masks.extend(part.found.masks);
        dataset.notes.extend(part.notes);
        other_extensions.extend(part.found.other_extensions);
    }
    dataset.cases.sort_by(|a, b| a.path.cmp(&b.path));
    let mut seen = HashSet::new();
    dataset.cases.retain(|case| seen.insert(case.path.canonicalize().unwrap_or_else(|_| case.path.clone())));
    if dataset.cases.is_empty() {
        return Err(nothing_found(&dataset, &other_extensions));
    }
    let names = unique_names(&dataset.root, &dataset.cases.iter().map(|case| case.path.as_path()).collect::<Vec<_>>());
    for (case, name) in dataset.cases.iter_mut().zip(names) {
        if case.subject.is_empty() {
            case.subject.clone_from(&name);
        }
        case.name = name;
    }
    Ok(dataset)
}

fn nothing_found(dataset: &Dataset, other_extensions: &BTreeSet<String>) -> Error {
    let mut reason = format!("there is no {EXTENSIONS} image in it or its sub-folders");
    if !dataset.masks.is_empty() {
        reason += &format!(
            ", only {} masks by their names (such as {}); give images, or rename them",
            dataset.masks.len(),
            dataset.masks[0].display()
        );
    } else if let Some(first) = dataset.skipped.first() {
        reason += &format!(" that can be used: {}: {}", first.path.display(), first.reason);
    } else {
        let others: Vec<String> =
            other_extensions.iter().filter(|e| !e.is_empty()).take(5).map(|e| format!(".{e}")).collect();
        if !others.is_empty() {
            reason += &format!(" (there are {} files)", others.join(", "));
        }
        reason += "; give the folder that holds the images, or convert them";
    }
    Error::dataset(&dataset.root, reason)
}

#[cfg(test)]
mod tests;
