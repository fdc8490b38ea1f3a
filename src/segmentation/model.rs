//! A folder of a segmentation model that `synlabel segment train` makes.
//!
//! ```text
//! MODEL/plan.toml            what network, how trained; may be edited before training
//! MODEL/data.json            how the data were read, which image is in which fold, and which are held out
//! MODEL/fold_K/metrics.csv   a row for each epoch
//! MODEL/fold_K/curves.png    the same as a picture
//! MODEL/fold_K/events/       TensorBoard
//! MODEL/fold_K/last/, best/  checkpoints
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::data::DataOptions;
use super::folds::{Fold, Folds};
use super::plan::Plan;
use super::step::{LOSS_NAMES, SegmenterState, SgdOptions};
use crate::checkpoint::{self, load_module, load_optimiser, save_module, save_optimiser};
use crate::error::{Error, Result};
use crate::files::{create_dir, write_atomically, write_json};
use crate::nn::{Init, Precision, Unet, UnetConfig};
use crate::random::Stream;

/// Which checkpoint of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Last,
    /// The one with the best Dice on whole validation images.
    Best,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
        }
    }
}

/// How far the training of a fold has come. Random numbers are functions of seed and iteration, so this is the whole
/// random state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldProgress {
    /// Version of synlabel that wrote it.
    pub version: String,
    /// Iterations done.
    pub iteration: u64,
    /// Epochs done in full.
    pub epoch: u64,
    /// Epochs planned; a time budget moves it.
    pub epochs: u64,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
    /// The best mean Dice so far and the epoch that has it.
    pub best: Option<(f64, u64)>,
    /// Sums of the losses in the epoch under way.
    pub sums: [f64; LOSS_NAMES.len()],
}

impl FoldProgress {
    /// Before the first iteration.
    pub fn new(epochs: u64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            iteration: 0,
            epoch: 0,
            epochs,
            seconds: 0.0,
            best: None,
            sums: [0.0; LOSS_NAMES.len()],
        }
    }
}

const PLAN: &str = "plan.toml";
const DATA: &str = "data.json";
const NETWORK: &str = "network.bpk";
const OPTIMISER: &str = "optimiser.bpk";

/// What a model knows of the data it was trained on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelData {
    /// How they were read.
    pub options: DataOptions,
    /// Which image is in which fold.
    pub folds: Folds,
}

/// A model folder.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    root: PathBuf,
    plan: Plan,
    data: ModelData,
}

impl ModelFolder {
    /// A new model folder with its plan and what it knows of the data; both are replaced where they are there.
    pub fn create(root: &Path, plan: &Plan, data: &ModelData) -> Result<Self> {
        create_dir(root)?;
        let text = plan.to_toml()?;
        write_atomically(&root.join(PLAN), |path| fs::write(path, text).map_err(Error::io("write", path)))?;
        write_json(&root.join(DATA), data)?;
        Ok(Self { root: root.to_path_buf(), plan: plan.clone(), data: data.clone() })
    }

    /// Whether a folder holds a plan of ours.
    pub fn is_one(root: &Path) -> bool {
        root.join(PLAN).is_file()
    }

    /// The model in a folder.
    pub fn open(root: &Path) -> Result<Self> {
        if !Self::is_one(root) {
            let reason = format!("it holds no {PLAN}; give the folder that `synlabel segment train -o` made");
            return Err(Error::run(root, reason));
        }
        let plan = Plan::from_file(&root.join(PLAN))?;
        let path = root.join(DATA);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let data = serde_json::from_str(&text)
            .map_err(|error| Error::run(&path, format!("it is damaged ({error}); restore it or train again")))?;
        Ok(Self { root: root.to_path_buf(), plan, data })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What network, how trained.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is known of the data.
    pub fn data(&self) -> &ModelData {
        &self.data
    }

    /// The folder of a fold.
    pub fn fold_dir(&self, fold: Fold) -> PathBuf {
        self.root.join(fold.folder())
    }

    /// The folds that have a checkpoint, in order.
    pub fn trained_folds(&self) -> Vec<Fold> {
        let numbers = (0..self.data.folds.count()).map(Fold::Number).chain([Fold::All]);
        numbers.filter(|fold| self.has(*fold, Which::Best)).collect()
    }

    /// Whether a fold has such a checkpoint.
    pub fn has(&self, fold: Fold, which: Which) -> bool {
        checkpoint::exists(&self.checkpoint_dir(fold, which))
    }

    /// How far a fold has come.
    pub fn progress(&self, fold: Fold, which: Which) -> Result<FoldProgress> {
        checkpoint::progress(&self.checkpoint_dir(fold, which))
    }

    /// Saves everything that training needs to go on.
    pub fn save(&self, fold: Fold, state: &SegmenterState, progress: &FoldProgress) -> Result<()> {
        checkpoint::write(&self.checkpoint_dir(fold, Which::Last), progress, |folder| {
            save_module(state.network.valid(), &folder.join(NETWORK))?;
            save_optimiser(&state.optimiser, &folder.join(OPTIMISER))
        })
    }

    /// Saves the network as the best so far.
    pub fn save_best(&self, fold: Fold, state: &SegmenterState, progress: &FoldProgress) -> Result<()> {
        checkpoint::write(&self.checkpoint_dir(fold, Which::Best), progress, |folder| {
            save_module(state.network.valid(), &folder.join(NETWORK))
        })
    }

    /// A trained network, without gradients.
    pub fn load_network(&self, fold: Fold, which: Which, device: &Device) -> Result<Unet> {
        self.progress(fold, which)?;
        load_module(self.new_network(fold, device), &self.checkpoint_dir(fold, which).join(NETWORK))
    }

    /// Everything that training needs to go on.
    pub fn load(&self, fold: Fold, device: &Device) -> Result<(SegmenterState, FoldProgress)> {
        let progress = self.progress(fold, Which::Last)?;
        let folder = self.checkpoint_dir(fold, Which::Last);
        let network = load_module(self.new_network(fold, device), &folder.join(NETWORK))?;
        let mut state = SegmenterState::new(network, &self.plan.sgd());
        state.optimiser = load_optimiser(self.plan.sgd().optimiser(), &folder.join(OPTIMISER))?;
        Ok((state, progress))
    }

    /// The network of a fold before the first iteration.
    pub fn new_network(&self, fold: Fold, device: &Device) -> Unet {
        let stream = Stream::new(self.plan.seed).child("weights").child(fold.folder().as_str());
        self.plan.network().init(&mut Init::new(stream, device, Precision::F32))
    }

    fn checkpoint_dir(&self, fold: Fold, which: Which) -> PathBuf {
        self.fold_dir(fold).join(which.name())
    }
}

impl Plan {
    /// The shape of its network.
    pub fn network(&self) -> UnetConfig {
        UnetConfig {
            kernels: vec![[self.kernel_size; 2]; self.features_per_stage.len()],
            blocks: self.convs_per_stage.clone(),
            decoder_convs: self.convs_per_stage_decoder.clone(),
            ..UnetConfig::plain(self.outputs(), self.features_per_stage.clone(), self.strides.clone())
        }
    }

    /// How its weights move.
    pub fn sgd(&self) -> SgdOptions {
        SgdOptions { momentum: self.momentum, weight_decay: self.weight_decay }
    }
}
