//! The figures of a training, epoch by epoch: a CSV table, TensorBoard events and a picture of the curves.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::figures::{Chart, Scale, Series, curves};
use crate::files::write_atomically;
use crate::tensorboard::EventWriter;

/// The figures of one epoch by name, in the order of the columns; the first is the epoch, the second the step.
pub type Row = Vec<(String, f64)>;

/// A chart of the columns whose names begin alike.
#[derive(Debug, Clone, Copy)]
pub struct ChartOf {
    /// What stands above it.
    pub title: &'static str,
    /// How values are spread.
    pub scale: Scale,
    /// How the names of its columns begin; the legend leaves this out, unless it is all of the name.
    pub prefix: &'static str,
}

/// The records of a training under way.
pub struct Ledger {
    root: PathBuf,
    charts: &'static [ChartOf],
    events: EventWriter,
    rows: Vec<Row>,
}

const TABLE: &str = "metrics.csv";

impl Ledger {
    /// Begins in the folder `root`, or goes on after `epochs` epochs that ended at `step`: later rows, if any, are dropped.
    pub fn open(root: &Path, charts: &'static [ChartOf], epochs: u64, step: u64) -> Result<Self> {
        let rows = if epochs == 0 { Vec::new() } else { read_rows(&root.join(TABLE), epochs)? };
        let folder = root.join("events");
        let events = if step == 0 { EventWriter::create(&folder)? } else { EventWriter::resume(&folder, step)? };
        Ok(Self { root: root.to_path_buf(), charts, events, rows })
    }

    /// Writes down an epoch; the events leave out epoch, step and seconds. Call [`flush`](Self::flush) after it.
    pub fn add(&mut self, row: Row) -> Result<()> {
        let step = row[1].1 as u64;
        for (name, value) in row.iter().skip(3) {
            self.events.scalar(step, name, *value as f32)?;
        }
        self.rows.push(row);
        self.write_rows()?;
        self.draw_curves()
    }

    /// The events, for what is not a number.
    pub fn events(&mut self) -> &mut EventWriter {
        &mut self.events
    }

    /// Sees that the events are on disk.
    pub fn flush(&mut self) -> Result<()> {
        self.events.flush()
    }

    fn write_rows(&self) -> Result<()> {
        let path = self.root.join(TABLE);
        write_atomically(&path, |path| {
            let mut writer = csv::Writer::from_path(path).map_err(csv_error(path))?;
            // The newest row has all columns: earlier ones may have been written by a version that knew fewer.
            let Some(newest) = self.rows.last() else { return Ok(()) };
            writer.write_record(newest.iter().map(|(name, _)| name)).map_err(csv_error(path))?;
            for row in &self.rows {
                let cells = newest.iter().map(|(name, _)| value_of(row, name).map_or(String::new(), |v| v.to_string()));
                writer.write_record(cells).map_err(csv_error(path))?;
            }
            writer.flush().map_err(Error::io("write", path))
        })
    }

    fn draw_curves(&self) -> Result<()> {
        let series = |prefix: &str| -> Vec<Series> {
            let Some(newest) = self.rows.last() else { return Vec::new() };
            let columns = newest.iter().filter(|(name, _)| name.starts_with(prefix));
            columns
                .map(|(name, _)| Series {
                    name: name_in_legend(name, prefix),
                    points: self.rows.iter().filter_map(|row| Some((row[0].1, value_of(row, name)?))).collect(),
                })
                .collect()
        };
        let charts: Vec<Chart> = self
            .charts
            .iter()
            .map(|chart| Chart { title: chart.title.into(), scale: chart.scale, series: series(chart.prefix) })
            .collect();
        curves(&self.root.join("curves.png"), "epoch", &charts)
    }
}

/// The name of a column without its prefix, in words.
fn name_in_legend(name: &str, prefix: &str) -> String {
    let rest = name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    rest.unwrap_or(name).replace('_', " ")
}

fn value_of(row: &Row, name: &str) -> Option<f64> {
    row.iter().find(|(column, _)| column == name).map(|(_, value)| *value)
}

fn read_rows(path: &Path, epochs: u64) -> Result<Vec<Row>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut reader = csv::Reader::from_reader(file);
    let names = reader.headers().map_err(csv_error(path))?.clone();
    let mut rows = Vec::new();
    for record in reader.records().take(epochs as usize) {
        let record = record.map_err(csv_error(path))?;
        let known = names.iter().zip(&record).filter(|(_, value)| !value.is_empty());
        let row = known.map(|(name, value)| (name.to_string(), value.parse().unwrap_or(f64::NAN)));
        rows.push(row.collect());
    }
    Ok(rows)
}

fn csv_error(path: &Path) -> impl Fn(csv::Error) -> Error {
    let path = path.to_path_buf();
    move |error| Error::run(&path, format!("the table cannot be written or read ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARTS: &[ChartOf] = &[ChartOf { title: "Losses", scale: Scale::Linear, prefix: "loss/" }];

    fn row(epoch: f64) -> Row {
        let figures = [("epoch", epoch), ("step", 10.0 * epoch), ("seconds", 1.5), ("loss/dice", -0.25 * epoch)];
        figures.map(|(name, value)| (name.to_string(), value)).to_vec()
    }

    #[test]
    fn a_legend_leaves_out_what_all_columns_of_a_chart_have_in_common() {
        assert_eq!(name_in_legend("loss/time_real", "loss/"), "time real");
        assert_eq!(name_in_legend("score", "score"), "score");
    }

    #[test]
    fn a_resumed_ledger_drops_the_epochs_that_are_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), CHARTS, 0, 0).unwrap();
        (1..=3).for_each(|epoch| ledger.add(row(f64::from(epoch))).unwrap());
        drop(ledger);
        let mut ledger = Ledger::open(dir.path(), CHARTS, 2, 20).unwrap();
        ledger.add(row(3.0)).unwrap();
        let text = std::fs::read_to_string(dir.path().join(TABLE)).unwrap();
        assert_eq!(text, "epoch,step,seconds,loss/dice\n1,10,1.5,-0.25\n2,20,1.5,-0.5\n3,30,1.5,-0.75\n");
        assert!(dir.path().join("curves.png").is_file());
    }
}
