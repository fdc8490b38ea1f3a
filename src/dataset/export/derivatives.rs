//! Masks as BIDS derivatives: `sub-1/micr/sub-1_sample-A_SEM_seg-axon.png` and what describes them.
//!
//! The names are those of public sets and of AxonDeepSeg; BIDS itself has no rule yet for masks of microscopy.

use super::bids_names::BidsNames;
use super::{Unjudged, check_classes, check_labels, check_sizes};
use crate::dataset::Case;
use crate::error::{Error, Result};
use crate::files::{PendingDir, create_dir, write_atomically, write_json};
use crate::imaging::{BitDepth, LabelMap, Plane, write, write_labels};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The version of BIDS whose rules are followed.
pub(super) const BIDS_VERSION: &str = "1.11.0";

/// What validators are to pass over, as gitignore patterns: masks, and what belongs to images of unknown modality.
const BIDSIGNORE: &str = "**/*_seg-*\n**/*_desc-confidence.*\n";

/// What made the masks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GeneratedBy {
    /// The name of the program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it did.
    pub description: String,
    /// Where its code is.
    #[serde(rename = "CodeURL", skip_serializing_if = "Option::is_none")]
    pub code_url: Option<String>,
}

/// A folder of derivatives in the making. Where the folder is, it is complete.
#[derive(Debug)]
pub struct Derivatives {
    folder: PendingDir,
    generated_by: GeneratedBy,
    sources: Vec<Source>,
    classes: usize,
    masks: Vec<Mask>,
    names: BidsNames,
    images: usize,
    is_manual: bool,
}

/// A kind of mask: what its files' names end in, and the grey value of each label.
#[derive(Debug)]
struct Mask {
    ending: String,
    greys: Vec<u8>,
}

impl Derivatives {
    /// Begins the folder `dir`, which must not hold anything yet, so no source image can be in it; it may lie below a
    /// source, as `derivatives/labels` does.
    ///
    /// `sources` are the folders of the images. `classes` are the names of the labels 1, 2, …: letters, digits, `-` and
    /// `_`, since they become parts of file names.
    pub fn create(dir: &Path, generated_by: &GeneratedBy, sources: &[PathBuf], classes: &[String]) -> Result<Self> {
        check_classes(classes)?;
        check_file_names(classes)?;
        let folder = PendingDir::new(dir)?;
        let root = canonical(folder.temporary())?;
        let sources = sources.iter().zip(1..).map(|(source, number)| Source::new(number, source, &root));
        Ok(Self {
            sources: sources.collect::<Result<_>>()?,
            folder,
            generated_by: generated_by.clone(),
            classes: classes.len(),
            masks: masks_of(classes),
            names: BidsNames::default(),
            images: 0,
            is_manual: false,
        })
    }

    /// The same of masks that a human drew, as their names and sidecars then say.
    pub fn manual(mut self) -> Self {
        self.is_manual = true;
        for mask in &mut self.masks {
            mask.ending = mask.ending.replace(".png", "-manual.png");
        }
        self
    }

    /// Copies a file that numbers each object of a class beside the masks of an image with a BIDS name.
    pub fn copy_objects(&mut self, case: &Case, class: &str, file: &Path) -> Result<()> {
        check_file_names(&[class.to_string()])?;
        let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let place = BidsNames::default().place(case);
        let path = self.folder.temporary().join(place.file(&format!("_seg-{class}-instance.{extension}")));
        write_atomically(&path, |path| fs::copy(file, path).map(drop).map_err(Error::io("write", path)))
    }

    /// Writes the masks of an image: for each class one of 0 and 255, and of axon and myelin also one of 0, 127 (myelin)
    /// and 255 (axon).
    ///
    /// An image with a BIDS name keeps it, and its folders below `sub-...`; any other is called by its subject and a number.
    /// `confidence`, in [0, 1] for each pixel, becomes an 8-bit image. A sidecar beside each file holds `sidecar`, the side
    /// of a pixel in micrometres, and the image it was made from. Labels must not hold [`IGNORE`](crate::imaging::IGNORE),
    /// which masks have no value for.
    pub fn add(
        &mut self,
        case: &Case,
        labels: &LabelMap,
        pixel_size_um: Option<f64>,
        confidence: Option<&Plane>,
        mut sidecar: Map<String, Value>,
    ) -> Result<()> {
        confidence.map_or(Ok(()), |plane| check_sizes(&case.name, labels, "confidence", plane))?;
        check_labels(&case.name, labels, self.classes, Unjudged::None)?;
        sidecar.extend(self.provenance(&case.path)?);
        if let Some(size) = pixel_size_um {
            sidecar.extend([("PixelSize".into(), json!([size, size])), ("PixelSizeUnits".into(), "um".into())]);
        }
        let place = self.names.place(case);
        let root = self.folder.temporary();
        create_dir(&root.join(&place.folder))?;
        for Mask { ending, greys } in &self.masks {
            let values = labels.classes().iter().map(|label| greys[usize::from(*label)]).collect();
            let path = root.join(place.file(ending));
            write_labels(&path, &LabelMap::new(labels.height(), labels.width(), values))?;
            write_json(&path.with_extension("json"), &sidecar)?;
        }
        if let Some(confidence) = confidence {
            let path = root.join(place.confidence());
            write(&path, confidence, BitDepth::Eight, None)?;
            write_json(&path.with_extension("json"), &sidecar)?;
        }
        self.images += 1;
        Ok(())
    }

    /// Writes `dataset_description.json`, and `.bidsignore` for validators, and gives the folder its name.
    pub fn finish(self) -> Result<()> {
        if self.images == 0 {
            let path = self.folder.path().display();
            return Err(Error::Config(format!("cannot write derivatives to {path}: there is no image; give some")));
        }
        let links: Map<String, Value> =
            self.sources.iter().map(|source| (source.name.clone(), source.location.clone().into())).collect();
        let urls: Vec<Value> = self.sources.iter().map(|source| json!({"URL": source.location})).collect();
        let description = json!({
            "Name": format!("Masks by {}", self.generated_by.name),
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [self.generated_by],
            "SourceDatasets": urls,
            "DatasetLinks": links,
        });
        let ignore = self.folder.temporary().join(".bidsignore");
        write_atomically(&ignore, |path| fs::write(path, BIDSIGNORE).map_err(Error::io("write", path)))?;
        write_json(&self.folder.temporary().join("dataset_description.json"), &description)?;
        self.folder.complete()
    }

    /// What the sidecar says of the image that masks were made from.
    fn provenance(&self, image: &Path) -> Result<[(String, Value); 3]> {
        let uri = match self.sources.iter().find_map(|source| source.uri(image)) {
            Some(uri) => uri,
            None => file_url(&canonical(image)?),
        };
        let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok([
            ("Sources".into(), json!([uri])),
            ("SourceFile".into(), name.into()),
            ("Manual".into(), self.is_manual.into()),
        ])
    }
}

/// A folder of images that masks are made of.
#[derive(Debug)]
struct Source {
    /// By which BIDS URIs refer to it.
    name: String,
    given: PathBuf,
    canonical: PathBuf,
    /// Relative to the derivatives where these lie below it, so that both can be moved together; else a URL.
    location: String,
}

impl Source {
    fn new(number: usize, given: &Path, derivatives: &Path) -> Result<Self> {
        let canonical = canonical(given)?;
        let location = match derivatives.strip_prefix(&canonical) {
            Ok(below) => vec![".."; below.components().count()].join("/"),
            Err(_) => file_url(&canonical),
        };
        Ok(Self { name: format!("source{number}"), given: given.to_path_buf(), canonical, location })
    }

    /// The BIDS URI of an image in it.
    fn uri(&self, image: &Path) -> Option<String> {
        // The image itself may be a link into a store elsewhere, so only its folder is made canonical.
        let folder = image.parent()?.canonicalize().ok()?;
        let absolute = folder.join(image.file_name()?);
        let below = image.strip_prefix(&self.given).or_else(|_| absolute.strip_prefix(&self.canonical)).ok()?;
        Some(format!("bids:{}:{}", self.name, encode(below)))
    }
}

fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::io("find", path))
}

fn file_url(absolute: &Path) -> String {
    format!("file:///{}", encode(absolute).trim_start_matches('/'))
}

/// A path as it is written in a URI.
fn encode(path: &Path) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    let path = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
    utf8_percent_encode(&path, RESERVED).to_string()
}

/// Each class becomes a part of file names that reads as this class.
fn check_file_names(classes: &[String]) -> Result<()> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let has_meaning = |word: &str| ["manual", "instance", "instances", "axonmyelin"].contains(&word);
    let is_readable = |class: &&String| {
        class.chars().all(is_safe) && !class.contains("_seg-") && !class.to_lowercase().split('-').any(has_meaning)
    };
    match classes.iter().find(|class| !is_readable(class)) {
        Some(class) => Err(Error::Config(format!(
            "masks of the class {class:?} cannot be named: names of files tell the class by letters, digits, - and _, \
             and manual, instance and axonmyelin have a meaning; rename the class"
        ))),
        None => Ok(()),
    }
}

fn masks_of(classes: &[String]) -> Vec<Mask> {
    let greys = |values: &[(usize, u8)]| {
        let mut greys = vec![0; classes.len() + 1];
        values.iter().for_each(|(class, grey)| greys[class + 1] = *grey);
        greys
    };
    let mask = |name: &str, values: &[(usize, u8)]| Mask { ending: format!("_seg-{name}.png"), greys: greys(values) };
    let mut masks: Vec<Mask> = classes.iter().enumerate().map(|(class, name)| mask(name, &[(class, 255)])).collect();
    let place = |name: &str| classes.iter().position(|class| class.eq_ignore_ascii_case(name));
    if let (Some(axon), Some(myelin), 2) = (place("axon"), place("myelin"), classes.len()) {
        masks.push(mask("axonmyelin", &[(axon, 255), (myelin, 127)]));
    }
    masks
}

#[cfg(test)]
mod tests;
