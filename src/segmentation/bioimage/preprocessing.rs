//! The preparation of an image for a network, step by step.

use crate::imaging::{BitDepth, percentiles as percentiles_of};

/// A step whose numbers may depend on the image.
///
/// Statistics are those of the values that the step is given: of the image after the steps before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Preprocessing {
    /// `(v - mean) / (standard deviation + epsilon)`, with the moments of the image.
    ZeroMeanUnitVariance {
        /// Keeps a blank image finite.
        epsilon: f64,
    },
    /// `(v - low) / (high - low + epsilon)`, where low and high are percentiles of the image.
    ScaleRange {
        /// The lower and the upper percentile, in [0, 100].
        percentiles: [f64; 2],
        /// Keeps a blank image finite.
        epsilon: f64,
    },
    /// The same for all images.
    Fixed(Pointwise),
}

/// A step with all its numbers known: what becomes of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pointwise {
    /// `v * gain + offset`.
    Linear {
        /// The factor.
        gain: f64,
        /// What is added.
        offset: f64,
    },
    /// The nearest value in [`low`, `high`].
    Clip {
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
    },
    /// 1 above the threshold, else 0.
    Binarize {
        /// The greatest value that becomes 0.
        threshold: f64,
    },
    /// The whole part, kept within the range [`low`, `high`] of an integer type.
    Truncate {
        /// The least number of the type.
        low: f64,
        /// The greatest number of the type.
        high: f64,
    },
}

/// Tells every value of an image with its count: those of a histogram, or all pixels counted once.
pub type Look<'a> = dyn FnMut(f32, u64) + 'a;

/// The steps with the numbers of one image, at which `pass` looks; it is called several times. Applied in turn, they
/// prepare each of its pixels. An image without pixels changes nothing.
pub fn fit<E>(steps: &[Preprocessing], pass: impl Fn(&mut Look<'_>) -> Result<(), E>) -> Result<Vec<Pointwise>, E> {
    let mut fitted: Vec<Pointwise> = Vec::new();
    for step in steps {
        let so_far = |look: &mut Look<'_>| {
            pass(&mut |value, count| look(fitted.iter().fold(value, |value, step| step.apply(value)), count))
        };
        let step = step.fit(so_far)?;
        fitted.push(step);
    }
    Ok(fitted)
}

impl Preprocessing {
    /// The step with the numbers of counted values.
    fn fit<E>(self, pass: impl Fn(&mut Look<'_>) -> Result<(), E>) -> Result<Pointwise, E> {
        Ok(match self {
            Self::Fixed(step) => step,
            Self::ZeroMeanUnitVariance { epsilon } => {
                let mut total = 0;
                pass(&mut |_, count| total += count)?;
                let mean_of = |term: &dyn Fn(f64) -> f64| {
                    let mut sum = 0.0;
                    pass(&mut |value, count| sum += term(value.into()) * count as f64)?;
                    Ok(sum / total.max(1) as f64)
                };
                let mean = mean_of(&|value| value)?;
                let variance = mean_of(&|value| (value - mean).powi(2))?;
                Pointwise::standardise(mean, variance.sqrt() + epsilon)
            }
            Self::ScaleRange { percentiles, epsilon } => {
                let looked = |look: &mut dyn FnMut(f64, u64)| pass(&mut |value, count| look(value.into(), count));
                match percentiles_of(BitDepth::Float32, percentiles, looked)? {
                    Some([low, high]) => Pointwise::standardise(low, high - low + epsilon),
                    None => Pointwise::standardise(0.0, 1.0),
                }
            }
        })
    }
}

impl Pointwise {
    /// `(v - zero) / unit`.
    pub(super) fn standardise(zero: f64, unit: f64) -> Self {
        Self::Linear { gain: 1.0 / unit, offset: -zero / unit }
    }

    /// What becomes of a value.
    pub fn apply(self, value: f32) -> f32 {
        let value = f64::from(value);
        let result = match self {
            Self::Linear { gain, offset } => value * gain + offset,
            Self::Clip { low, high } => value.max(low).min(high),
            Self::Binarize { threshold } => f64::from(u8::from(value > threshold)),
            Self::Truncate { low, high } => value.trunc().max(low).min(high),
        };
        result as f32
    }
}
