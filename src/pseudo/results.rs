//! What the folders of a finished pipeline hold, gathered to be told and shown.

use std::path::PathBuf;

use serde::Serialize;

use super::approach::Approach;
use super::checks::Checked;
use super::labelling::{Labelled, read_figures, read_label_map};
use super::pipeline::{Pipeline, Work};
use super::scoring::Scored;
use super::targets::Target;
use super::translation::Translated;
use crate::error::Result;
use crate::metrics::{Summary, dice};
use crate::segmentation::masks::described_classes;
use crate::segmentation::model::ModelFolder;

/// The masks of one approach.
#[derive(Debug, Clone, Serialize)]
pub struct ApproachResult {
    /// The approach.
    pub approach: Approach,
    /// The folder of its masks.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Names of the labels 1, 2, ….
    pub classes: Vec<String>,
    /// What is known of each image's masks without the truth.
    pub images: Vec<Labelled>,
    /// The scores against the truth, where there is some.
    pub scored: Option<Scored>,
}

impl ApproachResult {
    /// The mean quality of the images in which something was found.
    pub fn quality(&self) -> Option<Summary> {
        Summary::of(&self.images.iter().filter_map(|image| image.quality).collect::<Vec<_>>())
    }

    /// Its mean Dice against the truth, where there is some.
    pub fn dice(&self) -> Option<f64> {
        self.scored.as_ref()?.mean_dice()
    }
}

/// The results of a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Each approach, in the order in which they were taken.
    pub approaches: Vec<ApproachResult>,
    /// The translations of the labelled images.
    pub translated_labelled: Vec<Translated>,
    /// The translations of the target images.
    pub translated_target: Vec<Translated>,
    /// Networks of the proxy model: one for each fold, none when there is no proxy.
    pub proxies: usize,
    /// Which objects of the labelled images the proxies found in the translations: in those that they did not learn from
    /// where there are several.
    pub checked_by_proxy: Vec<Checked>,
    /// Which of them the model of the labelled look found in there-and-back translations.
    pub checked_there_and_back: Vec<Checked>,
    /// Mean Dice, over images and classes, between the masks of adaptation and of tutorship.
    pub agreement_of_strategies: Option<f64>,
}

impl Results {
    /// Reads what the stages left.
    pub(super) fn gather(pipeline: &Pipeline) -> Result<Self> {
        let works = pipeline.works();
        let labelled: Vec<&str> =
            pipeline.inputs.labelled.iter().flat_map(|set| &set.images).map(|image| image.name.as_str()).collect();
        let targets: Vec<&str> = pipeline.inputs.targets.iter().map(|target| target.name.as_str()).collect();
        let translated = |work: Work, names: &[&str]| {
            let folder = pipeline.folder(work);
            let names = names.iter().filter(|_| works.contains(&work));
            names.map(|name| Translated::read(&folder, name)).collect::<Result<Vec<_>>>()
        };
        let checked = |work: Work| {
            let folder = pipeline.folder(work);
            let names = labelled.iter().filter(|_| works.contains(&work));
            names.map(|name| Checked::read(&folder, name)).collect::<Result<Vec<_>>>()
        };
        let approaches = works.iter().filter_map(|work| match work {
            Work::Label(approach) => Some(gather_approach(pipeline, *approach)),
            _ => None,
        });
        let approaches = approaches.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            proxies: proxies(pipeline)?,
            agreement_of_strategies: agreement(&approaches, &targets)?,
            approaches,
            translated_labelled: translated(Work::TranslateLabelled, &labelled)?,
            translated_target: translated(Work::TranslateTarget, &targets)?,
            checked_by_proxy: checked(Work::CheckProxy)?,
            checked_there_and_back: checked(Work::CheckLabelled)?,
        })
    }

    /// The result of an approach.
    pub fn of(&self, approach: Approach) -> Option<&ApproachResult> {
        self.approaches.iter().find(|result| result.approach == approach)
    }
}

fn proxies(pipeline: &Pipeline) -> Result<usize> {
    if !pipeline.works().contains(&Work::CheckProxy) {
        return Ok(0);
    }
    Ok(ModelFolder::open(&pipeline.folder(Work::Proxy { round: 1 }))?.trained_folds().len())
}

fn gather_approach(pipeline: &Pipeline, approach: Approach) -> Result<ApproachResult> {
    let folder = pipeline.folder(Work::Label(approach));
    let classes = described_classes(&folder)?;
    let scored = pipeline.inputs.scored();
    let labelled: Vec<&Target> = match approach {
        Approach::Supervised => scored.clone(),
        _ => pipeline.inputs.targets.iter().collect(),
    };
    let images = labelled.iter().map(|target| read_figures(&folder, &target.name)).collect::<Result<Vec<_>>>()?;
    let scored = match &pipeline.inputs.truth {
        Some(truth) => Some(Scored::of(&folder, &classes, &scored, truth, &images)?),
        None => None,
    };
    Ok(ApproachResult { approach, folder, classes, images, scored })
}

/// Mean Dice between the masks of adaptation and those of tutorship, two ways that share the translator only.
fn agreement(approaches: &[ApproachResult], targets: &[&str]) -> Result<Option<f64>> {
    let find = |approach| approaches.iter().find(|result| result.approach == approach);
    let (Some(a), Some(b)) = (find(Approach::Adaptation), find(Approach::Tutorship { round: 1 })) else {
        return Ok(None);
    };
    if a.classes != b.classes {
        return Ok(None);
    }
    let mut values = Vec::new();
    for name in targets {
        let read = |result: &ApproachResult| read_label_map(&result.folder, name, result.classes.len());
        let (a_labels, b_labels) = (read(a)?, read(b)?);
        values.extend((1..=a.classes.len()).filter_map(|class| dice(&a_labels, &b_labels, class as u8)));
    }
    Ok(Summary::of(&values).map(|summary| summary.mean))
}
