//! A look at data sets before anything is trained: what they hold, what is wrong with them and how to mend it
//! ([`survey`]), what several share that should be apart ([`shared`]), and how far two are from one another ([`compare`]).
//!
//! Nothing here changes a file, and no file ends the check: what cannot be used is a [`Finding`].

mod comparison;
mod findings;
mod images;
mod masks;
mod overlaps;
mod sheet;
mod subjects;

pub use comparison::{Advice, Comparison, SetFigures, compare};
pub use findings::{Finding, Problem, Severity};
pub use images::ImageRow;
pub use sheet::contact_sheet;
pub use subjects::proposed_subjects;

use crate::dataset::{self, AnnotatedDataset, Case, Dataset, Format};
use crate::error::{Error, Result};
use crate::imaging::{BitDepth, Plane, ReadOptions};
use findings::Findings;
use overlaps::{Blocks, Overlap};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What the user says about a data set beyond the folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// The layout; else it is recognised.
    pub format: Option<Format>,
    /// Micrometres per pixel of all images.
    pub pixel_size_um: Option<f64>,
    /// Grey value from which on a mask's pixel has the class.
    pub mask_threshold: Option<u8>,
    /// How images are read.
    pub reading: ReadOptions,
}

/// What is in a data set.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// The folder.
    pub root: PathBuf,
    /// Its layout.
    pub format: Format,
    /// What was found, in one line.
    pub summary: String,
    /// The names of the labels 1, 2, …; none without masks.
    pub classes: Vec<String>,
    /// Each image that can be read.
    pub images: Vec<ImageRow>,
    /// Files that cannot be used as images, at the time of reading.
    pub unusable: usize,
    /// What is wrong, the gravest first.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    blocks: Blocks,
}

impl Survey {
    /// Whether something cannot be used as it is.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Looks at every image and mask of a folder. `on_image` is called before each with its name and how many there are.
pub fn survey(dir: &Path, options: &CheckOptions, mut on_image: impl FnMut(&str, usize)) -> Result<Survey> {
    let mut findings = Findings::default();
    let Contents { mut dataset, annotated, tests } = Contents::of(dir, options, &mut findings)?;
    let classes = annotated.as_ref().map(|annotated| annotated.classes.clone()).unwrap_or_default();
    let mut blocks = Blocks::default();
    let mut images: Vec<ImageRow> = Vec::new();
    let count = dataset.cases.len() + tests.len();
    let cases: Vec<(&Case, bool)> =
        dataset.cases.iter().map(|case| (case, false)).chain(tests.iter().map(|case| (case, true))).collect();
    for (case, is_test) in cases {
        on_image(&case.name, count);
        let Some((mut row, plane)) = images::look_at(case, options, &mut findings) else { continue };
        row.is_test = is_test;
        blocks.add(&plane);
        if let Some(annotated) = annotated.as_ref().filter(|_| !is_test) {
            masks::look_at(&mut row, annotated, case, options.mask_threshold, &mut findings);
        }
        images.push(row);
    }
    if let Some(annotated) = &annotated {
        masks::look_at_others(annotated, &mut findings);
    }
    images::compare_in_set(&mut images, &mut findings);
    let depths: Vec<BitDepth> = images.iter().map(|image| image.depth).collect();
    if let Some(remark) = options.reading.intensity.remark(&depths) {
        findings.add(Problem::Remark, dir, remark, "");
    }
    report_overlaps(&images, &blocks.overlaps(), &mut findings);
    report_shared_subjects(&images, &mut findings);
    for skipped in std::mem::take(&mut dataset.skipped) {
        findings.add(Problem::Remark, &skipped.path, format!("left out: {}", skipped.reason), "");
    }
    let notes = std::mem::take(&mut dataset.notes);
    notes.into_iter().for_each(|note| findings.add(Problem::Remark, dir, note, ""));
    let (unusable, findings) = (count - images.len(), findings.into_sorted());
    let (summary, format) = (dataset.summary(), dataset.format);
    Ok(Survey { root: dir.to_path_buf(), format, summary, classes, images, unusable, findings, blocks })
}

/// The files of a data set.
struct Contents {
    /// All images, those without masks too.
    dataset: Dataset,
    annotated: Option<AnnotatedDataset>,
    /// Those of nnU-Net's `imagesTs`.
    tests: Vec<Case>,
}

impl Contents {
    fn of(dir: &Path, options: &CheckOptions, findings: &mut Findings) -> Result<Self> {
        let dataset = dataset::discover_as(dir, options.format)?;
        let has_masks =
            !dataset.masks.is_empty() || dir.join("derivatives").is_dir() || dataset.format == Format::NnUnet;
        let mut annotated = None;
        if has_masks && dataset.format != Format::Plain || dir.join("derivatives").is_dir() {
            match dataset::discover_annotated_as(dir, options.format) {
                Ok(found) => annotated = Some(found),
                Err(Error::Dataset { reason, .. }) => {
                    findings.add(Problem::UnclearMasks, dir, format!("its masks cannot be used: {reason}"), "");
                }
                Err(error) => findings.add(Problem::UnclearMasks, dir, error.to_string(), ""),
            }
        }
        let dataset = match &annotated {
            Some(annotated) => annotated.with_unlabelled(dataset),
            None => dataset,
        };
        let tests = dir.join("imagesTs");
        let is_entered = dir.join("imagesTr").is_dir() && tests.is_dir();
        let tests = is_entered.then(|| dataset::discover_as(&tests, options.format.filter(|f| *f == Format::Plain)));
        Ok(Self { dataset, annotated, tests: tests.and_then(Result::ok).map(|tests| tests.cases).unwrap_or_default() })
    }
}

/// Copies and common parts within one set.
fn report_overlaps(images: &[ImageRow], overlaps: &[Overlap], findings: &mut Findings) {
    for overlap in overlaps {
        let [a, b] = overlap.images.map(|image| &images[image]);
        if a.is_test != b.is_test {
            let what = "are for training and show a place that is in imagesTs too";
            findings.add(Problem::OverlapOfParts, &a.path, what, "keep all images of one source in one part");
        } else if overlap.is_copy {
            let what = format!("has the same pixels as {}", b.name);
            findings.add(Problem::Duplicate, &a.path, what, "remove one of them");
        }
    }
    let of_subjects: Vec<&Overlap> = overlaps
        .iter()
        .filter(|overlap| {
            let [a, b] = overlap.images.map(|image| &images[image]);
            a.is_test == b.is_test && a.subject != b.subject
        })
        .collect();
    let Some(most) = of_subjects.iter().max_by(|a, b| a.share.total_cmp(&b.share)) else { return };
    let concerned: BTreeSet<usize> = of_subjects.iter().flat_map(|overlap| overlap.images).collect();
    let [a, b] = most.images.map(|image| images[image].name.as_str());
    let what = format!(
        "show places that images of other subjects show too ({} pairs; {a} and {b} have {:.0} % in common), so a split by \
         subject would put one place into training and test",
        of_subjects.len(),
        100.0 * most.share
    );
    let remedy = "give images of one source one subject, in a table subjects.tsv (columns file, subject)";
    concerned.iter().for_each(|image| findings.add(Problem::OverlapOfSubjects, &images[*image].path, &what, remedy));
}

/// Subjects that are for training and for a test.
fn report_shared_subjects(images: &[ImageRow], findings: &mut Findings) {
    let subjects = |is_test: bool| -> BTreeSet<&str> {
        let meant = images.iter().filter(|image| image.is_test == is_test && image.subject != image.name);
        meant.map(|image| image.subject.as_str()).collect()
    };
    for subject in subjects(false).intersection(&subjects(true)) {
        let what = format!("the subject {subject} is in imagesTr and in imagesTs, so scores on imagesTs flatter");
        for image in images.iter().filter(|image| image.is_test && image.subject == **subject) {
            findings.add(Problem::SubjectInTwoParts, &image.path, &what, "keep all images of a subject in one part");
        }
    }
}

/// What data sets share, two by two: places and subjects. Findings name the files of the second.
pub fn shared(surveys: &[Survey]) -> Vec<Finding> {
    let mut findings = Findings::default();
    for (i, first) in surveys.iter().enumerate() {
        for second in &surveys[i + 1..] {
            share_two(first, second, &mut findings);
        }
    }
    findings.into_sorted()
}

fn share_two(first: &Survey, second: &Survey, findings: &mut Findings) {
    let (names, root) = (first.root.display(), &first.root);
    let found = first.blocks.overlaps_with(&second.blocks);
    for overlap in found {
        let [a, b] = [&first.images[overlap.images[0]], &second.images[overlap.images[1]]];
        let is_same_file = a.path.canonicalize().ok() == b.path.canonicalize().ok();
        if root != &second.root && !is_same_file {
            let what = format!("show places that images of {names} show too, such as {}", a.name);
            let remedy = "if one set is to judge what is learnt from the other, remove what both have";
            let known = format!("show places that images of {names} show too");
            findings.add_like(Problem::OverlapOfParts, &b.path, &known, what, remedy);
        }
    }
    let stated = |survey: &Survey| -> BTreeMap<String, PathBuf> {
        let stated = survey.images.iter().filter(|image| image.subject != image.name);
        stated.map(|image| (image.subject.clone(), image.path.clone())).collect()
    };
    let (of_first, of_second) = (stated(first), stated(second));
    for (subject, path) in of_second.iter().filter(|(subject, _)| of_first.contains_key(*subject)) {
        let what = format!("the subject {subject} is also in {names}");
        let remedy = "if it is the same animal and one set is to judge what is learnt from the other, hold it out";
        findings.add(Problem::SubjectInTwoParts, path, what, remedy);
    }
}

/// A plane small enough to keep.
fn reduced(plane: &Plane, longest: usize) -> Plane {
    let side = plane.height().max(plane.width());
    if side <= longest {
        return plane.clone();
    }
    let scaled = |length: usize| ((length * longest + side / 2) / side).max(1);
    crate::imaging::resize(plane, scaled(plane.height()), scaled(plane.width()))
}

#[cfg(test)]
mod tests;
