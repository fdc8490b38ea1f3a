//! BIDS microscopy folders (BIDS specification 1.7, "Microscopy"): subjects and the pixel sizes of sidecars.
//!
//! Masks under `derivatives` are not read here.

use super::names::{parts_below, stem};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A BIDS folder; remembers the sidecars it has read.
pub(super) struct Bids {
    /// Canonical, so that it is a prefix of the canonical folders of its images.
    root: PathBuf,
    sidecars: HashMap<PathBuf, Vec<Sidecar>>,
    /// What the user should know about sidecars.
    pub(super) notes: Vec<String>,
}

/// A JSON file that describes the images whose entities include its own.
struct Sidecar {
    path: PathBuf,
    entities: Entities,
    fields: serde_json::Map<String, Value>,
}

/// The parts of a BIDS name: `sub-1_sample-A_SEM` has two entities and the suffix `SEM`.
struct Entities {
    pairs: Vec<String>,
    suffix: String,
}

impl Entities {
    fn of(path: &Path) -> Self {
        let stem = stem(path);
        let (pairs, suffixes): (Vec<_>, Vec<_>) =
            stem.split('_').map(String::from).partition(|part| part.contains('-'));
        Self { pairs, suffix: suffixes.last().cloned().unwrap_or_default() }
    }

    fn apply_to(&self, image: &Self) -> bool {
        self.suffix == image.suffix && self.pairs.iter().all(|pair| image.pairs.contains(pair))
    }
}

impl Bids {
    /// The BIDS folder that `dir` is, or that `dir` is a `sub-...` folder of.
    pub(super) fn containing(dir: &Path) -> Option<Self> {
        // The folder of a bare file name is the empty path.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let dir = dir.canonicalize().ok()?;
        let is_root = |folder: &&Path| {
            let belongs = *folder == dir || parts_below(folder, &dir)[0].starts_with("sub-");
            belongs && folder.join("dataset_description.json").is_file()
        };
        let root = dir.ancestors().find(is_root)?.to_path_buf();
        Some(Self { root, sidecars: HashMap::new(), notes: Vec::new() })
    }

    /// `dir` as the root of a BIDS folder of which the description is missing.
    pub(super) fn at(dir: &Path) -> Self {
        let root = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        Self { root, sidecars: HashMap::new(), notes: Vec::new() }
    }

    /// Why a file is no micrograph, if it is none.
    pub(super) fn reason_to_skip(&self, path: &Path) -> Option<String> {
        let below = parts_below(&self.root, &self.folder_of(path));
        if below.first().is_some_and(|folder| ["sourcedata", "code", "stimuli"].contains(&folder.as_str())) {
            return Some(format!("BIDS keeps no images to analyse in {}; give that folder itself to use it", below[0]));
        }
        (Entities::of(path).suffix == "photo").then(|| "by its suffix it is a photograph of the sample".to_string())
    }

    /// `sub-xxx` from the file name or else from a folder.
    pub(super) fn subject(&self, path: &Path) -> Option<String> {
        let folders = parts_below(&self.root, &self.folder_of(path));
        let mut names = Entities::of(path).pairs.into_iter().chain(folders);
        names.find(|name| name.starts_with("sub-"))
    }

    /// The pixel size by the inheritance principle: of all sidecars that apply, from the image's folder up to the
    /// root, the nearest that has the field counts, and in one folder the one with the most entities.
    ///
    /// `PixelSize` is a number or [x, y] or [x, y, z]; of pixels that are not square the geometric mean is taken.
    /// Without `PixelSizeUnits`, which BIDS requires, micrometres are assumed.
    pub(super) fn pixel_size_um(&mut self, image: &Path) -> Option<f64> {
        let folder = self.folder_of(image);
        let entities = Entities::of(image);
        let folders: Vec<PathBuf> =
            folder.ancestors().take_while(|above| above.starts_with(&self.root)).map(Path::to_path_buf).collect();
        folders.iter().for_each(|folder| self.read_sidecars(folder));
        let applying: Vec<&Sidecar> = folders
            .iter()
            .flat_map(|folder| &self.sidecars[folder])
            .filter(|sidecar| sidecar.entities.apply_to(&entities))
            .collect();
        let field = |name: &str| applying.iter().find_map(|sidecar| Some((sidecar, sidecar.fields.get(name)?)));
        let (sidecar, value) = field("PixelSize")?;
        let unit = field("PixelSizeUnits").map_or("um", |(_, unit)| unit.as_str().unwrap_or_default());
        let size = side(value).and_then(|side| in_um(side, unit));
        if size.is_none() {
            let path = sidecar.path.display();
            let note =
                format!("{path}: PixelSize {value} {unit} is not a positive size in mm, um or nm; it is not used");
            self.add_note(note);
        }
        size
    }

    /// Canonical, also when the file itself is a link into a store elsewhere.
    fn folder_of(&self, path: &Path) -> PathBuf {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf())
    }

    fn read_sidecars(&mut self, folder: &Path) {
        if self.sidecars.contains_key(folder) {
            return;
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        let mut sidecars = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            // BIDS asks for UTF-8 without a byte order mark; Windows editors add one.
            match text.and_then(|text| {
                serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| error.to_string())
            }) {
                Ok(Value::Object(fields)) => sidecars.push(Sidecar { entities: Entities::of(&path), path, fields }),
                Ok(_) => self.add_note(format!("{}: not a JSON object; it is not used", path.display())),
                Err(error) => self.add_note(format!("{}: {error}; it is not used", path.display())),
            }
        }
        sidecars.sort_by_key(|sidecar| std::cmp::Reverse(sidecar.entities.pairs.len()));
        self.sidecars.insert(folder.to_path_buf(), sidecars);
    }

    fn add_note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

fn side(value: &Value) -> Option<f64> {
    let positive = |value: &Value| value.as_f64().filter(|size| size.is_finite() && *size > 0.0);
    match value {
        Value::Array(sides) => match sides.as_slice() {
            [side] => positive(side),
            [x, y] | [x, y, _] if positive(x)? == positive(y)? => positive(x),
            [x, y] | [x, y, _] => Some((positive(x)? * positive(y)?).sqrt()),
            _ => None,
        },
        scalar => positive(scalar),
    }
}

/// Divided rather than multiplied by a rounded thousandth, so that 70 nm are the very number that 0.07 is read as.
fn in_um(side: f64, unit: &str) -> Option<f64> {
    match unit {
        "mm" => Some(side * 1e3),
        "um" | "\u{b5}m" | "\u{3bc}m" => Some(side),
        "nm" => Some(side / 1e3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files.iter().chain(&[("dataset_description.json", "{}")]) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    /// The pixel size of `sub-1/micr/sub-1_sample-A_SEM.png` given sidecars, and the number of notes.
    fn size_with(sidecars: &[(&str, &str)]) -> (Option<f64>, usize) {
        let image = ("sub-1/micr/sub-1_sample-A_SEM.png", "");
        let dir = folder(&[sidecars, &[image]].concat());
        let mut bids = Bids::containing(dir.path()).unwrap();
        (bids.pixel_size_um(&dir.path().join(image.0)), bids.notes.len())
    }

    #[test]
    fn the_nearest_and_most_specific_sidecar_wins() {
        let root = ("SEM.json", r#"{"PixelSize": 1, "PixelSizeUnits": "um"}"#);
        let subject = ("sub-1/sub-1_SEM.json", r#"{"PixelSize": [0.2, 0.2], "PixelSizeUnits": "um"}"#);
        let near = ("sub-1/micr/sub-1_SEM.json", r#"{"PixelSize": [0.3, 0.3, 0.1], "PixelSizeUnits": "um"}"#);
        let own = ("sub-1/micr/sub-1_sample-A_SEM.json", r#"{"PixelSize": [0.4, 0.4], "PixelSizeUnits": "um"}"#);
        assert_eq!(size_with(&[root]), (Some(1.0), 0));
        assert_eq!(size_with(&[root, subject]), (Some(0.2), 0));
        assert_eq!(size_with(&[root, subject, near]), (Some(0.3), 0));
        assert_eq!(size_with(&[root, subject, near, own]), (Some(0.4), 0));
    }

    #[test]
    fn sidecars_of_other_samples_suffixes_and_subjects_do_not_apply() {
        let fields = r#"{"PixelSize": 1, "PixelSizeUnits": "um"}"#;
        for name in ["sub-1/micr/sub-1_sample-B_SEM.json", "TEM.json", "sub-2_SEM.json", "participants.json"] {
            assert_eq!(size_with(&[(name, fields)]), (None, 0), "{name}");
        }
    }

    #[test]
    fn fields_are_inherited_one_by_one() {
        let root = ("SEM.json", r#"{"PixelSizeUnits": "nm"}"#);
        let near = ("sub-1/micr/sub-1_SEM.json", r#"{"PixelSize": 130}"#);
        assert_eq!(size_with(&[root, near]), (Some(0.13), 0));
    }

    #[test]
    fn units_scale_the_size_and_oblong_pixels_get_the_mean() {
        let size = |text: &str| size_with(&[("SEM.json", text)]);
        assert_eq!(size(r#"{"PixelSize": 0.5, "PixelSizeUnits": "mm"}"#), (Some(500.0), 0));
        for (nanometres, micrometres) in [("4.7", 0.0047), ("70", 0.07), ("93", 0.093), ("130", 0.13)] {
            let text = format!(r#"{{"PixelSize": [{nanometres}, {nanometres}], "PixelSizeUnits": "nm"}}"#);
            assert_eq!(size(&text), (Some(micrometres), 0));
        }
        assert_eq!(size(r#"{"PixelSize": [0.5]}"#), (Some(0.5), 0));
        assert_eq!(size(r#"{"PixelSize": [4.0, 9.0], "PixelSizeUnits": "um"}"#), (Some(6.0), 0));
        assert_eq!(size("\u{feff}{\"PixelSize\": 0.5}"), (Some(0.5), 0));
    }

    #[test]
    fn senseless_sidecars_give_no_size_and_a_note() {
        for text in [
            "{",
            "[1]",
            r#"{"PixelSize": 0}"#,
            r#"{"PixelSize": "0.1 um"}"#,
            r#"{"PixelSize": []}"#,
            r#"{"PixelSize": [0.1, -0.1]}"#,
            r#"{"PixelSize": 1, "PixelSizeUnits": "inch"}"#,
        ] {
            assert_eq!(size_with(&[("SEM.json", text)]), (None, 1), "{text}");
        }
    }

    #[test]
    fn the_subject_comes_from_the_name_or_the_folder() {
        let dir = folder(&[("sub-b/micr/x.png", ""), ("other.png", "")]);
        let bids = Bids::containing(dir.path()).unwrap();
        let subject = |name: &str| bids.subject(&dir.path().join(name));
        assert_eq!(subject("sub-a_SEM.png").as_deref(), Some("sub-a"));
        assert_eq!(subject("sub-b/micr/x.png").as_deref(), Some("sub-b"));
        assert_eq!(subject("other.png"), None);
    }

    #[test]
    fn a_subject_folder_belongs_to_the_bids_folder_above_and_a_plain_one_does_not() {
        let dir = folder(&[("sub-1/micr/sub-1_SEM.png", ""), ("extra/a.png", "")]);
        assert!(Bids::containing(&dir.path().join("sub-1")).is_some());
        assert!(Bids::containing(&dir.path().join("sub-1/micr")).is_some());
        assert!(Bids::containing(&dir.path().join("extra")).is_none());
    }

    #[test]
    fn photographs_and_source_data_are_skipped_with_a_reason() {
        let dir = folder(&[("sub-1/micr/sub-1_photo.png", ""), ("sourcedata/a.png", "")]);
        let bids = Bids::containing(dir.path()).unwrap();
        assert!(bids.reason_to_skip(&dir.path().join("sub-1/micr/sub-1_photo.png")).is_some());
        assert!(bids.reason_to_skip(&dir.path().join("sourcedata/a.png")).is_some());
        assert!(bids.reason_to_skip(&dir.path().join("sub-1/micr/sub-1_SEM.png")).is_none());
    }
}
