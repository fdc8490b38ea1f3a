//! What a segmentation network is trained with: its shape, its patches, its schedule. A plan is made from the images by
//! nnU-Net's rules ([`Plan::for_images`]), or read from a TOML file that a user has edited.

mod planner;

pub use planner::{Fingerprint, ForegroundIntensities, PlanOptions};

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::augment::Augmentation;
use crate::error::{Error, Result};

/// The first lines of a plan's file.
const HEADER: &str = "\
# The plan of a segmentation network. Edit it and train with it; what is refused is said with the reason.
#
# classes                 names of the labels 1, 2, ...; label 0 is background and not listed
# pixel_size_um           micrometres per pixel at which the network works; leave it out to take images as they are
# normalisation           zscore, rescale_to_0_1, rgb_to_0_1, nonorm, or a table [normalisation.ct]
# patch_size              rows and columns of a training patch; the products of the strides must divide them
# batch_size              patches in an iteration; halve it, or the patch, when memory runs out
# features_per_stage      feature maps of each resolution, the finest first
# strides                 how each stage shrinks rows and columns; the first stage is [1, 1]
# convs_per_stage         convolutions of each encoder stage; the decoder has one stage less
# epochs, iterations_per_epoch  how long training takes
# time_budget_s           seconds for the training of one fold; leave it out to train all epochs
# foreground_oversampling part of each batch whose patches are sure to show a class
# augmentation            random changes of patches: how often (probability) and how much (range)

";

/// How intensities are normalised before they enter a network; named as nnU-Net's channels are.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Normalisation {
    /// Each image to mean 0 and standard deviation 1.
    #[default]
    #[serde(rename = "zscore")]
    ZScore,
    /// Each image's smallest intensity to 0 and its largest to 1.
    #[serde(rename = "rescale_to_0_1")]
    RescaleTo01,
    /// All images alike, by the intensities of the training set's foreground: cut off at the percentiles, less the mean,
    /// divided by the standard deviation.
    #[serde(rename = "ct")]
    Ct(ForegroundIntensities),
    /// Intensities as they are stored.
    #[serde(rename = "nonorm")]
    None,
    /// Stored 8-bit intensities divided by 255.
    #[serde(rename = "rgb_to_0_1")]
    RgbTo01,
}

impl Normalisation {
    /// What nnU-Net does with a channel of this name: any name that it does not know stands for z-scores.
    pub fn for_channel(name: &str, foreground: Option<ForegroundIntensities>) -> Result<Self> {
        Ok(match name.to_lowercase().as_str() {
            "rescale_to_0_1" => Self::RescaleTo01,
            "rgb_to_0_1" => Self::RgbTo01,
            "nonorm" => Self::None,
            "ct" => Self::Ct(foreground.ok_or_else(|| {
                let sentence = "the channel ct is normalised by the intensities of the foreground, and no training \
                                image has any: name the channel otherwise";
                Error::Config(sentence.into())
            })?),
            _ => Self::ZScore,
        })
    }
}

/// What a segmentation network is trained with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Names of the labels 1, 2, …; label 0 is background and not listed.
    pub classes: Vec<String>,
    /// Micrometres per pixel at which the network works; none takes images as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_size_um: Option<f64>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Rows and columns of a training patch.
    pub patch_size: [usize; 2],
    /// Patches in one iteration.
    pub batch_size: usize,
    /// Feature maps of each stage, the finest first.
    pub features_per_stage: Vec<usize>,
    /// How much smaller, in rows and columns, each stage is than the one before.
    pub strides: Vec<[usize; 2]>,
    /// Convolutions of each encoder stage.
    pub convs_per_stage: Vec<usize>,
    /// Convolutions of each decoder stage, the coarsest first: one stage less than the encoder.
    pub convs_per_stage_decoder: Vec<usize>,
    /// Rows and columns of each convolution's kernel.
    pub kernel_size: usize,
    /// Epochs of training.
    pub epochs: u64,
    /// Training iterations in an epoch.
    pub iterations_per_epoch: u64,
    /// Seconds that the training of one fold may take; `epochs` then follow from the time that each takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_budget_s: Option<f64>,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// Part of each weight that is added to its gradient.
    pub weight_decay: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    /// Part of each batch whose patches are sure to show a class, 0 to 1.
    pub foreground_oversampling: f64,
    /// How intensities are normalised.
    pub normalisation: Normalisation,
    /// How training patches are changed at random.
    #[serde(default)]
    pub augmentation: Augmentation,
}

impl Plan {
    /// Reads and checks a plan.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let refuse = |error: String| Error::Config(format!("cannot use the plan in {}: {error}", path.display()));
        let plan: Self = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        plan.check().map_err(|error| refuse(error.to_string()))?;
        Ok(plan)
    }

    /// The plan as a file to edit: a few lines on what the fields mean, then the fields.
    pub fn to_toml(&self) -> Result<String> {
        let fields = toml::to_string(self).map_err(|error| Error::Config(format!("cannot write the plan: {error}")))?;
        Ok(HEADER.to_owned() + &fields)
    }

    /// Channels that come out of the network: the background and the classes.
    pub fn outputs(&self) -> usize {
        self.classes.len() + 1
    }

    /// Refuses plans that cannot work, before any image is read.
    pub fn check(&self) -> Result<()> {
        self.check_classes()?;
        self.check_network()?;
        self.check_schedule()?;
        self.augmentation.check()
    }

    fn check_classes(&self) -> Result<()> {
        let names: BTreeSet<&str> = self.classes.iter().map(|name| name.trim()).collect();
        if self.classes.is_empty() || names.len() < self.classes.len() || names.contains("") {
            return refuse("classes must name each label from 1 on, with different names".into());
        }
        if self.classes.len() > 255 {
            return refuse(format!("label maps hold at most 255 classes, and classes names {}", self.classes.len()));
        }
        if self.pixel_size_um.is_some_and(|size| !size.is_finite() || size <= 0.0) {
            return refuse("pixel_size_um must be above 0 micrometres; leave it out to take images as they are".into());
        }
        Ok(())
    }

    fn check_network(&self) -> Result<()> {
        let stages = self.features_per_stage.len();
        let [strides, encoder, decoder] =
            [self.strides.len(), self.convs_per_stage.len(), self.convs_per_stage_decoder.len()];
        if stages < 2 {
            return refuse("a network needs two stages or more in features_per_stage".into());
        }
        if strides != stages || encoder != stages || decoder != stages - 1 {
            return refuse(format!(
                "features_per_stage has {stages} stages: strides and convs_per_stage must have {stages} and \
                 convs_per_stage_decoder {}, not {strides}, {encoder} and {decoder}",
                stages - 1
            ));
        }
        let counts = [&self.features_per_stage, &self.convs_per_stage, &self.convs_per_stage_decoder];
        if counts.into_iter().flatten().chain(self.strides.as_flattened()).any(|count| *count == 0) {
            return refuse("features, strides and convolutions of each stage must be at least 1".into());
        }
        if self.strides[0] != [1, 1] {
            return refuse(
                "the first of the strides must be [1, 1]: the first stage has the patch's resolution".into(),
            );
        }
        if self.kernel_size.is_multiple_of(2) {
            return refuse(format!("kernel_size must be odd, not {}", self.kernel_size));
        }
        for (axis, name) in ["rows", "columns"].into_iter().enumerate() {
            let divisor: usize = self.strides.iter().map(|stride| stride[axis]).product();
            let side = self.patch_size[axis];
            if side == 0 || !side.is_multiple_of(divisor) {
                return refuse(format!(
                    "the strides divide the patch's {name} by {divisor}, so {side} cannot be their number in \
                     patch_size: choose a multiple, such as {}",
                    side.max(1).next_multiple_of(divisor)
                ));
            }
        }
        Ok(())
    }

    fn check_schedule(&self) -> Result<()> {
        if self.time_budget_s.is_some_and(|budget| !budget.is_finite() || budget <= 0.0) {
            return refuse("time_budget_s must be above 0 seconds; leave it out to train all epochs".into());
        }
        let counts = [self.batch_size as u64, self.epochs, self.iterations_per_epoch];
        if counts.contains(&0) {
            return refuse("batch_size, epochs and iterations_per_epoch must be at least 1".into());
        }
        let decay = self.weight_decay;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0 && decay.is_finite() && decay >= 0.0) {
            return refuse("learning_rate must be above 0 and weight_decay not below 0".into());
        }
        if !(0.0..1.0).contains(&self.momentum) || !(0.0..=1.0).contains(&self.foreground_oversampling) {
            return refuse("momentum must be in [0, 1) and foreground_oversampling from 0 to 1".into());
        }
        Ok(())
    }
}

fn refuse(sentence: String) -> Result<()> {
    Err(Error::Config(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let images = Fingerprint { sizes: vec![[512, 512]; 91], pixel_size_um: Some(0.1), foreground: None };
        Plan::for_images(&images, vec!["myelin".into(), "axon".into()], "sem", &PlanOptions::default()).unwrap()
    }

    #[test]
    fn a_plan_survives_being_saved_and_reads_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        let foreground = ForegroundIntensities {
            min: 0.0,
            max: 255.0,
            mean: 120.5,
            sd: 60.0,
            percentile_00_5: 8.0,
            percentile_99_5: 250.0,
        };
        for normalisation in [Normalisation::ZScore, Normalisation::RescaleTo01, Normalisation::Ct(foreground)] {
            for pixel_size_um in [None, Some(0.125)] {
                let plan = Plan { normalisation, pixel_size_um, ..plan() };
                std::fs::write(&path, plan.to_toml().unwrap()).unwrap();
                assert_eq!(Plan::from_file(&path).unwrap(), plan);
            }
        }
        let text = plan().to_toml().unwrap();
        assert!(
            text.contains("\npatch_size = [512, 512]\n") && text.contains("\nnormalisation = \"zscore\"\n"),
            "{text}"
        );
        assert!(text.contains("\n[augmentation.rotation]\nprobability = 0.2\nrange = [-180.0, 180.0]\n"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_plan_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Plan::from_file(&path).unwrap_err().to_string()
        };
        let text = plan().to_toml().unwrap();
        for (text, reason) in [
            (text.replace("epochs = 1000", "epoch = 1000"), "unknown field `epoch`"),
            (text.replace("epochs = 1000", "epochs = 0"), "must be at least 1"),
            (text.replace("normalisation = \"zscore\"", "normalisation = \"z\""), "unknown variant `z`"),
            (text.replace("patch_size = [512, 512]", "patch_size = [500, 512]"), "choose a multiple, such as 512"),
        ] {
            let error = refused(&text);
            assert!(error.contains("mine.toml") && error.contains(reason), "{error}");
        }
        assert!(Plan::from_file(&folder.path().join("none.toml")).unwrap_err().to_string().contains("none.toml"));
    }

    #[test]
    fn plans_without_sense_are_refused_with_a_remedy() {
        let refused = |change: fn(&mut Plan)| {
            let mut plan = plan();
            change(&mut plan);
            plan.check().unwrap_err().to_string()
        };
        assert!(refused(|p| p.patch_size = [512, 0]).contains("columns"));
        assert!(refused(|p| p.strides[3] = [3, 2]).contains("by 192"));
        assert!(refused(|p| p.strides[3] = [0, 2]).contains("at least 1"));
        assert!(refused(|p| p.strides[0] = [2, 2]).contains("[1, 1]"));
        assert!(refused(|p| p.convs_per_stage.truncate(7)).contains("not 8, 7 and 7"));
        assert!(refused(|p| p.learning_rate = -0.01).contains("above 0"));
        assert!(refused(|p| p.weight_decay = f64::NAN).contains("weight_decay"));
        assert!(refused(|p| p.momentum = 1.0).contains("momentum"));
        assert!(refused(|p| p.kernel_size = 2).contains("odd"));
        assert!(refused(|p| p.classes[1] = "myelin".into()).contains("different names"));
        assert!(refused(|p| p.pixel_size_um = Some(0.0)).contains("micrometres"));
        assert!(refused(|p| p.augmentation.mirroring = 2.0).contains("mirroring"));
    }

    #[test]
    fn the_channel_name_chooses_the_normalisation() {
        let chosen = |name: &str| Normalisation::for_channel(name, None);
        assert_eq!(chosen("Rescale_to_0_1").unwrap(), Normalisation::RescaleTo01);
        assert_eq!(chosen("rgb_to_0_1").unwrap(), Normalisation::RgbTo01);
        assert_eq!(chosen("noNorm").unwrap(), Normalisation::None);
        assert_eq!(chosen("TEM").unwrap(), Normalisation::ZScore);
        assert!(chosen("CT").unwrap_err().to_string().contains("name the channel otherwise"));
    }
}
