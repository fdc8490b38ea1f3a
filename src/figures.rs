//! Pictures as PNG files: the sample panel of a run ([`panel()`]), its curves over the epochs ([`curves()`]), and the
//! contact sheet of a data set ([`contact_sheet()`]).
//!
//! Everything is drawn in memory with a font that is part of the program, so that a picture looks the same on every
//! machine, also where no fonts are installed.

mod axis;
mod curves;
mod panel;
mod sheet;

use std::path::Path;

use ab_glyph::{Font, FontRef, ScaleFont, point};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops::replace;
use image::{ImageEncoder, Rgb, RgbImage};

pub use axis::Scale;
pub use curves::{Chart, Series, curves, draw_curves};
pub use panel::{PanelGroup, PanelRow, panel};
pub use sheet::{Thumbnail, contact_sheet};

use crate::error::{Error, Result};
use crate::files::write_atomically;

const WHITE: Rgb<u8> = Rgb([255; 3]);
/// Titles, captions and names.
const INK: Rgb<u8> = Rgb([32; 3]);
/// Numbers and row labels.
const FAINT_INK: Rgb<u8> = Rgb([96; 3]);

/// The weights of the embedded font, Noto Sans.
#[derive(Debug, Clone, Copy)]
enum Weight {
    Regular,
    Bold,
}

/// Writes a picture as a PNG file; a file that was there stays whole until the new one is.
///
/// # Errors
/// When the file cannot be written.
pub fn save_png(path: &Path, picture: &RgbImage) -> Result<()> {
    let bytes = png_bytes(picture);
    write_atomically(path, |temporary| std::fs::write(temporary, &bytes).map_err(Error::io("write", path)))
}

/// The bytes of the PNG file of a picture.
pub fn png_bytes(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The encoder's own choice, the fastest, makes panels three times as large: it does not see that grey is one
    // value three times.
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(picture.as_raw(), picture.width(), picture.height(), image::ExtendedColorType::Rgb8)
        .expect("writing a picture of the right size to memory cannot fail");
    bytes
}

/// A line of text on white, as wide as the text; `size` is the height from the tallest letters to the lowest.
///
/// Not drawn by plotters, which puts each letter on a whole pixel and leaves out the room to its left.
fn text_picture(text: &str, size: u32, weight: Weight, ink: Rgb<u8>) -> RgbImage {
    let bytes = match weight {
        Weight::Regular => notosans::REGULAR_TTF,
        Weight::Bold => notosans::BOLD_TTF,
    };
    let font = FontRef::try_from_slice(bytes).expect("the embedded font is a font");
    let font = font.as_scaled(size as f32);
    let (mut x, mut previous, mut outlines) = (0.0, None, Vec::new());
    for letter in text.chars() {
        let id = font.glyph_id(letter);
        x += previous.map_or(0.0, |previous| font.kern(previous, id));
        // A whole number of pixels above the foot keeps the feet of all letters sharp.
        outlines.extend(font.outline_glyph(id.with_scale_and_position(size as f32, point(x, font.ascent().round()))));
        x += font.h_advance(id);
        previous = Some(id);
    }
    let mut picture = RgbImage::from_pixel((x.ceil() as u32).max(1), size + 1, WHITE);
    for outline in outlines {
        let corner = outline.px_bounds().min;
        outline.draw(|x, y, coverage| {
            let (x, y) = (x as i32 + corner.x as i32, y as i32 + corner.y as i32);
            if let Some(pixel) = picture.get_pixel_mut_checked(x.cast_unsigned(), y.cast_unsigned()) {
                // Neighbouring letters may touch the same pixel: each takes away from the light that is left.
                pixel.0 = [0, 1, 2].map(|index| darken(pixel[index], ink[index], coverage));
            }
        });
    }
    picture
}

/// A channel of a pixel of which the ink covers a part.
fn darken(light: u8, ink: u8, coverage: f32) -> u8 {
    let light = f32::from(light);
    (light + (f32::from(ink) - light) * coverage.clamp(0.0, 1.0)).round() as u8
}

/// The palette of Okabe and Ito (2008) without black, in the order in which two or three of them are told apart best.
const CLASSES: [[u8; 3]; 7] =
    [[86, 180, 233], [230, 159, 0], [0, 158, 115], [204, 121, 167], [240, 228, 66], [0, 114, 178], [213, 94, 0]];

/// The red, green and blue of a class from 1 on; after seven they come again.
pub(crate) fn class_colour(class: usize) -> [u8; 3] {
    CLASSES[(class + CLASSES.len() - 1) % CLASSES.len()]
}

/// Puts a picture on the canvas; what lies outside is cut off.
fn place(canvas: &mut RgbImage, picture: &RgbImage, left: u32, top: u32) {
    replace(canvas, picture, i64::from(left), i64::from(top));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_picture_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 7]));
        save_png(&path, &picture).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgb8(), picture);
    }

    #[test]
    fn longer_text_is_wider_and_leaves_ink() {
        let short = text_picture("lab", 16, Weight::Regular, INK);
        let long = text_picture("labelled → target", 16, Weight::Bold, INK);
        assert!(short.width() < long.width());
        for picture in [short, long] {
            assert!(picture.pixels().any(|pixel| pixel[0] < 80));
            let lowest_row = picture.height() - 1;
            assert!((0..picture.width()).all(|x| picture.get_pixel(x, lowest_row)[0] == 255));
        }
    }

    #[test]
    fn an_empty_text_is_no_obstacle() {
        assert_eq!(text_picture("", 16, Weight::Regular, INK).width(), 1);
    }
}
