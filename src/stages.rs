//! Stages of a long pipeline: skipped when done, continued when interrupted, done again when their inputs changed.
//!
//! ```text
//! OUT/NAME/               the result of a stage
//! OUT/NAME.old-1/         an earlier result, of other inputs
//! OUT/stages/NAME.json    what the result was made from, whether it is complete, how long it took
//! OUT/stages/lock         held while a process works in OUT
//! ```
//!
//! A record says that a stage was begun before its folder is made, and that it is done after the work has ended, so
//! that a crash at any moment leaves an interrupted stage at worst. Results are not looked into: whoever damages one
//! has to delete it to have it made again.

mod inputs;
mod plan;

use crate::error::{Error, Result};
use crate::files::{create_dir, write_json};
use inputs::hash_json;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use inputs::{Inputs, Stamp};
pub use plan::{Plan, PlannedStage, human_time};

/// How far a stage is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Its result is there, made from these inputs.
    Done {
        /// How long it took, over all sittings.
        seconds: f64,
    },
    /// It was begun with these inputs and has not ended.
    Interrupted,
    /// Its folder was made from other inputs; the names of those that differ.
    Changed(Vec<String>),
    /// Its folder is missing, or not known to be the stage's.
    New,
}

/// How far a stage is, and the stamp of its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// How far it is.
    pub state: State,
    /// The stamp of its result: of the one that is there, or of the one that its next run makes.
    pub stamp: Stamp,
}

/// How the work of a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The result is complete.
    Finished,
    /// It was asked to stop, and can go on another time.
    Stopped,
}

/// Whether there is work of an earlier sitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The folder is empty.
    New,
    /// The folder is as the interrupted sitting left it: perhaps still without a checkpoint.
    Resume,
}

/// Where the work of a stage is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workplace {
    /// The folder of the stage, which exists.
    pub folder: PathBuf,
    /// Whether there is work of an earlier sitting in it.
    pub start: Start,
    /// Where the folder went that had the stage's name and was not made from its inputs.
    pub set_aside: Option<PathBuf>,
}

/// The stages of a pipeline, to look at: nothing is written.
#[derive(Debug, Clone)]
pub struct Stages {
    out: PathBuf,
}

impl Stages {
    /// The stages in a folder, which need not exist yet.
    pub fn of(out: &Path) -> Self {
        Self { out: out.to_path_buf() }
    }

    /// How far a stage is.
    ///
    /// # Errors
    /// When its record cannot be read.
    ///
    /// # Panics
    /// When `name` is `stages` or no plain file name.
    pub fn standing(&self, name: &str, inputs: &Inputs) -> Result<Standing> {
        self.look_up(name, inputs).map(|(standing, _)| standing)
    }

    /// How far a stage is, with the record that its next sitting starts from.
    fn look_up(&self, name: &str, inputs: &Inputs) -> Result<(Standing, Record)> {
        let folder = self.folder(name);
        let known = self.record(name)?;
        let beginnings = known.as_ref().map_or(0, |record| record.beginnings);
        let state = match &known {
            Some(record) if folder.is_dir() => record.state(inputs),
            _ => State::New,
        };
        let record = match (&state, known) {
            (State::Done { .. } | State::Interrupted, Some(record)) => record,
            _ => Record::new(inputs, beginnings + 1),
        };
        Ok((Standing { state, stamp: record.stamp(name)? }, record))
    }

    fn record(&self, name: &str) -> Result<Option<Record>> {
        let path = self.record_path(name);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
                Error::run(&path, format!("it is damaged ({error}); delete it to do the stage \"{name}\" again"))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn records(&self) -> PathBuf {
        self.out.join("stages")
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.records().join(format!("{name}.json"))
    }

    fn folder(&self, name: &str) -> PathBuf {
        assert!(Path::new(name).file_name() == Some(name.as_ref()) && name != "stages", "{name} cannot name a stage");
        self.out.join(name)
    }

    /// Moves what has the name of a stage, if anything, to the first free `NAME.old-1`, `-2` and so on.
    fn set_aside(&self, name: &str) -> Result<Option<PathBuf>> {
        let folder = self.folder(name);
        if !folder.exists() {
            return Ok(None);
        }
        let aside = (1..).map(|number| self.out.join(format!("{name}.old-{number}"))).find(|path| !path.exists());
        let aside = aside.expect("a folder holds finitely many names");
        fs::rename(&folder, &aside).map_err(Error::io("move aside", &folder))?;
        Ok(Some(aside))
    }
}

/// The stages of a pipeline, to work on: no other process can at the same time.
#[derive(Debug)]
pub struct Sitting {
    stages: Stages,
    /// The system releases the lock when the file is closed, also by a crash.
    _lock: File,
}

impl Sitting {
    /// Makes the folders `out` and `out/stages` where they are missing, and locks them until the value is dropped.
    ///
    /// # Errors
    /// When another process works in `out`, or the folders cannot be made.
    pub fn open(out: &Path) -> Result<Self> {
        let stages = Stages::of(out);
        create_dir(&stages.records())?;
        let path = stages.records().join("lock");
        let lock = File::create(&path).map_err(Error::io("write", &path))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::run(
                out,
                "another synlabel works in it; wait until that has ended, or choose another folder",
            )),
            // Some network file systems have no locks, and working there unguarded beats not working there.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { stages, _lock: lock }),
        }
    }

    /// The stages, to look at.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Sees to it that the result of a stage is there: `work` makes it, or goes on with it, unless it is done already.
    /// Returns the result's stamp, or none when `work` stopped early.
    ///
    /// A folder with the name of the stage that was not made from its inputs is moved aside. The time that a sitting
    /// took is kept unless the process was killed.
    ///
    /// # Errors
    /// Those of `work`, which leave the stage interrupted, and when records or folders cannot be read or written.
    ///
    /// # Panics
    /// When `name` is `stages` or no plain file name.
    pub fn run(
        &mut self,
        name: &str,
        inputs: &Inputs,
        work: impl FnOnce(&Workplace) -> Result<Outcome>,
    ) -> Result<Option<Stamp>> {
        let (Standing { state, stamp }, mut record) = self.stages.look_up(name, inputs)?;
        let start = match state {
            State::Done { .. } => return Ok(Some(stamp)),
            State::Interrupted => Start::Resume,
            State::Changed(_) | State::New => Start::New,
        };
        let workplace = self.begin(name, start, &record)?;
        let began = Instant::now();
        let outcome = work(&workplace);
        record.seconds += began.elapsed().as_secs_f64();
        if let Ok(Outcome::Finished) = outcome {
            record.progress = Progress::Done;
        }
        let recorded = write_json(&self.stages.record_path(name), &record);
        let outcome = outcome?;
        recorded?;
        Ok((outcome == Outcome::Finished).then_some(stamp))
    }

    /// Moves aside, then records, then makes the folder: in any other order a crash could pass off an old result as the
    /// interrupted work of a new one.
    fn begin(&self, name: &str, start: Start, record: &Record) -> Result<Workplace> {
        let set_aside = match start {
            Start::New => self.stages.set_aside(name)?,
            Start::Resume => None,
        };
        write_json(&self.stages.record_path(name), record)?;
        let folder = self.stages.folder(name);
        create_dir(&folder)?;
        Ok(Workplace { folder, start, set_aside })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Progress {
    Begun,
    Done,
}

/// What is written down of a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// The synlabel that began the stage, for who reads the file: another one is no reason to do the stage again.
    version: String,
    progress: Progress,
    /// Over all sittings.
    seconds: f64,
    /// How often it was begun in an empty folder; part of the stamp, so that what was made from a result is made
    /// again when the result was, even from the same inputs.
    beginnings: u64,
    /// A hash of each input, by its name.
    inputs: BTreeMap<String, String>,
}

impl Record {
    fn new(inputs: &Inputs, beginnings: u64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            progress: Progress::Begun,
            seconds: 0.0,
            beginnings,
            inputs: inputs.hashes().clone(),
        }
    }

    fn state(&self, inputs: &Inputs) -> State {
        let names: BTreeSet<&String> = self.inputs.keys().chain(inputs.hashes().keys()).collect();
        let differs = |name: &&String| self.inputs.get(*name) != inputs.hashes().get(*name);
        let changed: Vec<String> = names.into_iter().filter(differs).cloned().collect();
        match (changed.is_empty(), self.progress) {
            (false, _) => State::Changed(changed),
            (true, Progress::Begun) => State::Interrupted,
            (true, Progress::Done) => State::Done { seconds: self.seconds },
        }
    }

    fn stamp(&self, name: &str) -> Result<Stamp> {
        hash_json(name, &(name, self.beginnings, &self.inputs)).map(Stamp)
    }
}

#[cfg(test)]
mod tests;
