//! nnU-Net v2 raw folders: `dataset.json`, `imagesTr/CASE_0000.png` and `labelsTr/CASE.png` with the class numbers.
//!
//! Images of one channel and labels that are numbers, the highest of which may be `ignore`; regions and files listed
//! one by one are refused. `imagesTs` is not read, nor are the spacings beside TIFF files, which have no unit.

use super::annotated::AnnotatedDataset;
use super::labels::{Encoding, MaskFile, MaskSource};
use super::names::{entity_of_subject, number_the_rest, subjects_of_plain_folder};
use super::pixel_size::{Remarks, read_text_files};
use super::{Case, Dataset, EXTENSIONS, Format, SizeSource, Skipped};
use crate::error::{Error, Result};
use crate::imaging::{IGNORE, has_image_extension};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Whether a folder is, or is meant to be, an nnU-Net raw folder. Without `dataset.json`, `imagesTr` and `labelsTr` are
/// just folders of images and masks.
pub(super) fn is_raw_folder(dir: &Path) -> bool {
    dir.join("dataset.json").is_file() && (dir.join("imagesTr").is_dir() || dir.join("labelsTr").is_dir())
}

/// The training cases of an nnU-Net raw folder, complete: each image has its mask and each mask its image.
///
/// Subjects come from `subjects.tsv`, which may also tell pixel sizes, else from an entity `sub-...` in the case's name,
/// else each case is its own.
pub(super) fn discover(dir: &Path) -> Result<AnnotatedDataset> {
    let description = Description::read(dir)?;
    let (classes, encoding) = description.classes().map_err(|reason| Error::dataset(dir, reason))?;
    let channel = description.channel().map_err(|reason| Error::dataset(dir, reason))?;
    let ending = description.file_ending.as_str();
    let [images, masks] = ["imagesTr", "labelsTr"].map(|folder| Files::list(&dir.join(folder), ending));
    let [images, masks] = [images?, masks?];
    let cases = images.stems.iter().map(|stem| case_of_image(dir, stem, ending)).collect::<Result<Vec<String>>>()?;
    check_complete(dir, &cases, &masks.stems, ending)?;
    if cases.len() != description.num_training {
        let reason = format!(
            "dataset.json gives numTraining as {}, but imagesTr holds {} images; add what is missing, or correct the number",
            description.num_training,
            cases.len()
        );
        return Err(Error::dataset(dir, reason));
    }
    let mask_of = |case: &String| MaskFile {
        path: dir.join("labelsTr").join(format!("{case}{ending}")),
        encoding: encoding.clone(),
    };
    let masks_of_cases = cases.iter().map(|case| MaskSource { files: vec![mask_of(case)] }).collect();
    let mut dataset = describe(dir, cases, images.paths)?;
    dataset.skipped = [images.others, masks.others].concat();
    if dir.join("imagesTs").is_dir() {
        dataset.notes.push("imagesTs is not used: training takes the images of imagesTr".to_string());
    }
    Ok(AnnotatedDataset { dataset, classes, masks: masks_of_cases, channel: Some(channel), unlabelled: Vec::new() })
}

/// What `dataset.json` says.
#[derive(Deserialize)]
struct Description {
    channel_names: BTreeMap<String, String>,
    labels: BTreeMap<String, Value>,
    #[serde(rename = "numTraining")]
    num_training: usize,
    file_ending: String,
    /// Files listed one by one, wherever they lie; they would replace the folders.
    dataset: Option<Value>,
}

impl Description {
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("dataset.json");
        if let Some(missing) = ["dataset.json", "imagesTr", "labelsTr"].iter().find(|name| !dir.join(name).exists()) {
            let reason = format!(
                "it looks like an nnU-Net raw folder, which consists of dataset.json, imagesTr and labelsTr, but there \
                 is no {missing}; add it, or rename the others if it is not meant to be one"
            );
            return Err(Error::dataset(dir, reason));
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let description: Self = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            let reason = format!(
                "dataset.json cannot be understood: {error}; nnU-Net v2 needs channel_names, labels, numTraining and \
                 file_ending in it (folders of version 1 must be converted first)"
            );
            Error::dataset(dir, reason)
        })?;
        if description.dataset.is_some() {
            let reason = "dataset.json lists its files under `dataset`; only imagesTr and labelsTr are read, so put \
                          the files there and remove the list";
            return Err(Error::dataset(dir, reason));
        }
        let ending = &description.file_ending;
        if !ending.starts_with('.') || !has_image_extension(Path::new(&format!("case{ending}"))) {
            let reason = format!("its file_ending is {ending:?}; only {EXTENSIONS} files are read, so convert them");
            return Err(Error::dataset(dir, reason));
        }
        Ok(description)
    }

    /// The name of the only channel; nnU-Net chooses the normalisation by it.
    fn channel(&self) -> std::result::Result<String, String> {
        let names: Vec<&str> = self.channel_names.values().map(String::as_str).collect();
        match names.as_slice() {
            [name] => Ok(name.to_string()),
            _ => Err(format!(
                "dataset.json lists {} channels ({}); only images of one channel can be used",
                names.len(),
                names.join(", ")
            )),
        }
    }

    /// The names of the labels 1, 2 and so on, and what the values of the masks stand for.
    fn classes(&self) -> std::result::Result<(Vec<String>, Encoding), String> {
        let mut names: BTreeMap<u64, &str> = BTreeMap::new();
        for (name, value) in &self.labels {
            if value.is_array() {
                return Err(format!(
                    "the label {name} of dataset.json is a region made of several labels, which is not supported; \
                     give each label one number"
                ));
            }
            // nnU-Net takes numbers in quotation marks as well.
            let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
            let number = number.ok_or_else(|| format!("the label {name} of dataset.json has no number but {value}"))?;
            if let Some(other) = names.insert(number, name) {
                return Err(format!("the labels {other} and {name} of dataset.json have the same number {number}"));
            }
        }
        let found: Vec<String> = names.iter().map(|(number, name)| format!("{name} {number}")).collect();
        let is_gapless = names.keys().copied().eq(0..names.len() as u64);
        let mut names: Vec<&str> = names.into_values().collect();
        let ignores = names.pop_if(|name| *name == "ignore").is_some();
        if names.contains(&"ignore") {
            return Err(format!(
                "the label ignore of dataset.json must have the highest number, but the labels are: {}; renumber them, \
                 in the masks too",
                found.join(", ")
            ));
        }
        if !is_gapless || names.first() != Some(&"background") || !(2..=usize::from(IGNORE)).contains(&names.len()) {
            return Err(format!(
                "the labels of dataset.json must be background 0 and others from 1 on without a gap, at most 254 \
                 besides ignore, but they are: {}; renumber them, in the masks too",
                found.join(", ")
            ));
        }
        let classes: Vec<String> = names.into_iter().skip(1).map(String::from).collect();
        let last = classes.len() as u8;
        let encoding = if ignores { Encoding::NumbersAndIgnore(last) } else { Encoding::Numbers(last) };
        Ok((classes, encoding))
    }
}

/// The files of one folder, in the order of their paths.
struct Files {
    paths: Vec<PathBuf>,
    /// The names without the ending.
    stems: Vec<String>,
    /// Files with another ending, which nnU-Net passes over too.
    others: Vec<Skipped>,
}

impl Files {
    fn list(folder: &Path, ending: &str) -> Result<Self> {
        let mut files = Self { paths: Vec::new(), stems: Vec::new(), others: Vec::new() };
        let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let mut names: Vec<String> = entries
            .map_err(Error::io("read", folder))?
            .into_iter()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        for name in names {
            let path = folder.join(&name);
            match name.strip_suffix(ending) {
                Some(stem) => {
                    files.stems.push(stem.to_string());
                    files.paths.push(path);
                }
                None if has_image_extension(&path) => {
                    let reason = format!("dataset.json says that the files end in {ending}; convert it");
                    files.others.push(Skipped { path, reason });
                }
                None => {}
            }
        }
        Ok(files)
    }
}

fn case_of_image(dir: &Path, stem: &str, ending: &str) -> Result<String> {
    stem.strip_suffix("_0000").map(String::from).ok_or_else(|| {
        let reason = format!(
            "imagesTr/{stem}{ending} is not named CASE_0000{ending}; there must be one image for each case, of the one \
             channel 0000, so rename or remove it"
        );
        Error::dataset(dir, reason)
    })
}

fn check_complete(dir: &Path, images: &[String], masks: &[String], ending: &str) -> Result<()> {
    let [images, masks]: [BTreeSet<&String>; 2] = [images, masks].map(|names| names.iter().collect());
    if let Some(case) = images.difference(&masks).next() {
        let reason = format!(
            "{} images of imagesTr have no mask, such as {case}_0000{ending}; add labelsTr/{case}{ending}, or remove \
             the image",
            images.difference(&masks).count()
        );
        return Err(Error::dataset(dir, reason));
    }
    if let Some(case) = masks.difference(&images).next() {
        let reason = format!(
            "{} masks of labelsTr have no image, such as {case}{ending}; add imagesTr/{case}_0000{ending}, or remove \
             the mask",
            masks.difference(&images).count()
        );
        return Err(Error::dataset(dir, reason));
    }
    if images.is_empty() {
        return Err(Error::dataset(dir, format!("imagesTr holds no CASE_0000{ending} file; add images")));
    }
    Ok(())
}

fn describe(dir: &Path, names: Vec<String>, paths: Vec<PathBuf>) -> Result<Dataset> {
    let mut table = subjects_of_plain_folder(dir, &paths)?;
    // The table may also hold those that are kept for a test.
    table.notes.retain(|note| !note.contains("no image matches imagesTs/"));
    let subject_of = |name: &str, path: &Path| match table.of_file.get(path) {
        Some(subject) => subject.clone(),
        None if table.of_file.is_empty() => entity_of_subject(name).unwrap_or(name).to_string(),
        None => name.to_string(),
    };
    let subjects: Vec<String> = names.iter().zip(&paths).map(|(name, path)| subject_of(name, path)).collect();
    let named = number_the_rest(names).into_iter().zip(paths).zip(subjects);
    let to_case = |((name, path), subject): ((String, PathBuf), String)| {
        let pixel_size_um = table.pixel_sizes_um.get(&path).copied();
        let pixel_size_source = pixel_size_um.map(|_| SizeSource::Table);
        Case { name, path, subject, pixel_size_um, pixel_size_source }
    };
    let mut cases: Vec<Case> = named.map(to_case).collect();
    let (mut notes, mut remarks) = (table.notes.clone(), Remarks::default());
    notes.extend(read_text_files(dir, &mut cases, &mut remarks));
    notes.extend(remarks.into_notes());
    let (root, format) = (dir.to_path_buf(), Format::NnUnet);
    Ok(Dataset { root, format, cases, skipped: Vec::new(), masks: Vec::new(), notes })
}

#[cfg(test)]
mod tests;
