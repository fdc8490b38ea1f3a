//! Names that BIDS allows, for images that have such a name and for those that do not.

use crate::dataset::Case;
use crate::dataset::names::{CONFIDENCE, stem};
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

/// Where the derivatives of an image belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Below the root, such as `sub-1/micr`.
    pub(super) folder: PathBuf,
    /// What tells the image from others, such as `sub-1_sample-A`.
    entities: String,
    /// The modality with what separates it, such as `_SEM`; empty where nothing tells it.
    suffix: String,
}

impl Place {
    /// A file that belongs to the image: `sub-1_sample-A_SEM_seg-axon.png` of `_seg-axon.png`.
    pub(super) fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{}{ending}", self.entities, self.suffix))
    }

    /// The same place for an image of a modality, where its name tells none.
    pub(super) fn with_suffix(self, suffix: &str) -> Option<Self> {
        match (self.suffix.as_str(), suffix) {
            ("", "") => None,
            ("", suffix) => Some(Self { suffix: format!("_{suffix}"), ..self }),
            _ => Some(self),
        }
    }

    /// The entity of a kind, such as `sub-1` of `sub`.
    pub(super) fn entity(&self, kind: &str) -> Option<&str> {
        self.entities.split('_').find(|entity| entity.split_once('-').is_some_and(|(key, _)| key == kind))
    }

    /// The map of confidence: `sub-1_sample-A_desc-confidence_SEM.png`, since the suffix comes last in BIDS.
    pub(super) fn confidence(&self) -> PathBuf {
        self.folder.join(format!("{}{CONFIDENCE}{}.png", self.entities, self.suffix))
    }
}

/// The names that were given.
#[derive(Debug, Default)]
pub(super) struct BidsNames {
    /// In lower case, since some file systems do not tell letter case.
    taken: HashSet<String>,
    /// The label of each subject that was given one.
    labels: HashMap<String, String>,
}

impl BidsNames {
    /// The place of an image's derivatives, which no other has.
    ///
    /// An image with a BIDS name keeps it, and its folders from `sub-...` on. Any other, and one whose name is taken, is
    /// called by its subject and a number: `sub-mouse3_sample-1`.
    pub(super) fn place(&mut self, case: &Case) -> Place {
        let stem = stem(&case.path);
        // nnU-Net's number of the channel is no part of the name.
        let name = stem.strip_suffix("_0000").unwrap_or(&stem);
        if let Some(place) = place_of_bids_name(name, &case.path).filter(|_| self.taken.insert(name.to_lowercase())) {
            return place;
        }
        let label = self.label(&case.subject);
        let mut numbered = (1..).map(|number| format!("sub-{label}_sample-{number}"));
        let is_free = |name: &String| self.taken.insert(name.to_lowercase());
        let entities = numbered.find(is_free).expect("there are more numbers than names");
        Place { folder: Path::new(&format!("sub-{label}")).join("micr"), entities, suffix: String::new() }
    }

    /// Letters and digits that stand for a subject, other than those of other subjects.
    fn label(&mut self, subject: &str) -> String {
        if let Some(label) = self.labels.get(subject) {
            return label.clone();
        }
        let of_name = subject.strip_prefix("sub-").unwrap_or(subject);
        let mut label: String = of_name.chars().filter(char::is_ascii_alphanumeric).collect();
        if label.is_empty() {
            label.push_str("unnamed");
        }
        while self.labels.values().any(|taken| taken.eq_ignore_ascii_case(&label)) {
            label.push('x');
        }
        self.labels.insert(subject.to_string(), label.clone());
        label
    }
}

/// The place that a BIDS name tells; None if `name` is none.
fn place_of_bids_name(name: &str, path: &Path) -> Option<Place> {
    let is_label = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    let is_entity = |text: &str| text.split_once('-').is_some_and(|(key, label)| is_label(key) && is_label(label));
    let (entities, suffix) = name.rsplit_once('_')?;
    let subject = entities.split('_').next().filter(|entity| entity.starts_with("sub-"))?;
    (is_label(suffix) && entities.split('_').all(is_entity)).then(|| Place {
        folder: folders_from(subject, path).unwrap_or_else(|| Path::new(subject).join("micr")),
        entities: entities.to_string(),
        suffix: format!("_{suffix}"),
    })
}

/// The folders of a file from the one called `first` on, if there is one.
fn folders_from(first: &str, path: &Path) -> Option<PathBuf> {
    let folders: Vec<Component<'_>> = path.parent()?.components().collect();
    let start = folders.iter().rposition(|folder| folder.as_os_str() == first)?;
    Some(folders[start..].iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mask files of images, each given as path and subject.
    fn masks(images: &[(&str, &str)]) -> Vec<String> {
        let mut names = BidsNames::default();
        let case = |(path, subject): &(&str, &str)| Case {
            name: String::new(),
            path: PathBuf::from(path),
            subject: subject.to_string(),
            pixel_size_um: None,
            pixel_size_source: None,
        };
        let mask = |image| names.place(&case(image)).file("_seg-a.png").to_string_lossy().replace('\\', "/");
        images.iter().map(mask).collect()
    }

    #[test]
    fn bids_names_and_folders_are_kept() {
        let images = [
            ("sub-1/data/sub-1/ses-b/micr/sub-1_ses-b_sample-A_SEM.ome.tif", "sub-1"),
            ("raw/imagesTr/sub-2_sample-A_TEM_0000.png", "sub-2"),
        ];
        let expected =
            ["sub-1/ses-b/micr/sub-1_ses-b_sample-A_SEM_seg-a.png", "sub-2/micr/sub-2_sample-A_TEM_seg-a.png"];
        assert_eq!(masks(&images), expected);
    }

    #[test]
    fn other_names_are_made_of_the_subject_and_a_number() {
        let images =
            [("image 7.png", "mouse 3"), ("8.png", "mouse 3"), ("sub-1_x-y_b-c.png", "\u{b5}"), ("sub-1.png", "sub-1")];
        let expected = [
            "sub-mouse3/micr/sub-mouse3_sample-1_seg-a.png",
            "sub-mouse3/micr/sub-mouse3_sample-2_seg-a.png",
            "sub-unnamed/micr/sub-unnamed_sample-1_seg-a.png",
            "sub-1/micr/sub-1_sample-1_seg-a.png",
        ];
        assert_eq!(masks(&images), expected);
    }

    #[test]
    fn no_two_images_share_a_place_nor_two_subjects_a_label() {
        let bids = ("a/sub-1_sample-A_SEM.png", "sub-1");
        let again = ("b/sub-1_sample-a_SEM.png", "sub-1");
        let expected = ["sub-1/micr/sub-1_sample-A_SEM_seg-a.png", "sub-1/micr/sub-1_sample-1_seg-a.png"];
        assert_eq!(masks(&[bids, again]), expected);
        let expected = ["sub-a1/micr/sub-a1_sample-1_seg-a.png", "sub-A1x/micr/sub-A1x_sample-1_seg-a.png"];
        assert_eq!(masks(&[("x.png", "a-1"), ("y.png", "A 1")]), expected);
    }

    #[test]
    fn confidence_is_described_before_the_suffix() {
        let place = place_of_bids_name("sub-1_sample-A_SEM", Path::new("x.png")).unwrap();
        assert_eq!(place.confidence(), Path::new("sub-1/micr/sub-1_sample-A_desc-confidence_SEM.png"));
    }
}
