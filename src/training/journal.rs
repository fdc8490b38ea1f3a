//! What a run writes down of each epoch: a row in `metrics.csv`, TensorBoard events, a panel of samples and the curves.

use std::path::{Path, PathBuf};

use crate::domain::{Domain, Pair};
use crate::error::Result;
use crate::figures::{PanelGroup, PanelRow, Scale, panel, png_bytes, save_png};
use crate::files::create_dir;
use crate::ledger::{ChartOf, Ledger, Row};
use crate::run::Progress;
use crate::syndiff::TERM_NAMES;
use crate::validation::{RoundTrip, ValidationScore};

/// Samples of each direction in a panel.
const SAMPLES: usize = 4;

/// The curves of a run.
const CHARTS: [ChartOf; 4] = [
    ChartOf { title: "Losses (mean of an epoch)", scale: Scale::Logarithmic, prefix: "loss/" },
    ChartOf {
        title: "There-and-back SSIM of validation crops (higher is better)",
        scale: Scale::Linear,
        prefix: "ssim/",
    },
    ChartOf { title: "Distance from the real look (lower is better)", scale: Scale::Linear, prefix: "distance/" },
    ChartOf {
        title: "Score that chooses the best checkpoint (lower is better)",
        scale: Scale::Linear,
        prefix: "score",
    },
];

/// The records of a run under way.
pub struct Journal {
    root: PathBuf,
    ledger: Ledger,
}

impl Journal {
    /// Begins, or goes on after the epochs that `progress` has done: later rows, if any, are dropped.
    pub fn open(root: &Path, progress: &Progress) -> Result<Self> {
        create_dir(&root.join("panels"))?;
        let ledger = Ledger::open(root, &CHARTS, progress.epoch, progress.step)?;
        Ok(Self { root: root.to_path_buf(), ledger })
    }

    /// Writes down an epoch.
    pub fn epoch(
        &mut self,
        progress: &Progress,
        learning_rate: f64,
        losses: &[f64; TERM_NAMES.len()],
        score: &ValidationScore,
        trips: &Pair<Vec<RoundTrip>>,
    ) -> Result<()> {
        self.ledger.add(row(progress, learning_rate, losses, score))?;
        let picture = panel(&panel_groups(trips));
        save_png(&panel_path(&self.root, progress.epoch), &picture)?;
        let (height, width) = (picture.height(), picture.width());
        self.ledger.events().image_png(progress.step, "panel", &png_bytes(&picture), height, width)?;
        self.ledger.flush()
    }
}

fn row(progress: &Progress, learning_rate: f64, losses: &[f64; TERM_NAMES.len()], score: &ValidationScore) -> Row {
    let mut row: Row = vec![
        ("epoch".into(), progress.epoch as f64),
        ("step".into(), progress.step as f64),
        ("seconds".into(), progress.seconds),
        ("learning_rate".into(), learning_rate),
    ];
    row.extend(TERM_NAMES.iter().zip(losses).map(|(name, value)| (format!("loss/{name}"), *value)));
    for domain in Domain::BOTH {
        let (name, fidelity) = (domain.name(), score.fidelity.of(domain));
        row.push((format!("ssim/{name}"), fidelity.ssim));
        row.push((format!("psnr/{name}"), fidelity.psnr));
        row.push((format!("l1/{name}"), fidelity.l1));
        let direction = format!("{name}_to_{}", domain.other().name());
        row.push((format!("distance/{direction}"), *score.distance.of(domain)));
        row.push((format!("distance/{direction}_untranslated"), *score.untranslated.of(domain)));
        row.push((format!("contrast/{direction}"), *score.contrast.of(domain)));
    }
    row.push(("score".into(), score.score));
    row
}

/// The samples of both directions, side by side with their way back.
fn panel_groups(trips: &Pair<Vec<RoundTrip>>) -> Vec<PanelGroup<'_>> {
    Domain::BOTH
        .iter()
        .map(|domain| PanelGroup {
            title: format!("{} → {}", domain.name(), domain.other().name()),
            captions: vec!["source".into(), "translation".into(), "there and back".into()],
            rows: trips
                .of(*domain)
                .iter()
                .take(SAMPLES)
                .enumerate()
                .map(|(i, trip)| PanelRow {
                    label: format!("{}", i + 1),
                    planes: vec![&trip.source, &trip.translation, &trip.back],
                })
                .collect(),
        })
        .collect()
}

/// The picture of an epoch's samples.
fn panel_path(root: &Path, epoch: u64) -> PathBuf {
    root.join("panels").join(format!("epoch_{epoch:04}.png"))
}
