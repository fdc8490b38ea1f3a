//! The demonstration: two synthetic looks of nerve cross sections, a small translator learnt between them, and its
//! figures. Needs no data and no download.

use std::path::{Path, PathBuf};

use crate::config::{DomainData, Preset, TrainConfig};
use crate::domain::{Domain, Pair};
use crate::error::Result;
use crate::evaluation::NamedPlane;
use crate::figures::{PanelGroup, PanelRow, panel, save_png};
use crate::files::create_dir;
use crate::imaging::{self, BitDepth, Plane};
use crate::metrics::{l1, ssim};
use crate::phantom::{Look, Phantom, draw, draw_pair};
use crate::random::Stream;
use crate::syndiff::ImageTranslator;

/// Side of the phantoms in pixels.
const SIDE: usize = 128;
/// Phantoms of each look to learn from.
const IMAGES: u64 = 16;
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

    /// The run.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The picture of the result.
    pub fn panel(&self) -> PathBuf {
        self.root.join("panel.png")
    }

    /// The folder of the tables.
    pub fn evaluation(&self) -> PathBuf {
        self.root.join("evaluation")
    }

    /// Draws the images of both looks and their masks (0 background, 1 myelin, 2 axon, in `masks/`).
    pub fn draw(&self) -> Result<()> {
        for domain in Domain::BOTH {
            let folder = self.images(domain);
            create_dir(&folder.join("masks"))?;
            for i in 0..IMAGES {
                let stream = Stream::new(7).child(domain.name()).child(i);
                let Phantom { image, labels } = draw(look_of(domain), SIDE, SIDE, &stream);
                let name = format!("phantom_{i:02}.png");
                imaging::write(&folder.join(&name), &image, BitDepth::Eight, None)?;
                imaging::write_labels(&folder.join("masks").join(&name), &labels)?;
            }
        }
        Ok(())
    }

    /// The settings of the demonstration's training.
    pub fn config(&self) -> TrainConfig {
        let mut config = TrainConfig::preset(Preset::Demo);
        config.data = Pair::from_fn(|domain| DomainData { dir: self.images(domain), ..DomainData::default() });
        config
    }
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
