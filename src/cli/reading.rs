//! The options by which commands say how images are read.

use clap::builder::RangedU64ValueParser;
use synlabel::domain::Domain;
use synlabel::imaging::{Intensity, ReadOptions};

/// Of files with several images one.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Images")]
pub struct PageArgs {
    /// Page of a TIFF, or slice of a stack or volume, counted from 1, where files have several
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub page: Option<usize>,
}

/// How the images of a command are read for a translator.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Images")]
pub struct ReadingArgs {
    /// Which stored numbers the networks see as black and white: auto (8 bits: 0 and 255; all others: percentiles 0.1 and
    /// 99.9 of each image), full, percentile:LOW,HIGH or range:LOW,HIGH [default: as the run was trained, else auto]
    #[arg(long, value_name = "RULE")]
    pub intensity: Option<Intensity>,
    #[command(flatten)]
    pub page: PageArgs,
}

impl ReadingArgs {
    /// How images are read where `known` is the rule that holds unless another is given.
    pub fn over(&self, known: Intensity) -> ReadOptions {
        ReadOptions { page: self.page.page, intensity: self.intensity.unwrap_or(known) }
    }
}

/// The same for the images of two looks.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Images")]
pub struct PairReadingArgs {
    #[command(flatten)]
    both: ReadingArgs,
    /// The rule for the labelled images alone
    #[arg(long, value_name = "RULE")]
    labelled_intensity: Option<Intensity>,
    /// The rule for the target images alone
    #[arg(long, value_name = "RULE")]
    target_intensity: Option<Intensity>,
    /// Page or slice of the labelled images alone
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    labelled_page: Option<usize>,
    /// Page or slice of the target images alone
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    target_page: Option<usize>,
}

impl PairReadingArgs {
    /// Whether something was said of one look alone.
    pub fn names_a_look(&self) -> bool {
        let intensity = self.labelled_intensity.or(self.target_intensity);
        intensity.is_some() || self.labelled_page.or(self.target_page).is_some()
    }

    /// The rule that was given for a look.
    pub fn intensity(&self, domain: Domain) -> Option<Intensity> {
        let own = match domain {
            Domain::Labelled => self.labelled_intensity,
            Domain::Target => self.target_intensity,
        };
        own.or(self.both.intensity)
    }

    /// The page that was given for a look.
    pub fn page(&self, domain: Domain) -> Option<usize> {
        let own = match domain {
            Domain::Labelled => self.labelled_page,
            Domain::Target => self.target_page,
        };
        own.or(self.both.page.page)
    }

    /// How the images of a look are read where `known` is the rule that holds unless another is given.
    pub fn over(&self, domain: Domain, known: Intensity) -> ReadOptions {
        ReadOptions { page: self.page(domain), intensity: self.intensity(domain).unwrap_or(known) }
    }
}
