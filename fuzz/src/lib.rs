//! The readers of files, from the sources of the library without its networks, and what the fuzz targets share.
//!
//! `imaging` and `imaging.rs` beside this file are links: rules of visibility name `crate::imaging`.

// Much of what is here serves the rest of the library.
#![allow(dead_code, missing_docs, unused_imports)]

#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/files.rs"]
mod files;
#[cfg(test)]
#[path = "../../src/hostile.rs"]
mod hostile;
pub mod imaging;
#[path = "../../src/weights.rs"]
pub mod weights;

#[path = "../../src/nn"]
mod nn {
    pub mod host_tensor;
}

#[path = "../../src/segmentation"]
pub mod segmentation {
    pub mod nnunet_checkpoint;
}

/// A file that each input is written to, for what is read from files only.
pub struct Scratch(tempfile::NamedTempFile);

impl Scratch {
    /// A file in the folder for temporary files.
    pub fn new() -> Self {
        Self(tempfile::NamedTempFile::new().expect("the folder for temporary files can be written"))
    }

    /// The file with this content.
    pub fn with(&self, bytes: &[u8]) -> &std::path::Path {
        std::fs::write(self.0.path(), bytes).expect("the file was just made");
        self.0.path()
    }
}

/// Lets panics be caught: the library turns those of decoders of others into refusals, and the fuzzer's own hook would end
/// at them. A panic that nobody catches still ends it.
pub fn let_panics_be_caught() {
    std::panic::set_hook(Box::new(|_| ()));
}
