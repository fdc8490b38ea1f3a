//! The training loop: iterations, epochs, validation, checkpoints. Reports through [`Event`]s; prints nothing.

mod balance;
mod batches;
mod journal;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Device;

pub use self::batches::Batches;
use self::batches::{Iteration, random_crop};
use self::journal::Journal;
use crate::ahead::Ahead;
use crate::config::TrainConfig;
use crate::domain::{Domain, Pair};
use crate::error::{Error, Result};
use crate::imaging::Plane;
use crate::nn::Init;
use crate::prepare::{Prepared, prepare};
use crate::random::Stream;
use crate::run::{Progress, RunData, RunFolder, Which};
use crate::syndiff::{
    Contrast, Discriminators, Generators, ImageTranslator, LearningRates, StepContext, StepState, TERM_NAMES,
};
use crate::validation::{Validation, ValidationScore};

/// What happens during training.
#[derive(Debug)]
pub enum Event<'a> {
    /// The data are read and the networks built.
    Started {
        /// Images to learn from.
        train: Pair<usize>,
        /// Images to validate on.
        validation: Pair<usize>,
        /// The working resolution.
        pixel_size_um: Option<f64>,
        /// Iterations of the whole run, and those done before.
        iterations: (u64, u64),
    },
    /// Something the user should know.
    Note(&'a str),
    /// A file was left out.
    Skipped {
        /// The file.
        path: &'a Path,
        /// Why.
        reason: &'a str,
    },
    /// An iteration is done.
    Step {
        /// Iterations done.
        step: u64,
        /// Mean over the last iterations of each loss term.
        losses: &'a [f64; TERM_NAMES.len()],
        /// Seconds an iteration takes.
        seconds: f64,
    },
    /// An epoch is done and saved.
    Epoch {
        /// Epochs done.
        epoch: u64,
        /// Its figures.
        score: &'a ValidationScore,
        /// Whether it is the best so far.
        best: bool,
    },
}

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// It was asked to stop, and saved.
    Stopped,
}

/// Whether to begin or to go on.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// A new run with these settings.
    New(Box<TrainConfig>),
    /// The run in the folder.
    Resume,
}

/// Trains in `root` until all epochs are done or `stop` is set.
pub fn train(
    root: &Path,
    start: Start,
    device: &Device,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Ending> {
    let (run, prepared, resumes) = match start {
        Start::New(config) => {
            config.check()?;
            RunFolder::refuse_existing(root)?;
            let prepared = prepare(&config)?;
            (RunFolder::create(root, &config, &run_data(&prepared))?, prepared, false)
        }
        Start::Resume => {
            let run = RunFolder::open(root)?;
            run.config().check()?;
            let prepared = prepare(run.config())?;
            if run_data(&prepared) != *run.data() {
                return Err(Error::run(
                    root,
                    "the images in its folders are not those it was trained on (see data.json); restore them, or \
                     start a new run",
                ));
            }
            let resumes = run.has(Which::Last);
            (run, prepared, resumes)
        }
    };
    let (state, progress) =
        if resumes { run.load(device)? } else { (run.new_state(device), Progress::new(run.config().seed)) };
    let batches = batches(run.config(), &prepared)?;
    Trainer::new(&run, &prepared, &batches, state, progress, device)?.run(stop, on_event)
}

fn batches<'a>(config: &TrainConfig, prepared: &'a Prepared) -> Result<Batches<'a>> {
    let networks = &config.networks;
    let batches = Batches::new(&prepared.train, config.seed, config.batch, networks.crop, config.iterations_per_epoch)
        .with_draws(networks.generator.latent_dim, networks.schedule.init()?.steps());
    Ok(if config.balance_crops { batches.balanced() } else { batches })
}

/// Seconds that an iteration with these settings takes, measured on noise with networks that are thrown away.
pub fn pace(config: &TrainConfig, device: &Device) -> Result<f64> {
    let networks = &config.networks;
    let schedule = networks.schedule.init()?;
    let stream = Stream::new(0);
    let side = networks.crop;
    let noise = |_| vec![Plane::from_fn(side, side, |y, x| (0.5 + 0.2 * stream.normal_at(y, x)).clamp(0.0, 1.0))];
    let images = Pair::from_fn(noise);
    let batches =
        Batches::new(&images, 0, config.batch, side, 1).with_draws(networks.generator.latent_dim, schedule.steps());
    let context = StepContext { schedule, embedding: networks.generator.embedding, options: config.step.clone() };
    let mut init = Init::new(stream.clone(), device, config.precision);
    let generators = Generators::new(networks, &mut init);
    let mut state = StepState::new(generators, Discriminators::new(networks, &mut init), &config.step);
    let mut advance = |step| {
        let rates = LearningRates { generators: 0.0, discriminators: 0.0 };
        let (crops, draws) = batches.iteration(step).on(device);
        state.advance(&crops, &draws, &context, rates).read();
    };
    let mut timed = |step| {
        let began = Instant::now();
        advance(step);
        began.elapsed().as_secs_f64()
    };
    // The first one warms up and holds the penalty that comes every tenth time; of slow ones it has to do.
    let first = timed(0);
    Ok(if first > SLOW { first } else { timed(1) })
}

/// Seconds from which on an iteration is timed once only.
const SLOW: f64 = 5.0;

fn run_data(prepared: &Prepared) -> RunData {
    RunData { pixel_size_um: prepared.pixel_size_um, split: prepared.split.clone(), translates_to: None }
}

struct Trainer<'a> {
    run: &'a RunFolder,
    prepared: &'a Prepared,
    batches: &'a Batches<'a>,
    context: StepContext,
    validation: Validation,
    state: StepState,
    progress: Progress,
    recent: VecDeque<[Option<f32>; TERM_NAMES.len()]>,
    journal: Journal,
    device: Device,
}

const CONTRAST_IS_FREE: &str = "whether light stays light is left to chance; where you know it, say --contrast inverted (structures \
     dark in one look are bright in the other) or --contrast kept";

/// Iterations over which the losses on display are averaged.
const RECENT: usize = 20;

impl<'a> Trainer<'a> {
    fn new(
        run: &'a RunFolder,
        prepared: &'a Prepared,
        batches: &'a Batches<'a>,
        state: StepState,
        progress: Progress,
        device: &Device,
    ) -> Result<Self> {
        let config = run.config();
        let networks = &config.networks;
        let context = StepContext {
            schedule: networks.schedule.init()?,
            embedding: networks.generator.embedding,
            options: config.step.clone(),
        };
        Ok(Self {
            validation: validation(config, prepared),
            journal: Journal::open(run.root(), &progress)?,
            run,
            prepared,
            batches,
            context,
            state,
            progress,
            recent: VecDeque::new(),
            device: device.clone(),
        })
    }

    fn run(mut self, stop: &AtomicBool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Ending> {
        let epochs = self.run.config().epochs;
        let iterations = epochs * self.batches.per_epoch();
        self.announce(iterations, on_event);
        let batches = self.batches;
        std::thread::scope(|scope| {
            let mut ahead = Ahead::new(scope, self.progress.step, |step| batches.iteration(step));
            self.iterate(iterations, &mut || ahead.take(), stop, on_event)
        })
    }

    fn iterate(
        &mut self,
        iterations: u64,
        next: &mut dyn FnMut() -> Iteration,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ending> {
        let earlier = self.progress.seconds;
        let began = Instant::now();
        while self.progress.step < iterations {
            let step_began = Instant::now();
            self.step(next())?;
            self.progress.seconds = earlier + began.elapsed().as_secs_f64();
            let losses = self.recent_means();
            on_event(Event::Step {
                step: self.progress.step,
                losses: &losses,
                seconds: step_began.elapsed().as_secs_f64(),
            });
            if self.progress.step.is_multiple_of(self.batches.per_epoch()) {
                let (score, best) = self.end_epoch()?;
                on_event(Event::Epoch { epoch: self.progress.epoch, score: &score, best });
            } else if stop.load(Ordering::Relaxed) {
                self.run.save(Which::Last, &self.state, &self.progress)?;
            }
            if stop.load(Ordering::Relaxed) && self.progress.step < iterations {
                return Ok(Ending::Stopped);
            }
        }
        Ok(Ending::Finished)
    }

    fn announce(&self, iterations: u64, on_event: &mut dyn FnMut(Event<'_>)) {
        on_event(Event::Started {
            train: self.prepared.train.map(Vec::len),
            validation: self.prepared.validation.map(Vec::len),
            pixel_size_um: self.prepared.pixel_size_um,
            iterations: (iterations, self.progress.step),
        });
        for note in self.prepared.notes.iter().chain(&self.batches.note()) {
            on_event(Event::Note(note));
        }
        if self.context.options.contrast == Contrast::Free && self.progress.step == 0 {
            on_event(Event::Note(CONTRAST_IS_FREE));
        }
        for skipped in &self.prepared.skipped {
            on_event(Event::Skipped { path: &skipped.path, reason: &skipped.reason });
        }
    }

    fn step(&mut self, iteration: Iteration) -> Result<()> {
        let step = self.progress.step;
        // Dropout draws from the device's generator; seeding it by the step keeps a resumed run the same.
        self.device.seed(Stream::new(self.progress.seed).child("dropout").child(step).bits());
        let (batch, draws) = iteration.on(&self.device);
        let config = self.run.config();
        let rates = LearningRates {
            generators: config.learning_rate_in(self.progress.epoch, config.learning_rate.generators),
            discriminators: config.learning_rate_in(self.progress.epoch, config.learning_rate.discriminators),
        };
        let terms = self.state.advance(&batch, &draws, &self.context, rates).read();
        for (name, value) in TERM_NAMES.iter().zip(terms) {
            if value.is_some_and(|value| !value.is_finite()) {
                return Err(Error::NotFinite { term: name, step });
            }
        }
        for ((sum, count), value) in self.progress.sums.iter_mut().zip(terms) {
            *sum += value.unwrap_or(0.0) as f64;
            *count += value.is_some() as u64;
        }
        self.recent.push_back(terms);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.progress.step += 1;
        Ok(())
    }

    fn recent_means(&self) -> [f64; TERM_NAMES.len()] {
        std::array::from_fn(|i| {
            let values: Vec<f64> = self.recent.iter().filter_map(|terms| terms[i]).map(f64::from).collect();
            values.iter().sum::<f64>() / values.len() as f64
        })
    }

    /// Validates, saves and writes down an epoch.
    fn end_epoch(&mut self) -> Result<(ValidationScore, bool)> {
        let config = self.run.config();
        let translator =
            ImageTranslator::new(self.state.average.clone(), &config.networks, config.networks.crop, &self.device)?;
        let (score, trips) = self.validation.judge(&translator);
        let rate = config.learning_rate_in(self.progress.epoch, config.learning_rate.generators);
        let losses = self.progress.sums.map(|(sum, count)| sum / count as f64);
        self.progress.sums = [(0.0, 0); TERM_NAMES.len()];
        self.progress.epoch += 1;
        let best = self.progress.best.is_none_or(|(best, _)| score.score < best);
        if best {
            self.progress.best = Some((score.score, self.progress.epoch));
        }
        self.journal.epoch(&self.progress, rate, &losses, &score, &trips)?;
        if best {
            self.run.save_generators(&self.state.average, &self.progress)?;
        }
        self.run.save(Which::Last, &self.state, &self.progress)?;
        Ok((score, best))
    }
}

/// Validation on seeded crops; the real look of a domain is that of crops of all its training and validation images.
fn validation(config: &TrainConfig, prepared: &Prepared) -> Validation {
    let stream = Stream::new(config.seed).child("validation crops");
    let side = config.networks.crop;
    let crops_of = |planes: &[&Plane], count: usize, stream: &Stream| -> Vec<Plane> {
        (0..count).map(|i| random_crop(planes[i % planes.len()], side, &mut stream.child(i as u64))).collect()
    };
    let crops = Pair::from_fn(|domain: Domain| {
        let planes: Vec<&Plane> = prepared.validation.of(domain).iter().collect();
        crops_of(&planes, config.validation.crops, &stream.child(domain.name()))
    });
    let reference = Pair::from_fn(|domain: Domain| {
        let planes: Vec<&Plane> = prepared.train.of(domain).iter().chain(prepared.validation.of(domain)).collect();
        crops_of(&planes, config.validation.reference_crops, &stream.child("reference").child(domain.name()))
    });
    Validation::new(crops, &reference, config.seed)
}
