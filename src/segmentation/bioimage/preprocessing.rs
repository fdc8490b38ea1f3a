//! The preparation of an image for a network, step by step.

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

/// The steps with the numbers of one image, of which every distinct value is given with its count: a histogram, or all
/// pixels counted once. Applied in turn, they prepare each of its pixels.
///
/// # Panics
/// When the image has no pixels.
pub fn fit(steps: &[Preprocessing], mut values: Vec<(f32, u64)>) -> Vec<Pointwise> {
    steps
        .iter()
        .map(|step| {
            let step = step.fit(&mut values);
            values.iter_mut().for_each(|(value, _)| *value = step.apply(*value));
            step
        })
        .collect()
}

impl Preprocessing {
    /// The step with the numbers of counted values, which are put in order where that is needed.
    fn fit(self, values: &mut [(f32, u64)]) -> Pointwise {
        let count: u64 = values.iter().map(|(_, count)| count).sum();
        assert!(count > 0, "an image has pixels");
        match self {
            Self::Fixed(step) => step,
            Self::ZeroMeanUnitVariance { epsilon } => {
                let mean_of = |term: &dyn Fn(f64) -> f64| {
                    values.iter().map(|(value, count)| term((*value).into()) * *count as f64).sum::<f64>()
                        / count as f64
                };
                let mean = mean_of(&|value| value);
                let variance = mean_of(&|value| (value - mean).powi(2));
                Pointwise::standardise(mean, variance.sqrt() + epsilon)
            }
            Self::ScaleRange { percentiles, epsilon } => {
                values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
                let [low, high] = percentiles.map(|percent| percentile(values, count, percent));
                Pointwise::standardise(low, high - low + epsilon)
            }
        }
    }
}

/// The percentile of `count` values in order, with linear interpolation between neighbours, as NumPy has it by default.
fn percentile(values: &[(f32, u64)], count: u64, percent: f64) -> f64 {
    let place = percent / 100.0 * (count - 1) as f64;
    let ranked = |rank: f64| {
        let mut passed = 0;
        let found = values.iter().find(|(_, count)| {
            passed += count;
            passed as f64 > rank
        });
        f64::from(found.expect("a rank is below the count").0)
    };
    let (below, above) = (ranked(place.floor()), ranked(place.ceil()));
    below + (above - below) * place.fract()
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
