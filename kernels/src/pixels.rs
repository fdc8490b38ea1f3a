//! Images with the channels of a pixel side by side, for sums over pixels: vectors go along channels, so that nothing is summed over
//! their lanes.

use super::geometry::Border;
use super::simd::transposed;

/// Channels that fill up vectors, whatever their width.
pub const ROWS: usize = 16;

/// Planes that are laid out pixel by pixel.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// `[images, all channels, height, width]`
    pub values: &'a [f32],
    pub all: usize,
    /// The channels that are laid out: the first, and how many there are.
    pub first: usize,
    pub channels: usize,
    /// Floats of a pixel: channels, and zeros that fill it up.
    pub padded: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Rows and columns around the planes.
    pub padding: [usize; 2],
    /// What stands there.
    pub border: Border,
}

impl Planes<'_> {
    /// Lays out an image with its border, `[height, width, channels]`, from a row on. To be called from
    /// [`vectorised`](super::simd::vectorised).
    #[inline(always)]
    pub fn lay_out(&self, image: usize, first: usize, [height, width]: [usize; 2], laid_out: &mut [f32]) {
        let [tall, wide] = self.size;
        let [above, before] = self.padding;
        let inside = wide.min(width - before);
        for row in 0..height {
            let laid_out = &mut laid_out[row * width * self.padded..][..width * self.padded];
            let Some(y) = self.border.place(first + row, above, tall) else {
                laid_out.fill(0.0);
                continue;
            };
            let row_of =
                |channel| &self.values[((image * self.all + self.first + channel) * tall + y) * wide..][..inside];
            let inner = &mut laid_out[before * self.padded..][..inside * self.padded];
            if self.channels < self.padded {
                inner.chunks_exact_mut(self.padded).for_each(|pixel| pixel[self.channels..].fill(0.0));
            }
            let fours = self.channels / 4 * 4;
            for channel in (0..fours).step_by(4) {
                let rows = [row_of(channel), row_of(channel + 1), row_of(channel + 2), row_of(channel + 3)];
                turn(rows, &mut inner[channel..], self.padded);
            }
            for channel in fours..self.channels {
                for (x, value) in row_of(channel).iter().enumerate() {
                    inner[x * self.padded + channel] = *value;
                }
            }
            for x in (0..before).chain(before + inside..width) {
                let (from, to) = (self.border.place(x, before, wide), x * self.padded);
                match from.map(|place| (before + place) * self.padded) {
                    Some(from) => laid_out.copy_within(from..from + self.padded, to),
                    None => laid_out[to..to + self.padded].fill(0.0),
                }
            }
        }
    }
}

/// Puts four rows side by side, `apart` floats from one place to the next.
#[inline(always)]
fn turn([a, b, c, d]: [&[f32]; 4], target: &mut [f32], apart: usize) {
    let fours = a.as_chunks::<4>().0.iter().zip(b.as_chunks().0).zip(c.as_chunks().0).zip(d.as_chunks().0);
    for (i, (((a, b), c), d)) in fours.enumerate() {
        for (x, column) in transposed([a, b, c, d]).iter().enumerate() {
            target[(4 * i + x) * apart..][..4].copy_from_slice(column);
        }
    }
    for x in a.len() / 4 * 4..a.len() {
        target[x * apart..][..4].copy_from_slice(&[a[x], b[x], c[x], d[x]]);
    }
}

/// Adds the sums over pixels, each of so many channels, a multiple of [`ROWS`]. To be called from
/// [`vectorised`](super::simd::vectorised).
#[inline(always)]
pub fn add_pixels(pixels: &[f32], channels: usize, sums: &mut [f32]) {
    for (i, sums) in sums.chunks_mut(ROWS).enumerate() {
        let mut some = [0.0f32; ROWS];
        for pixel in pixels.chunks_exact(channels) {
            for (sum, value) in some.iter_mut().zip(&pixel[i * ROWS..][..ROWS]) {
                *sum += value;
            }
        }
        sums.iter_mut().zip(some).for_each(|(sum, value)| *sum += value);
    }
}
