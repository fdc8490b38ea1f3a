//! Image files to grey values: PNG, TIFF, JPEG, BMP, NIfTI and NumPy arrays; grey, grey with alpha, colour and palette.
//!
//! The content decides the format, not the name. Colour becomes grey by the luma of Rec. 709 on the stored values;
//! alpha is ignored. Of a file with several images one must be chosen. Nothing is believed of a header before it is
//! checked: what it claims costs no memory.

mod chunked;
mod grey;
mod nifti;
mod numpy;
mod photograph;
mod png_image;
mod refusal;

use super::intensity::Fitted;
use super::tiff_file::checked_page;
use super::{BitDepth, Container, Intensity, Picture, Plane, Samples, with_numbers};
use crate::error::{Error, Result};
pub(super) use chunked::{Chunked, open_chunked};
pub(super) use grey::{Channels, GreyImage, to_grey};
pub(super) use png_image::resolution as png_resolution;
pub(super) use refusal::{Reason, Refusal, guarded};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The most pixels that are read into a plane: 16 384 x 16 384, one gibibyte.
const MAX_PIXELS: u64 = 1 << 28;

/// The ends of names of files that may be images.
const EXTENSIONS: [&str; 10] = ["png", "tif", "tiff", "btf", "tf8", "jpg", "jpeg", "bmp", "nii", "npy"];

/// Whether a file is called like an image that is read. What Cellpose saves beside an image (`cell_seg.npy`) is none.
pub fn has_image_extension(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name.ends_with("_seg.npy") {
        return false;
    }
    let name = name.strip_suffix(".gz").filter(|name| name.ends_with(".nii")).unwrap_or(&name);
    name.rsplit_once('.').is_some_and(|(stem, extension)| !stem.is_empty() && EXTENSIONS.contains(&extension))
}

/// How images are read: handed down from the command line to each file.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReadOptions {
    /// The page of a TIFF or the slice of a volume, counted from 1; needed where there are several.
    pub page: Option<usize>,
    /// Which stored numbers become 0 and 1.
    pub intensity: Intensity,
}

impl ReadOptions {
    /// The numbers of a page over their full range.
    pub fn full(page: Option<usize>) -> Self {
        Self { page, intensity: Intensity::Full }
    }
}

/// Reads an image over the full range of its numbers: stored values become value / 255 or value / 65535.
pub fn read(path: &Path) -> Result<Picture> {
    read_with(path, &ReadOptions::full(None))
}

/// Reads an image as the options have it.
pub fn read_with(path: &Path, options: &ReadOptions) -> Result<Picture> {
    Ok(decode_file(path, options, MAX_PIXELS)?.into_picture(options.intensity))
}

/// Reads an image that is in memory; `name` is what messages call it.
pub fn read_bytes(name: &Path, bytes: Vec<u8>, options: &ReadOptions) -> Result<Picture> {
    let decoded = decode(Box::new(std::io::Cursor::new(bytes)), options, MAX_PIXELS);
    Ok(decoded.map_err(|refusal| refusal.of(name))?.into_picture(options.intensity))
}

/// What files are read from.
pub(super) trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// A file, or bytes in memory.
pub(super) type Input = Box<dyn ReadSeek>;

/// A decoded file: `height * width` grey values, and what [`Picture`] says of the file.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) height: usize,
    pub(super) width: usize,
    /// In units of the stored values.
    pub(super) samples: Samples,
    /// Whether some pixel had a colour, whose luma the samples are.
    pub(super) is_colour: bool,
    pub(super) depth: BitDepth,
    pub(super) container: Container,
    pub(super) pixel_size_um: Option<f64>,
    pub(super) notes: Vec<String>,
}

/// Below this no 16-bit image is expected to stay; cameras of 10, 12 and 14 bits do, and look almost black.
pub(super) const DIM: f64 = 16384.0;

/// What the user should know of an image that stays below it.
pub(super) const DIM_NOTE: &str =
    "16-bit image that uses less than a quarter of its range, so it is dark over its full range";

impl Decoded {
    /// The map of the rule.
    pub(super) fn fit(&self, intensity: Intensity) -> Fitted {
        intensity.fit_samples(self.depth, &self.samples)
    }

    /// What the user should know.
    pub(super) fn note(&self, intensity: Intensity, fitted: &Fitted) -> Option<String> {
        let mut notes = self.notes.clone();
        notes.extend(remarks(self.container, self.is_colour, fitted.invalid));
        let is_dim = || with_numbers!(&self.samples, numbers => numbers.iter().all(|v| Into::<f64>::into(*v) < DIM));
        if intensity == Intensity::Full && self.depth == BitDepth::Sixteen && is_dim() {
            notes.push(DIM_NOTE.to_string());
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    fn into_picture(self, intensity: Intensity) -> Picture {
        let fitted = self.fit(intensity);
        let note = self.note(intensity, &fitted);
        let map = fitted.map;
        let pixels = with_numbers!(&self.samples, numbers => numbers.iter().map(|value| map.to_unit(*value)).collect());
        Picture {
            plane: Plane::new(self.height, self.width, pixels),
            depth: self.depth,
            intensity: map,
            container: self.container,
            pixel_size_um: self.pixel_size_um,
            note,
        }
    }
}

/// What the user should know of the kind of an image.
pub(super) fn remarks(container: Container, is_colour: bool, invalid: u64) -> Vec<String> {
    let mut remarks = Vec::new();
    if container == Container::Jpeg {
        remarks.push("JPEG alters the pixels; use the original, if there is one".to_string());
    }
    if is_colour {
        remarks.push("colour image converted to grey".to_string());
    }
    remarks.extend(remark_on_invalid(invalid));
    remarks
}

/// What the user should know where pixels are no numbers.
pub(super) fn remark_on_invalid(invalid: u64) -> Option<String> {
    let are = if invalid == 1 { "pixel is" } else { "pixels are" };
    let remark = || format!("{invalid} {are} infinite or not a number, and taken for the end of the range, or black");
    (invalid > 0).then(remark)
}

/// Decodes an image of up to `most_pixels`.
pub(super) fn decode_file(path: &Path, options: &ReadOptions, most_pixels: u64) -> Result<Decoded> {
    decode(open(path)?, options, most_pixels).map_err(|refusal| refusal.of(path))
}

pub(super) fn open(path: &Path) -> Result<Input> {
    Ok(Box::new(BufReader::new(File::open(path).map_err(Error::io("read", path))?)))
}

fn decode(mut input: Input, options: &ReadOptions, most_pixels: u64) -> Reason<Decoded> {
    let container = recognise(&mut input)?;
    match container {
        Container::Tiff | Container::Nifti | Container::Numpy => {
            return open_chunked(input, container, options.page)?.decode_all(most_pixels);
        }
        // Formats of one image.
        _ => checked_page(options.page, 1)?,
    };
    match container {
        Container::Png => png_image::read(input, most_pixels),
        _ => photograph::read(input, container, most_pixels),
    }
}

/// The format by the first bytes of a file.
pub(super) fn recognise(input: &mut Input) -> Reason<Container> {
    let mut start = Vec::new();
    input.rewind()?;
    input.by_ref().take(nifti::HEADER_BYTES).read_to_end(&mut start)?;
    input.rewind()?;
    match start.as_slice() {
        [] => Err(Refusal::Sentence("the file is empty; copy it again from its source".into())),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Container::Png),
        // Versions 42 and 43 (BigTIFF), in both byte orders.
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Container::Tiff),
        [0xff, 0xd8, 0xff, ..] => Ok(Container::Jpeg),
        [b'B', b'M', ..] => Ok(Container::Bmp),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Ok(Container::Numpy),
        // Of compressed files only NIfTI is read.
        [0x1f, 0x8b, ..] => Ok(Container::Nifti),
        start if nifti::is_header(start) => Ok(Container::Nifti),
        _ => Err(Refusal::Sentence(
            "it is no PNG, TIFF, JPEG, BMP, NIfTI or NumPy file, or its beginning is damaged; export the original as \
             PNG or TIFF"
                .into(),
        )),
    }
}

/// Refuses before anything is allocated: a damaged header can claim any size.
pub(super) fn check_size(width: u64, height: u64, most_pixels: u64) -> Reason<()> {
    if width == 0 || height == 0 {
        return Err(Refusal::Sentence("it has no pixels; export it again".into()));
    }
    if width.checked_mul(height).is_none_or(|pixels| pixels > most_pixels) {
        let side = most_pixels.isqrt();
        return Err(Refusal::Sentence(format!(
            "it says it has {width} x {height} pixels; images of up to {most_pixels} pixels ({side} x {side}) are read \
             as a whole. Save it as a tiled TIFF, which is read in parts, cut it into parts, or export it again if the \
             size is wrong"
        )));
    }
    Ok(())
}

/// Refuses a header that claims more than its file can hold, however it is compressed.
pub(super) fn check_claim(claimed: u64, most: u64) -> Reason<()> {
    if claimed > most {
        return Err(Refusal::Damaged("its header claims a larger image than the file can hold".into()));
    }
    Ok(())
}

/// The length of a file, which is read from its beginning afterwards.
pub(super) fn bytes_of(input: &mut Input) -> Reason<u64> {
    let bytes = input.seek(SeekFrom::End(0))?;
    input.rewind()?;
    Ok(bytes)
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
