//! PNG and TIFF files to planes: grey, grey with alpha, colour and palette, 8 or 16 bits.
//!
//! The content decides the format, not the name. Colour becomes grey by the luma of Rec. 709 on the stored values;
//! alpha is ignored. What a TIFF file says of the pixel size is understood in `pixel_size`.

mod grey;
mod pixel_size;
mod png_image;
mod tiff_image;

use super::raster::Samples;
use super::{BitDepth, Container, Picture, Plane};
use crate::error::{Error, Result};
pub(super) use grey::{Grey, Luma};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// The longest side that is read.
const MAX_SIDE: u32 = 65_535;

/// The most pixels that are read: 16 384 x 16 384, one gibibyte as a plane.
const MAX_PIXELS: u64 = 1 << 28;

/// Reads an image. Stored values become value / 255 or value / 65535.
///
/// Of a TIFF with several pages the first is read, and the note says how many were not.
pub fn read(path: &Path) -> Result<Picture> {
    let Decoded { height, width, grey, depth, container, pixel_size_um, notes } = decode::<f32>(path, MAX_PIXELS)?;
    let white = depth.white();
    let pixels = match grey {
        Grey::Stored(Samples::Eight(samples)) => samples.iter().map(|value| f32::from(*value) / white).collect(),
        Grey::Stored(Samples::Sixteen(samples)) => samples.iter().map(|value| f32::from(*value) / white).collect(),
        Grey::Colour(luma) => luma.into_iter().map(|value| value / white).collect(),
    };
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Picture { plane: Plane::new(height, width, pixels), depth, container, pixel_size_um, note })
}

/// A decoded file: `height * width` grey values, and what [`Picture`] says of the file.
pub(super) struct Decoded<C> {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) grey: Grey<C>,
    pub(super) depth: BitDepth,
    pub(super) container: Container,
    pub(super) pixel_size_um: Option<f64>,
    pub(super) notes: Vec<String>,
}

/// Below this no 16-bit image is expected to stay; cameras of 10, 12 and 14 bits do, and look almost black.
const DIM: f32 = 16384.0;

/// Decodes an image of up to `most_pixels`, the luma of a colour image as `C`.
pub(super) fn decode<C: Luma>(path: &Path, most_pixels: u64) -> Result<Decoded<C>> {
    let mut reader = open(path)?;
    let mut start = Vec::new();
    reader.by_ref().take(16).read_to_end(&mut start).map_err(Error::io("read", path))?;
    reader.rewind().map_err(Error::io("read", path))?;
    let mut decoded: Decoded<C> = match recognise(&start) {
        Ok(Container::Png) => png_image::read(path, reader, most_pixels)?,
        Ok(Container::Tiff) => tiff_image::read(path, most_pixels)?,
        Err(reason) => return Err(Error::image(path, reason)),
    };
    let is_dim = match &decoded.grey {
        Grey::Stored(Samples::Eight(_)) => false,
        Grey::Stored(Samples::Sixteen(samples)) => samples.iter().all(|value| f32::from(*value) < DIM),
        Grey::Colour(luma) => {
            decoded.notes.push("colour image converted to grey".to_string());
            decoded.depth == BitDepth::Sixteen && luma.iter().all(|value| (*value).into() < DIM)
        }
    };
    if is_dim {
        decoded.notes.push("16-bit image that uses less than a quarter of its range, so it is dark".to_string());
    }
    Ok(decoded)
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

/// Refuses before anything is allocated: a damaged header can claim any size.
fn check_size(path: &Path, (width, height): (u32, u32), most_pixels: u64) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::image(path, "it has no pixels; export it again"));
    }
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > most_pixels {
        let side = most_pixels.isqrt();
        return Err(Error::image(
            path,
            format!(
                "it says it has {width} x {height} pixels; images of up to {MAX_SIDE} pixels a side and {most_pixels} \
                 pixels in all ({side} x {side}) are read. Cut it into parts, or export it again if the size is wrong"
            ),
        ));
    }
    Ok(())
}

fn too_large(path: &Path) -> Error {
    Error::image(path, "decoding it needs too much memory; cut it into parts")
}

fn unread(path: &Path, what: &dyn Display) -> Error {
    let reason = format!("it is stored in a way that is not read ({what}); convert it to an 8- or 16-bit grey image");
    Error::image(path, reason)
}

fn damaged(path: &Path, why: &dyn Display) -> Error {
    Error::image(path, format!("it is cut short or damaged ({why}); copy it again from its source"))
}

#[cfg(test)]
mod tests;
