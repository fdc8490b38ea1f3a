//! How stored grey values become what a network sees: a [`Normalisation`] fitted to an image.

use std::convert::Infallible;

use super::plan::Normalisation;
use crate::error::Result;
use crate::imaging::{BitDepth, IntensityMap, Plane, StoredImage, Window};

/// The statistics of an image, in stored units (0 to 255 for 8 bits).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intensities {
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation (of the population).
    pub sd: f64,
    /// The stored value that a [`Plane`] holds as 0.
    pub black: f32,
    /// The stored value that a [`Plane`] holds as 1.
    pub white: f32,
}

impl Intensities {
    /// Of a window of an image; an image may hold more bits than its file has.
    pub fn of_stored(image: &impl StoredImage, window: &Window) -> Result<Self> {
        let map = image.intensity();
        let (black, white) = (map.low as f32, map.high as f32);
        if !matches!(image.held(), BitDepth::Eight | BitDepth::Sixteen) {
            let pass = |look: &mut dyn FnMut(&[f64])| image.each_band(window, &mut |band| look(&band.values()));
            return Ok(Self { black, white, ..Self::of_values(pass)? });
        }
        let histogram = image.histogram(window)?;
        let (min, max) = histogram.range().unwrap_or_default();
        let unit = f64::from(white / image.held().white());
        Ok(Self {
            min: f64::from(min) * unit,
            max: f64::from(max) * unit,
            mean: histogram.mean() * unit,
            sd: histogram.standard_deviation() * unit,
            black,
            white,
        })
    }

    /// The same without `zeros` of the `pixels`, which are 0.
    pub fn without_zeros(self, pixels: u64, zeros: u64) -> Self {
        let more = pixels as f64 / (pixels - zeros).max(1) as f64;
        let mean = self.mean * more;
        let sd = ((self.sd.powi(2) + self.mean.powi(2)) * more - mean.powi(2)).max(0.0).sqrt();
        Self { mean, sd, ..self }
    }

    /// Of a plane that was read from a file with this map.
    pub fn of_plane(plane: &Plane, map: &IntensityMap) -> Self {
        let (black, white) = (map.low as f32, map.high as f32);
        let stored = |value: &f32| f64::from(black + value * (white - black));
        let pass = |look: &mut dyn FnMut(&[f64])| {
            let rows = plane.pixels().chunks(plane.width().max(1));
            rows.for_each(|row| look(&row.iter().map(stored).collect::<Vec<f64>>()));
            Ok::<_, Infallible>(())
        };
        Self { black, white, ..Self::of_values(pass).unwrap_or_else(|never| match never {}) }
    }

    /// Of stored values, at which `pass` looks from first to last; those that are no numbers are left out.
    fn of_values<E>(
        pass: impl Fn(&mut dyn FnMut(&[f64])) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        let (mut count, mut sum, mut min, mut max) = (0u64, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        pass(&mut |values| {
            for value in values.iter().filter(|value| value.is_finite()) {
                count += 1;
                sum += value;
                (min, max) = (min.min(*value), max.max(*value));
            }
        })?;
        let count = count.max(1) as f64;
        let (mean, mut squares) = (sum / count, 0.0);
        pass(&mut |values| {
            let finite = values.iter().filter(|value| value.is_finite());
            finite.for_each(|value| squares += (value - mean).powi(2));
        })?;
        Ok(Self { min, max, mean, sd: (squares / count).sqrt(), black: 0.0, white: 1.0 })
    }

    /// The stored value that a plane holds as `value`.
    pub fn stored(&self, value: f32) -> f32 {
        self.black + value * (self.white - self.black)
    }
}

/// A [`Normalisation`] fitted to an image: clip, shift, scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    black: f32,
    white: f32,
    clip: [f32; 2],
    shift: f32,
    scale: f32,
}

/// Divisors are at least this, so that a blank image gives zeros.
const LEAST: f64 = 1e-8;

impl Normalisation {
    /// The map for one image.
    pub fn fit(&self, image: &Intensities) -> Affine {
        let everything = [f32::NEG_INFINITY, f32::INFINITY];
        let (clip, shift, divisor) = match *self {
            Self::ZScore => (everything, image.mean, image.sd.max(LEAST)),
            Self::RescaleTo01 => (everything, image.min, (image.max - image.min).max(LEAST)),
            Self::Ct(of) => ([of.percentile_00_5 as f32, of.percentile_99_5 as f32], of.mean, of.sd.max(LEAST)),
            Self::RgbTo01 => (everything, 0.0, 255.0),
            Self::None => (everything, 0.0, 1.0),
        };
        Affine { black: image.black, white: image.white, clip, shift: shift as f32, scale: (1.0 / divisor) as f32 }
    }
}

impl Affine {
    /// The normalised intensity of a plane's value in [0, 1].
    pub fn apply(&self, value: f32) -> f32 {
        let stored = self.black + value * (self.white - self.black);
        (stored.clamp(self.clip[0], self.clip[1]) - self.shift) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{Container, Raster, RasterPicture};
    use crate::segmentation::plan::ForegroundIntensities;

    const EIGHT: fn() -> IntensityMap = || IntensityMap::full(BitDepth::Eight);

    fn image() -> (Plane, Intensities) {
        let plane = Plane::new(1, 4, vec![0.0, 0.2, 0.2, 0.4]);
        let intensities = Intensities::of_plane(&plane, &EIGHT());
        (plane, intensities)
    }

    fn normalised(scheme: Normalisation) -> Vec<f32> {
        let (plane, intensities) = image();
        let affine = scheme.fit(&intensities);
        plane.pixels().iter().map(|value| affine.apply(*value)).collect()
    }

    fn assert_close(values: &[f32], expected: [f32; 4]) {
        assert!(values.iter().zip(expected).all(|(v, e)| (v - e).abs() < 1e-4), "{values:?} is not {expected:?}");
    }

    #[test]
    fn the_statistics_of_a_plane_and_of_stored_values_agree() {
        let (_, of_plane) = image();
        for raster in [Raster::new(1, 4, vec![0u8, 51, 51, 102]), Raster::new(1, 4, vec![0f32, 51.0, 51.0, 102.0])] {
            let (container, pixel_size_um, note) = (Container::Tiff, None, None);
            let picture =
                RasterPicture { raster, depth: BitDepth::Eight, intensity: EIGHT(), container, pixel_size_um, note };
            let of_stored = Intensities::of_stored(&picture, &picture.window()).unwrap();
            assert!((of_plane.mean - of_stored.mean).abs() < 1e-4 && (of_plane.sd - of_stored.sd).abs() < 1e-4);
            assert!((of_plane.max - of_stored.max).abs() < 1e-4 && of_plane.min == of_stored.min);
        }
    }

    #[test]
    fn zeros_can_be_left_out_of_the_statistics() {
        let rest = Intensities::of_plane(&Plane::new(1, 3, vec![0.2, 0.2, 0.4]), &EIGHT());
        let (_, all) = image();
        let without = all.without_zeros(4, 1);
        assert!((without.mean - rest.mean).abs() < 1e-3 && (without.sd - rest.sd).abs() < 1e-3);
    }

    #[test]
    fn each_scheme_on_a_case_worked_by_hand() {
        let root = 2f32.sqrt();
        assert_close(&normalised(Normalisation::ZScore), [-root, 0.0, 0.0, root]);
        assert_close(&normalised(Normalisation::RescaleTo01), [0.0, 0.5, 0.5, 1.0]);
        assert_close(&normalised(Normalisation::RgbTo01), [0.0, 0.2, 0.2, 0.4]);
        assert_close(&normalised(Normalisation::None), [0.0, 51.0, 51.0, 102.0]);
        let foreground = ForegroundIntensities {
            min: 0.0,
            max: 100.0,
            mean: 51.0,
            sd: 20.0,
            percentile_00_5: 11.0,
            percentile_99_5: 91.0,
        };
        assert_close(&normalised(Normalisation::Ct(foreground)), [-2.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn a_blank_image_becomes_zeros() {
        let blank = Intensities::of_plane(&Plane::new(1, 2, vec![0.5; 2]), &EIGHT());
        for scheme in [Normalisation::ZScore, Normalisation::RescaleTo01] {
            assert_eq!(scheme.fit(&blank).apply(0.5), 0.0);
        }
    }
}
