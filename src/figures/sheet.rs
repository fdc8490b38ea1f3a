//! Contact sheets: many small images in rows, each with its name and the outlines of its labels.

use image::{Rgb, RgbImage};

use super::{FAINT_INK, INK, WHITE, Weight, class_colour, place, text_picture};
use crate::imaging::{IGNORE, LabelMap, Plane};

/// Pictures in a row, and in one of wide pictures.
const COLUMNS: usize = 8;
const WIDE_COLUMNS: usize = 4;
/// From this width on pictures are wide.
const WIDE: u32 = 256;
/// Room between pictures, and around the sheet.
const GAP: u32 = 12;
/// Width of the frame of a flagged picture.
const FRAME: u32 = 3;
const TEXT: u32 = 15;
/// Vermilion, which no class has.
const FLAG: Rgb<u8> = Rgb([220, 30, 30]);

/// The highest number of a class.
const LAST_CLASS: u8 = IGNORE - 1;

/// One image of a sheet.
#[derive(Debug, Clone)]
pub struct Thumbnail {
    /// What stands below it; what finds no room is cut off.
    pub caption: String,
    /// Whether it has a frame.
    pub is_flagged: bool,
    /// The image as it is shown.
    pub plane: Plane,
    /// Labels of the same size, of which the outlines are drawn.
    pub labels: Option<LabelMap>,
}

/// All thumbnails under a title and a legend of the classes.
///
/// # Panics
/// When labels have not the size of their image.
pub fn contact_sheet(title: &str, classes: &[String], thumbnails: &[Thumbnail]) -> RgbImage {
    let side = |length: fn(&Plane) -> usize| thumbnails.iter().map(|t| length(&t.plane)).max().unwrap_or(1) as u32;
    let (width, height) = (side(Plane::width), side(Plane::height));
    let title = text_picture(title, TEXT * 5 / 4, Weight::Bold, INK);
    let legend = legend(classes, thumbnails.iter().any(|thumbnail| thumbnail.is_flagged));
    let legend_width = legend.iter().map(|(_, text)| TEXT + GAP / 2 + text.width() + 2 * GAP).sum::<u32>();
    let most = if width < WIDE { COLUMNS } else { WIDE_COLUMNS };
    let columns = thumbnails.len().clamp(1, most) as u32;
    let rows = thumbnails.len().div_ceil(most) as u32;
    let (cell_width, cell_height) = (width + GAP, height + TEXT + 2 * GAP);
    let top = 2 * GAP + title.height() + if legend.is_empty() { 0 } else { TEXT + GAP };
    let sheet_width = (2 * GAP + columns * cell_width).max(2 * GAP + title.width()).max(2 * GAP + legend_width);
    let mut sheet = RgbImage::from_pixel(sheet_width, top + rows * cell_height + GAP, WHITE);
    place(&mut sheet, &title, GAP, GAP);
    let mut left = GAP;
    for (colour, text) in &legend {
        place(&mut sheet, &RgbImage::from_pixel(TEXT, TEXT, *colour), left, 2 * GAP + title.height());
        place(&mut sheet, text, left + TEXT + GAP / 2, 2 * GAP + title.height());
        left += TEXT + GAP / 2 + text.width() + 2 * GAP;
    }
    for (index, thumbnail) in thumbnails.iter().enumerate() {
        let [row, column] = [index / most, index % most].map(|place| place as u32);
        draw(thumbnail, &mut sheet, GAP + column * cell_width, top + row * cell_height, width);
    }
    sheet
}

/// What each colour stands for.
fn legend(classes: &[String], any_flagged: bool) -> Vec<(Rgb<u8>, RgbImage)> {
    let entry = |colour: Rgb<u8>, text: &str| (colour, text_picture(text, TEXT, Weight::Regular, INK));
    let classes = classes.iter().zip(1..).map(|(class, number)| entry(Rgb(class_colour(number)), class));
    classes.chain(any_flagged.then(|| entry(FLAG, "see the findings"))).collect()
}

fn draw(thumbnail: &Thumbnail, sheet: &mut RgbImage, left: u32, top: u32, width: u32) {
    let picture = outlined(&thumbnail.plane, thumbnail.labels.as_ref());
    if thumbnail.is_flagged {
        let frame = RgbImage::from_pixel(picture.width() + 2 * FRAME, picture.height() + 2 * FRAME, FLAG);
        place(sheet, &frame, left - FRAME, top - FRAME);
    }
    place(sheet, &picture, left, top);
    let caption = text_picture(&thumbnail.caption, TEXT, Weight::Regular, FAINT_INK);
    let shown = image::imageops::crop_imm(&caption, 0, 0, width.min(caption.width()), caption.height()).to_image();
    place(sheet, &shown, left, top + picture.height() + FRAME + 2);
}

/// The image in grey, with the border pixels of each class in its colour.
fn outlined(plane: &Plane, labels: Option<&LabelMap>) -> RgbImage {
    let size = [plane.height(), plane.width()];
    assert!(
        labels.is_none_or(|labels| [labels.height(), labels.width()] == size),
        "labels must have the size of their image"
    );
    RgbImage::from_fn(plane.width() as u32, plane.height() as u32, |x, y| {
        let (y, x) = (y as usize, x as usize);
        let class = labels.map_or(0, |labels| labels.classes()[y * size[1] + x]);
        let is_outline = labels.is_some_and(|labels| {
            let at = |y: usize, x: usize| labels.classes()[y.min(size[0] - 1) * size[1] + x.min(size[1] - 1)];
            let around = [at(y.saturating_sub(1), x), at(y + 1, x), at(y, x.saturating_sub(1)), at(y, x + 1)];
            around.iter().any(|other| *other != class)
        });
        match class {
            1..=LAST_CLASS if is_outline => Rgb(class_colour(usize::from(class))),
            _ => Rgb([(plane.get(y, x).clamp(0.0, 1.0) * 255.0).round() as u8; 3]),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbnail(side: usize, labels: Option<LabelMap>) -> Thumbnail {
        let plane = Plane::from_fn(side, side, |_, _| 0.2);
        Thumbnail { caption: "a name that is far too long for its picture".into(), is_flagged: false, plane, labels }
    }

    #[test]
    fn outlines_have_the_colours_of_their_classes() {
        let labels = LabelMap::new(5, 5, (0..25).map(|i| u8::from(i / 5 > 0 && i / 5 < 4 && i % 5 > 0)).collect());
        let picture = outlined(&Plane::from_fn(5, 5, |_, _| 0.0), Some(&labels));
        assert_eq!(*picture.get_pixel(1, 1), Rgb(class_colour(1)));
        assert_eq!(picture.get_pixel(2, 2), &Rgb([0; 3]), "the inside is left free");
        assert_eq!(picture.get_pixel(0, 0), &Rgb([0; 3]), "the background has no outline");
    }

    #[test]
    fn rows_hold_eight_pictures_and_flagged_ones_have_a_frame() {
        let mut thumbnails = vec![thumbnail(40, None); 9];
        let plain = contact_sheet("", &[], &thumbnails);
        let one_row = contact_sheet("", &[], &thumbnails[..8]);
        assert!(plain.width() == one_row.width() && plain.height() > one_row.height());
        assert!(!plain.pixels().any(|pixel| *pixel == FLAG));
        thumbnails[3].is_flagged = true;
        assert!(contact_sheet("", &[], &thumbnails).pixels().any(|pixel| *pixel == FLAG));
        assert!(contact_sheet("nothing to see", &["axon".into()], &[]).width() > 40);
    }
}
