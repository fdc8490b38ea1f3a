//! Reports that open in any browser from disk, without network: one HTML page that holds its pictures, style and script.
//!
//! [`write`] puts three files in a folder: `report.html`, to read and to review images in; `report.json`, all of it but
//! the pictures; and `images.csv`, one row for each panel. Texts are given ready to read; only figures and scores are
//! formatted here.

mod colours;
mod images_table;
mod overlays;
mod page;
mod pictures;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::files::{create_dir, write_json};
use crate::imaging::{LabelMap, Plane};

/// What a report says and shows, in the order of the page.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The heading, also of the browser's tab.
    pub title: String,
    /// What was found. The first sentence is set large, each further one is a paragraph.
    pub answer: Vec<String>,
    /// The images to look at before others, the worst first.
    pub look_first: Vec<LookFirst>,
    /// Names of the classes by their number in a [`LabelMap`]; the first is the background, which is not painted.
    pub classes: Vec<String>,
    /// Images with their figures and pictures.
    pub galleries: Vec<Gallery>,
    /// Tables of results.
    pub tables: Vec<ReportTable>,
    /// Pictures of curves.
    pub curves: Vec<Curve>,
    /// What else the reader should know, one paragraph each.
    pub notes: Vec<String>,
    /// What the results were made with, such as the date, the versions and the files of settings.
    pub settings: Vec<Setting>,
}

/// An image to look at before others.
#[derive(Debug, Clone, Serialize)]
pub struct LookFirst {
    /// The name of a panel; it is a link to the first panel of that name, and plain text when there is none.
    pub image: String,
    /// Why to look at it.
    pub reason: String,
}

/// A table whose cells are formatted already.
#[derive(Debug, Clone, Serialize)]
pub struct ReportTable {
    /// What it is a table of.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// One text for each column.
    pub header: Vec<String>,
    /// The cells, row by row; the first of each row is its heading.
    pub rows: Vec<Vec<String>>,
}

/// Images with their figures and pictures, of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Gallery {
    /// What the images are.
    pub title: String,
    /// What the pictures and the score mean.
    pub intro: String,
    /// One for each image, in any order: the page shows the lowest scores first.
    pub panels: Vec<Panel>,
    /// Whether the reader is to judge the images.
    pub reviewed: Reviewed,
}

/// Whether the images of a gallery get the flags good, fix and drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reviewed {
    /// The reader flags them and saves the flags.
    Yes,
    /// They are only shown.
    No,
}

/// An image of a gallery.
#[derive(Debug, Clone, Serialize)]
pub struct Panel {
    /// The name of the image, unlike every other in its gallery.
    pub name: String,
    /// How good it is, in [0, 1].
    #[serde(serialize_with = "finite")]
    pub score: Option<f64>,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// What is wrong with it.
    pub warnings: Vec<String>,
    /// Shown side by side, at the same height.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
}

/// A named number of an image.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: String,
    /// None where it is not defined.
    #[serde(serialize_with = "finite")]
    pub value: Option<f64>,
}

/// A grey image with what is drawn over it.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What stands below it.
    pub caption: String,
    /// Shown as it is: 0 is black and 1 is white. There must be a pixel.
    pub grey: Plane,
    /// What the reader can switch on and off.
    pub overlay: Option<Overlay>,
}

/// What is drawn over a grey image of the same size.
#[derive(Debug, Clone)]
pub enum Overlay {
    /// A colour for each class; 0 is left clear and 255, where nothing is known, is hatched.
    Labels(LabelMap),
    /// The edges of two sets of objects. Each `Vec` has the pixels of the image, row by row.
    Outlines {
        /// Whether the pixel belongs to an object that was lost.
        lost: Vec<bool>,
        /// Whether it belongs to an object that was invented; where both are drawn, the lost one shows.
        invented: Vec<bool>,
    },
    /// Confidence in [0, 1]: 1 is clear, and the lower, the brighter.
    Heat(Plane),
}

/// A picture of curves.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// What the curves show; also read out in place of the picture.
    pub caption: String,
    /// The bytes of a PNG file.
    #[serde(skip)]
    pub png: Vec<u8>,
}

/// A setting with its value.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// What is set.
    pub name: String,
    /// A word, or a whole file of many lines.
    pub value: String,
}

/// Writes `report.html`, `report.json` and `images.csv` into a folder, which is made when it is missing.
///
/// # Errors
/// When two panels of a gallery have one name, or a file cannot be written.
///
/// # Panics
/// When an overlay has not the size of its grey image, or an image has no pixels.
pub fn write(folder: &Path, report: &Report) -> Result<()> {
    check_names(report)?;
    create_dir(folder)?;
    write_json(&folder.join("report.json"), report)?;
    images_table::write(&folder.join("images.csv"), report)?;
    page::write(&folder.join("report.html"), report)
}

/// Flags and links go by name.
fn check_names(report: &Report) -> Result<()> {
    for gallery in &report.galleries {
        let mut names = HashSet::new();
        if let Some(panel) = gallery.panels.iter().find(|panel| !names.insert(&panel.name)) {
            return Err(Error::Config(format!(
                "the images \"{}\" of the report have two named {}; give each its own name",
                gallery.title, panel.name
            )));
        }
    }
    Ok(())
}

/// A number that is not finite says no more than a missing one, and no sorting knows where to put it.
fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

fn finite<S: Serializer>(value: &Option<f64>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    known(*value).serialize(serializer)
}
