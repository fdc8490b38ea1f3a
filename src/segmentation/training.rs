//! Training of one fold: iterations, epochs, validation on whole images, checkpoints. Reports through [`Event`]s; prints
//! nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;

use super::batches::{Batches, TrainingCase};
use super::ensemble::{Ensemble, Network, Question};
use super::folds::{Fold, FoldParts};
use super::model::{FoldProgress, ModelFolder, Which};
use super::patch::Patch;
use super::plan::Plan;
use super::predict::largest_class;
use super::sliding::{Flow, SlidingWindow};
use super::step::{Batch, LOSS_NAMES, SegmenterState};
use crate::ahead::Ahead;
use crate::error::{Error, Result};
use crate::figures::Scale;
use crate::files::create_dir;
use crate::imaging::{IGNORE, LabelMap};
use crate::ledger::{ChartOf, Ledger, Row};
use crate::metrics::dice;
use crate::nn::Unet;
use crate::random::Stream;

/// What happens during training.
#[derive(Debug)]
pub enum Event<'a> {
    /// The network is built or loaded.
    Started {
        /// The fold.
        fold: Fold,
        /// Images to learn from and to validate on.
        images: [usize; 2],
        /// Numbers that are learnt.
        parameters: usize,
        /// Names of the labels 1, 2, ….
        classes: &'a [String],
    },
    /// An iteration is done.
    Step {
        /// Iterations done and planned.
        iterations: [u64; 2],
        /// Means over the epoch so far, in the order of [`LOSS_NAMES`].
        losses: [f64; LOSS_NAMES.len()],
    },
    /// An epoch is done and saved.
    Epoch {
        /// Epochs done and planned.
        epochs: [u64; 2],
        /// Dice of each class over the whole validation images.
        dice: &'a [Option<f64>],
        /// Whether its mean is the best so far.
        best: bool,
    },
}

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// It was asked to stop, and saved.
    Stopped,
}

/// The curves of a fold.
const CHARTS: [ChartOf; 2] = [
    ChartOf { title: "Losses (mean of an epoch; lower is better)", scale: Scale::Linear, prefix: "loss/" },
    ChartOf { title: "Dice on whole validation images (higher is better)", scale: Scale::Linear, prefix: "dice/" },
];

/// How far windows advance in validation: side by side they cost a quarter of prediction's, and epochs compare as well.
pub(super) const VALIDATION_STEP: f64 = 1.0;

/// The exponent of the decay of the learning rate.
const DECAY: f64 = 0.9;

/// Trains one fold of `model` until its epochs are done or `stop` is set; goes on where a checkpoint left off.
pub fn train_fold(
    model: &ModelFolder,
    fold: Fold,
    cases: &[TrainingCase],
    parts: &FoldParts,
    device: &Device,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Ending> {
    let plan = model.plan();
    let (state, progress) = if model.has(fold, Which::Last) {
        model.load(fold, device)?
    } else {
        (SegmenterState::new(model.new_network(fold, device), &plan.sgd()), FoldProgress::new(plan.epochs))
    };
    on_event(Event::Started {
        fold,
        images: [parts.train.len(), parts.validation.len()],
        parameters: state.network.num_params(),
        classes: &plan.classes,
    });
    let directory = model.fold_dir(fold);
    create_dir(&directory)?;
    let batches = batches(plan, fold, cases, &parts.train);
    let first = progress.iteration;
    let mut trainer = Trainer {
        ledger: Ledger::open(&directory, &CHARTS, progress.epoch, progress.iteration)?,
        validation: parts.validation.iter().map(|index| &cases[*index].image).collect(),
        head_strides: plan.network().head_strides(),
        model,
        fold,
        state,
        progress,
        device,
    };
    std::thread::scope(|scope| {
        let mut ahead = Ahead::new(scope, first, |iteration| batches.patches(iteration));
        trainer.run(&mut || ahead.take(), stop, on_event)
    })
}

pub(super) fn batches<'a>(plan: &Plan, fold: Fold, cases: &'a [TrainingCase], train: &[usize]) -> Batches<'a> {
    Batches {
        cases: train.iter().map(|index| &cases[*index]).collect(),
        batch_size: plan.batch_size,
        patch_size: plan.patch_size,
        foreground_oversampling: plan.foreground_oversampling,
        augmentation: plan.augmentation.clone(),
        stream: Stream::new(plan.seed).child("training").child(fold.folder().as_str()),
    }
}

struct Trainer<'a> {
    model: &'a ModelFolder,
    fold: Fold,
    validation: Vec<&'a Patch>,
    head_strides: Vec<[usize; 2]>,
    state: SegmenterState,
    progress: FoldProgress,
    ledger: Ledger,
    device: &'a Device,
}

impl Trainer<'_> {
    fn run(
        &mut self,
        next: &mut dyn FnMut() -> Vec<Patch>,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ending> {
        let per_epoch = self.model.plan().iterations_per_epoch;
        let earlier = self.progress.seconds;
        let began = Instant::now();
        while self.progress.epoch < self.progress.epochs {
            self.step(&next())?;
            self.progress.seconds = earlier + began.elapsed().as_secs_f64();
            let done = self.progress.iteration - self.progress.epoch * per_epoch;
            on_event(Event::Step {
                iterations: [self.progress.iteration, self.progress.epochs * per_epoch],
                losses: self.progress.sums.map(|sum| sum / done as f64),
            });
            if done == per_epoch {
                let (dice, best) = self.end_epoch(earlier, began)?;
                let epochs = [self.progress.epoch, self.progress.epochs];
                on_event(Event::Epoch { epochs, dice: &dice, best });
            } else if stop.load(Ordering::Relaxed) {
                self.model.save(self.fold, &self.state, &self.progress)?;
            }
            if stop.load(Ordering::Relaxed) && self.progress.epoch < self.progress.epochs {
                return Ok(Ending::Stopped);
            }
        }
        Ok(Ending::Finished)
    }

    fn step(&mut self, patches: &[Patch]) -> Result<()> {
        let classes = self.model.plan().outputs();
        let batch = Batch::new(patches, classes, &self.head_strides, self.device);
        let losses = self.state.advance(&batch, self.learning_rate());
        for ((name, loss), sum) in LOSS_NAMES.iter().zip(losses).zip(&mut self.progress.sums) {
            if !loss.is_finite() {
                return Err(Error::NotFinite { term: name, step: self.progress.iteration });
            }
            *sum += f64::from(loss);
        }
        self.progress.iteration += 1;
        Ok(())
    }

    /// The rate of this epoch: the plan's, times (1 − epoch/epochs)^0.9.
    fn learning_rate(&self) -> f64 {
        let done = self.progress.epoch as f64 / self.progress.epochs as f64;
        self.model.plan().learning_rate * (1.0 - done).powf(DECAY)
    }

    /// Validates, plans the rest of the time, saves and writes down.
    fn end_epoch(&mut self, earlier: f64, began: Instant) -> Result<(Vec<Option<f64>>, bool)> {
        let plan = self.model.plan();
        let dice = self.validate()?;
        let present: Vec<f64> = dice.iter().flatten().copied().collect();
        let mean = present.iter().sum::<f64>() / present.len().max(1) as f64;
        let rate = self.learning_rate();
        let losses = self.progress.sums.map(|sum| sum / plan.iterations_per_epoch as f64);
        self.progress.sums = [0.0; LOSS_NAMES.len()];
        self.progress.epoch += 1;
        self.progress.seconds = earlier + began.elapsed().as_secs_f64();
        if let Some(budget) = plan.time_budget_s {
            self.progress.epochs = epochs_within(budget, self.progress.seconds, self.progress.epoch);
        }
        let best = self.progress.best.is_none_or(|(best, _)| mean > best);
        if best {
            self.progress.best = Some((mean, self.progress.epoch));
            self.model.save_best(self.fold, &self.state, &self.progress)?;
        }
        self.ledger.add(self.row(rate, &losses, &dice, mean))?;
        self.ledger.flush()?;
        self.model.save(self.fold, &self.state, &self.progress)?;
        Ok((dice, best))
    }

    fn row(&self, rate: f64, losses: &[f64], dice: &[Option<f64>], mean: f64) -> Row {
        let progress = &self.progress;
        let mut row: Row = vec![
            ("epoch".into(), progress.epoch as f64),
            ("iteration".into(), progress.iteration as f64),
            ("seconds".into(), progress.seconds),
            ("learning_rate".into(), rate),
        ];
        row.extend(LOSS_NAMES.iter().zip(losses).map(|(name, loss)| (format!("loss/{name}"), *loss)));
        let classes = self.model.plan().classes.iter().zip(dice);
        row.extend(classes.map(|(name, dice)| (format!("dice/{name}"), dice.unwrap_or(f64::NAN))));
        row.push(("dice/mean".into(), mean));
        row
    }

    /// Dice of each class over the pixels of all validation images together; none where neither has the class.
    fn validate(&self) -> Result<Vec<Option<f64>>> {
        let plan = self.model.plan();
        let network = self.state.network.valid();
        let mut truth = Vec::new();
        let mut predicted = Vec::new();
        for image in &self.validation {
            let found = label(&network, image, plan, self.device)?;
            let judged = found.into_iter().zip(&image.labels).filter(|(_, label)| **label != IGNORE);
            for (found, label) in judged {
                predicted.push(found);
                truth.push(*label);
            }
        }
        let map = |classes: Vec<u8>| LabelMap::new(1, classes.len(), classes);
        let (predicted, truth) = (map(predicted), map(truth));
        Ok((1..plan.outputs()).map(|class| dice(&predicted, &truth, class as u8)).collect())
    }
}

/// The epochs in all that a time budget allows, from what those done took; at least those done.
fn epochs_within(budget: f64, seconds: f64, epoch: u64) -> u64 {
    let each = seconds / epoch as f64;
    // Half an epoch too much is as near to the budget as half too little.
    epoch + ((budget - seconds) / each).round().max(0.0) as u64
}

/// The classes that a network sees in a whole normalised image, by windows side by side, without mirroring.
pub fn label(network: &Unet, image: &Patch, plan: &Plan, device: &Device) -> Result<Vec<u8>> {
    struct Look<'a> {
        image: &'a Patch,
        ensemble: Ensemble,
        patch_size: [usize; 2],
        labels: Vec<u8>,
    }
    impl Flow for Look<'_> {
        fn rows(&mut self, rows: Range<usize>) -> Result<Vec<f32>> {
            let width = self.image.width;
            Ok(self.image.intensities[rows.start * width..rows.end * width].to_vec())
        }
        fn logits(&mut self, patches: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
            self.ensemble.ask(Question::Logits, &patches, self.patch_size)
        }
        fn take(&mut self, row: &[f32]) -> Result<()> {
            self.labels.extend(largest_class(row, self.ensemble.classes));
            Ok(())
        }
    }
    let ensemble = Ensemble {
        networks: vec![Network::Unet(Box::new(network.clone()), device.clone())],
        classes: plan.outputs(),
        mirror_axes: Vec::new(),
    };
    let mut look = Look { image, ensemble, patch_size: plan.patch_size, labels: Vec::new() };
    let window = SlidingWindow::new(plan.patch_size, VALIDATION_STEP);
    window.run([image.height, image.width], plan.outputs(), &mut look, &mut || ())?;
    Ok(look.labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::published::{HostTensors, export};
    use crate::segmentation::data::DataOptions;
    use crate::segmentation::folds::Folds;
    use crate::segmentation::model::ModelData;
    use crate::segmentation::plan::Fingerprint;

    /// Two images of stripes and a model for them of two epochs of three iterations.
    fn stripes(root: &std::path::Path) -> (ModelFolder, Vec<TrainingCase>) {
        let images = Fingerprint { sizes: vec![[32, 32]; 2], pixel_size_um: None, foreground: None };
        let mut plan = Plan::for_images(&images, vec!["stripe".into()], "", &Default::default()).unwrap();
        plan.features_per_stage = vec![4, 6];
        plan.strides = vec![[1, 1], [2, 2]];
        plan.convs_per_stage = vec![1, 1];
        plan.convs_per_stage_decoder = vec![1];
        (plan.patch_size, plan.batch_size, plan.epochs, plan.iterations_per_epoch) = ([16, 16], 2, 2, 3);
        let folds = Folds { validation: vec![vec!["a".into()], vec!["b".into()]], held_out: Vec::new() };
        let model = ModelFolder::create(root, &plan, &ModelData { options: DataOptions::default(), folds }).unwrap();
        let case = |period: usize| {
            let labels: Vec<u8> = (0..32 * 32).map(|i| u8::from(i % 32 % period < period / 2)).collect();
            let mut noise = Stream::new(period as u64);
            let intensities = labels.iter().map(|label| f32::from(*label) + 0.3 * noise.normal()).collect();
            TrainingCase::new(Patch::new(32, 32, intensities, labels), 2, &Stream::new(0))
        };
        (model, vec![case(8), case(12)])
    }

    /// Trains fold 0, stopping after each of these iterations and going on; the network at the end.
    fn trained(stops: &[u64]) -> (HostTensors, String) {
        let dir = tempfile::tempdir().unwrap();
        let (model, cases) = stripes(dir.path());
        let parts = model.data().folds.parts(Fold::Number(0), &["a".into(), "b".into()]).unwrap();
        for stop_at in stops.iter().map(|stop| Some(*stop)).chain([None]) {
            let stop = AtomicBool::new(false);
            let mut on_event = |event: Event<'_>| {
                if let Event::Step { iterations: [done, _], .. } = event {
                    stop.store(Some(done) == stop_at, Ordering::Relaxed);
                }
            };
            let ending =
                train_fold(&model, Fold::Number(0), &cases, &parts, &Device::flex(), &stop, &mut on_event).unwrap();
            assert_eq!(ending, if stop_at.is_some() { Ending::Stopped } else { Ending::Finished });
        }
        let network = model.load_network(Fold::Number(0), Which::Last, &Device::flex()).unwrap();
        let table = std::fs::read_to_string(model.fold_dir(Fold::Number(0)).join("metrics.csv")).unwrap();
        // All columns but the seconds.
        let columns = |line: &str| {
            line.split(',')
                .enumerate()
                .filter(|(i, _)| *i != 2)
                .map(|(_, c)| c.to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        (export(&network), table.lines().map(columns).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_training_that_was_stopped_ends_with_the_same_weights_bit_for_bit() {
        let whole = trained(&[]);
        assert_eq!(trained(&[2, 3, 4]), whole);
        assert!(whole.1.lines().count() == 3 && !whole.1.contains("NaN"), "{}", whole.1);
    }

    #[test]
    fn a_budget_ends_training_as_near_to_it_as_whole_epochs_allow() {
        // Epochs of 10 s.
        assert_eq!(epochs_within(100.0, 10.0, 1), 10);
        assert_eq!(epochs_within(104.0, 50.0, 5), 10);
        assert_eq!(epochs_within(106.0, 50.0, 5), 11);
        assert_eq!(epochs_within(100.0, 120.0, 12), 12);
        assert_eq!(epochs_within(1.0, 10.0, 1), 1);
    }
}
