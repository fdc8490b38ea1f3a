//! The settings of a training run: presets, a file over them, options over both. The resolved settings are saved with the
//! run and never needed again on the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::dataset::Format;
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::imaging::{Intensity, ReadOptions};
use crate::nn::{
    DiffusiveGeneratorConfig, PatchDiscriminatorConfig, Precision, TimeDiscriminatorConfig, TranslatorConfig,
};
use crate::syndiff::{Contrast, StepOptions, SynDiffConfig};

/// A set of settings with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The published settings, for a graphics card: crops of 512 px, full widths, 500 epochs.
    Paper,
    /// For a CPU: narrow networks on crops of 32 px; a night gives a useful translator.
    #[default]
    Small,
    /// For the phantoms: minutes.
    Demo,
}

/// The settings of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The preset that the other values started from.
    pub preset: Preset,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Passes over the data.
    pub epochs: u64,
    /// Crops of each domain in one iteration.
    pub batch: usize,
    /// Iterations in an epoch; 0 stands for the published rule, max(images of either domain)/batch.
    pub iterations_per_epoch: u64,
    /// Micrometres per pixel to which both domains are resampled; 0 stands for the coarser of the two domains' medians.
    pub pixel_size_um: f64,
    /// Draw crops of the emptier domain so that they are as dense as those of the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balance_crops: bool,
    /// Precision of products on graphics cards.
    pub precision: Precision,
    /// The images of each domain.
    pub data: Pair<DomainData>,
    /// Learning rates.
    pub learning_rate: LearningRateConfig,
    /// Loss weights and optimiser.
    pub step: StepOptions,
    /// What is tried out after each epoch.
    pub validation: ValidationConfig,
    /// The networks.
    pub networks: SynDiffConfig,
}

/// Where the images of a domain are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainData {
    /// The folder.
    pub dir: PathBuf,
    /// Micrometres per pixel of all its images; 0 stands for what sidecars and TIFF tags say.
    pub pixel_size_um: f64,
    /// Subjects whose images are the test part; without any, it is drawn.
    pub hold_out: Vec<String>,
    /// The folder's layout; without one, it is recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Which stored numbers become 0 and 1. It is kept with the run, which translates images that are read alike.
    pub intensity: Intensity,
    /// The page or slice of images that have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<usize>,
}

impl DomainData {
    /// How its images are read.
    pub fn reading(&self) -> ReadOptions {
        ReadOptions { page: self.page, intensity: self.intensity }
    }
}

/// Learning rates over the run: a cosine from the first to the last, one step an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRateConfig {
    /// Of generators and translators in the first epoch.
    pub generators: f64,
    /// Of discriminators in the first epoch.
    pub discriminators: f64,
    /// Of all, after the last epoch.
    pub last: f64,
}

impl Default for LearningRateConfig {
    fn default() -> Self {
        Self { generators: 1.6e-4, discriminators: 1e-4, last: 1e-5 }
    }
}

/// What is tried out after each epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Crops of each domain's validation images that are translated there and back.
    pub crops: usize,
    /// Crops of each domain's images that stand for the real look in the set distance.
    pub reference_crops: usize,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self { crops: 8, reference_crops: 32 }
    }
}

impl TrainConfig {
    /// The settings of a preset; the folders are still empty.
    pub fn preset(preset: Preset) -> Self {
        let paper = Self {
            preset,
            seed: 42,
            epochs: 500,
            batch: 1,
            iterations_per_epoch: 0,
            pixel_size_um: 0.0,
            balance_crops: false,
            precision: Precision::F32,
            data: Pair::default(),
            learning_rate: LearningRateConfig::default(),
            step: StepOptions::default(),
            validation: ValidationConfig::default(),
            networks: SynDiffConfig::default(),
        };
        match preset {
            Preset::Paper => paper,
            Preset::Small => Self {
                epochs: 200,
                batch: 4,
                iterations_per_epoch: 100,
                // Higher than published, for far fewer iterations.
                learning_rate: LearningRateConfig { generators: 8e-4, discriminators: 4e-4, last: 1e-5 },
                // Half-lives of the average: 70 iterations here, 700 in the paper's runs of 40 000.
                step: StepOptions { ema_decay: 0.99, ..paper.step.clone() },
                networks: narrow(32, 16, 24, 4),
                ..paper
            },
            Preset::Demo => Self {
                epochs: 5,
                batch: 4,
                iterations_per_epoch: 32,
                learning_rate: LearningRateConfig { generators: 1e-3, discriminators: 5e-4, last: 1e-4 },
                // The phantoms of one look are light where those of the other are dark.
                step: StepOptions {
                    ema_decay: 0.95,
                    contrast: Contrast::Inverted,
                    contrast_iterations: 32,
                    ..paper.step.clone()
                },
                networks: narrow(32, 8, 12, 2),
                ..paper
            },
        }
    }

    /// The settings that were saved with a run. Before runs had a rule for intensities, all was read over its full range.
    pub fn of_run(path: &Path) -> Result<Self> {
        let unsaid = |preset: Preset| {
            let mut config = Self::preset(preset);
            (config.data.labelled.intensity, config.data.target.intensity) = (Intensity::Full, Intensity::Full);
            config
        };
        unsaid(Preset::Paper).under_file(path, unsaid)
    }

    /// These settings with those of a TOML file over them.
    pub fn with_file(self, path: &Path) -> Result<Self> {
        self.under_file(path, Self::preset)
    }

    /// The same; where the file names a preset, it goes over `of_preset`.
    fn under_file(self, path: &Path, of_preset: impl Fn(Preset) -> Self) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let refuse = |error: String| Error::Config(format!("cannot use the settings in {}: {error}", path.display()));
        let over: Table = text.parse().map_err(|error: toml::de::Error| refuse(error.to_string()))?;
        let base = match over.get("preset").cloned() {
            Some(preset) => of_preset(preset.try_into().map_err(|error: toml::de::Error| refuse(error.to_string()))?),
            None => self,
        };
        let mut table = Table::try_from(&base).map_err(|error| refuse(error.to_string()))?;
        merge(&mut table, over);
        table.try_into().map_err(|error: toml::de::Error| refuse(error.to_string()))
    }

    /// The settings as they are saved with a run.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Config(format!("cannot write the settings: {error}")))
    }

    /// The same wherever the images lie.
    pub fn without_folders(&self) -> Self {
        let mut config = self.clone();
        (config.data.labelled.dir, config.data.target.dir) = (PathBuf::new(), PathBuf::new());
        config
    }

    /// Each setting by its full name, such as `data.target.hold_out`, as it stands in the file.
    pub fn to_lines(&self) -> Result<BTreeMap<String, String>> {
        let table =
            Table::try_from(self).map_err(|error| Error::Config(format!("cannot list the settings: {error}")))?;
        let mut lines = BTreeMap::new();
        collect_lines("", &table, &mut lines);
        Ok(lines)
    }

    /// Refuses settings that cannot work, before any image is read.
    pub fn check(&self) -> Result<()> {
        self.networks.check()?;
        let refuse = |sentence: String| Err(Error::Config(sentence));
        if self.epochs == 0 || self.batch == 0 || self.step.r1_every == 0 || self.validation.crops == 0 {
            return refuse("epochs, batch, r1_every and validation crops must be at least 1".into());
        }
        if self.batch > 4 && !self.batch.is_multiple_of(4) {
            return refuse(format!(
                "a batch of {} does not divide into the time discriminator's groups of 4: choose 1 to 4 or a multiple of 4",
                self.batch
            ));
        }
        let rates = &self.learning_rate;
        let positive = [rates.generators, rates.discriminators, rates.last].iter().all(|rate| *rate > 0.0);
        if !positive || !(0.0..1.0).contains(&self.step.ema_decay) {
            return refuse("learning rates must be above 0 and ema_decay in [0, 1)".into());
        }
        let sizes = [self.pixel_size_um, self.data.labelled.pixel_size_um, self.data.target.pixel_size_um];
        if sizes.iter().any(|size| !size.is_finite() || *size < 0.0) {
            return refuse("a pixel size must be above 0 micrometres".into());
        }
        if let Some(domain) = Domain::BOTH.iter().find(|domain| self.data.of(**domain).dir.as_os_str().is_empty()) {
            return refuse(format!("no folder of {} images is given (--{})", domain.name(), domain.name()));
        }
        Ok(())
    }

    /// The learning rate in an epoch: last + (first − last)·(1 + cos(π·epoch/epochs))/2.
    pub fn learning_rate_in(&self, epoch: u64, first: f64) -> f64 {
        let last = self.learning_rate.last;
        let progress = epoch as f64 / self.epochs as f64;
        last + (first - last) * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0
    }
}

/// Networks for a CPU: three levels, one block each.
fn narrow(crop: usize, generator: usize, translator: usize, translator_blocks: usize) -> SynDiffConfig {
    SynDiffConfig {
        crop,
        generator: DiffusiveGeneratorConfig {
            width: generator,
            multipliers: vec![1, 2, 2],
            blocks: 1,
            attention_at: vec![16],
            latent_dim: 32,
            style_dim: 64,
            mapping_layers: 2,
            ..DiffusiveGeneratorConfig::default()
        },
        translator: TranslatorConfig { width: translator, blocks: translator_blocks },
        time_discriminator: TimeDiscriminatorConfig { width: generator, time_dim: 64 },
        // Fewer halvings than published: of a small crop three leave so few patches that the norms of the last layers take
        // away what distinguishes it.
        patch_discriminator: PatchDiscriminatorConfig { width: translator, halvings: 2 },
        ..SynDiffConfig::default()
    }
}

fn collect_lines(prefix: &str, table: &Table, lines: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => collect_lines(&format!("{prefix}{key}."), inner, lines),
            value => drop(lines.insert(format!("{prefix}{key}"), value.to_string())),
        }
    }
}

/// Puts `over` over `table`, table by table.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(over)) => merge(inner, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_folders(preset: Preset) -> TrainConfig {
        let mut config = TrainConfig::preset(preset);
        config.data = Pair::from_fn(|domain| DomainData { dir: domain.name().into(), ..DomainData::default() });
        config
    }

    #[test]
    fn presets_pass_their_own_check() {
        for preset in [Preset::Paper, Preset::Small, Preset::Demo] {
            with_folders(preset).check().unwrap();
        }
    }

    #[test]
    fn settings_survive_being_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let config = with_folders(Preset::Paper);
        std::fs::write(&path, config.to_toml().unwrap()).unwrap();
        assert_eq!(TrainConfig::preset(Preset::Demo).with_file(&path).unwrap(), config);
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "epochs = 7\n[networks.generator]\nwidth = 32\n").unwrap();
        let config = TrainConfig::preset(Preset::Small).with_file(&path).unwrap();
        let mut expected = TrainConfig::preset(Preset::Small);
        expected.epochs = 7;
        expected.networks.generator.width = 32;
        assert_eq!(config, expected);
        std::fs::write(&path, "epoch = 7\n").unwrap();
        let error = TrainConfig::preset(Preset::Small).with_file(&path).unwrap_err().to_string();
        assert!(error.contains("mine.toml") && error.contains("unknown field `epoch`"), "{error}");
    }

    #[test]
    fn settings_without_sense_are_refused_with_a_remedy() {
        let refused = |change: fn(&mut TrainConfig)| {
            let mut config = with_folders(Preset::Small);
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|c| c.networks.crop = 66).contains("such as 68"));
        assert!(refused(|c| c.networks.crop = 100).contains("such as 128"));
        assert!(refused(|c| c.batch = 6).contains("multiple of 4"));
        assert!(refused(|c| c.data.target.dir = PathBuf::new()).contains("--target"));
        assert!(refused(|c| c.networks.generator.width = 6).contains("multiple of 4"));
    }

    #[test]
    fn settings_that_are_as_usual_may_be_left_out() {
        let mut config = with_folders(Preset::Small);
        let usual = config.to_lines().unwrap();
        assert!(!usual.contains_key("balance_crops") && !usual.contains_key("data.target.format"));
        config.balance_crops = true;
        config.data.target.format = Some(Format::NnUnet);
        let lines = config.to_lines().unwrap();
        assert_eq!(
            (&lines["balance_crops"], &lines["data.target.format"]),
            (&"true".to_string(), &"\"nnunet\"".into())
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config.to_toml().unwrap()).unwrap();
        assert_eq!(TrainConfig::preset(Preset::Demo).with_file(&path).unwrap(), config);
    }

    #[test]
    fn a_run_from_before_the_rule_for_intensities_reads_the_full_range() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let config = with_folders(Preset::Small);
        let text = config.to_toml().unwrap();
        assert_eq!(text.matches("intensity = \"auto\"").count(), 2);
        std::fs::write(&path, &text).unwrap();
        assert_eq!(TrainConfig::of_run(&path).unwrap(), config);
        std::fs::write(&path, text.replace("intensity = \"auto\"\n", "")).unwrap();
        let old = TrainConfig::of_run(&path).unwrap();
        assert_eq!([old.data.labelled.intensity, old.data.target.intensity], [Intensity::Full; 2]);
    }

    #[test]
    fn the_learning_rate_falls_from_first_to_last() {
        let config = TrainConfig::preset(Preset::Paper);
        assert_eq!(config.learning_rate_in(0, 1.6e-4), 1.6e-4);
        assert!((config.learning_rate_in(250, 1.6e-4) - 8.5e-5).abs() < 1e-12);
        assert!((config.learning_rate_in(500, 1.6e-4) - 1e-5).abs() < 1e-12);
    }
}
