//! Writing files and folders so that a crash at any moment leaves the old one or the new one, complete.
//!
//! Leftovers of a crash are recognised by name: a file `.partial-PROCESS-NAME` and a folder `NAME.partial` are
//! incomplete and may be deleted; a folder `NAME.previous` is the complete old `NAME`, needed only while `NAME` is
//! missing. [`recover_dir`] sets this right for one folder.
//! A folder that replaces none is a [`PendingDir`].

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Creates a folder and those above it; a folder that exists is fine.
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create the folder", path))
}

/// Writes a file through a [`PendingFile`], which `write_to` fills. When `write_to` fails, `path` is as it was.
pub fn write_atomically(path: &Path, write_to: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let file = PendingFile::new(path)?;
    write_to(file.temporary())?;
    file.complete()
}

/// A temporary file beside the one it is to become: either completed, or removed when dropped.
///
/// The temporary name keeps the extension, since some encoders choose the format by it, and starts with a dot, so
/// that nothing takes it for a finished file.
#[derive(Debug)]
pub struct PendingFile {
    temporary: PathBuf,
    path: PathBuf,
}

impl PendingFile {
    /// The temporary file of `path`, which does not exist yet.
    pub fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| {
            Error::Config(format!("cannot write to {}: this names no file; add a file name", path.display()))
        })?;
        let mut temporary_name = OsString::from(format!(".partial-{}-", std::process::id()));
        temporary_name.push(name);
        Ok(Self { temporary: path.with_file_name(temporary_name), path: path.to_path_buf() })
    }

    /// The name to write to.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file, written and closed, in the place of `path`.
    pub fn complete(self) -> Result<()> {
        flush_to_disk(&self.temporary)?;
        rename(&self.temporary, &self.path)
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // After `complete` there is nothing to remove; else the error that led here is the one worth reporting.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Reads a value that [`write_json`] wrote.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|error| Error::run(path, format!("it is damaged ({error})")))
}

/// A new folder that is filled under a temporary name, `NAME.partial`: either completed, or removed when dropped.
#[derive(Debug)]
pub struct PendingDir {
    temporary: PathBuf,
    path: PathBuf,
}

impl PendingDir {
    /// Begins the folder; what an interrupted attempt left is removed. It is an error when `path` holds anything.
    pub fn new(path: &Path) -> Result<Self> {
        match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => fs::remove_dir(path).map_err(Error::io("replace the empty folder", path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => {
                let reason = "there is something already, which is never overwritten; give a new folder, or move it";
                return Err(Error::Config(format!("cannot write to {}: {reason}", path.display())));
            }
        }
        let temporary = partial_dir(path);
        remove_dir(&temporary)?;
        create_dir(&temporary)?;
        Ok(Self { temporary, path: path.to_path_buf() })
    }

    /// The folder to write to.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its name.
    pub fn complete(self) -> Result<()> {
        rename(&self.temporary, &self.path)
    }
}

impl Drop for PendingDir {
    fn drop(&mut self) {
        // As for a `PendingFile`.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Writes a value as readable JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::Config(format!("cannot write {} ({error})", path.display())))?;
    write_atomically(path, |path| fs::write(path, text + "\n").map_err(Error::io("write", path)))
}

/// The name under which a folder is filled before [`replace_dir`]: `NAME.partial` beside `NAME`.
pub fn partial_dir(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// Puts the complete folder `temporary` in the place of `path`, whether that exists or not.
///
/// The old folder is moved aside to `NAME.previous` before the new one takes its name and is deleted after, so one
/// of them is complete at every moment; between the two renames it is `NAME.previous` (see [`recover_dir`]).
pub fn replace_dir(temporary: &Path, path: &Path) -> Result<()> {
    let previous = with_suffix(path, ".previous");
    if path.exists() {
        remove_dir(&previous)?;
        rename(path, &previous)?;
    }
    rename(temporary, path)?;
    remove_dir(&previous)
}

/// Completes or undoes a [`replace_dir`] that a crash cut short; to call before a folder is read or replaced.
///
/// A missing `path` is restored from `NAME.previous`; otherwise `NAME.previous` is deleted, and so is `NAME.partial`
/// in both cases, since nothing tells whether it is complete. Returns whether the folder had to be restored.
pub fn recover_dir(path: &Path) -> Result<bool> {
    remove_dir(&partial_dir(path))?;
    let previous = with_suffix(path, ".previous");
    if path.exists() || !previous.exists() {
        remove_dir(&previous)?;
        return Ok(false);
    }
    rename(&previous, path)?;
    Ok(true)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    path.with_file_name(name)
}

/// Without this, a power failure after the rename can leave the new name with no content.
fn flush_to_disk(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("write", path))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("write", to))
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("delete the folder", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(path: &Path, content: &str) {
        create_dir(path).unwrap();
        fs::write(path.join("weights"), content).unwrap();
    }

    fn content(path: &Path) -> String {
        fs::read_to_string(path.join("weights")).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomically(&path, |t| fs::write(t, "old").map_err(Error::io("write", t))).unwrap();
        let failed = write_atomically(&path, |t| {
            assert_eq!(t.extension().unwrap(), "json");
            fs::write(t, "ne").unwrap();
            Err(Error::Config("disk full".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(dir.path()), ["a.json"]);
        write_atomically(&path, |t| fs::write(t, "new").map_err(Error::io("write", t))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn writing_where_there_is_no_folder_or_no_file_name_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("a.txt");
        let error = write_atomically(&path, |t| fs::write(t, "x").map_err(Error::io("write", t))).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        assert!(write_atomically(Path::new("/"), |_| Ok(())).is_err());
    }

    #[test]
    fn replacing_a_folder_leaves_the_new_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        for version in ["one", "two", "three"] {
            folder_with(&partial_dir(&path), version);
            replace_dir(&partial_dir(&path), &path).unwrap();
            assert_eq!(content(&path), version);
            assert_eq!(names(dir.path()), ["checkpoint"]);
        }
    }

    #[test]
    fn a_new_folder_is_complete_or_absent_and_never_in_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set");
        folder_with(&partial_dir(&path), "left over");
        let pending = PendingDir::new(&path).unwrap();
        assert!(fs::read_dir(pending.temporary()).unwrap().next().is_none());
        drop(pending);
        assert_eq!(names(dir.path()), [""; 0]);
        create_dir(&path).unwrap();
        let pending = PendingDir::new(&path).unwrap();
        folder_with(pending.temporary(), "new");
        pending.complete().unwrap();
        assert_eq!((content(&path), names(dir.path())), ("new".into(), vec!["set".to_string()]));
        let message = PendingDir::new(&path).unwrap_err().to_string();
        assert!(message.contains("set: there is something already") && content(&path) == "new", "{message}");
    }

    #[test]
    fn a_crash_at_any_moment_of_a_replacement_leaves_a_complete_folder() {
        // The folders that exist after each step of `replace_dir`, and what must be found after recovery.
        let moments = [
            (vec![("c", "old"), ("c.partial", "ne")], "old", false),
            (vec![("c.previous", "old"), ("c.partial", "new")], "old", true),
            (vec![("c.previous", "old"), ("c", "new")], "new", false),
            (vec![("c", "new")], "new", false),
        ];
        for (folders, expected, restored) in moments {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in folders {
                folder_with(&dir.path().join(name), text);
            }
            let path = dir.path().join("c");
            assert_eq!(recover_dir(&path).unwrap(), restored);
            assert_eq!(content(&path), expected);
            assert_eq!(names(dir.path()), ["c"]);
        }
    }

    #[test]
    fn a_replacement_after_a_crash_keeps_the_old_folder_until_the_new_one_is_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        folder_with(&dir.path().join("c.previous"), "old");
        assert!(replace_dir(&partial_dir(&path), &path).is_err(), "there is nothing to put in place");
        assert_eq!(content(&dir.path().join("c.previous")), "old");
        folder_with(&partial_dir(&path), "new");
        replace_dir(&partial_dir(&path), &path).unwrap();
        assert_eq!((content(&path), names(dir.path())), ("new".into(), vec!["c".to_string()]));
    }
}
