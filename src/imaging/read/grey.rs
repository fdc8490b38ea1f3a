//! Decoded rows to grey values: grey stays as it is stored, colour becomes luma.

use crate::imaging::raster::{Sample, Samples};

/// Grey values of a whole image, row by row.
pub(in crate::imaging) enum Grey<C> {
    /// No pixel had a colour.
    Stored(Samples),
    /// Some pixel had a colour, and `C` holds the luma of all.
    Colour(Vec<C>),
}

/// How the luma of colour images is held, which falls between stored values.
pub(in crate::imaging) trait Luma: Copy + Default + Into<f32> {
    /// From a luma in units of the stored values, of which `white` is the largest.
    fn from_luma(luma: f32, white: f32) -> Self;
}

/// In units of the stored values, nothing lost.
impl Luma for f32 {
    fn from_luma(luma: f32, _: f32) -> Self {
        luma
    }
}

/// Rounded to the 65536 greys of 16 bits; stored greys of 8 bits are among them.
impl Luma for u16 {
    fn from_luma(luma: f32, white: f32) -> Self {
        (luma * (65535.0 / white)).round() as Self
    }
}

/// What the samples of a pixel are, and how many they are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Channels {
    /// The first is the image, the others alpha or to be ignored.
    Grey(usize),
    /// Red, green, blue, then what is to be ignored.
    Colour(usize),
}

impl Channels {
    pub(super) fn count(self) -> usize {
        match self {
            Self::Grey(count) | Self::Colour(count) => count,
        }
    }
}

/// An image that is filled row by row. It costs the memory of its stored grey values until a colour turns up.
pub(super) struct GreyRows<T, C> {
    channels: Channels,
    held: Held<T, C>,
}

enum Held<T, C> {
    Stored(Vec<T>),
    Colour(Vec<C>),
}

impl<T: Sample, C: Luma> GreyRows<T, C> {
    pub(super) fn new(pixels: usize, channels: Channels) -> Self {
        Self { channels, held: Held::Stored(vec![T::default(); pixels]) }
    }

    /// Fills pixels from number `start` on with `samples`, the channels of each pixel side by side.
    pub(super) fn put(&mut self, start: usize, samples: &[T]) {
        let pixels = samples.chunks_exact(self.channels.count());
        if pixels.clone().any(|pixel| self.has_colour(pixel)) {
            self.hold_colour();
        }
        let channels = self.channels;
        match &mut self.held {
            Held::Stored(grey) if channels.count() == 1 => grey[start..][..samples.len()].copy_from_slice(samples),
            Held::Stored(grey) => grey[start..].iter_mut().zip(pixels).for_each(|(grey, pixel)| *grey = pixel[0]),
            Held::Colour(grey) => {
                for (grey, pixel) in grey[start..].iter_mut().zip(pixels) {
                    *grey = C::from_luma(luma(pixel, channels), T::DEPTH.white());
                }
            }
        }
    }

    pub(super) fn finish(self) -> Grey<C> {
        match self.held {
            Held::Stored(grey) => Grey::Stored(T::into_samples(grey)),
            Held::Colour(grey) => Grey::Colour(grey),
        }
    }

    fn has_colour(&self, pixel: &[T]) -> bool {
        matches!(self.channels, Channels::Colour(_)) && (pixel[0] != pixel[1] || pixel[1] != pixel[2])
    }

    fn hold_colour(&mut self) {
        if let Held::Stored(grey) = &self.held {
            let held = grey.iter().map(|value| C::from_luma((*value).into(), T::DEPTH.white()));
            self.held = Held::Colour(held.collect());
        }
    }
}

/// The grey value of a pixel in units of the stored values.
fn luma<T: Sample>(pixel: &[T], channels: Channels) -> f32 {
    match (channels, pixel) {
        // Equal channels are that value exactly, which the weighted sum would miss by a rounding error.
        (Channels::Colour(_), [red, green, blue, ..]) if red != green || green != blue => {
            let [red, green, blue]: [f32; 3] = [(*red).into(), (*green).into(), (*blue).into()];
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        }
        _ => pixel[0].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_late_in_an_image_keeps_the_greys_before_it() {
        let fill = |rows: &mut GreyRows<u8, u16>| {
            rows.put(0, &[7, 7, 7, 255, 255, 255]);
            rows.put(2, &[0, 255, 0, 9, 9, 9]);
        };
        let mut rows = GreyRows::new(4, Channels::Colour(3));
        fill(&mut rows);
        let Grey::Colour(grey) = rows.finish() else { panic!("there was a colour") };
        assert_eq!(grey, [7 * 257, 65535, 46871, 9 * 257], "0.7152 of 65535 is 46870.6");
    }

    #[test]
    fn only_the_first_of_grey_channels_counts() {
        let mut rows = GreyRows::<u16, f32>::new(2, Channels::Grey(3));
        rows.put(0, &[500, 1, 2, 600, 3, 4]);
        let Grey::Stored(grey) = rows.finish() else { panic!("there was no colour") };
        assert_eq!(grey, Samples::Sixteen(vec![500, 600]));
    }
}
