//! Commands: arguments to settings, library calls, progress on the terminal.

mod bench;
mod check;
mod convert;
mod demo;
mod devices;
mod evaluate;
mod import;
mod outcome;
mod output_names;
mod pseudo;
mod pseudo_display;
mod reading;
mod segment;
mod segment_evaluate;
mod segment_predict;
mod segment_train;
mod stopping;
mod train;
mod translate;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use burn::tensor::DType;
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use synlabel::config::Preset;
use synlabel::dataset::{Format, Skipped};
use synlabel::device::{self, Chosen, PROBE_COMMAND};
use synlabel::domain::Domain;
use synlabel::nn::Precision;
use synlabel::syndiff::Contrast;

/// Turn masks in one microscopy modality into masks in another.
#[derive(Debug, Parser)]
#[command(name = "synlabel", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at data sets before anything is trained: what is wrong, and how far two are apart
    Check(check::Args),
    /// Write a data set anew as BIDS or as nnU-Net raw data
    Convert(convert::Args),
    /// Train a translator between two folders of images
    Train(train::Args),
    /// Translate images into the other look
    Translate(translate::Args),
    /// Measure how good a translator is
    Evaluate(evaluate::Args),
    /// Train, use and judge segmentation models
    Segment(segment::Args),
    /// Make masks by tutorship: translate labelled images, train a proxy model on them, apply it
    Tutor(Box<pseudo::TutorArgs>),
    /// Make masks by adaptation: translate target images, apply a model that exists
    Adapt(Box<pseudo::AdaptArgs>),
    /// Try both and the usual baselines, and say which to use and why
    Compare(Box<pseudo::CompareArgs>),
    /// Turn generators trained with the published Python code into a run
    Import(import::Args),
    /// Check this program, or a graphics driver, against published numbers
    Verify(verify::Args),
    /// Draw two synthetic looks of a nerve, learn to translate, and make masks of the one from the other
    Demo(demo::Args),
    /// Time training and translation on this computer
    Bench(bench::Args),
    /// List the compute devices that this program can use
    Devices,
    /// Try a device
    #[command(name = PROBE_COMMAND, hide = true)]
    ProbeDevice { name: String },
}

/// Where to compute.
#[derive(Debug, Clone, clap::Args)]
struct DeviceArgs {
    /// Compute device: auto, or a name that `synlabel devices` lists, with a number for the second of a kind (cuda:1)
    #[arg(long, default_value = "auto", value_name = "NAME")]
    device: String,
}

impl DeviceArgs {
    fn choose(&self) -> Result<Chosen> {
        let chosen = device::choose(&self.device)?;
        if let Some(note) = &chosen.note {
            eprintln!("note: {note}");
        }
        if cfg!(feature = "autotune") && !chosen.is_cpu() {
            eprintln!("note: the card tries several kernels out for each size first, which takes minutes");
        }
        Ok(chosen)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PresetArg {
    Paper,
    Small,
    Demo,
}

impl From<PresetArg> for Preset {
    fn from(preset: PresetArg) -> Self {
        match preset {
            PresetArg::Paper => Self::Paper,
            PresetArg::Small => Self::Small,
            PresetArg::Demo => Self::Demo,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    F32,
    Bf16,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ContrastArg {
    /// As published
    Free,
    /// Light stays light
    Kept,
    /// Light becomes dark
    Inverted,
}

impl From<ContrastArg> for Contrast {
    fn from(contrast: ContrastArg) -> Self {
        match contrast {
            ContrastArg::Free => Self::Free,
            ContrastArg::Kept => Self::Kept,
            ContrastArg::Inverted => Self::Inverted,
        }
    }
}

/// Refuses a precision that a device does not have.
fn check_precision(precision: Precision, device: &Chosen) -> Result<()> {
    anyhow::ensure!(
        precision == Precision::F32 || !device.is_cpu(),
        "mixed precision (bf16) is for graphics cards; on the CPU it would only be slower: leave --precision out"
    );
    anyhow::ensure!(
        precision == Precision::F32 || device.device.supports_dtype(DType::BF16),
        "{} cannot compute in bf16 on this card: leave --precision out",
        device.name
    );
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DomainArg {
    Labelled,
    Target,
}

impl From<DomainArg> for Domain {
    fn from(domain: DomainArg) -> Self {
        match domain {
            DomainArg::Labelled => Self::Labelled,
            DomainArg::Target => Self::Target,
        }
    }
}

/// A layout of folders, or `auto` to recognise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum FormatArg {
    #[default]
    Auto,
    /// BIDS microscopy
    Bids,
    /// nnU-Net raw data
    Nnunet,
    /// Masks NAME_seg-CLASS beside the images
    Axondeepseg,
    /// Masks that belong to images by name or folder
    Pairs,
    /// Every image file is an image
    Plain,
}

impl FormatArg {
    /// What the user said; none to recognise it.
    fn asked(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::Bids => Some(Format::Bids),
            Self::Nnunet => Some(Format::NnUnet),
            Self::Axondeepseg => Some(Format::AxonDeepSeg),
            Self::Pairs => Some(Format::Pairs),
            Self::Plain => Some(Format::Plain),
        }
    }
}

/// Parses the command line and runs the command.
pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Check(args) => args.run(),
        Command::Convert(args) => args.run(),
        Command::Train(args) => args.run(),
        Command::Translate(args) => args.run(),
        Command::Evaluate(args) => args.run(),
        Command::Segment(args) => args.run(),
        Command::Tutor(args) => args.run(),
        Command::Adapt(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Import(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Demo(args) => args.run(),
        Command::Bench(args) => args.run(),
        Command::Devices => devices::run(),
        Command::ProbeDevice { name } => Ok(if device::probe(&name)? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
}

/// Tells which files were left out, each with its reason.
fn report_skipped(skipped: &[Skipped]) {
    if skipped.is_empty() {
        return;
    }
    eprintln!("left out {} file{}:", skipped.len(), if skipped.len() == 1 { "" } else { "s" });
    for Skipped { path, reason } in skipped {
        eprintln!("  {}: {reason}", path.display());
    }
}

/// A bar on stderr, hidden where that is no terminal; without a length until one is set.
fn progress_bar(length: Option<u64>) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta} left  {msg}").expect("the template is fixed");
    ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style)
}

/// Prints a line above a bar, or a plain one where there is no terminal.
fn print_above(bar: &ProgressBar, line: String) {
    if bar.is_hidden() {
        eprintln!("{line}");
    } else {
        bar.println(line);
    }
}

/// The file name of a path for messages.
fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
