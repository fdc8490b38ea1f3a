//! `synlabel evaluate translation`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use synlabel::dataset::{self, Skipped};
use synlabel::domain::{Domain, Pair};
use synlabel::evaluation::{Evaluation, NamedPlane, evaluate};
use synlabel::files::{create_dir, write_atomically, write_json};
use synlabel::prepare::{SplitNames, to_working_size};
use synlabel::run::RunFolder;
use synlabel::table::{NO_VALUE, Table};

use super::outcome::Outcome;
use super::reading::PairReadingArgs;
use super::translate::{ModelArgs, fallback_pixel_size};
use super::{FormatArg, progress_bar, report_skipped};

/// Measure how good a translator is.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// There-and-back fidelity in both directions, and how close translated sets come to the real ones
    Translation(TranslationArgs),
}

/// Translate every image there and back; compare.
///
/// Writes evaluation.csv (a row for each image) and evaluation.json. SSIM, PSNR and L1 compare an image with its
/// there-and-back translation at the working resolution. Structure, from 0 to 1, compares an image with its translation:
/// are the edges where they were, whatever became of the contrast? Beside it stands what unrelated images give. The
/// distance is a sliced Wasserstein distance between patches of Laplacian pyramids of the translated and of the real
/// images: it needs no downloaded network. The exit code is 2 when some images could not be read. Beside it stand the same distance before translation, and that of one half
/// of the real images from the other.
#[derive(Debug, clap::Args)]
struct TranslationArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder of labelled images
    #[arg(long, value_name = "DIR")]
    labelled: PathBuf,
    /// Folder of target images
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// Layout of the labelled folder
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    labelled_format: FormatArg,
    /// Layout of the target folder
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    target_format: FormatArg,
    /// Folder for the tables [default: RUN/evaluation]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Which images of the folders: all, or those in one part of the run's own split
    #[arg(long, value_enum, default_value = "all")]
    part: Part,
    /// Micrometres per pixel of the labelled images [default: sidecars, TIFF tags, then what the run was told]
    #[arg(long, value_name = "UM")]
    labelled_pixel_size_um: Option<f64>,
    /// Micrometres per pixel of the target images [default: sidecars, TIFF tags, then what the run was told]
    #[arg(long, value_name = "UM")]
    target_pixel_size_um: Option<f64>,
    #[command(flatten)]
    reading: PairReadingArgs,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    All,
    Train,
    Validation,
    Test,
}

impl Part {
    fn names(self, split: &SplitNames) -> Option<&[String]> {
        match self {
            Self::All => None,
            Self::Train => Some(&split.train),
            Self::Validation => Some(&split.validation),
            Self::Test => Some(&split.test),
        }
    }
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        match self.what {
            What::Translation(args) => args.run(),
        }
    }
}

impl TranslationArgs {
    fn run(self) -> Result<ExitCode> {
        let model = self.model.load()?;
        for domain in Domain::BOTH {
            model.run.check_direction(domain)?;
        }
        let mut skipped = Vec::new();
        let planes = Pair::try_from_fn(|domain| self.read(&model.run, domain, &mut skipped))?;
        let count = planes.labelled.len() + planes.target.len();
        let bar = progress_bar(Some(count as u64));
        let mut evaluation = evaluate(&model.translator, &planes, self.seed, |name| {
            bar.set_message(name.to_string());
            bar.inc(1);
        });
        bar.finish_and_clear();
        report_skipped(&skipped);
        let reason = |Skipped { path, reason }: &Skipped| (path.display().to_string(), reason.clone());
        evaluation.failed = skipped.iter().map(reason).collect();
        let output = self.output.clone().unwrap_or_else(|| model.run.root().join("evaluation"));
        write_evaluation(&output, &evaluation)?;
        println!("{}", summary_table(&evaluation));
        println!("\nrows for each image: {}", output.join("evaluation.csv").display());
        Ok(Outcome { done: count, failed: skipped.len() }.exit_code())
    }

    fn read(&self, run: &RunFolder, domain: Domain, skipped: &mut Vec<Skipped>) -> Result<Vec<NamedPlane>> {
        let (dir, format, given) = match domain {
            Domain::Labelled => (&self.labelled, self.labelled_format, self.labelled_pixel_size_um),
            Domain::Target => (&self.target, self.target_format, self.target_pixel_size_um),
        };
        let dataset = dataset::discover_as(dir, format.asked())?;
        eprintln!("{}: {}", domain.name(), dataset.summary());
        let reading = self.reading.over(domain, run.config().data.of(domain).intensity);
        let loaded = dataset::load(&dataset, given, &reading)?;
        if let Some(remark) = reading.intensity.remark(&loaded.images.iter().map(|i| i.depth).collect::<Vec<_>>()) {
            eprintln!("note: {}: {remark}", domain.name());
        }
        // What is no image of the set is no failure.
        let is_case = |skipped: &Skipped| dataset.cases.iter().any(|case| case.path == skipped.path);
        skipped.extend(loaded.skipped.into_iter().filter(is_case));
        let split = run.data().split.of(domain);
        let wanted = self.part.names(split);
        let seen = loaded.images.iter().filter(|image| split.train.contains(&image.case.name)).count();
        if self.part == Part::All && seen > 0 {
            eprintln!(
                "note: {seen} {} images have names that the run was trained on; --part test leaves them out",
                domain.name()
            );
        }
        let working = run.data().pixel_size_um;
        let planes: Vec<NamedPlane> = loaded
            .images
            .into_iter()
            .filter(|image| wanted.is_none_or(|names| names.contains(&image.case.name)))
            .map(|image| {
                let pixel_size = image.case.pixel_size_um.or(fallback_pixel_size(run.config(), domain));
                NamedPlane { plane: to_working_size(&image.plane, pixel_size, working), name: image.case.name }
            })
            .collect();
        ensure!(!planes.is_empty(), "no image in {} is in the part asked for; use --part all", dir.display());
        Ok(planes)
    }
}

/// Writes evaluation.csv and evaluation.json into a folder.
pub fn write_evaluation(folder: &Path, evaluation: &Evaluation) -> Result<()> {
    create_dir(folder)?;
    write_json(&folder.join("evaluation.json"), evaluation)?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "image",
        "domain",
        "ssim",
        "psnr",
        "l1",
        "structure",
        "structure_edges",
        "structure_phase",
    ])?;
    for row in &evaluation.images {
        let fidelity = [row.fidelity.ssim, row.fidelity.psnr, row.fidelity.l1].map(Some);
        let structure = row.structure.map(|score| [score.combined(), score.edges, score.phase]);
        let structure = structure.map_or([None; 3], |figures| figures.map(Some));
        let figures = fidelity.into_iter().chain(structure).map(|value| value.map_or(String::new(), |v| v.to_string()));
        let names = [row.image.clone(), row.domain.name().to_string()];
        writer.write_record(names.into_iter().chain(figures))?;
    }
    let bytes = writer.into_inner().context("cannot put the table together")?;
    let path = folder.join("evaluation.csv");
    write_atomically(&path, |path| std::fs::write(path, bytes).map_err(synlabel::error::Error::io("write", path)))?;
    Ok(())
}

/// The figures of both directions.
pub fn summary_table(evaluation: &Evaluation) -> Table {
    let mut table = Table::new([
        "direction",
        "images",
        "SSIM",
        "PSNR (dB)",
        "L1",
        "structure",
        "by chance",
        "distance",
        "untranslated",
        "real to real",
    ]);
    for domain in Domain::BOTH {
        let figures = evaluation.domains.of(domain);
        let show = |summary: &Option<synlabel::metrics::Summary>| {
            summary.as_ref().map_or(NO_VALUE.to_string(), ToString::to_string)
        };
        table.row([
            format!("{} → {} → {}", domain.name(), domain.other().name(), domain.name()),
            evaluation.images.iter().filter(|image| image.domain == domain).count().to_string(),
            show(&figures.ssim),
            show(&figures.psnr),
            show(&figures.l1),
            show(&figures.structure),
            show(&figures.structure_by_chance),
            format!("{:.3}", figures.closeness.translated),
            format!("{:.3}", figures.closeness.untranslated),
            format!("{:.3}", figures.closeness.floor),
        ]);
    }
    table
}
