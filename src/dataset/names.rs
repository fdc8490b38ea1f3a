//! What the names of files and the table `subjects.tsv` tell: masks, case names, subjects.

use crate::error::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

/// What the names of maps of confidence, which lie among masks, contain.
pub(super) const CONFIDENCE: &str = "_desc-confidence";

/// The name without the extension, nor the `.ome` or `.nii` before it.
pub(crate) fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    stem.strip_suffix(if is_packed { ".nii" } else { ".ome" }).unwrap_or(&stem).to_string()
}

/// Whether names say that a file below `root` is a mask; `all` are the images' paths without extension.
pub(super) fn is_mask(path: &Path, root: &Path, all: &HashSet<PathBuf>) -> bool {
    let in_mask_folder = parts_below(root, path.parent().unwrap_or(root)).iter().any(|folder| is_mask_folder(folder));
    let stem = stem(path);
    let has_image = |name: String| all.contains(&path.with_file_name(name));
    in_mask_folder || stem.contains("_seg-") || image_stems(&stem).into_iter().any(has_image)
}

/// Whether a folder of this name holds masks.
pub(super) fn is_mask_folder(name: &str) -> bool {
    let name = name.to_lowercase();
    let whole = ["mask", "masks", "label", "annotation", "annotations", "groundtruth", "ground_truth", "gt"];
    whole.contains(&name.as_str()) || name.starts_with("labels")
}

/// The stems of images that a file of this stem may be the mask of: `image_7` of `mask_7`, `cell` of `cell_mask`.
pub(super) fn image_stems(stem: &str) -> Vec<String> {
    let by_prefix = stem.strip_prefix("mask_").map(|rest| format!("image_{rest}"));
    let suffixes = ["_mask", "_masks", "_label", "_labels", "_seg"].into_iter();
    let by_suffix = suffixes.filter_map(|suffix| stem.strip_suffix(suffix)).map(String::from);
    by_prefix.into_iter().chain(by_suffix).collect()
}

/// Whether AxonDeepSeg drew a file from the image beside it; `all` are the images' paths without extension.
pub(super) fn is_drawn_from(path: &Path, all: &HashSet<PathBuf>) -> bool {
    const DRAWINGS: [&str; 6] =
        ["_axonmyelin_index", "_index", "_colorized", "_instance-map", "_diameter_overlay", "_grayscale"];
    let stem = stem(path);
    DRAWINGS
        .iter()
        .filter_map(|ending| stem.strip_suffix(ending))
        .any(|image| all.contains(&path.with_file_name(image)))
}

/// `sub-1` of `sub-1_sample-A`, if a name has such a part.
pub(super) fn entity_of_subject(name: &str) -> Option<&str> {
    name.split('_').find(|part| part.starts_with("sub-") && part.len() > 4)
}

/// The names of the folders, and at last of the file, that lead from `root` to `path`.
pub(super) fn parts_below(root: &Path, path: &Path) -> Vec<String> {
    let below = path.strip_prefix(root).unwrap_or(path);
    let names = below.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    names.collect()
}

/// The longest path that all folders lie in; `.` when they share nothing.
pub(super) fn common_folder<'a>(mut folders: impl Iterator<Item = &'a Path>) -> PathBuf {
    let first = folders.next().unwrap_or(Path::new("")).to_path_buf();
    let shared = folders.fold(first, |shared, folder| {
        let same = shared.components().zip(folder.components()).take_while(|(a, b)| a == b);
        same.map(|(part, _)| part).collect()
    });
    if shared.as_os_str().is_empty() { PathBuf::from(".") } else { shared }
}

/// A name for each file, unique even where letter case does not count: its stem; where stems collide, the path below
/// `root` joined with `_`; then with the extension (`a.png` beside `a.tif`); then with a number.
pub(super) fn unique_names(root: &Path, paths: &[&Path]) -> Vec<String> {
    let name = |path: &Path, effort: usize| {
        let mut parts = parts_below(root, path);
        parts.pop();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        match effort {
            0 => stem(path),
            1 => [parts, vec![stem(path)]].concat().join("_"),
            _ => [parts, vec![stem(path), extension]].concat().join("_"),
        }
    };
    let mut efforts = vec![0; paths.len()];
    for _ in 0..2 * paths.len() {
        let names: Vec<String> = paths.iter().zip(&efforts).map(|(path, effort)| name(path, *effort)).collect();
        let collides = collisions(&names);
        let mut changed = false;
        for (effort, collides) in efforts.iter_mut().zip(collides) {
            if collides && *effort < 2 {
                *effort += 1;
                changed = true;
            }
        }
        if !changed {
            return number_the_rest(names);
        }
    }
    number_the_rest(paths.iter().map(|path| name(path, 2)).collect())
}

fn collisions(names: &[String]) -> Vec<bool> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    names.iter().for_each(|name| *counts.entry(name.to_lowercase()).or_default() += 1);
    names.iter().map(|name| counts[&name.to_lowercase()] > 1).collect()
}

/// Appends `_2`, `_3` ... to names that are taken.
pub(super) fn number_the_rest(names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let given: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let unique = names.into_iter().map(|name| {
        let mut candidate = name.clone();
        for number in 2.. {
            let is_first_choice = candidate == name;
            let is_free = is_first_choice || !given.contains(&candidate.to_lowercase());
            if is_free && taken.insert(candidate.to_lowercase()) {
                break;
            }
            candidate = format!("{name}_{number}");
        }
        candidate
    });
    unique.collect()
}

/// The subjects, and perhaps pixel sizes in micrometres, that `subjects.tsv` gives to files.
#[derive(Default)]
pub(super) struct Subjects {
    pub(super) of_file: HashMap<PathBuf, String>,
    pub(super) pixel_sizes_um: HashMap<PathBuf, f64>,
    pub(super) notes: Vec<String>,
}

/// Reads `subjects.tsv` in `root`, if there is one: columns `file` (path below the folder, or a name) and `subject`,
/// and there may be `pixel_size_um`, empty or `n/a` where it is not known.
pub(super) fn subjects_of_plain_folder(root: &Path, images: &[PathBuf]) -> Result<Subjects> {
    let table = root.join("subjects.tsv");
    if !table.is_file() {
        return Ok(Subjects::default());
    }
    let text = std::fs::read_to_string(&table).map_err(Error::io("read", &table))?;
    let mut lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.trim().is_empty());
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').map(str::trim).collect();
    let column = |name| header.iter().position(|title| *title == name);
    let (Some(file_column), Some(subject_column)) = (column("file"), column("subject")) else {
        let reason = "subjects.tsv needs the columns file and subject, separated by tabs; correct or remove it";
        return Err(Error::dataset(root, reason));
    };
    let size_column = column("pixel_size_um");
    let mut subjects = Subjects::default();
    for line in lines {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
        let (file, subject) = (cell(file_column).replace('\\', "/"), cell(subject_column));
        if file.is_empty() || subject.is_empty() {
            return Err(Error::dataset(root, format!("subjects.tsv has an incomplete row: {line:?}; fill it in")));
        }
        let pixel_size_um = size_column.map_or(Ok(None), |column| parse_size(cell(column))).map_err(|size| {
            let reason = format!("subjects.tsv gives {file} the pixel size {size:?}; give micrometres, or n/a");
            Error::dataset(root, reason)
        })?;
        let of_row = |path: &&PathBuf| {
            let parts = parts_below(root, path);
            parts.join("/") == file || parts.last() == Some(&file)
        };
        let files: Vec<&PathBuf> = images.iter().filter(of_row).collect();
        if files.is_empty() {
            subjects.notes.push(format!("{}: no image matches {file}", table.display()));
        }
        subjects.pixel_sizes_um.extend(files.iter().filter_map(|path| Some((path.to_path_buf(), pixel_size_um?))));
        subjects.of_file.extend(files.into_iter().map(|path| (path.clone(), subject.to_string())));
    }
    let missing = images.len() - subjects.of_file.len();
    if missing > 0 {
        let note = format!("{}: {missing} images have no row; each is its own subject", table.display());
        subjects.notes.push(note);
    }
    Ok(subjects)
}

/// A positive number, or none in an empty cell; the text itself where it is neither.
fn parse_size(text: &str) -> std::result::Result<Option<f64>, String> {
    match text.parse() {
        _ if ["", "n/a"].contains(&text) => Ok(None),
        Ok(size) if f64::is_finite(size) && size > 0.0 => Ok(Some(size)),
        _ => Err(text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        unique_names(Path::new("root"), &paths.iter().map(Path::new).collect::<Vec<_>>())
    }

    #[test]
    fn stems_name_the_cases_and_collisions_get_the_path() {
        assert_eq!(names(&["root/a.png", "root/x/b.png"]), ["a", "b"]);
        assert_eq!(names(&["root/a.png", "root/x/b.png", "root/y/b.png"]), ["a", "x_b", "y_b"]);
        assert_eq!(names(&["root/x/a.png", "root/x/A.tif"]), ["x_a_png", "x_A_tif"]);
    }

    #[test]
    fn names_stay_unique_when_a_joined_path_is_the_stem_of_another_file() {
        let lists: [&[&str]; 3] = [
            &["root/a_b.png", "root/a/b.png", "root/c/b.png"],
            &["root/a/b_c.png", "root/a_b/c.png", "root/x/c.png", "root/x/b_c.png"],
            &["root/a_b/c.png", "root/a/b_c.png", "root/a_b_c.png", "root/a_b_c_png.png", "root/a/b/c.png"],
        ];
        for list in lists {
            let lower: HashSet<String> = names(list).iter().map(|name| name.to_lowercase()).collect();
            assert_eq!(lower.len(), list.len(), "{:?}", names(list));
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_a_free_number() {
        let numbered = number_the_rest(["a", "a_2", "A", "a"].map(String::from).to_vec());
        assert_eq!(numbered, ["a", "a_2", "A_3", "a_4"]);
    }

    #[test]
    fn masks_are_known_by_name_by_folder_and_by_the_image_beside_them() {
        let all: HashSet<PathBuf> = ["r/image_1", "r/cell", "r/alone_mask"].map(PathBuf::from).into();
        let mask = |path: &str| is_mask(Path::new(path), Path::new("r"), &all);
        let masks =
            ["r/mask_1.png", "r/cell_mask.tif", "r/x_seg-axon-manual.png", "r/labelsTr/a.png", "r/x/Masks/y/a.png"];
        assert!(masks.into_iter().all(mask));
        let images = ["r/image_1.png", "r/mask_2.png", "r/alone_mask.png", "r/x/a.png", "r/masked/a.png"];
        assert!(!images.into_iter().any(mask));
        assert!(is_drawn_from(Path::new("r/cell_axonmyelin_index.png"), &all));
        assert!(!is_drawn_from(Path::new("r/other_index.png"), &all));
        assert!(!is_mask(Path::new("masks/a.png"), Path::new("masks"), &all), "the folder the user gave is not judged");
    }

    #[test]
    fn the_common_folder_of_folders_is_what_they_share() {
        let common = |folders: &[&str]| common_folder(folders.iter().map(Path::new));
        assert_eq!(common(&["a/b/c", "a/b/d", "a/b"]), Path::new("a/b"));
        assert_eq!(common(&["a", "b"]), Path::new("."));
        assert_eq!(common(&["/a", "/b"]), Path::new("/"));
        assert_eq!(common(&["a/b"]), Path::new("a/b"));
    }
}
