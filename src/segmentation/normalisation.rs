//! How stored grey values become what a network sees: a [`Normalisation`] fitted to an image.

use super::plan::Normalisation;
use crate::imaging::{IntensityMap, Plane, Raster, Samples, Window};

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
    /// Of a window of a raster that was read from a file with this map; a raster may hold more bits than the file has.
    pub fn of_raster(raster: &Raster, window: &Window, map: &IntensityMap) -> Self {
        let (black, white) = (map.low as f32, map.high as f32);
        if matches!(raster.samples(), Samples::Float(_) | Samples::Double(_)) {
            return Self { black, white, ..Self::of_values(|| raster.values(window).into_iter()) };
        }
        let histogram = raster.histogram(window);
        let (min, max) = histogram.range().unwrap_or_default();
        let unit = f64::from(white / raster.depth().white());
        Self {
            min: f64::from(min) * unit,
            max: f64::from(max) * unit,
            mean: histogram.mean() * unit,
            sd: histogram.standard_deviation() * unit,
            black,
            white,
        }
    }

    /// The same without `zeros` of the `pixels`, which are 0.
    pub fn without_zeros(self, pixels: usize, zeros: usize) -> Self {
        let more = pixels as f64 / (pixels - zeros).max(1) as f64;
        let mean = self.mean * more;
        let sd = ((self.sd.powi(2) + self.mean.powi(2)) * more - mean.powi(2)).max(0.0).sqrt();
        Self { mean, sd, ..self }
    }

    /// Of a plane that was read from a file with this map.
    pub fn of_plane(plane: &Plane, map: &IntensityMap) -> Self {
        let (black, white) = (map.low as f32, map.high as f32);
        let stored = || plane.pixels().iter().map(|value| f64::from(black + value * (white - black)));
        Self { black, white, ..Self::of_values(stored) }
    }

    /// Of stored values; those that are no numbers are left out.
    fn of_values<V: Iterator<Item = f64>>(values: impl Fn() -> V) -> Self {
        let stored = || values().filter(|value| value.is_finite());
        let count = stored().count().max(1) as f64;
        let mean = stored().sum::<f64>() / count;
        Self {
            min: stored().fold(f64::INFINITY, f64::min),
            max: stored().fold(f64::NEG_INFINITY, f64::max),
            mean,
            sd: (stored().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt(),
            black: 0.0,
            white: 1.0,
        }
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
    use crate::imaging::BitDepth;
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
            let of_stored = Intensities::of_raster(&raster, &raster.window(), &EIGHT());
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
