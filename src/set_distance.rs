//! How far two sets of images are apart when no image of one belongs to an image of the other.
//!
//! The sliced Wasserstein distance between patches of a Laplacian pyramid (Karras et al. 2018, "Progressive growing
//! of GANs", section 5; slices: Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing").
//! Why this one: it needs no network and no download, it sees grey levels (low-pass) and texture (one band for each
//! scale), and it has an honest floor, [`self_distance`]: what two halves of the real target are apart, which a
//! perfect translation would reach. Its unit is the standard deviation of each band in the real target.
//!
//! Its limits: it compares textures, not anatomy (a translation that paints plausible tissue in wrong places scores
//! well). Random slices see mostly the strong directions of a patch, and in the band-pass levels more of its strength
//! than of its sign: there, inverted contrast shows only as skewness. Sets whose contents differ (more axons in one)
//! are apart even if their look is the same. Compare sets of similar tissue, and compare with the floor.

use serde::{Deserialize, Serialize};

use crate::imaging::Plane;
use crate::random::Stream;

/// Side of a patch, in pixels of its pyramid level.
const PATCH: usize = 7;
/// Most band-pass levels of a pyramid; the low-pass comes on top.
const MAX_BANDS: usize = 4;
/// Shortest side that a halved level may have, in pixels.
const MIN_SIDE: usize = 16;
/// A band that deviates less than this is blank (a quarter of an 8-bit step), and counts in units of this.
const MIN_DEVIATION: f64 = 1e-3;

/// How far a set of images is from the reference, in standard deviations of the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// Mean over the bands.
    pub total: f64,
    /// One distance for each level of the pyramid: finest texture first, low-pass (grey level) last.
    pub bands: Vec<f64>,
}

/// The number of patches for each level and the number of slices: what the estimate costs.
#[derive(Debug, Clone, Copy)]
struct Effort {
    patches: usize,
    slices: usize,
}

const FULL: Effort = Effort { patches: 4096, slices: 128 };

/// A reference set (the real target), ready to be compared with.
///
/// For unit vectors `u` and the patches `p` of each set at one level, divided by that level's standard deviation in
/// the reference, the distance is the mean over `u` of the Wasserstein-1 distance of the numbers `u . p`, which for
/// as many numbers on both sides is `mean |sorted a - sorted b|`. Patches, positions and slices follow from the seed.
#[derive(Debug, Clone)]
pub struct SetDistance {
    effort: Effort,
    stream: Stream,
    slices: Vec<[f32; PATCH * PATCH]>,
    /// Standard deviation of each level in the reference.
    deviations: Vec<f64>,
    /// `[level][slice][patch]`, each slice sorted.
    reference: Vec<Vec<Vec<f32>>>,
}

impl SetDistance {
    /// Prepares the comparison with `reference`. The depth of the pyramid is the one that its smallest image allows.
    ///
    /// # Panics
    /// When there is no image, or one without pixels.
    pub fn to(reference: &[&Plane], seed: u64) -> Self {
        Self::with_effort(reference, reference, seed, FULL)
    }

    /// How far `images` are from the reference; their order does not matter.
    ///
    /// # Panics
    /// When there is no image, or one without pixels.
    pub fn distance(&self, images: &[&Plane]) -> Distance {
        let pyramids = sorted_pyramids(images, self.deviations.len() - 1);
        let bands: Vec<f64> = (0..self.deviations.len())
            .map(|level| {
                let projected = self.project(&pyramids, level);
                let slices = projected.iter().zip(&self.reference[level]);
                slices.map(|(ours, theirs)| wasserstein(ours, theirs)).sum::<f64>() / self.slices.len() as f64
            })
            .collect();
        Distance { total: bands.iter().sum::<f64>() / bands.len() as f64, bands }
    }

    /// Compares with `reference`, in the units and to the depth of `scale`.
    fn with_effort(reference: &[&Plane], scale: &[&Plane], seed: u64, effort: Effort) -> Self {
        let stream = Stream::new(seed).child("set distance");
        let depth = depth(scale);
        let deviations = deviations(&sorted_pyramids(scale, depth));
        let slices = unit_vectors(effort.slices, &mut stream.child("slices"));
        let mut distance = Self { effort, stream, slices, deviations, reference: Vec::new() };
        let pyramids = sorted_pyramids(reference, depth);
        distance.reference = (0..=depth).map(|level| distance.project(&pyramids, level)).collect();
        distance
    }

    /// The patches of one level on every slice, sorted: `[slice][patch]`.
    fn project(&self, pyramids: &[Vec<Plane>], level: usize) -> Vec<Vec<f32>> {
        let scale = (1.0 / self.deviations[level]) as f32;
        let patches = self.patches(pyramids, level);
        let project = |slice: &[f32; PATCH * PATCH]| {
            let mut values: Vec<f32> =
                patches.iter().map(|patch| scale * patch.iter().zip(slice).map(|(a, b)| a * b).sum::<f32>()).collect();
            values.sort_unstable_by(f32::total_cmp);
            values
        };
        self.slices.iter().map(project).collect()
    }

    /// Patches of one level at random places, from each image in proportion to its area.
    fn patches(&self, pyramids: &[Vec<Plane>], level: usize) -> Vec<[f32; PATCH * PATCH]> {
        let areas = pyramids.iter().map(|pyramid| pyramid[level].pixels().len());
        let total: usize = areas.clone().sum();
        let mut patches = Vec::with_capacity(self.effort.patches);
        let mut area_so_far = 0;
        for (rank, (pyramid, area)) in pyramids.iter().zip(areas).enumerate() {
            area_so_far += area;
            let mut places = self.stream.child(level as u64).child(rank as u64);
            // Rounding the running total, not each share, makes the shares add up.
            while patches.len() < self.effort.patches * area_so_far / total {
                patches.push(random_patch(&pyramid[level], &mut places));
            }
        }
        patches
    }
}

/// What the two halves of the reference are apart: about the floor that a perfect translation could reach. The halves
/// are random halves of the images, or of the one image, across its longer side. Halves hold fewer images than whole
/// sets, so that the floor is, if anything, too high.
///
/// # Panics
/// When there is no image, or one without pixels.
pub fn self_distance(reference: &[&Plane], seed: u64) -> Distance {
    self_distance_with(reference, seed, FULL)
}

fn self_distance_with(reference: &[&Plane], seed: u64, effort: Effort) -> Distance {
    let halves = halves(reference, seed);
    let [first, second] = halves.each_ref().map(|half| half.iter().collect::<Vec<&Plane>>());
    SetDistance::with_effort(&first, reference, seed, effort).distance(&second)
}

/// Two random halves of a set, the same for every order of its images.
fn halves(images: &[&Plane], seed: u64) -> [Vec<Plane>; 2] {
    if let [image] = images {
        return image_halves(image);
    }
    let images = in_order_of_content(images);
    let order = Stream::new(seed).child("halves").permutation(images.len());
    let (first, second) = order.split_at(images.len() / 2);
    [first, second].map(|half| half.iter().map(|&i| images[i].clone()).collect())
}

/// The two sides of an image, cut across its longer side; a single pixel is its own half.
fn image_halves(image: &Plane) -> [Vec<Plane>; 2] {
    let [height, width] = [image.height(), image.width()];
    let [half_height, half_width] =
        if height > width { [height.div_ceil(2), width] } else { [height, width.div_ceil(2)] };
    let half = |top, left| vec![Plane::from_fn(half_height, half_width, |y, x| image.get(top + y, left + x))];
    [half(0, 0), half(height - half_height, width - half_width)]
}

/// How often every image can be halved and keep sides of [`MIN_SIDE`].
fn depth(images: &[&Plane]) -> usize {
    assert!(!images.is_empty(), "a distance needs at least one image on each side");
    let shortest = images.iter().map(|image| image.height().min(image.width())).min().unwrap_or(0);
    (0..MAX_BANDS).take_while(|band| shortest >> (band + 1) >= MIN_SIDE).count()
}

/// The images in an order that only their pixels decide: by size, mean, then pixel by pixel. Patch positions follow
/// the rank in this order, so that a set gives the same numbers however it was listed.
fn in_order_of_content<'a>(images: &[&'a Plane]) -> Vec<&'a Plane> {
    let mean = |image: &Plane| image.pixels().iter().map(|&v| v as f64).sum::<f64>() / image.pixels().len() as f64;
    let mut keyed: Vec<_> = images.iter().map(|&image| ([image.height(), image.width()], mean(image), image)).collect();
    keyed.sort_by(|(a_size, a_mean, a), (b_size, b_mean, b)| {
        let pixels = || a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        a_size.cmp(b_size).then(a_mean.total_cmp(b_mean)).then_with(|| pixels().unwrap_or(std::cmp::Ordering::Equal))
    });
    keyed.into_iter().map(|(_, _, image)| image).collect()
}

fn sorted_pyramids(images: &[&Plane], depth: usize) -> Vec<Vec<Plane>> {
    assert!(!images.is_empty(), "a distance needs at least one image on each side");
    in_order_of_content(images).into_iter().map(|image| laplacian_pyramid(image, depth)).collect()
}

/// `depth` band-pass levels, each the difference between a level and its blurred half (Burt and Adelson 1983, "The
/// Laplacian pyramid as a compact image code"), finest first, then the low-pass.
fn laplacian_pyramid(image: &Plane, depth: usize) -> Vec<Plane> {
    assert!(!image.pixels().is_empty(), "an image without pixels has no patches");
    let mut levels = Vec::with_capacity(depth + 1);
    let mut level = image.clone();
    for _ in 0..depth {
        let half = transpose(&halve_rows(&transpose(&halve_rows(&level))));
        let mut band = transpose(&double_rows(&transpose(&double_rows(&half, level.height())), level.width()));
        for (smooth, value) in band.pixels_mut().iter_mut().zip(level.pixels()) {
            *smooth = value - *smooth;
        }
        levels.push(band);
        level = half;
    }
    levels.push(level);
    levels
}

/// Every second row of the plane blurred down its columns with [1, 4, 6, 4, 1] / 16; edge rows repeat.
fn halve_rows(plane: &Plane) -> Plane {
    let last = plane.height() - 1;
    Plane::from_fn(plane.height().div_ceil(2), plane.width(), |y, x| {
        let row = |offset: usize| plane.get((2 * y + offset).saturating_sub(2).min(last), x);
        (row(0) + 4.0 * row(1) + 6.0 * row(2) + 4.0 * row(3) + row(4)) / 16.0
    })
}

/// Twice the rows, `height` of them: zeros put between rows, then blurred with [1, 4, 6, 4, 1] / 8.
fn double_rows(plane: &Plane, height: usize) -> Plane {
    let last = plane.height() - 1;
    Plane::from_fn(height, plane.width(), |y, x| {
        let [before, here, after] = [(y / 2).saturating_sub(1), y / 2, (y / 2 + 1).min(last)].map(|y| plane.get(y, x));
        if y % 2 == 0 { (before + 6.0 * here + after) / 8.0 } else { (here + after) / 2.0 }
    })
}

fn transpose(plane: &Plane) -> Plane {
    Plane::from_fn(plane.width(), plane.height(), |y, x| plane.get(x, y))
}

/// The standard deviation over all pixels of each level.
fn deviations(pyramids: &[Vec<Plane>]) -> Vec<f64> {
    let deviation = |level: usize| {
        let values = || pyramids.iter().flat_map(|pyramid| pyramid[level].pixels()).map(|&value| value as f64);
        let n = values().count() as f64;
        let mean = values().sum::<f64>() / n;
        (values().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt().max(MIN_DEVIATION)
    };
    (0..pyramids[0].len()).map(deviation).collect()
}

fn unit_vectors(count: usize, stream: &mut Stream) -> Vec<[f32; PATCH * PATCH]> {
    let mut unit_vector = || {
        let vector: [f32; PATCH * PATCH] = std::array::from_fn(|_| stream.normal());
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.map(|value| value / length)
    };
    (0..count).map(|_| unit_vector()).collect()
}

/// The patch at a random place; a plane smaller than a patch repeats its last row and column.
fn random_patch(plane: &Plane, places: &mut Stream) -> [f32; PATCH * PATCH] {
    let top = places.below((plane.height() + 1).saturating_sub(PATCH).max(1));
    let left = places.below((plane.width() + 1).saturating_sub(PATCH).max(1));
    std::array::from_fn(|i| {
        plane.get((top + i / PATCH).min(plane.height() - 1), (left + i % PATCH).min(plane.width() - 1))
    })
}

/// The Wasserstein-1 distance of two sorted samples of one size.
fn wasserstein(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs() as f64).sum::<f64>() / a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cheap enough for a build without optimisation.
    const TEST: Effort = Effort { patches: 512, slices: 24 };

    fn to(reference: &[&Plane]) -> SetDistance {
        SetDistance::with_effort(reference, reference, 5, TEST)
    }

    /// Dark discs on a light ground with a little noise, never the same twice.
    fn discs(height: usize, width: usize, seed: u64) -> Plane {
        let mut stream = Stream::new(seed);
        let discs: Vec<[f64; 3]> = (0..height * width / 250)
            .map(|_| [stream.between(0.0, height as f64), stream.between(0.0, width as f64), stream.between(2.0, 5.0)])
            .collect();
        Plane::from_fn(height, width, |y, x| {
            let hit = discs.iter().any(|[cy, cx, radius]| (cy - y as f64).hypot(cx - x as f64) < *radius);
            0.02 * stream.normal_at(y, x) + if hit { 0.2 } else { 0.7 }
        })
    }

    fn map(plane: &Plane, change: impl Fn(f32) -> f32) -> Plane {
        Plane::new(plane.height(), plane.width(), plane.pixels().iter().map(|&value| change(value)).collect())
    }

    fn assert_grows(reference: &Plane, changed: impl Fn(f32) -> Plane) {
        let distance = to(&[reference]);
        let totals = [0.0, 0.1, 0.2, 0.4].map(|strength| distance.distance(&[&changed(strength)]).total);
        assert!(totals[0] < 1e-6 && totals.is_sorted() && totals[3] > 2.0 * totals[1], "{totals:?}");
    }

    #[test]
    fn a_set_is_at_no_distance_from_itself_in_any_order() {
        let images = [discs(64, 70, 1), discs(48, 64, 2), discs(64, 70, 3)];
        let [a, b, c] = images.each_ref();
        let zero = to(&[a, b, c]).distance(&[c, a, b]);
        assert_eq!(zero, Distance { total: 0.0, bands: vec![0.0; 2] });
        let other = discs(64, 64, 4);
        let distance = to(&[&other]);
        assert_eq!(distance.distance(&[a, b, c]), distance.distance(&[b, c, a]));
        assert_eq!(self_distance_with(&[a, b, c], 1, TEST), self_distance_with(&[c, b, a], 1, TEST));
    }

    #[test]
    fn distance_grows_with_brightness_loss_of_contrast_noise_and_blur() {
        let reference = discs(64, 64, 1);
        assert_grows(&reference, |strength| map(&reference, |value| value + strength));
        assert_grows(&reference, |strength| map(&reference, |value| value + 2.5 * strength * (0.5 - value)));
        let stream = Stream::new(9);
        assert_grows(&reference, |strength| {
            Plane::from_fn(64, 64, |y, x| reference.get(y, x) + strength * stream.normal_at(y, x))
        });
        let blurred = transpose(&blur_rows(&transpose(&blur_rows(&reference))));
        assert_grows(&reference, |strength| {
            let mix = |y, x| reference.get(y, x) + 2.5 * strength * (blurred.get(y, x) - reference.get(y, x));
            Plane::from_fn(64, 64, mix)
        });
    }

    fn blur_rows(plane: &Plane) -> Plane {
        let last = plane.height() - 1;
        Plane::from_fn(plane.height(), plane.width(), |y, x| {
            (plane.get(y.saturating_sub(2), x) + plane.get(y, x) + plane.get((y + 2).min(last), x)) / 3.0
        })
    }

    #[test]
    fn a_brightness_shift_shows_in_the_low_pass_in_standard_deviations() {
        let reference = discs(64, 64, 1);
        let distance = to(&[&reference]);
        let deviation = distance.deviations[2] as f32;
        let bands = distance.distance(&[&map(&reference, |value| value + deviation)]).bands;
        assert!(bands[0] < 1e-4 && bands[1] < 1e-4, "{bands:?}");
        // A patch shifted by 1 moves on a slice by the sum of a unit vector's entries: about 0.8 on average.
        assert!((0.4..1.2).contains(&bands[2]), "{bands:?}");
    }

    #[test]
    fn the_floor_is_far_below_the_distance_of_inverted_contrast() {
        let images: Vec<Plane> = (0..6).map(|seed| discs(64, 64, seed)).collect();
        let reference: Vec<&Plane> = images.iter().collect();
        let negatives: Vec<Plane> = images.iter().map(|image| map(image, |value| 1.0 - value)).collect();
        let floor = self_distance_with(&reference, 5, TEST).total;
        let fresh = discs(64, 64, 99);
        let [near, far] = [vec![&fresh], negatives.iter().collect()].map(|set| to(&reference).distance(&set).total);
        assert!(floor > 0.0 && near < 3.0 * floor && far > 3.0 * floor, "{floor} {near} {far}");
    }

    #[test]
    fn a_pyramid_adds_up_to_its_image() {
        let image = discs(37, 50, 1);
        let mut levels = laplacian_pyramid(&image, 2);
        let mut sum = levels.pop().unwrap();
        while let Some(band) = levels.pop() {
            let smooth = transpose(&double_rows(&transpose(&double_rows(&sum, band.height())), band.width()));
            sum = Plane::from_fn(band.height(), band.width(), |y, x| band.get(y, x) + smooth.get(y, x));
        }
        assert!(sum.pixels().iter().zip(image.pixels()).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn levels_end_where_a_side_would_fall_below_sixteen() {
        for (side, bands) in [(1, 0), (31, 0), (32, 1), (128, 3), (256, 4), (2048, 4)] {
            assert_eq!(depth(&[&Plane::from_fn(side, 2048, |_, _| 0.0)]), bands, "side {side}");
        }
    }

    #[test]
    fn small_and_blank_images_have_a_distance() {
        let large = discs(64, 64, 1);
        for (height, width) in [(1, 1), (1, 9), (6, 3), (7, 7), (15, 40)] {
            let small = discs(height, width, 2);
            let blank = Plane::from_fn(height, width, |_, _| 0.5);
            for (reference, other) in [(&large, &small), (&small, &large), (&blank, &small), (&blank, &blank)] {
                assert!(to(&[reference]).distance(&[other]).total.is_finite());
                assert!(self_distance_with(&[reference], 1, TEST).total.is_finite());
            }
        }
    }
}
