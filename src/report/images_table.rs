//! `images.csv`: one row for each panel.

use std::path::Path;

use super::{Gallery, Panel, Report, known};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// Writes gallery, image, score, every figure that any panel has, and the warnings. What is missing is left empty.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(path: &Path, report: &Report) -> Result<()> {
    let figures = figure_names(report.galleries.iter().flat_map(|gallery| &gallery.panels));
    let bytes = to_csv(report, &figures).expect("rows of one length are written to memory without fail");
    write_atomically(path, |temporary| std::fs::write(temporary, &bytes).map_err(Error::io("write", path)))
}

fn to_csv(report: &Report, figures: &[&str]) -> csv::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = csv::Writer::from_writer(&mut bytes);
    writer.write_record(["gallery", "image", "score"].iter().chain(figures).chain(&["warnings"]))?;
    for gallery in &report.galleries {
        for panel in &gallery.panels {
            writer.write_record(row(gallery, panel, figures))?;
        }
    }
    writer.flush()?;
    drop(writer);
    Ok(bytes)
}

fn row(gallery: &Gallery, panel: &Panel, figures: &[&str]) -> Vec<String> {
    let text = |value: Option<f64>| known(value).map(|value| value.to_string()).unwrap_or_default();
    let value = |name: &&str| text(panel.figures.iter().find(|figure| figure.name == **name).and_then(|f| f.value));
    let mut row = vec![gallery.title.clone(), panel.name.clone(), text(panel.score)];
    row.extend(figures.iter().map(value));
    row.push(panel.warnings.join("; "));
    row
}

/// The names of all figures, in the order in which they first appear.
pub(super) fn figure_names<'a>(panels: impl IntoIterator<Item = &'a Panel>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for figure in panels.into_iter().flat_map(|panel| &panel.figures) {
        if !names.contains(&figure.name.as_str()) {
            names.push(figure.name.as_str());
        }
    }
    names
}
