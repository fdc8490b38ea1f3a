//! `synlabel segment`

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::{segment_evaluate, segment_predict, segment_train};

/// Train, use and judge segmentation models.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Train a U-Net on images with masks, by nnU-Net's rules
    Train(segment_train::Args),
    /// Segment images with a model of ours, of nnU-Net v2, or an ONNX file
    Predict(segment_predict::Args),
    /// Compare predicted masks with true ones, class by class
    Evaluate(segment_evaluate::Args),
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        match self.what {
            What::Train(args) => args.run(),
            What::Predict(args) => args.run(),
            What::Evaluate(args) => args.run(),
        }
    }
}
