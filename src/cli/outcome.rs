//! How a batch ends: 0 when all is done, 2 when some of it failed, 1 when nothing was done.

use std::path::PathBuf;
use std::process::ExitCode;

use synlabel::dataset::{Case, Skipped};

/// What came of the parts of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Parts that are done.
    pub(super) done: usize,
    /// Parts that failed, each of which was told with its reason.
    pub(super) failed: usize,
}

impl Outcome {
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Self { done: 0, .. } => ExitCode::FAILURE,
            Self { failed: 0, .. } => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        }
    }
}

/// How many of the files that were left out the user asked for: images of the batch, and files given by name. Others, such
/// as photographs of a sample, are left aside as they should be.
pub(super) fn failed(skipped: &[Skipped], cases: &[Case], given: &[PathBuf]) -> usize {
    let is_asked_for = |path: &PathBuf| given.contains(path) || cases.iter().any(|case| case.path == *path);
    skipped.iter().filter(|skipped| is_asked_for(&skipped.path)).count()
}
