//! The model folders of nnU-Net v2, and zip files of them as AxonDeepSeg hands out.
//!
//! ```text
//! nnUNetTrainer__nnUNetPlans__2d/plans.json
//! nnUNetTrainer__nnUNetPlans__2d/dataset.json
//! nnUNetTrainer__nnUNetPlans__2d/fold_0/checkpoint_final.pth   fold_1 ..., or fold_all
//! ```
//!
//! Only these files are looked at. A zip file gives no name to anything on disk: its files are unpacked under the names
//! above into a temporary folder.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use walkdir::{DirEntry, WalkDir};
use zip::ZipArchive;
use zip::result::ZipError;

use super::folds::Fold;
use crate::error::{Error, Result};
use crate::files::create_dir;

/// Folders down to a model's files: `nnUNet_results/Dataset001_Name/MODEL/plans.json` has three.
const MAX_FOLDERS: usize = 3;

/// The most bytes that are unpacked from one zip file: twenty folds of nnU-Net's largest networks. A zip file of a few
/// kilobytes can hold as many zeros as it likes.
const MAX_UNPACKED_BYTES: u64 = 20_000_000_000;

/// Which checkpoint of each fold to use; where it is missing, another is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointChoice {
    /// The one with the best validation score, as AxonDeepSeg does; else the final, else the latest.
    Best,
    /// The last of a training that ended, as nnU-Net does; else the best, else the latest.
    Final,
}

impl CheckpointChoice {
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Best => ["checkpoint_best.pth", "checkpoint_final.pth", "checkpoint_latest.pth"],
            Self::Final => ["checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth"],
        }
    }
}

/// The network of one fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldFiles {
    /// The fold.
    pub fold: Fold,
    /// Its checkpoint; the file's name tells which was taken.
    pub checkpoint: PathBuf,
}

/// The files of one model. What was unpacked from a zip file is deleted with this value.
#[derive(Debug)]
pub struct ModelFiles {
    /// The name of the model's folder, or of the zip file without its extension when that holds the files directly.
    pub name: String,
    /// `plans.json`.
    pub plans: PathBuf,
    /// `dataset.json`.
    pub dataset: PathBuf,
    /// At least one fold, by number, `fold_all` last. nnU-Net does not mix that with the others.
    pub folds: Vec<FoldFiles>,
    _unpacked: Option<TempDir>,
}

/// The model in a folder or a zip file, at its root or a few folders below.
pub fn open_model_folder(path: &Path, choice: CheckpointChoice) -> Result<ModelFiles> {
    let refuse = |reason: String| Error::weights(path, reason);
    if path.is_dir() {
        let layout = Layout::find(&list_folder(path)?, choice).map_err(refuse)?;
        return Ok(layout.to_files(path, path.join(&layout.root), None));
    }
    if !path.is_file() {
        return Err(refuse("there is no such file or folder".into()));
    }
    let (mut zip, names) = open_zip(path)?;
    let layout = Layout::find(&names, choice).map_err(refuse)?;
    let folder = tempfile::Builder::new().prefix("synlabel-").tempdir();
    let folder = folder.map_err(Error::io("create a folder in", std::env::temp_dir()))?;
    unpack(&mut zip, path, &layout, folder.path())?;
    Ok(layout.to_files(path, folder.path().to_path_buf(), Some(folder)))
}

/// Where a model is in a list of paths.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// What comes before `plans.json`: nothing, or folders with a slash after each.
    root: String,
    /// The folds and the names of their checkpoints.
    folds: Vec<(Fold, &'static str)>,
}

impl Layout {
    /// The one model in a list of paths with `/` between their parts and after folders; the error is the reason of the
    /// refusal.
    fn find(names: &[String], choice: CheckpointChoice) -> std::result::Result<Self, String> {
        let root = find_root(names)?;
        let inside = || names.iter().filter_map(|name| name.strip_prefix(&root));
        if !inside().any(|name| name == "dataset.json") {
            return Err(format!(
                "it has {root}plans.json but no {root}dataset.json; copy that too, nnU-Net wrote both"
            ));
        }
        let mut found: BTreeMap<Fold, Vec<&str>> = BTreeMap::new();
        for (folder, file) in inside().filter_map(|name| name.split_once('/')) {
            if let Some(fold) = fold_of(folder) {
                found.entry(fold).or_default().push(file);
            }
        }
        if found.is_empty() {
            return Err(format!(
                "beside its {root}plans.json is no folder fold_0, fold_1 ... or fold_all with a checkpoint"
            ));
        }
        let folds = found.into_iter().map(|(fold, files)| {
            let checkpoint = choice.names().into_iter().find(|name| files.contains(name));
            checkpoint.map(|name| (fold, name)).ok_or_else(|| {
                let folder = fold.folder();
                format!("its folder {root}{folder} has no {}; complete or delete that fold", choice.names().join(", "))
            })
        });
        Ok(Self { folds: folds.collect::<std::result::Result<_, _>>()?, root })
    }

    /// The paths of the model's files below its root.
    fn paths(&self) -> Vec<String> {
        let checkpoints = self.folds.iter().map(|(fold, name)| format!("{}/{name}", fold.folder()));
        ["plans.json", "dataset.json"].map(String::from).into_iter().chain(checkpoints).collect()
    }

    fn to_files(&self, given: &Path, root: PathBuf, unpacked: Option<TempDir>) -> ModelFiles {
        // `.` and `..` have no name of their own.
        let given = given.canonicalize().unwrap_or_else(|_| given.to_path_buf());
        let outermost = if unpacked.is_some() { given.file_stem() } else { given.file_name() };
        let name = match self.root.trim_end_matches('/').rsplit('/').next() {
            Some(folder) if !folder.is_empty() => folder.to_string(),
            _ => outermost.unwrap_or_default().to_string_lossy().into_owned(),
        };
        let [plans, dataset] = ["plans.json", "dataset.json"].map(|file| root.join(file));
        let to_files =
            |(fold, name): &(Fold, _)| FoldFiles { fold: *fold, checkpoint: root.join(fold.folder()).join(name) };
        let folds = self.folds.iter().map(to_files).collect();
        ModelFiles { name, plans, dataset, folds, _unpacked: unpacked }
    }
}

/// The fold whose folder is called this.
fn fold_of(folder: &str) -> Option<Fold> {
    folder.strip_prefix("fold_")?.parse().ok().filter(|fold: &Fold| fold.folder() == folder)
}

/// The folder of the one `plans.json` in a list of paths; one at the top hides those below.
fn find_root(names: &[String]) -> std::result::Result<String, String> {
    let roots = names.iter().filter_map(|name| name.strip_suffix("plans.json"));
    let roots = roots.filter(|root| root.is_empty() || root.ends_with('/'));
    // macOS packs a file of its own attributes beside each file.
    let roots = roots.filter(|root| !root.starts_with("__MACOSX/") && root.matches('/').count() <= MAX_FOLDERS);
    let mut roots: Vec<&str> = roots.collect();
    roots.sort_unstable();
    match roots.as_slice() {
        ["", ..] => Ok(String::new()),
        [root] => Ok(root.to_string()),
        [] => {
            Err("it holds no plans.json; give the folder that nnU-Net made, such as nnUNetTrainer__nnUNetPlans__2d, \
                   or a zip file of it"
                .into())
        }
        several => Err(format!("it holds several models; give one of them: {}", several.join(", "))),
    }
}

/// The files and folders near the top of a folder.
fn list_folder(root: &Path) -> Result<Vec<String>> {
    // What lies in a fold below its checkpoints are predictions, by the thousand.
    let in_a_fold = |entry: &DirEntry| {
        let parent = entry.path().parent().and_then(Path::file_name).and_then(|name| name.to_str());
        entry.depth() > 1 && parent.is_some_and(|name| fold_of(name).is_some())
    };
    let walk = WalkDir::new(root).max_depth(MAX_FOLDERS + 2).follow_links(true);
    let mut names = Vec::new();
    for entry in walk.into_iter().filter_entry(|entry| !(entry.file_type().is_dir() && in_a_fold(entry))) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => {
                return Err(Error::weights(root, format!("it cannot be looked into ({error})")));
            }
            // A dangling link or a closed folder somewhere below need not be part of the model.
            Err(_) => continue,
        };
        let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        names.push(parts.join("/") + if entry.file_type().is_dir() { "/" } else { "" });
    }
    Ok(names)
}

type Zip = ZipArchive<BufReader<File>>;

/// A zip file and the names in it. It is refused when a name leads out of the folder into which it might be unpacked,
/// or is a link: no honest packer writes these into a model.
fn open_zip(path: &Path) -> Result<(Zip, Vec<String>)> {
    let explain = |error| match error {
        ZipError::Io(error) => Error::io("read", path)(error),
        error => Error::weights(
            path,
            format!("it is neither a folder nor a complete zip file ({error}); copy or download it again"),
        ),
    };
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(explain)?;
    let mut names = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(explain)?;
        let name = entry.name().map_err(explain)?.into_owned();
        let is_absolute = name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':');
        if is_absolute || name.split(['/', '\\']).any(|part| part == "..") || entry.is_symlink() {
            let reason = format!("its member {name:?} points out of the archive; do not trust this file");
            return Err(Error::weights(path, reason));
        }
        names.push(name);
    }
    Ok((zip, names))
}

/// Writes the model's files into `folder`.
fn unpack(zip: &mut Zip, path: &Path, layout: &Layout, folder: &Path) -> Result<()> {
    let mut left = MAX_UNPACKED_BYTES;
    for file in layout.paths() {
        let name = format!("{}{file}", layout.root);
        let damaged = |error: &dyn Display| {
            Error::weights(path, format!("its member {name} cannot be unpacked ({error}); copy or download it again"))
        };
        let entry = zip.by_name(&name).map_err(|error| damaged(&error))?;
        let target = folder.join(&file);
        target.parent().map_or(Ok(()), create_dir)?;
        let mut output = File::create(&target).map_err(Error::io("create", &target))?;
        // The declared size may be a lie, so the bytes themselves are counted.
        let copied = io::copy(&mut entry.take(left + 1), &mut output).map_err(|error| match error.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => damaged(&error),
            _ => Error::io("write", &target)(error),
        })?;
        left = left.checked_sub(copied).ok_or_else(|| {
            let gigabytes = MAX_UNPACKED_BYTES / 1_000_000_000;
            Error::weights(path, format!("its files take more than {gigabytes} GB unpacked; give the folder itself"))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn find(names: &[&str], choice: CheckpointChoice) -> std::result::Result<Layout, String> {
        Layout::find(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>(), choice)
    }

    /// A zip file of members that hold their own names.
    fn zip_of(dir: &Path, names: &[&str]) -> PathBuf {
        let path = dir.join("a__b__2d.zip");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for name in names {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    #[test]
    fn the_choice_decides_between_checkpoints_and_falls_back() {
        let names = [
            "plans.json",
            "dataset.json",
            "fold_all/checkpoint_latest.pth",
            "fold_2/checkpoint_best.pth",
            "fold_2/checkpoint_final.pth",
            "fold_10/checkpoint_final.pth",
            "fold_10/validation/checkpoint_best.pth",
            "fold_old/checkpoint_best.pth",
            "fold_02/checkpoint_best.pth",
        ];
        for (choice, of_fold_2) in
            [(CheckpointChoice::Best, "checkpoint_best.pth"), (CheckpointChoice::Final, "checkpoint_final.pth")]
        {
            let expected = [
                (Fold::Number(2), of_fold_2),
                (Fold::Number(10), "checkpoint_final.pth"),
                (Fold::All, "checkpoint_latest.pth"),
            ];
            assert_eq!(find(&names, choice).unwrap(), Layout { root: String::new(), folds: expected.into() });
        }
    }

    #[test]
    fn what_is_no_single_complete_model_is_refused() {
        for (names, words) in [
            (&["notes.txt", "my_plans.json"][..], "it holds no plans.json"),
            (&["a/b/c/d/plans.json"], "it holds no plans.json"),
            (&["a/plans.json", "b/plans.json"], "several models; give one of them: a/, b/"),
            (&["a/plans.json"], "no a/dataset.json"),
            (&["a/plans.json", "a/dataset.json", "a/fold_x/checkpoint_best.pth"], "no folder fold_0, fold_1"),
            (&["a/plans.json", "a/dataset.json", "a/fold_1/"], "its folder a/fold_1 has no checkpoint_best.pth"),
        ] {
            let reason = find(names, CheckpointChoice::Best).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn a_model_is_found_in_a_results_folder_and_keeps_its_name() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nnunet");
        let files = open_model_folder(&golden, CheckpointChoice::Best).unwrap();
        assert_eq!(files.name, "nnUNetTrainer__nnUNetPlans__2d");
        assert_eq!(files.folds.iter().map(|files| files.fold).collect::<Vec<_>>(), [Fold::Number(0), Fold::Number(1)]);
        assert!(files.folds.iter().all(|files| files.checkpoint.ends_with("checkpoint_final.pth")));
        assert!(files.plans.is_file() && files.dataset.is_file() && files.folds[1].checkpoint.is_file());
    }

    #[test]
    fn a_zip_file_is_unpacked_for_as_long_as_its_files_are_used() {
        let dir = tempfile::tempdir().unwrap();
        for (root, name) in [("", "a__b__2d"), ("top/model/", "model")] {
            let members = ["plans.json", "dataset.json", "fold_all/checkpoint_final.pth", "fold_all/progress.png"];
            let members = members.map(|file| format!("{root}{file}"));
            let members = members.iter().map(String::as_str).chain(["__MACOSX/plans.json"]).collect::<Vec<_>>();
            let files = open_model_folder(&zip_of(dir.path(), &members), CheckpointChoice::Best).unwrap();
            let checkpoint = files.folds[0].checkpoint.clone();
            assert_eq!((files.name.as_str(), files.folds[0].fold), (name, Fold::All));
            assert_eq!(std::fs::read_to_string(&checkpoint).unwrap(), members[2]);
            assert!(!checkpoint.with_file_name("progress.png").exists());
            drop(files);
            assert!(!checkpoint.exists());
        }
    }

    #[test]
    fn a_zip_file_with_ways_out_is_refused_and_so_is_a_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| open_model_folder(path, CheckpointChoice::Best).unwrap_err().to_string();
        for name in ["../x", "a/../../x", "/etc/x", "C:\\x", "a\\..\\..\\x"] {
            let error = refusal(&zip_of(dir.path(), &["plans.json", name]));
            assert!(error.contains("points out of the archive"), "{name}: {error}");
        }
        let path = dir.path().join("link.zip");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        zip.add_symlink("fold_0", "/etc", SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap();
        assert!(refusal(&path).contains("\"fold_0\" points out of the archive"));

        let whole = zip_of(dir.path(), &["plans.json", "dataset.json", "fold_0/checkpoint_best.pth"]);
        let mut bytes = std::fs::read(&whole).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        assert!(refusal(&path).contains("nor a complete zip file"));
        // The content of the first member follows its header of 30 bytes and its name.
        bytes[30 + "plans.json".len() + 2] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        assert!(refusal(&path).contains("plans.json cannot be unpacked"));
        assert!(refusal(&dir.path().join("missing")).contains("no such file or folder"));
    }
}
