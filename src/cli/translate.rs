//! `synlabel translate`

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use serde_json::json;
use synlabel::blocks::{BlockFolder, Shard};
use synlabel::config::TrainConfig;
use synlabel::dataset::{self, Case, Skipped};
use synlabel::domain::Domain;
use synlabel::file_translation::{LargeImage, Part, Standing, Translation};
use synlabel::files::create_dir;
use synlabel::imaging::{self, BitDepth, Format, ImageSource, Intensity, IntensityMap, ReadOptions, Window};
use synlabel::random::Stream;
use synlabel::run::{Progress, RunFolder, Which};
use synlabel::syndiff::ImageTranslator;

use super::outcome::{Outcome, failed};
use super::output_names::{deviation_path, output_name};
use super::reading::ReadingArgs;
use super::stopping::stop_on_ctrl_c;
use super::{DeviceArgs, DomainArg, FormatArg, PrecisionArg, check_precision, file_name, progress_bar, report_skipped};

/// Translate images of any size into the other look.
///
/// Large images go through the networks in overlapping tiles; the noise is one field over the whole image, so no seam
/// shows. The result has the size, the bit depth (all of its range) and the name of the input. Images of more than 2048 x 2048 pixels are
/// read, translated and kept in blocks, so that their size does not matter and the same command goes on after a stop. The
/// exit code is 0 when all images were translated, 2 when some were not (they are listed), 1 when none was.
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
    #[command(flatten)]
    reading: ReadingArgs,
    /// Make only a share of the work, k of n (2/8): on a cluster, each job of an array makes one. When all are done, the
    /// command without --shard puts large images together
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
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
    /// Of the checkpoint.
    pub progress: Progress,
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
        Ok(Model { translator: ImageTranslator::new(generators, networks, tile, &device.device)?, run, progress })
    }
}

/// The pixel size to assume for a domain's images that do not say theirs.
pub fn fallback_pixel_size(config: &TrainConfig, domain: Domain) -> Option<f64> {
    let size = config.data.of(domain).pixel_size_um;
    (size > 0.0).then_some(size)
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        if let Some(size) = self.pixel_size_um {
            ensure!(size.is_finite() && size > 0.0, "--pixel-size-um must be above 0 micrometres");
        }
        let to: Domain = self.to.into();
        let model = self.model.load()?;
        model.run.check_direction(to)?;
        let dataset = dataset::discover_files(&self.input, self.format.asked())?;
        eprintln!("{}", dataset.summary());
        for note in &dataset.notes {
            eprintln!("note: {note}");
        }
        create_dir(&self.output)?;
        self.refuse_clashes(&dataset.cases)?;
        let mut batch = Batch {
            args: &self,
            model: &model,
            reading: self.reading.over(model.run.config().data.of(to.other()).intensity),
            stop: stop_on_ctrl_c(),
            groups: 0,
            depths: Vec::new(),
            unsized_images: 0,
            written: 0,
            waiting: 0,
            of_others: 0,
        };
        let mut skipped = dataset.skipped.clone();
        for case in &dataset.cases {
            if batch.stop.load(Ordering::Relaxed) {
                break;
            }
            // One bad file must not cost the others.
            if let Err(error) = batch.translate(case) {
                skipped.push(Skipped { path: case.path.clone(), reason: format!("{error:#}") });
            }
        }
        batch.note_intensities();
        batch.note_pixel_sizes();
        report_skipped(&skipped);
        batch.tell();
        if batch.stop.load(Ordering::Relaxed) {
            return Ok(ExitCode::SUCCESS);
        }
        let done = batch.written + batch.waiting + batch.of_others;
        Ok(Outcome { done, failed: failed(&skipped, &dataset.cases, &self.input) }.exit_code())
    }

    /// Two images of one name, or an input in the output folder, would be lost.
    fn refuse_clashes(&self, cases: &[Case]) -> Result<()> {
        let output = self.output.canonicalize().unwrap_or_else(|_| self.output.clone());
        let mut names = HashSet::new();
        for path in cases.iter().map(|case| &case.path) {
            let folder = path.parent().and_then(|parent| parent.canonicalize().ok());
            ensure!(
                folder.as_deref() != Some(output.as_path()),
                "{} lies in the output folder and would be overwritten; choose another folder",
                path.display()
            );
            let name = output_name(path);
            ensure!(
                names.insert(name.clone()),
                "two inputs are called {name} when they are written; translate them into different folders"
            );
        }
        Ok(())
    }
}

/// Images of up to so many pixels (2048 x 2048) are translated in one go; larger ones in blocks that survive a stop.
const SMALL: usize = 1 << 22;

/// The images of one call.
struct Batch<'a> {
    args: &'a Args,
    model: &'a Model,
    reading: ReadOptions,
    stop: Arc<AtomicBool>,
    /// Groups of blocks of the images so far; a small image is one.
    groups: usize,
    /// Of the images that were read.
    depths: Vec<BitDepth>,
    /// Images of which nobody knows the pixel size.
    unsized_images: usize,
    /// Images that are written.
    written: usize,
    /// Images of which the blocks of this share are made.
    waiting: usize,
    /// Small images of other shares.
    of_others: usize,
}

impl Batch<'_> {
    fn translate(&mut self, case: &Case) -> Result<()> {
        let source = ImageSource::open(&case.path, self.reading.page)?;
        if source.height() * source.width() > SMALL {
            return self.translate_large(case, &source);
        }
        drop(source);
        let number = self.groups;
        self.groups += 1;
        if self.args.shard.is_some_and(|shard| !shard.holds(number)) {
            self.of_others += 1;
            return Ok(());
        }
        self.translate_small(case)
    }

    fn translate_small(&mut self, case: &Case) -> Result<()> {
        let loaded = dataset::load_case(case, self.args.pixel_size_um, &self.reading);
        let (image, notes) = loaded.map_err(anyhow::Error::msg)?;
        self.depths.push(image.depth);
        for note in notes {
            eprintln!("note: {note}");
        }
        let pixel_size_um = self.pixel_size(image.case.pixel_size_um);
        let bar = spinner(case);
        let size = [image.plane.height(), image.plane.width()];
        let part = |window: &Window| Ok(image.plane.part(window));
        let drawn = self.job().window(size, pixel_size_um, &image.plane.window(), &self.noise(case), part)?;
        bar.finish_and_clear();
        let format = Format::full(image.depth, image.case.pixel_size_um);
        let path = self.args.output.join(output_name(&case.path));
        if self.args.samples > 1 {
            imaging::write_as(&deviation_path(&path), &drawn.deviation, &format)?;
        }
        imaging::write_as(&path, &drawn.mean, &format)?;
        self.written += 1;
        Ok(())
    }

    fn translate_large(&mut self, case: &Case, source: &ImageSource) -> Result<()> {
        for note in source.notes() {
            eprintln!("note: {}: {note}", case.name);
        }
        let known_um = self.args.pixel_size_um.or(case.pixel_size_um).or(source.pixel_size_um());
        let pixel_size_um = self.pixel_size(known_um);
        self.depths.push(source.depth());
        let groups = self.job().groups([source.height(), source.width()], pixel_size_um);
        let groups_before = self.groups;
        self.groups += groups.count();
        let mean = self.args.output.join(output_name(&case.path));
        let bar = progress_bar(Some(groups.blocks().count() as u64));
        let name = file_name(&case.path);
        // Percentiles need a look at the whole image; starts after a stop, and other shares, find them with the blocks.
        bar.set_message(format!("{name}: its range of grey"));
        let settings = self.settings(source, pixel_size_um)?;
        let range = BlockFolder::open(&mean, &settings)?.shared("intensity", || {
            let IntensityMap { low, high } = source.fit(self.reading.intensity, &mut |_| bar.tick())?;
            Ok(Intensity::Range { low, high })
        })?;
        let intensity = source.fit(range, &mut |_| ())?;
        bar.set_message(name);
        let image = LargeImage {
            source,
            pixel_size_um,
            intensity,
            format: Format::full(source.depth(), known_um),
            deviation: (self.args.samples > 1).then(|| deviation_path(&mean)),
            mean,
            settings,
        };
        let part = Part { shard: self.args.shard, groups_before };
        let standing = self.job().large_image(&image, part, &self.noise(case), &self.stop, &mut || bar.inc(1))?;
        bar.finish_and_clear();
        match standing {
            Standing::Finished => self.written += 1,
            Standing::ShareFinished => self.waiting += 1,
            Standing::Stopped => {}
        }
        Ok(())
    }

    fn job(&self) -> Translation<'_> {
        Translation {
            translator: &self.model.translator,
            to: self.args.to.into(),
            working_um: self.model.run.data().pixel_size_um,
            draws: self.args.samples,
        }
    }

    /// Each image has its own noise: the same field under all would leave the same traces in all.
    fn noise(&self, case: &Case) -> Stream {
        Stream::new(self.args.seed).child(case.name.as_str())
    }

    /// What the blocks of an image depend on.
    fn settings(&self, source: &ImageSource, pixel_size_um: Option<f64>) -> Result<serde_json::Value> {
        let file = std::fs::metadata(source.path())?;
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "image": file_name(source.path()),
            "bytes": file.len(),
            "run": self.args.model.model.canonicalize()?,
            "step": self.model.progress.step,
            "look": Domain::from(self.args.to).name(),
            "tile": self.model.translator.tile(),
            "precision": format!("{:?}", self.args.model.precision),
            "seed": self.args.seed,
            "samples": self.args.samples,
            "pixel_size_um": pixel_size_um,
            "page": self.reading.page,
            "intensity": self.reading.intensity,
        }))
    }

    /// The pixel size of an image, or what the run was told of its look.
    fn pixel_size(&mut self, known_um: Option<f64>) -> Option<f64> {
        self.unsized_images += usize::from(known_um.is_none());
        let to: Domain = self.args.to.into();
        known_um.or(fallback_pixel_size(self.model.run.config(), to.other()))
    }

    fn note_intensities(&self) {
        if let Some(remark) = self.reading.intensity.remark(&self.depths) {
            eprintln!("note: {remark}");
        }
    }

    fn note_pixel_sizes(&self) {
        let Some(working) = self.model.run.data().pixel_size_um else { return };
        let unknown = self.unsized_images;
        let to: Domain = self.args.to.into();
        match fallback_pixel_size(self.model.run.config(), to.other()) {
            _ if unknown == 0 => {}
            Some(size) => {
                eprintln!("note: {unknown} images do not say their pixel size; taken as {size} um as in training")
            }
            None => eprintln!(
                "note: {unknown} images do not say their pixel size and were used as they are; the networks work at \
                 {working} um per pixel: give --pixel-size-um"
            ),
        }
    }

    fn tell(&self) {
        println!("{} images in {}", self.written, self.args.output.display());
        if self.waiting > 0 {
            println!(
                "the blocks of this share are made for {} large images; when those of all shares are, give the command \
                 without --shard to put them together",
                self.waiting
            );
        }
        if self.stop.load(Ordering::Relaxed) {
            println!("stopped; blocks that are made are kept: give the same command again to go on");
        }
    }
}

fn spinner(case: &Case) -> ProgressBar {
    let bar = progress_bar(None);
    bar.set_message(file_name(&case.path));
    bar
}
