//! `synlabel segment predict`

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use synlabel::dataset::{self, Case, Skipped};
use synlabel::files::create_dir;
use synlabel::imaging::{RasterFile, StoredImage};
use synlabel::segmentation::archive::CheckpointChoice;
use synlabel::segmentation::folds::Fold;
use synlabel::segmentation::masks::{MaskOptions, MaskWriter, describe_classes, mask_name};
use synlabel::segmentation::open::{OpenOptions, Opened, open};

use super::outcome::{Outcome, failed};
use super::reading::PageArgs;
use super::{DeviceArgs, FormatArg, file_name, report_skipped};

/// Segment images with a model of ours, of nnU-Net v2, or an ONNX file.
///
/// Writes a label map for each image (IMAGE.png: 0 background, 1, 2, … the classes), and when the classes are axon and
/// myelin also AxonDeepSeg's IMAGE_seg-axon.png, _seg-myelin.png (0, 255) and _seg-axonmyelin.png (0, 127, 255). Images of
/// any size are read, seen and written a band at a time. The exit code is 0 when all images were segmented, 2 when some
/// were not (they are listed), 1 when none was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of `synlabel segment train`; a model folder of nnU-Net v2, or a zip file of one; an .onnx file, or a
    /// BioImage.IO folder
    #[arg(short, long, value_name = "MODEL")]
    model: PathBuf,
    /// Images, or folders of images
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE_OR_DIR")]
    input: Vec<PathBuf>,
    /// Layout of the input
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    format: FormatArg,
    /// Folder for the masks
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Write the probability of each class as 16-bit TIFF (IMAGE_prob-CLASS.tif)
    #[arg(long)]
    save_probabilities: bool,
    /// Folds to ask (0,1,2, or all for nnU-Net's fold_all) [default: those with a number, or the only one]
    #[arg(long, value_name = "FOLDS", value_delimiter = ',')]
    folds: Vec<Fold>,
    /// Take the last checkpoint of each fold (nnU-Net: checkpoint_final) instead of the best
    #[arg(long)]
    last: bool,
    /// Look at each window once instead of also mirrored: up to four times as fast, a little less exact
    #[arg(long)]
    no_mirroring: bool,
    /// How far windows advance, as a part of their size
    #[arg(long, default_value_t = 0.5, value_name = "PART")]
    step: f64,
    /// Micrometres per pixel of the images [default: from sidecars or TIFF tags]
    #[arg(long, value_name = "UM")]
    pixel_size_um: Option<f64>,
    #[command(flatten)]
    page: PageArgs,
    /// Micrometres per pixel that the model was trained at, where it does not say
    #[arg(long, value_name = "UM")]
    model_pixel_size_um: Option<f64>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let sizes = [("--pixel-size-um", self.pixel_size_um), ("--model-pixel-size-um", self.model_pixel_size_um)];
        for (name, size) in sizes {
            ensure!(size.is_none_or(|size| size.is_finite() && size > 0.0), "{name} must be above 0 micrometres");
        }
        let dataset = dataset::discover_files(&self.input, self.format.asked())?;
        eprintln!("{}", dataset.summary());
        let device = self.device.choose()?;
        let options = OpenOptions {
            folds: self.folds.clone(),
            checkpoint: if self.last { CheckpointChoice::Final } else { CheckpointChoice::Best },
            mirror: !self.no_mirroring,
            step: self.step,
            pixel_size_um: self.model_pixel_size_um,
        };
        let model = open(&self.model, &options, &device.device)?;
        eprintln!("{}", model.description);
        for note in dataset.notes.iter().chain(&model.notes) {
            eprintln!("note: {note}");
        }
        self.note_pixel_sizes(&model, &dataset.cases);
        create_dir(&self.output)?;
        self.refuse_clashes(&dataset.cases, &model)?;
        let mut skipped = dataset.skipped;
        for (place, case) in dataset.cases.iter().enumerate() {
            let outcome = self.predict(&model, case, [place + 1, dataset.cases.len()]);
            // One bad file must not cost the others.
            if let Err(error) = outcome {
                eprintln!("warning: {}: {error:#}", file_name(&case.path));
                skipped.push(Skipped { path: case.path.clone(), reason: format!("{error:#}") });
            }
        }
        let lost = skipped.iter().filter(|skipped| dataset.cases.iter().any(|case| case.path == skipped.path)).count();
        report_skipped(&skipped);
        ensure!(lost < dataset.cases.len(), "none of the {lost} images could be segmented");
        describe_classes(&self.output, &model.segmenter.class_names).context("describing the classes")?;
        let done = dataset.cases.len() - lost;
        println!("masks of {done} images in {}", self.output.display());
        Ok(Outcome { done, failed: failed(&skipped, &dataset.cases, &self.input) }.exit_code())
    }

    fn predict(&self, model: &Opened, case: &Case, [place, count]: [usize; 2]) -> Result<()> {
        let image = RasterFile::open(&case.path, self.page.page)?;
        if let Some(note) = image.note() {
            eprintln!("note: {}: {note}", case.name);
        }
        let pixel_size_um = self.pixel_size_um.or(case.pixel_size_um).or(image.pixel_size_um());
        let segmenter = &model.segmenter;
        let windows = segmenter.windows(&image, pixel_size_um)? as u64;
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} windows  {eta} left")?;
        let bar = ProgressBar::new(windows).with_style(style);
        bar.set_message(format!("{place}/{count} {}", case.name));
        let size = [image.height(), image.width()];
        let mut writer = MaskWriter::create(
            &self.output,
            mask_name(&case.name),
            size,
            &segmenter.class_names,
            pixel_size_um,
            self.mask_options(),
        )?;
        segmenter.predict(&image, pixel_size_um, &mut |row| writer.write_row(row), &mut || bar.inc(1))?;
        writer.finish()?;
        bar.finish_and_clear();
        Ok(())
    }

    fn mask_options(&self) -> MaskOptions {
        MaskOptions { probabilities: self.save_probabilities }
    }

    fn note_pixel_sizes(&self, model: &Opened, cases: &[Case]) {
        let known = self.pixel_size_um.is_some() || cases.iter().all(|case| case.pixel_size_um.is_some());
        match model.segmenter.pixel_size_um {
            Some(size) if !known => eprintln!(
                "note: the model works at {size} um per pixel; images that do not say theirs are taken as they are: \
                 give --pixel-size-um"
            ),
            _ => {}
        }
    }

    /// Two images of one name, or an image that a mask would replace, would be lost.
    fn refuse_clashes(&self, cases: &[Case], model: &Opened) -> Result<()> {
        let inputs: HashSet<PathBuf> = cases.iter().filter_map(|case| case.path.canonicalize().ok()).collect();
        let mut outputs = HashSet::new();
        for case in cases {
            let name = mask_name(&case.name);
            let paths = MaskWriter::paths(&self.output, name, &model.segmenter.class_names, self.mask_options());
            for path in paths {
                let replaces = path.canonicalize().is_ok_and(|path| inputs.contains(&path));
                ensure!(!replaces, "{} would be overwritten by a mask; choose another output folder", path.display());
                ensure!(outputs.insert(path.clone()), "two images would get the mask {}", path.display());
            }
        }
        Ok(())
    }
}
