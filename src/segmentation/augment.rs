//! The random changes that make each training patch a new one: those that nnU-Net v2 applies by default in two dimensions
//! (Isensee et al. 2021, Nat. Methods 18; `get_training_transforms` of nnunetv2 2.8 with batchgeneratorsv2 0.3), for one
//! channel and in the same order.
//!
//! It differs in one place: turned and scaled patches are looked up in the whole image, where nnU-Net cuts out a somewhat
//! larger patch first and finds zeros beyond that.

mod intensity;
mod spatial;

use serde::{Deserialize, Serialize};

use super::patch::Patch;
use crate::error::{Error, Result};
use crate::random::Stream;

/// A change that happens to some patches, by an amount drawn anew for each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// How often it happens, 0 (never) to 1 (to each patch).
    pub probability: f64,
    /// The smallest and the largest amount.
    pub range: [f64; 2],
}

impl Chance {
    fn new(probability: f64, low: f64, high: f64) -> Self {
        Self { probability, range: [low, high] }
    }

    /// An amount from the range, all equally likely; none when the change does not happen.
    fn amount(&self, stream: &mut Stream) -> Option<f64> {
        let [low, high] = self.range;
        (stream.uniform() < self.probability).then(|| stream.between(low, high))
    }

    /// A factor from the range: below 1 and above 1 equally often, whichever side is wider.
    fn factor(&self, stream: &mut Stream) -> Option<f64> {
        match self.range {
            [low, high] if low < 1.0 && high > 1.0 => {
                let side = if stream.coin() { [low, 1.0] } else { [1.0, high] };
                Self { range: side, ..*self }.amount(stream)
            }
            _ => self.amount(stream),
        }
    }
}

/// How training patches are changed; the default is nnU-Net's. Changes happen in the order of the fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Turn of the sampling grid, in degrees.
    pub rotation: Chance,
    /// Scale of the sampling grid: above 1, structures look smaller. All amounts are equally likely.
    pub scaling: Chance,
    /// Standard deviation of the normal noise that is added. (nnU-Net calls it a variance, and uses it as a deviation.)
    pub noise: Chance,
    /// Standard deviation of the Gaussian blur in pixels, drawn for each axis.
    pub blur: Chance,
    /// Factor on intensities.
    pub brightness: Chance,
    /// Factor on intensities' distances from their mean; the range of intensities stays.
    pub contrast: Chance,
    /// The patch is thinned out to this part of its rows and columns, and interpolated to its size again.
    pub low_resolution: Chance,
    /// Exponent on the negative of the intensities; their mean and standard deviation stay.
    pub inverted_gamma: Chance,
    /// Exponent on the intensities; their mean and standard deviation stay.
    pub gamma: Chance,
    /// How often rows are mirrored, and how often columns: 0 to 1.
    pub mirroring: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            rotation: Chance::new(0.2, -180.0, 180.0),
            scaling: Chance::new(0.2, 0.7, 1.4),
            noise: Chance::new(0.1, 0.0, 0.1),
            // Chosen for 0.2 of the patches, then for 0.5 of their channels.
            blur: Chance::new(0.1, 0.5, 1.0),
            brightness: Chance::new(0.15, 0.75, 1.25),
            contrast: Chance::new(0.15, 0.75, 1.25),
            // Chosen for 0.25 of the patches, then for 0.5 of their channels.
            low_resolution: Chance::new(0.125, 0.5, 1.0),
            inverted_gamma: Chance::new(0.1, 0.7, 1.5),
            gamma: Chance::new(0.3, 0.7, 1.5),
            mirroring: 0.5,
        }
    }
}

impl Augmentation {
    /// nnU-Net's choice for patches of this size (rows, columns): those with one side more than one and a half times the
    /// other turn by up to 15 degrees only, since a large turn would look far beyond them.
    pub fn for_patch_size([height, width]: [usize; 2]) -> Self {
        let elongated = height.max(width) as f64 > 1.5 * height.min(width) as f64;
        let degrees = if elongated { 15.0 } else { 180.0 };
        Self { rotation: Chance::new(0.2, -degrees, degrees), ..Self::default() }
    }

    /// Every probability 0: patches stay what they are.
    pub fn none() -> Self {
        let never = |chance: Chance| Chance { probability: 0.0, ..chance };
        let usual = Self::default();
        Self {
            rotation: never(usual.rotation),
            scaling: never(usual.scaling),
            noise: never(usual.noise),
            blur: never(usual.blur),
            brightness: never(usual.brightness),
            contrast: never(usual.contrast),
            low_resolution: never(usual.low_resolution),
            inverted_gamma: never(usual.inverted_gamma),
            gamma: never(usual.gamma),
            mirroring: 0.0,
        }
    }

    /// The patch of `size` (rows, columns) around `centre` of an image, changed at random.
    ///
    /// `centre` is in pixels from the image's upper left corner: pixel i reaches from i to i + 1. A patch that is neither
    /// turned nor scaled is an exact copy of the pixels from `floor(centre) - floor(size / 2)` on. What lies outside of the
    /// image is 0 and background. The result depends on the stream's key only, not on what was drawn from it.
    pub fn apply(&self, image: &Patch, centre: [f64; 2], size: [usize; 2], stream: &Stream) -> Patch {
        let mut patch = self.place(image, centre, size, &mut stream.child("place"));
        self.change_intensities(&mut patch, stream);
        let mut mirroring = stream.child("mirroring");
        if mirroring.uniform() < self.mirroring {
            patch.mirror_rows();
        }
        if mirroring.uniform() < self.mirroring {
            patch.mirror_columns();
        }
        patch
    }

    fn place(&self, image: &Patch, centre: [f64; 2], size: [usize; 2], stream: &mut Stream) -> Patch {
        let degrees = self.rotation.amount(stream);
        let scale = self.scaling.amount(stream);
        if degrees.is_none() && scale.is_none() {
            let origin = [0, 1].map(|axis| centre[axis].floor() as isize - (size[axis] / 2) as isize);
            return image.crop(origin, size);
        }
        spatial::sample(image, centre, size, degrees.unwrap_or(0.0).to_radians(), scale.unwrap_or(1.0))
    }

    fn change_intensities(&self, patch: &mut Patch, stream: &Stream) {
        let size = [patch.height, patch.width];
        let values = &mut patch.intensities;
        // A stream for each change: editing the odds of one leaves the draws of the others alone.
        let mut noise = stream.child("noise");
        if let Some(sd) = self.noise.amount(&mut noise) {
            intensity::add_noise(values, sd, &mut noise);
        }
        let mut blur = stream.child("blur");
        if let Some(vertical) = self.blur.amount(&mut blur) {
            let [low, high] = self.blur.range;
            intensity::blur(values, size, [vertical, blur.between(low, high)]);
        }
        if let Some(factor) = self.brightness.factor(&mut stream.child("brightness")) {
            intensity::brighten(values, factor);
        }
        if let Some(factor) = self.contrast.factor(&mut stream.child("contrast")) {
            intensity::change_contrast(values, factor);
        }
        if let Some(scale) = self.low_resolution.amount(&mut stream.child("low resolution")) {
            intensity::lower_resolution(values, size, scale);
        }
        if let Some(gamma) = self.inverted_gamma.factor(&mut stream.child("inverted gamma")) {
            intensity::apply_gamma_to_negative(values, gamma);
        }
        if let Some(gamma) = self.gamma.factor(&mut stream.child("gamma")) {
            intensity::apply_gamma(values, gamma);
        }
    }

    /// Refuses probabilities outside of 0 to 1 and ranges that make no sense.
    pub fn check(&self) -> Result<()> {
        let above_zero = (f64::MIN_POSITIVE, f64::MAX, "above 0");
        let chances = [
            ("rotation", self.rotation, (-360.0, 360.0, "from -360 to 360")),
            ("scaling", self.scaling, above_zero),
            ("noise", self.noise, (0.0, f64::MAX, "not below 0")),
            ("blur", self.blur, above_zero),
            ("brightness", self.brightness, above_zero),
            ("contrast", self.contrast, above_zero),
            ("low_resolution", self.low_resolution, (f64::MIN_POSITIVE, 1.0, "above 0 and at most 1")),
            ("inverted_gamma", self.inverted_gamma, above_zero),
            ("gamma", self.gamma, above_zero),
        ];
        let probabilities = chances.iter().map(|(name, chance, _)| (*name, chance.probability));
        for (name, probability) in probabilities.chain([("mirroring", self.mirroring)]) {
            if !(0.0..=1.0).contains(&probability) {
                return Err(Error::Config(format!("the probability of {name} must be from 0 to 1, not {probability}")));
            }
        }
        for (name, Chance { range: [low, high], .. }, (least, most, words)) in chances {
            if !(least <= low && low <= high && high <= most) {
                return Err(Error::Config(format!(
                    "the range of {name} must be two numbers {words}, the smaller first, not [{low}, {high}]"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring about a disc in the middle of 64 x 64 pixels; each pixel's intensity is its label.
    fn rings() -> Patch {
        let label = |i: usize| match (i / 64).abs_diff(32).pow(2) + (i % 64).abs_diff(30).pow(2) {
            0..40 => 2,
            40..120 => 1,
            _ => 0,
        };
        let labels: Vec<u8> = (0..64 * 64).map(label).collect();
        Patch::new(64, 64, labels.iter().map(|label| f32::from(*label)).collect(), labels)
    }

    fn always(range: [f64; 2]) -> Chance {
        Chance { probability: 1.0, range }
    }

    #[test]
    fn without_changes_a_patch_is_a_copy() {
        let image = rings();
        let patch = Augmentation::none().apply(&image, [30.7, 20.2], [32, 24], &Stream::new(1));
        assert_eq!(patch, image.crop([14, 8], [32, 24]));
    }

    #[test]
    fn labels_follow_the_intensities_through_turns_scales_and_mirrors() {
        let moving = Augmentation {
            rotation: always([-180.0, 180.0]),
            scaling: always([0.7, 1.4]),
            mirroring: 0.5,
            ..Augmentation::none()
        };
        for seed in 0..20 {
            let patch = moving.apply(&rings(), [32.0, 32.0], [48, 48], &Stream::new(seed));
            // Where a point lies among equal pixels its label is its intensity, and where it lies between classes that
            // follow each other the label is the nearer one.
            let wrong = |(value, label): &(&f32, &u8)| (*value - f32::from(**label)).abs() > 0.501;
            assert_eq!(patch.intensities.iter().zip(&patch.labels).filter(wrong).count(), 0, "seed {seed}");
            assert!([0, 1, 2].iter().all(|class| patch.labels.contains(class)));
        }
    }

    #[test]
    fn the_same_stream_gives_the_same_patch_and_another_one_another() {
        let everything = Augmentation {
            rotation: always([-180.0, 180.0]),
            noise: always([0.1, 0.1]),
            blur: always([0.5, 1.0]),
            ..Augmentation::default()
        };
        let patch = |stream: &Stream| everything.apply(&rings(), [32.0, 32.0], [32, 32], stream);
        let mut used = Stream::new(7);
        let first = patch(&used);
        used.bits();
        assert_eq!(patch(&used), first);
        assert_ne!(patch(&Stream::new(8)), first);
    }

    #[test]
    fn the_odds_of_one_change_leave_the_others_alone() {
        let image = rings();
        let bright = |noise: f64| {
            let augmentation = Augmentation {
                noise: Chance { probability: noise, range: [0.0, 0.0] },
                brightness: always([0.75, 1.25]),
                ..Augmentation::none()
            };
            augmentation.apply(&image, [32.0, 32.0], [64, 64], &Stream::new(3))
        };
        assert_eq!(bright(0.0), bright(1.0));
        assert_ne!(bright(0.0), image);
    }

    #[test]
    fn factors_fall_below_one_as_often_as_above() {
        let chance = Chance::new(0.5, 0.7, 1.5);
        let mut stream = Stream::new(2);
        let factors: Vec<f64> = (0..4000).filter_map(|_| chance.factor(&mut stream)).collect();
        let below = factors.iter().filter(|factor| **factor < 1.0).count();
        assert!(factors.iter().all(|factor| (0.7..1.5).contains(factor)));
        // Five standard deviations of each count.
        assert!(factors.len().abs_diff(2000) < 160 && below.abs_diff(factors.len() / 2) < 115, "{below}");
    }

    #[test]
    fn elongated_patches_turn_little() {
        assert_eq!(Augmentation::for_patch_size([96, 144]), Augmentation::default());
        assert_eq!(Augmentation::for_patch_size([145, 96]).rotation.range, [-15.0, 15.0]);
    }

    #[test]
    fn odds_and_ranges_without_sense_are_refused() {
        Augmentation::default().check().unwrap();
        let refused = |change: fn(&mut Augmentation)| {
            let mut augmentation = Augmentation::default();
            change(&mut augmentation);
            augmentation.check().unwrap_err().to_string()
        };
        assert!(refused(|a| a.mirroring = 1.5).contains("probability of mirroring"));
        assert!(refused(|a| a.blur.probability = f64::NAN).contains("probability of blur"));
        assert!(refused(|a| a.scaling.range = [1.4, 0.7]).contains("the smaller first, not [1.4, 0.7]"));
        assert!(refused(|a| a.low_resolution.range = [0.5, 2.0]).contains("at most 1"));
        assert!(refused(|a| a.gamma.range = [0.0, 1.0]).contains("above 0"));
    }
}
