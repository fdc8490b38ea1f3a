//! Images that show the same place: whole copies, and parts cut from one source without resampling.
//!
//! Small blocks of pixels are chosen by their content alone (one in [`SPARSITY`] on average), so that two images with a
//! common part choose the same blocks in it, wherever it lies in each; a block that two images share tells how one is
//! shifted against the other (the winnowing of Schleimer, Wilkerson and Aiken 2003, in two dimensions). Parts that were
//! turned, resampled or recompressed are not found.

use crate::imaging::Plane;
use std::collections::{BTreeMap, HashMap};

/// Side of a block.
const BLOCK: usize = 8;
/// One block in so many is chosen.
const SPARSITY: u64 = 256;
/// A block must span this part of the range from black to white: flat ones are alike everywhere.
const CONTRAST: f32 = 0.08;
/// Blocks that must agree on a shift.
const AGREEING: usize = 6;
/// A block that this many images hold is a pattern, not a place.
const COMMON: usize = 16;

/// Two images that show one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Overlap {
    /// Their numbers, in the order in which they were added.
    pub(super) images: [usize; 2],
    /// The common part, of the smaller image.
    pub(super) share: f64,
    /// Whether it is all of both.
    pub(super) is_copy: bool,
}

/// The chosen blocks of images.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    sizes: Vec<[usize; 2]>,
    places: HashMap<u64, Vec<Place>>,
    /// The images of each content.
    contents: HashMap<u64, Vec<usize>>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    image: usize,
    top: i32,
    left: i32,
}

impl Blocks {
    /// Adds an image, whose number is how many were added before.
    pub(super) fn add(&mut self, plane: &Plane) {
        let image = self.sizes.len();
        let size @ [height, width] = [plane.height(), plane.width()];
        self.sizes.push(size);
        // Sixteen bits tell all stored values apart.
        let values: Vec<u64> = plane.pixels().iter().map(|value| (value * 65535.0).round() as u64).collect();
        let whole = values.iter().fold(mixed(height as u64 ^ (width as u64) << 32), |hash, value| mixed(hash ^ value));
        self.contents.entry(whole).or_default().push(image);
        if height < BLOCK || width < BLOCK {
            return;
        }
        let rows = rolled(&values, height, width);
        for top in 0..=height - BLOCK {
            for left in 0..=width - BLOCK {
                let column = |row: usize| rows[(top + row) * width + left];
                let hash = mixed((0..BLOCK).fold(0, |sum: u64, row| sum.wrapping_mul(PRIME).wrapping_add(column(row))));
                if hash.is_multiple_of(SPARSITY) && contrast(plane, top, left) > CONTRAST {
                    let place = Place { image, top: top as i32, left: left as i32 };
                    self.places.entry(hash).or_default().push(place);
                }
            }
        }
    }

    /// The pairs of an image of this set and one of another with a common part.
    pub(super) fn overlaps_with(&self, other: &Self) -> Vec<Overlap> {
        let own = self.sizes.len();
        let renumbered = |place: &Place| Place { image: own + place.image, ..*place };
        let mut both = Self { sizes: [self.sizes.as_slice(), &other.sizes].concat(), ..Self::default() };
        for (hash, places) in &self.places {
            if let Some(others) = other.places.get(hash) {
                both.places.insert(*hash, places.iter().copied().chain(others.iter().map(renumbered)).collect());
            }
        }
        for (hash, images) in &self.contents {
            if let Some(others) = other.contents.get(hash) {
                both.contents.insert(*hash, images.iter().copied().chain(others.iter().map(|i| own + i)).collect());
            }
        }
        let mut overlaps = both.overlaps();
        overlaps.retain(|overlap| overlap.images[0] < own && overlap.images[1] >= own);
        overlaps.iter_mut().for_each(|overlap| overlap.images[1] -= own);
        overlaps
    }

    /// All pairs of images with a common part.
    pub(super) fn overlaps(&self) -> Vec<Overlap> {
        let mut shifts: BTreeMap<([usize; 2], [i32; 2]), usize> = BTreeMap::new();
        for places in self.places.values().filter(|places| (2..=COMMON).contains(&places.len())) {
            for (i, a) in places.iter().enumerate() {
                for b in places[i + 1..].iter().filter(|b| b.image != a.image) {
                    *shifts.entry(([a.image, b.image], [a.top - b.top, a.left - b.left])).or_default() += 1;
                }
            }
        }
        let copies = self.contents.values().flat_map(|images| {
            let pairs = (0..images.len()).flat_map(move |i| (i + 1..images.len()).map(move |j| [images[i], images[j]]));
            pairs.map(|images| (images, Overlap { images, share: 1.0, is_copy: true }))
        });
        let mut found: BTreeMap<[usize; 2], Overlap> = copies.collect();
        for ((images, shift), _) in shifts.into_iter().filter(|(_, count)| *count >= AGREEING) {
            let [a, b] = images.map(|image| self.sizes[image]);
            let common = |axis: usize| {
                let (from, to) = (shift[axis].max(0), (b[axis] as i32 + shift[axis]).min(a[axis] as i32));
                f64::from((to - from).max(0))
            };
            let smaller = (a[0] * a[1]).min(b[0] * b[1]) as f64;
            let share = common(0) * common(1) / smaller;
            let known = found.entry(images).or_insert(Overlap { images, share, is_copy: false });
            known.share = known.share.max(share);
        }
        found.into_values().collect()
    }
}

/// The numbers of the group that each image belongs to, when overlapping images are of one.
pub(super) fn groups(count: usize, overlaps: &[Overlap]) -> Vec<usize> {
    let mut group: Vec<usize> = (0..count).collect();
    for Overlap { images: [a, b], .. } in overlaps {
        let (from, to) = (group[*a].max(group[*b]), group[*a].min(group[*b]));
        group.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
    }
    group
}

const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A hash of the [`BLOCK`] values from each place of a row on; of no meaning at the end of a row.
fn rolled(values: &[u64], height: usize, width: usize) -> Vec<u64> {
    let mut rolled = vec![0; values.len()];
    for y in 0..height {
        for x in 0..=width - BLOCK {
            let row = &values[y * width + x..][..BLOCK];
            rolled[y * width + x] = row.iter().fold(0, |sum: u64, value| sum.wrapping_mul(PRIME).wrapping_add(*value));
        }
    }
    rolled
}

/// The finaliser of SplitMix64, as in `random`: choosing by a remainder needs every bit to count.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn contrast(plane: &Plane, top: usize, left: usize) -> f32 {
    let block = (top..top + BLOCK).flat_map(|y| &plane.pixels()[y * plane.width() + left..][..BLOCK]);
    let (low, high) = block.fold((1f32, 0f32), |(low, high), value| (low.min(*value), high.max(*value)));
    high - low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// A part of one noisy image.
    fn part(top: usize, left: usize, [height, width]: [usize; 2]) -> Plane {
        let stream = Stream::new(5);
        let value = |y: usize, x: usize| (0.5 + 0.2 * stream.normal_at(top + y, left + x)).clamp(0.0, 1.0);
        Plane::from_fn(height, width, value)
    }

    fn overlaps(planes: &[Plane]) -> Vec<Overlap> {
        let mut blocks = Blocks::default();
        planes.iter().for_each(|plane| blocks.add(plane));
        blocks.overlaps()
    }

    #[test]
    fn a_common_part_is_found_wherever_it_lies() {
        let found = overlaps(&[part(0, 0, [100, 100]), part(40, 20, [100, 120]), part(500, 500, [100, 100])]);
        assert_eq!(found, [Overlap { images: [0, 1], share: 0.6 * 0.8, is_copy: false }]);
    }

    #[test]
    fn copies_are_told_from_parts_and_flat_images_from_both() {
        let found = overlaps(&[part(0, 0, [64, 64]), part(0, 0, [64, 64]), part(0, 0, [64, 60])]);
        let kinds: Vec<_> = found.iter().map(|overlap| (overlap.images, overlap.is_copy)).collect();
        assert_eq!(kinds, [([0, 1], true), ([0, 2], false), ([1, 2], false)]);
        let flat = |value: f32| Plane::from_fn(64, 64, |_, _| value);
        assert!(overlaps(&[flat(0.3), flat(0.4), Plane::from_fn(3, 3, |_, _| 0.3)]).is_empty());
    }

    #[test]
    fn images_that_hang_together_are_one_group() {
        let overlap = |a, b| Overlap { images: [a, b], share: 0.5, is_copy: false };
        assert_eq!(groups(5, &[overlap(3, 4), overlap(0, 1), overlap(1, 3)]), [0, 0, 2, 0, 0]);
    }
}
