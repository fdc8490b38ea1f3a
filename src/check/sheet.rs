//! The contact sheet of a data set: every image small, with the outlines of its masks.

use super::images::ImageRow;
use super::reduced;
use super::{Problem, Severity, Survey};
use crate::figures::{Thumbnail, contact_sheet as draw};
use image::RgbImage;
use std::collections::BTreeSet;
use std::path::Path;

/// The longest side of a picture on the sheet, and on that of a few images.
const SIDE: usize = 192;
const LARGE_SIDE: usize = 384;
/// Up to so many images are few.
const FEW: usize = 24;
/// Images on a sheet; of larger sets the flagged come first.
const MOST: usize = 240;

/// Draws the sheet. Images with a finding that matters have a coloured frame and come first where not all find room.
pub fn contact_sheet(survey: &Survey) -> RgbImage {
    let grave: BTreeSet<&Path> = survey
        .findings
        .iter()
        // Overlaps concern pairs; with them nearly all would be flagged.
        .filter(|finding| finding.severity != Severity::Note && finding.problem != Problem::OverlapOfSubjects)
        .flat_map(|finding| finding.files.iter().map(|file| file.as_path()))
        .collect();
    let is_flagged = |row: &ImageRow| {
        let mut files = std::iter::once(&row.path).chain(&row.masks);
        files.any(|path| grave.contains(path.as_path()))
    };
    let side = if survey.images.len() <= FEW { LARGE_SIDE } else { SIDE };
    let mut rows: Vec<&ImageRow> = survey.images.iter().collect();
    let hidden = rows.len().saturating_sub(MOST);
    if hidden > 0 {
        rows.sort_by_key(|row| !is_flagged(row));
        rows.truncate(MOST);
    }
    let thumbnails = rows.into_iter().filter_map(|row| {
        let plane = reduced(row.kept.as_ref()?, side);
        let labels = row.labels.as_ref();
        let labels =
            labels.map(|labels| crate::segmentation::data::resize_labels(labels, plane.height(), plane.width()));
        Some(Thumbnail { caption: caption(row), is_flagged: is_flagged(row), plane, labels })
    });
    let more = if hidden > 0 { format!("; {hidden} more are not shown") } else { String::new() };
    draw(
        &format!("{}: {}{more}", survey.root.display(), survey.summary),
        &survey.classes,
        &thumbnails.collect::<Vec<_>>(),
    )
}

/// The name, and the share of the classes.
fn caption(row: &ImageRow) -> String {
    match &row.classes {
        Some(classes) => format!("{}  {:.0} %", row.name, 100.0 * classes.iter().sum::<f64>()),
        None => row.name.clone(),
    }
}
