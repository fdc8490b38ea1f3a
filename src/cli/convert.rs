//! `synlabel convert`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use synlabel::convert::{ConvertOptions, Layout, convert};

use super::outcome::Outcome;
use super::reading::PageArgs;
use super::{FormatArg, progress_bar};

/// Write a data set anew as BIDS microscopy or as nnU-Net raw data.
///
/// Nothing of the original is touched. Images become PNG files of their own depth, colour becomes grey, pixel sizes go into
/// sidecars (BIDS) or subjects.tsv (nnU-Net). What was written is read back and compared. The exit code is 0 when all was
/// written, 2 when some files were not (they are listed), 1 when nothing was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data set: a BIDS or nnU-Net folder, or a folder of images with or without masks
    #[arg(short, long, value_name = "DATA")]
    input: PathBuf,
    /// Folder to make; nnU-Net wants it to be called as Dataset101_Nerve
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The layout to write
    #[arg(long = "as", value_enum, value_name = "LAYOUT")]
    layout: LayoutArg,
    /// Modality of images whose names tell none, for BIDS: TEM, SEM, BF, FLUO ...
    #[arg(long, value_name = "SUFFIX", default_value = "", hide_default_value = true)]
    suffix: String,
    /// Micrometres per pixel of the images [default: what sidecars and files say]
    #[arg(long, value_name = "UM")]
    pixel_size_um: Option<f64>,
    /// Grey value (1 to 255) from which on a mask's pixel has the class, for masks with values between
    #[arg(long, value_name = "VALUE", value_parser = clap::value_parser!(u8).range(1..))]
    mask_threshold: Option<u8>,
    /// Layout of the input
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    format: FormatArg,
    #[command(flatten)]
    page: PageArgs,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutArg {
    /// BIDS microscopy, with masks in derivatives/labels
    Bids,
    /// nnU-Net raw data
    Nnunet,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let size = self.pixel_size_um;
        ensure!(size.is_none_or(|size| size.is_finite() && size > 0.0), "--pixel-size-um must be above 0 micrometres");
        let layout = match self.layout {
            LayoutArg::Bids => Layout::Bids { suffix: self.suffix },
            LayoutArg::Nnunet => Layout::NnUnet,
        };
        let options = ConvertOptions {
            format: self.format.asked(),
            pixel_size_um: self.pixel_size_um,
            mask_threshold: self.mask_threshold,
            page: self.page.page,
        };
        let bar = progress_bar(None);
        let converted = convert(&self.input, &self.output, &layout, &options, |name, count| {
            bar.set_length(count as u64);
            bar.set_message(name.to_string());
            bar.inc(1);
        });
        bar.finish_and_clear();
        let converted = converted?;
        for note in &converted.notes {
            eprintln!("note: {note}");
        }
        for failed in &converted.failed {
            eprintln!("warning: not written: {}: {}", failed.path.display(), failed.reason);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&converted)?);
        } else {
            println!(
                "{}: {} images in {}, {} of them with masks; read back and found the same",
                converted.from,
                converted.images,
                self.output.display(),
                converted.with_masks
            );
        }
        Ok(Outcome { done: converted.images, failed: converted.failed.len() }.exit_code())
    }
}
