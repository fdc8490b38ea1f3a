//! JPEG and BMP files, by way of the `image` crate.

use super::{Channels, Decoded, Input, Reason, Refusal, bytes_of, check_claim, check_size, guarded, to_grey};
use crate::imaging::{BitDepth, Container, Samples};
use image::codecs::bmp::BmpDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};
use std::io::BufReader;

/// How many pixels a byte of a JPEG may stand for: a block of 8 x 8 takes a bit, at the very least.
const MOST_PIXELS_A_BYTE: u64 = 512;

/// Reads an image of up to `most_pixels`.
pub(super) fn read(mut input: Input, container: Container, most_pixels: u64) -> Reason<Decoded> {
    let file_bytes = bytes_of(&mut input)?;
    let input = BufReader::new(input);
    match container {
        Container::Jpeg => guarded("JPEG decoder", || {
            let decoder = JpegDecoder::new(input)?;
            let (width, height) = decoder.dimensions();
            let pixels = u64::from(width) * u64::from(height);
            check_claim(pixels, file_bytes.saturating_mul(MOST_PIXELS_A_BYTE))?;
            decode(decoder, container, most_pixels)
        }),
        _ => guarded("BMP decoder", || decode(BmpDecoder::new(input)?, container, most_pixels)),
    }
}

fn decode(mut decoder: impl ImageDecoder, container: Container, most_pixels: u64) -> Reason<Decoded> {
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), most_pixels)?;
    let channels = match decoder.color_type() {
        ColorType::L8 => Channels::Grey(1),
        ColorType::La8 => Channels::Grey(2),
        ColorType::Rgb8 => Channels::Colour(3),
        ColorType::Rgba8 => Channels::Colour(4),
        other => return Err(Refusal::Unread(format!("{other:?} colours"))),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(8 * most_pixels);
    decoder.set_limits(limits)?;
    let mut bytes = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut bytes)?;
    let (samples, is_colour) = to_grey(Samples::Eight(bytes), channels);
    Ok(Decoded {
        height: height as usize,
        width: width as usize,
        samples,
        is_colour,
        depth: BitDepth::Eight,
        container,
        pixel_size_um: None,
        notes: Vec::new(),
    })
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::IoError(source) => Self::from(source),
            ImageError::Unsupported(what) => Self::Unread(what.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}
