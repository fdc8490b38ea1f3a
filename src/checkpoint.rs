//! Checkpoint folders: complete or absent, with a manifest that tells whether one was cut short.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{create_dir, partial_dir, recover_dir, replace_dir, write_json};

/// The description of a checkpoint, `checkpoint.json` in its folder.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest<P> {
    progress: P,
    /// Names and sizes in bytes of the other files.
    files: Vec<(String, u64)>,
}

const MANIFEST: &str = "checkpoint.json";

/// Replaces the checkpoint in `folder` by what `write` puts into the folder it is given; until that is complete the
/// old one stays.
pub fn write<P: Serialize>(folder: &Path, progress: &P, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    recover_dir(folder)?;
    let partial = partial_dir(folder);
    create_dir(&partial)?;
    write(&partial)?;
    let manifest = Manifest { progress, files: file_sizes(&partial)? };
    write_json(&partial.join(MANIFEST), &manifest)?;
    replace_dir(&partial, folder)
}

/// Whether there is a checkpoint in the folder.
pub fn exists(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}

/// How far the checkpoint in `folder` had come; an error when it is missing or not whole.
pub fn progress<P: DeserializeOwned>(folder: &Path) -> Result<P> {
    recover_dir(folder)?;
    if !folder.is_dir() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        return Err(Error::run(folder.parent().unwrap_or(folder), format!("it has no checkpoint \"{name}\" yet")));
    }
    let path = folder.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let manifest: Manifest<P> =
        serde_json::from_str(&text).map_err(|error| Error::run(&path, format!("it is damaged ({error})")))?;
    for (name, size) in &manifest.files {
        let path = folder.join(name);
        let found = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        if found != *size {
            return Err(Error::run(
                &path,
                format!("it has {found} bytes where {size} were written; copy the checkpoint again or use another"),
            ));
        }
    }
    Ok(manifest.progress)
}

/// Writes the parameters of a network without gradients.
pub fn save_module(module: impl Module, path: &Path) -> Result<()> {
    module.into_record().save(path).map_err(|error| Error::run(path, error.to_string()))
}

/// The network with the parameters of a file.
pub fn load_module<M: Module>(module: M, path: &Path) -> Result<M> {
    let refuse =
        |reason: String| Error::run(path, format!("it does not fit the run's settings or is damaged ({reason})"));
    let record = ModuleRecord::load(path).map_err(|error| refuse(error.to_string()))?;
    module.try_load_record(record).map_err(|error| refuse(error.to_string()))
}

/// Writes the state of an optimiser.
pub fn save_optimiser(optimiser: &ModuleOptimizer, path: &Path) -> Result<()> {
    optimiser.save(path).map_err(|error| Error::run(path, error.to_string()))
}

/// The optimiser with the state of a file.
pub fn load_optimiser(optimiser: ModuleOptimizer, path: &Path) -> Result<ModuleOptimizer> {
    optimiser.load(path).map_err(|error| Error::run(path, error.to_string()))
}

fn file_sizes(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let size = entry.metadata().map_err(Error::io("read", entry.path()))?.len();
        sizes.push((entry.file_name().to_string_lossy().into_owned(), size));
    }
    sizes.sort();
    Ok(sizes)
}
