//! `synlabel bench`

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use synlabel::bench::{Figure, Part, measure};
use synlabel::config::TrainConfig;
use synlabel::table::Table;

use super::{DeviceArgs, PrecisionArg, PresetArg, check_precision};

/// Time training and translation on this computer.
///
/// Nothing is read or written: images and weights are drawn. Each part is done once to warm up, then `--rounds` times,
/// and the median counts.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// The networks: as published, or narrow ones for a CPU
    #[arg(long, value_enum, default_value = "small")]
    preset: PresetArg,
    /// Side of the images in pixels [default: the crop of the preset]
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Images in a batch of the translator [default: that of the preset]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// Precision of products of the translator's networks; bf16 is for graphics cards
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArg,
    /// Compute norms and activations once more on the way back instead of keeping them, in iterations of SynDiff
    #[arg(long)]
    recompute: bool,
    /// How often each part is timed
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Only these parts
    #[arg(long, value_enum, num_args = 1.., value_name = "PART")]
    only: Vec<PartArg>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PartArg {
    Iteration,
    Generator,
    Translation,
    SegmentationStep,
    SegmentationPrediction,
}

impl From<PartArg> for Part {
    fn from(part: PartArg) -> Self {
        match part {
            PartArg::Iteration => Self::Iteration,
            PartArg::Generator => Self::Generator,
            PartArg::Translation => Self::Translation,
            PartArg::SegmentationStep => Self::SegmentationStep,
            PartArg::SegmentationPrediction => Self::SegmentationPrediction,
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    version: &'a str,
    device: &'a str,
    threads: usize,
    preset: &'a str,
    size: usize,
    batch: usize,
    precision: &'a str,
    figures: &'a [Figure],
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let mut config = TrainConfig::preset(self.preset.into());
        config.networks.crop = self.size.unwrap_or(config.networks.crop);
        config.batch = self.batch.map_or(config.batch, |batch| batch as usize);
        config.step.recompute = self.recompute;
        config.precision = self.precision.into();
        config.networks.check()?;
        let device = self.device.choose()?;
        check_precision(config.precision, &device)?;
        let parts: Vec<Part> = if self.only.is_empty() {
            Part::ALL.to_vec()
        } else {
            self.only.iter().map(|part| (*part).into()).collect()
        };
        let mut figures = Vec::new();
        for part in parts {
            eprintln!("{} ...", part.name());
            figures.push(measure(part, &config, &device.device, self.rounds as usize)?);
        }
        let preset = if self.preset == PresetArg::Paper { "paper" } else { "small" };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let output = Output {
            version: env!("CARGO_PKG_VERSION"),
            device: &device.name,
            threads,
            preset,
            size: config.networks.crop,
            batch: config.batch,
            precision: if self.precision == PrecisionArg::F32 { "f32" } else { "bf16" },
            figures: &figures,
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&output)?);
        } else {
            println!(
                "{} ({threads} threads), {} px, batch {}, {}",
                device.name, output.size, output.batch, output.precision
            );
            println!("{}", table(&figures));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(figures: &[Figure]) -> Table {
    let megabytes = |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
    let on_card = figures.iter().any(|figure| figure.card_bytes.is_some());
    let headers = ["part", "median s", "fastest s", "slowest s", "Mpx/s", "peak MB"];
    let mut table = Table::new(headers.into_iter().chain(on_card.then_some("card MB")));
    for figure in figures {
        let fastest = figure.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let slowest = figure.seconds.iter().copied().fold(0.0, f64::max);
        let cells = [
            figure.part.name().to_string(),
            format!("{:.4}", figure.median_seconds),
            format!("{fastest:.4}"),
            format!("{slowest:.4}"),
            format!("{:.4}", figure.megapixels_per_second),
            megabytes(figure.peak_bytes),
        ];
        table.row(cells.into_iter().chain(on_card.then(|| megabytes(figure.card_bytes))));
    }
    table
}
