//! `synlabel segment evaluate`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use synlabel::error::Error;
use synlabel::files::{create_dir, write_atomically, write_json};
use synlabel::segmentation_scores::{
    ClassScores, Figures, Pairs, ScoreOptions, SegmentationScores, Summaries, Values, find_pairs, score,
};
use synlabel::table::{NO_VALUE, Table};

use super::outcome::Outcome;
use super::progress_bar;

/// Compare predicted masks with true ones, class by class.
///
/// Masks are label maps of class numbers (IMAGE.png, as nnU-Net writes them) or name their class, as those of
/// AxonDeepSeg and of BIDS do (IMAGE_seg-axon.png, IMAGE_seg-axonmyelin.png, IMAGE_seg-axon-manual.png); both sides are
/// paired by the name of the image. Predictions in folders fold_0, fold_1 ... are scored for each fold as well.
///
/// Objects are the 8-connected parts of a class. A predicted object is right when its intersection with a true one is at
/// least half of their union; no object can be right twice. The exit code is 0 when all pairs were scored, 2 when some
/// could not be (they are listed, also in scores.json), 1 when none could.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Predicted masks: a folder, searched with its sub-folders, or a file
    #[arg(short, long, value_name = "PATH")]
    predictions: PathBuf,
    /// True masks: a folder, searched with its sub-folders, or a file
    #[arg(short = 'g', long, value_name = "PATH")]
    truth: PathBuf,
    /// Folder for scores.csv (a row for each image and class) and scores.json; without it nothing is written
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Names of the classes 1, 2 ... of label maps, such as myelin,axon [default: dataset.json beside them]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Grey value of 1 to 255 from which on a pixel has the class, for masks with more values than they should have
    #[arg(long, value_name = "VALUE", value_parser = clap::value_parser!(u8).range(1..))]
    mask_threshold: Option<u8>,
    /// Ignore predicted objects of fewer pixels; true ones count at any size, so small ones are then missed
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    min_object: u64,
    /// nnU-Net's splits_final.json, to score each fold of predictions that are not in folders fold_0, fold_1 ...
    #[arg(long, value_name = "FILE")]
    folds: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let options = ScoreOptions {
            classes: self.classes,
            folds: self.folds,
            threshold: self.mask_threshold,
            min_object: self.min_object,
        };
        let pairs = find_pairs(&self.predictions, &self.truth, &options)?;
        report_pairs(&pairs);
        if let Some(folder) = &self.output {
            create_dir(folder)?;
        }
        let bar = progress_bar(Some(pairs.images.len() as u64));
        let scores = score(&pairs, &options, |image| {
            bar.set_message(image.to_string());
            bar.inc(1);
        });
        bar.finish_and_clear();
        let scores = scores?;
        println!("{}\n\n{}", pixel_table(&scores), object_table(&scores));
        for class in scores.classes.iter().filter(|class| class.absent > 0) {
            let ClassScores { class, images, absent, .. } = class;
            eprintln!("note: {absent} of {images} images have no {class} on either side and no score of it");
        }
        if let Some(folder) = &self.output {
            write_scores(folder, &scores)?;
            println!("\nrows for each image: {}", folder.join("scores.csv").display());
        }
        for (image, reason) in &scores.failed {
            eprintln!("warning: not scored: {image}: {reason}");
        }
        let failed = scores.failed.len();
        Ok(Outcome { done: pairs.images.len() - failed, failed }.exit_code())
    }
}

fn report_pairs(pairs: &Pairs) {
    for (what, names) in
        [("prediction without truth", &pairs.without_truth), ("truth without prediction", &pairs.without_prediction)]
    {
        if !names.is_empty() {
            eprintln!("warning: {what}, left out ({}): {}", names.len(), names.join(", "));
        }
    }
    for note in &pairs.notes {
        eprintln!("note: {note}");
    }
}

/// The rows of a table for one class, from top to bottom: folds, all folds, all images, all pooled.
fn rows<'a>(
    scores: &'a SegmentationScores,
    class: &'a ClassScores,
) -> impl Iterator<Item = (String, Option<&'a ClassScores>, Figures<String>)> {
    let show_summaries =
        |summaries: &Summaries| summaries.map(|value| value.map_or(NO_VALUE.into(), |v| v.to_string()));
    let show_values = |values: &Values| values.map(|value| value.map_or(NO_VALUE.into(), |v| format!("{v:.3}")));
    let folds = scores.folds.iter().flat_map(move |fold| {
        let of_class = fold.classes.iter().filter(|scores| scores.class == class.class);
        of_class.map(move |scores| (fold.fold.clone(), Some(scores), show_summaries(&scores.over_images)))
    });
    let across = scores.across_folds.iter().filter(|summary| summary.class == class.class);
    let across = across.map(move |summary| ("folds".to_string(), None, show_summaries(&summary.over_folds)));
    let images = ("images".to_string(), Some(class), show_summaries(&class.over_images));
    let pooled = ("pooled".to_string(), Some(class), show_values(&class.pooled));
    folds.chain(across).chain([images, pooled])
}

fn pixel_table(scores: &SegmentationScores) -> Table {
    let mut table = Table::new(["pixels of", "over", "images", "Dice", "IoU", "precision", "recall"]);
    for class in &scores.classes {
        for (over, group, figures) in rows(scores, class) {
            let images = group.map_or(NO_VALUE.to_string(), |group| (group.images - group.absent).to_string());
            let Figures { dice, iou, precision, recall, .. } = figures;
            table.row([class.class.clone(), over, images, dice, iou, precision, recall]);
        }
    }
    table
}

fn object_table(scores: &SegmentationScores) -> Table {
    let mut table = Table::new(["objects of", "over", "predicted", "true", "matched", "precision", "recall", "F1"]);
    for class in &scores.classes {
        for (over, group, figures) in rows(scores, class) {
            let counts = group.map(|group| [group.objects.predicted, group.objects.truth, group.objects.matched]);
            let [predicted, truth, matched] =
                counts.map_or_else(|| [(); 3].map(|()| NO_VALUE.to_string()), |counts| counts.map(|n| n.to_string()));
            let Figures { object_precision, object_recall, object_f1, .. } = figures;
            let name = class.class.clone();
            table.row([name, over, predicted, truth, matched, object_precision, object_recall, object_f1]);
        }
    }
    table
}

/// Writes scores.csv and scores.json into a folder. A figure without a value is an empty cell, and null.
fn write_scores(folder: &Path, scores: &SegmentationScores) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let counts = ["tp", "fp", "fn", "tn", "objects_predicted", "objects_true", "objects_matched"].into_iter();
    writer.write_record(["image", "fold", "class"].into_iter().chain(counts).chain(Values::NAMES))?;
    for row in &scores.images {
        let names = [row.image.clone(), row.fold.clone().unwrap_or_default(), row.class.clone()];
        let pixels =
            [row.pixels.true_positive, row.pixels.false_positive, row.pixels.false_negative, row.pixels.true_negative];
        let objects = [row.objects.predicted, row.objects.truth, row.objects.matched];
        let figures = row.figures.as_array().map(|value| value.map_or(String::new(), |value| value.to_string()));
        let pixels = pixels.map(|count| count.to_string());
        let objects = objects.map(|count| count.to_string());
        writer.write_record(names.into_iter().chain(pixels).chain(objects).chain(figures))?;
    }
    let bytes = writer.into_inner().context("cannot put the table together")?;
    let path = folder.join("scores.csv");
    write_atomically(&path, |path| std::fs::write(path, bytes).map_err(Error::io("write", path)))?;
    Ok(write_json(&folder.join("scores.json"), scores)?)
}
