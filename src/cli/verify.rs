//! `synlabel verify`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use synlabel::table::Table;
use synlabel::verify::{self, Report};

use super::{DeviceArgs, file_name};

/// Replay golden files on the chosen device and compare with the published numbers.
///
/// Without a folder, the small set built into the program is replayed: a check of an installation or of a graphics
/// driver. Ends with an error where a number is off by more than the tolerance.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of golden files (*.safetensors)
    dir: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let device = self.device.choose()?;
        println!("device: {}", device.name);
        let reports = match &self.dir {
            None => verify::built_in(&device.device)?,
            Some(dir) => {
                let (known, unknown) = verify::list(dir)?;
                for path in unknown {
                    eprintln!("note: {} is no golden file that is known by its name; left out", file_name(&path));
                }
                known.iter().map(|path| verify::file(path, &device.device)).collect::<Result<_, _>>()?
            }
        };
        println!("{}", table(&reports));
        let failed: Vec<&str> =
            reports.iter().filter(|report| !report.passes()).map(|report| report.file.as_str()).collect();
        if failed.is_empty() {
            println!("\nall {} files agree", reports.len());
            return Ok(ExitCode::SUCCESS);
        }
        println!("\n{} of {} files are over the tolerance: {}", failed.len(), reports.len(), failed.join(", "));
        Ok(ExitCode::FAILURE)
    }
}

fn table(reports: &[Report]) -> Table {
    let mut table = Table::new(["file", "compared", "worst relative error", "allowed", "", "in"]);
    for report in reports {
        for check in &report.checks {
            table.row([
                report.file.clone(),
                check.what.to_string(),
                format!("{:.1e}", check.error),
                format!("{:.0e}", check.tolerance),
                if check.passes() { "ok".into() } else { "OVER".into() },
                check.tensor.clone(),
            ]);
        }
    }
    table
}
