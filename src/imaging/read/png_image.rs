//! PNG files, row by row, so that only the grey values are held.

use super::grey::{Channels, Grey, GreyRows, Luma};
use super::{Decoded, check_size, damaged, too_large, unread};
use crate::error::{Error, Result};
use crate::imaging::Container;
use crate::imaging::raster::Sample;
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use tiff::tags::ByteOrder;

/// What the decoder may keep beside the pixels: colour profiles, texts.
const LIMITS: Limits = Limits { bytes: 1 << 30 };

/// Reads an image of up to `most_pixels`.
pub(super) fn read<C: Luma>(path: &Path, reader: BufReader<File>, most_pixels: u64) -> Result<Decoded<C>> {
    let explain = |error| explain(path, error);
    let mut decoder = Decoder::new_with_limits(reader, LIMITS);
    // Palettes to colours, fewer than 8 bits to 8.
    decoder.set_transformations(Transformations::EXPAND);
    check_size(path, decoder.read_header_info().map_err(explain)?.size(), most_pixels)?;
    let mut image = decoder.read_info().map_err(explain)?;
    let (width, height) = image.info().size();
    let (colours, bits) = image.output_color_type();
    let channels = match colours {
        ColorType::Grayscale => Channels::Grey(1),
        ColorType::GrayscaleAlpha => Channels::Grey(2),
        ColorType::Rgb => Channels::Colour(3),
        ColorType::Rgba => Channels::Colour(4),
        ColorType::Indexed => return Err(unread(path, &"a palette without its colours")),
    };
    let (grey, depth) = match bits {
        BitDepth::Eight => (read_rows::<u8, C>(&mut image, channels).map_err(explain)?, u8::DEPTH),
        BitDepth::Sixteen => (read_rows::<u16, C>(&mut image, channels).map_err(explain)?, u16::DEPTH),
        _ => return Err(unread(path, &"values that are neither 8- nor 16-bit")),
    };
    let (height, width) = (height as usize, width as usize);
    Ok(Decoded { height, width, grey, depth, container: Container::Png, pixel_size_um: None, notes: Vec::new() })
}

fn read_rows<T: Sample, C: Luma>(
    image: &mut Reader<BufReader<File>>,
    channels: Channels,
) -> std::result::Result<Grey<C>, DecodingError> {
    let (width, height) = (image.info().width as usize, image.info().height as usize);
    let mut grey = GreyRows::<T, C>::new(height * width, channels);
    let mut put = |y: usize, row: &[u8]| grey.put(y * width, &T::from_bytes(row, ByteOrder::BigEndian));
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
    Ok(grey.finish())
}

/// The decoder's error as a sentence with a remedy.
fn explain(path: &Path, error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(source) if source.kind() != ErrorKind::UnexpectedEof => Error::io("read", path)(source),
        DecodingError::LimitsExceeded => too_large(path),
        other => damaged(path, &other),
    }
}
