//! What a stage depends on, as hashes.

use crate::error::{Error, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// Bytes of a file that are read at a time.
const BLOCK: usize = 1 << 18;

/// Tells the result of a stage from its other results, of other inputs or of another beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(pub(super) String);

/// What a stage depends on: a hash for each of the names under which the user is told of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    hashes: BTreeMap<String, String>,
}

impl Inputs {
    /// No inputs.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a value that makes a difference, such as settings.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    ///
    /// # Panics
    /// When there is an input of that name, as the other methods do.
    pub fn value(self, name: &str, value: &impl Serialize) -> Result<Self> {
        let hash = hash_json(name, value)?;
        Ok(self.with(name, hash))
    }

    /// With the contents of files, and of all files in and below the folders among `paths` but hidden ones.
    ///
    /// Their order makes no difference, nor does the place of the folder that holds them all: names count from there.
    ///
    /// # Errors
    /// When a file or folder cannot be read.
    pub fn files(self, name: &str, paths: &[PathBuf]) -> Result<Self> {
        let files = files_below(paths)?;
        let folder = common_folder(&files);
        let mut hashes = Vec::new();
        for file in &files {
            let below = file.strip_prefix(folder).unwrap_or(file).to_string_lossy();
            hashes.push((below, hash_file(file).map_err(Error::io("read", file))?));
        }
        self.value(name, &hashes)
    }

    /// With the result of an earlier stage.
    pub fn stage(self, name: &str, result: &Stamp) -> Self {
        self.with(name, result.0.clone())
    }

    /// With those of another set.
    pub fn and(self, others: &Self) -> Self {
        others.hashes.iter().fold(self, |inputs, (name, hash)| inputs.with(name, hash.clone()))
    }

    /// The hash of each input, by its name.
    pub(super) fn hashes(&self) -> &BTreeMap<String, String> {
        &self.hashes
    }

    fn with(mut self, name: &str, hash: String) -> Self {
        let previous = self.hashes.insert(name.to_owned(), hash);
        assert!(previous.is_none(), "there are two inputs named \"{name}\"");
        self
    }
}

/// The SHA-256 of a value's JSON with sorted keys, in hexadecimal digits.
pub(super) fn hash_json(name: &str, value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_value(value).map_err(|error| {
        Error::Config(format!("cannot write \"{name}\" as JSON to see whether it changes ({error})"))
    })?;
    Ok(hexadecimal(Sha256::new().chain_update(json.to_string())))
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hexadecimal(hasher)),
            count => hasher.update(&block[..count]),
        }
    }
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lowest folder that all files are in.
fn common_folder(files: &BTreeSet<PathBuf>) -> &Path {
    let mut folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    while let (false, Some(parent)) = (files.iter().all(|file| file.starts_with(folder)), folder.parent()) {
        folder = parent;
    }
    folder
}

/// The absolute paths of the files among `paths` and below the folders among them.
fn files_below(paths: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for path in paths {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        // File managers leave hidden files behind when a folder is only looked at.
        let is_entered = |entry: &DirEntry| entry.depth() == 0 || !is_hidden(entry);
        for entry in WalkDir::new(&path).follow_links(true).into_iter().filter_entry(is_entered) {
            let entry = entry.map_err(|error| {
                let place = error.path().unwrap_or(&path).to_path_buf();
                Error::io("read", place)(error.into())
            })?;
            if entry.file_type().is_file() {
                files.insert(entry.into_path());
            }
        }
    }
    Ok(files)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::fs;

    fn write(path: &Path, content: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        path.to_path_buf()
    }

    fn of(paths: &[PathBuf]) -> Inputs {
        Inputs::new().files("images", paths).unwrap()
    }

    #[test]
    fn hashes_are_those_of_other_programs() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(&dir.path().join("a.txt"), "abc");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_file(&file).unwrap(), abc);
        let blocks = write(&dir.path().join("b.txt"), &"x".repeat(2 * BLOCK + 1));
        assert_eq!(hash_file(&blocks).unwrap(), hexadecimal(Sha256::new().chain_update("x".repeat(2 * BLOCK + 1))));
        // The JSON text is "abc" with its quotes.
        assert_eq!(hash_json("text", &"abc").unwrap(), hexadecimal(Sha256::new().chain_update("\"abc\"")));
    }

    #[test]
    fn files_count_by_name_and_content_in_any_order_and_any_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str, content| write(&dir.path().join(path), content);
        let [first, second] = [at("here/sub-1/a.png", "one"), at("here/sub-2/a.png", "two")];
        let inputs = of(&[first.clone(), second.clone()]);
        assert_eq!(inputs, of(&[second.clone(), first.clone(), second.clone()]));
        assert_eq!(inputs, of(&[at("there/sub-1/a.png", "one"), at("there/sub-2/a.png", "two")]));
        assert_ne!(inputs, of(&[at("swapped/sub-1/a.png", "two"), at("swapped/sub-2/a.png", "one")]));
        assert_ne!(inputs, of(std::slice::from_ref(&first)));
        write(&first, "six");
        assert_ne!(inputs, of(&[first, second]));
    }

    #[test]
    fn a_folder_stands_for_the_files_below_it_but_hidden_ones() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join(".models/axons");
        write(&model.join("fold-1/weights"), "w");
        let before = of(std::slice::from_ref(&model));
        assert_eq!(before, of(&[model.join("fold-1/weights")]));
        write(&model.join(".DS_Store"), "x");
        write(&model.join(".cache/x"), "x");
        assert_eq!(before, of(std::slice::from_ref(&model)));
        write(&model.join("plan.toml"), "p");
        assert_ne!(before, of(&[model]));
    }

    #[test]
    fn the_order_of_keys_in_a_value_makes_no_difference() {
        let keys: Vec<String> = (0..20).map(|number| format!("key {number}")).collect();
        let map = |keys: &mut dyn Iterator<Item = &String>| keys.map(|key| (key.clone(), 1)).collect::<HashMap<_, _>>();
        let there = Inputs::new().value("settings", &map(&mut keys.iter())).unwrap();
        assert_eq!(there, Inputs::new().value("settings", &map(&mut keys.iter().rev())).unwrap());
        assert_ne!(there, Inputs::new().value("settings", &map(&mut keys.iter().skip(1))).unwrap());
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = PathBuf::from("no/such/image.png");
        let error = Inputs::new().files("images", &[path]).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.contains("image.png"), "{error}");
    }

    #[test]
    #[should_panic(expected = "two inputs named \"settings\"")]
    fn a_name_stands_for_one_input() {
        let _ = Inputs::new().value("settings", &1).unwrap().value("settings", &2);
    }
}
