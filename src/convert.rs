//! A data set written anew in another layout. Nothing of the original is touched, and what was written is read back and
//! compared with it, pixel by pixel and label by label.

use crate::dataset::{
    self, AnnotatedDataset, BidsFolder, Case, Dataset, Derivatives, Encoding, Format, GeneratedBy, Image, MaskSource,
    RawFolder, Skipped, Unjudged, read_labels,
};
use crate::error::{Error, Result};
use crate::imaging::{IGNORE, LabelMap, Plane, ReadOptions};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The layout to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// BIDS microscopy; the modality of images whose names tell none.
    Bids {
        /// One of [`dataset::BIDS_SUFFIXES`], or empty.
        suffix: String,
    },
    /// nnU-Net raw data.
    NnUnet,
}

/// What the user says about the original beyond the folder.
#[derive(Debug, Clone, Default)]
pub struct ConvertOptions {
    /// Its layout; else it is recognised.
    pub format: Option<Format>,
    /// Micrometres per pixel of all images.
    pub pixel_size_um: Option<f64>,
    /// Grey value from which on a mask's pixel has the class.
    pub mask_threshold: Option<u8>,
    /// The page or slice of images that have several.
    pub page: Option<usize>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Converted {
    /// The original, in one line.
    pub from: String,
    /// The new folder.
    pub output: PathBuf,
    /// Images that were written.
    pub images: usize,
    /// How many of them have masks.
    pub with_masks: usize,
    /// Images that were not written, with reasons.
    pub failed: Vec<Failed>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// A file that was not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Writes the images of a folder, and their masks if they have some, into the new folder `out`.
///
/// Images are written as PNG at their own depth, colour as grey. Masks become label maps or masks of each class; objects
/// with numbers of their own are kept in BIDS, beside the masks of their class.
pub fn convert(
    dir: &Path,
    out: &Path,
    layout: &Layout,
    options: &ConvertOptions,
    mut on_image: impl FnMut(&str, usize),
) -> Result<Converted> {
    let original = Original::of(dir, options)?;
    let mut writer = Writer::create(out, layout, &original)?;
    let mut converted = Converted {
        from: original.dataset.summary(),
        output: out.to_path_buf(),
        images: 0,
        with_masks: 0,
        failed: original.dataset.skipped.iter().map(|Skipped { path, reason }| failed(path, reason)).collect(),
        notes: original.dataset.notes.clone(),
    };
    let mut written = Vec::new();
    for case in &original.dataset.cases {
        on_image(&case.name, original.dataset.cases.len());
        let outcome = original.read(case, options).and_then(|(image, labels, notes)| {
            converted.notes.extend(notes);
            let path = writer.write(&image, labels.as_ref(), original.masks_of(case)).map_err(|e| e.to_string())?;
            Ok((path, labels.is_some()))
        });
        match outcome {
            Ok((path, has_masks)) => {
                converted.images += 1;
                converted.with_masks += usize::from(has_masks);
                written.push((case, path));
            }
            Err(reason) => converted.failed.push(failed(&case.path, &reason)),
        }
    }
    if written.is_empty() {
        let reasons: Vec<String> = converted.failed.iter().take(3).map(|failed| failed.reason.clone()).collect();
        return Err(Error::dataset(dir, format!("none of its images can be converted: {}", reasons.join("; "))));
    }
    converted.notes.extend(writer.finish()?);
    verify(&original, &written, out, layout, options)?;
    Ok(converted)
}

fn failed(path: &Path, reason: &str) -> Failed {
    Failed { path: path.to_path_buf(), reason: reason.to_string() }
}

/// The data set to convert.
struct Original {
    /// All images, with masks or without.
    dataset: Dataset,
    annotated: Option<AnnotatedDataset>,
}

impl Original {
    fn of(dir: &Path, options: &ConvertOptions) -> Result<Self> {
        let all = dataset::discover_as(dir, options.format)?;
        let has_masks = !all.masks.is_empty() || dir.join("derivatives").is_dir() || all.format == Format::NnUnet;
        if !has_masks || all.format == Format::Plain && !dir.join("derivatives").is_dir() {
            return Ok(Self { dataset: all, annotated: None });
        }
        let annotated = dataset::discover_annotated_as(dir, options.format)?;
        Ok(Self { dataset: annotated.with_unlabelled(all), annotated: Some(annotated) })
    }

    fn classes(&self) -> &[String] {
        self.annotated.as_ref().map_or(&[], |annotated| &annotated.classes)
    }

    fn masks_of(&self, case: &Case) -> Option<&MaskSource> {
        self.annotated.as_ref()?.masks_of(case)
    }

    /// An image with its labels, or why it cannot be used.
    fn read(
        &self,
        case: &Case,
        options: &ConvertOptions,
    ) -> std::result::Result<(Image, Option<LabelMap>, Vec<String>), String> {
        let (image, mut notes) = dataset::load_case(case, options.pixel_size_um, &ReadOptions::full(options.page))?;
        let Some(masks) = self.masks_of(case) else { return Ok((image, None, notes)) };
        let size = [image.plane.height(), image.plane.width()];
        let labels = read_labels(masks, size, options.mask_threshold).map_err(|error| error.to_string())?;
        notes.extend(labels.note);
        Ok((image, Some(labels.map), notes))
    }

    /// Whether the names of all masks say that a human drew them.
    fn is_manual(&self) -> bool {
        let mut files = self.annotated.iter().flat_map(|annotated| &annotated.masks).flat_map(|source| &source.files);
        let is_manual = |path: &Path| path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("-manual"));
        files.all(|file| is_manual(&file.path))
    }

    /// Whether some pixels are of the label `ignore`.
    fn unjudged(&self) -> Unjudged {
        let mut files = self.annotated.iter().flat_map(|annotated| &annotated.masks).flat_map(|source| &source.files);
        let any = files.any(|file| matches!(file.encoding, Encoding::NumbersAndIgnore(_)));
        if any { Unjudged::Ignore } else { Unjudged::None }
    }
}

/// The new folder in the making.
enum Writer {
    Bids { folder: Box<BidsFolder>, masks: Option<Box<Derivatives>>, classes: Vec<String> },
    NnUnet { folder: RawFolder, out: PathBuf },
}

impl Writer {
    fn create(out: &Path, layout: &Layout, original: &Original) -> Result<Self> {
        let classes = original.classes();
        match layout {
            Layout::Bids { suffix } => {
                let title = original.dataset.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let folder = BidsFolder::create(out, &title, suffix)?;
                let generated_by = GeneratedBy {
                    name: "synlabel".to_string(),
                    version: env!("CARGO_PKG_VERSION").to_string(),
                    description: "Converted from masks in another layout".to_string(),
                    code_url: None,
                };
                let masks = if classes.is_empty() { None } else { Some(folder.derivatives(&generated_by, classes)?) };
                let masks = masks.map(|masks| if original.is_manual() { masks.manual() } else { masks });
                Ok(Self::Bids { folder: Box::new(folder), masks: masks.map(Box::new), classes: classes.to_vec() })
            }
            Layout::NnUnet if classes.is_empty() => {
                let reason = "none of its images has a mask, and nnU-Net raw data are images with masks; convert it to \
                              BIDS, or give the folder that holds the masks too";
                Err(Error::dataset(&original.dataset.root, reason))
            }
            Layout::NnUnet => {
                let channel = original.annotated.as_ref().and_then(|annotated| annotated.channel.clone());
                // As NeuroPoly's models have it; other names mean a normalisation by mean and deviation.
                let channel = channel.unwrap_or("rescale_to_0_1".to_string());
                let folder = RawFolder::create(out, classes, &channel, original.unjudged())?;
                Ok(Self::NnUnet { folder, out: out.to_path_buf() })
            }
        }
    }

    /// Writes an image, and returns its file in the finished folder.
    fn write(&mut self, image: &Image, labels: Option<&LabelMap>, masks: Option<&MaskSource>) -> Result<PathBuf> {
        let Image { case, plane, depth, .. } = image;
        let size = case.pixel_size_um;
        match self {
            Self::NnUnet { folder, out } => {
                let name = case.name.strip_suffix("_0000").unwrap_or(&case.name);
                let (part, name) = match labels {
                    Some(labels) => ("imagesTr", folder.add(name, &case.subject, plane, *depth, size, labels)?),
                    None => ("imagesTs", folder.add_unlabelled(name, &case.subject, plane, *depth, size)?),
                };
                Ok(out.join(part).join(format!("{name}_0000.png")))
            }
            Self::Bids { folder, masks: derivatives, classes } => {
                if labels.is_some_and(|labels| labels.classes().contains(&IGNORE)) {
                    let reason = "its labels hold pixels that nobody judged, for which masks in BIDS have no value; \
                                  convert it to nnU-Net raw data";
                    return Err(Error::image(&case.path, reason));
                }
                let new = folder.add(case, plane, *depth, size)?;
                if let (Some(derivatives), Some(labels)) = (derivatives, labels) {
                    derivatives.add(&new, labels, size, None, serde_json::Map::new())?;
                    for file in masks.iter().flat_map(|source| &source.files) {
                        if let Encoding::Objects(class) = file.encoding {
                            derivatives.copy_objects(&new, &classes[usize::from(class) - 1], &file.path)?;
                        }
                    }
                }
                Ok(folder.final_path(&new.path))
            }
        }
    }

    /// Completes the folder and returns what the user should know.
    fn finish(self) -> Result<Option<String>> {
        match self {
            Self::NnUnet { folder, .. } => folder.finish().map(|()| None),
            Self::Bids { folder, masks, .. } => {
                masks.map_or(Ok(()), |masks| masks.finish())?;
                folder.finish()
            }
        }
    }
}

/// Reads the new folder and compares it with the original.
fn verify(
    original: &Original,
    written: &[(&Case, PathBuf)],
    out: &Path,
    layout: &Layout,
    options: &ConvertOptions,
) -> Result<()> {
    let format = match layout {
        Layout::Bids { .. } => Format::Bids,
        Layout::NnUnet => Format::NnUnet,
    };
    let has_masks = original.annotated.is_some();
    let annotated = if has_masks { Some(dataset::discover_annotated_as(out, Some(format))?) } else { None };
    let found = dataset::discover_as(out, Some(format))?;
    for (case, path) in written {
        let differs = |what: &str| Error::dataset(out, format!("{} was not written as it was: {what}", path.display()));
        let (before, labels, _) = original.read(case, options).map_err(|reason| differs(&reason))?;
        let is_same = |known: &&Case| known.path == *path;
        let with_masks = annotated.as_ref().and_then(|annotated| annotated.dataset.cases.iter().find(is_same));
        let is_test = path.parent().is_some_and(|folder| folder.ends_with("imagesTs"));
        let unknown = || Case { path: path.clone(), pixel_size_um: before.case.pixel_size_um, ..before.case.clone() };
        let new = match with_masks.or(found.cases.iter().find(is_same)) {
            Some(new) => new.clone(),
            None if is_test => unknown(),
            None => return Err(differs("it is not found again")),
        };
        let (after, _) = dataset::load_case(&new, None, &ReadOptions::full(None)).map_err(|reason| differs(&reason))?;
        if !is_alike(&before.plane, &after.plane, before.depth.white()) {
            return Err(differs("its pixels differ"));
        }
        if before.case.pixel_size_um != after.case.pixel_size_um {
            return Err(differs("its pixel size differs"));
        }
        let Some(labels) = labels else { continue };
        let Some((annotated, masks)) = annotated.as_ref().and_then(|a| Some((a, a.masks_of(&new)?))) else {
            return Err(differs("its masks are not found again"));
        };
        let again = read_labels(masks, [labels.height(), labels.width()], None)?.map;
        if renumbered(&labels, original.classes(), &annotated.classes)? != again {
            return Err(differs("its labels differ"));
        }
    }
    Ok(())
}

/// Whether two planes are the same but for rounding to stored values, which only colour needs.
fn is_alike(a: &Plane, b: &Plane, white: f32) -> bool {
    let is_near = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.501 / white;
    [a.height(), a.width()] == [b.height(), b.width()] && a.pixels().iter().zip(b.pixels()).all(is_near)
}

/// Labels by the numbers that their classes have in another set.
fn renumbered(labels: &LabelMap, classes: &[String], others: &[String]) -> Result<LabelMap> {
    let number = |class: &String| others.iter().position(|other| other.eq_ignore_ascii_case(class));
    let mut table: [u8; 256] = [0; 256];
    table[usize::from(IGNORE)] = IGNORE;
    for (class, place) in classes.iter().zip(1..) {
        let number = number(class).ok_or_else(|| Error::Config(format!("the class {class} is not found again")))?;
        table[place] = number as u8 + 1;
    }
    let map = labels.classes().iter().map(|class| table[usize::from(*class)]).collect();
    Ok(LabelMap::new(labels.height(), labels.width(), map))
}

#[cfg(test)]
mod tests;
