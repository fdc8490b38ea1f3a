//! What is wrong with a data set and how to mend it: the same fault of many files is one finding.

use serde::Serialize;
use std::path::{Path, PathBuf};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The files cannot be used as they are: training would leave them out or refuse them.
    Error,
    /// They can be used, but perhaps should not.
    Warning,
    /// Worth knowing.
    Note,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The image file cannot be read.
    UnreadableImage,
    /// All pixels have practically one value.
    BlankImage,
    /// At most four grey values, as only masks have.
    MaskAmongImages,
    /// Masks are there and nothing tells what they show.
    UnclearMasks,
    /// The mask file cannot be read.
    UnreadableMask,
    /// The mask has not as many pixels as its image.
    MaskOfAnotherSize,
    /// The mask holds values that stand for nothing.
    StrayValues,
    /// Many pixels are plain black or white.
    Saturated,
    /// Large parts show nothing.
    EmptyAreas,
    /// A frame of one value.
    Margins,
    /// The mask holds nothing but background.
    EmptyMask,
    /// Other images have masks, this one has none.
    NoMask,
    /// A mask that belongs to no image.
    MaskWithoutImage,
    /// The same pixels as another file.
    Duplicate,
    /// Images of several subjects show one place.
    OverlapOfSubjects,
    /// The same place in two parts or two sets.
    OverlapOfParts,
    /// One subject in two parts or two sets.
    SubjectInTwoParts,
    /// No source tells the pixel size.
    UnknownPixelSize,
    /// Pixel sizes or bit depths that are not alike in one set.
    Mixture,
    /// Grey with transparency, which is not looked at.
    Alpha,
    /// What the reader of the file remarked.
    Remark,
}

/// A fault, with all files that have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Which kind it is.
    pub problem: Problem,
    /// What is wrong, as a sentence without its subject: `cannot be read: it is empty`.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// The files, in order.
    pub files: Vec<PathBuf>,
}

/// Findings in the making.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a file to the finding of the same kind and words.
    pub(super) fn add(&mut self, problem: Problem, path: &Path, what: impl Into<String>, remedy: impl Into<String>) {
        let what = what.into();
        self.add_like(problem, path, &what.clone(), what, remedy);
    }

    /// Adds a file to the finding whose words begin so, or to a new one of these words.
    pub(super) fn add_like(
        &mut self,
        problem: Problem,
        path: &Path,
        begins: &str,
        what: String,
        remedy: impl Into<String>,
    ) {
        let remedy = remedy.into();
        let same = |finding: &&mut Finding| finding.problem == problem && finding.what.starts_with(begins);
        match self.0.iter_mut().find(same) {
            Some(finding) if finding.files.last().is_some_and(|last| last == path) => {}
            Some(finding) => finding.files.push(path.to_path_buf()),
            None => self.0.push(Finding {
                severity: problem.severity(),
                problem,
                what,
                remedy,
                files: vec![path.to_path_buf()],
            }),
        }
    }

    /// The gravest first.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| (finding.severity, finding.problem));
        self.0
    }
}

impl Problem {
    fn severity(self) -> Severity {
        match self {
            Self::UnreadableImage
            | Self::BlankImage
            | Self::MaskAmongImages
            | Self::UnclearMasks
            | Self::UnreadableMask
            | Self::MaskOfAnotherSize
            | Self::StrayValues => Severity::Error,
            Self::Saturated
            | Self::EmptyAreas
            | Self::Margins
            | Self::EmptyMask
            | Self::MaskWithoutImage
            | Self::Duplicate
            | Self::OverlapOfSubjects
            | Self::OverlapOfParts
            | Self::SubjectInTwoParts
            | Self::UnknownPixelSize => Severity::Warning,
            Self::NoMask | Self::Mixture | Self::Alpha | Self::Remark => Severity::Note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_the_same_fault_are_one_finding_and_the_gravest_comes_first() {
        let mut findings = Findings::default();
        findings.add(Problem::EmptyMask, Path::new("a"), "empty", "look");
        findings.add(Problem::UnreadableImage, Path::new("b"), "cannot be read", "copy it again");
        findings.add(Problem::EmptyMask, Path::new("c"), "empty", "look");
        let findings = findings.into_sorted();
        assert_eq!((findings[0].severity, findings[0].files.len()), (Severity::Error, 1));
        assert_eq!((findings[1].severity, findings[1].files.len()), (Severity::Warning, 2));
    }
}
