//! The demonstration: two synthetic looks of nerve cross sections, a small translator learnt between them, and masks of
//! the one look from those of the other by both strategies. Needs no data and no download.

use std::path::{Path, PathBuf};

use crate::config::{DomainData, Preset, TrainConfig};
use crate::domain::{Domain, Pair};
use crate::error::Result;
use crate::evaluation::NamedPlane;
use crate::figures::{PanelGroup, PanelRow, panel, save_png};
use crate::files::create_dir;
use crate::imaging::{self, BitDepth, LabelMap, Plane};
use crate::metrics::{l1, ssim};
use crate::phantom::{AXON, Look, MYELIN, Phantom, draw, draw_pair};
use crate::pseudo::inputs::InputOptions;
use crate::pseudo::{Approach, PipelineOptions, TranslatorChoice};
use crate::random::Stream;
use crate::segmentation::plan::{Fingerprint, Plan, PlanOptions};
use crate::syndiff::ImageTranslator;

/// Side of the phantoms in pixels.
const SIDE: usize = 128;
/// Phantoms of each look.
const IMAGES: u64 = 16;
/// Phantoms of the target that are kept out of all training, to score on.
const HELD_OUT: u64 = 4;
/// Nerves drawn in both looks, to compare a translation with the truth. Training never sees them.
const TWINS: u64 = 4;

/// Where the demonstration keeps its files.
#[derive(Debug, Clone)]
pub struct DemoFolder {
    root: PathBuf,
}

impl DemoFolder {
    /// The folder of a demonstration.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The images of a domain.
    pub fn images(&self, domain: Domain) -> PathBuf {
        self.root.join(domain.name())
    }

    /// The folder of the pipeline.
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    /// The picture of the translations.
    pub fn panel(&self) -> PathBuf {
        self.root.join("panel.png")
    }

    /// The folder of the translator's tables.
    pub fn evaluation(&self) -> PathBuf {
        self.root.join("evaluation")
    }

    /// Draws the images of both looks and their masks (0 background, 127 myelin, 255 axon, in `masks/`). Those of the
    /// target are for scores only.
    pub fn draw(&self) -> Result<()> {
        for domain in Domain::BOTH {
            let folder = self.images(domain);
            create_dir(&folder.join("masks"))?;
            for i in 0..IMAGES {
                let stream = Stream::new(7).child(domain.name()).child(i);
                let Phantom { image, labels } = draw(look_of(domain), SIDE, SIDE, &stream);
                let name = name_of(i);
                imaging::write(&folder.join(format!("{name}.png")), &image, BitDepth::Eight, None)?;
                let mask = folder.join("masks").join(format!("{name}_seg-axonmyelin.png"));
                imaging::write_labels(&mask, &to_greys(&labels))?;
            }
        }
        Ok(())
    }

    /// The settings of the translator's training.
    pub fn config(&self) -> TrainConfig {
        let mut config = TrainConfig::preset(Preset::Demo);
        config.data = Pair::from_fn(|domain| DomainData { dir: self.images(domain), ..DomainData::default() });
        config
    }

    /// Both strategies, and the model that learnt from the labelled look as it is.
    pub fn pipeline(&self) -> Result<PipelineOptions> {
        Ok(PipelineOptions {
            out: self.out(),
            inputs: InputOptions {
                labelled: Some(self.images(Domain::Labelled)),
                target: self.images(Domain::Target),
                truth: Some(self.images(Domain::Target)),
                held_out: (IMAGES - HELD_OUT..IMAGES).map(name_of).collect(),
                ..InputOptions::default()
            },
            approaches: vec![Approach::AsIs, Approach::Adaptation, Approach::Tutorship { round: 1 }],
            translator: TranslatorChoice::Train(Box::new(self.config())),
            labelled_model: None,
            model_pixel_size_um: None,
            plan: Some(plan()?),
            folds: 2,
            draws: 2,
            seconds: None,
            min_structure: 0.0,
            min_confidence: 0.9,
            seed: 42,
        })
    }
}

/// A narrow network on small patches, for many iterations in little time.
fn plan() -> Result<Plan> {
    let images = Fingerprint { sizes: vec![[SIDE; 2]; IMAGES as usize], pixel_size_um: None, foreground: None };
    let small =
        PlanOptions { base_features: 8, max_patch: Some(64), max_stages: Some(4), ..PlanOptions::for_processor() };
    let plan = Plan::for_images(&images, vec!["myelin".into(), "axon".into()], "", &small)?;
    Ok(Plan { epochs: 15, iterations_per_epoch: 20, ..plan })
}

fn name_of(i: u64) -> String {
    format!("phantom_{i:02}")
}

fn to_greys(labels: &LabelMap) -> LabelMap {
    let grey = |label: &u8| match *label {
        MYELIN => 127,
        AXON => 255,
        _ => 0,
    };
    LabelMap::new(labels.height(), labels.width(), labels.classes().iter().map(grey).collect())
}
/// The look of a domain: the labelled one is like transmission electron microscopy, the target like scanning.
pub fn look_of(domain: Domain) -> Look {
    match domain {
        Domain::Labelled => Look::DarkMyelin,
        Domain::Target => Look::BrightMyelin,
    }
}

/// Nerves drawn in both looks, which training has not seen.
pub fn twins() -> Vec<Pair<Plane>> {
    (0..TWINS)
        .map(|i| {
            let (dark, bright) = draw_pair(SIDE, SIDE, &Stream::new(7).child("twins").child(i));
            Pair { labelled: dark.image, target: bright.image }
        })
        .collect()
}

/// How close a translation comes to the same nerve drawn in the other look, which only a phantom can tell.
#[derive(Debug, Clone, Copy)]
pub struct TrueError {
    /// Mean structural similarity of translations and truth.
    pub ssim: f64,
    /// Mean absolute difference of translations and truth.
    pub l1: f64,
    /// The same before translation.
    pub ssim_untranslated: f64,
    /// The same before translation.
    pub l1_untranslated: f64,
}

/// Translates the twins both ways, draws the panel and compares with the truth.
pub fn compare_with_truth(translator: &ImageTranslator, folder: &DemoFolder) -> Result<Pair<TrueError>> {
    let twins = twins();
    let noise = Stream::new(0).child("demo");
    let translated = Pair::from_fn(|domain: Domain| {
        let sources: Vec<Plane> = twins.iter().map(|twin| twin.of(domain).clone()).collect();
        translator.translate_each(&sources, domain.other(), &noise.child(domain.name()))
    });
    let groups: Vec<PanelGroup<'_>> = Domain::BOTH
        .iter()
        .map(|&domain| PanelGroup {
            title: format!("{} → {}", domain.name(), domain.other().name()),
            captions: vec!["source".into(), "translation".into(), "the same nerve, drawn".into()],
            rows: twins
                .iter()
                .zip(translated.of(domain))
                .enumerate()
                .map(|(i, (twin, translation))| PanelRow {
                    label: format!("{}", i + 1),
                    planes: vec![twin.of(domain), translation, twin.of(domain.other())],
                })
                .collect(),
        })
        .collect();
    save_png(&folder.panel(), &panel(&groups))?;
    Ok(Pair::from_fn(|domain| {
        let mean = |value: &dyn Fn(&Pair<Plane>, &Plane) -> f64| {
            twins.iter().zip(translated.of(domain)).map(|(twin, image)| value(twin, image)).sum::<f64>()
                / twins.len() as f64
        };
        let truth = domain.other();
        TrueError {
            ssim: mean(&|twin, image| ssim(image, twin.of(truth)).unwrap_or(0.0)),
            l1: mean(&|twin, image| l1(image, twin.of(truth))),
            ssim_untranslated: mean(&|twin, _| ssim(twin.of(domain), twin.of(truth)).unwrap_or(0.0)),
            l1_untranslated: mean(&|twin, _| l1(twin.of(domain), twin.of(truth))),
        }
    }))
}

/// The twins as sets of images to evaluate.
pub fn planes_to_evaluate() -> Pair<Vec<NamedPlane>> {
    let twins = twins();
    Pair::from_fn(|domain| {
        let named = twins.iter().enumerate();
        named.map(|(i, twin)| NamedPlane { name: format!("twin_{i}"), plane: twin.of(domain).clone() }).collect()
    })
}
