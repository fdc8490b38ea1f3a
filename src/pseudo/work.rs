//! Doing the stages of a pipeline.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::Event;
use super::approach::Approach;
use super::labelling::{SetToLabel, Shown, confidence_path, judged, read_figures, read_label_map};
use super::models::{ModelToTrain, folds_of};
use super::pipeline::{Pipeline, TranslatorChoice, Work};
use super::targets::Target;
use super::translation::{Method, Orientation, SetImage, SetToTranslate, Translated, Translator, draw_path};
use crate::domain::Domain;
use crate::error::{Error, Result};
use crate::grey_levels::{GreyLevels, inverted};
use crate::imaging::{self, BitDepth, IGNORE, IntensityMap, LabelMap, Plane};
use crate::segmentation::data::{LabelledImage, LabelledSet, resize_labels};
use crate::segmentation::folds::{Fold, Folds};
use crate::segmentation::model::ModelFolder;
use crate::segmentation::normalisation::Intensities;
use crate::segmentation::open::{OpenOptions, open};
use crate::segmentation::predict::Segmenter;
use crate::stages::Outcome;
use crate::training::{self, Ending, Start};

impl Pipeline {
    pub(super) fn perform(
        &self,
        work: Work,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        match work {
            Work::Translator => self.train_translator(folder, stop, on_event),
            Work::TranslateLabelled => self.translate_labelled(folder, stop, on_event),
            Work::TranslateTarget => self.translate_target(Method::SynDiff, folder, stop, on_event),
            Work::TranslateTargetAlone => self.translate_target(Method::TranslatorAlone, folder, stop, on_event),
            Work::LabelledModel => {
                let set = self.labelled_at_work()?;
                let folds = folds_for(&set.images, self.options.folds);
                self.train_model(std::slice::from_ref(&set), set.images.len(), folds, folder, stop, on_event)
            }
            Work::CheckLabelled => self.check_labelled(folder, stop, on_event),
            Work::Proxy { round } => self.train_proxy(round, folder, stop, on_event),
            Work::CheckProxy => self.check_proxy(folder, stop, on_event),
            Work::Supervised => {
                let set = self.inputs.target_set(self.working_um()?)?;
                let folds = folds_for(&set.images, self.folds_of_supervised());
                self.train_model(std::slice::from_ref(&set), set.images.len(), folds, folder, stop, on_event)
            }
            Work::Label(approach) => self.label(approach, folder, stop, on_event),
        }
    }

    fn train_translator(
        &self,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let TranslatorChoice::Train(config) = &self.options.translator else {
            return Err(Error::Config("a translator that is given is not trained".into()));
        };
        let start = if folder.join("data.json").is_file() { Start::Resume } else { Start::New(config.clone()) };
        // Without its second file a run was cut short before it began.
        if start != Start::Resume && folder.join("config.toml").is_file() {
            let path = folder.join("config.toml");
            std::fs::remove_file(&path).map_err(Error::io("delete", &path))?;
        }
        let ending =
            training::train(folder, start, &self.device, stop, &mut |event| on_event(Event::Translator(event)))?;
        Ok(match ending {
            Ending::Finished => Outcome::Finished,
            Ending::Stopped => Outcome::Stopped,
        })
    }

    pub(super) fn translator(&self) -> Result<Translator> {
        let orientation = match self.options.translator {
            TranslatorChoice::Given { orientation, .. } => orientation,
            TranslatorChoice::Train(_) => Orientation::AsTrained,
        };
        Translator::open(&self.run_folder(), orientation, &self.device)
    }

    pub(super) fn labelled(&self) -> Result<&LabelledSet> {
        self.inputs.labelled.as_ref().ok_or_else(|| Error::Config("there are no labelled images".into()))
    }

    fn translate_labelled(
        &self,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let set = self.labelled()?;
        let image = |image: &LabelledImage| SetImage { name: image.name.clone(), pixel_size_um: image.pixel_size_um };
        let images: Vec<SetImage> = set.images.iter().map(image).collect();
        let job = SetToTranslate {
            translator: &self.translator()?,
            method: Method::SynDiff,
            to: Domain::Target,
            draws: self.options.draws,
            seed: self.options.seed,
            images: &images,
            plane: &|index| self.inputs.labelled_plane(&set.images[index]),
        };
        job.run(folder, stop, on_event)
    }

    fn translate_target(
        &self,
        method: Method,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let targets = &self.inputs.targets;
        let image = |target: &Target| SetImage { name: target.name.clone(), pixel_size_um: target.case.pixel_size_um };
        let images: Vec<SetImage> = targets.iter().map(image).collect();
        let job = SetToTranslate {
            translator: &self.translator()?,
            method,
            to: Domain::Labelled,
            draws: self.draws(method),
            seed: self.options.seed,
            images: &images,
            plane: &|index| targets[index].plane(),
        };
        job.run(folder, stop, on_event)
    }

    /// The translator alone draws nothing, so that one draw is all there is.
    fn draws(&self, method: Method) -> u64 {
        match method {
            Method::SynDiff => self.options.draws,
            Method::TranslatorAlone => 1,
        }
    }

    /// The labelled images to be worked on at the pixel size of the translator.
    fn labelled_at_work(&self) -> Result<LabelledSet> {
        let mut set = self.labelled()?.clone();
        set.pixel_size_um = self.working_um()?.or(set.pixel_size_um);
        Ok(set)
    }

    fn train_model(
        &self,
        versions: &[LabelledSet],
        in_folds: usize,
        folds: usize,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let job = ModelToTrain {
            versions,
            in_folds,
            plan: self.options.plan.as_ref(),
            folds,
            seconds: self.options.seconds,
            seed: self.options.seed,
        };
        job.run(folder, &self.device, stop, on_event)
    }

    /// Without held-out images a supervised model is scored on its own: by networks that did not learn from them, which
    /// takes two folds at least.
    fn folds_of_supervised(&self) -> usize {
        if self.inputs.any_held_out() { self.options.folds } else { self.options.folds.max(2) }
    }

    fn train_proxy(
        &self,
        round: u64,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let (mut versions, left_out) = self.translated_sets()?;
        if left_out > 0 {
            let all = left_out + versions[0].images.len();
            on_event(Event::Note(&format!(
                "{left_out} of {all} translated images lost their structures (below --min-structure) and are not learnt from"
            )));
        }
        let in_folds = versions[0].images.len();
        let folds = folds_for(&versions[0].images, self.options.folds);
        if round > 1 {
            let pseudo = self.confident_set(round - 1)?;
            versions.iter_mut().for_each(|version| version.images.extend(pseudo.iter().cloned()));
        }
        self.train_model(&versions, in_folds, folds, folder, stop, on_event)
    }

    /// The labelled images in the look of the target, for each draw, without those that lost their structures; and how
    /// many these are.
    fn translated_sets(&self) -> Result<(Vec<LabelledSet>, usize)> {
        let set = self.labelled()?;
        let folder = self.folder(Work::TranslateLabelled);
        let pixel_size_um = self.working_um()?;
        let least = self.options.min_structure;
        let mut kept = Vec::new();
        for image in &set.images {
            let figures = Translated::read(&folder, &image.name)?;
            if figures.structure().is_none_or(|structure| structure >= least) {
                kept.push((image, figures));
            }
        }
        if kept.is_empty() {
            return Err(Error::Config(format!(
                "no translation of a labelled image kept its structures to {least}: lower --min-structure, or train the \
                 translator for longer"
            )));
        }
        let version = |draw: u64| {
            let translated = kept.iter().map(|(image, figures)| {
                let plane = imaging::read(&draw_path(&folder, &image.name, draw))?.plane;
                let labels = without_weak_parts(&image.labels, [plane.height(), plane.width()], figures, least);
                Ok(LabelledImage {
                    intensities: Intensities::of_plane(&plane, &IntensityMap::full(BitDepth::Eight)),
                    depth: BitDepth::Eight,
                    plane,
                    labels,
                    pixel_size_um: pixel_size_um.or(image.pixel_size_um),
                    name: image.name.clone(),
                    subject: image.subject.clone(),
                })
            });
            Ok(LabelledSet::of(translated.collect::<Result<Vec<_>>>()?, set.classes.clone(), pixel_size_um))
        };
        let versions = (0..self.options.draws).map(version).collect::<Result<Vec<LabelledSet>>>()?;
        let left_out = set.images.len() - kept.len();
        Ok((versions, left_out))
    }

    /// Target images with the pseudo labels of a round; pixels with few votes are not judged. Held-out images are not
    /// among them.
    fn confident_set(&self, round: u64) -> Result<Vec<LabelledImage>> {
        let folder = self.folder(Work::Label(Approach::Tutorship { round }));
        let classes = self.labelled()?.classes.len();
        let least = self.options.min_confidence as f32;
        let mut images = Vec::new();
        for target in self.inputs.targets.iter().filter(|target| !target.is_held_out) {
            if read_figures(&folder, &target.name)?.quality.is_none() {
                continue;
            }
            let labels = read_label_map(&folder, &target.name, classes)?;
            let confidence = imaging::read(&confidence_path(&folder, &target.name))?.plane;
            let mut image = target.to_labelled(judged(&labels, &confidence, least))?;
            // Two names of one set must differ, whatever the labelled images are called.
            image.name = format!("target/{}", image.name);
            images.push(image);
        }
        Ok(images)
    }

    /// The model of the labelled look.
    pub(super) fn labelled_model(&self) -> Result<Segmenter> {
        let path = self.options.labelled_model.clone().unwrap_or_else(|| self.folder(Work::LabelledModel));
        let mut segmenter = open(&path, &OpenOptions::default(), &self.device)?.segmenter;
        if segmenter.pixel_size_um.is_none() {
            let labelled = self.inputs.labelled.as_ref().and_then(|set| set.pixel_size_um);
            segmenter.pixel_size_um = self.options.model_pixel_size_um.or(labelled);
        }
        Ok(segmenter)
    }

    fn label(
        &self,
        approach: Approach,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        if approach == Approach::Supervised {
            return self.label_supervised(folder, stop, on_event);
        }
        let segmenter = match approach {
            Approach::Tutorship { round } => {
                open(&self.folder(Work::Proxy { round }), &OpenOptions::default(), &self.device)?.segmenter
            }
            _ => self.labelled_model()?,
        };
        let levels = match approach {
            Approach::Matched | Approach::InvertedMatched => {
                let seen = |image: &LabelledImage| self.inputs.labelled_plane(image);
                GreyLevels::of(self.labelled()?.images.iter().map(seen).collect::<Result<Vec<Plane>>>()?.iter())
            }
            _ => None,
        };
        let matched = |plane: &Plane| levels.as_ref().map_or_else(|| plane.clone(), |levels| levels.matched(plane));
        let inverted_matched = |plane: &Plane| matched(&inverted(plane));
        let alone = self.folder(Work::TranslateTargetAlone);
        let translated = self.folder(Work::TranslateTarget);
        let pixel_size_um = self.working_um()?;
        let shown = match approach {
            Approach::Inverted => Shown::Changed(&inverted),
            Approach::Matched => Shown::Changed(&matched),
            Approach::InvertedMatched => Shown::Changed(&inverted_matched),
            Approach::TranslatorAlone => Shown::Translated { folder: &alone, draws: 1, pixel_size_um },
            Approach::Adaptation => Shown::Translated { folder: &translated, draws: self.options.draws, pixel_size_um },
            Approach::AsIs | Approach::Tutorship { .. } | Approach::Supervised => Shown::AsIs,
        };
        let targets: Vec<&Target> = self.inputs.targets.iter().collect();
        SetToLabel { targets: &targets, segmenter: &|_| &segmenter, shown }.run(folder, stop, on_event)
    }

    /// Each image by networks that did not learn from it.
    fn label_supervised(
        &self,
        folder: &Path,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let model = ModelFolder::open(&self.folder(Work::Supervised))?;
        let folds = &model.data().folds;
        let networks = self.networks_of_folds(model.root(), folds.count())?;
        let scored = self.inputs.scored();
        let segmenter = |target: &Target| network_for(&networks, folds, &target.name);
        SetToLabel { targets: &scored, segmenter: &segmenter, shown: Shown::AsIs }.run(folder, stop, on_event)
    }

    pub(super) fn networks_of_folds(&self, root: &Path, count: usize) -> Result<Vec<(Fold, Segmenter)>> {
        let network = |fold: Fold| {
            let options = OpenOptions { folds: vec![fold], ..OpenOptions::default() };
            Ok((fold, open(root, &options, &self.device)?.segmenter))
        };
        folds_of(count).into_iter().map(network).collect()
    }
}

/// As many folds as are wanted, and at most one for each subject.
fn folds_for(images: &[LabelledImage], wanted: usize) -> usize {
    let subjects: BTreeSet<&str> = images.iter().map(|image| image.subject.as_str()).collect();
    wanted.min(subjects.len()).max(1)
}

/// The network that was validated on an image; the first where it learnt from all.
pub(super) fn network_for<'a>(networks: &'a [(Fold, Segmenter)], folds: &Folds, image: &str) -> &'a Segmenter {
    let fold = folds.validation.iter().position(|names| names.iter().any(|name| name == image));
    let is_its = |(fold_of, _): &&(Fold, Segmenter)| fold.is_some_and(|fold| *fold_of == Fold::Number(fold));
    &networks.iter().find(is_its).unwrap_or(&networks[0]).1
}

/// The labels of an image at the size of its translation, unjudged where that lost the structures.
fn without_weak_parts(labels: &LabelMap, size: [usize; 2], figures: &Translated, least: f64) -> LabelMap {
    let mut classes = resize_labels(labels, size[0], size[1]).classes().to_vec();
    for crop in figures.crops.iter().filter(|crop| crop.structure < least) {
        for row in crop.origin[0]..crop.origin[0] + crop.size[0] {
            classes[row * size[1] + crop.origin[1]..][..crop.size[1]].fill(IGNORE);
        }
    }
    LabelMap::new(size[0], size[1], classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pseudo::translation::Crop;

    #[test]
    fn parts_that_lost_their_structures_are_not_judged() {
        let labels = LabelMap::new(2, 4, vec![1, 1, 2, 2, 0, 0, 1, 1]);
        let crop = |left, structure| Crop { origin: [0, left], size: [2, 2], structure };
        let figures = Translated {
            image: "a".into(),
            structure: None,
            back_ssim: None,
            back_l1: 0.0,
            crops: vec![crop(0, 0.2), crop(2, 0.8)],
        };
        let kept = without_weak_parts(&labels, [2, 4], &figures, 0.5);
        assert_eq!(kept.classes(), [IGNORE, IGNORE, 2, 2, IGNORE, IGNORE, 1, 1]);
        assert_eq!(without_weak_parts(&labels, [2, 4], &figures, 0.0), labels);
    }
}
