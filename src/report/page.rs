//! `report.html`: the template filled in.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::colours::{self, Colour};
use super::images_table::figure_names;
use super::pictures::{EmbeddedPicture, data_uri};
use super::{Curve, Gallery, Overlay, Panel, Report};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// Writes the page.
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// When a picture cannot be embedded (see [`EmbeddedPicture::of`]).
pub(super) fn write(path: &Path, report: &Report) -> Result<()> {
    let html = render(report);
    write_atomically(path, |temporary| std::fs::write(temporary, &html).map_err(Error::io("write", path)))
}

/// The page as text.
pub(super) fn render(report: &Report) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("figure", |value: Option<f64>| value.map_or("–".to_string(), figure_text));
    // The name's ending makes the engine escape what it fills in.
    environment
        .render_named_str("page.html", include_str!("page.html"), Serde(Page::of(report)))
        .expect("the template is part of the program and asks for fields that pages have")
}

/// Everything the template asks for.
#[derive(Serialize)]
struct Page<'a> {
    report: &'a Report,
    style: &'static str,
    script: &'static str,
    version: &'static str,
    /// Under which the browser keeps the flags of this report, and of no other.
    key: String,
    look_first: Vec<Link<'a>>,
    legend: Legend<'a>,
    galleries: Vec<ShownGallery<'a>>,
    curves: Vec<ShownCurve<'a>>,
}

#[derive(Serialize)]
struct Link<'a> {
    image: &'a str,
    reason: &'a str,
    target: Option<String>,
}

/// What the colours of the overlays mean, as far as there are any.
#[derive(Serialize)]
struct Legend<'a> {
    swatches: Vec<Swatch<'a>>,
    /// The colours of a scale from no confidence to full, for CSS; empty where none is shown.
    confidence: String,
    any: bool,
}

#[derive(Serialize)]
struct Swatch<'a> {
    name: &'a str,
    colour: String,
    kind: &'static str,
}

#[derive(Serialize)]
struct ShownGallery<'a> {
    gallery: &'a Gallery,
    id: String,
    /// Panels with several pictures take a row each.
    layout: &'static str,
    /// By which the panels can be sorted.
    figures: Vec<&'a str>,
    panels: Vec<ShownPanel<'a>>,
}

#[derive(Serialize)]
struct ShownPanel<'a> {
    id: String,
    panel: &'a Panel,
    pictures: Vec<EmbeddedPicture<'a>>,
}

#[derive(Serialize)]
struct ShownCurve<'a> {
    caption: &'a str,
    uri: String,
}

impl<'a> Page<'a> {
    fn of(report: &'a Report) -> Self {
        let curve = |curve: &'a Curve| ShownCurve { caption: &curve.caption, uri: data_uri("image/png", &curve.png) };
        let galleries = report.galleries.iter().enumerate();
        Self {
            report,
            style: include_str!("page.css"),
            script: include_str!("page.js"),
            version: env!("CARGO_PKG_VERSION"),
            key: storage_key(report),
            look_first: report.look_first.iter().map(|first| Link::of(report, &first.image, &first.reason)).collect(),
            legend: Legend::of(report),
            galleries: galleries.map(|(number, gallery)| ShownGallery::of(number, gallery)).collect(),
            curves: report.curves.iter().map(curve).collect(),
        }
    }
}

impl<'a> Link<'a> {
    fn of(report: &Report, image: &'a str, reason: &'a str) -> Self {
        let target = report.galleries.iter().enumerate().find_map(|(gallery, shown)| {
            let panel = shown.panels.iter().position(|panel| panel.name == image)?;
            Some(panel_id(gallery, panel))
        });
        Self { image, reason, target }
    }
}

impl<'a> Legend<'a> {
    fn of(report: &'a Report) -> Self {
        let panels = report.galleries.iter().flat_map(|gallery| &gallery.panels);
        let (mut labels, mut ignored, mut outlines, mut heat) = (false, false, false, false);
        for overlay in panels.flat_map(|panel| &panel.pictures).filter_map(|picture| picture.overlay.as_ref()) {
            match overlay {
                Overlay::Labels(map) => {
                    labels = true;
                    ignored |= map.classes().contains(&u8::MAX);
                }
                Overlay::Outlines { .. } => outlines = true,
                Overlay::Heat(_) => heat = true,
            }
        }
        let mut swatches = Vec::new();
        let mut add = |name, colour: Colour, kind| swatches.push(Swatch { name, colour: css_colour(colour), kind });
        if labels {
            let classes = report.classes.iter().enumerate().skip(1);
            classes.for_each(|(class, name)| add(name, colours::of_class(class), "filled"));
        }
        if ignored {
            add("ignored", colours::IGNORED, "hatched");
        }
        if outlines {
            add("lost", colours::LOST, "outlined");
            add("invented", colours::INVENTED, "outlined");
        }
        let confidence = if heat { confidence_scale() } else { String::new() };
        Self { any: !swatches.is_empty() || heat, swatches, confidence }
    }
}

impl<'a> ShownGallery<'a> {
    fn of(number: usize, gallery: &'a Gallery) -> Self {
        let panels = gallery.panels.iter().enumerate().map(|(place, panel)| ShownPanel {
            id: panel_id(number, place),
            panel,
            pictures: panel.pictures.iter().map(EmbeddedPicture::of).collect(),
        });
        Self {
            gallery,
            id: format!("gallery-{number}"),
            layout: if gallery.panels.iter().all(|panel| panel.pictures.len() <= 1) { "columns" } else { "rows" },
            figures: figure_names(&gallery.panels),
            panels: panels.collect(),
        }
    }
}

/// The place of a panel in the page; both count from 0 in the order of the report.
fn panel_id(gallery: usize, panel: usize) -> String {
    format!("panel-{gallery}-{panel}")
}

/// The title, and a hash of all that is in `report.json`.
fn storage_key(report: &Report) -> String {
    let json = serde_json::to_vec(report).expect("a report has only texts and numbers");
    let hash = STANDARD.encode(&Sha256::digest(json)[..9]);
    format!("synlabel review: {} {hash}", report.title)
}

/// Whole numbers as they are, others with three decimals.
fn figure_text(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.3}") }
}

fn css_colour([r, g, b]: Colour) -> String {
    format!("rgb({r} {g} {b})")
}

/// The stops of a CSS gradient from confidence 0 to 1.
fn confidence_scale() -> String {
    let stops = (0..=10).map(|step| {
        let [r, g, b, opacity] = colours::of_doubt(1.0 - f64::from(step) / 10.0);
        format!("rgb({r} {g} {b} / {:.2})", f64::from(opacity) / 255.0)
    });
    stops.collect::<Vec<_>>().join(", ")
}
