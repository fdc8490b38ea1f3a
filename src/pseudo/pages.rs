//! The report of a pipeline: what is said, shown and listed on its page.

mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::tables::tables;
use super::labelling::{Labelled, confidence_path, read_label_map};
use super::pipeline::{Pipeline, Work};
use super::results::{ApproachResult, Results};
use super::targets::Target;
use super::translation::{Translated, back_path, draw_path};
use super::verdict::{SUSPICIOUS_STRUCTURE, Verdict};
use crate::error::Result;
use crate::imaging::{self, LabelMap, Plane, resize};
use crate::prepare::to_working_size;
use crate::report::{Curve, Figure, Gallery, LookFirst, Overlay, Panel, Picture, Report, Reviewed, Setting};
use crate::segmentation::data::{LabelledImage, resize_labels};
use crate::structure::{Outlines, disagreement_map, outlines};

/// The most images that a gallery shows: a page of more is slow to open.
const SHOWN: usize = 80;
/// The most images that are shown side by side for all approaches.
const COMPARED: usize = 12;

/// The page of a pipeline.
pub fn page(pipeline: &Pipeline, results: &Results, verdict: &Verdict) -> Result<Report> {
    let chosen = results.of(verdict.approach).unwrap_or(&results.approaches[0]);
    let mut galleries = vec![target_gallery(pipeline, results, chosen)?];
    if results.approaches.len() > 1 {
        galleries.push(approaches_gallery(pipeline, results, chosen)?);
    }
    if !results.translated_labelled.is_empty() {
        galleries.push(labelled_gallery(pipeline, results)?);
    }
    let look_first = verdict.look_first.iter();
    Ok(Report {
        title: title(pipeline),
        answer: verdict.sentences.clone(),
        look_first: look_first
            .map(|look| LookFirst { image: look.image.clone(), reason: look.reason.clone() })
            .collect(),
        classes: std::iter::once("background".to_string()).chain(chosen.classes.iter().cloned()).collect(),
        galleries,
        tables: tables(results, chosen),
        curves: curves(pipeline)?,
        notes: notes(pipeline, results, chosen),
        settings: settings(pipeline, verdict)?,
    })
}

fn title(pipeline: &Pipeline) -> String {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let target = name(&pipeline.options.inputs.target);
    match &pipeline.options.inputs.labelled {
        Some(labelled) => format!("Masks of {target} from {}", name(labelled)),
        None => format!("Masks of {target}"),
    }
}

/// The images of lowest quality, at most [`SHOWN`] of them.
fn shown<'a>(pipeline: &'a Pipeline, images: &'a [Labelled]) -> Vec<(&'a Target, &'a Labelled)> {
    let mut images: Vec<&Labelled> = images.iter().collect();
    images.sort_by(|a, b| a.quality.unwrap_or(-1.0).total_cmp(&b.quality.unwrap_or(-1.0)));
    let find = |figures: &'a Labelled| pipeline.inputs.targets.iter().find(|target| target.name == figures.image);
    images.into_iter().take(SHOWN).filter_map(|figures| Some((find(figures)?, figures))).collect()
}

fn target_gallery(pipeline: &Pipeline, results: &Results, chosen: &ApproachResult) -> Result<Gallery> {
    let panels = shown(pipeline, &chosen.images).into_iter().map(|(target, figures)| {
        let translated = results.translated_target.iter().find(|translated| translated.image == target.name);
        Ok(Panel {
            name: target.name.clone(),
            score: figures.quality,
            figures: target_figures(chosen, figures, translated),
            warnings: target_warnings(figures, translated),
            pictures: target_pictures(pipeline, chosen, target, translated)?,
        })
    });
    Ok(Gallery {
        title: "Target images".into(),
        intro: format!(
            "Masks by {}. The score is the Dice that is to be expected by the votes of draws, networks and mirrored looks{}; \
             the true Dice may be lower, since networks can be wrong together.",
            chosen.approach.title(),
            if chosen.approach.translates_target() { ", and how far the translation kept its structures" } else { "" }
        ),
        panels: panels.collect::<Result<_>>()?,
        reviewed: Reviewed::Yes,
    })
}

fn figure(name: impl Into<String>, value: Option<f64>) -> Figure {
    Figure { name: name.into(), value }
}

fn target_figures(chosen: &ApproachResult, figures: &Labelled, translated: Option<&Translated>) -> Vec<Figure> {
    let mut shown = Vec::new();
    if let Some(scored) = &chosen.scored {
        let of_image = scored.scores.images.iter().filter(|scores| scores.image == figures.image);
        shown.extend(of_image.map(|scores| figure(format!("true Dice {}", scores.class), scores.figures.dice)));
    }
    let expected = chosen.classes.iter().zip(&figures.expected_dice);
    shown.extend(expected.map(|(class, dice)| figure(format!("expected Dice {class}"), *dice)));
    shown.push(figure("mean confidence", Some(figures.confidence)));
    let coverage = chosen.classes.iter().zip(&figures.coverage);
    shown.extend(coverage.map(|(class, part)| figure(format!("part {class}"), Some(*part))));
    if let Some(translated) = translated {
        shown.push(figure("structure kept", translated.structure()));
        shown.push(figure("there-and-back SSIM", translated.back_ssim));
    }
    shown
}

fn target_warnings(figures: &Labelled, translated: Option<&Translated>) -> Vec<String> {
    let mut warnings = Vec::new();
    if figures.quality.is_none() {
        warnings.push("nothing was found in this image".into());
    }
    warnings.extend(translated.and_then(structure_warning));
    warnings
}

fn structure_warning(translated: &Translated) -> Option<String> {
    let structure = translated.structure()?;
    let weak = translated.crops.iter().filter(|crop| crop.structure < SUSPICIOUS_STRUCTURE).count();
    if structure < SUSPICIOUS_STRUCTURE {
        return Some(format!("the translation lost structures ({structure:.2})"));
    }
    let all = translated.crops.len();
    (weak > 0).then(|| format!("the translation lost structures in {weak} of {all} parts of the image"))
}

/// Sides of a picture in pixels, about as large as the page shows it; all pictures of a page are in memory at once.
const SIDE: usize = 720;

/// A picture, reduced where it is large.
fn picture(caption: &str, grey: Plane, overlay: Option<Overlay>) -> Picture {
    let longest = grey.height().max(grey.width());
    // The page thickens outlines before it reduces them.
    if longest <= SIDE || matches!(overlay, Some(Overlay::Outlines { .. })) {
        return Picture { caption: caption.into(), grey, overlay };
    }
    let [height, width] = [grey.height(), grey.width()].map(|side| (side * SIDE / longest).max(1));
    let overlay = overlay.map(|overlay| match overlay {
        Overlay::Labels(labels) => Overlay::Labels(resize_labels(&labels, height, width)),
        Overlay::Heat(plane) => Overlay::Heat(resize(&plane, height, width)),
        outlines => outlines,
    });
    Picture { caption: caption.into(), grey: resize(&grey, height, width), overlay }
}

fn target_pictures(
    pipeline: &Pipeline,
    chosen: &ApproachResult,
    target: &Target,
    translated: Option<&Translated>,
) -> Result<Vec<Picture>> {
    let original = target.plane()?;
    let labels = read_label_map(&chosen.folder, &target.name, chosen.classes.len())?;
    let confidence = imaging::read(&confidence_path(&chosen.folder, &target.name))?.plane;
    let mut pictures = vec![picture("original", original.clone(), None)];
    if translated.is_some() {
        let translation = imaging::read(&draw_path(&pipeline.folder(Work::TranslateTarget), &target.name, 0))?.plane;
        pictures.push(picture("in the labelled look", translation, None));
    }
    pictures.push(picture("pseudo label", original.clone(), Some(Overlay::Labels(labels))));
    pictures.push(picture("confidence", original.clone(), Some(Overlay::Heat(confidence))));
    if let Some(truth) = &pipeline.inputs.truth
        && let Some(labels) = truth.labels(target)?
    {
        let labels = as_numbered(&labels, &truth.classes, &chosen.classes);
        pictures.push(picture("true masks", original, Some(Overlay::Labels(labels))));
    }
    Ok(pictures)
}

/// True labels under the numbers of a model's classes.
fn as_numbered(labels: &LabelMap, from: &[String], to: &[String]) -> LabelMap {
    super::checks::renumbered(labels, from, to)
}

fn approaches_gallery(pipeline: &Pipeline, results: &Results, chosen: &ApproachResult) -> Result<Gallery> {
    let panels = shown(pipeline, &chosen.images).into_iter().take(COMPARED).map(|(target, _)| {
        let original = target.plane()?;
        let mut pictures = Vec::new();
        let mut figures = Vec::new();
        for result in &results.approaches {
            if !result.images.iter().any(|figures| figures.image == target.name) {
                continue;
            }
            let labels = read_label_map(&result.folder, &target.name, result.classes.len())?;
            let labels = as_numbered(&labels, &result.classes, &chosen.classes);
            pictures.push(picture(&result.approach.title(), original.clone(), Some(Overlay::Labels(labels))));
            if let Some(scored) = &result.scored {
                figures.push(figure(
                    format!("true Dice, {}", result.approach.title()),
                    scored.dice_of_image(&target.name),
                ));
            }
        }
        Ok(Panel { name: target.name.clone(), score: None, figures, warnings: Vec::new(), pictures })
    });
    Ok(Gallery {
        title: "The approaches side by side".into(),
        intro: "The same images with the masks of each approach.".into(),
        panels: panels.collect::<Result<_>>()?,
        reviewed: Reviewed::No,
    })
}

fn labelled_gallery(pipeline: &Pipeline, results: &Results) -> Result<Gallery> {
    let mut translated: Vec<&Translated> = results.translated_labelled.iter().collect();
    translated.sort_by(|a, b| a.structure().unwrap_or(1.0).total_cmp(&b.structure().unwrap_or(1.0)));
    let images = pipeline.inputs.labelled.iter().flat_map(|set| &set.images);
    let images: Vec<&LabelledImage> = images.collect();
    let panels = translated.into_iter().take(SHOWN).filter_map(|figures| {
        let image = images.iter().find(|image| image.name == figures.image)?;
        Some(labelled_panel(pipeline, results, image, figures))
    });
    Ok(Gallery {
        title: "Labelled images in the look of the target".into(),
        intro:
            "What a proxy model learns from. The score says how far the edges of the image are in their places in its \
                translation, whatever became of the contrast: about 0.8 for two drawings of one thing, 0 for unrelated \
                images. Outlined are true objects that were not found in the translation, and objects that were found \
                where there is none."
                .into(),
        panels: panels.collect::<Result<_>>()?,
        reviewed: Reviewed::No,
    })
}

fn labelled_panel(
    pipeline: &Pipeline,
    results: &Results,
    image: &LabelledImage,
    figures: &Translated,
) -> Result<Panel> {
    let folder = pipeline.folder(Work::TranslateLabelled);
    let source = to_working_size(&pipeline.inputs.labelled_plane(image)?, image.pixel_size_um, pipeline.working_um()?);
    let translation = imaging::read(&draw_path(&folder, &image.name, 0))?.plane;
    let size = [translation.height(), translation.width()];
    let truth = resize_labels(&image.labels, size[0], size[1]);
    let agreement = |map: &Plane| Plane::new(map.height(), map.width(), map.pixels().iter().map(|v| 1.0 - v).collect());
    let differs = agreement(&disagreement_map(&source, &translation));
    let back = imaging::read(&back_path(&folder, &image.name))?.plane;
    let error: Vec<f32> = source.pixels().iter().zip(back.pixels()).map(|(a, b)| 1.0 - (a - b).abs()).collect();
    let mut pictures = vec![
        picture("original with its masks", source.clone(), Some(Overlay::Labels(truth.clone()))),
        picture("translation with the same masks", translation.clone(), Some(Overlay::Labels(truth.clone()))),
        picture("edges lost or invented", translation.clone(), Some(Overlay::Heat(differs))),
        picture("error after there and back", back, Some(Overlay::Heat(Plane::new(size[0], size[1], error)))),
    ];
    let mut shown = vec![
        figure("structure kept", figures.structure()),
        figure("there-and-back SSIM", figures.back_ssim),
        figure("there-and-back L1", Some(figures.back_l1)),
    ];
    let classes = pipeline.inputs.labelled.as_ref().map(|set| set.classes.clone()).unwrap_or_default();
    let checks = [
        (&results.checked_by_proxy, Work::CheckProxy, "translation"),
        (&results.checked_there_and_back, Work::CheckLabelled, "there and back"),
    ];
    for (checked, work, what) in checks {
        let Some(check) = checked.iter().find(|check| check.image == image.name) else { continue };
        for (class, objects) in classes.iter().zip(&check.objects) {
            shown.push(figure(format!("Dice {class}, {what}"), objects.dice));
            shown.push(figure(format!("{class} lost, {what}"), Some(objects.lost as f64)));
            shown.push(figure(format!("{class} invented, {what}"), Some(objects.invented as f64)));
        }
        if work == Work::CheckProxy {
            let found = read_label_map(&pipeline.folder(work), &image.name, classes.len())?;
            let Outlines { lost, invented } = outlines(&truth, &found, 1..=classes.len() as u8);
            let overlay = Overlay::Outlines { lost, invented };
            pictures.push(picture("objects lost and invented", translation.clone(), Some(overlay)));
        }
    }
    let warnings = structure_warning(figures).into_iter().collect();
    Ok(Panel { name: image.name.clone(), score: figures.structure(), figures: shown, warnings, pictures })
}

fn curves(pipeline: &Pipeline) -> Result<Vec<Curve>> {
    let mut files: Vec<(String, PathBuf)> = vec![("The translator".into(), pipeline.run_folder().join("curves.png"))];
    for work in pipeline.works() {
        let name = match work {
            Work::LabelledModel => "The model of the labelled look",
            Work::Proxy { .. } => "The proxy model",
            Work::Supervised => "The supervised model",
            _ => continue,
        };
        for fold in super::models::folds_of(1).into_iter().chain(super::models::folds_of(pipeline.options.folds)) {
            let path = pipeline.folder(work).join(fold.folder()).join("curves.png");
            files.push((format!("{name}, {}, fold {fold}", work.name()), path));
        }
    }
    let mut seen = BTreeSet::new();
    let files = files.into_iter().filter(|(_, path)| path.is_file() && seen.insert(path.clone()));
    let read = |(caption, path): (String, PathBuf)| {
        let png = std::fs::read(&path).map_err(crate::error::Error::io("read", &path))?;
        Ok(Curve { caption, png })
    };
    files.map(read).collect()
}

fn notes(pipeline: &Pipeline, results: &Results, chosen: &ApproachResult) -> Vec<String> {
    let mut notes = pipeline.inputs.notes.clone();
    if chosen.images.len() > SHOWN {
        notes.push(format!("Of {} target images, the {SHOWN} of lowest quality are shown.", chosen.images.len()));
    }
    if results.translated_labelled.len() > SHOWN {
        notes.push(format!(
            "Of {} labelled images, the {SHOWN} of lowest score are shown.",
            results.translated_labelled.len()
        ));
    }
    let skipped = pipeline.inputs.skipped.iter();
    notes.extend(skipped.map(|skipped| format!("Left out: {}: {}", skipped.path.display(), skipped.reason)));
    notes
}

fn settings(pipeline: &Pipeline, verdict: &Verdict) -> Result<Vec<Setting>> {
    let options = &pipeline.options;
    let setting = |name: &str, value: String| Setting { name: name.into(), value };
    let mut settings = vec![
        setting("synlabel", env!("CARGO_PKG_VERSION").into()),
        setting("approach shown", verdict.approach.title()),
        setting("target images", options.inputs.target.display().to_string()),
        setting("draws of each translation", options.draws.to_string()),
        setting("least structure to learn from", options.min_structure.to_string()),
        setting("seed", options.seed.to_string()),
    ];
    if let Some(labelled) = &options.inputs.labelled {
        settings.push(setting("labelled images", labelled.display().to_string()));
    }
    if let Some(size) = pipeline.working_um()? {
        settings.push(setting("working resolution", format!("{size} um per pixel")));
    }
    if !options.inputs.held_out.is_empty() {
        settings.push(setting("held out of all training", options.inputs.held_out.join(", ")));
    }
    let mut files = vec![("translator: config.toml".to_string(), pipeline.run_folder().join("config.toml"))];
    for work in pipeline.works() {
        files.push((format!("{}: plan.toml", work.name()), pipeline.folder(work).join("plan.toml")));
    }
    for (name, path) in files.into_iter().filter(|(_, path)| path.is_file()) {
        let text = std::fs::read_to_string(&path).map_err(crate::error::Error::io("read", &path))?;
        settings.push(setting(&name, text));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_reduced_with_what_is_drawn_over_them() {
        let grey = Plane::new(SIDE, 2 * SIDE, vec![0.5; 2 * SIDE * SIDE]);
        let labels = LabelMap::new(SIDE, 2 * SIDE, vec![1; 2 * SIDE * SIDE]);
        let reduced = picture("a", grey.clone(), Some(Overlay::Labels(labels)));
        let Some(Overlay::Labels(labels)) = &reduced.overlay else { panic!("labels stay labels") };
        for size in [[reduced.grey.height(), reduced.grey.width()], [labels.height(), labels.width()]] {
            assert_eq!(size, [SIDE / 2, SIDE]);
        }
        assert!(labels.classes().iter().all(|label| *label == 1));
        let outlines = Overlay::Outlines { lost: vec![false; 2 * SIDE * SIDE], invented: vec![false; 2 * SIDE * SIDE] };
        assert_eq!(picture("a", grey, Some(outlines)).grey.width(), 2 * SIDE);
    }
}
