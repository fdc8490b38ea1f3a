//! Crops of the emptier domain drawn so that they are as dense as those of the other.
//!
//! Where crops of one domain are mostly empty and those of the other are full, discriminators tell them apart by that
//! alone, and generators learn to paint structures in or to wipe them away. Density is that of edges
//! ([`EdgeMap`](crate::structure::EdgeMap)), so no masks are needed. The crops of the fuller domain are drawn as ever.

use crate::domain::{Domain, Pair};
use crate::imaging::Plane;
use crate::random::Stream;
use crate::structure::{EdgeMap, EdgeThreshold};

/// Densities of the fuller domain are parted into so many classes of equal weight.
const CLASSES: usize = 16;
/// Places are a crop's side divided by this apart; a draw moves by less than that at random.
const PLACES_IN_SIDE: usize = 4;
/// A class holds at least one of so many places, those of the nearest density.
const LEAST_SHARE: usize = 200;

/// A crop that can be drawn.
#[derive(Debug, Clone, Copy)]
struct Place {
    image: usize,
    top: usize,
    left: usize,
    density: f64,
    /// So that each image counts once, however many places it has.
    weight: f64,
}

/// From where crops of one domain are drawn.
#[derive(Debug)]
pub(super) struct Balance {
    /// The domain whose crops are drawn so.
    pub(super) domain: Domain,
    /// The mean density of its crops without balance, with it, and of the other domain.
    pub(super) densities: [f64; 3],
    classes: Vec<Vec<Place>>,
    step: usize,
}

/// The upper left corner of a crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Corner {
    pub(super) image: usize,
    pub(super) top: usize,
    pub(super) left: usize,
}

impl Balance {
    /// Matches the emptier of two domains to the other, by crops of side `crop`.
    pub(super) fn of(images: &Pair<Vec<Plane>>, crop: usize) -> Self {
        let places = images.map(|planes| places(planes, crop));
        let means = places.map(|places| mean(places.iter()));
        let domain = if means.labelled <= means.target { Domain::Labelled } else { Domain::Target };
        let (emptier, fuller) = (places.of(domain), places.of(domain.other()));
        let classes: Vec<Vec<Place>> =
            bounds(fuller).windows(2).map(|bounds| chosen(emptier, [bounds[0], bounds[1]])).collect();
        let balanced = classes.iter().map(|class| mean(class.iter())).sum::<f64>() / classes.len() as f64;
        let densities = [*means.of(domain), balanced, *means.of(domain.other())];
        Self { domain, densities, classes, step: step(crop) }
    }

    /// Draws a crop: a class of density, a place in it, and a place near that.
    pub(super) fn draw(&self, images: &[Plane], crop: usize, stream: &mut Stream) -> Corner {
        let class = &self.classes[stream.below(self.classes.len())];
        let place = class[stream.below(class.len())];
        let plane = &images[place.image];
        let mut near = |at: usize, length: usize| (at + stream.below(self.step)).min(length.saturating_sub(crop));
        let (top, left) = (near(place.top, plane.height()), near(place.left, plane.width()));
        Corner { image: place.image, top, left }
    }

    /// What was done, for the user.
    pub(super) fn note(&self) -> String {
        let [before, after, other] = self.densities.map(|density| 100.0 * density);
        format!(
            "{} crops are drawn where there is structure: edges cover {after:.0} % of them instead of {before:.0} %, and \
             {other:.0} % of the {} crops",
            self.domain.name(),
            self.domain.other().name()
        )
    }
}

fn step(crop: usize) -> usize {
    (crop / PLACES_IN_SIDE).max(1)
}

/// All places of a domain, from empty to full.
fn places(planes: &[Plane], crop: usize) -> Vec<Place> {
    let threshold = EdgeThreshold::of(&planes.iter().collect::<Vec<_>>());
    let starts = |length: usize| (0..=length.saturating_sub(crop)).step_by(step(crop));
    let mut places = Vec::new();
    for (image, plane) in planes.iter().enumerate() {
        let edges = EdgeMap::of(plane, threshold);
        let size = [crop.min(plane.height()), crop.min(plane.width())];
        let weight = 1.0 / (starts(plane.height()).count() * starts(plane.width()).count()) as f64;
        for top in starts(plane.height()) {
            let of_row = starts(plane.width()).map(|left| {
                let density = edges.share(top, left, size);
                Place { image, top, left, density, weight }
            });
            places.extend(of_row);
        }
    }
    places.sort_by(|a, b| a.density.total_cmp(&b.density));
    places
}

fn mean<'a>(places: impl Iterator<Item = &'a Place>) -> f64 {
    let (sum, weight) =
        places.fold((0.0, 0.0), |(sum, weight), place| (sum + place.weight * place.density, weight + place.weight));
    if weight > 0.0 { sum / weight } else { 0.0 }
}

/// The densities that part sorted places into [`CLASSES`] of equal weight, the least and the largest among them.
fn bounds(places: &[Place]) -> Vec<f64> {
    let total: f64 = places.iter().map(|place| place.weight).sum();
    let mut bounds = vec![places.first().map_or(0.0, |place| place.density)];
    let mut before = 0.0;
    for place in places {
        before += place.weight;
        while bounds.len() < CLASSES && before >= total * bounds.len() as f64 / CLASSES as f64 {
            bounds.push(place.density);
        }
    }
    bounds.resize(CLASSES + 1, places.last().map_or(0.0, |place| place.density));
    bounds
}

/// The sorted places between two densities; where these are few, those around that are nearest to their middle.
fn chosen(places: &[Place], [low, high]: [f64; 2]) -> Vec<Place> {
    let mut from = places.partition_point(|place| place.density < low);
    let mut to = places.partition_point(|place| place.density <= high).max(from);
    let (least, middle) = (places.len().div_ceil(LEAST_SHARE), (low + high) / 2.0);
    while to - from < least {
        let below = from.checked_sub(1).map(|i| middle - places[i].density);
        let above = places.get(to).map(|place| place.density - middle);
        match (below, above) {
            (Some(below), Some(above)) if below <= above => from -= 1,
            (Some(_), None) => from -= 1,
            _ => to += 1,
        }
    }
    places[from..to].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stripes on the left part of an image.
    fn striped(share: f64) -> Plane {
        Plane::from_fn(64, 128, |_, x| if (x as f64) < 128.0 * share { ((x / 3) % 2) as f32 } else { 0.5 })
    }

    #[test]
    fn the_emptier_domain_becomes_as_dense_as_the_other() {
        let images = Pair { labelled: vec![striped(0.2), striped(0.0)], target: vec![striped(1.0)] };
        let balance = Balance::of(&images, 16);
        let [before, after, other] = balance.densities;
        assert_eq!(balance.domain, Domain::Labelled);
        assert!(before < 0.2 && other > 0.6 && (after / other - 1.0).abs() < 0.1, "{before} {after} {other}");
        assert!(balance.note().starts_with("labelled crops"), "{}", balance.note());
        let images = Pair { labelled: images.target, target: images.labelled };
        assert_eq!(Balance::of(&images, 16).domain, Domain::Target);
    }

    #[test]
    fn draws_stay_inside_and_spread_over_the_places() {
        let images = Pair { labelled: vec![striped(0.5), striped(0.5)], target: vec![striped(1.0)] };
        let balance = Balance::of(&images, 16);
        let stream = Stream::new(3);
        let draws = (0..400u64).map(|i| balance.draw(&images.labelled, 16, &mut stream.child(i)));
        let draws: Vec<Corner> = draws.collect();
        assert!(draws.iter().all(|corner| corner.top <= 48 && corner.left <= 112));
        assert!(draws.iter().any(|corner| corner.image == 0) && draws.iter().any(|corner| corner.image == 1));
        let different: std::collections::BTreeSet<_> = draws.iter().map(|c| (c.image, c.top, c.left)).collect();
        assert!(different.len() > 200, "{}", different.len());
    }

    #[test]
    fn blank_and_small_images_can_be_drawn_from() {
        let images = Pair { labelled: vec![Plane::from_fn(5, 9, |_, _| 0.5)], target: vec![striped(1.0)] };
        let balance = Balance::of(&images, 16);
        let corner = balance.draw(&images.labelled, 16, &mut Stream::new(0));
        assert_eq!(corner, Corner { image: 0, top: 0, left: 0 });
    }
}
