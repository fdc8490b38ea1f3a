//! PNG files, row by row, so that only the grey values are held.

use super::{Channels, Decoded, GreyImage, Input, Reason, Refusal, bytes_of, check_claim, check_size, to_grey};
use crate::imaging::samples::ByteOrder;
use crate::imaging::tiff_file::{PixelSize, is_default_resolution};
use crate::imaging::{BitDepth, Container, Samples};
use png::{ColorType, Decoder, DecodingError, Limits, PixelDimensions, Reader, Transformations, Unit};
use std::io::{BufReader, ErrorKind};

/// What the decoder may keep beside the pixels: colour profiles, texts.
const LIMITS: Limits = Limits { bytes: 1 << 30 };

/// How many bytes a deflated one may stand for: 258 for two bits, and some more to be sure.
const MOST_DEFLATED: u64 = 1040;

/// Reads an image of up to `most_pixels`.
pub(super) fn read(mut input: Input, most_pixels: u64) -> Reason<Decoded> {
    let file_bytes = bytes_of(&mut input)?;
    let mut decoder = Decoder::new_with_limits(BufReader::new(input), LIMITS);
    // Palettes to colours, fewer than 8 bits to 8.
    decoder.set_transformations(Transformations::EXPAND);
    let (width, height) = decoder.read_header_info()?.size();
    check_size(width.into(), height.into(), most_pixels)?;
    let mut image = decoder.read_info()?;
    let raw_bytes = (image.info().raw_row_length() as u64 - 1).saturating_mul(height.into());
    check_claim(raw_bytes, file_bytes.saturating_mul(MOST_DEFLATED))?;
    let (colours, bits) = image.output_color_type();
    let channels = match colours {
        ColorType::Grayscale => Channels::Grey(1),
        ColorType::GrayscaleAlpha => Channels::Grey(2),
        ColorType::Rgb => Channels::Colour(3),
        ColorType::Rgba => Channels::Colour(4),
        ColorType::Indexed => return Err(Refusal::Unread("a palette without its colours".into())),
    };
    let depth = match bits {
        png::BitDepth::Eight => BitDepth::Eight,
        png::BitDepth::Sixteen => BitDepth::Sixteen,
        _ => return Err(Refusal::Unread("values that are neither 8- nor 16-bit".into())),
    };
    let size = pixel_size(image.info().pixel_dims);
    let (samples, is_colour) = read_rows(&mut image, depth, channels)?;
    Ok(Decoded {
        height: height as usize,
        width: width as usize,
        samples,
        is_colour,
        depth,
        container: Container::Png,
        pixel_size_um: size.um,
        notes: size.note.into_iter().collect(),
    })
}

/// A resolution is a pixel size only where it is no screen or printer default and finer than any printer: programs
/// that know nothing of the scale write up to 1200 dots per inch.
fn pixel_size(dimensions: Option<PixelDimensions>) -> PixelSize {
    const PRINTER_DPI: f64 = 1210.0;
    const INCHES_PER_METRE: f64 = 39.370_078_740_157_48;
    let side = |per_metre: u32| {
        let dpi = f64::from(per_metre) / INCHES_PER_METRE;
        (dpi > PRINTER_DPI && !is_default_resolution(dpi)).then(|| micrometres(per_metre))
    };
    match dimensions {
        Some(PixelDimensions { xppu, yppu, unit: Unit::Meter }) => PixelSize::of_sides(side(xppu), side(yppu)),
        _ => PixelSize::default(),
    }
}

/// The shortest number of micrometres that a resolution in whole pixels per metre stands for: 0.0476 comes back from
/// the 21 008 403 pixels that it was rounded to.
fn micrometres(per_metre: u32) -> f64 {
    let exact = 1e6 / f64::from(per_metre);
    let rounded = (0..17).filter_map(|digits| format!("{exact:.digits$e}").parse::<f64>().ok());
    rounded.into_iter().find(|size| (1e6 / size).round() == f64::from(per_metre)).unwrap_or(exact)
}

/// The resolution by which a pixel size is found again; none where it is too coarse to be told from that of a printer.
pub(in crate::imaging) fn resolution(size_um: f64) -> Option<PixelDimensions> {
    let per_metre = (1e6 / size_um).round();
    let xppu = (1.0..=f64::from(i32::MAX)).contains(&per_metre).then_some(per_metre as u32)?;
    let dimensions = PixelDimensions { xppu, yppu: xppu, unit: Unit::Meter };
    pixel_size(Some(dimensions)).um.map(|_| dimensions)
}

fn read_rows(image: &mut Reader<BufReader<Input>>, depth: BitDepth, channels: Channels) -> Reason<(Samples, bool)> {
    let (width, height) = (image.info().width as usize, image.info().height as usize);
    // One damaged row must not have cost the memory of an image of any size that a header claims.
    let mut grey: Option<GreyImage> = None;
    let mut put = |y: usize, row: &[u8]| {
        let (samples, is_colour) = to_grey(Samples::from_bytes(row, depth, ByteOrder::Big), channels);
        let grey = grey.get_or_insert_with(|| GreyImage::new(height * width, depth));
        grey.mark_colour(is_colour);
        grey.put(y * width, &samples, 0, width);
    };
    if image.info().interlaced {
        let mut whole = vec![0; image.output_buffer_size().ok_or(DecodingError::LimitsExceeded)?];
        image.next_frame(&mut whole)?;
        whole.chunks_exact(whole.len() / height).enumerate().for_each(|(y, row)| put(y, row));
    } else {
        let mut rows = 0..;
        while let (Some(row), Some(y)) = (image.next_row()?, rows.next()) {
            put(y, row.data());
        }
    }
    grey.map(GreyImage::finish).ok_or_else(|| Refusal::Damaged("it has no rows".into()))
}

impl From<DecodingError> for Refusal {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::IoError(source) if source.kind() != ErrorKind::UnexpectedEof => Self::Io(source),
            DecodingError::LimitsExceeded => {
                Self::Sentence("decoding it needs too much memory; cut it into parts".into())
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_resolutions_finer_than_any_printer_are_pixel_sizes() {
        let size = |per_metre, unit| pixel_size(Some(PixelDimensions { xppu: per_metre, yppu: per_metre, unit })).um;
        for default in [2835, 3780, 11_811, 23_622, 47_244] {
            assert_eq!(size(default, Unit::Meter), None);
        }
        assert_eq!(size(10_000_000, Unit::Meter), Some(0.1));
        assert_eq!(size(10_000_000, Unit::Unspecified), None);
    }

    #[test]
    fn a_pixel_size_comes_back_from_the_resolution_to_its_last_digit() {
        for size_um in [0.0005, 0.0476, 0.093, 0.18, 0.2125, 1.0, 2.5, 12.34, 20.5] {
            let found = pixel_size(resolution(size_um)).um;
            assert_eq!(found, Some(size_um));
        }
        // A resolution in whole numbers holds seven digits or more.
        let third = pixel_size(resolution(1.0 / 3.0)).um.unwrap();
        assert!((third * 3.0 - 1.0).abs() < 2e-7, "{third}");
        for size_um in [25.4, 84.7, 5000.0, 1e-4, 0.0] {
            assert!(resolution(size_um).is_none(), "{size_um}");
        }
    }
}
