//! Making a plan fit a time budget: nnU-Net's thousand epochs take a day on a card and months on a processor.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;

use super::batches::TrainingCase;
use super::folds::{Fold, FoldParts};
use super::model::ModelFolder;
use super::patch::Patch;
use super::plan::Plan;
use super::sliding::SlidingWindow;
use super::step::{Batch, SegmenterState};
use super::training::{VALIDATION_STEP, batches, label};
use crate::error::Result;

/// Epochs that a budget is parted into: enough points on the curves and steps of the learning rate.
const EPOCHS: f64 = 40.0;
/// The most of an epoch that validation may take.
const VALIDATION_SHARE: f64 = 0.2;
/// Iterations that are timed, after one that warms up.
const TIMED: u64 = 3;

/// What a computer needs for a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Seconds of an iteration.
    pub iteration: f64,
    /// Seconds of validation on whole images.
    pub validation: f64,
}

/// Times a few iterations and a few windows, on a network that is thrown away.
pub fn measure(model: &ModelFolder, cases: &[TrainingCase], parts: &FoldParts, device: &Device) -> Result<Pace> {
    let plan = model.plan();
    let batches = batches(plan, Fold::All, cases, &parts.train);
    let mut state = SegmenterState::new(model.new_network(Fold::All, device), &plan.sgd());
    let mut iterate = |number| {
        let patches = batches.patches(number);
        let batch = Batch::new(&patches, plan.outputs(), &plan.network().head_strides(), device);
        state.advance(&batch, 0.0);
    };
    iterate(0);
    let began = Instant::now();
    (1..=TIMED).for_each(&mut iterate);
    let iteration = began.elapsed().as_secs_f64() / TIMED as f64;

    let window = SlidingWindow::new(plan.patch_size, VALIDATION_STEP);
    let windows = |image: &Patch| window.count([image.height, image.width]);
    // Four windows, as many at a time as in earnest.
    let sample = Patch::background(plan.patch_size[0], 4 * plan.patch_size[1]);
    let network = state.network.valid();
    let began = Instant::now();
    label(&network, &sample, plan, device)?;
    let each = began.elapsed().as_secs_f64() / windows(&sample) as f64;
    let all: usize = parts.validation.iter().map(|index| windows(&cases[*index].image)).sum();
    Ok(Pace { iteration, validation: each * all as f64 })
}

/// Sets epochs and their length so that training ends after about `seconds`; the learning rate then decays in time.
pub fn fit(plan: &mut Plan, pace: Pace, seconds: f64) {
    let epoch = (seconds / EPOCHS).max(pace.validation / VALIDATION_SHARE).min(seconds);
    let iterations = ((epoch - pace.validation) / pace.iteration).floor().max(1.0);
    plan.iterations_per_epoch = (iterations as u64).min(plan.iterations_per_epoch);
    let epoch = plan.iterations_per_epoch as f64 * pace.iteration + pace.validation;
    plan.epochs = ((seconds / epoch).round() as u64).max(1);
    plan.time_budget_s = Some(seconds);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::plan::Fingerprint;

    fn planned(iteration: f64, validation: f64, seconds: f64) -> [u64; 2] {
        let images = Fingerprint { sizes: vec![[64, 64]], pixel_size_um: None, foreground: None };
        let mut plan = Plan::for_images(&images, vec!["a".into()], "", &Default::default()).unwrap();
        fit(&mut plan, Pace { iteration, validation }, seconds);
        [plan.epochs, plan.iterations_per_epoch]
    }

    #[test]
    fn a_budget_becomes_epochs_with_little_validation() {
        // 40 epochs of 10 s: 9 s for iterations.
        assert_eq!(planned(0.5, 1.0, 400.0), [40, 18]);
        // Validation of 10 s asks for epochs of 50 s.
        assert_eq!(planned(1.0, 10.0, 400.0), [8, 40]);
        // A fast computer keeps nnU-Net's 250 iterations and does more epochs.
        assert_eq!(planned(0.001, 0.0, 400.0), [1600, 250]);
        // Too little time for anything is still one epoch.
        assert_eq!(planned(10.0, 30.0, 5.0), [1, 1]);
    }
}
