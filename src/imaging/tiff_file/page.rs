//! What the tags of a page say of its pixels, checked: size, kind of numbers, colours, and where its chunks (strips or
//! tiles) are.

use super::directory::{Directory, TiffFile};
use super::tag;
use super::tags::{Tags, check_sides};
use crate::imaging::read::{Channels, Reason, Refusal};
use crate::imaging::samples::ByteOrder;
use crate::imaging::{BitDepth, Window};

/// A page, or any other image that is stored in chunks.
#[derive(Debug, Clone)]
pub(in crate::imaging) struct Page {
    pub(in crate::imaging) geometry: Geometry,
    /// The kind of number of a pixel, once unpacked.
    pub(in crate::imaging) depth: BitDepth,
    /// Bits of a stored number.
    pub(super) bits: u32,
    pub(super) order: ByteOrder,
    pub(in crate::imaging) channels: Channels,
    /// Whether all of a channel comes before the next one.
    pub(super) is_planar: bool,
    pub(super) compression: Compression,
    pub(super) predictor: Predictor,
    /// Whether 0 is white.
    pub(super) is_inverted: bool,
    /// Whether the bits of each byte are stored from the lowest on.
    pub(super) reverses_bits: bool,
    /// Reds, greens and blues of the numbers of a palette image.
    pub(super) palette: Option<Vec<u8>>,
    /// Whether JPEG data are YCbCr, whose red, green and blue are wanted.
    pub(super) is_ycbcr: bool,
    pub(super) jpeg_tables: Vec<u8>,
    /// Where each chunk is and how many bytes it has, all of a channel before the next one where they are apart.
    pub(super) chunks: Vec<(u64, u64)>,
    /// What the user should know ("only the first of 3 channels is used").
    pub(in crate::imaging) note: Option<String>,
}

/// The size of an image and of the chunks it is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) struct Geometry {
    pub(in crate::imaging) height: usize,
    pub(in crate::imaging) width: usize,
    pub(in crate::imaging) chunk_height: usize,
    pub(in crate::imaging) chunk_width: usize,
    /// Tiles have their whole size where they reach beyond the image, strips end with it.
    pub(in crate::imaging) is_tiled: bool,
}

impl Geometry {
    /// Chunks side by side.
    pub(in crate::imaging) fn across(&self) -> usize {
        self.width.div_ceil(self.chunk_width)
    }

    /// Chunks of one channel.
    pub(in crate::imaging) fn count(&self) -> usize {
        self.across() * self.height.div_ceil(self.chunk_height)
    }

    /// The pixels of a chunk that lie in the image.
    pub(in crate::imaging) fn window(&self, chunk: usize) -> Window {
        let (top, left) = (chunk / self.across() * self.chunk_height, chunk % self.across() * self.chunk_width);
        let (bottom, right) = ((top + self.chunk_height).min(self.height), (left + self.chunk_width).min(self.width));
        Window { rows: top..bottom, columns: left..right }
    }

    /// Rows and columns that are stored for a chunk.
    pub(super) fn stored(&self, chunk: usize) -> [usize; 2] {
        let rows = if self.is_tiled { self.chunk_height } else { self.window(chunk).height() };
        [rows, self.chunk_width]
    }

    /// The chunks that a window needs.
    pub(in crate::imaging) fn chunks_of(&self, window: &Window) -> Vec<usize> {
        if window.rows.is_empty() || window.columns.is_empty() {
            return Vec::new();
        }
        let rows = window.rows.start / self.chunk_height..=(window.rows.end - 1) / self.chunk_height;
        let columns = window.columns.start / self.chunk_width..=(window.columns.end - 1) / self.chunk_width;
        rows.flat_map(|row| columns.clone().map(move |column| row * self.across() + column)).collect()
    }
}

/// How the bytes of a chunk are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
    Jpeg,
    Zstd,
}

/// What was done to numbers to make them compress better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    /// Each less the one to its left.
    Horizontal,
    /// The same with the bytes of floats, the highest of all first.
    Float,
}

/// Uncompressed strips are read in parts of about so many bytes, since some programs write one strip for all.
const PART_BYTES: usize = 1 << 20;

impl Page {
    /// The page of a directory.
    pub(in crate::imaging) fn of(file: &mut TiffFile, directory: &Directory) -> Reason<Self> {
        let mut tags = Tags { file, directory };
        let geometry = tags.geometry()?;
        let (bits, depth) = tags.numbers()?;
        let compression = tags.compression()?;
        let photometric = tags.integer(tag::PHOTOMETRIC_INTERPRETATION)?.unwrap_or(1);
        let (channels, note) = tags.channels(photometric, compression)?;
        let mut page = Self {
            geometry,
            depth,
            bits,
            order: tags.file.order(),
            channels,
            is_planar: channels.count() > 1 && tags.integer(tag::PLANAR_CONFIGURATION)? == Some(2),
            compression,
            predictor: tags.predictor(depth)?,
            is_inverted: photometric == 0,
            reverses_bits: tags.integer(tag::FILL_ORDER)? == Some(2),
            palette: None,
            is_ycbcr: photometric == 6,
            jpeg_tables: tags.file.bytes_of(directory, tag::JPEG_TABLES)?.unwrap_or_default(),
            chunks: Vec::new(),
            note,
        };
        if photometric == 3 {
            page.palette = Some(tags.palette(bits)?);
            page.channels = Channels::Grey(1);
        }
        page.chunks = tags.chunks(&page)?;
        page.split_strips();
        Ok(page)
    }

    /// An image of rows one after the other from a place on, as other formats have it.
    pub(in crate::imaging) fn of_rows(
        [height, width]: [usize; 2],
        depth: BitDepth,
        order: ByteOrder,
        place: u64,
    ) -> Reason<Self> {
        check_sides([height as u64, width as u64])?;
        let bytes = (height as u64 * width as u64).checked_mul(depth.bytes() as u64);
        let bytes = bytes.ok_or_else(|| Refusal::Damaged("it claims an impossible size".into()))?;
        let geometry = Geometry { height, width, chunk_height: height, chunk_width: width, is_tiled: false };
        let mut page = Self {
            geometry,
            depth,
            bits: 8 * depth.bytes() as u32,
            order,
            channels: Channels::Grey(1),
            is_planar: false,
            compression: Compression::None,
            predictor: Predictor::None,
            is_inverted: false,
            reverses_bits: false,
            palette: None,
            is_ycbcr: false,
            jpeg_tables: Vec::new(),
            chunks: vec![(place, bytes)],
            note: None,
        };
        page.split_strips();
        Ok(page)
    }

    /// Whether pixels are stored as colours, which may all be grey.
    pub(in crate::imaging) fn has_colours(&self) -> bool {
        self.palette.is_some() || matches!(self.channels, Channels::Colour(_))
    }

    /// The numbers that are side by side in a chunk for each pixel.
    pub(super) fn samples_per_pixel(&self) -> usize {
        if self.is_planar { 1 } else { self.channels.count() }
    }

    /// The bytes of a row of a chunk.
    pub(super) fn row_bytes(&self) -> usize {
        (self.geometry.chunk_width * self.samples_per_pixel() * self.bits as usize).div_ceil(8)
    }

    /// The bytes of the page without compression, if that many can be counted.
    pub(super) fn plain_bytes(&self) -> Option<u64> {
        let row = (self.geometry.width as u64 * self.channels.count() as u64 * u64::from(self.bits)).div_ceil(8);
        row.checked_mul(self.geometry.height as u64)
    }

    /// The page `pages` further on, where pages lie one after the other without directories of their own.
    pub(super) fn moved(mut self, pages: u64) -> Reason<Self> {
        let distance = self.plain_bytes().and_then(|bytes| bytes.checked_mul(pages));
        let distance = distance.ok_or_else(|| Refusal::Damaged("it claims an impossible size".into()))?;
        self.chunks.iter_mut().for_each(|(place, _)| *place = place.saturating_add(distance));
        Ok(self)
    }

    /// Cuts uncompressed strips into parts of moderate size.
    fn split_strips(&mut self) {
        let old = self.geometry;
        let most = (PART_BYTES / self.row_bytes().max(1)).max(1);
        if self.compression != Compression::None || old.is_tiled || old.chunk_height < 2 * most {
            return;
        }
        // Parts of several strips must be of one height.
        let fits = |rows: &usize| old.count() == 1 || old.chunk_height.is_multiple_of(*rows);
        let rows = (1..=most).rev().find(fits).unwrap_or(1);
        let row_bytes = self.row_bytes() as u64;
        let parts = self.chunks.iter().enumerate().flat_map(|(strip, (place, bytes))| {
            let height = old.window(strip % old.count()).height();
            (0..height.div_ceil(rows)).map(move |part| {
                let length = rows.min(height - part * rows) as u64 * row_bytes;
                (place.saturating_add((part * rows) as u64 * row_bytes), if *bytes == 0 { 0 } else { length })
            })
        });
        self.chunks = parts.collect();
        self.geometry.chunk_height = rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_needs_the_chunks_that_it_touches() {
        let geometry = Geometry { height: 50, width: 70, chunk_height: 16, chunk_width: 32, is_tiled: true };
        assert_eq!((geometry.across(), geometry.count()), (3, 12));
        assert_eq!(geometry.chunks_of(&Window { rows: 15..17, columns: 64..65 }), [2, 5]);
        assert_eq!(geometry.chunks_of(&Window { rows: 0..50, columns: 0..70 }).len(), 12);
        assert_eq!(geometry.chunks_of(&Window { rows: 3..3, columns: 0..70 }), [0; 0]);
        assert_eq!(geometry.window(11), Window { rows: 48..50, columns: 64..70 });
        assert_eq!(geometry.stored(11), [16, 32]);
    }

    #[test]
    fn one_strip_for_all_is_read_in_parts() {
        let page = Page::of_rows([5000, 3000], BitDepth::Sixteen, ByteOrder::Little, 100).unwrap();
        let rows = page.geometry.chunk_height;
        assert!(rows * 6000 <= PART_BYTES && page.geometry.count() == page.chunks.len());
        assert_eq!(page.chunks[1], (100 + 6000 * rows as u64, 6000 * rows as u64));
        let last = page.chunks.last().unwrap();
        assert_eq!(last.0 + last.1, 100 + 6000 * 5000);
    }
}
