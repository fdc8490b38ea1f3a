//! The first page of a TIFF file: its samples, its palette, and what its tags say.
//!
//! Uses the `tiff` crate itself, since `image` passes on neither tags nor pages, palettes or grey with alpha.

use super::grey::{Channels, Grey, GreyRows, Luma};
use super::pixel_size::pixel_size_um;
use super::{Decoded, check_size, damaged, open, too_large, unread};
use crate::error::{Error, Result};
use crate::imaging::Container;
use crate::imaging::raster::{Sample, Samples};
use std::borrow::Cow;
use std::io::{Cursor, ErrorKind, Read, Seek};
use std::path::Path;
use tiff::decoder::ifd::Value;
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits, TiffCodingUnit};
use tiff::tags::{ByteOrder, Tag};
use tiff::{ColorType, TiffError};

/// Reads the first page, of up to `most_pixels`, and counts the others.
pub(super) fn read<C: Luma>(path: &Path, most_pixels: u64) -> Result<Decoded<C>> {
    let explain = |error| explain(path, error);
    let mut page = Decoder::new(open(path)?).map_err(explain)?.with_limits(limits());
    check_size(path, page.dimensions().map_err(explain)?, most_pixels)?;
    refuse_unfit_values(path, &mut page)?;
    // Value of the tag PhotometricInterpretation (TIFF 6.0, section 5).
    const PALETTE: u16 = 3;
    let mut decoded: Decoded<C> = match unsigned_tag(&mut page, Tag::PhotometricInterpretation) {
        Some(PALETTE) => decode_palette(path, &mut page)?,
        _ => decode(path, &mut page)?,
    };
    decoded.pixel_size_um =
        pixel_size_um(&description(&mut page), resolution(&mut page), unsigned_tag(&mut page, Tag::ResolutionUnit));
    // A damaged list of pages ends the count; the first page is fine all the same.
    let mut further_pages = 0;
    while page.more_images() && page.next_image().is_ok() {
        further_pages += 1;
    }
    if further_pages > 0 {
        decoded.notes.push(format!("only the first page is used, {further_pages} ignored"));
    }
    Ok(decoded)
}

/// The most bytes that are decoded at once: 16 384 x 16 384 pixels of four channels of 16 bits.
const MAX_BYTES: usize = 1 << 31;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_BYTES;
    limits.intermediate_buffer_size = MAX_BYTES;
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

fn decode<C: Luma, R: Read + Seek>(path: &Path, page: &mut Decoder<R>) -> Result<Decoded<C>> {
    let explain = |error| explain(path, error);
    let (width, height) = page.dimensions().map_err(explain)?;
    let (width, height) = (width as usize, height as usize);
    let colours = page.colortype().map_err(explain)?;
    let (channels, note) = match colours {
        ColorType::Gray(_) => (Channels::Grey(1), None),
        ColorType::GrayA(_) => (Channels::Grey(2), None),
        ColorType::RGB(_) => (Channels::Colour(3), None),
        ColorType::RGBA(_) => (Channels::Colour(4), None),
        // Grey with alpha is two samples, the second declared as alpha by the tag ExtraSamples (TIFF 6.0, section 18).
        ColorType::Multiband { num_samples: 2, .. } if matches!(unsigned_tag(page, Tag::ExtraSamples), Some(1 | 2)) => {
            (Channels::Grey(2), None)
        }
        ColorType::Multiband { num_samples, .. } => (
            Channels::Grey(usize::from(num_samples)),
            Some(format!("only the first of {num_samples} channels is used")),
        ),
        other => return Err(unread(path, &format!("{other:?} colours"))),
    };
    let (grey, depth) = match (channels, colours.bit_depth()) {
        (Channels::Grey(1), _) => {
            let samples = decode_at_once(path, page, height * width)?;
            let depth = samples.depth();
            (Grey::Stored(samples), depth)
        }
        (_, 8) => (decode_by_chunks::<u8, C, R>(path, page, channels)?, u8::DEPTH),
        (_, 16) => (decode_by_chunks::<u16, C, R>(path, page, channels)?, u16::DEPTH),
        _ => return Err(unread(path, &"values that are neither 8- nor 16-bit")),
    };
    let notes = note.into_iter().collect();
    Ok(Decoded { height, width, grey, depth, container: Container::Tiff, pixel_size_um: None, notes })
}

/// Decodes grey without further channels straight into its final place.
fn decode_at_once<R: Read + Seek>(path: &Path, page: &mut Decoder<R>, pixels: usize) -> Result<Samples> {
    let mut buffer = DecodingResult::U8(Vec::new());
    page.read_image_to_buffer(&mut buffer).map_err(|error| explain(path, error))?;
    let samples = match buffer {
        DecodingResult::U8(samples) => Samples::Eight(samples),
        DecodingResult::U16(samples) => Samples::Sixteen(samples),
        _ => return Err(unread(path, &"values that are neither 8- nor 16-bit")),
    };
    if samples.len() != pixels {
        return Err(damaged(path, &format!("{} values instead of {pixels}", samples.len())));
    }
    Ok(samples)
}

/// Decodes several channels strip by strip or tile by tile, so that the whole of them is never held.
fn decode_by_chunks<T: Sample, C: Luma, R: Read + Seek>(
    path: &Path,
    page: &mut Decoder<R>,
    channels: Channels,
) -> Result<Grey<C>> {
    let explain = |error| explain(path, error);
    let (width, height) = page.dimensions().map_err(explain)?;
    let (chunk_width, chunk_height) = page.chunk_dimensions();
    let (across, down) = (width.div_ceil(chunk_width), height.div_ceil(chunk_height));
    let mut grey = GreyRows::<T, C>::new(width as usize * height as usize, channels);
    for chunk in 0..across * down {
        let layout = page.image_coding_unit_layout(TiffCodingUnit(chunk)).map_err(explain)?;
        if layout.complete_len > MAX_BYTES {
            return Err(too_large(path));
        }
        // The `tiff` crate panics: it knows of the padding of the lowest tiles in the first plane only.
        if layout.planes > 1 && page.get_chunk_type() == ChunkType::Tile && height % chunk_height > 0 {
            return Err(unread(path, &"colours one after the other, in tiles that reach beyond the image"));
        }
        let mut bytes = vec![0; layout.complete_len];
        page.read_coding_unit_bytes(TiffCodingUnit(chunk), &mut bytes).map_err(explain)?;
        let samples = interleave(T::from_bytes(&bytes, ByteOrder::native()), layout.planes);
        let (left, top) = (chunk % across * chunk_width, chunk / across * chunk_height);
        let row_samples = page.chunk_data_dimensions(chunk).0 as usize * channels.count();
        for (row, samples) in samples.chunks_exact(row_samples).enumerate() {
            grey.put((top as usize + row) * width as usize + left as usize, samples);
        }
    }
    Ok(grey.finish())
}

/// Channels stored one after the other (`PlanarConfiguration` 2) to channels side by side.
fn interleave<T: Copy>(samples: Cow<[T]>, planes: usize) -> Cow<[T]> {
    if planes < 2 {
        return samples;
    }
    let length = samples.len() / planes;
    (0..length * planes).map(|i| samples[i % planes * length + i / planes]).collect()
}

/// Decodes an 8-bit palette image, which the `tiff` crate refuses and ImageJ writes whenever a colour table is shown:
/// the same file with the tag changed to grey gives the indices into the table of 256 reds, greens and blues.
fn decode_palette<C: Luma, R: Read + Seek>(path: &Path, page: &mut Decoder<R>) -> Result<Decoded<C>> {
    let table = page.get_tag_u16_vec(Tag::ColorMap).map_err(|error| explain(path, error))?;
    let mut file = Vec::new();
    open(path)?.read_to_end(&mut file).map_err(Error::io("read", path))?;
    if table.len() != 3 * 256 || declare_grey(&mut file).is_none() {
        return Err(unread(path, &"an unusual palette"));
    }
    let mut grey = Decoder::new(Cursor::new(file)).map_err(|error| explain(path, error))?.with_limits(limits());
    let mut decoded = decode(path, &mut grey)?;
    drop(grey);
    let Grey::Stored(Samples::Eight(indices)) = &decoded.grey else {
        return Err(unread(path, &"a palette of more than 256 colours"));
    };
    // Some writers put 8-bit colours in the 16-bit table.
    let step = if table.iter().all(|entry| *entry < 256) { 1 } else { 257 };
    let colour = |channel: usize, index: u8| (table[256 * channel + usize::from(index)] / step) as u8;
    let mut rows = GreyRows::<u8, C>::new(indices.len(), Channels::Colour(3));
    for (y, row) in indices.chunks_exact(decoded.width).enumerate() {
        let colours: Vec<u8> = row.iter().flat_map(|index| [0, 1, 2].map(|channel| colour(channel, *index))).collect();
        rows.put(y * decoded.width, &colours);
    }
    decoded.grey = rows.finish();
    Ok(decoded)
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
        TiffError::LimitsExceeded => too_large(path),
        other => damaged(path, &other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_stored_one_after_the_other_are_put_side_by_side() {
        assert_eq!(interleave(Cow::from(&[1, 2, 10, 20, 100, 200]), 3), [1, 10, 100, 2, 20, 200].as_slice());
        assert_eq!(interleave(Cow::from(&[1, 2, 3]), 1), [1, 2, 3].as_slice());
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
