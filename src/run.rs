//! A run folder: the settings, the split, the curves and the checkpoints of one training.
//!
//! ```text
//! RUN/config.toml       the resolved settings
//! RUN/data.json         the working pixel size and which image is in which part
//! RUN/metrics.csv       a row for each epoch
//! RUN/curves.png        the same as a picture
//! RUN/events/           TensorBoard
//! RUN/panels/           a picture of samples for each epoch
//! RUN/last/, RUN/best/  checkpoints
//! ```
//!
//! A checkpoint is written under a temporary name and renamed, so whatever interrupts it, a complete one is there.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, load_module, load_optimiser, save_module, save_optimiser};
use crate::config::TrainConfig;
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::files::{create_dir, read_json, write_atomically, write_json};
use crate::nn::{Init, Precision};
use crate::prepare::SplitNames;
use crate::random::Stream;
use crate::syndiff::{Discriminators, Generators, StepState, SynDiffConfig, TERM_NAMES};

/// Which checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Last,
    /// The one with the best validation score.
    Best,
}

impl Which {
    /// The folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
        }
    }
}

/// What a run knows of its data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunData {
    /// Micrometres per pixel at which the networks work; none when nothing was resampled.
    pub pixel_size_um: Option<f64>,
    /// Which image is in which part.
    pub split: Pair<SplitNames>,
    /// For an imported run, whether there is a generator into each domain; a trained run has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translates_to: Option<Pair<bool>>,
}

/// How far training has come. Random numbers are functions of seed and step, so this is the whole random state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Version of synlabel that wrote it.
    pub version: String,
    /// Seed of the run.
    pub seed: u64,
    /// Iterations done.
    pub step: u64,
    /// Epochs done in full; the learning rate follows from it.
    pub epoch: u64,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
    /// The best validation score so far and the epoch that has it.
    pub best: Option<(f64, u64)>,
    /// Sums of the loss terms in the epoch under way, and of how many iterations.
    pub sums: [(f64, u64); TERM_NAMES.len()],
}

impl Progress {
    /// Before the first iteration.
    pub fn new(seed: u64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            seed,
            step: 0,
            epoch: 0,
            seconds: 0.0,
            best: None,
            sums: [(0.0, 0); TERM_NAMES.len()],
        }
    }
}

const GENERATORS: &str = "generators.bpk";
const AVERAGE: &str = "average.bpk";
const DISCRIMINATORS: &str = "discriminators.bpk";
const GENERATOR_OPTIMISER: &str = "generator_optimiser.bpk";
const DISCRIMINATOR_OPTIMISER: &str = "discriminator_optimiser.bpk";

/// A run folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
    config: TrainConfig,
    data: RunData,
}

impl RunFolder {
    /// A new run folder with its settings in it. Refuses a folder that holds a run already.
    pub fn create(root: &Path, config: &TrainConfig, data: &RunData) -> Result<Self> {
        Self::refuse_existing(root)?;
        create_dir(root)?;
        let text = config.to_toml()?;
        write_atomically(&root.join("config.toml"), |path| fs::write(path, text).map_err(Error::io("write", path)))?;
        let run = Self { root: root.to_path_buf(), config: config.clone(), data: data.clone() };
        write_json(&root.join("data.json"), data)?;
        Ok(run)
    }

    /// Refuses a folder that holds a run already, and a path that is a file.
    pub fn refuse_existing(root: &Path) -> Result<()> {
        if root.is_file() {
            return Err(Error::run(root, "it is a file; give the name of a folder to make"));
        }
        if root.join("config.toml").exists() {
            return Err(Error::run(root, "it holds a run already; go on with --resume, or choose another folder"));
        }
        Ok(())
    }

    /// The run in a folder.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join("config.toml");
        if !path.is_file() {
            return Err(Error::run(root, "it holds no config.toml; give the folder that `synlabel train -o` made"));
        }
        let config = TrainConfig::of_run(&path)?;
        let data = read_json(&root.join("data.json"))?;
        Ok(Self { root: root.to_path_buf(), config, data })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The working resolution and the split.
    pub fn data(&self) -> &RunData {
        &self.data
    }

    /// Saves everything that training needs to go on.
    pub fn save(&self, which: Which, state: &StepState, progress: &Progress) -> Result<()> {
        checkpoint::write(&self.folder(which), progress, |folder| {
            save_module(state.generators.valid(), &folder.join(GENERATORS))?;
            save_module(state.average.clone(), &folder.join(AVERAGE))?;
            save_module(state.discriminators.valid(), &folder.join(DISCRIMINATORS))?;
            let optimisers = [
                (state.generator_optimiser.optimiser(), GENERATOR_OPTIMISER),
                (&state.discriminator_optimiser, DISCRIMINATOR_OPTIMISER),
            ];
            for (optimiser, name) in optimisers {
                save_optimiser(optimiser, &folder.join(name))?;
            }
            Ok(())
        })
    }

    /// Saves generators for use only, as an import does.
    pub fn save_generators(&self, generators: &Generators, progress: &Progress) -> Result<()> {
        checkpoint::write(&self.folder(Which::Best), progress, |folder| {
            save_module(generators.clone(), &folder.join(AVERAGE))
        })
    }

    fn folder(&self, which: Which) -> PathBuf {
        self.root.join(which.name())
    }

    /// How far the checkpoint had come; an error when it is missing or not whole.
    pub fn progress(&self, which: Which) -> Result<Progress> {
        checkpoint::progress(&self.folder(which))
    }

    /// Whether there is such a checkpoint.
    pub fn has(&self, which: Which) -> bool {
        checkpoint::exists(&self.folder(which))
    }

    /// Refuses a direction for which the run has no trained generator.
    pub fn check_direction(&self, to: Domain) -> Result<()> {
        match &self.data.translates_to {
            Some(known) if !known.of(to) => Err(Error::run(
                &self.root,
                format!("it was imported without a generator that makes {} images", to.name()),
            )),
            _ => Ok(()),
        }
    }

    /// The averaged generators of a checkpoint, without gradients.
    pub fn load_generators(&self, which: Which, device: &Device) -> Result<(Generators, Progress)> {
        let progress = self.progress(which)?;
        let generators = Generators::new(&self.config.networks, &mut self.init(device));
        let generators = load_module(generators, &self.folder(which).join(AVERAGE))?;
        Ok((generators, progress))
    }

    /// Everything that training needs to go on.
    pub fn load(&self, device: &Device) -> Result<(StepState, Progress)> {
        let progress = self.progress(Which::Last)?;
        let folder = self.folder(Which::Last);
        let mut state = self.new_state(device);
        state.generators = load_module(state.generators.valid(), &folder.join(GENERATORS))?.train();
        state.average = load_module(state.average, &folder.join(AVERAGE))?;
        state.discriminators = load_module(state.discriminators.valid(), &folder.join(DISCRIMINATORS))?.train();
        let load = |optimiser, name: &str| load_optimiser(optimiser, &folder.join(name));
        state.generator_optimiser =
            state.generator_optimiser.with_state(|optimiser| load(optimiser, GENERATOR_OPTIMISER))?;
        state.discriminator_optimiser = load(state.discriminator_optimiser, DISCRIMINATOR_OPTIMISER)?;
        state.step = progress.step;
        Ok((state, progress))
    }

    /// The state before the first iteration.
    pub fn new_state(&self, device: &Device) -> StepState {
        let mut init = self.init(device);
        let config: &SynDiffConfig = &self.config.networks;
        let generators = Generators::new(config, &mut init);
        let discriminators = Discriminators::new(config, &mut init);
        StepState::new(generators, discriminators, &self.config.step)
    }

    fn init(&self, device: &Device) -> Init {
        Init::new(Stream::new(self.config.seed).child("weights"), device, self.config.precision)
    }

    /// The same run, multiplying in another precision.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.config.precision = precision;
        self
    }
}
