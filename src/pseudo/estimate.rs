//! How long the stages of a pipeline may take: measured on noise, with networks that are thrown away.

use std::time::Instant;

use super::approach::Approach;
use super::pipeline::{Pipeline, TranslatorChoice, Work};
use crate::config::TrainConfig;
use crate::error::Result;
use crate::imaging::Plane;
use crate::nn::{Init, Precision, UnetConfig};
use crate::random::Stream;
use crate::run::RunFolder;
use crate::segmentation::ensemble::{Ensemble, Network, Question};
use crate::syndiff::{Generators, ImageTranslator};
use crate::training;

/// Side of the image that is translated to measure.
const SIDE: usize = 64;
/// Side of a window of a planned model on a processor.
const WINDOW: usize = 128;
/// How much of a window is new: windows advance by half.
const NEW: f64 = 0.25;
/// Looks at each window: it is mirrored along both axes.
const LOOKS: f64 = 4.0;

/// What this computer needs.
pub struct Pace {
    /// Seconds of an iteration of the translator's training.
    iteration: f64,
    /// Iterations of the translator's training.
    iterations: f64,
    /// Seconds to translate a pixel.
    translation: f64,
    /// Seconds for one network to look at a pixel once.
    look: f64,
}

impl Pace {
    /// Measures a few seconds of each kind of work.
    pub fn measure(pipeline: &Pipeline) -> Result<Self> {
        let trains = matches!(pipeline.options.translator, TranslatorChoice::Train(_));
        let config = match &pipeline.options.translator {
            TranslatorChoice::Given { run, .. } => RunFolder::open(run)?.config().clone(),
            TranslatorChoice::Train(config) => (**config).clone(),
        };
        let per_epoch = match config.iterations_per_epoch {
            0 => {
                let labelled = pipeline.inputs.labelled.as_ref().map_or(0, |set| set.images.len());
                (labelled.max(pipeline.inputs.targets.len()) / config.batch).max(1) as u64
            }
            count => count,
        };
        Ok(Self {
            iteration: if trains { training::pace(&config, &pipeline.device)? } else { 0.0 },
            iterations: (config.epochs * per_epoch) as f64,
            translation: translation_pace(&config, pipeline)?,
            look: look_pace(pipeline)?,
        })
    }

    /// Seconds that a stage may take from its beginning; none where the plan of a model decides.
    pub fn seconds(&self, pipeline: &Pipeline, work: Work) -> Option<f64> {
        let options = &pipeline.options;
        let target = working_pixels(pipeline, false);
        let labelled = working_pixels(pipeline, true);
        // One more for the way back.
        let draws = options.draws as f64 + 1.0;
        let own = folds(pipeline) * LOOKS;
        Some(match work {
            Work::Translator => self.iteration * self.iterations,
            Work::TranslateLabelled => labelled * draws * self.translation,
            Work::TranslateTarget => target * draws * self.translation,
            // One pass instead of the diffusion's steps.
            Work::TranslateTargetAlone => target * 2.0 * self.translation / 4.0,
            Work::LabelledModel | Work::Proxy { .. } | Work::Supervised => options.seconds?,
            Work::CheckLabelled => labelled * own * self.look / NEW,
            Work::CheckProxy => labelled * LOOKS * self.look / NEW,
            Work::Label(Approach::Adaptation) => target * own * self.look / NEW * options.draws as f64,
            Work::Label(_) => target * own * self.look / NEW,
        })
    }
}

fn folds(pipeline: &Pipeline) -> f64 {
    if pipeline.options.labelled_model.is_some() { 1.0 } else { pipeline.options.folds as f64 }
}

/// Pixels of all images at the working resolution.
fn working_pixels(pipeline: &Pipeline, is_labelled: bool) -> f64 {
    let working = pipeline.working_um().ok().flatten();
    let at_work = |size: [usize; 2], pixel_size_um: Option<f64>| {
        let ratio = pixel_size_um.zip(working).map_or(1.0, |(own, working)| own / working);
        (size[0] * size[1]) as f64 * ratio * ratio
    };
    if is_labelled {
        let images = pipeline.inputs.labelled.iter().flat_map(|set| &set.images);
        return images.map(|image| at_work([image.plane.height(), image.plane.width()], image.pixel_size_um)).sum();
    }
    pipeline.inputs.targets.iter().map(|target| at_work(target.size, target.case.pixel_size_um)).sum()
}

fn noise(side: usize) -> Plane {
    let stream = Stream::new(0);
    Plane::from_fn(side, side, |y, x| (0.5 + 0.2 * stream.normal_at(y, x)).clamp(0.0, 1.0))
}

/// Seconds of a second call: the first one warms up.
fn timed<T>(mut work: impl FnMut() -> T) -> f64 {
    work();
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn translation_pace(config: &TrainConfig, pipeline: &Pipeline) -> Result<f64> {
    let networks = &config.networks;
    let generators = Generators::new(networks, &mut Init::new(Stream::new(0), &pipeline.device, config.precision));
    let translator = ImageTranslator::new(generators, networks, networks.crop, &pipeline.device)?;
    let side = SIDE.max(networks.crop);
    let image = noise(side);
    let seconds = timed(|| translator.translate(&image, crate::domain::Domain::Target, &Stream::new(0)));
    Ok(seconds / (side * side) as f64)
}

/// With a network as it is planned for a processor.
fn look_pace(pipeline: &Pipeline) -> Result<f64> {
    let config = UnetConfig::plain(3, vec![16, 32, 64, 128, 256], [[1, 1]].into_iter().chain([[2, 2]; 4]).collect());
    let network = config.init(&mut Init::new(Stream::new(0), &pipeline.device, Precision::F32));
    let ensemble = Ensemble {
        networks: vec![Network::Unet(Box::new(network), pipeline.device.clone())],
        classes: 3,
        mirror_axes: vec![0, 1],
    };
    let patch = noise(WINDOW).pixels().to_vec();
    let mut outcome = Ok(Vec::new());
    let seconds = timed(|| outcome = ensemble.ask(Question::Logits, std::slice::from_ref(&patch), [WINDOW; 2]));
    outcome?;
    Ok(seconds / LOOKS / (WINDOW * WINDOW) as f64)
}
