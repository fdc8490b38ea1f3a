//! What there is to say of one image, and of all images of a set together.

use super::CheckOptions;
use super::findings::{Findings, Problem};
use super::reduced;
use crate::dataset::{Case, SizeSource, load_case};
use crate::imaging::{self, BitDepth, Plane, ReadOptions, is_blank, looks_like_mask};
use crate::structure::{EdgeMap, EdgeThreshold};
use image::{ExtendedColorType, ImageDecoder, ImageReader};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The longest side of what is kept of an image.
const KEPT: usize = 384;
/// Share of plain black or white pixels from which on detail is lost.
const SATURATED: f64 = 0.1;
/// Share of an image without an edge from which on it is told.
const EMPTY: f64 = 0.3;
/// Side of the squares that are empty or not, on what is kept of an image, and what share of edges an empty one may have.
const SQUARE: usize = 24;
const EMPTY_SQUARE: f64 = 0.01;
/// Share of an image from which on a frame of one value is told.
const MARGIN: f64 = 0.01;

/// One image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageRow {
    /// Unique in its set.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Who or what was imaged.
    pub subject: String,
    /// Whether it is kept for a test (nnU-Net's `imagesTs`).
    pub is_test: bool,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bits per pixel of the file.
    pub bits: u8,
    /// Format of the file.
    pub container: String,
    /// Side of a pixel in micrometres.
    pub pixel_size_um: Option<f64>,
    /// Where it was found.
    pub pixel_size_source: Option<SizeSource>,
    /// Mean grey value in [0, 1].
    pub mean: f64,
    /// Share of plain black pixels.
    pub black: f64,
    /// Share of plain white pixels.
    pub white: f64,
    /// Share that shows nothing.
    pub empty: f64,
    /// Share of its pixels that lie on edges.
    pub edges: f64,
    /// Share of each class, where there are masks.
    pub classes: Option<Vec<f64>>,
    /// The files of its masks.
    pub masks: Vec<PathBuf>,
    /// The labels, reduced to look at; none without masks.
    #[serde(skip)]
    pub(super) labels: Option<imaging::LabelMap>,
    #[serde(skip)]
    pub(super) kept: Option<Plane>,
    #[serde(skip)]
    pub(super) depth: BitDepth,
}

/// Reads one image; none when it cannot be used, which is told.
pub(super) fn look_at(case: &Case, options: &CheckOptions, findings: &mut Findings) -> Option<(ImageRow, Plane)> {
    let (image, notes) = match load_case(case, options.pixel_size_um, &options.reading) {
        Ok(loaded) => loaded,
        Err(reason) => {
            let (problem, what, remedy) = unusable(&case.path, &options.reading, reason);
            findings.add(problem, &case.path, what, remedy);
            return None;
        }
    };
    for note in notes {
        // The name goes with the file.
        let note = note.strip_prefix(&format!("{}: ", case.name)).unwrap_or(&note).to_string();
        findings.add(Problem::Remark, &case.path, note, "");
    }
    if has_alpha(&case.path) {
        findings.add(Problem::Alpha, &case.path, "transparency, which is not looked at", "save it without, to be sure");
    }
    let pixels = image.plane.pixels();
    let share = |test: &dyn Fn(f32) -> bool| pixels.iter().filter(|v| test(**v)).count() as f64 / pixels.len() as f64;
    let row = ImageRow {
        name: case.name.clone(),
        path: case.path.clone(),
        subject: case.subject.clone(),
        is_test: false,
        width: image.plane.width(),
        height: image.plane.height(),
        bits: 8 * image.depth.bytes() as u8,
        container: image.container.name().to_string(),
        pixel_size_um: image.case.pixel_size_um,
        pixel_size_source: image.case.pixel_size_source,
        mean: pixels.iter().map(|value| f64::from(*value)).sum::<f64>() / pixels.len() as f64,
        black: share(&|value| value <= 0.0),
        white: share(&|value| value >= 1.0),
        empty: 0.0,
        edges: 0.0,
        classes: None,
        masks: Vec::new(),
        labels: None,
        kept: Some(reduced(&image.plane, KEPT)),
        depth: image.depth,
    };
    report_margins(&row, &image.plane, findings);
    report_saturation(&row, findings);
    Some((row, image.plane))
}

/// Why an image that was refused cannot be used, and what to do about it.
fn unusable(path: &Path, reading: &ReadOptions, reason: String) -> (Problem, String, &'static str) {
    match imaging::read_with(path, reading) {
        Ok(picture) if is_blank(&picture.plane) => {
            let what = "blank: all pixels have practically the same value";
            (Problem::BlankImage, what.to_string(), "export it again, or remove it")
        }
        Ok(picture) if looks_like_mask(&picture.plane) => {
            let what = "at most four grey values, so it seems to be a mask among the images";
            let remedy = "name it as a mask (NAME_seg-CLASS.png, NAME_mask.png), or put it in a folder masks";
            (Problem::MaskAmongImages, what.to_string(), remedy)
        }
        _ => (Problem::UnreadableImage, reason, ""),
    }
}

/// Whether a file holds transparency beside its grey or colour values.
pub(super) fn has_alpha(path: &Path) -> bool {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let Some(decoder) = reader.ok().and_then(|reader| reader.into_decoder().ok()) else { return false };
    use ExtendedColorType::{La8, La16, Rgba8, Rgba16};
    matches!(decoder.original_color_type(), La8 | La16 | Rgba8 | Rgba16)
}

fn report_saturation(row: &ImageRow, findings: &mut Findings) {
    for (share, colour) in [(row.black, "black"), (row.white, "white")] {
        if share > SATURATED {
            let what = format!("more than a tenth is plain {colour}");
            let remedy = "see whether that is background or a scan with too much contrast; detail in it is lost";
            findings.add(Problem::Saturated, &row.path, what, remedy);
        }
    }
}

/// Tells of rows and columns along the border that hold one value.
fn report_margins(row: &ImageRow, plane: &Plane, findings: &mut Findings) {
    let [height, width] = [plane.height(), plane.width()];
    let is_plain = |values: &mut dyn Iterator<Item = f32>| {
        let (low, high) = values.fold((1f32, 0f32), |(low, high), value| (low.min(value), high.max(value)));
        high - low <= 2.0 / 255.0
    };
    let is_plain_row = |y: usize| is_plain(&mut plane.pixels()[y * width..][..width].iter().copied());
    let top = (0..height).take_while(|y| is_plain_row(*y)).count();
    let bottom = (0..height).rev().take_while(|y| is_plain_row(*y)).count();
    if top + bottom >= height {
        return;
    }
    let is_plain_column = |x: usize| is_plain(&mut (top..height - bottom).map(|y| plane.get(y, x)));
    let left = (0..width).take_while(|x| is_plain_column(*x)).count();
    let right = (0..width).rev().take_while(|x| is_plain_column(*x)).count();
    let inside = (height - top - bottom) * width.saturating_sub(left + right);
    if 1.0 - inside as f64 / (height * width) as f64 > MARGIN {
        let what = "a frame of one value around the image";
        findings.add(Problem::Margins, &row.path, what, "cut it off: networks learn it as if it were tissue");
    }
}

/// What only a look at all images tells: emptiness by the edges of the set, missing and unequal pixel sizes.
pub(super) fn compare_in_set(images: &mut [ImageRow], findings: &mut Findings) {
    let kept: Vec<&Plane> = images.iter().filter_map(|row| row.kept.as_ref()).collect();
    let threshold = EdgeThreshold::of(&kept);
    for row in images.iter_mut() {
        let Some(kept) = &row.kept else { continue };
        let edges = EdgeMap::of(kept, threshold);
        row.edges = edges.share(0, 0, [kept.height(), kept.width()]);
        row.empty = empty_share(kept, &edges);
        if row.empty > EMPTY {
            let what = format!("more than {:.0} % shows nothing (resin, background or margins)", 100.0 * EMPTY);
            let remedy = "crop them to what is to be learnt, or train with --balance-crops";
            findings.add(Problem::EmptyAreas, &row.path, what, remedy);
        }
    }
    for row in images.iter().filter(|row| row.pixel_size_um.is_none()) {
        let remedy = "give --pixel-size-um, a sidecar, a pixel_size_in_micrometer.txt, or a column pixel_size_um in \
                      subjects.tsv";
        findings.add(Problem::UnknownPixelSize, &row.path, "pixel size not known", remedy);
    }
    let depths: BTreeSet<u8> = images.iter().map(|row| row.bits).collect();
    if depths.len() > 1 {
        for row in images.iter().filter(|row| row.bits == 16) {
            findings.add(Problem::Mixture, &row.path, "16 bits while others have 8", "see whether their greys match");
        }
    }
}

/// The share of squares with hardly an edge.
fn empty_share(kept: &Plane, edges: &EdgeMap) -> f64 {
    let starts = |length: usize| (0..=length.saturating_sub(SQUARE)).step_by(SQUARE);
    let size = [SQUARE.min(kept.height()), SQUARE.min(kept.width())];
    let squares = starts(kept.height()).flat_map(|top| starts(kept.width()).map(move |left| (top, left)));
    let shares: Vec<f64> = squares.map(|(top, left)| edges.share(top, left, size)).collect();
    shares.iter().filter(|share| **share <= EMPTY_SQUARE).count() as f64 / shares.len().max(1) as f64
}
