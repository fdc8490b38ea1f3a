//! The library's error type. Every message says what is wrong, where (path or value) and what to do about it.

use std::path::{Path, PathBuf};

/// What can go wrong in this library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb of the sentence: "read", "create", "rename to".
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that was to be an image cannot be used as one.
    #[error("cannot use image {}: {reason}", path.display())]
    Image {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong and how to put it right.
        reason: String,
    },
    /// A folder of images cannot be used.
    #[error("cannot use the images in {}: {reason}", path.display())]
    Dataset {
        /// The folder concerned.
        path: PathBuf,
        /// What is wrong and how to put it right.
        reason: String,
    },
    /// A setting, or a combination of settings, makes no sense.
    #[error("{0}")]
    Config(String),
    /// A run folder or one of its checkpoints cannot be used.
    #[error("cannot use run {}: {reason}", path.display())]
    Run {
        /// The run folder or the file in it.
        path: PathBuf,
        /// What is wrong and how to put it right.
        reason: String,
    },
    /// A file of published weights or golden numbers cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    Weights {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong and how to put it right.
        reason: String,
    },
    /// A loss stopped being a number.
    #[error(
        "the loss {term} is not finite at step {step}; training stopped and the last checkpoint is untouched. \
         Look for blank or damaged images, or lower the learning rates"
    )]
    NotFinite {
        /// The name of the loss term.
        term: &'static str,
        /// The step (counted from 0) at which it happened.
        step: u64,
    },
    /// The compute device asked for cannot be used.
    #[error("cannot use device {name}: {reason}")]
    Device {
        /// The name that was asked for.
        name: String,
        /// Why not, and which ones there are.
        reason: String,
    },
}

/// A result with this library's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`] maker for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// An [`Error::Image`].
    pub fn image(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Image { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// An [`Error::Dataset`].
    pub fn dataset(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Dataset { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// An [`Error::Run`].
    pub fn run(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Run { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// An [`Error::Weights`].
    pub fn weights(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Weights { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }
}
