//! Reading the pixels of a data set: what can be used, what is skipped and why, and which pixel size holds.

use super::pixel_size::{Remarks, choose};
use super::{Case, Dataset, SizeSource, Skipped};
use crate::error::{Error, Result};
use crate::imaging::{
    self, BitDepth, Container, Intensity, IntensityMap, Picture, Plane, ReadOptions, is_blank, looks_like_mask,
};
use std::path::Path;

/// A case with its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its pixel size is the one to use: given by the user, else by the sidecar, else by the file.
    pub case: Case,
    /// The pixels.
    pub plane: Plane,
    /// Bits per pixel of the file.
    pub depth: BitDepth,
    /// Which stored numbers became 0 and 1.
    pub intensity: IntensityMap,
    /// Format of the file.
    pub container: Container,
}

/// The images of a data set that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// In the order of the cases; never empty.
    pub images: Vec<Image>,
    /// What was left out by [`discover`](super::discover) and by reading.
    pub skipped: Vec<Skipped>,
    /// What the user should know about the images.
    pub notes: Vec<String>,
}

/// Reads all cases. Files that cannot be read, blank images and masks are skipped with a reason.
///
/// `pixel_size_um` overrides what sidecars and files say; one note tells of images that `reading` does not spread over
/// their full range. It is an error when no image can be used.
pub fn load(dataset: &Dataset, pixel_size_um: Option<f64>, reading: &ReadOptions) -> Result<Loaded> {
    if let Some(size) = pixel_size_um.filter(|size| !size.is_finite() || *size <= 0.0) {
        return Err(Error::Config(format!("the pixel size {size} um is not a positive number; give micrometres")));
    }
    let mut images = Vec::new();
    let mut skipped = dataset.skipped.clone();
    let mut remarks = Remarks::default();
    for case in &dataset.cases {
        match read_usable(&case.path, reading) {
            Ok(picture) => images.push(to_image(case, picture, pixel_size_um, &mut remarks)),
            Err(reason) => skipped.push(Skipped { path: case.path.clone(), reason }),
        }
    }
    if images.is_empty() {
        return Err(none_usable(dataset, &skipped[dataset.skipped.len()..]));
    }
    let mut notes = dataset.notes.clone();
    notes.extend(remarks.into_notes());
    let depths: Vec<BitDepth> = images.iter().map(|image| image.depth).collect();
    notes.extend(reading.intensity.remark(&depths));
    let known = images.iter().filter(|image| image.case.pixel_size_um.is_some()).count();
    if known > 0 && known < images.len() {
        notes.push(format!("the pixel size of {} of {} images is not known", images.len() - known, images.len()));
    }
    Ok(Loaded { images, skipped, notes })
}

/// Reads one case as [`load`] does, for sets that are better not held in memory as a whole. The error is why it cannot be
/// used; the notes are what the user should know of this image alone.
pub fn load_case(
    case: &Case,
    pixel_size_um: Option<f64>,
    reading: &ReadOptions,
) -> std::result::Result<(Image, Vec<String>), String> {
    let mut remarks = Remarks::default();
    let image = to_image(case, read_usable(&case.path, reading)?, pixel_size_um, &mut remarks);
    Ok((image, remarks.into_notes().collect()))
}

/// The picture, or why it cannot be used.
fn read_usable(path: &Path, reading: &ReadOptions) -> std::result::Result<Picture, String> {
    let picture = imaging::read_with(path, reading).map_err(|error| match error {
        Error::Image { reason, .. } => reason,
        other => other.to_string(),
    })?;
    if is_blank(&picture.plane) {
        let within = match reading.intensity {
            Intensity::Range { .. } => format!(" in --intensity {}", reading.intensity),
            _ => String::new(),
        };
        return Err(format!("it is blank: all pixels have practically the same value{within}"));
    }
    if looks_like_mask(&picture.plane) {
        return Err("it has at most four grey values, so it seems to be a mask and not an image".to_string());
    }
    Ok(picture)
}

fn to_image(case: &Case, picture: Picture, given_um: Option<f64>, remarks: &mut Remarks) -> Image {
    if let Some(note) = picture.note {
        remarks.add(&case.name, note);
    }
    let stated = case.pixel_size_source.map(|source| (source, case.pixel_size_um));
    let sizes = [(SizeSource::Given, given_um), (SizeSource::File, picture.pixel_size_um)];
    let (chosen, differing) = choose(sizes.into_iter().chain(stated));
    differing.into_iter().for_each(|sentence| remarks.add(&case.name, sentence));
    let (pixel_size_source, pixel_size_um) = chosen.unzip();
    let case = Case { pixel_size_um, pixel_size_source, ..case.clone() };
    let Picture { plane, depth, intensity, container, .. } = picture;
    Image { case, plane, depth, intensity, container }
}

fn none_usable(dataset: &Dataset, skipped: &[Skipped]) -> Error {
    let first: Vec<String> =
        skipped.iter().take(3).map(|skipped| format!("{}: {}", skipped.path.display(), skipped.reason)).collect();
    let more = if skipped.len() > 3 { ", for example " } else { ": " };
    let reason = format!("none of its {} images can be used{more}{}", skipped.len(), first.join("; "));
    Error::dataset(&dataset.root, reason)
}

#[cfg(test)]
mod tests {
    use super::super::discover;
    use super::*;
    use std::fs;

    fn photograph() -> Plane {
        Plane::from_fn(8, 8, |y, x| (8 * y + x) as f32 / 63.0)
    }

    #[test]
    fn unusable_files_are_skipped_with_their_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        imaging::write(&at("good.png"), &photograph(), BitDepth::Sixteen, None).unwrap();
        imaging::write(&at("blank.png"), &Plane::new(2, 2, vec![0.3; 4]), BitDepth::Eight, None).unwrap();
        imaging::write(&at("mask.png"), &Plane::new(1, 2, vec![0.0, 1.0]), BitDepth::Eight, None).unwrap();
        fs::write(at("text.tif"), "no image").unwrap();
        let loaded = load(&discover(dir.path()).unwrap(), None, &ReadOptions::default()).unwrap();
        assert_eq!(loaded.images.len(), 1);
        let image = &loaded.images[0];
        assert_eq!(
            (image.case.name.as_str(), image.depth, image.container),
            ("good", BitDepth::Sixteen, Container::Png)
        );
        let reasons: Vec<&str> = loaded.skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
        assert!(reasons[0].contains("blank") && reasons[1].contains("mask") && reasons[2].contains("it is no PNG"));
        let note = "1 of 1 images holds more than 8 bits and is read between its percentiles 0.1 and 99.9";
        assert!(loaded.notes.len() == 1 && loaded.notes[0].starts_with(note), "{:?}", loaded.notes);
        let full = load(&discover(dir.path()).unwrap(), None, &ReadOptions::full(None)).unwrap();
        assert!(full.notes.is_empty() && full.images[0].intensity == IntensityMap::full(BitDepth::Sixteen));
    }

    #[test]
    fn a_folder_without_a_usable_image_is_refused_with_the_first_reasons() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..5 {
            fs::write(dir.path().join(format!("{i}.png")), "").unwrap();
        }
        let error = load(&discover(dir.path()).unwrap(), None, &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("none of its 5 images") && error.contains("2.png: the file is empty"), "{error}");
        assert!(!error.contains("3.png"));
    }

    #[test]
    fn the_given_pixel_size_beats_the_sidecar_and_the_sidecar_beats_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let micr = dir.path().join("sub-1/micr");
        fs::create_dir_all(&micr).unwrap();
        imaging::write(&micr.join("sub-1_SEM.tif"), &photograph(), BitDepth::Eight, Some(0.3)).unwrap();
        let size_and_notes = |given| {
            let mut loaded = load(&discover(dir.path()).unwrap(), given, &ReadOptions::default()).unwrap();
            (loaded.images.remove(0).case.pixel_size_um.map(|size| (size * 1e6).round() / 1e6), loaded.notes)
        };
        assert_eq!(size_and_notes(None), (Some(0.3), vec![]));
        fs::write(dir.path().join("dataset_description.json"), "{}").unwrap();
        fs::write(micr.join("sub-1_SEM.json"), r#"{"PixelSize": 0.2, "PixelSizeUnits": "um"}"#).unwrap();
        let note = "sub-1_SEM: the pixel size of the file is 0.3 um; 0.2 um of the sidecar is used";
        assert_eq!(size_and_notes(None), (Some(0.2), vec![note.to_string()]));
        let (size, notes) = size_and_notes(Some(0.1));
        assert_eq!((size, notes.len()), (Some(0.1), 2));
        assert!(notes.iter().all(|note| note.ends_with("0.1 um as given is used")), "{notes:?}");
    }

    #[test]
    fn a_remark_on_many_images_and_missing_pixel_sizes_are_told_once() {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in [("a.tif", Some(0.3)), ("b.tif", Some(0.3)), ("c.tif", None)] {
            imaging::write(&dir.path().join(name), &photograph(), BitDepth::Eight, size).unwrap();
        }
        let dataset = discover(dir.path()).unwrap();
        assert_eq!(
            load(&dataset, None, &ReadOptions::default()).unwrap().notes,
            ["the pixel size of 1 of 3 images is not known"]
        );
        let notes = load(&dataset, Some(0.1), &ReadOptions::default()).unwrap().notes;
        assert_eq!(notes, ["a and 1 more: the pixel size of the file is 0.3 um; 0.1 um as given is used"]);
    }

    #[test]
    fn impossible_pixel_sizes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        imaging::write(&dir.path().join("a.png"), &photograph(), BitDepth::Eight, None).unwrap();
        for size in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(load(&discover(dir.path()).unwrap(), Some(size), &ReadOptions::default()).is_err());
        }
    }
}
