//! Translating a set of images, draw by draw, and checking of each whether it kept its structures.
//!
//! ```text
//! FOLDER/NAME.png         the first draw, at the working resolution
//! FOLDER/NAME_draw2.png   further draws
//! FOLDER/NAME_back.png    the first draw translated back
//! FOLDER/NAME_error.png   how far that is from the source
//! FOLDER/NAME.json        the figures; written last, so that it tells which images are done
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::domain::Domain;
use crate::error::{Error, Result};
use crate::files::{read_json, write_json};
use crate::imaging::{self, BitDepth, Plane, Window};
use crate::metrics::{l1, ssim};
use crate::prepare::to_working_size;
use crate::random::Stream;
use crate::run::{RunFolder, Which};
use crate::stages::Outcome;
use crate::structure::{self, StructureScore};
use crate::syndiff::ImageTranslator;

/// Which look of a run is the labelled one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Orientation {
    /// The one that was labelled in training.
    AsTrained,
    /// The one that was the target in training: a translator learns both directions.
    Exchanged,
}

impl Orientation {
    /// The domain of the run that a domain is.
    pub fn of(self, domain: Domain) -> Domain {
        match self {
            Self::AsTrained => domain,
            Self::Exchanged => domain.other(),
        }
    }
}

/// How images are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// By the reverse walk of the diffusion.
    SynDiff,
    /// By the non-diffusive translator alone, which draws nothing: one pass, always the same.
    TranslatorAlone,
}

/// A trained translator and what it works on.
#[derive(Debug)]
pub struct Translator {
    networks: ImageTranslator,
    orientation: Orientation,
    /// Micrometres per pixel that it works at; none when nothing was resampled in training.
    pub pixel_size_um: Option<f64>,
}

impl Translator {
    /// The best networks of a run.
    pub fn open(root: &Path, orientation: Orientation, device: &Device) -> Result<Self> {
        let run = RunFolder::open(root)?;
        Domain::BOTH.iter().try_for_each(|domain| run.check_direction(*domain))?;
        let (generators, _) = run.load_generators(Which::Best, device)?;
        let networks = &run.config().networks;
        Ok(Self {
            networks: ImageTranslator::new(generators, networks, networks.crop, device)?,
            orientation,
            pixel_size_um: run.data().pixel_size_um,
        })
    }

    fn translate(&self, image: &Plane, to: Domain, method: Method, noise: &Stream) -> Plane {
        let to = self.orientation.of(to);
        match method {
            Method::SynDiff => self.networks.translate(image, to, noise),
            Method::TranslatorAlone => self.networks.translate_alone(image, to),
        }
    }
}

/// An image of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetImage {
    /// Unique in the set; the files are named by it.
    pub name: String,
    /// Micrometres per pixel, where known.
    pub pixel_size_um: Option<f64>,
}

/// A part of an image whose translation did not keep its structures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// First row and column at the working resolution.
    pub origin: [usize; 2],
    /// Rows and columns.
    pub size: [usize; 2],
    /// How far the structures were kept, in [0, 1].
    pub structure: f64,
}

impl Crop {
    fn new(window: &Window, score: &StructureScore) -> Self {
        Self {
            origin: [window.rows.start, window.columns.start],
            size: [window.height(), window.width()],
            structure: score.combined(),
        }
    }
}

/// The figures of a translation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Translated {
    /// The name of the image.
    pub image: String,
    /// How far the first draw has the structures of its source; none when both are blank.
    pub structure: Option<StructureScore>,
    /// Structural similarity of the source and its there-and-back translation; none below 7 px.
    pub back_ssim: Option<f64>,
    /// Their mean absolute difference.
    pub back_l1: f64,
    /// The structure score of each part of the image that is not blank.
    pub crops: Vec<Crop>,
}

impl Translated {
    /// One figure for the structures of the whole image, in [0, 1].
    pub fn structure(&self) -> Option<f64> {
        self.structure.as_ref().map(StructureScore::combined)
    }

    /// The figures of an image in the folder of its set.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        read_json(&folder.join(format!("{name}.json")))
    }
}

/// The file of a draw, counted from 0.
pub fn draw_path(folder: &Path, name: &str, draw: u64) -> PathBuf {
    folder.join(if draw == 0 { format!("{name}.png") } else { format!("{name}_draw{}.png", draw + 1) })
}

/// The file of the there-and-back translation.
pub fn back_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}_back.png"))
}

/// The file of the there-and-back error.
pub fn error_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}_error.png"))
}

/// Sides of the parts that are scored by themselves, in pixels at the working resolution: the structure measure needs
/// some edges in each.
const CROP: usize = 64;

/// A set to translate.
pub struct SetToTranslate<'a> {
    /// With what.
    pub translator: &'a Translator,
    /// How.
    pub method: Method,
    /// Into which look.
    pub to: Domain,
    /// Draws of each image.
    pub draws: u64,
    /// Seed of the noise.
    pub seed: u64,
    /// The images.
    pub images: &'a [SetImage],
    /// Reads the pixels of an image.
    pub plane: &'a dyn Fn(usize) -> Result<Plane>,
}

impl SetToTranslate<'_> {
    /// Translates what is not yet done into `folder`.
    pub fn run(&self, folder: &Path, stop: &AtomicBool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        for (index, image) in self.images.iter().enumerate() {
            on_event(Event::Progress { done: index, total: self.images.len(), item: &image.name });
            if folder.join(format!("{}.json", image.name)).is_file() {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::Stopped);
            }
            self.translate(folder, index)?;
        }
        Ok(Outcome::Finished)
    }

    fn translate(&self, folder: &Path, index: usize) -> Result<()> {
        let SetImage { name, pixel_size_um } = &self.images[index];
        let source = self.working(&(self.plane)(index)?, *pixel_size_um, name)?;
        let noise = Stream::new(self.seed).child(name.as_str());
        let write = |path: &Path, plane: &Plane| {
            imaging::write(path, plane, BitDepth::Eight, self.translator.pixel_size_um.or(*pixel_size_um))
        };
        let mut first = None;
        for draw in 0..self.draws {
            let translation = self.translator.translate(&source, self.to, self.method, &noise.child(draw));
            write(&draw_path(folder, name, draw), &translation)?;
            first.get_or_insert(translation);
        }
        let first = first.ok_or_else(|| Error::Config("an image must be drawn at least once".into()))?;
        let back = self.translator.translate(&first, self.to.other(), self.method, &noise.child("back"));
        write(&back_path(folder, name), &back)?;
        let difference = source.pixels().iter().zip(back.pixels()).map(|(a, b)| (a - b).abs()).collect();
        write(&error_path(folder, name), &Plane::new(source.height(), source.width(), difference))?;
        let parts = structure::local_scores(&source, &first, CROP);
        let figures = Translated {
            image: name.clone(),
            structure: structure::score(&source, &first),
            back_ssim: ssim(&source, &back),
            back_l1: l1(&source, &back),
            crops: parts.iter().filter_map(|part| Some(Crop::new(&part.window, part.score.as_ref()?))).collect(),
        };
        write_json(&folder.join(format!("{name}.json")), &figures)
    }

    /// An image at the translator's resolution.
    fn working(&self, plane: &Plane, pixel_size_um: Option<f64>, name: &str) -> Result<Plane> {
        match (self.translator.pixel_size_um, pixel_size_um) {
            (Some(working), None) => Err(Error::Config(format!(
                "the translator works at {working} um per pixel, and the pixel size of {name} is not known: give \
                 --labelled-pixel-size-um or --target-pixel-size-um"
            ))),
            (working, known) => Ok(to_working_size(plane, known, working)),
        }
    }
}
