//! The evaluation of a trained translator on folders of images: there-and-back fidelity and structure of each image, and
//! how close the translated sets come to the real ones. Method §5.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{Domain, Pair};
use crate::imaging::Plane;
use crate::metrics::Summary;
use crate::random::Stream;
use crate::structure::{self, StructureScore};
use crate::syndiff::ImageTranslator;
use crate::validation::{Closeness, Fidelity, closeness, round_trips};

/// A plane to evaluate, at the working resolution.
#[derive(Debug, Clone)]
pub struct NamedPlane {
    /// The image's name.
    pub name: String,
    /// Its pixels.
    pub plane: Plane,
}

/// The figures of one image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageFigures {
    /// The image's name.
    pub image: String,
    /// The image's own look.
    pub domain: Domain,
    /// There-and-back fidelity.
    #[serde(flatten)]
    pub fidelity: Fidelity,
    /// How far its translation has its structures; none when both are blank.
    pub structure: Option<StructureScore>,
}

/// Mean and spread over the images of one domain.
#[derive(Debug, Clone, Serialize)]
pub struct DomainFigures {
    /// Structural similarity.
    pub ssim: Option<Summary>,
    /// Peak signal-to-noise ratio in dB; images that came back exactly are left out.
    pub psnr: Option<Summary>,
    /// Mean absolute difference.
    pub l1: Option<Summary>,
    /// How far translations have the structures of their sources, edges and phase in one figure.
    pub structure: Option<Summary>,
    /// The same between sources and translations of other images: what chance gives.
    pub structure_by_chance: Option<Summary>,
    /// How close this domain's images come to the other's look.
    pub closeness: Closeness,
}

/// The whole evaluation. The labelled entries are about the direction that starts at labelled images.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Each image.
    pub images: Vec<ImageFigures>,
    /// Each domain.
    pub domains: Pair<DomainFigures>,
    /// Images that could not be evaluated: file and reason.
    pub failed: BTreeMap<String, String>,
}

/// Translates every image there and back. `on_image` is called after each.
pub fn evaluate(
    translator: &ImageTranslator,
    planes: &Pair<Vec<NamedPlane>>,
    seed: u64,
    mut on_image: impl FnMut(&str),
) -> Evaluation {
    let stream = Stream::new(seed).child("evaluation");
    let mut images = Vec::new();
    let translated = Pair::from_fn(|domain| {
        let each = planes.of(domain).iter().map(|image| {
            let noise = stream.child(image.name.as_str());
            let trip = round_trips(translator, std::slice::from_ref(&image.plane), domain, &noise).remove(0);
            let fidelity = Fidelity::of(&trip.source, &trip.back);
            let structure = structure::score(&trip.source, &trip.translation);
            images.push(ImageFigures { image: image.name.clone(), domain, fidelity, structure });
            on_image(&image.name);
            trip.translation
        });
        each.collect::<Vec<Plane>>()
    });
    let domains = Pair::from_fn(|domain| {
        let figures = images.iter().filter(|figures| figures.domain == domain);
        let fidelities: Vec<Fidelity> = figures.clone().map(|figures| figures.fidelity).collect();
        let structures: Vec<f64> = figures.filter_map(|figures| Some(figures.structure?.combined())).collect();
        let summary = |value: fn(&Fidelity) -> f64| {
            Summary::of(&fidelities.iter().map(value).filter(|value| value.is_finite()).collect::<Vec<_>>())
        };
        let own: Vec<&Plane> = planes.of(domain).iter().map(|image| &image.plane).collect();
        let other: Vec<&Plane> = planes.of(domain.other()).iter().map(|image| &image.plane).collect();
        let moved: Vec<&Plane> = translated.of(domain).iter().collect();
        DomainFigures {
            ssim: summary(|f| f.ssim),
            psnr: summary(|f| f.psnr),
            l1: summary(|f| f.l1),
            structure: Summary::of(&structures),
            structure_by_chance: structure::reference(&own, &moved).map(|reference| reference.combined),
            closeness: closeness(&moved, &own, &other, seed),
        }
    });
    Evaluation { images, domains, failed: BTreeMap::new() }
}
