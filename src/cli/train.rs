//! `synlabel train`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use synlabel::config::TrainConfig;
use synlabel::dataset::Skipped;
use synlabel::domain::{Domain, Pair};
use synlabel::run::RunFolder;
use synlabel::syndiff::TERM_NAMES;
use synlabel::training::{self, Ending, Event, Start};
use synlabel::validation::ValidationScore;

use super::reading::PairReadingArgs;
use super::stopping::stop_on_ctrl_c;
use super::{
    ContrastArg, DeviceArgs, FormatArg, PrecisionArg, PresetArg, check_precision, print_above, progress_bar,
    report_skipped,
};

/// Train a translator between the look of the labelled images and the look of the target images.
///
/// The images are unpaired: the two folders need not show the same things. Settings come from the preset, then from
/// --config, then from the options here; what results is saved as RUN/config.toml before the first step. Ctrl-C saves
/// and ends; --resume goes on as if never stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the images that have masks (sub-folders are searched; masks are not read here)
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    labelled: Option<PathBuf>,
    /// Folder of the images in the look that nobody has annotated
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    target: Option<PathBuf>,
    /// Folder to make for the run
    #[arg(short, long, value_name = "RUN")]
    output: PathBuf,
    /// Go on with the run in the folder
    #[arg(long)]
    resume: bool,
    /// Settings to start from: paper (graphics card), small (a night on a CPU), demo (minutes)
    #[arg(long, value_enum, default_value = "small")]
    preset: PresetArg,
    /// TOML file of settings over the preset, in the form of a run's config.toml; it may hold a few lines only
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Options over the settings of preset and file.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Settings")]
struct Overrides {
    /// Micrometres per pixel of the labelled images [default: from BIDS sidecars or TIFF tags]
    #[arg(long, value_name = "UM")]
    labelled_pixel_size_um: Option<f64>,
    /// Micrometres per pixel of the target images [default: from BIDS sidecars or TIFF tags]
    #[arg(long, value_name = "UM")]
    target_pixel_size_um: Option<f64>,
    /// Layout of the labelled folder [default: recognised]
    #[arg(long, value_enum, value_name = "FORMAT")]
    labelled_format: Option<FormatArg>,
    /// Layout of the target folder [default: recognised]
    #[arg(long, value_enum, value_name = "FORMAT")]
    target_format: Option<FormatArg>,
    /// Subjects of the labelled images kept for a test, and nowhere else (sub-5,sub-6) [default: a tenth, drawn]
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',')]
    labelled_hold_out: Vec<String>,
    /// Subjects of the target images kept for a test, and nowhere else [default: a tenth, drawn]
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',')]
    target_hold_out: Vec<String>,
    /// Micrometres per pixel to work at [default: the coarser of the two]
    #[arg(long, value_name = "UM")]
    pixel_size_um: Option<f64>,
    /// Draw crops of the emptier set where there is structure, so that both are as dense (see `synlabel check`)
    #[arg(long)]
    balance_crops: bool,
    /// Whether what is light in one look is light in the other; free leaves it to chance
    #[arg(long, value_enum)]
    contrast: Option<ContrastArg>,
    /// Compute norms and activations once more on the way back instead of keeping them: less memory, more time
    #[arg(long)]
    recompute: bool,
    /// Passes over the data
    #[arg(long)]
    epochs: Option<u64>,
    /// Iterations in an epoch; 0 for all images once
    #[arg(long)]
    iterations_per_epoch: Option<u64>,
    /// Crops of each domain in an iteration
    #[arg(long)]
    batch: Option<usize>,
    /// Side of the crops in pixels at the working resolution
    #[arg(long, value_name = "PX")]
    crop: Option<usize>,
    /// Seed of all random numbers
    #[arg(long)]
    seed: Option<u64>,
    /// Precision of products; bf16 is for graphics cards
    #[arg(long, value_enum)]
    precision: Option<PrecisionArg>,
    #[command(flatten)]
    reading: PairReadingArgs,
}

impl Overrides {
    fn apply(&self, config: &mut TrainConfig) {
        fn set<T: Copy>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut config.data.labelled.pixel_size_um, self.labelled_pixel_size_um);
        set(&mut config.data.target.pixel_size_um, self.target_pixel_size_um);
        for (place, format) in [
            (&mut config.data.labelled.format, self.labelled_format),
            (&mut config.data.target.format, self.target_format),
        ] {
            set(place, format.map(FormatArg::asked));
        }
        for (domain, data) in [(Domain::Labelled, &mut config.data.labelled), (Domain::Target, &mut config.data.target)]
        {
            set(&mut data.intensity, self.reading.intensity(domain));
            set(&mut data.page, self.reading.page(domain).map(Some));
        }
        for (place, subjects) in [
            (&mut config.data.labelled.hold_out, &self.labelled_hold_out),
            (&mut config.data.target.hold_out, &self.target_hold_out),
        ] {
            if !subjects.is_empty() {
                place.clone_from(subjects);
            }
        }
        set(&mut config.pixel_size_um, self.pixel_size_um);
        config.balance_crops |= self.balance_crops;
        set(&mut config.step.contrast, self.contrast.map(Into::into));
        config.step.recompute |= self.recompute;
        set(&mut config.epochs, self.epochs);
        set(&mut config.iterations_per_epoch, self.iterations_per_epoch);
        set(&mut config.batch, self.batch);
        set(&mut config.networks.crop, self.crop);
        set(&mut config.seed, self.seed);
        set(&mut config.precision, self.precision.map(Into::into));
    }
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let start = if self.resume {
            self.resumed()?
        } else {
            Start::New(Box::new(self.resolved(TrainConfig::preset(self.preset.into()))?))
        };
        let device = self.device.choose()?;
        let precision = match &start {
            Start::New(config) => config.precision,
            Start::Resume => RunFolder::open(&self.output)?.config().precision,
        };
        check_precision(precision, &device)?;
        let ending = train_with_progress(&self.output, start, &device.device)?;
        match ending {
            Ending::Finished => println!("done: {} (look at panels/ and curves.png)", self.output.display()),
            Ending::Stopped => {
                println!("stopped and saved; go on with: synlabel train --resume -o {}", self.output.display())
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The settings that file and options make of `base`.
    fn resolved(&self, base: TrainConfig) -> Result<TrainConfig> {
        let mut config = match &self.config {
            Some(path) => base.with_file(path)?,
            None => base,
        };
        self.overrides.apply(&mut config);
        for (domain, dir) in [(Domain::Labelled, &self.labelled), (Domain::Target, &self.target)] {
            let data = match domain {
                Domain::Labelled => &mut config.data.labelled,
                Domain::Target => &mut config.data.target,
            };
            if let Some(dir) = dir {
                data.dir = dir.canonicalize().unwrap_or_else(|_| dir.clone());
            }
        }
        Ok(config)
    }

    /// Going on needs no options; options that say something else than the run's settings are refused.
    fn resumed(&self) -> Result<Start> {
        let run = RunFolder::open(&self.output)?;
        let asked = self.resolved(run.config().clone())?;
        if asked != *run.config() {
            bail!(
                "cannot resume {} with other settings than it was begun with:\n{}\nleave these options out, or start a \
                 new run in another folder",
                self.output.display(),
                differences(run.config(), &asked)?
            );
        }
        Ok(Start::Resume)
    }
}

/// The settings in which two differ. One that is as usual may be left out of the file.
fn differences(run: &TrainConfig, asked: &TrainConfig) -> Result<String> {
    let (run, asked) = (run.to_lines()?, asked.to_lines()?);
    let names: BTreeSet<&String> = run.keys().chain(asked.keys()).collect();
    let shown = |lines: &BTreeMap<String, String>, name: &String| {
        lines.get(name).map_or(format!("{name} as usual"), |value| format!("{name} = {value}"))
    };
    let differing = names.into_iter().filter(|name| run.get(*name) != asked.get(*name));
    let lines = differing.map(|name| format!("  run: {}   asked: {}", shown(&run, name), shown(&asked, name)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Trains with a progress bar; Ctrl-C saves and stops, a second one ends at once.
pub fn train_with_progress(root: &Path, start: Start, device: &burn::tensor::Device) -> Result<Ending> {
    let stop = stop_on_ctrl_c();
    let mut display = Display::default();
    let ending = training::train(root, start, device, &stop, &mut |event| display.show(event));
    display.end();
    ending.with_context(|| format!("training in {}", root.display()))
}

/// The progress bar on a terminal, plain lines elsewhere.
pub(super) struct Display {
    bar: ProgressBar,
    skipped: Vec<Skipped>,
}

impl Default for Display {
    fn default() -> Self {
        Self { bar: ProgressBar::hidden(), skipped: Vec::new() }
    }
}

impl Display {
    /// Clears the bar and tells what was left out.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
        report_skipped(&self.skipped);
    }

    pub(super) fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Started { train, validation, pixel_size_um, iterations } => {
                self.started(train, validation, pixel_size_um, iterations);
            }
            Event::Note(note) => print_above(&self.bar, format!("note: {note}")),
            Event::Skipped { path, reason } => {
                print_above(&self.bar, format!("warning: left out {}: {reason}", path.display()));
                self.skipped.push(Skipped { path: path.to_path_buf(), reason: reason.to_string() });
            }
            Event::Step { step, losses, seconds } => {
                self.bar.set_position(step);
                self.bar.set_message(format!("{seconds:.1} s/it  {}", main_losses(losses)));
            }
            Event::Epoch { epoch, score, best } => print_above(&self.bar, epoch_line(epoch, score, best)),
        }
    }

    fn started(
        &mut self,
        train: Pair<usize>,
        validation: Pair<usize>,
        pixel_size_um: Option<f64>,
        (all, done): (u64, u64),
    ) {
        for domain in Domain::BOTH {
            eprintln!(
                "{}: {} images to learn from, {} to validate on",
                domain.name(),
                train.of(domain),
                validation.of(domain)
            );
        }
        if let Some(size) = pixel_size_um {
            eprintln!("working at {size} um per pixel");
        }
        self.bar = progress_bar(Some(all));
        self.bar.set_position(done);
        self.bar.reset_eta();
    }
}

/// The figures of an epoch.
fn epoch_line(epoch: u64, score: &ValidationScore, best: bool) -> String {
    format!(
        "epoch {epoch:4}  there-and-back SSIM {:.3} / {:.3}  distance to the real look {:.2} / {:.2} (untranslated {:.2} / \
         {:.2})  contrast {}  score {:.3}{}",
        score.fidelity.labelled.ssim,
        score.fidelity.target.ssim,
        score.distance.labelled,
        score.distance.target,
        score.untranslated.labelled,
        score.untranslated.target,
        contrast_word(score),
        score.score,
        if best { "  best so far" } else { "" }
    )
}

/// What became of light and dark, in both directions.
fn contrast_word(score: &ValidationScore) -> &'static str {
    const CLEAR: f64 = 0.3;
    let [labelled, target] = [score.contrast.labelled, score.contrast.target];
    if labelled > CLEAR && target > CLEAR {
        "kept"
    } else if labelled < -CLEAR && target < -CLEAR {
        "inverted"
    } else {
        "unclear"
    }
}

/// The losses that tell most, in few letters.
fn main_losses(losses: &[f64; TERM_NAMES.len()]) -> String {
    ["cycle", "reconstruction", "adversarial", "patch_adversarial"]
        .iter()
        .filter_map(|name| {
            let place = TERM_NAMES.iter().position(|term| term == name)?;
            Some(format!("{} {:.2}", name.replace('_', " "), losses[place]))
        })
        .collect::<Vec<_>>()
        .join("  ")
}
