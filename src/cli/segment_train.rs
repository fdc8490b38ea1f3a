//! `synlabel segment train`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use synlabel::device::Chosen;
use synlabel::segmentation::batches::TrainingCase;
use synlabel::segmentation::budget;
use synlabel::segmentation::data::{DataOptions, LabelledSet};
use synlabel::segmentation::folds::{Fold, Folds};
use synlabel::segmentation::model::{ModelData, ModelFolder, Which};
use synlabel::segmentation::plan::{Plan, PlanOptions};
use synlabel::segmentation::step::LOSS_NAMES;
use synlabel::segmentation::training::{Ending, Event, train_fold};

use super::reading::PageArgs;
use super::stopping::stop_on_ctrl_c;
use super::{DeviceArgs, FormatArg, print_above, progress_bar, report_skipped};

/// Train a U-Net on images with masks, by nnU-Net's rules.
///
/// The data set is an nnU-Net raw folder (dataset.json, imagesTr, labelsTr), a BIDS microscopy folder with masks in its
/// derivatives, or images with masks beside them (AxonDeepSeg's IMAGE_seg-axon.png and the like, image_1 with mask_1).
/// Network, patch and batch are planned from the images and written to MODEL/plan.toml, which may be edited: make it
/// with --plan-only, edit it, then train with the same -o.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Images with masks
    #[arg(short, long, value_name = "DATASET")]
    input: PathBuf,
    /// Folder for the model
    #[arg(short, long, value_name = "MODEL")]
    output: PathBuf,
    /// Number of folds the subjects are parted into; one network is trained for each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..), value_name = "N")]
    folds: u64,
    /// Train this fold only (may be repeated); "all" trains on all images and validates on the same
    #[arg(long, value_name = "K")]
    fold: Vec<Fold>,
    /// A plan to train with instead of one made from the images
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the plan and stop
    #[arg(long)]
    plan_only: bool,
    /// Go on with a training that was stopped
    #[arg(long, conflicts_with_all = ["config", "plan_only"])]
    resume: bool,
    /// Time for the whole training (30m, 2h): epochs and the decay of the learning rate are planned to end with it
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    time_budget: Option<f64>,
    /// Subjects that no fold sees, kept for a test (sub-5,sub-6)
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',')]
    hold_out: Vec<String>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    planning: PlanArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// How the data are read.
#[derive(Debug, clap::Args)]
struct DataArgs {
    /// Grey value (1 to 255) from which on a mask's pixel has the class, for masks with values between
    #[arg(long, value_name = "VALUE", value_parser = clap::value_parser!(u8).range(1..))]
    mask_threshold: Option<u8>,
    /// Micrometres per pixel of the images [default: from sidecars or TIFF tags]
    #[arg(long, value_name = "UM")]
    pixel_size_um: Option<f64>,
    /// Layout of the input
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    format: FormatArg,
    #[command(flatten)]
    page: PageArgs,
}

impl DataArgs {
    fn options(&self) -> DataOptions {
        DataOptions {
            pixel_size_um: self.pixel_size_um,
            mask_threshold: self.mask_threshold,
            format: self.format.asked(),
            page: self.page.page,
        }
    }
}

/// What the plan is made with.
#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// Memory that training may fill, in GB [default: 8 on a graphics card; on the CPU small patches are taken instead]
    #[arg(long, value_name = "GB", help_heading = "Plan")]
    memory_gb: Option<f64>,
    /// Feature maps of the finest stage [default: 32 on a graphics card, 16 on the CPU]
    #[arg(long, value_name = "N", help_heading = "Plan")]
    base_features: Option<usize>,
    /// The largest patch in pixels [default: as memory allows on a graphics card, 128 on the CPU]
    #[arg(long, value_name = "PX", help_heading = "Plan")]
    max_patch: Option<usize>,
    /// Epochs [default: 1000, or what the time budget allows]
    #[arg(long, value_name = "N", help_heading = "Plan", conflicts_with = "time_budget")]
    epochs: Option<u64>,
    /// Iterations of an epoch [default: 250]
    #[arg(long, value_name = "N", help_heading = "Plan")]
    iterations_per_epoch: Option<u64>,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", help_heading = "Plan")]
    seed: Option<u64>,
}

impl PlanArgs {
    fn options(&self, device: &Chosen) -> PlanOptions {
        let usual = if device.is_cpu() { PlanOptions::for_processor() } else { PlanOptions::default() };
        PlanOptions {
            memory_gb: self.memory_gb.unwrap_or(usual.memory_gb),
            base_features: self.base_features.unwrap_or(usual.base_features),
            max_patch: self.max_patch.or(usual.max_patch),
            ..usual
        }
    }

    fn apply(&self, plan: &mut Plan) {
        plan.epochs = self.epochs.unwrap_or(plan.epochs);
        plan.iterations_per_epoch = self.iterations_per_epoch.unwrap_or(plan.iterations_per_epoch);
        plan.seed = self.seed.unwrap_or(plan.seed);
    }
}

/// Seconds of "90s", "30m", "1.5h", "1d"; a number alone is minutes.
pub(super) fn parse_seconds(text: &str) -> std::result::Result<f64, String> {
    let text = text.trim();
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86400.0)];
    let unit = units.iter().find_map(|(letter, seconds)| Some((text.strip_suffix(*letter)?, *seconds)));
    let (number, seconds) = unit.unwrap_or((text, 60.0));
    match number.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number * seconds),
        _ => Err("give a time such as 90s, 30m or 2h".into()),
    }
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let began = Instant::now();
        let device = self.device.choose()?;
        let known = self.known()?;
        let options = match &known {
            Some(model) if self.resume => model.data().options.clone(),
            _ => self.data.options(),
        };
        let set = LabelledSet::read(&self.input, &options)?;
        report(&set);
        let mut model = match known {
            Some(model) if self.resume => model,
            known => self.planned(&set, options, known, &device)?,
        };
        if self.plan_only {
            println!("the plan is in {}", model.root().join("plan.toml").display());
            return Ok(ExitCode::SUCCESS);
        }
        self.check_classes(&set, &model)?;
        let cases = set.cases(model.plan());
        let names: Vec<String> = set.images.into_iter().map(|image| image.name).collect();
        let folds = self.chosen_folds(&model)?;
        self.fit_budget(&mut model, &folds, &cases, &names, began, &device)?;
        self.train(&model, &folds, &cases, &names, &device)
    }

    /// What is in the output folder: a model to go on with, or a plan to train with.
    fn known(&self) -> Result<Option<ModelFolder>> {
        ensure!(!self.output.is_file(), "{} is a file; give the name of a folder to make", self.output.display());
        if self.resume || ModelFolder::is_one(&self.output) {
            let model = ModelFolder::open(&self.output)?;
            let folds = (0..model.data().folds.count()).map(Fold::Number).chain([Fold::All]);
            let begun = folds.into_iter().any(|fold| model.has(fold, Which::Last));
            ensure!(
                self.resume || !begun,
                "{} holds a model already; go on with --resume, or choose another folder",
                self.output.display()
            );
            return Ok(Some(model));
        }
        Ok(None)
    }

    /// The model folder with its plan: given, or found in the folder, or made from the images.
    fn planned(
        &self,
        set: &LabelledSet,
        options: DataOptions,
        known: Option<ModelFolder>,
        device: &Chosen,
    ) -> Result<ModelFolder> {
        let mut plan = match (&self.config, known) {
            (Some(path), _) => Plan::from_file(path)?,
            (None, Some(model)) if !self.plan_only => {
                eprintln!("using the plan in {}", self.output.join("plan.toml").display());
                model.plan().clone()
            }
            _ => {
                let options = self.planning.options(device);
                Plan::for_images(&set.fingerprint(), set.classes.clone(), &set.channel, &options)?
            }
        };
        self.planning.apply(&mut plan);
        plan.check()?;
        // One network for all images needs no folds.
        let count = if self.fold == [Fold::All] { 1 } else { self.folds as usize };
        let folds = Folds::by_subject(&set.subjects(), count, &self.hold_out, plan.seed)
            .map_err(|reason| anyhow::anyhow!("cannot part the images in {}: {reason}", self.input.display()))?;
        Ok(ModelFolder::create(&self.output, &plan, &ModelData { options, folds })?)
    }

    fn check_classes(&self, set: &LabelledSet, model: &ModelFolder) -> Result<()> {
        ensure!(
            set.classes == model.plan().classes,
            "the images in {} have the classes {}, and the plan has {}",
            self.input.display(),
            set.classes.join(", "),
            model.plan().classes.join(", ")
        );
        Ok(())
    }

    fn chosen_folds(&self, model: &ModelFolder) -> Result<Vec<Fold>> {
        let count = model.data().folds.count();
        let is_missing = |fold: &&Fold| matches!(fold, Fold::Number(number) if *number >= count || count == 1);
        if let Some(fold) = self.fold.iter().find(is_missing) {
            let known = if count == 1 { "all".to_string() } else { format!("0 to {} and all", count - 1) };
            bail!("there is no fold {fold} in {}: it has {known}", self.output.display());
        }
        Ok(match count {
            _ if !self.fold.is_empty() => self.fold.clone(),
            // Made for `--fold all`, which parts nothing.
            1 => vec![Fold::All],
            count => (0..count).map(Fold::Number).collect(),
        })
    }

    /// Plans epochs for the time that is left; a training that goes on keeps its plan.
    fn fit_budget(
        &self,
        model: &mut ModelFolder,
        folds: &[Fold],
        cases: &[TrainingCase],
        names: &[String],
        began: Instant,
        device: &Chosen,
    ) -> Result<()> {
        let Some(seconds) = self.time_budget.filter(|_| !self.resume) else { return Ok(()) };
        let parts = model.data().folds.parts(folds[0], names).context("a fold of the plan is not in the data")?;
        let pace = budget::measure(model, cases, &parts, &device.device)?;
        let left = (seconds - began.elapsed().as_secs_f64()).max(1.0) / folds.len() as f64;
        let mut plan = model.plan().clone();
        budget::fit(&mut plan, pace, left);
        eprintln!(
            "{:.2} s an iteration and {:.1} s to validate: {} epochs of {} iterations for each of {} folds",
            pace.iteration,
            pace.validation,
            plan.epochs,
            plan.iterations_per_epoch,
            folds.len()
        );
        *model = ModelFolder::create(model.root(), &plan, model.data())?;
        Ok(())
    }

    fn train(
        &self,
        model: &ModelFolder,
        folds: &[Fold],
        cases: &[TrainingCase],
        names: &[String],
        device: &Chosen,
    ) -> Result<ExitCode> {
        let stop = stop_on_ctrl_c();
        for fold in folds {
            let parts = model.data().folds.parts(*fold, names).with_context(|| {
                format!(
                    "the images in {} are not those that {} was begun with (see data.json in it)",
                    self.input.display(),
                    self.output.display()
                )
            })?;
            let mut display = Display::default();
            let ending =
                train_fold(model, *fold, cases, &parts, &device.device, &stop, &mut |event| display.show(event));
            display.end();
            let ending = ending.with_context(|| format!("training fold {fold} in {}", self.output.display()))?;
            if ending == Ending::Stopped {
                println!(
                    "stopped and saved; go on with: synlabel segment train --resume -i {} -o {}",
                    self.input.display(),
                    self.output.display()
                );
                return Ok(ExitCode::SUCCESS);
            }
        }
        println!("done: {} (look at curves.png of each fold)", self.output.display());
        Ok(ExitCode::SUCCESS)
    }
}

fn report(set: &LabelledSet) {
    for note in &set.notes {
        eprintln!("note: {note}");
    }
    report_skipped(&set.skipped);
    let mut subjects: Vec<&str> = set.images.iter().map(|image| image.subject.as_str()).collect();
    subjects.sort_unstable();
    subjects.dedup();
    eprintln!(
        "{}, {} images of {} subjects; classes: {}",
        set.format,
        set.images.len(),
        subjects.len(),
        set.classes.join(", ")
    );
}

/// The progress bar on a terminal, plain lines elsewhere.
pub(super) struct Display {
    bar: ProgressBar,
    classes: Vec<String>,
}

impl Default for Display {
    fn default() -> Self {
        Self { bar: progress_bar(None), classes: Vec::new() }
    }
}

impl Display {
    /// Clears the bar.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Started { fold, images: [train, validation], parameters, classes } => {
                self.classes = classes.to_vec();
                self.bar.set_position(0);
                print_above(
                    &self.bar,
                    format!(
                        "fold {fold}: {train} images to learn from, {validation} to validate on; {:.1} million parameters",
                        parameters as f64 / 1e6
                    ),
                );
            }
            Event::Step { iterations: [done, all], losses } => {
                if self.bar.length() != Some(all) {
                    self.bar.set_length(all);
                }
                if self.bar.position() == 0 {
                    self.bar.set_position(done);
                    self.bar.reset_eta();
                }
                self.bar.set_position(done);
                let shown =
                    LOSS_NAMES.iter().zip(losses).map(|(name, loss)| format!("{} {loss:.3}", name.replace('_', " ")));
                self.bar.set_message(shown.collect::<Vec<_>>().join("  "));
            }
            Event::Epoch { epochs: [done, all], dice, best } => {
                let shown = self.classes.iter().zip(dice).map(|(class, dice)| match dice {
                    Some(dice) => format!("{class} {dice:.3}"),
                    None => format!("{class} –"),
                });
                let shown = shown.collect::<Vec<_>>().join("  ");
                let best = if best { "  best so far" } else { "" };
                print_above(&self.bar, format!("epoch {done:4} of {all}  Dice {shown}{best}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_usual_units() {
        assert_eq!(parse_seconds("90s"), Ok(90.0));
        assert_eq!(parse_seconds("30m"), Ok(1800.0));
        assert_eq!(parse_seconds("1.5h"), Ok(5400.0));
        assert_eq!(parse_seconds("40"), Ok(2400.0));
        assert!(parse_seconds("soon").is_err() && parse_seconds("-3m").is_err() && parse_seconds("0").is_err());
    }
}
