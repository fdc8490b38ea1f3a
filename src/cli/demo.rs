//! `synlabel demo`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use synlabel::demo::{DemoFolder, compare_with_truth, planes_to_evaluate};
use synlabel::domain::Domain;
use synlabel::evaluation::evaluate;
use synlabel::run::{RunFolder, Which};
use synlabel::syndiff::ImageTranslator;
use synlabel::table::Table;
use synlabel::training::{Ending, Start};

use super::DeviceArgs;
use super::evaluate::{summary_table, write_evaluation};
use super::train::train_with_progress;

/// Draw two synthetic looks of a nerve, learn to translate between them, and show the result.
///
/// Needs no data and no download and takes less than three minutes on two cores. Writes the images with their masks,
/// the run, panel.png and the figures.
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
        let device = self.device.choose()?;
        let folder = DemoFolder::new(&self.output);
        RunFolder::refuse_existing(&folder.run())?;
        folder.draw()?;
        println!("drew two looks of synthetic nerves in {}", self.output.display());
        let config = folder.config();
        let ending = train_with_progress(&folder.run(), Start::New(Box::new(config.clone())), &device.device)?;
        if ending == Ending::Stopped {
            println!("stopped and saved; go on with: synlabel train --resume -o {}", folder.run().display());
            return Ok(ExitCode::SUCCESS);
        }
        let run = RunFolder::open(&folder.run())?;
        let (generators, _) = run.load_generators(Which::Best, &device.device)?;
        let networks = &config.networks;
        let translator = ImageTranslator::new(generators, networks, networks.crop, &device.device)?;

        let truth = compare_with_truth(&translator, &folder)?;
        let evaluation = evaluate(&translator, &planes_to_evaluate(), 0, |_| {});
        write_evaluation(&folder.evaluation(), &evaluation)?;
        println!("\nThere and back, and distance from the real look:\n{}", summary_table(&evaluation));
        let mut table =
            Table::new(["direction", "SSIM to the truth", "untranslated", "L1 to the truth", "untranslated"]);
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
        println!("\nlook at {} ({:.0} s)", folder.panel().display(), began.elapsed().as_secs_f64());
        Ok(ExitCode::SUCCESS)
    }
}
