//! What a pipeline hands over: the report, its figures as JSON and CSV, BIDS derivatives and nnU-Net raw data.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::labelling::{Labelled, confidence_path, judged, read_label_map};
use super::pages::page;
use super::pipeline::Pipeline;
use super::results::{ApproachResult, Results};
use super::verdict::Verdict;
use crate::dataset::{Derivatives, GeneratedBy, RawFolder, Unjudged, raw_folder_name};
use crate::error::{Error, Result};
use crate::files::{create_dir, read_json, write_atomically, write_json};
use crate::imaging;
use crate::report;

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The page to begin reading with.
    pub report: PathBuf,
    /// The folder of the masks that are recommended.
    pub masks: PathBuf,
    /// The same as BIDS derivatives.
    pub derivatives: PathBuf,
    /// The same with their images as nnU-Net raw data, where pixels with few votes have the label `ignore`.
    pub raw_folder: PathBuf,
}

/// The number of the nnU-Net data set.
const DATASET_NUMBER: u16 = 501;

/// Writes everything into the folder of the pipeline. What an earlier sitting handed over is replaced.
pub fn publish(pipeline: &Pipeline, results: &Results, verdict: &Verdict) -> Result<Published> {
    let out = &pipeline.options.out;
    let chosen = results.of(verdict.approach).unwrap_or(&results.approaches[0]);
    let published = Published {
        report: out.join("report.html"),
        masks: chosen.folder.clone(),
        derivatives: out.join("derivatives").join("synlabel"),
        raw_folder: out.join("nnUNet_raw").join(raw_folder_name(DATASET_NUMBER, "pseudo")?),
    };
    report::write(out, &page(pipeline, results, verdict)?)?;
    write_json(&out.join("figures.json"), &json!({ "verdict": verdict, "results": results }))?;
    write_table(&out.join("scores.csv"), results)?;
    let mut handed_over: HandedOver =
        if record(out).is_file() { read_json(&record(out))? } else { HandedOver::default() };
    handed_over.replace(out, &published.derivatives)?;
    write_derivatives(pipeline, chosen, &published.derivatives)?;
    handed_over.replace(out, &published.raw_folder)?;
    write_raw_folder(pipeline, chosen, &published.raw_folder)?;
    Ok(published)
}

/// The folders that were handed over before, and may therefore be replaced.
#[derive(Default, Serialize, Deserialize)]
struct HandedOver(BTreeSet<PathBuf>);

impl HandedOver {
    /// Makes room for a folder that is written anew. What was not written here is never deleted.
    fn replace(&mut self, out: &Path, folder: &Path) -> Result<()> {
        let name = folder.strip_prefix(out).unwrap_or(folder).to_path_buf();
        if folder.exists() {
            if !self.0.contains(&name) {
                return Err(Error::run(
                    folder,
                    "it was not made here and is left alone; move it, or choose another output",
                ));
            }
            fs::remove_dir_all(folder).map_err(Error::io("replace", folder))?;
        }
        self.0.insert(name);
        write_json(&record(out), self)?;
        folder.parent().map_or(Ok(()), create_dir)
    }
}

fn record(out: &Path) -> PathBuf {
    out.join("stages").join("handed_over.json")
}

/// A row for each approach, image and class.
fn write_table(path: &Path, results: &Results) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let unwritable = |error: csv::Error| Error::Config(format!("cannot write {} ({error})", path.display()));
    let header = ["approach", "image", "class", "quality", "expected_dice", "coverage", "structure", "dice", "iou"];
    writer.write_record(header).map_err(unwritable)?;
    for result in &results.approaches {
        for image in &result.images {
            for (number, class) in result.classes.iter().enumerate() {
                writer.write_record(row(result, image, number, class)).map_err(unwritable)?;
            }
        }
    }
    let bytes = writer.into_inner().map_err(|error| unwritable(error.into_error().into()))?;
    write_atomically(path, |path| fs::write(path, bytes).map_err(Error::io("write", path)))
}

fn row(result: &ApproachResult, image: &Labelled, number: usize, class: &str) -> Vec<String> {
    let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let scores = result.scored.as_ref().and_then(|scored| {
        scored.scores.images.iter().find(|scores| scores.image == image.image && scores.class == class)
    });
    let figures = [
        image.quality,
        image.expected_dice[number],
        Some(image.coverage[number]),
        image.structure,
        scores.and_then(|scores| scores.figures.dice),
        scores.and_then(|scores| scores.figures.iou),
    ];
    let names = [result.approach.name(), image.image.clone(), class.to_string()];
    names.into_iter().chain(figures.map(or_empty)).collect()
}

fn write_derivatives(pipeline: &Pipeline, chosen: &ApproachResult, folder: &Path) -> Result<()> {
    let generated_by = GeneratedBy {
        name: "synlabel".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        description: format!("Pseudo labels by {}", chosen.approach.title()),
        code_url: None,
    };
    let sources = [pipeline.options.inputs.target.clone()];
    let mut derivatives = Derivatives::create(folder, &generated_by, &sources, &chosen.classes)?;
    for image in &chosen.images {
        let Some(target) = pipeline.inputs.targets.iter().find(|target| target.name == image.image) else { continue };
        let labels = read_label_map(&chosen.folder, &image.image, chosen.classes.len())?;
        let confidence = imaging::read(&confidence_path(&chosen.folder, &image.image))?.plane;
        let sidecar: Map<String, Value> = [
            ("PseudoLabel".to_string(), json!(true)),
            ("Approach".into(), json!(chosen.approach.name())),
            ("ExpectedQuality".into(), json!(image.quality)),
            ("MeanConfidence".into(), json!(image.confidence)),
            ("StructureKept".into(), json!(image.structure)),
        ]
        .into_iter()
        .collect();
        derivatives.add(&target.case, &labels, target.case.pixel_size_um, Some(&confidence), sidecar)?;
    }
    derivatives.finish()
}

fn write_raw_folder(pipeline: &Pipeline, chosen: &ApproachResult, folder: &Path) -> Result<()> {
    let mut raw = RawFolder::create(folder, &chosen.classes, "zscore", Unjudged::Ignore)?;
    let least = pipeline.options.min_confidence as f32;
    for image in &chosen.images {
        let Some(target) = pipeline.inputs.targets.iter().find(|target| target.name == image.image) else { continue };
        let labels = read_label_map(&chosen.folder, &image.image, chosen.classes.len())?;
        let confidence = imaging::read(&confidence_path(&chosen.folder, &image.image))?.plane;
        let labels = judged(&labels, &confidence, least);
        raw.add(
            &target.name,
            &target.case.subject,
            &target.full_plane()?,
            target.depth,
            target.case.pixel_size_um,
            &labels,
        )?;
    }
    raw.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_handed_over_before_is_replaced() {
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("derivatives/synlabel");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(out.path().join("stages")).unwrap();
        fs::write(folder.join("by_hand.txt"), "mine").unwrap();
        for _ in 0..2 {
            let error = HandedOver::default().replace(out.path(), &folder).unwrap_err().to_string();
            assert!(error.contains("was not made here") && folder.join("by_hand.txt").is_file(), "{error}");
        }
        let other = out.path().join("nnUNet_raw/Dataset501_pseudo");
        HandedOver::default().replace(out.path(), &other).unwrap();
        fs::create_dir_all(&other).unwrap();
        let mut known: HandedOver = read_json(&record(out.path())).unwrap();
        known.replace(out.path(), &other).unwrap();
        assert!(!other.exists() && other.parent().unwrap().is_dir());
    }
}
