//! What there is to say of masks: whether they can be used, and how much of an image each class has.

use super::findings::{Findings, Problem};
use super::images::{ImageRow, has_alpha};
use crate::dataset::{AnnotatedDataset, Case, MaskSource, read_labels, read_mask};
use crate::error::Error;
use crate::imaging::{IGNORE, LabelMap, Raster};
use std::path::Path;

/// By which masks with stray values are looked at all the same.
const USUAL_THRESHOLD: u8 = 200;

/// Looks at the masks of an image; what can be read of them is entered in its row.
pub(super) fn look_at(
    row: &mut ImageRow,
    annotated: &AnnotatedDataset,
    case: &Case,
    threshold: Option<u8>,
    findings: &mut Findings,
) {
    let Some(source) = annotated.masks_of(case) else {
        let what = "no mask, while other images have some";
        findings.add(Problem::NoMask, &row.path, what, "it is left out when a segmentation is trained");
        return;
    };
    row.masks = source.files.iter().map(|file| file.path.clone()).collect();
    let size = [row.height, row.width];
    let faults = faults(source, size, threshold, findings);
    if faults == 0 || threshold.is_none() {
        let threshold = if faults == 0 { threshold } else { Some(USUAL_THRESHOLD) };
        if let Ok(labels) = read_labels(source, size, threshold) {
            enter(row, &labels.map, annotated.classes.len());
            if faults == 0 && row.classes.iter().flatten().all(|share| *share == 0.0) {
                let remedy = "keep them only if there is nothing to see; else they teach that it is background";
                source.files.iter().for_each(|f| findings.add(Problem::EmptyMask, &f.path, "empty mask", remedy));
            }
            if let Some(note) = labels.note {
                findings.add(Problem::Remark, &row.path, note, "");
            }
        }
    }
}

/// How many files of a mask cannot be used; each is told.
fn faults(source: &MaskSource, size: [usize; 2], threshold: Option<u8>, findings: &mut Findings) -> usize {
    let mut faults = 0;
    for file in &source.files {
        let path = &file.path;
        match Raster::read(path) {
            Err(error) => findings.add(Problem::UnreadableMask, path, reason(error), ""),
            Ok(picture) if [picture.raster.height(), picture.raster.width()] != size => {
                let (width, height) = (picture.raster.width(), picture.raster.height());
                let what = format!("{width} x {height} pixels, but its image has {} x {}", size[1], size[0]);
                findings.add(Problem::MaskOfAnotherSize, path, what, "give the mask that was drawn on this very image");
            }
            Ok(_) => match read_mask(file, threshold) {
                Err(error) => {
                    let reason = reason(error);
                    let (what, remedy) = reason.rsplit_once("; ").unwrap_or((&reason, ""));
                    findings.add(Problem::StrayValues, path, what, remedy);
                }
                Ok(_) => {
                    look_for_alpha(path, findings);
                    continue;
                }
            },
        }
        faults += 1;
    }
    faults
}

/// Masks that others make needless, or that belong to no image.
pub(super) fn look_at_others(annotated: &AnnotatedDataset, findings: &mut Findings) {
    for path in &annotated.dataset.masks {
        look_for_alpha(path, findings);
    }
}

fn look_for_alpha(path: &Path, findings: &mut Findings) {
    if has_alpha(path) {
        let what = "a mask with transparency (grey and alpha), of which the grey counts";
        findings.add(Problem::Alpha, path, what, "save it as plain grey: other programs stumble over it");
    }
}

fn reason(error: Error) -> String {
    match error {
        Error::Image { reason, .. } => reason,
        other => other.to_string(),
    }
}

fn enter(row: &mut ImageRow, labels: &LabelMap, classes: usize) {
    let mut counts = vec![0u64; 256];
    labels.classes().iter().for_each(|class| counts[usize::from(*class)] += 1);
    let judged: u64 = counts.iter().sum::<u64>() - counts[usize::from(IGNORE)];
    row.classes = Some((1..=classes).map(|class| counts[class] as f64 / judged.max(1) as f64).collect());
    if let Some(kept) = &row.kept {
        row.labels = Some(crate::segmentation::data::resize_labels(labels, kept.height(), kept.width()));
    }
}
