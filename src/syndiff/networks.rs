//! The eight networks of SynDiff and their sizes.

use burn::module::Module;
use serde::{Deserialize, Serialize};

use crate::diffusion::ScheduleConfig;
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::nn::{
    DiffusiveGenerator, DiffusiveGeneratorConfig, DiscriminatorSize, Init, PatchDiscriminator,
    PatchDiscriminatorConfig, TimeDiscriminator, TimeDiscriminatorConfig, Translator, TranslatorConfig,
};

/// The sizes of the networks. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynDiffConfig {
    /// Side of the square crops to train on, in pixels at the working resolution.
    pub crop: usize,
    /// The noise schedule.
    pub schedule: ScheduleConfig,
    /// The diffusive generators.
    pub generator: DiffusiveGeneratorConfig,
    /// The non-diffusive translators.
    pub translator: TranslatorConfig,
    /// The time-conditional discriminators.
    pub time_discriminator: TimeDiscriminatorConfig,
    /// The patch discriminators.
    pub patch_discriminator: PatchDiscriminatorConfig,
}

impl Default for SynDiffConfig {
    fn default() -> Self {
        Self {
            crop: 512,
            schedule: ScheduleConfig::default(),
            generator: DiffusiveGeneratorConfig::default(),
            translator: TranslatorConfig::default(),
            time_discriminator: TimeDiscriminatorConfig::default(),
            patch_discriminator: PatchDiscriminatorConfig::default(),
        }
    }
}

impl SynDiffConfig {
    /// Refuses sizes that do not go together.
    pub fn check(&self) -> Result<()> {
        self.generator.check(self.crop)?;
        self.schedule.init()?;
        let refuse = |sentence: String| Err(Error::Config(sentence));
        let widths = [
            self.translator.width,
            self.time_discriminator.width,
            self.patch_discriminator.width,
            self.translator.blocks,
        ];
        if widths.contains(&0) || self.time_discriminator.time_dim < 4 {
            return refuse("no network can have a width or block count of 0, or a time_dim below 4".into());
        }
        let multiple = DiscriminatorSize::for_crop(self.crop).multiple();
        if !self.crop.is_multiple_of(multiple) {
            return refuse(format!(
                "the time discriminator halves a crop of {} px {} times: choose a multiple of {multiple}, such as {}",
                self.crop,
                multiple.ilog2(),
                self.crop.div_ceil(multiple) * multiple
            ));
        }
        let smallest = self.patch_discriminator.smallest_input();
        if self.crop < smallest {
            return refuse(format!(
                "a crop of {} px leaves the patch discriminator nothing to judge: choose at least {smallest} px",
                self.crop
            ));
        }
        Ok(())
    }

    /// Height and width of every image given to the generators must be a multiple of this.
    pub fn multiple(&self) -> usize {
        // The translators halve twice.
        self.generator.multiple().max(4)
    }
}

/// The networks that make images: a diffusive generator and a translator for each direction.
#[derive(Module, Debug)]
pub struct Generators {
    /// Makes images of the labelled look from images of the target look (G1).
    diffusive_to_labelled: DiffusiveGenerator,
    /// Makes images of the target look from images of the labelled look (G2).
    diffusive_to_target: DiffusiveGenerator,
    /// First estimate of the labelled look of a target image (R21).
    translator_to_labelled: Translator,
    /// First estimate of the target look of a labelled image (R12).
    translator_to_target: Translator,
}

impl Generators {
    /// New generators.
    pub fn new(config: &SynDiffConfig, init: &mut Init) -> Self {
        Self {
            diffusive_to_labelled: config.generator.init(config.crop, init),
            diffusive_to_target: config.generator.init(config.crop, init),
            translator_to_labelled: config.translator.init(init),
            translator_to_target: config.translator.init(init),
        }
    }

    /// The same networks with some exchanged.
    pub fn with(self, diffusive: Pair<DiffusiveGenerator>, translators: Pair<Translator>) -> Self {
        Self {
            diffusive_to_labelled: diffusive.labelled,
            diffusive_to_target: diffusive.target,
            translator_to_labelled: translators.labelled,
            translator_to_target: translators.target,
        }
    }

    /// The diffusive generator that makes images of this domain.
    pub fn diffusive_to(&self, domain: Domain) -> &DiffusiveGenerator {
        match domain {
            Domain::Labelled => &self.diffusive_to_labelled,
            Domain::Target => &self.diffusive_to_target,
        }
    }

    /// The translator into this domain.
    pub fn translator_to(&self, domain: Domain) -> &Translator {
        match domain {
            Domain::Labelled => &self.translator_to_labelled,
            Domain::Target => &self.translator_to_target,
        }
    }
}

/// The networks that judge images: for each domain one of diffusion steps and one of patches.
#[derive(Module, Debug)]
pub struct Discriminators {
    /// D1.
    time_labelled: TimeDiscriminator,
    /// D2.
    time_target: TimeDiscriminator,
    /// C1.
    patch_labelled: PatchDiscriminator,
    /// C2.
    patch_target: PatchDiscriminator,
}

impl Discriminators {
    /// New discriminators.
    pub fn new(config: &SynDiffConfig, init: &mut Init) -> Self {
        let size = DiscriminatorSize::for_crop(config.crop);
        Self {
            time_labelled: config.time_discriminator.init(size, init),
            time_target: config.time_discriminator.init(size, init),
            patch_labelled: config.patch_discriminator.init(init),
            patch_target: config.patch_discriminator.init(init),
        }
    }

    /// The same networks with some exchanged.
    pub fn with(self, time: Pair<TimeDiscriminator>, patch: Pair<PatchDiscriminator>) -> Self {
        Self {
            time_labelled: time.labelled,
            time_target: time.target,
            patch_labelled: patch.labelled,
            patch_target: patch.target,
        }
    }

    /// The discriminator of diffusion steps of this domain.
    pub fn time(&self, domain: Domain) -> &TimeDiscriminator {
        match domain {
            Domain::Labelled => &self.time_labelled,
            Domain::Target => &self.time_target,
        }
    }

    /// The discriminator of patches of this domain.
    pub fn patch(&self, domain: Domain) -> &PatchDiscriminator {
        match domain {
            Domain::Labelled => &self.patch_labelled,
            Domain::Target => &self.patch_target,
        }
    }
}
