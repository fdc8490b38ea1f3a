//! The layouts of data sets: by what each is recognised, and how each is called.

use super::nnunet;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// The layout of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// BIDS microscopy: there is a `dataset_description.json`, or there are folders `sub-.../micr`.
    Bids,
    /// nnU-Net raw data: `dataset.json` beside `imagesTr` or `labelsTr`.
    NnUnet,
    /// AxonDeepSeg: masks `NAME_seg-CLASS` beside the images.
    AxonDeepSeg,
    /// Masks that belong to images by their names or folders.
    Pairs,
    /// Images in folders, without rules; every image file is an image.
    Plain,
}

impl Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bids => "BIDS microscopy",
            Self::NnUnet => "nnU-Net raw data",
            Self::AxonDeepSeg => "AxonDeepSeg's files",
            Self::Pairs => "images with masks by name or folder",
            Self::Plain => "plain folder",
        })
    }
}

/// The suffixes of BIDS microscopy (specification 1.10, "Microscopy").
pub const BIDS_SUFFIXES: [&str; 18] = [
    "TEM", "SEM", "uCT", "BF", "DF", "PC", "DIC", "FLUO", "CONF", "PLI", "CARS", "2PE", "MPE", "SR", "NLO", "OCT",
    "SPIM", "hipCT",
];

/// What a folder is, before its files are looked at; for the others, [`by_masks`] decides.
pub(super) fn by_folder(dir: &Path) -> Option<Format> {
    if dir.join("dataset_description.json").is_file() || has_subject_folders(dir) {
        return Some(Format::Bids);
    }
    nnunet::is_raw_folder(dir).then_some(Format::NnUnet)
}

/// What the masks among the files of a folder say it is.
pub(super) fn by_masks(masks: &[PathBuf]) -> Format {
    let is_axondeepseg = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("_seg-") && !path.components().any(|part| part.as_os_str() == "derivatives")
    };
    match masks {
        [] => Format::Plain,
        masks if masks.iter().any(is_axondeepseg) => Format::AxonDeepSeg,
        _ => Format::Pairs,
    }
}

/// Whether there are folders `sub-.../micr` or `sub-.../ses-.../micr`: BIDS of which the description was not copied.
fn has_subject_folders(dir: &Path) -> bool {
    let folders = |dir: &Path, start: &str| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let is_meant = |name: &str| name.starts_with(start);
        let paths = entries.filter(|entry| is_meant(&entry.file_name().to_string_lossy())).map(|entry| entry.path());
        paths.collect::<Vec<PathBuf>>()
    };
    let has_images = |folder: &PathBuf| folder.join("micr").is_dir();
    folders(dir, "sub-").iter().any(|sub| has_images(sub) || folders(sub, "ses-").iter().any(has_images))
}
