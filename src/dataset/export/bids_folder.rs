//! BIDS microscopy folders: images under BIDS names with their sidecars, participants, samples and description.
//!
//! Masks go into `derivatives/labels` by way of [`Derivatives`].

use super::Derivatives;
use super::bids_names::BidsNames;
use super::derivatives::{BIDS_VERSION, GeneratedBy};
use crate::dataset::{BIDS_SUFFIXES, Case, SizeSource};
use crate::error::{Error, Result};
use crate::files::{PendingDir, create_dir, write_atomically, write_json};
use crate::imaging::{BitDepth, Plane, write};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A BIDS folder in the making. Where the folder is, it is complete.
#[derive(Debug)]
pub struct BidsFolder {
    folder: PendingDir,
    title: String,
    suffix: String,
    names: BidsNames,
    participants: BTreeSet<String>,
    /// Samples with their participants.
    samples: BTreeSet<(String, String)>,
    /// Images whose pixel size is not known, which BIDS asks for.
    unsized_images: usize,
}

impl BidsFolder {
    /// Begins a folder, which must not hold anything yet. `suffix` is the modality of images whose names tell none, one
    /// of [`BIDS_SUFFIXES`]; empty when all have BIDS names.
    pub fn create(dir: &Path, title: &str, suffix: &str) -> Result<Self> {
        if !suffix.is_empty() && !BIDS_SUFFIXES.contains(&suffix) {
            let known = BIDS_SUFFIXES.join(", ");
            return Err(Error::Config(format!("BIDS knows no modality {suffix}; give one of {known}")));
        }
        Ok(Self {
            folder: PendingDir::new(dir)?,
            title: title.to_string(),
            suffix: suffix.to_string(),
            names: BidsNames::default(),
            participants: BTreeSet::new(),
            samples: BTreeSet::new(),
            unsized_images: 0,
        })
    }

    /// Begins `derivatives/labels` in it, for masks of these classes.
    pub fn derivatives(&self, generated_by: &GeneratedBy, classes: &[String]) -> Result<Derivatives> {
        let root = self.folder.temporary();
        create_dir(&root.join("derivatives"))?;
        Derivatives::create(&root.join("derivatives/labels"), generated_by, &[root.to_path_buf()], classes)
    }

    /// Writes an image at its `depth`, with a sidecar where its pixel size is known, and returns it as a case of the new
    /// folder.
    ///
    /// An image with a BIDS name keeps it, and its folders below `sub-...`; any other is called by its subject and a number.
    pub fn add(&mut self, case: &Case, image: &Plane, depth: BitDepth, pixel_size_um: Option<f64>) -> Result<Case> {
        let place = self.names.place(case).with_suffix(&self.suffix).ok_or_else(|| {
            let known = BIDS_SUFFIXES.join(", ");
            Error::image(&case.path, format!("its name tells no modality; give --suffix, one of {known}"))
        })?;
        let path = self.folder.temporary().join(place.file(".png"));
        create_dir(&self.folder.temporary().join(&place.folder))?;
        write(&path, image, depth, None)?;
        match pixel_size_um {
            Some(size) => {
                let sidecar = json!({"PixelSize": [size, size], "PixelSizeUnits": "um"});
                write_json(&path.with_extension("json"), &sidecar)?;
            }
            None => self.unsized_images += 1,
        }
        let subject = place.entity("sub").unwrap_or_default().to_string();
        self.participants.insert(subject.clone());
        self.samples.extend(place.entity("sample").map(|sample| (sample.to_string(), subject.clone())));
        let pixel_size_source = pixel_size_um.map(|_| SizeSource::Sidecar);
        Ok(Case { name: case.name.clone(), path, subject, pixel_size_um, pixel_size_source })
    }

    /// The path of a written image once the folder has its name.
    pub fn final_path(&self, written: &Path) -> PathBuf {
        let below = written.strip_prefix(self.folder.temporary()).unwrap_or(written);
        self.folder.path().join(below)
    }

    /// Writes the description, `participants.tsv` and `samples.tsv`, and gives the folder its name. Returns what the user
    /// should know.
    pub fn finish(self) -> Result<Option<String>> {
        let root = self.folder.temporary();
        if self.participants.is_empty() {
            let path = self.folder.path().display();
            return Err(Error::Config(format!("cannot write a BIDS folder to {path}: there is no image; give some")));
        }
        let description = json!({"Name": self.title, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"});
        write_json(&root.join("dataset_description.json"), &description)?;
        let table = |name: &str, text: String| {
            write_atomically(&root.join(name), |path| fs::write(path, &text).map_err(Error::io("write", path)))
        };
        let participants: String = self.participants.iter().map(|subject| format!("{subject}\n")).collect();
        table("participants.tsv", format!("participant_id\n{participants}"))?;
        let row = |(sample, subject): &(String, String)| format!("{sample}\t{subject}\tn/a\n");
        let samples: String = self.samples.iter().map(row).collect();
        table("samples.tsv", format!("sample_id\tparticipant_id\tsample_type\n{samples}"))?;
        table("README", format!("{}\n\nWritten by synlabel from another layout; see the sidecars.\n", self.title))?;
        let note = (self.unsized_images > 0).then(|| {
            let count = self.unsized_images;
            format!("the pixel size of {count} images is not known, which BIDS asks for; --pixel-size-um tells it")
        });
        self.folder.complete()?;
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::discover;

    fn case(path: &str, subject: &str) -> Case {
        let (path, subject) = (PathBuf::from(path), subject.to_string());
        Case { name: "a".into(), path, subject, pixel_size_um: None, pixel_size_source: None }
    }

    fn photograph() -> Plane {
        Plane::from_fn(4, 6, |y, x| (6 * y + x) as f32 / 23.0)
    }

    #[test]
    fn what_is_written_is_found_again_with_subjects_and_pixel_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bids");
        let mut folder = BidsFolder::create(&out, "Nerves", "TEM").unwrap();
        folder.add(&case("x/image 7.png", "mouse 3"), &photograph(), BitDepth::Eight, Some(0.07)).unwrap();
        let kept = case("sub-2/micr/sub-2_sample-b_SEM.png", "sub-2");
        folder.add(&kept, &photograph(), BitDepth::Sixteen, None).unwrap();
        assert!(folder.finish().unwrap().unwrap().contains("1 images"));
        let dataset = discover(&out).unwrap();
        let found: Vec<_> = dataset.cases.iter().map(|case| (case.subject.as_str(), case.pixel_size_um)).collect();
        assert_eq!(found, [("sub-2", None), ("sub-mouse3", Some(0.07))]);
        assert_eq!(dataset.cases[1].name, "sub-mouse3_sample-1_TEM");
        let samples = fs::read_to_string(out.join("samples.tsv")).unwrap();
        assert!(samples.contains("sample-1\tsub-mouse3\t") && samples.contains("sample-b\tsub-2\t"), "{samples}");
    }

    #[test]
    fn a_modality_must_be_known() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bids");
        assert!(BidsFolder::create(&out, "", "XYZ").unwrap_err().to_string().contains("one of TEM, SEM"));
        let mut folder = BidsFolder::create(&out, "", "").unwrap();
        let error = folder.add(&case("a.png", "a"), &photograph(), BitDepth::Eight, None).unwrap_err().to_string();
        assert!(error.contains("give --suffix"), "{error}");
        assert!(folder.finish().unwrap_err().to_string().contains("there is no image"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
