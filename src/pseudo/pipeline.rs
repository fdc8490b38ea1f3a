//! The stages of a pipeline: which there are, what each depends on, in which order they are done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;

use super::Event;
use super::approach::Approach;
use super::given::{check_run, settle_readings};
use super::inputs::{InputOptions, Inputs, check_classes};
use super::results::Results;
use super::translation::Orientation;
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::run::RunFolder;
use crate::segmentation::open::{OpenOptions, open};
use crate::segmentation::plan::Plan;
use crate::stages::{self, PlannedStage, Sitting, Stages, Stamp};

/// Where the translator comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum TranslatorChoice {
    /// A run that exists.
    Given {
        /// Its folder.
        run: PathBuf,
        /// Which of its looks is the labelled one.
        orientation: Orientation,
    },
    /// A run to train, with the folders of the inputs.
    Train(Box<TrainConfig>),
}

/// What a pipeline is to do.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// Where its results go.
    pub out: PathBuf,
    /// The images.
    pub inputs: InputOptions,
    /// The approaches to take.
    pub approaches: Vec<Approach>,
    /// The translator.
    pub translator: TranslatorChoice,
    /// A model of the labelled look; none trains one where it is needed.
    pub labelled_model: Option<PathBuf>,
    /// Micrometres per pixel that this model works at, where it does not say.
    pub model_pixel_size_um: Option<f64>,
    /// A plan for the models that are trained, else one is made from the images.
    pub plan: Option<Plan>,
    /// Folds of the models that are trained; at most as many as there are subjects.
    pub folds: usize,
    /// Draws of each translation.
    pub draws: u64,
    /// Seconds for the training of each segmentation model; none trains all epochs of the plan.
    pub seconds: Option<f64>,
    /// Translations and parts of them whose structure score is below this are not learnt from.
    pub min_structure: f64,
    /// Share of the votes from which on a pseudo label is learnt from in a further round.
    pub min_confidence: f64,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// A stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Train the translator.
    Translator,
    /// Translate the labelled images into the look of the target.
    TranslateLabelled,
    /// Translate the target images into the labelled look.
    TranslateTarget,
    /// The same with the non-diffusive translator alone.
    TranslateTargetAlone,
    /// Train the model of the labelled look.
    LabelledModel,
    /// Segment there-and-back translations of the labelled images with it.
    CheckLabelled,
    /// Train the proxy model.
    Proxy {
        /// From 2 on with pseudo labels of the round before.
        round: u64,
    },
    /// Segment the translated labelled images with the proxies that did not learn from them.
    CheckProxy,
    /// Train a model on true masks of the target.
    Supervised,
    /// Make masks of the target images.
    Label(Approach),
}

impl Work {
    /// The name of its folder.
    pub fn name(self) -> String {
        match self {
            Self::Translator => "translator".into(),
            Self::TranslateLabelled => "translated_labelled".into(),
            Self::TranslateTarget => "translated_target".into(),
            Self::TranslateTargetAlone => "translated_target_alone".into(),
            Self::LabelledModel => "labelled_model".into(),
            Self::CheckLabelled => "labelled_check".into(),
            Self::Proxy { round: 1 } => "proxy".into(),
            Self::Proxy { round } => format!("proxy_round{round}"),
            Self::CheckProxy => "proxy_check".into(),
            Self::Supervised => "supervised".into(),
            Self::Label(approach) => format!("labels_{}", approach.name()),
        }
    }

    /// What it does, in a few words.
    pub fn does(self) -> String {
        match self {
            Self::Translator => "train the translator between the two looks".into(),
            Self::TranslateLabelled => "translate the labelled images into the look of the target".into(),
            Self::TranslateTarget => "translate the target images into the labelled look".into(),
            Self::TranslateTargetAlone => "the same with the translator without diffusion".into(),
            Self::LabelledModel => "train a model of the labelled look".into(),
            Self::CheckLabelled => "see whether that model finds the objects after there and back".into(),
            Self::Proxy { round: 1 } => "train the proxy model on translated images".into(),
            Self::Proxy { .. } => "train it again with confident pseudo labels".into(),
            Self::CheckProxy => "see which objects of the translated images are found".into(),
            Self::Supervised => "train a model on true masks of the target".into(),
            Self::Label(approach) => format!("make masks: {}", approach.title()),
        }
    }
}

/// A pipeline whose inputs are read and checked.
pub struct Pipeline {
    /// What it is to do.
    pub options: PipelineOptions,
    /// What it starts from.
    pub inputs: Inputs,
    pub(super) device: Device,
    labelled_hash: stages::Inputs,
    target_hash: stages::Inputs,
    truth_hash: stages::Inputs,
}

impl Pipeline {
    /// Reads and checks the inputs.
    pub fn new(mut options: PipelineOptions, device: &Device) -> Result<Self> {
        settle_readings(&mut options.inputs, &mut options.translator)?;
        let mut inputs = Inputs::read(&options.inputs)?;
        let reason = inputs.reason_against_supervised();
        if let Some(reason) = reason.filter(|_| options.approaches.contains(&Approach::Supervised)) {
            inputs.notes.push(format!("{reason}, so there is no supervised model to compare with"));
        }
        if inputs.truth.is_none() || reason.is_some() {
            options.approaches.retain(|approach| *approach != Approach::Supervised);
        }
        let needs_labelled = |approach: &Approach| matches!(approach, Approach::Tutorship { .. });
        let trains = matches!(options.translator, TranslatorChoice::Train(_)) || options.labelled_model.is_none();
        if inputs.labelled.is_none() && (trains || options.approaches.iter().any(needs_labelled)) {
            return Err(Error::Config("labelled images are needed for this: give --labelled".into()));
        }
        if let (Some(path), Some(truth)) = (&options.labelled_model, &inputs.truth) {
            let model = open(path, &OpenOptions::default(), device)?.segmenter;
            inputs.notes.extend(check_classes(&model.class_names, truth)?);
        }
        if let TranslatorChoice::Given { run, orientation } = &options.translator {
            check_run(&RunFolder::open(run)?, *orientation, &mut inputs)?;
        }
        if let TranslatorChoice::Train(config) = &mut options.translator {
            config.data.target.hold_out.clone_from(&options.inputs.held_out);
            config.data.labelled.hold_out.clone_from(&inputs.held_out_of_labelled);
        }
        let target_files: Vec<PathBuf> = inputs.targets.iter().map(|target| target.case.path.clone()).collect();
        let truth_files = inputs.truth.as_ref().map(|truth| truth.files()).unwrap_or_default();
        Ok(Self {
            labelled_hash: stages::Inputs::new().files("labelled images", &inputs.labelled_files)?,
            target_hash: stages::Inputs::new().files("target images", &target_files)?,
            truth_hash: stages::Inputs::new().files("true masks", &truth_files)?,
            options,
            inputs,
            device: device.clone(),
        })
    }

    /// The stages, in order.
    pub fn works(&self) -> Vec<Work> {
        let approaches = &self.options.approaches;
        let uses = |test: fn(&Approach) -> bool| approaches.iter().any(test);
        let rounds = approaches.iter().filter_map(|approach| match approach {
            Approach::Tutorship { round } => Some(*round),
            _ => None,
        });
        let rounds = rounds.max().unwrap_or(0);
        let (adapts, has_labelled) = (approaches.contains(&Approach::Adaptation), self.inputs.labelled.is_some());
        let trains = matches!(self.options.translator, TranslatorChoice::Train(_));
        let uses_translator = uses(|approach| approach.uses_translator());
        let mut works = Vec::new();
        let mut add = |is_needed: bool, work: Work| works.extend(is_needed.then_some(work));
        add(trains && uses_translator, Work::Translator);
        add(rounds > 0 || (adapts && has_labelled), Work::TranslateLabelled);
        // A tutorship shows how its images look to the translator, too.
        add(adapts || rounds > 0, Work::TranslateTarget);
        add(approaches.contains(&Approach::TranslatorAlone), Work::TranslateTargetAlone);
        add(
            uses(|approach| approach.uses_labelled_model()) && self.options.labelled_model.is_none(),
            Work::LabelledModel,
        );
        add(adapts && has_labelled, Work::CheckLabelled);
        for approach in approaches.iter().filter(|approach| approach.uses_labelled_model()) {
            add(true, Work::Label(*approach));
        }
        for round in 1..=rounds {
            add(true, Work::Proxy { round });
            add(round == 1, Work::CheckProxy);
            add(true, Work::Label(Approach::Tutorship { round }));
        }
        if approaches.contains(&Approach::Supervised) {
            add(true, Work::Supervised);
            add(true, Work::Label(Approach::Supervised));
        }
        works
    }

    /// What is to be done and how long it may take; nothing is written.
    pub fn plan(&self) -> Result<stages::Plan> {
        let stages = Stages::of(&self.options.out);
        let pace = super::estimate::Pace::measure(self)?;
        let mut stamps = Stamps::new();
        let mut planned = Vec::new();
        for work in self.works() {
            let standing = stages.standing(&work.name(), &self.inputs_of(work, &stamps)?)?;
            stamps.insert(work.name(), standing.stamp);
            let estimate_s = pace.seconds(self, work);
            planned.push(PlannedStage { name: work.name(), does: work.does(), state: standing.state, estimate_s });
        }
        Ok(stages::Plan(planned))
    }

    /// Does what is not done; none when it was asked to stop. Results stay in the folders of the stages.
    pub fn run(&self, stop: &AtomicBool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Option<Results>> {
        let mut sitting = Sitting::open(&self.options.out)?;
        let works = self.works();
        let mut stamps = Stamps::new();
        for (place, work) in works.iter().enumerate() {
            let (name, inputs) = (work.name(), self.inputs_of(*work, &stamps)?);
            let state = sitting.stages().standing(&name, &inputs)?.state;
            on_event(Event::Stage { place: [place + 1, works.len()], name: &name, does: &work.does(), state: &state });
            let stamp = sitting.run(&name, &inputs, |workplace| {
                if let Some(aside) = &workplace.set_aside {
                    on_event(Event::Note(&format!("the former {name} was moved to {}", aside.display())));
                }
                self.perform(*work, &workplace.folder, stop, on_event)
            })?;
            match stamp {
                Some(stamp) => stamps.insert(name, stamp),
                None => return Ok(None),
            };
        }
        Results::gather(self).map(Some)
    }

    /// The folder of a stage.
    pub fn folder(&self, work: Work) -> PathBuf {
        self.options.out.join(work.name())
    }

    /// The run of the translator.
    pub fn run_folder(&self) -> PathBuf {
        match &self.options.translator {
            TranslatorChoice::Given { run, .. } => run.clone(),
            TranslatorChoice::Train(_) => self.folder(Work::Translator),
        }
    }

    fn inputs_of(&self, work: Work, stamps: &Stamps) -> Result<stages::Inputs> {
        let options = &self.options;
        let inputs = stages::Inputs::new().value("seed", &options.seed)?;
        let (reading, held_out) = (options.inputs.reading_lines(), &options.inputs.held_out);
        let sized = inputs.clone().value("reading of the images", &reading)?.value("held-out subjects", held_out)?;
        match work {
            Work::Translator => {
                let settings = match &options.translator {
                    TranslatorChoice::Train(config) => Some(config.without_folders()),
                    TranslatorChoice::Given { .. } => None,
                };
                Ok(inputs
                    .and(&self.labelled_hash)
                    .and(&self.target_hash)
                    .value("settings of the translator", &settings)?)
            }
            Work::TranslateLabelled => {
                let inputs = self.with_translator(sized, stamps)?.and(&self.labelled_hash);
                inputs.value("draws", &options.draws)
            }
            Work::TranslateTarget => {
                let inputs = self.with_translator(sized, stamps)?.and(&self.target_hash);
                inputs.value("draws", &options.draws)
            }
            Work::TranslateTargetAlone => Ok(self.with_translator(sized, stamps)?.and(&self.target_hash)),
            Work::LabelledModel => {
                let inputs = self.with_training(sized)?.and(&self.labelled_hash);
                inputs.value("working pixel size", &self.working_um()?)
            }
            Work::CheckLabelled => {
                Ok(self.with_labelled_model(inputs, stamps)?.stage("translations", of(stamps, Work::TranslateLabelled)))
            }
            Work::Proxy { round } => {
                let inputs = self.with_training(sized)?.value("least structure", &options.min_structure)?;
                let inputs = inputs.stage("translations", of(stamps, Work::TranslateLabelled));
                if round == 1 {
                    return Ok(inputs);
                }
                let before = of(stamps, Work::Label(Approach::Tutorship { round: round - 1 }));
                inputs
                    .value("least confidence", &options.min_confidence)
                    .map(|inputs| inputs.stage("pseudo labels", before))
            }
            Work::CheckProxy => Ok(inputs
                .stage("proxy", of(stamps, Work::Proxy { round: 1 }))
                .stage("translations", of(stamps, Work::TranslateLabelled))),
            Work::Supervised => {
                let inputs = self.with_training(sized)?.and(&self.target_hash).and(&self.truth_hash);
                inputs.value("working pixel size", &self.working_um()?)
            }
            Work::Label(approach) => self.inputs_of_labels(sized, approach, stamps),
        }
    }

    fn inputs_of_labels(&self, inputs: stages::Inputs, approach: Approach, stamps: &Stamps) -> Result<stages::Inputs> {
        let inputs = match approach {
            Approach::Tutorship { round } => inputs.stage("proxy", of(stamps, Work::Proxy { round })),
            Approach::Supervised => inputs.stage("model", of(stamps, Work::Supervised)),
            _ => self.with_labelled_model(inputs, stamps)?,
        };
        Ok(match approach {
            Approach::TranslatorAlone => inputs.stage("translations", of(stamps, Work::TranslateTargetAlone)),
            Approach::Adaptation => inputs.stage("translations", of(stamps, Work::TranslateTarget)),
            Approach::Matched | Approach::InvertedMatched => inputs.and(&self.target_hash).and(&self.labelled_hash),
            _ => inputs.and(&self.target_hash),
        })
    }

    fn with_translator(&self, inputs: stages::Inputs, stamps: &Stamps) -> Result<stages::Inputs> {
        match &self.options.translator {
            TranslatorChoice::Given { run, orientation } => inputs
                .value("orientation of the translator", orientation)?
                .files("translator", &[run.join("best"), run.join("config.toml"), run.join("data.json")]),
            TranslatorChoice::Train(_) => Ok(inputs.stage("translator", of(stamps, Work::Translator))),
        }
    }

    fn with_labelled_model(&self, inputs: stages::Inputs, stamps: &Stamps) -> Result<stages::Inputs> {
        match &self.options.labelled_model {
            Some(path) => {
                let inputs = inputs.value("pixel size of the model", &self.options.model_pixel_size_um)?;
                inputs.files("model", std::slice::from_ref(path))
            }
            None => Ok(inputs.stage("model", of(stamps, Work::LabelledModel))),
        }
    }

    fn with_training(&self, inputs: stages::Inputs) -> Result<stages::Inputs> {
        let options = &self.options;
        inputs
            .value("plan", &options.plan)?
            .value("folds", &options.folds)?
            .value("training time", &options.seconds)?
            .value("mask threshold", &options.inputs.mask_threshold)
    }

    /// Micrometres per pixel that everything works at; none where a pixel size is not known. Before the translator is
    /// trained, what it will be.
    pub fn working_um(&self) -> Result<Option<f64>> {
        let run = self.run_folder();
        if run.join("config.toml").is_file() {
            return Ok(RunFolder::open(&run)?.data().pixel_size_um);
        }
        let TranslatorChoice::Train(config) = &self.options.translator else { return Ok(None) };
        if config.pixel_size_um > 0.0 {
            return Ok(Some(config.pixel_size_um));
        }
        let labelled = self.inputs.labelled.as_ref().and_then(|set| set.pixel_size_um);
        let sizes = self.inputs.targets.iter().map(|target| target.case.pixel_size_um).collect::<Option<Vec<f64>>>();
        let target = sizes.map(|mut sizes| {
            sizes.sort_by(f64::total_cmp);
            sizes[sizes.len() / 2]
        });
        Ok(labelled.zip(target).map(|(labelled, target)| labelled.max(target)))
    }
}

type Stamps = BTreeMap<String, Stamp>;

fn of(stamps: &Stamps, work: Work) -> &Stamp {
    stamps.get(&work.name()).expect("a stage comes after those that it depends on")
}
