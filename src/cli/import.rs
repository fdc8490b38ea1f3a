//! `synlabel import`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use synlabel::domain::{Domain, Pair};
use synlabel::import::{Import, domain_of_name, import, read_options};
use synlabel::syndiff::published_options::PublishedGeneratorOptions;

/// Turn generators trained with the published Python code into a run that `translate` and `evaluate` take.
///
/// Nothing in the files is executed. A file called gen_diffusive_1_N.pth makes images of the labelled look,
/// gen_diffusive_2_N.pth of the target look.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoints: gen_diffusive_1_N.pth, gen_diffusive_2_N.pth, or both
    #[arg(short, long, required = true, num_args = 1..=2, value_name = "PTH")]
    input: Vec<PathBuf>,
    /// Folder to make for the run
    #[arg(short, long, value_name = "RUN")]
    output: PathBuf,
    /// JSON or TOML file with the options that the generators were trained with, under their published names, such as
    /// image_size, num_channels_dae, ch_mult [default: the published values]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Micrometres per pixel at which they were trained
    #[arg(long, value_name = "UM")]
    pixel_size_um: Option<f64>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let mut generators = Pair::<Option<PathBuf>>::default();
        for path in &self.input {
            let place = match domain_of_name(path) {
                Some(Domain::Labelled) => &mut generators.labelled,
                Some(Domain::Target) => &mut generators.target,
                None => bail!(
                    "the name of {} does not tell which generator it is; call it gen_diffusive_1_N.pth (makes images of \
                     the labelled look) or gen_diffusive_2_N.pth (of the target look)",
                    path.display()
                ),
            };
            ensure!(place.is_none(), "{} is a second generator of the same direction", path.display());
            *place = Some(path.clone());
        }
        let options = match &self.config {
            Some(path) => read_options(path)?,
            None => PublishedGeneratorOptions::default(),
        };
        import(&self.output, &Import { generators: generators.clone(), options, pixel_size_um: self.pixel_size_um })?;
        for domain in Domain::BOTH {
            if generators.of(domain).is_some() {
                println!("translates with --to {}", domain.name());
            }
        }
        println!("run: {}", self.output.display());
        Ok(ExitCode::SUCCESS)
    }
}
