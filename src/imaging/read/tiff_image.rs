//! The first page of a TIFF file: its samples, its palette, and what its tags say.
//!
//! Uses the `tiff` crate itself, since `image` passes on neither tags nor pages, palettes or grey with alpha.

use super::pixel_size::pixel_size_um;
use super::{MAX_PIXELS, Samples, Stored, check_size, damaged, open, unread};
use crate::error::{Error, Result};
use std::io::{Cursor, ErrorKind, Read, Seek};
use std::path::Path;
use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

/// Reads the first page and counts the others.
pub(super) fn read(path: &Path) -> Result<Stored> {
    let explain = |error| explain(path, error);
    let mut page = Decoder::new(open(path)?).map_err(explain)?.with_limits(limits());
    check_size(path, page.dimensions().map_err(explain)?)?;
    refuse_unfit_values(path, &mut page)?;
    // Value of the tag PhotometricInterpretation (TIFF 6.0, section 5).
    const PALETTE: u16 = 3;
    let mut stored = match unsigned_tag(&mut page, Tag::PhotometricInterpretation) {
        Some(PALETTE) => decode_palette(path, &mut page)?,
        _ => decode(path, &mut page)?,
    };
    stored.pixel_size_um =
        pixel_size_um(&description(&mut page), resolution(&mut page), unsigned_tag(&mut page, Tag::ResolutionUnit));
    // A damaged list of pages ends the count; the first page is fine all the same.
    let mut further_pages = 0;
    while page.more_images() && page.next_image().is_ok() {
        further_pages += 1;
    }
    if further_pages > 0 {
        stored.notes.push(format!("only the first page is used, {further_pages} ignored"));
    }
    Ok(stored)
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    // Four channels of 16 bits.
    limits.decoding_buffer_size = (MAX_PIXELS * 8) as usize;
    limits.intermediate_buffer_size = (MAX_PIXELS * 8) as usize;
    limits
}

fn unsigned_tag<R: Read + Seek>(page: &mut Decoder<R>, tag: Tag) -> Option<u16> {
    page.find_tag_unsigned(tag).ok().flatten()
}

/// Refuses values that are not counts of up to 16 bits, with a remedy that fits.
fn refuse_unfit_values<R: Read + Seek>(path: &Path, page: &mut Decoder<R>) -> Result<()> {
    // Values of the tag SampleFormat (TIFF 6.0, section 19).
    const SIGNED: u16 = 2;
    const FLOAT: u16 = 3;
    let numbers =
        |tag, page: &mut Decoder<R>| page.find_tag_unsigned_vec::<u16>(tag).ok().flatten().unwrap_or_default();
    let formats = numbers(Tag::SampleFormat, page);
    let mut bits = numbers(Tag::BitsPerSample, page);
    if bits.is_empty() {
        // What a missing tag means.
        bits.push(1);
    }
    let kind = if formats.contains(&FLOAT) {
        "floating-point".to_string()
    } else if formats.contains(&SIGNED) {
        "signed".to_string()
    } else if let Some(other) = bits.iter().find(|bits| ![8, 16].contains(*bits)) {
        format!("{other}-bit")
    } else {
        return Ok(());
    };
    Err(Error::image(
        path,
        format!("it holds {kind} values; convert to 8- or 16-bit, for example in ImageJ with Image > Type > 16-bit"),
    ))
}

fn decode<R: Read + Seek>(path: &Path, page: &mut Decoder<R>) -> Result<Stored> {
    let (width, height) = page.dimensions().map_err(|error| explain(path, error))?;
    let colours = page.colortype().map_err(|error| explain(path, error))?;
    let (channels, note) = match colours {
        ColorType::Gray(_) => (1, None),
        ColorType::GrayA(_) => (2, None),
        ColorType::RGB(_) => (3, None),
        ColorType::RGBA(_) => (4, None),
        // Grey with alpha is two samples, the second declared as alpha by the tag ExtraSamples (TIFF 6.0, section 18).
        ColorType::Multiband { num_samples: 2, .. } if matches!(unsigned_tag(page, Tag::ExtraSamples), Some(1 | 2)) => {
            (2, None)
        }
        ColorType::Multiband { num_samples, .. } => {
            (usize::from(num_samples), Some(format!("only the first of {num_samples} channels is used")))
        }
        other => return Err(unread(path, &format!("{other:?} colours"))),
    };
    let is_grey = !matches!(colours, ColorType::RGB(_) | ColorType::RGBA(_));
    let mut buffer = DecodingResult::U8(Vec::new());
    let layout = page.read_image_to_buffer(&mut buffer).map_err(|error| explain(path, error))?;
    let samples = match buffer {
        DecodingResult::U8(samples) => Samples::Eight(interleave(samples, layout.planes)),
        DecodingResult::U16(samples) => Samples::Sixteen(interleave(samples, layout.planes)),
        _ => return Err(unread(path, &"values that are neither 8- nor 16-bit")),
    };
    let notes = note.into_iter().collect();
    Ok(Stored { width, height, channels, is_grey, samples, pixel_size_um: None, notes })
}

/// Channels stored one after the other (`PlanarConfiguration` 2) to channels side by side.
fn interleave<T: Copy>(samples: Vec<T>, planes: usize) -> Vec<T> {
    if planes < 2 {
        return samples;
    }
    let length = samples.len() / planes;
    (0..length * planes).map(|i| samples[i % planes * length + i / planes]).collect()
}

/// Decodes an 8-bit palette image, which the `tiff` crate refuses and ImageJ writes whenever a colour table is shown:
/// the same file with the tag changed to grey gives the indices into the table of 256 reds, greens and blues.
fn decode_palette<R: Read + Seek>(path: &Path, page: &mut Decoder<R>) -> Result<Stored> {
    let table = page.get_tag_u16_vec(Tag::ColorMap).map_err(|error| explain(path, error))?;
    let mut file = Vec::new();
    open(path)?.read_to_end(&mut file).map_err(Error::io("read", path))?;
    if table.len() != 3 * 256 || declare_grey(&mut file).is_none() {
        return Err(unread(path, &"an unusual palette"));
    }
    let mut grey = Decoder::new(Cursor::new(file)).map_err(|error| explain(path, error))?.with_limits(limits());
    let mut stored = decode(path, &mut grey)?;
    let Samples::Eight(indices) = &stored.samples else {
        return Err(unread(path, &"a palette of more than 256 colours"));
    };
    // Some writers put 8-bit colours in the 16-bit table.
    let step = if table.iter().all(|entry| *entry < 256) { 1 } else { 257 };
    let colour = |channel: usize, index: u8| (table[256 * channel + usize::from(index)] / step) as u8;
    let pixels = indices.iter().flat_map(|index| [0, 1, 2].map(|channel| colour(channel, *index))).collect();
    (stored.samples, stored.channels, stored.is_grey) = (Samples::Eight(pixels), 3, false);
    Ok(stored)
}

/// Sets the tag `PhotometricInterpretation` of the first page to 1, "black is zero" (TIFF 6.0, sections 2 and 4).
fn declare_grey(file: &mut [u8]) -> Option<()> {
    const PHOTOMETRIC_INTERPRETATION: u16 = 262;
    const ENTRY_BYTES: usize = 12;
    let little_endian = file.first()? == &b'I';
    let short = |file: &[u8], at: usize| {
        let bytes: [u8; 2] = file.get(at..at + 2)?.try_into().ok()?;
        Some(if little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let offset: [u8; 4] = file.get(4..8)?.try_into().ok()?;
    let page = if little_endian { u32::from_le_bytes(offset) } else { u32::from_be_bytes(offset) } as usize;
    // Version 43 is BigTIFF, whose directory has another form.
    let entries = (short(file, 2)? == 42).then(|| short(file, page)).flatten()?;
    let mut places = (0..usize::from(entries)).map(|i| page + 2 + i * ENTRY_BYTES);
    let place = places.find(|place| short(file, *place) == Some(PHOTOMETRIC_INTERPRETATION))? + 8;
    let black_is_zero: [u8; 2] = if little_endian { [1, 0] } else { [0, 1] };
    file.get_mut(place..place + 2)?.copy_from_slice(&black_is_zero);
    Some(())
}

/// The image description, whatever its encoding: older ImageJ writes the micro sign in Latin-1.
fn description<R: Read + Seek>(page: &mut Decoder<R>) -> String {
    const LONGEST: u64 = 1 << 20;
    let mut ifd = page.image_ifd();
    let length = ifd.find_entry(Tag::ImageDescription).map_or(0, |entry| entry.count().min(LONGEST));
    let mut bytes = vec![0; length as usize];
    match ifd.find_tag_bytes(Tag::ImageDescription, &mut bytes, 0) {
        Ok(Some(_)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

fn resolution<R: Read + Seek>(page: &mut Decoder<R>) -> Option<f64> {
    match page.find_tag(Tag::XResolution).ok()?? {
        Value::Rational(n, d) => Some(f64::from(n) / f64::from(d)),
        _ => None,
    }
}

/// A decoder's error as a sentence with a remedy.
fn explain(path: &Path, error: TiffError) -> Error {
    match error {
        TiffError::IoError(source) if source.kind() != ErrorKind::UnexpectedEof => Error::io("read", path)(source),
        TiffError::UnsupportedError(what) => unread(path, &what),
        TiffError::LimitsExceeded => Error::image(path, "decoding it needs too much memory; cut it into parts"),
        other => damaged(path, &other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_stored_one_after_the_other_are_put_side_by_side() {
        assert_eq!(interleave(vec![1, 2, 10, 20, 100, 200], 3), [1, 10, 100, 2, 20, 200]);
        assert_eq!(interleave(vec![1, 2, 3], 1), [1, 2, 3]);
    }

    #[test]
    fn a_file_of_either_byte_order_can_be_declared_grey_and_a_short_one_is_left_alone() {
        // Header, then a directory of one entry at byte 8: tag 262, type SHORT, one value: 3 (palette).
        let mut big = [b"MM\0\x2a\0\0\0\x08\0\x01".as_slice(), &[1, 6, 0, 3, 0, 0, 0, 1, 0, 3, 0, 0]].concat();
        let mut little = [b"II\x2a\0\x08\0\0\0\x01\0".as_slice(), &[6, 1, 3, 0, 1, 0, 0, 0, 3, 0, 0, 0]].concat();
        assert!(declare_grey(&mut big).is_some() && declare_grey(&mut little).is_some());
        assert_eq!((&big[18..20], &little[18..20]), ([0, 1].as_slice(), [1, 0].as_slice()));
        assert!((0..19).all(|length| declare_grey(&mut big[..length].to_vec()).is_none()));
    }
}
