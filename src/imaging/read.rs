//! PNG and TIFF files to planes: grey, grey with alpha, colour and palette, 8 or 16 bits.
//!
//! The content decides the format, not the name. Colour becomes grey by the luma of Rec. 709 on the stored values;
//! alpha is ignored. What a TIFF file says of the pixel size is understood in `pixel_size`.

mod pixel_size;
mod tiff_image;

use super::{BitDepth, Container, Picture, Plane};
use crate::error::{Error, Result};
use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageError, Limits};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek};
use std::path::Path;

/// The longest side that is read.
const MAX_SIDE: u32 = 65_535;

/// The most pixels that are read: 16 384 x 16 384, one gibibyte as a plane.
const MAX_PIXELS: u64 = 1 << 28;

/// Reads an image. Stored values become value / 255 or value / 65535.
///
/// Of a TIFF with several pages the first is read, and the note says how many were not.
pub fn read(path: &Path) -> Result<Picture> {
    let mut reader = open(path)?;
    let mut start = Vec::new();
    reader.by_ref().take(16).read_to_end(&mut start).map_err(Error::io("read", path))?;
    reader.rewind().map_err(Error::io("read", path))?;
    match recognise(&start) {
        Ok(Container::Png) => to_picture(path, read_png(path, reader)?, Container::Png),
        Ok(Container::Tiff) => to_picture(path, tiff_image::read(path)?, Container::Tiff),
        Err(reason) => Err(Error::image(path, reason)),
    }
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(Error::io("read", path))
}

/// The format by the first bytes of a file, or why it is none.
fn recognise(start: &[u8]) -> std::result::Result<Container, &'static str> {
    match start {
        [] => Err("the file is empty; copy it again from its source"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Container::Png),
        // Versions 42 and 43 (BigTIFF), in both byte orders.
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Container::Tiff),
        [0xff, 0xd8, ..] => {
            Err("it is a JPEG, whose compression alters the pixels; export the original as PNG or TIFF")
        }
        _ => {
            Err("it is neither a PNG nor a TIFF file, or its beginning is damaged; export the original as PNG or TIFF")
        }
    }
}

/// A decoded file: `channels` samples for each pixel, side by side.
struct Stored {
    width: u32,
    height: u32,
    channels: usize,
    /// Whether the first channel is the image, and the others alpha or to be ignored.
    is_grey: bool,
    samples: Samples,
    pixel_size_um: Option<f64>,
    notes: Vec<String>,
}

enum Samples {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

fn read_png(path: &Path, reader: BufReader<File>) -> Result<Stored> {
    let mut limits = Limits::no_limits();
    // Four channels of 16 bits, and the same again for what the decoder keeps.
    limits.max_alloc = Some(MAX_PIXELS * 16);
    let decoder = PngDecoder::with_limits(reader, limits).map_err(|error| explain(path, error))?;
    check_size(path, decoder.dimensions())?;
    let (width, height) = decoder.dimensions();
    let image = DynamicImage::from_decoder(decoder).map_err(|error| explain(path, error))?;
    let channels = usize::from(image.color().channel_count());
    let samples = match image {
        DynamicImage::ImageLuma8(buffer) => Samples::Eight(buffer.into_raw()),
        DynamicImage::ImageLumaA8(buffer) => Samples::Eight(buffer.into_raw()),
        DynamicImage::ImageRgb8(buffer) => Samples::Eight(buffer.into_raw()),
        DynamicImage::ImageRgba8(buffer) => Samples::Eight(buffer.into_raw()),
        DynamicImage::ImageLuma16(buffer) => Samples::Sixteen(buffer.into_raw()),
        DynamicImage::ImageLumaA16(buffer) => Samples::Sixteen(buffer.into_raw()),
        DynamicImage::ImageRgb16(buffer) => Samples::Sixteen(buffer.into_raw()),
        DynamicImage::ImageRgba16(buffer) => Samples::Sixteen(buffer.into_raw()),
        _ => return Err(unread(path, &"values that are neither 8- nor 16-bit")),
    };
    Ok(Stored { width, height, channels, is_grey: channels < 3, samples, pixel_size_um: None, notes: Vec::new() })
}

/// Refuses before anything is allocated: a damaged header can claim any size.
fn check_size(path: &Path, (width, height): (u32, u32)) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::image(path, "it has no pixels; export it again"));
    }
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::image(
            path,
            format!(
                "it says it has {width} x {height} pixels; images of up to {MAX_SIDE} pixels a side and {MAX_PIXELS} \
                 pixels in all (16384 x 16384) are read. Cut it into parts, or export it again if the size is wrong"
            ),
        ));
    }
    Ok(())
}

/// A decoder's error as a sentence with a remedy.
fn explain(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::IoError(source) if source.kind() != ErrorKind::UnexpectedEof => Error::io("read", path)(source),
        ImageError::Unsupported(what) => unread(path, &what),
        ImageError::Limits(_) => Error::image(path, "decoding it needs too much memory; cut it into parts"),
        other => damaged(path, &other),
    }
}

fn unread(path: &Path, what: &dyn Display) -> Error {
    let reason = format!("it is stored in a way that is not read ({what}); convert it to an 8- or 16-bit grey image");
    Error::image(path, reason)
}

fn damaged(path: &Path, why: &dyn Display) -> Error {
    Error::image(path, format!("it is cut short or damaged ({why}); copy it again from its source"))
}

/// Below this no 16-bit image is expected to stay; cameras of 10, 12 and 14 bits do, and look almost black.
const DIM: f32 = 16384.0;

fn to_picture(path: &Path, stored: Stored, container: Container) -> Result<Picture> {
    let ((mut pixels, colours), depth) = match &stored.samples {
        Samples::Eight(samples) => (to_grey(samples, stored.channels, stored.is_grey), BitDepth::Eight),
        Samples::Sixteen(samples) => (to_grey(samples, stored.channels, stored.is_grey), BitDepth::Sixteen),
    };
    let (height, width) = (stored.height as usize, stored.width as usize);
    if pixels.len() != height * width {
        return Err(damaged(path, &format!("{} pixels instead of {width} x {height}", pixels.len())));
    }
    let mut notes = stored.notes;
    if colours == Colours::Several {
        notes.push("colour image converted to grey".to_string());
    }
    if depth == BitDepth::Sixteen && pixels.iter().all(|value| *value < DIM) {
        notes.push("16-bit image that uses less than a quarter of its range, so it is dark".to_string());
    }
    pixels.iter_mut().for_each(|value| *value /= depth.white());
    Ok(Picture {
        plane: Plane::new(height, width, pixels),
        depth,
        container,
        pixel_size_um: stored.pixel_size_um,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    GreyOnly,
    Several,
}

/// One grey value for each pixel, in units of the stored values, and whether any pixel had a colour.
fn to_grey<T: Copy + Into<f32>>(samples: &[T], channels: usize, is_grey: bool) -> (Vec<f32>, Colours) {
    let mut colours = Colours::GreyOnly;
    let grey = samples.chunks_exact(channels).map(|pixel| match pixel {
        [red, green, blue, ..] if !is_grey => {
            let [red, green, blue]: [f32; 3] = [(*red).into(), (*green).into(), (*blue).into()];
            if red == green && green == blue {
                // Exactly the stored value, which the weighted sum would miss by a rounding error.
                return red;
            }
            colours = Colours::Several;
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        }
        _ => pixel[0].into(),
    });
    (grey.collect(), colours)
}

#[cfg(test)]
mod tests;
