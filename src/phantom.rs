//! Synthetic cross sections of nerves with exact masks, in two looks: for tests, examples and a first try without data.
//!
//! [`Nerve::grow`] packs fibres (an axon in a myelin sheath) by dart throwing; [`Nerve::render`] paints them as a
//! transmission (dark myelin) or a scanning electron microscope (bright myelin) would show them. Geometry and look
//! draw from separate streams: both looks have the same statistics of shape, and one nerve can be had in both. The
//! grey levels were set by eye beside real micrographs; nothing here replaces real data in a result.

mod optics;

use std::f64::consts::TAU;

use self::optics::{Light, Optics, blur, texture};
use crate::imaging::{LabelMap, Plane};
use crate::random::Stream;

/// Class of what is neither myelin nor axon.
pub const BACKGROUND: u8 = 0;
/// Class of myelin.
pub const MYELIN: u8 = 1;
/// Class of the inside of a fibre.
pub const AXON: u8 = 2;

/// Part of the area that fibres should cover before the rest is left as ground.
const COVERAGE: f64 = 0.60;
/// Darts thrown for one fibre before it is given up.
const DARTS: usize = 400;

/// Thinnest myelin in pixels: enough that no axon pixel touches the ground.
const THINNEST: f64 = 1.3;

/// What a microscope makes of a nerve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Like transmission electron microscopy: dark rings, light axons, grey ground, sharp, little noise.
    DarkMyelin,
    /// Like scanning electron microscopy: bright rings, dark axons, grey ground, softer, grainy.
    BrightMyelin,
}

/// An image and its true segmentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Phantom {
    /// Grey values in [0, 1].
    pub image: Plane,
    /// [`BACKGROUND`], [`MYELIN`] or [`AXON`] for each pixel.
    pub labels: LabelMap,
}

/// Draws a nerve in one look. The same stream gives the same phantom; the first of [`draw_pair`] is the dark one.
pub fn draw(look: Look, height: usize, width: usize, stream: &Stream) -> Phantom {
    Nerve::grow(height, width, &stream.child("nerve")).render(look, &stream.child("look"))
}

/// Draws one nerve in both looks: dark myelin, then bright.
pub fn draw_pair(height: usize, width: usize, stream: &Stream) -> (Phantom, Phantom) {
    let nerve = Nerve::grow(height, width, &stream.child("nerve"));
    let [dark, bright] = [Look::DarkMyelin, Look::BrightMyelin].map(|look| nerve.render(look, &stream.child("look")));
    (dark, bright)
}

/// A closed curve about a centre,
/// `r(angle) = radius (1 + sum_k (p_k cos(k angle) + q_k sin(k angle)))` for k = 2, 3, 4.
#[derive(Debug, Clone)]
struct Outline {
    center: [f64; 2],
    radius: f64,
    /// `[p_k, q_k]`.
    waves: [[f64; 2]; 3],
}

impl Outline {
    /// An outline about the origin; k = 2 makes it an ellipse, the others make it wobble.
    fn draw(radius: f64, stream: &mut Stream) -> Self {
        Self { center: [0.0; 2], radius, waves: [0.16, 0.07, 0.035].map(|most| wave(most, stream)) }
    }

    fn at(self, center: [f64; 2]) -> Self {
        Self { center, ..self }
    }

    /// The radius towards `[sin, cos]` of an angle. Powers of that unit vector give the harmonics without trigonometry.
    fn radius_towards(&self, [sin, cos]: [f64; 2]) -> f64 {
        let mut power = [sin, cos];
        let mut sum = 1.0;
        for [p, q] in self.waves {
            power = [power[0] * cos + power[1] * sin, power[1] * cos - power[0] * sin];
            sum += p * power[1] + q * power[0];
        }
        self.radius * sum
    }

    /// How far inside the outline a point is, along the ray from the centre; negative outside. In pixels.
    fn depth(&self, y: f64, x: f64) -> f64 {
        let [dy, dx] = [y - self.center[0], x - self.center[1]];
        // The centre itself has no direction; any will do.
        let distance = (dy * dy + dx * dx).sqrt().max(1e-9);
        self.radius_towards([dy / distance, dx / distance]) - distance
    }

    /// Calls `paint(y, x, depth)` for the pixels of an image in the square that holds the outline and `margin`.
    fn visit(&self, [height, width]: [usize; 2], margin: f64, mut paint: impl FnMut(usize, usize, f64)) {
        let reach = self.radius * (1.0 + self.waves.iter().map(|[p, q]| p.hypot(*q)).sum::<f64>()) + margin + 1.0;
        let range = |center: f64, size: usize| {
            (center - reach).max(0.0) as usize..((center + reach).max(0.0).ceil() as usize).min(size)
        };
        for y in range(self.center[0], height) {
            for x in range(self.center[1], width) {
                let depth = self.depth(y as f64, x as f64);
                if depth > -margin {
                    paint(y, x, depth);
                }
            }
        }
    }
}

/// A wave of random phase, of amplitude up to `most`.
fn wave(most: f64, stream: &mut Stream) -> [f64; 2] {
    let [amplitude, phase] = [stream.between(0.0, most), stream.between(0.0, TAU)];
    [amplitude * phase.cos(), amplitude * phase.sin()]
}

/// A myelinated axon.
#[derive(Debug, Clone)]
struct Fibre {
    outer: Outline,
    inner: Outline,
    organelles: Vec<Outline>,
}

impl Fibre {
    /// A fibre of given outer radius about the origin; its g-ratio (inner by outer radius) is in 0.55 to 0.75.
    fn draw(radius: f64, stream: &mut Stream) -> Self {
        let outer = Outline::draw(radius, stream);
        // The axon follows its sheath and has a wobble of its own.
        let mut inner = Outline { radius: radius * stream.between(0.57, 0.75), ..outer.clone() };
        inner.waves[1] = wave(0.10, stream);
        inner.waves[2] = wave(0.08, stream);
        let count = stream.below(1 + (inner.radius / 2.0) as usize);
        let organelles = (0..count).map(|_| {
            let [angle, distance] = [stream.between(0.0, TAU), inner.radius * stream.between(0.1, 0.7)];
            let radius = stream.between(0.7, 0.7 + 0.11 * inner.radius);
            Outline::draw(radius, stream).at([distance * angle.sin(), distance * angle.cos()])
        });
        Self { organelles: organelles.collect(), outer, inner }
    }

    /// Visits the inside of the fibre like [`Outline::visit`]; wobbles leave at least [`THINNEST`] of myelin.
    fn visit_axon(&self, size: [usize; 2], margin: f64, mut paint: impl FnMut(usize, usize, f64)) {
        self.inner.visit(size, margin, |y, x, depth| {
            let depth = depth.min(self.outer.depth(y as f64, x as f64) - THINNEST);
            if depth > -margin {
                paint(y, x, depth);
            }
        });
    }

    fn at(self, center: [f64; 2]) -> Self {
        let place = |part: Outline| {
            let [y, x] = part.center;
            part.at([y + center[0], x + center[1]])
        };
        let organelles = self.organelles.into_iter().map(place).collect();
        Self { outer: self.outer.at(center), inner: self.inner.at(center), organelles }
    }
}

/// Which pixels are taken, on a canvas wider than the image so that fibres crossing the border collide as well.
struct Ground {
    margin: f64,
    size: [usize; 2],
    taken: Vec<bool>,
}

impl Ground {
    fn is_free(&self, y: f64, x: f64) -> bool {
        let [row, column] = [y + self.margin, x + self.margin].map(|v| v.round().max(0.0) as usize);
        row >= self.size[0] || column >= self.size[1] || !self.taken[row * self.size[1] + column]
    }

    fn take(&mut self, outline: &Outline) {
        let shifted = outline.clone().at(outline.center.map(|v| v + self.margin));
        let [_, width] = self.size;
        shifted.visit(self.size, 0.5, |y, x, _| self.taken[y * width + x] = true);
    }

    /// Throws darts until an outline about the origin lies free; where it stuck.
    fn throw(&self, outline: &Outline, stream: &mut Stream) -> Option<[f64; 2]> {
        // Points one pixel apart are enough: what is placed later is smaller, so that nothing hides between them.
        let count = (TAU * outline.radius).ceil().max(8.0);
        let edge: Vec<[f64; 2]> = (0..count as usize)
            .map(|i| (TAU * i as f64 / count).sin_cos())
            .map(|(sin, cos)| [sin, cos].map(|direction| direction * (outline.radius_towards([sin, cos]) + 0.5)))
            .collect();
        (0..DARTS).find_map(|_| {
            let [y, x] = self.size.map(|size| stream.between(0.0, size as f64) - self.margin);
            let free = self.is_free(y, x) && edge.iter().all(|[dy, dx]| self.is_free(y + dy, x + dx));
            free.then_some([y, x])
        })
    }
}

/// A piece of nerve without a look.
#[derive(Debug, Clone)]
pub struct Nerve {
    size: [usize; 2],
    fibres: Vec<Fibre>,
    /// Small processes without myelin between the fibres; background to the labels.
    processes: Vec<Outline>,
}

impl Nerve {
    /// Packs fibres of outer radius 4 to 18 pixels (log-normal about 9), largest first, then small unmyelinated processes.
    pub fn grow(height: usize, width: usize, stream: &Stream) -> Self {
        let margin = 12.0;
        let size = [height, width].map(|side| side + 2 * margin as usize);
        let mut ground = Ground { margin, size, taken: vec![false; size[0] * size[1]] };
        let area = (size[0] * size[1]) as f64;
        let mut stream = stream.clone();

        let mut radii = Vec::new();
        let mut covered = 0.0;
        while covered < COVERAGE * area {
            let radius = (9.0 * (0.38 * stream.normal() as f64).exp()).clamp(4.0, 18.0);
            covered += TAU / 2.0 * radius * radius;
            radii.push(radius);
        }
        radii.sort_unstable_by(|a, b| b.total_cmp(a));
        let mut fibres = Vec::new();
        for radius in radii {
            let fibre = Fibre::draw(radius, &mut stream);
            if let Some(center) = ground.throw(&fibre.outer, &mut stream) {
                ground.take(&fibre.outer.clone().at(center));
                fibres.push(fibre.at(center));
            }
        }
        let mut processes = Vec::new();
        for _ in 0..(area / 220.0) as usize {
            let process = Outline::draw(stream.between(1.3, 3.4), &mut stream);
            if let Some(center) = ground.throw(&process, &mut stream) {
                let process = process.at(center);
                ground.take(&process);
                processes.push(process);
            }
        }
        Self { size: [height, width], fibres, processes }
    }

    /// The true class of each pixel: of its centre.
    pub fn labels(&self) -> LabelMap {
        let [height, width] = self.size;
        let mut classes = vec![BACKGROUND; height * width];
        for fibre in &self.fibres {
            fibre.outer.visit(self.size, 0.0, |y, x, _| classes[y * width + x] = MYELIN);
            fibre.visit_axon(self.size, 0.0, |y, x, _| classes[y * width + x] = AXON);
        }
        LabelMap::new(height, width, classes)
    }

    /// The nerve as one look shows it: paint, then point spread, uneven light, noise.
    pub fn render(&self, look: Look, stream: &Stream) -> Phantom {
        let optics = look.optics();
        let mut image = self.paint(&optics, &stream.child("paint"));
        blur(&mut image, optics.blur);
        let light = Light::draw(optics.light, &mut stream.child("light"));
        let noise = stream.child("noise");
        let [height, width] = self.size;
        let image = Plane::from_fn(height, width, |y, x| {
            let gain = light.at(y as f32 / height as f32, x as f32 / width as f32);
            let value = (image.get(y, x) * gain).max(0.0);
            let deviation = (optics.shot * optics.shot * value + optics.read * optics.read).sqrt();
            (value + deviation * noise.normal_at(y, x)).clamp(0.0, 1.0)
        });
        Phantom { image, labels: self.labels() }
    }

    /// The grey levels before the microscope. Edges take the fraction of a pixel that its depth says.
    fn paint(&self, optics: &Optics, stream: &Stream) -> Plane {
        let [coarse, fine] =
            [("coarse", 2.5), ("fine", 0.9)].map(|(name, scale)| texture(self.size, scale, &stream.child(name)));
        let grain = |y: usize, x: usize, amount: f32| amount * (0.6 * coarse.get(y, x) + 0.8 * fine.get(y, x));
        let [height, width] = self.size;
        let mut image = Plane::from_fn(height, width, |y, x| optics.ground + grain(y, x, optics.ground_grain));
        let mut mix = |y: usize, x: usize, depth: f64, level: f32, amount: f32| {
            let pixel = &mut image.pixels_mut()[y * width + x];
            *pixel += (depth + 0.5).clamp(0.0, 1.0) as f32 * (level + grain(y, x, amount) - *pixel);
        };
        let mut levels = stream.child("levels");
        let mut vary = |level: f32, spread: f32| level + spread * levels.normal().clamp(-2.0, 2.0);
        for process in &self.processes {
            let inside = Outline { radius: process.radius - 0.9, ..process.clone() };
            let level = vary(optics.process, 0.06);
            process.visit(self.size, 0.5, |y, x, depth| mix(y, x, depth, optics.rim, optics.axon_grain));
            inside.visit(self.size, 0.5, |y, x, depth| mix(y, x, depth, level, optics.axon_grain));
        }
        for fibre in &self.fibres {
            let [myelin, axon] = [vary(optics.myelin, 0.02), vary(optics.axon, optics.axon_spread)];
            fibre.outer.visit(self.size, 0.5, |y, x, depth| mix(y, x, depth, myelin, optics.myelin_grain));
            fibre.visit_axon(self.size, 0.5, |y, x, depth| mix(y, x, depth, axon, optics.axon_grain));
            for organelle in &fibre.organelles {
                let level = vary(optics.organelle, 0.04);
                organelle.visit(self.size, 0.5, |y, x, depth| mix(y, x, depth, level, optics.axon_grain));
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(phantom: &Phantom, class: u8) -> f32 {
        let pairs = phantom.labels.classes().iter().zip(phantom.image.pixels());
        let values: Vec<f32> = pairs.filter(|(label, _)| **label == class).map(|(_, value)| *value).collect();
        values.iter().sum::<f32>() / values.len() as f32
    }

    fn fraction_of(labels: &LabelMap, class: u8) -> f64 {
        labels.classes().iter().filter(|label| **label == class).count() as f64 / labels.classes().len() as f64
    }

    #[test]
    fn contrast_is_that_of_the_look_where_the_labels_say() {
        let (dark, bright) = draw_pair(96, 128, &Stream::new(1));
        let [dark, bright] =
            [dark, bright].map(|phantom| [BACKGROUND, MYELIN, AXON].map(|class| mean_of(&phantom, class)));
        assert!(dark[1] + 0.3 < dark[2] && dark[1] + 0.3 < dark[0], "{dark:?}");
        assert!(bright[1] > bright[0] + 0.15 && bright[0] > bright[2] + 0.15, "{bright:?}");
    }

    #[test]
    fn fibres_are_packed_as_in_a_nerve() {
        let mut fractions = [0.0; 2];
        for seed in 0..8 {
            let nerve = Nerve::grow(128, 128, &Stream::new(seed));
            let labels = nerve.labels();
            let [myelin, axon] = [MYELIN, AXON].map(|class| fraction_of(&labels, class));
            assert!((0.18..0.42).contains(&myelin) && (0.14..0.36).contains(&axon), "{myelin} {axon}");
            fractions = [fractions[0] + myelin / 8.0, fractions[1] + axon / 8.0];
        }
        assert!((fractions[0] - 0.30).abs() < 0.04 && (fractions[1] - 0.25).abs() < 0.04, "{fractions:?}");
    }

    #[test]
    fn a_stream_always_draws_the_same_phantom_and_the_pair_shares_its_labels() {
        let stream = Stream::new(3);
        let (dark, bright) = draw_pair(64, 50, &stream);
        assert_eq!(draw(Look::DarkMyelin, 64, 50, &stream), dark);
        assert_eq!(draw(Look::BrightMyelin, 64, 50, &stream), bright);
        assert_eq!(dark.labels, bright.labels);
        assert_ne!(draw(Look::DarkMyelin, 64, 50, &Stream::new(4)).labels, dark.labels);
    }

    #[test]
    fn every_axon_keeps_its_myelin() {
        let labels = Nerve::grow(128, 128, &Stream::new(5)).labels();
        let class = |y: usize, x: usize| labels.classes()[y * 128 + x];
        for (y, x) in (0..127 * 127).map(|i| (i / 127, i % 127)) {
            for neighbour in [class(y, x + 1), class(y + 1, x)] {
                assert!(
                    ![[AXON, BACKGROUND], [BACKGROUND, AXON]].contains(&[class(y, x), neighbour]),
                    "bare axon at {y}, {x}"
                );
            }
        }
    }

    #[test]
    fn tiny_images_can_be_drawn() {
        for (height, width) in [(1, 1), (3, 40)] {
            let phantom = draw(Look::BrightMyelin, height, width, &Stream::new(1));
            assert_eq!([phantom.image.height(), phantom.labels.width()], [height, width]);
        }
    }
}
