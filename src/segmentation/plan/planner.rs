//! nnU-Net's rules for a two-dimensional network: from the sizes of the images to the network's shape, the patch and the
//! batch (Isensee et al. 2021, Nat. Methods 18, supplementary note; `ExperimentPlanner` of nnunetv2 2.8).
//!
//! It agrees with nnU-Net as long as the options that nnU-Net does not have (`max_patch`, `max_stages`, `max_batch`) are
//! left out. Those are for computers without a graphics card, as are fewer features.

use serde::{Deserialize, Serialize};

use super::{Normalisation, Plan};
use crate::error::{Error, Result};
use crate::segmentation::augment::Augmentation;

/// Values in the feature maps of a network for one patch that fill [`REFERENCE_GB`] with a batch of [`REFERENCE_BATCH`].
const REFERENCE_VALUES: f64 = 85e6;
const REFERENCE_GB: f64 = 8.0;
const REFERENCE_BATCH: f64 = 12.0;
/// The batch for which a patch must leave room, whatever `min_batch` says.
const ROOM_FOR: f64 = 2.0;
/// Side of the largest patch that is tried, in pixels.
const LARGEST_PATCH: f64 = 2048.0;
/// The largest part of all pixels of the training images that one batch may show, against overfitting.
const LARGEST_SHARE: f64 = 0.05;
/// Convolutions of each stage, in the encoder and in the decoder.
const CONVS: usize = 2;

/// What planning needs to know of the training images.
#[derive(Debug, Clone, PartialEq)]
pub struct Fingerprint {
    /// Rows and columns of each image, at the pixel size below.
    pub sizes: Vec<[usize; 2]>,
    /// Micrometres per pixel to which images are resampled; none leaves them as they are.
    pub pixel_size_um: Option<f64>,
    /// The intensities of the foreground; none when no image has any.
    pub foreground: Option<ForegroundIntensities>,
}

/// Intensities of the foreground pixels of all training images, in the units in which images are stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForegroundIntensities {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation (of the population).
    pub sd: f64,
    /// What 0.5 % of them do not exceed.
    pub percentile_00_5: f64,
    /// What 99.5 % of them do not exceed.
    pub percentile_99_5: f64,
}

impl ForegroundIntensities {
    /// The figures of these intensities; none when there are none. Percentiles are interpolated linearly between the
    /// sorted intensities, of which the first is percentile 0 and the last percentile 100.
    pub fn of(mut intensities: Vec<f32>) -> Option<Self> {
        intensities.sort_unstable_by(f32::total_cmp);
        let [min, max] = [*intensities.first()?, *intensities.last()?].map(f64::from);
        let n = intensities.len() as f64;
        let mean = intensities.iter().map(|value| f64::from(*value)).sum::<f64>() / n;
        let variance = intensities.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / n;
        let percentile = |percent: f64| {
            let place = percent / 100.0 * (n - 1.0);
            let [below, above] = [place.floor(), place.ceil()].map(|i| f64::from(intensities[i as usize]));
            below + place.fract() * (above - below)
        };
        let (percentile_00_5, percentile_99_5) = (percentile(0.5), percentile(99.5));
        Some(Self { min, max, mean, sd: variance.sqrt(), percentile_00_5, percentile_99_5 })
    }
}

/// What a user may ask of a plan; the default is nnU-Net's.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// Memory of the graphics card that training may fill, in gigabytes.
    pub memory_gb: f64,
    /// Feature maps of the finest stage; each coarser stage has twice as many.
    pub base_features: usize,
    /// The most feature maps of a stage.
    pub max_features: usize,
    /// Rows and columns that the coarsest feature maps keep at least.
    pub min_edge: usize,
    /// The fewest patches in a batch.
    pub min_batch: usize,
    /// The most patches in a batch.
    pub max_batch: Option<usize>,
    /// The most rows and columns of a patch, before they are rounded up to what the network can halve.
    pub max_patch: Option<usize>,
    /// The most resolutions of the network.
    pub max_stages: Option<usize>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            memory_gb: REFERENCE_GB,
            base_features: 32,
            max_features: 512,
            min_edge: 4,
            min_batch: 2,
            max_batch: None,
            max_patch: None,
            max_stages: None,
        }
    }
}

impl PlanOptions {
    /// For computers without a graphics card, where time is short and not memory: half the features, patches of up to 128
    /// pixels, five resolutions, batches of at most four.
    pub fn for_processor() -> Self {
        Self {
            base_features: 16,
            max_features: 256,
            max_patch: Some(128),
            max_stages: Some(5),
            max_batch: Some(4),
            ..Self::default()
        }
    }

    fn check(&self) -> Result<()> {
        let counts = [self.base_features, self.max_features, self.min_edge, self.min_batch];
        let limits = [self.max_batch, self.max_patch, self.max_stages];
        if counts.contains(&0) || limits.contains(&Some(0)) || !(self.memory_gb.is_finite() && self.memory_gb > 0.0) {
            return Err(Error::Config("the numbers that a plan is made with must all be above 0".into()));
        }
        Ok(())
    }

    /// The network for patches of at least `size` pixels, [rows, columns].
    ///
    /// Both axes are halved until one is shorter than twice `min_edge`; the other one goes on alone while it has three
    /// times `min_edge`.
    fn network(&self, size: [usize; 2]) -> Network {
        let mut strides = vec![[1, 1]];
        let mut left = size;
        while strides.len() < self.max_stages.unwrap_or(usize::MAX) {
            let mut halved = left.map(|side| side >= 2 * self.min_edge);
            if halved != [true, true] {
                halved = left.map(|side| side >= 3 * self.min_edge);
            }
            if halved == [false, false] {
                break;
            }
            let stride = halved.map(|halved| if halved { 2 } else { 1 });
            left = [0, 1].map(|axis| left[axis].div_ceil(stride[axis]));
            strides.push(stride);
        }
        let divisor = [0, 1].map(|axis| strides.iter().map(|stride| stride[axis]).product());
        let patch = [0, 1].map(|axis| size[axis].next_multiple_of(divisor[axis]));
        let features = std::iter::successors(Some(self.base_features), |features| features.checked_mul(2));
        let features = features.take(strides.len()).map(|features| features.min(self.max_features)).collect();
        Network { patch, divisor, strides, features }
    }

    /// The network for the largest patch of the images' shape that `reference` allows; see [`Network::values`].
    fn largest_network(&self, median: [f64; 2], outputs: usize, reference: f64) -> Result<Network> {
        let limit = self.max_patch.map_or(LARGEST_PATCH, |limit| LARGEST_PATCH.min(limit as f64));
        let mut network = self.network(median.map(|side| side.min(limit).ceil() as usize));
        while network.values(outputs) * ROOM_FOR / REFERENCE_BATCH > reference {
            let relative = [0, 1].map(|axis| network.patch[axis] as f64 / median[axis]);
            let axis = if relative[0] > relative[1] { 0 } else { 1 };
            // What the smaller patch must be divisible by may be less, which leaves the sizes between the two.
            let shrunk = |step: usize| {
                let mut patch = network.patch;
                patch[axis] = patch[axis].checked_sub(step).filter(|side| *side > 0)?;
                Some(self.network(patch))
            };
            let smaller = shrunk(network.divisor[axis]).and_then(|probe| shrunk(probe.divisor[axis]));
            network = smaller.ok_or_else(|| {
                Error::Config(format!(
                    "no patch is small enough for {} GB: give more memory or fewer base features",
                    self.memory_gb
                ))
            })?;
        }
        Ok(network)
    }
}

/// The shape of a network and of its patches.
struct Network {
    patch: [usize; 2],
    /// What the patch must be divisible by: the products of the strides.
    divisor: [usize; 2],
    strides: Vec<[usize; 2]>,
    features: Vec<usize>,
}

impl Network {
    /// How many values the convolutions put out for one patch, as a measure of the memory they need: those of both
    /// encoder and decoder, transposed ones, and the head of the finest stage.
    fn values(&self, outputs: usize) -> f64 {
        let [mut height, mut width] = self.patch;
        let mut values = outputs * height * width;
        for (stage, (stride, features)) in self.strides.iter().zip(&self.features).enumerate() {
            height /= stride[0];
            width /= stride[1];
            let coarsest = stage + 1 == self.strides.len();
            let convs = if coarsest { CONVS } else { CONVS + 1 + CONVS };
            values += convs * features * height * width;
        }
        values as f64
    }
}

impl Plan {
    /// nnU-Net's plan for images like these. `classes` names the labels 1, 2, …; `channel` is what the images show, by
    /// which nnU-Net chooses the normalisation.
    pub fn for_images(
        images: &Fingerprint,
        classes: Vec<String>,
        channel: &str,
        options: &PlanOptions,
    ) -> Result<Self> {
        options.check()?;
        if images.sizes.iter().flatten().any(|side| *side == 0) || images.sizes.is_empty() {
            return Err(Error::Config("a plan needs at least one training image, and images need pixels".into()));
        }
        let median = [0, 1].map(|axis| median(images.sizes.iter().map(|size| size[axis]).collect()));
        let reference = REFERENCE_VALUES * options.memory_gb / REFERENCE_GB;
        let network = options.largest_network(median, classes.len() + 1, reference)?;
        let pixels = median[0] * median[1] * images.sizes.len() as f64;
        let patch_pixels = (network.patch[0] * network.patch[1]) as f64;
        // Halves go to the even number, as in Python.
        let fitting = (reference / network.values(classes.len() + 1) * REFERENCE_BATCH).round_ties_even() as usize;
        let varied = (pixels * LARGEST_SHARE / patch_pixels).round_ties_even() as usize;
        let batch = fitting.min(varied).max(options.min_batch).min(options.max_batch.unwrap_or(usize::MAX));
        let stages = network.strides.len();
        let plan = Self {
            classes,
            pixel_size_um: images.pixel_size_um,
            seed: 42,
            patch_size: network.patch,
            batch_size: batch,
            features_per_stage: network.features,
            strides: network.strides,
            convs_per_stage: vec![CONVS; stages],
            convs_per_stage_decoder: vec![CONVS; stages - 1],
            kernel_size: 3,
            epochs: 1000,
            iterations_per_epoch: 250,
            time_budget_s: None,
            learning_rate: 0.01,
            weight_decay: 3e-5,
            momentum: 0.99,
            foreground_oversampling: 0.33,
            normalisation: Normalisation::for_channel(channel, images.foreground)?,
            augmentation: Augmentation::for_patch_size(network.patch),
        };
        plan.check()?;
        Ok(plan)
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<usize>) -> f64 {
    values.sort_unstable();
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_for(sizes: Vec<[usize; 2]>, classes: usize, options: &PlanOptions) -> Result<Plan> {
        let images = Fingerprint { sizes, pixel_size_um: None, foreground: None };
        Plan::for_images(&images, (1..=classes).map(|class| class.to_string()).collect(), "sem", options)
    }

    /// `sizes` many times over, and what nnU-Net's planner makes of them: patch, batch, and how often rows and columns
    /// are halved. `outputs` counts the background.
    #[track_caller]
    fn assert_plan(
        (images, sizes): (usize, &[[usize; 2]]),
        outputs: usize,
        memory_gb: f64,
        (patch, batch, halved): ([usize; 2], usize, [usize; 2]),
    ) {
        let sizes = (0..images).map(|i| sizes[i % sizes.len()]).collect();
        let plan = plan_for(sizes, outputs - 1, &PlanOptions { memory_gb, ..PlanOptions::default() }).unwrap();
        let halvings = [0, 1].map(|axis| plan.strides.iter().filter(|stride| stride[axis] == 2).count());
        assert_eq!((plan.patch_size, plan.batch_size, halvings), (patch, batch, halved));
    }

    #[test]
    fn plans_are_those_of_nnunet() {
        // BraTS and Hippocampus as published: batches of 105 and, by the 5 % rule, 366.
        assert_plan((3000, &[[192, 160]]), 4, 8.0, ([192, 160], 105, [5, 5]));
        assert_plan((9360, &[[50, 35]]), 3, 8.0, ([56, 40], 366, [3, 3]));
        // The rest from runs of its planner.
        assert_plan((91, &[[512, 512]]), 2, 8.0, ([512, 512], 5, [7, 7]));
        assert_plan((400, &[[160, 160]]), 3, 8.0, ([160, 160], 20, [5, 5]));
        assert_plan((10, &[[1280, 954], [700, 1203]]), 3, 8.0, ([1024, 1280], 2, [8, 8]));
        assert_plan((20, &[[8000, 9000]]), 2, 8.0, ([1024, 1280], 2, [8, 8]));
        assert_plan((200, &[[96, 1500]]), 2, 8.0, ([96, 1536], 10, [4, 8]));
        assert_plan((200, &[[8000, 100]]), 2, 8.0, ([2048, 112], 14, [8, 4]));
        assert_plan((200, &[[20, 9]]), 2, 8.0, ([20, 10], 9, [1, 1]));
        assert_plan((8, &[[300, 301]]), 2, 8.0, ([320, 320], 2, [6, 6]));
    }

    #[test]
    fn patches_shrink_with_the_memory_as_those_of_nnunet() {
        let images: (usize, &[[usize; 2]]) = (1000, &[[1024, 1024]]);
        assert_plan(images, 2, 24.0, ([1024, 1024], 9, [8, 8]));
        assert_plan(images, 2, 8.0, ([1024, 1024], 3, [8, 8]));
        assert_plan(images, 2, 4.0, ([896, 896], 2, [7, 7]));
        assert_plan(images, 2, 1.0, ([448, 448], 2, [6, 6]));
        assert_plan((1000, &[[1024, 1000]]), 2, 2.0, ([640, 512], 2, [7, 7]));
        // Of two sides alike, the columns give way first.
        assert_plan((7, &[[2279, 2279]]), 5, 11.0, ([1536, 1280], 2, [8, 8]));
        let none = plan_for(vec![[64, 64]], 1, &PlanOptions { memory_gb: 1e-9, ..PlanOptions::default() });
        assert!(none.unwrap_err().to_string().contains("give more memory"));
    }

    #[test]
    fn features_double_up_to_the_most_and_stages_follow_them() {
        let plan =
            plan_for(vec![[256, 256]; 300], 2, &PlanOptions { base_features: 8, ..PlanOptions::default() }).unwrap();
        assert_eq!(plan.features_per_stage, [8, 16, 32, 64, 128, 256, 512]);
        assert_eq!((plan.batch_size, plan.convs_per_stage.len(), plan.convs_per_stage_decoder.len()), (15, 7, 6));
        let plan = plan_for(vec![[512, 512]], 2, &PlanOptions::default()).unwrap();
        assert_eq!(plan.features_per_stage, [32, 64, 128, 256, 512, 512, 512, 512]);
    }

    #[test]
    fn limits_for_small_computers_are_kept() {
        let options = PlanOptions {
            max_patch: Some(128),
            max_stages: Some(4),
            max_batch: Some(4),
            base_features: 8,
            ..PlanOptions::default()
        };
        let plan = plan_for(vec![[1280, 954]; 500], 2, &options).unwrap();
        assert_eq!((plan.patch_size, plan.batch_size), ([128, 128], 4));
        assert_eq!(plan.features_per_stage, [8, 16, 32, 64]);
    }

    #[test]
    fn what_cannot_be_planned_is_refused() {
        let usual = PlanOptions::default();
        assert!(plan_for(Vec::new(), 1, &usual).unwrap_err().to_string().contains("at least one training image"));
        assert!(plan_for(vec![[7, 300]], 1, &PlanOptions { max_stages: Some(0), ..usual.clone() }).is_err());
        assert!(plan_for(vec![[7, 7]], 1, &usual).unwrap_err().to_string().contains("two stages"));
        assert!(plan_for(vec![[64, 64]], 0, &usual).unwrap_err().to_string().contains("classes"));
    }

    #[test]
    fn percentiles_of_the_foreground_are_interpolated() {
        let intensities = ForegroundIntensities::of((0..=100).rev().map(|i| i as f32).collect()).unwrap();
        assert_eq!((intensities.min, intensities.max, intensities.mean), (0.0, 100.0, 50.0));
        assert_eq!((intensities.percentile_00_5, intensities.percentile_99_5), (0.5, 99.5));
        assert_eq!(intensities.sd, 850f64.sqrt());
        assert_eq!(ForegroundIntensities::of(Vec::new()), None);
    }
}
