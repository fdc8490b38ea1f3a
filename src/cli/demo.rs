//! `synlabel demo`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use synlabel::demo::{DemoFolder, compare_with_truth, planes_to_evaluate};
use synlabel::domain::{Domain, Pair};
use synlabel::evaluation::{Evaluation, evaluate};
use synlabel::pseudo::Pipeline;
use synlabel::run::{RunFolder, Which};
use synlabel::syndiff::ImageTranslator;
use synlabel::table::Table;

use super::DeviceArgs;
use super::evaluate::{summary_table, write_evaluation};
use super::pseudo::run_pipeline;
use super::pseudo_display::tell;

/// Draw two synthetic looks of a nerve, learn to translate between them, and make masks of the one from masks of the other.
///
/// Needs no data and no download and takes less than six minutes on two cores. Both strategies and the model of the
/// labelled look as it is are scored on phantoms that no training has seen; out/report.html shows everything.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for everything that the demo makes
    #[arg(short, long, default_value = "synlabel-demo", value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let began = Instant::now();
        ensure!(!self.output.is_file(), "{} is a file; give the name of a folder to make", self.output.display());
        let device = self.device.choose()?.device;
        let folder = DemoFolder::new(&self.output);
        folder.draw()?;
        println!("drew two looks of synthetic nerves in {}", self.output.display());
        let pipeline = Pipeline::new(folder.pipeline()?, &device)?;
        let Some(finished) = run_pipeline(&pipeline)? else {
            println!("stopped and saved; give the same command again to go on");
            return Ok(ExitCode::SUCCESS);
        };
        let translator = translator(&pipeline.run_folder(), &device)?;
        let evaluation = evaluate(&translator, &planes_to_evaluate(), 0, |_| {});
        write_evaluation(&folder.evaluation(), &evaluation)?;
        tell_of_translations(&evaluation, &compare_with_truth(&translator, &folder)?);
        println!("picture of the translations: {}", folder.panel().display());
        tell(&finished);
        println!("({:.0} s)", began.elapsed().as_secs_f64());
        Ok(ExitCode::SUCCESS)
    }
}

fn translator(run: &std::path::Path, device: &burn::tensor::Device) -> Result<ImageTranslator> {
    let run = RunFolder::open(run)?;
    let (generators, _) = run.load_generators(Which::Best, device)?;
    let networks = &run.config().networks;
    Ok(ImageTranslator::new(generators, networks, networks.crop, device)?)
}

fn tell_of_translations(evaluation: &Evaluation, truth: &Pair<synlabel::demo::TrueError>) {
    println!("\nThere and back, and distance from the real look:\n{}", summary_table(evaluation));
    let mut table = Table::new(["direction", "SSIM to the truth", "untranslated", "L1 to the truth", "untranslated"]);
    for domain in Domain::BOTH {
        let error = truth.of(domain);
        table.row([
            format!("{} → {}", domain.name(), domain.other().name()),
            format!("{:.3}", error.ssim),
            format!("{:.3}", error.ssim_untranslated),
            format!("{:.3}", error.l1),
            format!("{:.3}", error.l1_untranslated),
        ]);
    }
    println!("\nTranslations against the same nerves drawn in the other look:\n{table}");
}
