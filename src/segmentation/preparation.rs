//! What a network sees of an image: its stored values, prepared as the model has it. The statistics of an image are
//! counted a band of rows at a time.

use super::bioimage::{self, Pointwise, Preprocessing};
use super::margins::{Margins, Surroundings};
use super::normalisation::{Affine, Intensities};
use super::plan::Normalisation;
use crate::error::Result;
use crate::imaging::{BitDepth, IntensityMap, Plane, StoredImage, Window};

/// How images are prepared for the networks of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Preparation {
    /// As in training by us or by nnU-Net.
    Scheme {
        /// The normalisation.
        normalisation: Normalisation,
        /// What is done about black pixels around the image.
        margins: Margins,
    },
    /// The steps of a BioImage.IO description.
    Steps(Vec<Preprocessing>),
}

impl Preparation {
    /// With the numbers of a window of an image.
    pub fn fit(&self, image: &impl StoredImage, window: &Window) -> Result<Values> {
        let (normalisation, margins) = match self {
            Self::Scheme { normalisation, margins } => (normalisation, *margins),
            Self::Steps(steps) => return Ok(Values::Steps(fit_steps(steps, image, window)?, image.intensity())),
        };
        let intensities = Intensities::of_stored(image, window)?;
        if margins != Margins::LeaveOut {
            return Ok(Values::Affine(normalisation.fit(&intensities)));
        }
        let outside = Surroundings::of(image, window)?;
        let pixels = window.height() as u64 * window.width() as u64;
        let intensities = intensities.without_zeros(pixels, outside.pixels());
        Ok(Values::Masked(normalisation.fit(&intensities), outside))
    }
}

/// The steps with the numbers of a window of an image, in stored units.
fn fit_steps(steps: &[Preprocessing], image: &impl StoredImage, window: &Window) -> Result<Vec<Pointwise>> {
    if !matches!(image.held(), BitDepth::Eight | BitDepth::Sixteen) {
        return bioimage::fit(steps, |look| {
            image.each_band(window, &mut |band| {
                band.values().into_iter().filter(|value| value.is_finite()).for_each(|value| look(value as f32, 1));
            })
        });
    }
    let unit = image.intensity().high as f32 / image.held().white();
    let histogram = image.histogram(window)?;
    bioimage::fit(steps, |look| {
        histogram.occurring().for_each(|(value, count)| look(f32::from(value) * unit, count));
        Ok(())
    })
}

/// From a plane's value in [0, 1] to what a network sees.
#[derive(Debug)]
pub enum Values {
    /// A normalisation.
    Affine(Affine),
    /// The same, but pixels of the window that are its surroundings stay 0.
    Masked(Affine, Surroundings),
    /// Steps on stored values.
    Steps(Vec<Pointwise>, IntensityMap),
}

impl Values {
    /// Rows of the working image, which has height and width `size`.
    pub fn apply(&self, plane: &Plane, first_row: usize, size: [usize; 2]) -> Vec<f32> {
        let pixels = plane.pixels().iter();
        match self {
            Self::Affine(affine) => pixels.map(|value| affine.apply(*value)).collect(),
            Self::Masked(affine, outside) => {
                let [height, width] = outside.size();
                let value = |(i, value): (usize, &f32)| {
                    // The nearest pixel of the window.
                    let y = (2 * (first_row + i / size[1]) + 1) * height / (2 * size[0]);
                    let x = (2 * (i % size[1]) + 1) * width / (2 * size[1]);
                    if outside.hold(y, x) { 0.0 } else { affine.apply(*value) }
                };
                pixels.enumerate().map(value).collect()
            }
            Self::Steps(steps, map) => pixels
                .map(|value| steps.iter().fold(map.to_stored(*value) as f32, |value, step| step.apply(value)))
                .collect(),
        }
    }
}
