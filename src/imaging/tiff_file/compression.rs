//! Compressed bytes to plain ones, never more than asked for.

use super::page::Compression;
use crate::imaging::read::{Reason, Refusal, guarded};
use flate2::read::ZlibDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::fmt::Display;
use std::io::Read;
use weezl::decode::Configuration;
use weezl::{BitOrder, LzwStatus};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The first `wanted` bytes; fewer when the compressed ones end before.
pub(super) fn decompress(compression: Compression, stored: Vec<u8>, wanted: usize) -> Reason<Vec<u8>> {
    let damaged = |error: &dyn Display| Refusal::Damaged(format!("a strip or tile: {error}"));
    match compression {
        Compression::None => Ok(stored),
        Compression::PackBits => Ok(unpack_bits(&stored, wanted)),
        Compression::Deflate => {
            let mut plain = Vec::new();
            ZlibDecoder::new(stored.as_slice())
                .take(wanted as u64)
                .read_to_end(&mut plain)
                .map_err(|error| damaged(&error))?;
            Ok(plain)
        }
        Compression::Lzw => Ok(decode_lzw(&stored, wanted)),
        Compression::Zstd => guarded("Zstandard decoder", || {
            let mut plain = Vec::new();
            let decoder = StreamingDecoder::new(stored.as_slice()).map_err(|error| damaged(&error))?;
            decoder.take(wanted as u64).read_to_end(&mut plain).map_err(|error| damaged(&error))?;
            Ok(plain)
        }),
        Compression::Jpeg => unreachable!("JPEG has a decoder of its own"),
    }
}

/// Runs and copies (TIFF 6.0, section 9).
fn unpack_bits(stored: &[u8], wanted: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = stored;
    while let [head, after @ ..] = rest
        && plain.len() < wanted
    {
        let head = *head as i8;
        rest = match (head, after) {
            (-128, _) => after,
            (0.., _) => {
                let (copied, rest) = after.split_at(after.len().min(head as usize + 1));
                plain.extend_from_slice(copied);
                rest
            }
            (_, [byte, rest @ ..]) => {
                plain.extend(std::iter::repeat_n(*byte, 1 + usize::from(head.unsigned_abs())));
                rest
            }
            (_, []) => &[],
        };
    }
    plain
}

/// LZW as TIFF has it; a damaged end gives fewer bytes.
fn decode_lzw(stored: &[u8], wanted: usize) -> Vec<u8> {
    let configuration = Configuration::with_tiff_size_switch(BitOrder::Msb, 8);
    let mut decoder = configuration.with_yield_on_full_buffer(true).build();
    let (mut plain, mut rest) = (Vec::new(), stored);
    // The memory grows with what there is to decode, not with what a header claims.
    let mut buffer = vec![0; wanted.clamp(1, 1 << 16)];
    while plain.len() < wanted {
        let result = decoder.decode_bytes(rest, &mut buffer);
        plain.extend_from_slice(&buffer[..result.consumed_out]);
        rest = &rest[result.consumed_in..];
        match result.status {
            Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
            _ => break,
        }
    }
    plain
}

/// What becomes of the colours of JPEG data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JpegColours {
    /// They are red, green and blue, or grey, as they are.
    Keep,
    /// They are YCbCr, of which red, green and blue are wanted.
    ToRgb,
}

/// The pixels of JPEG data whose tables may stand apart, as TIFF has it; `channels` side by side.
pub(super) fn decompress_jpeg(
    stored: &[u8],
    tables: &[u8],
    [rows, width]: [usize; 2],
    channels: usize,
    colours: JpegColours,
) -> Reason<Vec<u8>> {
    const MARKER_BYTES: usize = 2;
    let whole = match (tables.len().checked_sub(MARKER_BYTES), stored.get(MARKER_BYTES..)) {
        // Without the mark at the end of the tables and that at the beginning of the image, they are one file.
        (Some(end), Some(image)) if end > MARKER_BYTES => [&tables[..end], image].concat(),
        _ => stored.to_vec(),
    };
    let damaged = |error: &dyn Display| Refusal::Damaged(format!("a strip or tile: {error}"));
    // The decoder reads what a stranger wrote; a panic in it must not end a batch.
    let pixels = guarded("JPEG decoder", || {
        let limits = DecoderOptions::default().set_max_width(width.max(1)).set_max_height(rows.max(1));
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(whole.as_slice()), limits);
        decoder.decode_headers().map_err(|error| damaged(&error))?;
        let own = decoder.input_colorspace().unwrap_or(ColorSpace::Luma);
        let wanted = if colours == JpegColours::ToRgb { ColorSpace::RGB } else { own };
        decoder.set_options(limits.jpeg_set_out_colorspace(wanted));
        let info = decoder.info().ok_or_else(|| damaged(&"it has no size"))?;
        let size = [usize::from(info.height), usize::from(info.width)];
        if size != [rows, width] || wanted.num_components() != channels {
            let found = format!("JPEG of {} x {}, {} channels", size[1], size[0], wanted.num_components());
            return Err(damaged(&found));
        }
        decoder.decode().map_err(|error| damaged(&error))
    })?;
    if pixels.len() != rows * width * channels {
        return Err(damaged(&"it has too few pixels"));
    }
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bits_are_those_of_the_specification() {
        // The example of Apple's technical note 1023.
        let packed = [0xfe, 0xaa, 0x02, 0x80, 0, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0, 0x2a, 0x22, 0xf7, 0xaa];
        let plain = unpack_bits(&packed, 24);
        assert_eq!(plain[..7], [0xaa, 0xaa, 0xaa, 0x80, 0, 0x2a, 0xaa]);
        assert_eq!((plain.len(), &plain[14..]), (24, [0xaa; 10].as_slice()));
        assert!(unpack_bits(&[0x81], 100).is_empty() && unpack_bits(&[5, 1], 100) == [1]);
    }

    #[test]
    fn damaged_data_give_fewer_bytes_or_an_error_and_never_more_than_wanted() {
        for compression in [Compression::Lzw, Compression::Deflate, Compression::PackBits] {
            for noise in 0..200u8 {
                let stored: Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(noise).rotate_left(3) ^ noise).collect();
                if let Ok(plain) = decompress(compression, stored, 50) {
                    assert!(plain.len() <= 50 + 128, "{compression:?} gave {}", plain.len());
                }
            }
        }
        assert!(decompress_jpeg(b"\xff\xd8\xff", &[], [8, 8], 1, JpegColours::Keep).is_err());
    }
}
