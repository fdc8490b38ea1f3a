//! Overlays as PNG files with a palette: small, and with edges that stay sharp.

use std::borrow::Cow;
use std::ops::Range;

use super::Overlay;
use super::colours::{self, Colour};
use crate::imaging::{LabelMap, resize};

/// The class of pixels of which nothing is known.
const IGNORED_CLASS: u8 = 255;
/// Steps of the scale of confidence.
const LEVELS: usize = 32;
/// From this longer side on, outlines are three pixels wide: pictures of that size are shown reduced.
const WIDE_OUTLINES_FROM: usize = 360;

const CLEAR: [u8; 4] = [0; 4];

/// Index into a palette for each pixel.
pub(super) struct Indexed {
    pub(super) size: [usize; 2],
    pub(super) indices: Vec<u8>,
    /// Red, green, blue and opacity; at most 256.
    pub(super) palette: Vec<[u8; 4]>,
}

/// Paints an overlay of an image of the height and width `old` for one that is shown with the height and width `new`.
///
/// # Panics
/// When the overlay has not the size `old`.
pub(super) fn paint(overlay: &Overlay, old: [usize; 2], new: [usize; 2]) -> Indexed {
    let size = match overlay {
        Overlay::Labels(labels) => [labels.height(), labels.width()],
        Overlay::Heat(plane) => [plane.height(), plane.width()],
        Overlay::Outlines { lost, invented } if [lost.len(), invented.len()] == [old[0] * old[1]; 2] => old,
        Overlay::Outlines { .. } => panic!("outlines need one value for each pixel of their image"),
    };
    assert_eq!(size, old, "an overlay (height, width) has the size of its image");
    match overlay {
        Overlay::Labels(labels) => paint_labels(labels, new),
        Overlay::Outlines { lost, invented } => paint_outlines([lost, invented], old, new),
        Overlay::Heat(confidence) => {
            let confidence =
                if new == old { Cow::Borrowed(confidence) } else { Cow::Owned(resize(confidence, new[0], new[1])) };
            let last = (LEVELS - 1) as f32;
            let indices = confidence.pixels().iter().map(|value| ((1.0 - value) * last).round().clamp(0.0, last) as u8);
            let palette = (0..LEVELS).map(|level| colours::of_doubt(level as f64 / f64::from(last))).collect();
            Indexed { size: new, indices: indices.collect(), palette }
        }
    }
}

fn paint_labels(labels: &LabelMap, size: [usize; 2]) -> Indexed {
    let mut indices = most_covering(labels, size);
    let classes = indices.iter().copied().filter(|class| *class != IGNORED_CLASS).max().unwrap_or(0);
    let hatching = classes + 1;
    for (place, index) in indices.iter_mut().enumerate().filter(|(_, index)| **index == IGNORED_CLASS) {
        let [y, x] = [place / size[1], place % size[1]];
        *index = if (y + x) % 8 < 3 { hatching } else { 0 };
    }
    let painted = (1..=usize::from(classes)).map(|class| opaque(colours::of_class(class)));
    let palette = [CLEAR].into_iter().chain(painted).chain([opaque(colours::IGNORED)]).collect();
    Indexed { size, indices, palette }
}

fn paint_outlines(sets: [&[bool]; 2], old: [usize; 2], new: [usize; 2]) -> Indexed {
    let [lost, invented] = sets.map(|pixels| outlines(&any_covered(pixels, old, new), new));
    let indices = lost.iter().zip(&invented).map(|(lost, invented)| if *lost { 1 } else { 2 * u8::from(*invented) });
    let palette = vec![CLEAR, opaque(colours::LOST), opaque(colours::INVENTED)];
    Indexed { size: new, indices: indices.collect(), palette }
}

fn opaque([r, g, b]: Colour) -> [u8; 4] {
    [r, g, b, 255]
}

/// The class that most of the pixels below each new one have; of equals the highest, so that the background yields.
fn most_covering(labels: &LabelMap, new: [usize; 2]) -> Vec<u8> {
    let old = [labels.height(), labels.width()];
    let mut counts = [0u32; 256];
    per_pixel(old, new, |rows, columns| {
        let below = || rows.clone().flat_map(|y| &labels.classes()[y * old[1]..][columns.clone()]);
        below().for_each(|class| counts[usize::from(*class)] += 1);
        let most = below().copied().max_by_key(|class| (counts[usize::from(*class)], *class));
        below().for_each(|class| counts[usize::from(*class)] = 0);
        most.expect("each new pixel covers an old one")
    })
}

/// Whether any of the pixels below each new one is set: a line one pixel wide stays a line.
fn any_covered(pixels: &[bool], old: [usize; 2], new: [usize; 2]) -> Vec<bool> {
    per_pixel(old, new, |mut rows, columns| rows.any(|y| pixels[y * old[1]..][columns.clone()].contains(&true)))
}

/// A value for each new pixel from the rows and columns of the old ones it covers, even in part.
fn per_pixel<T>(old: [usize; 2], new: [usize; 2], mut value: impl FnMut(Range<usize>, Range<usize>) -> T) -> Vec<T> {
    let covered = |axis: usize, i: usize| i * old[axis] / new[axis]..((i + 1) * old[axis]).div_ceil(new[axis]);
    (0..new[0] * new[1]).map(|i| value(covered(0, i / new[1]), covered(1, i % new[1]))).collect()
}

/// The set pixels that have a side in common with one that is not, and in large pictures those around them.
fn outlines(pixels: &[bool], [height, width]: [usize; 2]) -> Vec<bool> {
    let reach = usize::from(height.max(width) > WIDE_OUTLINES_FROM);
    let mut drawn = vec![false; pixels.len()];
    for (y, x) in (0..pixels.len()).map(|i| (i / width, i % width)).filter(|(y, x)| pixels[y * width + x]) {
        let above_and_below = [y.saturating_sub(1), (y + 1).min(height - 1)].map(|y| y * width + x);
        let beside = [x.saturating_sub(1), (x + 1).min(width - 1)].map(|x| y * width + x);
        if above_and_below.into_iter().chain(beside).any(|neighbour| !pixels[neighbour]) {
            for y in y.saturating_sub(reach)..(y + reach + 1).min(height) {
                drawn[y * width..][x.saturating_sub(reach)..(x + reach + 1).min(width)].fill(true);
            }
        }
    }
    drawn
}
