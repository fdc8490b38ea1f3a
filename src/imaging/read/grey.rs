//! Decoded samples to grey values: grey stays as it is stored, colour becomes luma.

use crate::imaging::{BitDepth, Sample, Samples};

/// What the samples of a pixel are, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imaging) enum Channels {
    /// The first is the image, the others alpha or to be ignored.
    Grey(usize),
    /// Red, green, blue, then what is to be ignored.
    Colour(usize),
}

impl Channels {
    pub(in crate::imaging) fn count(self) -> usize {
        match self {
            Self::Grey(count) | Self::Colour(count) => count,
        }
    }
}

/// The grey values of pixels whose channels lie side by side, and whether any had a colour.
///
/// Without a colour they keep their kind; with one they are floats, in units of the stored values: the luma of
/// Rec. 709.
pub(in crate::imaging) fn to_grey(samples: Samples, channels: Channels) -> (Samples, bool) {
    fn grey<T: Sample>(samples: Vec<T>, channels: Channels) -> (Samples, bool) {
        let count = channels.count();
        let pixels = || samples.chunks_exact(count);
        let has_colour = |pixel: &[T]| pixel[0] != pixel[1] || pixel[1] != pixel[2];
        match channels {
            Channels::Grey(1) => (T::into_samples(samples), false),
            Channels::Colour(_) if pixels().any(has_colour) => (Samples::Float(pixels().map(luma).collect()), true),
            _ => (T::into_samples(pixels().map(|pixel| pixel[0]).collect()), false),
        }
    }
    match samples {
        Samples::Eight(samples) => grey(samples, channels),
        Samples::Sixteen(samples) => grey(samples, channels),
        Samples::Float(samples) => grey(samples, channels),
        Samples::Double(samples) => grey(samples, channels),
    }
}

/// The grey value of a pixel of three channels or more, in units of the stored values.
fn luma<T: Sample>(pixel: &[T]) -> f32 {
    let [red, green, blue]: [f64; 3] = [pixel[0].into(), pixel[1].into(), pixel[2].into()];
    // Equal channels are that value exactly, which the weighted sum would miss by a rounding error.
    if red == green && green == blue { red as f32 } else { (0.2126 * red + 0.7152 * green + 0.0722 * blue) as f32 }
}

/// An image that is filled part by part. It has the memory of its stored grey values until a colour turns up.
pub(in crate::imaging) struct GreyImage {
    samples: Samples,
    is_colour: bool,
}

impl GreyImage {
    /// An image of zeros, of a file of this depth.
    pub(in crate::imaging) fn new(pixels: usize, depth: BitDepth) -> Self {
        Self { samples: Samples::zeros(pixels, depth), is_colour: false }
    }

    /// Fills the pixels from number `start` on with number `from` to `to` of `samples`.
    ///
    /// # Panics
    /// When the samples are neither of the kind of the image nor floats.
    pub(in crate::imaging) fn put(&mut self, start: usize, samples: &Samples, from: usize, to: usize) {
        match (&mut self.samples, samples) {
            (Samples::Eight(all), Samples::Eight(some)) => all[start..][..to - from].copy_from_slice(&some[from..to]),
            (Samples::Sixteen(all), Samples::Sixteen(some)) => {
                all[start..][..to - from].copy_from_slice(&some[from..to]);
            }
            (Samples::Float(all), Samples::Float(some)) => all[start..][..to - from].copy_from_slice(&some[from..to]),
            (Samples::Double(all), Samples::Double(some)) => all[start..][..to - from].copy_from_slice(&some[from..to]),
            (Samples::Float(all), _) => {
                let some = samples.part(from, to).into_float();
                all[start..][..to - from].copy_from_slice(&some);
            }
            (_, Samples::Float(_)) => {
                let held = std::mem::replace(&mut self.samples, Samples::Float(Vec::new()));
                self.samples = Samples::Float(held.into_float());
                self.put(start, samples, from, to);
            }
            (held, _) => panic!("{:?} samples cannot be put among {:?}", samples.depth(), held.depth()),
        }
    }

    /// Notes that a part had a colour.
    pub(in crate::imaging) fn mark_colour(&mut self, is_colour: bool) {
        self.is_colour |= is_colour;
    }

    /// The grey values, and whether any pixel had a colour.
    pub(in crate::imaging) fn finish(self) -> (Samples, bool) {
        (self.samples, self.is_colour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_late_in_an_image_keeps_the_greys_before_it() {
        let mut image = GreyImage::new(4, BitDepth::Eight);
        for (start, pixels) in [(0, vec![7, 7, 7, 255, 255, 255]), (2, vec![0, 255, 0, 9, 9, 9])] {
            let (grey, is_colour) = to_grey(Samples::Eight(pixels), Channels::Colour(3));
            image.mark_colour(is_colour);
            image.put(start, &grey, 0, 2);
        }
        assert_eq!(image.finish(), (Samples::Float(vec![7.0, 255.0, 0.7152 * 255.0, 9.0]), true));
    }

    #[test]
    fn only_the_first_of_grey_channels_counts() {
        let samples = Samples::Sixteen(vec![500, 1, 2, 600, 3, 4]);
        assert_eq!(to_grey(samples, Channels::Grey(3)), (Samples::Sixteen(vec![500, 600]), false));
    }

    #[test]
    fn parts_without_a_colour_join_an_image_that_has_one() {
        let mut image = GreyImage::new(3, BitDepth::Sixteen);
        image.put(0, &Samples::Float(vec![0.5]), 0, 1);
        image.put(1, &Samples::Sixteen(vec![1, 2, 3]), 1, 3);
        assert_eq!(image.finish().0, Samples::Float(vec![0.5, 2.0, 3.0]));
    }
}
