//! The target images, whose pixels stay on the disk, and what true masks there are of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::dataset::{Case, MaskSource, discover_annotated, read_labels};
use crate::error::{Error, Result};
use crate::imaging::{self, BitDepth, LabelMap, Plane, Raster, RasterPicture, ReadOptions};
use crate::segmentation::data::LabelledImage;
use crate::segmentation::masks::mask_name;
use crate::segmentation::normalisation::Intensities;

/// A target image; its pixels stay on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// By which its files are called.
    pub name: String,
    /// The file, its subject and its pixel size.
    pub case: Case,
    /// Rows and columns.
    pub size: [usize; 2],
    /// Bits per pixel of the file.
    pub depth: BitDepth,
    /// Whether its subject is kept out of all training.
    pub is_held_out: bool,
    /// How a translator sees it.
    pub reading: ReadOptions,
}

impl Target {
    /// Its pixels in [0, 1] as a translator sees them.
    pub fn plane(&self) -> Result<Plane> {
        Ok(imaging::read_with(&self.case.path, &self.reading)?.plane)
    }

    /// Its pixels over the full range of their numbers, from which these can be written again.
    pub fn full_plane(&self) -> Result<Plane> {
        Ok(imaging::read_with(&self.case.path, &ReadOptions::full(self.reading.page))?.plane)
    }

    /// The image with labels, to learn from.
    pub fn to_labelled(&self, labels: LabelMap) -> Result<LabelledImage> {
        let reading = ReadOptions::full(self.reading.page);
        let imaging::Picture { plane, intensity, .. } = imaging::read_with(&self.case.path, &reading)?;
        Ok(LabelledImage {
            name: self.name.clone(),
            subject: self.case.subject.clone(),
            intensities: Intensities::of_plane(&plane, &intensity),
            depth: self.depth,
            plane,
            labels,
            pixel_size_um: self.case.pixel_size_um,
        })
    }

    /// Its pixels as they are stored.
    pub fn picture(&self) -> Result<RasterPicture> {
        Raster::read_with(&self.case.path, self.reading.page)
    }
}

/// True masks of target images.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Names of the labels 1, 2, ….
    pub classes: Vec<String>,
    /// The masks of each target image that has some.
    masks: BTreeMap<String, MaskSource>,
    threshold: Option<u8>,
}

impl Truth {
    /// The masks in a folder of images with masks, which may be the folder of the targets itself.
    pub(super) fn read(dir: &Path, targets: &[Target], threshold: Option<u8>) -> Result<Self> {
        let annotated = discover_annotated(dir)?;
        let sources = annotated.dataset.cases.iter().zip(&annotated.masks);
        let by_name: BTreeMap<&str, &MaskSource> =
            sources.map(|(case, masks)| (mask_name(&case.name), masks)).collect();
        let of_target = |target: &Target| Some((target.name.clone(), (*by_name.get(target.name.as_str())?).clone()));
        let masks: BTreeMap<String, MaskSource> = targets.iter().filter_map(of_target).collect();
        if masks.is_empty() {
            let known: Vec<&str> = by_name.keys().take(3).copied().collect();
            let reason = format!(
                "none of its masks belongs to a target image: there are masks of {} … and target images {} …; images \
                 must be called the same in both folders",
                known.join(", "),
                targets.iter().take(3).map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ")
            );
            return Err(Error::dataset(dir, reason));
        }
        let truth = Self { classes: annotated.classes, masks, threshold };
        // Masks that cannot be used are better found now than after a night.
        targets.iter().try_for_each(|target| truth.labels(target).map(|_| ()))?;
        Ok(truth)
    }

    /// The true label of each pixel of a target image, if it has masks.
    pub fn labels(&self, target: &Target) -> Result<Option<LabelMap>> {
        let Some(masks) = self.masks.get(&target.name) else { return Ok(None) };
        Ok(Some(read_labels(masks, target.size, self.threshold)?.map))
    }

    /// Whether a target image has masks.
    pub fn has(&self, target: &Target) -> bool {
        self.masks.contains_key(&target.name)
    }

    /// The files of all masks.
    pub fn files(&self) -> Vec<PathBuf> {
        self.masks.values().flat_map(|source| source.files.iter().map(|file| file.path.clone())).collect()
    }
}
