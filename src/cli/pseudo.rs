//! `synlabel tutor`, `synlabel adapt` and `synlabel compare`: one pipeline, with other approaches.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use synlabel::config::TrainConfig;
use synlabel::domain::{Domain, Pair};
use synlabel::pseudo::inputs::InputOptions;
use synlabel::pseudo::translation::Orientation;
use synlabel::pseudo::{Approach, Pipeline, PipelineOptions, Published, Results, TranslatorChoice, Verdict, publish};
use synlabel::run::RunFolder;
use synlabel::segmentation::plan::Plan;

use super::pseudo_display::{Display, tell};
use super::reading::PairReadingArgs;
use super::segment_train::parse_seconds;
use super::stopping::stop_on_ctrl_c;
use super::{ContrastArg, DeviceArgs, FormatArg, PresetArg, report_skipped};

/// Make masks by tutorship: translate the labelled images into the look of the target, train a proxy model on them, and
/// let it label the target images.
///
/// Each stage leaves its result in OUT and is skipped when it is there and what it was made from has not changed: after a
/// stop, give the same command again. OUT/report.html is the place to begin reading.
#[derive(Debug, clap::Args)]
pub struct TutorArgs {
    /// Images with masks: a BIDS folder, nnU-Net raw data, or masks beside the images
    #[arg(long, value_name = "DATASET")]
    labelled: PathBuf,
    /// A plan for the proxy model, in the form of a model's plan.toml [default: planned from the images]
    #[arg(long, value_name = "PLAN")]
    segmenter: Option<PathBuf>,
    #[command(flatten)]
    rounds: RoundArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Make masks by adaptation: translate the target images into the labelled look, apply a model that exists, and put its
/// masks back on the images' own grid.
///
/// Each stage leaves its result in OUT and is skipped when it is there and what it was made from has not changed: after a
/// stop, give the same command again. OUT/report.html is the place to begin reading.
#[derive(Debug, clap::Args)]
pub struct AdaptArgs {
    /// The model: a folder of `synlabel segment train`, an nnU-Net v2 model (folder or zip), an ONNX file or a BioImage.IO
    /// folder
    #[arg(long, value_name = "MODEL")]
    segmenter: PathBuf,
    /// Images in the look that the model knows, with masks; to train a translator, or to check one
    #[arg(long, value_name = "DATASET", required_unless_present = "translator")]
    labelled: Option<PathBuf>,
    /// Micrometres per pixel that the model was trained at, where it does not say
    #[arg(long, value_name = "UM")]
    model_pixel_size_um: Option<f64>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Run both strategies and the baselines that a careful scientist would ask for, and say which to use and why.
///
/// The baselines: the model of the labelled look as it is, on inverted images, on images with matched grey levels, on both,
/// and after the non-diffusive translator alone; with --truth also a model trained on true masks of the target. Each stage
/// leaves its result in OUT and is skipped when it is there and what it was made from has not changed.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Images with masks: a BIDS folder, nnU-Net raw data, or masks beside the images
    #[arg(long, value_name = "DATASET")]
    labelled: PathBuf,
    /// A model of the labelled look [default: trained on the labelled images]
    #[arg(long, value_name = "MODEL")]
    segmenter: Option<PathBuf>,
    /// Micrometres per pixel that this model was trained at, where it does not say
    #[arg(long, value_name = "UM")]
    model_pixel_size_um: Option<f64>,
    /// A plan for the models that are trained, in the form of a model's plan.toml [default: planned from the images]
    #[arg(long, value_name = "PLAN")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    rounds: RoundArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// What a tutorship may do again.
#[derive(Debug, clap::Args)]
struct RoundArgs {
    /// Rounds of tutorship; from the second on, the proxy also learns from confident pseudo labels of the one before
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    rounds: u64,
    /// Share of the votes (0 to 1) from which on a pseudo label is confident
    #[arg(long, default_value_t = 0.9, value_name = "SHARE")]
    min_confidence: f64,
    /// Leave translated images, and parts of images, out of the proxy's training whose structure score is below this (0 to
    /// 1; two drawings of one thing have about 0.8, unrelated images 0)
    #[arg(long, default_value_t = 0.0, value_name = "SCORE")]
    min_structure: f64,
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// Images in the look that nobody has annotated
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// Folder for everything that comes out
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Images with true masks among the targets (the target folder itself, if they are in it), to score by
    #[arg(long, value_name = "DATASET")]
    truth: Option<PathBuf>,
    /// Subjects that are kept out of all training (sub-5,sub-6), to score on
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',')]
    hold_out: Vec<String>,
    /// Say what would be done and how long it may take, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    translator: TranslatorArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What files do not say.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Images")]
struct ImageArgs {
    /// Micrometres per pixel of the labelled images [default: from BIDS sidecars or TIFF tags]
    #[arg(long, value_name = "UM")]
    labelled_pixel_size_um: Option<f64>,
    /// Micrometres per pixel of the target images [default: from BIDS sidecars or TIFF tags]
    #[arg(long, value_name = "UM")]
    target_pixel_size_um: Option<f64>,
    /// Layout of the labelled folder
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    labelled_format: FormatArg,
    /// Layout of the target folder
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    target_format: FormatArg,
    /// Grey value (1 to 255) from which on a mask's pixel has the class, for masks with values between
    #[arg(long, value_name = "VALUE", value_parser = clap::value_parser!(u8).range(1..))]
    mask_threshold: Option<u8>,
    #[command(flatten)]
    reading: PairReadingArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Translator")]
struct TranslatorArgs {
    /// Folder of a run [default: trained here, between the labelled and the target images]
    #[arg(short = 'm', long = "translator", value_name = "RUN")]
    translator: Option<PathBuf>,
    /// The run was trained the other way round: what is labelled here was its target
    #[arg(long, requires = "translator")]
    exchanged: bool,
    /// Settings to train one with: paper (graphics card), small (a night on a CPU), demo (minutes)
    #[arg(long, value_enum, default_value = "small", conflicts_with = "translator")]
    preset: PresetArg,
    /// TOML file of settings over the preset, in the form of a run's config.toml
    #[arg(long, value_name = "FILE", conflicts_with = "translator")]
    config: Option<PathBuf>,
    /// Passes over the data [default: the preset's]
    #[arg(long, conflicts_with = "translator")]
    epochs: Option<u64>,
    /// Micrometres per pixel to work at [default: the coarser of the two looks]
    #[arg(long, value_name = "UM", conflicts_with = "translator")]
    pixel_size_um: Option<f64>,
    /// Draw crops of the emptier set where there is structure, so that both are as dense (see `synlabel check`)
    #[arg(long, conflicts_with = "translator")]
    balance_crops: bool,
    /// Whether what is light in one look is light in the other; free leaves it to chance [default: the preset's]
    #[arg(long, value_enum, conflicts_with = "translator")]
    contrast: Option<ContrastArg>,
    /// Draws of each translation: their masks are averaged, and where they disagree confidence is low
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..), value_name = "K")]
    draws: u64,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Segmentation models")]
struct TrainingArgs {
    /// Time to train each model for (30m, 2h); "full" trains all epochs of nnU-Net's schedule
    #[arg(long, value_name = "TIME", default_value = "1h")]
    time: String,
    /// Folds, by subject; one network is trained for each within that time
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    folds: u64,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

impl TutorArgs {
    pub fn run(self) -> Result<ExitCode> {
        let plan = read_plan(self.segmenter.as_deref())?;
        let mut options = self.common.options(Some(self.labelled), tutorship(self.rounds.rounds).collect())?;
        self.rounds.apply(&mut options)?;
        run(PipelineOptions { plan, ..options }, &self.common)
    }
}

impl AdaptArgs {
    pub fn run(self) -> Result<ExitCode> {
        let options = self.common.options(self.labelled, vec![Approach::Adaptation])?;
        let (labelled_model, model_pixel_size_um) = (Some(self.segmenter), self.model_pixel_size_um);
        run(PipelineOptions { labelled_model, model_pixel_size_um, ..options }, &self.common)
    }
}

impl CompareArgs {
    pub fn run(self) -> Result<ExitCode> {
        let mut approaches = vec![
            Approach::AsIs,
            Approach::Inverted,
            Approach::Matched,
            Approach::InvertedMatched,
            Approach::TranslatorAlone,
            Approach::Adaptation,
        ];
        approaches.extend(tutorship(self.rounds.rounds));
        approaches.push(Approach::Supervised);
        let plan = read_plan(self.plan.as_deref())?;
        let mut options = self.common.options(Some(self.labelled), approaches)?;
        self.rounds.apply(&mut options)?;
        let (labelled_model, model_pixel_size_um) = (self.segmenter, self.model_pixel_size_um);
        run(PipelineOptions { labelled_model, model_pixel_size_um, plan, ..options }, &self.common)
    }
}

fn tutorship(rounds: u64) -> impl Iterator<Item = Approach> {
    (1..=rounds).map(|round| Approach::Tutorship { round })
}

fn read_plan(path: Option<&Path>) -> Result<Option<Plan>> {
    Ok(path.map(Plan::from_file).transpose()?)
}

impl RoundArgs {
    fn apply(&self, options: &mut PipelineOptions) -> Result<()> {
        let parts = [("--min-confidence", self.min_confidence), ("--min-structure", self.min_structure)];
        for (name, value) in parts {
            ensure!((0.0..=1.0).contains(&value), "{name} is a share of 0 to 1, not {value}");
        }
        options.min_confidence = self.min_confidence;
        options.min_structure = self.min_structure;
        Ok(())
    }
}

impl CommonArgs {
    fn options(&self, labelled: Option<PathBuf>, approaches: Vec<Approach>) -> Result<PipelineOptions> {
        let images = &self.images;
        let sizes = [
            ("--labelled-pixel-size-um", images.labelled_pixel_size_um),
            ("--target-pixel-size-um", images.target_pixel_size_um),
            ("--pixel-size-um", self.translator.pixel_size_um),
        ];
        for (name, size) in sizes {
            ensure!(size.is_none_or(|size| size.is_finite() && size > 0.0), "{name} must be above 0 micrometres");
        }
        ensure!(!self.output.is_file(), "{} is a file; give the name of a folder to make", self.output.display());
        let seconds = match self.training.time.as_str() {
            "full" => None,
            time => Some(parse_seconds(time).map_err(|reason| anyhow::anyhow!("--time {time}: {reason}"))?),
        };
        let inputs = InputOptions {
            labelled,
            target: self.target.clone(),
            truth: self.truth.clone(),
            held_out: self.hold_out.clone(),
            labelled_pixel_size_um: images.labelled_pixel_size_um,
            target_pixel_size_um: images.target_pixel_size_um,
            mask_threshold: images.mask_threshold,
            labelled_format: images.labelled_format.asked(),
            target_format: images.target_format.asked(),
            labelled_intensity: images.reading.intensity(Domain::Labelled),
            target_intensity: images.reading.intensity(Domain::Target),
            labelled_page: images.reading.page(Domain::Labelled),
            target_page: images.reading.page(Domain::Target),
        };
        Ok(PipelineOptions {
            translator: self.translator.choice(&inputs, self.training.seed)?,
            out: self.output.clone(),
            inputs,
            approaches,
            labelled_model: None,
            model_pixel_size_um: None,
            plan: None,
            folds: self.training.folds as usize,
            draws: self.translator.draws,
            seconds,
            min_structure: 0.0,
            min_confidence: 0.9,
            seed: self.training.seed,
        })
    }
}

impl TranslatorArgs {
    fn choice(&self, inputs: &InputOptions, seed: u64) -> Result<TranslatorChoice> {
        if let Some(run) = &self.translator {
            let known = RunFolder::open(run)?;
            let exchanged = self.exchanged || is_exchanged(known.config(), inputs);
            if exchanged && !self.exchanged {
                eprintln!("note: {} was trained the other way round, and is used so", run.display());
            }
            let orientation = if exchanged { Orientation::Exchanged } else { Orientation::AsTrained };
            return Ok(TranslatorChoice::Given { run: run.clone(), orientation });
        }
        let mut config = TrainConfig::preset(self.preset.into());
        if let Some(path) = &self.config {
            config = config.with_file(path)?;
        }
        config.seed = seed;
        config.balance_crops |= self.balance_crops;
        config.step.contrast = self.contrast.map_or(config.step.contrast, Into::into);
        config.epochs = self.epochs.unwrap_or(config.epochs);
        config.pixel_size_um = self.pixel_size_um.unwrap_or(config.pixel_size_um);
        let folders = Pair { labelled: inputs.labelled.clone().unwrap_or_default(), target: inputs.target.clone() };
        let formats = Pair { labelled: inputs.labelled_format, target: inputs.target_format };
        let sizes = Pair { labelled: inputs.labelled_pixel_size_um, target: inputs.target_pixel_size_um };
        for (domain, data) in [(Domain::Labelled, &mut config.data.labelled), (Domain::Target, &mut config.data.target)]
        {
            let dir = folders.of(domain);
            data.dir = dir.canonicalize().unwrap_or_else(|_| dir.clone());
            data.pixel_size_um = sizes.of(domain).unwrap_or(data.pixel_size_um);
            data.format = formats.of(domain).or(data.format);
        }
        Ok(TranslatorChoice::Train(Box::new(config)))
    }
}

/// Whether the folders say that a run was trained the other way round.
fn is_exchanged(config: &TrainConfig, inputs: &InputOptions) -> bool {
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    let labelled = inputs.labelled.as_ref();
    same(&config.data.labelled.dir, &inputs.target)
        && labelled.is_none_or(|labelled| same(&config.data.target.dir, labelled))
}

fn run(options: PipelineOptions, common: &CommonArgs) -> Result<ExitCode> {
    let device = common.device.choose()?;
    let pipeline = Pipeline::new(options, &device.device)?;
    report_inputs(&pipeline);
    if common.dry_run {
        println!("{}", pipeline.plan()?.to_table());
        return Ok(ExitCode::SUCCESS);
    }
    match run_pipeline(&pipeline)? {
        Some(outcome) => tell(&outcome),
        None => println!("stopped and saved; give the same command again to go on"),
    }
    Ok(ExitCode::SUCCESS)
}

fn report_inputs(pipeline: &Pipeline) {
    for note in &pipeline.inputs.notes {
        eprintln!("note: {note}");
    }
    report_skipped(&pipeline.inputs.skipped);
    let held_out = pipeline.inputs.targets.iter().filter(|target| target.is_held_out).count();
    if let Some(labelled) = &pipeline.inputs.labelled {
        eprintln!("{} labelled images; classes: {}", labelled.images.len(), labelled.classes.join(", "));
    }
    let kept_out = if held_out > 0 { format!(", {held_out} of them kept out of all training") } else { String::new() };
    eprintln!("{} target images{kept_out}", pipeline.inputs.targets.len());
}

/// What a finished pipeline comes to.
pub struct Finished {
    pub results: Results,
    pub verdict: Verdict,
    pub published: Published,
}

/// Runs a pipeline with its progress on the terminal, and publishes its results; none when it was stopped.
pub fn run_pipeline(pipeline: &Pipeline) -> Result<Option<Finished>> {
    let stop = stop_on_ctrl_c();
    let mut display = Display::default();
    let results = pipeline.run(&stop, &mut |event| display.show(event));
    display.end_stage();
    let Some(results) = results? else { return Ok(None) };
    let verdict = Verdict::of(&results, pipeline).context("no approach was taken")?;
    let published = publish(pipeline, &results, &verdict)?;
    Ok(Some(Finished { results, verdict, published }))
}
