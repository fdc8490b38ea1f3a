//! `synlabel translate`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use synlabel::config::TrainConfig;
use synlabel::dataset::{self, Image, Skipped};
use synlabel::domain::Domain;
use synlabel::files::create_dir;
use synlabel::imaging::{self, Plane};
use synlabel::prepare::to_working_size;
use synlabel::random::Stream;
use synlabel::run::{RunFolder, Which};
use synlabel::syndiff::ImageTranslator;

use super::outcome::{Outcome, failed};
use super::{DeviceArgs, DomainArg, FormatArg, PrecisionArg, check_precision, file_name, progress_bar, report_skipped};

/// Translate images of any size into the other look.
///
/// Large images go through the networks in overlapping tiles; the noise is one field over the whole image, so no seam
/// shows. The result has the size, the bit depth and the name of the input. The exit code is 0 when all images were
/// translated, 2 when some were not (they are listed), 1 when none was.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Images, or folders of images
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE_OR_DIR")]
    input: Vec<PathBuf>,
    /// Layout of the input
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    format: FormatArg,
    /// Folder for the translated images
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The look to translate into
    #[arg(long, value_enum)]
    to: DomainArg,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Draws of the noise; with more than one, their mean is written and their standard deviation as NAME_sd
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), value_name = "K")]
    samples: u64,
    /// Micrometres per pixel of the inputs [default: from sidecars or TIFF tags, then what the run was told]
    #[arg(long, value_name = "UM")]
    pixel_size_um: Option<f64>,
}

/// Which trained networks, and how to run them.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Folder of a run, as `synlabel train` or `synlabel import` made it
    #[arg(short, long, value_name = "RUN")]
    model: PathBuf,
    /// Use the newest checkpoint instead of the best
    #[arg(long)]
    last: bool,
    /// Side of the tiles in pixels at the working resolution [default: the crop of the training]
    #[arg(long, value_name = "PX")]
    tile: Option<usize>,
    /// Precision of products; bf16 is for graphics cards
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArg,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A run with its networks loaded.
pub struct Model {
    pub translator: ImageTranslator,
    pub run: RunFolder,
}

impl ModelArgs {
    /// Loads the networks and says which they are.
    pub fn load(&self) -> Result<Model> {
        let run = RunFolder::open(&self.model)?.with_precision(self.precision.into());
        let device = self.device.choose()?;
        check_precision(self.precision.into(), &device)?;
        let which = if self.last { Which::Last } else { Which::Best };
        let (generators, progress) = run.load_generators(which, &device.device)?;
        eprintln!("{} checkpoint of {}: epoch {}", which.name(), self.model.display(), progress.epoch);
        let networks = &run.config().networks;
        let tile = self.tile.unwrap_or(networks.crop);
        ensure!(tile >= 8, "a tile of {tile} px is too small; give 8 px or more");
        Ok(Model { translator: ImageTranslator::new(generators, networks, tile, &device.device)?, run })
    }
}

/// The pixel size to assume for a domain's images that do not say theirs.
pub fn fallback_pixel_size(config: &TrainConfig, domain: Domain) -> Option<f64> {
    let size = config.data.of(domain).pixel_size_um;
    (size > 0.0).then_some(size)
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let to: Domain = self.to.into();
        let model = self.model.load()?;
        model.run.check_direction(to)?;
        let dataset = dataset::discover_files(&self.input, self.format.asked())?;
        eprintln!("{}", dataset.summary());
        let loaded = dataset::load(&dataset, self.pixel_size_um)?;
        for note in &loaded.notes {
            eprintln!("note: {note}");
        }
        create_dir(&self.output)?;
        self.refuse_clashes(&loaded.images)?;
        self.note_pixel_size(&model, &loaded.images, to);
        let bar = progress_bar(Some(loaded.images.len() as u64));
        let mut skipped = loaded.skipped;
        let mut done = 0;
        for image in &loaded.images {
            bar.set_message(file_name(&image.case.path));
            // One bad file must not cost the others.
            match self.translate(&model, image, to) {
                Ok(()) => done += 1,
                Err(error) => {
                    skipped.push(Skipped { path: image.case.path.clone(), reason: format!("{error:#}") });
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        report_skipped(&skipped);
        println!("{done} images in {}", self.output.display());
        Ok(Outcome { done, failed: failed(&skipped, &dataset.cases, &self.input) }.exit_code())
    }

    fn translate(&self, model: &Model, image: &Image, to: Domain) -> Result<()> {
        let pixel_size = image.case.pixel_size_um.or(fallback_pixel_size(model.run.config(), to.other()));
        let working = to_working_size(&image.plane, pixel_size, model.run.data().pixel_size_um);
        // Each image has its own noise: the same field under all would leave the same traces in all.
        let noise = Stream::new(self.seed).child(image.case.name.as_str());
        let draws: Vec<Plane> = (0..self.samples)
            .map(|sample| {
                let translated = model.translator.translate(&working, to, &noise.child(sample));
                back_to_size(translated, &image.plane)
            })
            .collect();
        let path = self.output.join(file_name(&image.case.path));
        let (mean, deviation) = mean_and_deviation(&draws);
        imaging::write(&path, &mean, image.depth, image.case.pixel_size_um)?;
        if self.samples > 1 {
            imaging::write(&deviation_path(&path), &deviation, image.depth, image.case.pixel_size_um)?;
        }
        Ok(())
    }

    /// Outputs carry the names of the inputs: two of one name, or an input in the output folder, would be lost.
    fn refuse_clashes(&self, images: &[Image]) -> Result<()> {
        let output = self.output.canonicalize().unwrap_or_else(|_| self.output.clone());
        let mut names = HashSet::new();
        for image in images {
            let path = &image.case.path;
            let folder = path.parent().and_then(|parent| parent.canonicalize().ok());
            ensure!(
                folder.as_deref() != Some(output.as_path()),
                "{} lies in the output folder and would be overwritten; choose another folder",
                path.display()
            );
            ensure!(
                names.insert(file_name(path)),
                "two inputs are called {}; translate them into different folders",
                file_name(path)
            );
        }
        Ok(())
    }

    fn note_pixel_size(&self, model: &Model, images: &[Image], to: Domain) {
        let Some(working) = model.run.data().pixel_size_um else { return };
        let unknown = images.iter().filter(|image| image.case.pixel_size_um.is_none()).count();
        match fallback_pixel_size(model.run.config(), to.other()) {
            _ if unknown == 0 => {}
            Some(size) => {
                eprintln!("note: {unknown} images do not say their pixel size; taken as {size} um as in training")
            }
            None => eprintln!(
                "note: {unknown} images do not say their pixel size and are used as they are; the networks work at \
                 {working} um per pixel: give --pixel-size-um"
            ),
        }
    }
}

/// A plane resized to the size of another.
fn back_to_size(plane: Plane, like: &Plane) -> Plane {
    if (plane.height(), plane.width()) == (like.height(), like.width()) {
        return plane;
    }
    imaging::resize(&plane, like.height(), like.width())
}

/// The pixelwise mean and (population) standard deviation.
fn mean_and_deviation(draws: &[Plane]) -> (Plane, Plane) {
    let (height, width) = (draws[0].height(), draws[0].width());
    let count = draws.len() as f32;
    let mean = Plane::from_fn(height, width, |y, x| draws.iter().map(|draw| draw.get(y, x)).sum::<f32>() / count);
    let deviation = Plane::from_fn(height, width, |y, x| {
        let squares: f32 = draws.iter().map(|draw| (draw.get(y, x) - mean.get(y, x)).powi(2)).sum();
        (squares / count).sqrt()
    });
    (mean, deviation)
}

fn deviation_path(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}_sd.{extension}"))
}
