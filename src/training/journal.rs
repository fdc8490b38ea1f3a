//! What a run writes down of each epoch: a row in `metrics.csv`, TensorBoard events, a panel of samples and the curves.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::figures::{Chart, PanelGroup, PanelRow, Scale, Series, curves, panel, png_bytes, save_png};
use crate::files::{create_dir, write_atomically};
use crate::run::Progress;
use crate::syndiff::TERM_NAMES;
use crate::tensorboard::EventWriter;
use crate::validation::{RoundTrip, ValidationScore};

/// Samples of each direction in a panel.
const SAMPLES: usize = 4;

/// The records of a run under way.
pub struct Journal {
    root: PathBuf,
    events: EventWriter,
    rows: Vec<Row>,
}

/// The figures of one epoch by name, in the order of the columns.
type Row = Vec<(String, f64)>;

impl Journal {
    /// Begins, or goes on after the epochs that `progress` has done: later rows, if any, are dropped.
    pub fn open(root: &Path, progress: &Progress) -> Result<Self> {
        let events = root.join("events");
        create_dir(&root.join("panels"))?;
        let rows = if progress.epoch == 0 { Vec::new() } else { read_rows(&root.join("metrics.csv"), progress.epoch)? };
        let events = if progress.step == 0 {
            EventWriter::create(&events)?
        } else {
            EventWriter::resume(&events, progress.step)?
        };
        Ok(Self { root: root.to_path_buf(), events, rows })
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
        let row = row(progress, learning_rate, losses, score);
        for (name, value) in row.iter().skip(3) {
            self.events.scalar(progress.step, name, *value as f32)?;
        }
        self.rows.push(row);
        self.write_rows()?;
        self.draw_curves()?;

        let picture = panel(&panel_groups(trips));
        save_png(&panel_path(&self.root, progress.epoch), &picture)?;
        self.events.image_png(progress.step, "panel", &png_bytes(&picture), picture.height(), picture.width())?;
        self.events.flush()
    }

    fn write_rows(&self) -> Result<()> {
        let path = self.root.join("metrics.csv");
        write_atomically(&path, |path| {
            let mut writer = csv::Writer::from_path(path).map_err(csv_error(path))?;
            let Some(first) = self.rows.first() else { return Ok(()) };
            writer.write_record(first.iter().map(|(name, _)| name)).map_err(csv_error(path))?;
            for row in &self.rows {
                writer.write_record(row.iter().map(|(_, value)| value.to_string())).map_err(csv_error(path))?;
            }
            writer.flush().map_err(Error::io("write", path))
        })
    }

    fn draw_curves(&self) -> Result<()> {
        let series = |prefix: &str| -> Vec<Series> {
            let Some(first) = self.rows.first() else { return Vec::new() };
            let columns = first.iter().enumerate().filter(|(_, (name, _))| name.starts_with(prefix));
            columns
                .map(|(i, (name, _))| Series {
                    name: name[prefix.len()..].replace('_', " "),
                    points: self.rows.iter().map(|row| (row[0].1, row[i].1)).collect(),
                })
                .collect()
        };
        let chart = |title: &str, scale, prefix| Chart { title: title.into(), scale, series: series(prefix) };
        let charts = [
            chart("Losses (mean of an epoch)", Scale::Logarithmic, "loss/"),
            chart("There-and-back SSIM of validation crops (higher is better)", Scale::Linear, "ssim/"),
            chart("Distance from the real look (lower is better)", Scale::Linear, "distance/"),
            chart("Score that chooses the best checkpoint (lower is better)", Scale::Linear, "score"),
        ];
        curves(&self.root.join("curves.png"), "epoch", &charts)
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
    }
    row.push(("score".into(), score.score));
    row
}

fn read_rows(path: &Path, epochs: u64) -> Result<Vec<Row>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut reader = csv::Reader::from_reader(file);
    let names = reader.headers().map_err(csv_error(path))?.clone();
    let mut rows = Vec::new();
    for record in reader.records().take(epochs as usize) {
        let record = record.map_err(csv_error(path))?;
        let row = names.iter().zip(&record).map(|(name, value)| (name.to_string(), value.parse().unwrap_or(f64::NAN)));
        rows.push(row.collect());
    }
    Ok(rows)
}

fn csv_error(path: &Path) -> impl Fn(csv::Error) -> Error {
    let path = path.to_path_buf();
    move |error| Error::run(&path, format!("the table cannot be written or read ({error})"))
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
