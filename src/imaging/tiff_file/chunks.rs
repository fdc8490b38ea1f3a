//! A chunk of a page, from its bytes in the file to grey values.

use super::compression::{JpegColours, decompress, decompress_jpeg};
use super::page::{Compression, Page, Predictor};
use super::predictor;
use crate::imaging::read::{Channels, Input, Reason, Refusal, to_grey};
use crate::imaging::samples::{ByteOrder, unpack};
use crate::imaging::{BitDepth, Samples};
use std::io::{Read, SeekFrom};

/// The most bytes that a chunk may have when it is decompressed.
const MAX_BYTES: usize = 1 << 30;

/// The grey values of a chunk, row by row, all that are stored for it.
#[derive(Debug)]
pub(in crate::imaging) struct Chunk {
    pub(in crate::imaging) width: usize,
    pub(in crate::imaging) samples: Samples,
    pub(in crate::imaging) is_colour: bool,
}

impl Chunk {
    /// Some of a row.
    pub(in crate::imaging) fn row(&self, row: usize, from: usize, to: usize) -> Samples {
        self.samples.part(row * self.width + from, row * self.width + to)
    }
}

impl Page {
    /// Refuses pages whose chunks are too large to be decoded one at a time.
    pub(in crate::imaging) fn check_chunks(&self, file_bytes: u64) -> Reason<()> {
        let [rows, width] = [self.geometry.chunk_height, self.geometry.chunk_width].map(|side| side as u128);
        let numbers = rows * width * self.channels.count() as u128;
        let bytes = (numbers * u128::from(self.bits) / 8).max(numbers * self.depth.held().bytes() as u128);
        if bytes > MAX_BYTES as u128 {
            return Err(Refusal::Sentence(format!(
                "it is compressed in strips or tiles of {rows} x {width} pixels, which are too large to be decoded one \
                 at a time; save it as a TIFF in tiles of 512 x 512"
            )));
        }
        // A file may leave out chunks of zeros, but not pretend that the rest of it holds them.
        let stored: u64 = self.chunks.iter().map(|(_, bytes)| *bytes).filter(|bytes| *bytes <= file_bytes).sum();
        if self.compression == Compression::None && stored > 0 && self.chunks.iter().any(|(_, b)| *b > file_bytes) {
            return Err(Refusal::Damaged("its strips are longer than the file".into()));
        }
        Ok(())
    }

    /// Whether the file holds nothing of any chunk: all are left out, as programs do with zeros.
    pub(in crate::imaging) fn has_no_bytes(&self) -> bool {
        self.chunks.iter().all(|(_, bytes)| *bytes == 0)
    }

    /// Decodes chunk number `chunk`.
    pub(in crate::imaging) fn decode(&self, input: &mut Input, chunk: usize) -> Reason<Chunk> {
        let planes = match (self.is_planar, self.channels) {
            (false, _) | (true, Channels::Grey(_)) => 1,
            (true, Channels::Colour(_)) => 3,
        };
        let numbers: Reason<Vec<Samples>> = (0..planes)
            .map(|plane| self.numbers(input, self.chunks[plane * self.geometry.count() + chunk], chunk))
            .collect();
        let mut numbers = numbers?;
        let (samples, channels) = match (numbers.pop(), self.palette.as_deref()) {
            (Some(last), _) if !numbers.is_empty() => {
                numbers.push(last);
                (interleave(&numbers), Channels::Colour(3))
            }
            (Some(indices), Some(palette)) => (look_up(&indices, palette), Channels::Colour(3)),
            (Some(all), _) if self.is_planar => (all, Channels::Grey(1)),
            (Some(all), _) => (all, self.channels),
            (None, _) => unreachable!("a chunk has at least one plane"),
        };
        let (mut samples, is_colour) = to_grey(samples, channels);
        if self.is_inverted {
            invert(&mut samples);
        }
        Ok(Chunk { width: self.geometry.chunk_width, samples, is_colour })
    }

    /// The numbers of a chunk as they are stored, the channels of a pixel side by side.
    fn numbers(&self, input: &mut Input, (place, length): (u64, u64), chunk: usize) -> Reason<Samples> {
        let [rows, width] = self.geometry.stored(chunk);
        let per_row = width * self.samples_per_pixel();
        let bytes = rows * self.row_bytes();
        if length == 0 {
            // Left out, as programs do with chunks of zeros.
            return Ok(Samples::zeros(rows * per_row, self.depth));
        }
        let mut stored = Vec::new();
        input.seek(SeekFrom::Start(place))?;
        input.take(length).read_to_end(&mut stored)?;
        if (stored.len() as u64) < length {
            return Err(Refusal::Damaged("a strip or tile reaches beyond its end".into()));
        }
        if self.reverses_bits {
            stored.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        }
        if self.compression == Compression::Jpeg {
            if self.bits != 8 {
                return Err(Refusal::Unread(format!("JPEG of {} bits", self.bits)));
            }
            let kind = if self.is_ycbcr { JpegColours::ToRgb } else { JpegColours::Keep };
            let jpeg = decompress_jpeg(&stored, &self.jpeg_tables, [rows, width], self.samples_per_pixel(), kind)?;
            return Ok(Samples::Eight(jpeg));
        }
        let mut plain = decompress(self.compression, stored, bytes)?;
        if plain.len() < bytes {
            return Err(Refusal::Damaged(format!("a strip or tile has {} of {bytes} bytes", plain.len())));
        }
        plain.truncate(bytes);
        self.to_numbers(plain, per_row)
    }

    fn to_numbers(&self, plain: Vec<u8>, per_row: usize) -> Reason<Samples> {
        let pixel = self.samples_per_pixel();
        if self.bits == 8 * self.depth.bytes() as u32 {
            let native =
                predictor::undo(self.predictor, plain, self.row_bytes(), self.depth.bytes(), pixel, self.order);
            return Ok(Samples::from_bytes(&native, self.depth, ByteOrder::NATIVE));
        }
        if self.predictor != Predictor::None {
            return Err(Refusal::Unread(format!("a predictor for {} bits", self.bits)));
        }
        let numbers = unpack(&plain, self.bits, per_row);
        Ok(match self.depth {
            BitDepth::Eight if self.palette.is_some() => Samples::Eight(numbers.iter().map(|n| *n as u8).collect()),
            // Fewer than 8 bits are spread over the range of 8, as PNG has it: both bits of a bilevel image are seen.
            BitDepth::Eight => {
                let largest = (1u32 << self.bits) - 1;
                Samples::Eight(numbers.iter().map(|n| (u32::from(*n) * 255 / largest) as u8).collect())
            }
            _ => Samples::Sixteen(numbers),
        })
    }
}

/// Channels one after the other to channels side by side.
fn interleave(planes: &[Samples]) -> Samples {
    fn join<T: Copy>(planes: Vec<&Vec<T>>) -> Vec<T> {
        (0..planes[0].len() * planes.len()).map(|i| planes[i % planes.len()][i / planes.len()]).collect()
    }
    macro_rules! join_as {
        ($kind:ident) => {
            Samples::$kind(join(
                planes
                    .iter()
                    .filter_map(|p| if let Samples::$kind(numbers) = p { Some(numbers) } else { None })
                    .collect(),
            ))
        };
    }
    match planes[0] {
        Samples::Eight(_) => join_as!(Eight),
        Samples::Sixteen(_) => join_as!(Sixteen),
        Samples::Float(_) => join_as!(Float),
        Samples::Double(_) => join_as!(Double),
    }
}

/// The colours of numbers in a palette of reds, greens and blues.
fn look_up(indices: &Samples, palette: &[u8]) -> Samples {
    let Samples::Eight(indices) = indices else { unreachable!("palettes have up to 8 bits") };
    let size = palette.len() / 3;
    let colour = |channel: usize, index: u8| palette[channel * size + usize::from(index).min(size - 1)];
    Samples::Eight(indices.iter().flat_map(|index| [0, 1, 2].map(|channel| colour(channel, *index))).collect())
}

/// Makes 0 white; floats and signed numbers, which have no white, stay as they are.
fn invert(samples: &mut Samples) {
    match samples {
        Samples::Eight(numbers) => numbers.iter_mut().for_each(|number| *number = u8::MAX - *number),
        Samples::Sixteen(numbers) => numbers.iter_mut().for_each(|number| *number = u16::MAX - *number),
        Samples::Float(_) | Samples::Double(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_one_after_the_other_are_put_side_by_side() {
        let planes = [vec![1, 2], vec![10, 20], vec![100, 200]].map(Samples::Eight);
        assert_eq!(interleave(&planes), Samples::Eight(vec![1, 10, 100, 2, 20, 200]));
    }

    #[test]
    fn palettes_give_their_colours_and_0_can_be_white() {
        let palette = [1, 2, 10, 20, 100, 200];
        assert_eq!(look_up(&Samples::Eight(vec![1, 0]), &palette), Samples::Eight(vec![2, 20, 200, 1, 10, 100]));
        let mut samples = Samples::Sixteen(vec![0, 65_530]);
        invert(&mut samples);
        assert_eq!(samples, Samples::Sixteen(vec![65_535, 5]));
    }
}
