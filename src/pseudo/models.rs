//! Training the segmentation models of a pipeline: plan, folds, time.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;

use super::Event;
use crate::error::{Error, Result};
use crate::segmentation::batches::TrainingCase;
use crate::segmentation::budget;
use crate::segmentation::data::{DataOptions, LabelledSet};
use crate::segmentation::folds::{Fold, FoldParts, Folds};
use crate::segmentation::model::{ModelData, ModelFolder};
use crate::segmentation::plan::{Plan, PlanOptions};
use crate::segmentation::training::{Ending, train_fold};
use crate::stages::Outcome;

/// A model to train.
pub struct ModelToTrain<'a> {
    /// What to learn from: several versions of one set, such as draws of its translation, with the same images in the
    /// same order. Fold k learns from version k, around and around, so that an ensemble of folds is one of draws too.
    pub versions: &'a [LabelledSet],
    /// Of the images, how many come first that are parted into folds; those after them are only learnt from.
    pub in_folds: usize,
    /// The plan, else one made from the images.
    pub plan: Option<&'a Plan>,
    /// Number of folds; one network that learns from all images and is validated on them when 1.
    pub folds: usize,
    /// Seconds for all folds together; none trains all epochs of the plan.
    pub seconds: Option<f64>,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// The folds of a model with so many of them.
pub fn folds_of(count: usize) -> Vec<Fold> {
    if count == 1 { vec![Fold::All] } else { (0..count).map(Fold::Number).collect() }
}

impl ModelToTrain<'_> {
    /// Trains in `folder`, or goes on with what is in it.
    pub fn run(
        &self,
        folder: &Path,
        device: &Device,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let mut model =
            if ModelFolder::is_one(folder) { ModelFolder::open(folder)? } else { self.planned(folder, device)? };
        let names: Vec<String> = self.versions[0].images.iter().map(|image| image.name.clone()).collect();
        let folds = folds_of(self.folds);
        let parts = folds.iter().map(|fold| self.parts(&model, *fold, &names)).collect::<Result<Vec<FoldParts>>>()?;
        let mut cases: Vec<Vec<TrainingCase>> = vec![self.versions[0].cases(model.plan())];
        if let Some(seconds) = self.seconds.filter(|_| model.plan().time_budget_s.is_none()) {
            let pace = budget::measure(&model, &cases[0], &parts[0], device)?;
            let mut plan = model.plan().clone();
            budget::fit(&mut plan, pace, seconds / folds.len() as f64);
            model = ModelFolder::create(folder, &plan, model.data())?;
        }
        cases.extend(self.versions[1..].iter().map(|version| version.cases(model.plan())));
        for (number, (fold, parts)) in folds.iter().zip(&parts).enumerate() {
            let cases = &cases[number % cases.len()];
            let mut pass_on = |event: crate::segmentation::training::Event<'_>| on_event(Event::Model(event));
            if train_fold(&model, *fold, cases, parts, device, stop, &mut pass_on)? == Ending::Stopped {
                return Ok(Outcome::Stopped);
            }
        }
        Ok(Outcome::Finished)
    }

    fn planned(&self, folder: &Path, device: &Device) -> Result<ModelFolder> {
        let set = &self.versions[0];
        let mut plan = match self.plan {
            Some(plan) => plan.clone(),
            None => {
                let is_cpu = *device == Device::flex();
                let options = if is_cpu { PlanOptions::for_processor() } else { PlanOptions::default() };
                Plan::for_images(&set.fingerprint(), set.classes.clone(), &set.channel, &options)?
            }
        };
        if plan.classes != set.classes {
            return Err(Error::Config(format!(
                "the plan is for the classes {}, and the labelled images have {}; edit the plan or leave it out",
                plan.classes.join(", "),
                set.classes.join(", ")
            )));
        }
        plan.seed = self.seed;
        plan.time_budget_s = None;
        plan.check()?;
        let folds = Folds::by_subject(&set.subjects()[..self.in_folds], self.folds, &[], self.seed)
            .map_err(|reason| Error::Config(format!("cannot part the images into folds: {reason}")))?;
        ModelFolder::create(folder, &plan, &ModelData { options: DataOptions::default(), folds })
    }

    fn parts(&self, model: &ModelFolder, fold: Fold, names: &[String]) -> Result<FoldParts> {
        let parts = model.data().folds.parts(fold, &names[..self.in_folds]);
        let mut parts = parts.ok_or_else(|| Error::run(model.root(), "its images are not those it was begun with"))?;
        parts.train.extend(self.in_folds..names.len());
        Ok(parts)
    }
}
