//! Undoes what writers do to numbers before compression (TIFF 6.0, section 14; Adobe's technical note 3 for floats).

use super::page::Predictor;
use crate::imaging::samples::{ByteOrder, reordered};

/// The numbers of rows of `row_bytes` bytes in the byte order of this machine; `size` bytes a number, `channels` of them
/// side by side for each pixel.
pub(super) fn undo(
    predictor: Predictor,
    bytes: Vec<u8>,
    row_bytes: usize,
    size: usize,
    channels: usize,
    order: ByteOrder,
) -> Vec<u8> {
    match predictor {
        Predictor::None => reordered(bytes, size, order),
        Predictor::Horizontal => {
            let mut native = reordered(bytes, size, order);
            for row in native.chunks_exact_mut(row_bytes) {
                match size {
                    1 => add_left(row, channels, |[a], [b]| [a.wrapping_add(b)]),
                    2 => add_left(row, channels, |a, b| {
                        u16::from_ne_bytes(a).wrapping_add(u16::from_ne_bytes(b)).to_ne_bytes()
                    }),
                    4 => add_left(row, channels, |a, b| {
                        u32::from_ne_bytes(a).wrapping_add(u32::from_ne_bytes(b)).to_ne_bytes()
                    }),
                    _ => add_left(row, channels, |a, b| {
                        u64::from_ne_bytes(a).wrapping_add(u64::from_ne_bytes(b)).to_ne_bytes()
                    }),
                }
            }
            native
        }
        Predictor::Float => {
            let mut native = bytes;
            for row in native.chunks_exact_mut(row_bytes) {
                add_left(row, channels, |[a], [b]| [a.wrapping_add(b)]);
                let shuffled = row.to_vec();
                let count = row_bytes / size;
                for (i, number) in row.chunks_exact_mut(size).enumerate() {
                    // The highest byte of every number comes first, whatever the order of the file.
                    for (byte, place) in number.iter_mut().zip(0..size) {
                        let rank = if ByteOrder::NATIVE == ByteOrder::Big { place } else { size - 1 - place };
                        *byte = shuffled[rank * count + i];
                    }
                }
            }
            native
        }
    }
}

/// Adds to each number of a row the one of the same channel to its left.
fn add_left<const N: usize>(row: &mut [u8], channels: usize, add: impl Fn([u8; N], [u8; N]) -> [u8; N]) {
    let numbers = row.as_chunks_mut::<N>().0;
    for i in channels..numbers.len() {
        numbers[i] = add(numbers[i], numbers[i - channels]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_added_up_channel_by_channel_in_each_row() {
        let undone = undo(Predictor::Horizontal, vec![1, 10, 1, 1, 5, 50, 255, 0], 4, 1, 2, ByteOrder::Little);
        assert_eq!(undone, [1, 10, 2, 11, 5, 50, 4, 50]);
        let undone = undo(Predictor::Horizontal, vec![0, 255, 0, 2], 4, 2, 1, ByteOrder::Big);
        assert_eq!(undone, [255u16.to_ne_bytes(), 257u16.to_ne_bytes()].concat());
    }

    #[test]
    fn the_bytes_of_floats_are_put_together_again() {
        // 1.0 and 2.0 are 3f800000 and 40000000: highest bytes first, each less the one before.
        let bytes = vec![0x3f, 1, 0x40, 0x80, 0, 0, 0, 0];
        let undone = undo(Predictor::Float, bytes, 8, 4, 1, ByteOrder::Little);
        assert_eq!(undone, [1f32.to_ne_bytes(), 2f32.to_ne_bytes()].concat());
    }
}
