//! The tags of a page on their way to a [`Page`]: each checked, with what a missing one means.

use super::directory::{Directory, TiffFile};
use super::page::{Compression, Geometry, Page, Predictor};
use super::tag;
use crate::imaging::BitDepth;
use crate::imaging::read::{Channels, Reason, Refusal};

/// The longest side of an image that is read in parts.
const MAX_SIDE: u64 = 1 << 30;

pub(super) fn check_sides(sides: [u64; 2]) -> Reason<()> {
    if sides.contains(&0) {
        return Err(Refusal::Sentence("it has no pixels; export it again".into()));
    }
    if sides.iter().any(|side| *side > MAX_SIDE) {
        let [height, width] = sides;
        return Err(Refusal::Damaged(format!("it says it has {width} x {height} pixels")));
    }
    Ok(())
}

/// The tags of a page on their way to a [`Page`].
pub(super) struct Tags<'a> {
    pub(super) file: &'a mut TiffFile,
    pub(super) directory: &'a Directory,
}

impl Tags<'_> {
    pub(super) fn integer(&mut self, tag: u16) -> Reason<Option<u64>> {
        self.file.integer_of(self.directory, tag)
    }

    fn required(&mut self, tag: u16, name: &str) -> Reason<u64> {
        self.integer(tag)?.ok_or_else(|| Refusal::Damaged(format!("its {name} is missing")))
    }

    pub(super) fn geometry(&mut self) -> Reason<Geometry> {
        let sides = [self.required(tag::IMAGE_LENGTH, "height")?, self.required(tag::IMAGE_WIDTH, "width")?];
        check_sides(sides)?;
        let [height, width] = sides;
        let is_tiled = self.directory.contains(tag::TILE_OFFSETS);
        let chunk = if is_tiled {
            [self.required(tag::TILE_LENGTH, "tile height")?, self.required(tag::TILE_WIDTH, "tile width")?]
        } else {
            [self.integer(tag::ROWS_PER_STRIP)?.unwrap_or(height).min(height), width]
        };
        if chunk.iter().any(|side| *side == 0 || *side > MAX_SIDE) {
            return Err(Refusal::Damaged("its strips or tiles have no size".into()));
        }
        let [height, width, chunk_height, chunk_width] = [height, width, chunk[0], chunk[1]].map(|side| side as usize);
        Ok(Geometry { height, width, chunk_height, chunk_width, is_tiled })
    }

    /// Bits of the stored numbers, and the kind they become.
    pub(super) fn numbers(&mut self) -> Reason<(u32, BitDepth)> {
        let all = |values: Option<Vec<u64>>, default: u64| {
            let values = values.filter(|values| !values.is_empty()).unwrap_or_else(|| vec![default]);
            values.iter().all(|value| *value == values[0]).then_some(values[0])
        };
        let bits = all(self.file.integers(self.directory, tag::BITS_PER_SAMPLE)?, 1);
        let format = all(self.file.integers(self.directory, tag::SAMPLE_FORMAT)?, 1);
        let (Some(bits), Some(format)) = (bits, format) else {
            return Err(Refusal::Unread("channels of different kinds".into()));
        };
        // Values of SampleFormat (TIFF 6.0, section 19); 4 is "undefined".
        let depth = match (format, bits) {
            (1 | 4, 1..=8) => BitDepth::Eight,
            (1 | 4, 9..=16) => BitDepth::Sixteen,
            (1 | 4, 32) => BitDepth::Unsigned32,
            (2, 8) => BitDepth::Signed8,
            (2, 16) => BitDepth::Signed16,
            (2, 32) => BitDepth::Signed32,
            (3, 16) => BitDepth::Float16,
            (3, 32) => BitDepth::Float32,
            (3, 64) => BitDepth::Float64,
            (3, _) => return Err(Refusal::Unread(format!("floats of {bits} bits"))),
            (5 | 6, _) => return Err(Refusal::Unread("complex numbers".into())),
            _ => return Err(Refusal::Unread(format!("integers of {bits} bits"))),
        };
        Ok((bits as u32, depth))
    }

    pub(super) fn compression(&mut self) -> Reason<Compression> {
        Ok(match self.integer(tag::COMPRESSION)?.unwrap_or(1) {
            1 => Compression::None,
            5 => Compression::Lzw,
            // Deflate by Adobe's number and by the older one.
            8 | 32946 => Compression::Deflate,
            7 => Compression::Jpeg,
            32773 => Compression::PackBits,
            // By the number of libtiff and by that of Carl Zeiss.
            50000 | 50002 => Compression::Zstd,
            other => {
                let name = match other {
                    2..=4 => "fax",
                    6 => "old JPEG",
                    33003 | 33004 | 33005 | 34712 => "JPEG 2000",
                    34887 => "LERC",
                    34925 => "LZMA",
                    50001 => "WebP",
                    _ => "unknown",
                };
                return Err(Refusal::Unread(format!("{name} compression, number {other}")));
            }
        })
    }

    pub(super) fn predictor(&mut self, depth: BitDepth) -> Reason<Predictor> {
        match self.integer(tag::PREDICTOR)?.unwrap_or(1) {
            1 => Ok(Predictor::None),
            2 => Ok(Predictor::Horizontal),
            3 if matches!(depth, BitDepth::Float16 | BitDepth::Float32 | BitDepth::Float64) => Ok(Predictor::Float),
            other => Err(Refusal::Unread(format!("predictor {other}"))),
        }
    }

    /// What the samples of a pixel are, and what the user should know of it.
    pub(super) fn channels(
        &mut self,
        photometric: u64,
        compression: Compression,
    ) -> Reason<(Channels, Option<String>)> {
        let count = self.integer(tag::SAMPLES_PER_PIXEL)?.unwrap_or(1) as usize;
        if count == 0 || count > 1 << 12 {
            return Err(Refusal::Damaged(format!("it says it has {count} channels")));
        }
        // Values of PhotometricInterpretation (TIFF 6.0, section 8 and appendix A).
        match photometric {
            2 if count >= 3 => Ok((Channels::Colour(count), None)),
            6 if compression == Compression::Jpeg && count == 3 => Ok((Channels::Colour(3), None)),
            0 | 1 | 3 if count == 1 => Ok((Channels::Grey(1), None)),
            0 | 1 => {
                let extra = self.integer(tag::EXTRA_SAMPLES)?;
                // 1 and 2 declare alpha (TIFF 6.0, section 18).
                let is_alpha = count == 2 && matches!(extra, Some(1 | 2));
                let note = (!is_alpha).then(|| format!("only the first of {count} channels is used"));
                Ok((Channels::Grey(count), note))
            }
            5 => Err(Refusal::Unread("colours for printing, CMYK".into())),
            other => Err(Refusal::Unread(format!("colours of kind {other} in {count} channels"))),
        }
    }

    /// Reds, greens and blues of a palette, in 8 bits.
    pub(super) fn palette(&mut self, bits: u32) -> Reason<Vec<u8>> {
        let table = self.file.integers(self.directory, tag::COLOR_MAP)?.unwrap_or_default();
        if bits > 8 || table.len() != 3 << bits {
            return Err(Refusal::Unread("an unusual palette".into()));
        }
        // Some writers put 8-bit colours in the 16-bit table.
        let step = if table.iter().all(|entry| *entry < 256) { 1 } else { 257 };
        Ok(table.iter().map(|entry| (entry / step) as u8).collect())
    }

    /// Places and lengths of the chunks.
    pub(super) fn chunks(&mut self, page: &Page) -> Reason<Vec<(u64, u64)>> {
        let (places, lengths) = if page.geometry.is_tiled {
            (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS)
        } else {
            (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS)
        };
        let places = self.file.integers(self.directory, places)?.unwrap_or_default();
        let lengths = self.file.integers(self.directory, lengths)?;
        let channels = if page.is_planar { page.channels.count() } else { 1 };
        let expected = page.geometry.count().saturating_mul(channels);
        let lengths = match lengths {
            Some(lengths) => lengths,
            None if page.compression == Compression::None && places.len() == expected => {
                let rows = |chunk: usize| page.geometry.stored(chunk % page.geometry.count())[0];
                (0..expected).map(|chunk| (rows(chunk) * page.row_bytes()) as u64).collect()
            }
            None => Vec::new(),
        };
        if places.len() < expected || lengths.len() < expected {
            return Err(Refusal::Damaged(format!("{} of its {expected} strips or tiles are listed", places.len())));
        }
        Ok(places.into_iter().zip(lengths).take(expected).collect())
    }
}
