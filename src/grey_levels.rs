//! Changes of grey alone, which a careful scientist tries before a network: turning the contrast over, and giving an
//! image the grey levels of others.

use crate::imaging::{Histogram, Plane};

/// The negative: `1 - value` of each pixel.
pub fn inverted(plane: &Plane) -> Plane {
    mapped(plane, |value| 1.0 - value)
}

/// The grey levels of a set of images, in steps of a 16-bit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreyLevels {
    /// Each level that occurs, from the darkest on, and how many pixels are at it or below.
    cumulative: Vec<(u16, u64)>,
}

impl GreyLevels {
    /// The levels of all pixels of the planes together, so that a large plane counts more than a small one; values
    /// beyond [0, 1] count as 0 or 1. None when there is no pixel.
    pub fn of<'a>(planes: impl IntoIterator<Item = &'a Plane>) -> Option<Self> {
        let mut histogram = Histogram::default();
        for plane in planes {
            histogram.add(&plane.pixels().iter().map(|value| level(*value)).collect::<Vec<_>>());
        }
        let cumulative: Vec<(u16, u64)> = histogram
            .occurring()
            .scan(0, |pixels, (level, count)| {
                *pixels += count;
                Some((level, *pixels))
            })
            .collect();
        (!cumulative.is_empty()).then_some(Self { cumulative })
    }

    /// The plane with these grey levels instead of its own: histogram specification (Gonzalez & Woods, "Digital Image
    /// Processing", 3.3.2 in the third edition).
    ///
    /// Each level of the plane becomes the reference's level at the same quantile. The quantile of a level is the middle
    /// of those of its pixels, so that a plane of one value becomes the median, and a plane that is itself the reference
    /// stays as it is, to half a step. The order of levels is kept, and none comes up that the reference lacks.
    pub fn matched(&self, plane: &Plane) -> Plane {
        let Some(own) = Self::of([plane]) else { return plane.clone() };
        let mut levels = vec![0.0; 1 << u16::BITS];
        let mut below = 0;
        for (level, up_to) in &own.cumulative {
            levels[usize::from(*level)] = self.at_quantile([below + up_to, 2 * own.pixels()]);
            below = *up_to;
        }
        mapped(plane, |value| levels[usize::from(level(value))])
    }

    /// The least level, as a value in [0, 1], at which `part / whole` of the pixels are reached.
    fn at_quantile(&self, [part, whole]: [u64; 2]) -> f32 {
        // In whole numbers, so that equal quantiles are equal; of 128 bits, since both sides are products of counts.
        let wanted = u128::from(part) * u128::from(self.pixels());
        let place = self.cumulative.partition_point(|(_, up_to)| u128::from(*up_to) * u128::from(whole) < wanted);
        f32::from(self.cumulative[place].0) / f32::from(u16::MAX)
    }

    fn pixels(&self) -> u64 {
        self.cumulative.last().map_or(0, |(_, pixels)| *pixels)
    }
}

fn level(value: f32) -> u16 {
    (value * f32::from(u16::MAX)).round() as u16
}

fn mapped(plane: &Plane, change: impl Fn(f32) -> f32) -> Plane {
    Plane::new(plane.height(), plane.width(), plane.pixels().iter().map(|value| change(*value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// A plane of one row.
    fn row(values: &[f32]) -> Plane {
        Plane::new(1, values.len(), values.to_vec())
    }

    /// Grey values of an 8-bit file, which are exact in 16 bits.
    fn noise(seed: u64, deviation: f32) -> Plane {
        let stream = Stream::new(seed);
        let grey = |y, x| (255.0 * (0.5 + deviation * stream.normal_at(y, x)).clamp(0.0, 1.0)).round() / 255.0;
        Plane::from_fn(40, 30, grey)
    }

    #[test]
    fn the_negative_of_the_negative_is_the_image() {
        let plane = row(&[0.0, 0.25, 1.0]);
        assert_eq!(inverted(&plane), row(&[1.0, 0.75, 0.0]));
        assert_eq!(inverted(&inverted(&plane)), plane);
    }

    #[test]
    fn levels_go_to_the_same_quantiles_of_all_references_together() {
        // The references' pixels in order: 0, 0, 0, 0.2, 0.4, 1.
        let levels = GreyLevels::of([&row(&[0.4, 0.0, 0.2, 0.0]), &row(&[0.0, 1.0])]).unwrap();
        // Middles of quantiles 1/4, 5/8, 7/8 of 6 pixels: the 2nd, 4th and 6th.
        let matched = levels.matched(&row(&[0.9, 0.5, 0.8, 0.5]));
        assert_eq!(matched, row(&[1.0, 0.0, 0.2, 0.0]));
    }

    #[test]
    fn a_plane_of_one_value_becomes_the_median() {
        let levels = GreyLevels::of([&row(&[0.2, 1.0, 0.0, 0.4, 0.2])]).unwrap();
        assert_eq!(levels.matched(&row(&[0.7, 0.7])), row(&[0.2, 0.2]));
    }

    #[test]
    fn an_image_with_its_own_levels_stays_as_it_is() {
        let plane = noise(1, 0.2);
        assert_eq!(GreyLevels::of([&plane]).unwrap().matched(&plane), plane);
        let between = row(&[0.1, 0.123_456, 0.9]);
        let back = GreyLevels::of([&between]).unwrap().matched(&between);
        assert!(back.pixels().iter().zip(between.pixels()).all(|(a, b)| (a - b).abs() <= 0.5 / 65535.0 + 1e-7));
    }

    #[test]
    fn the_order_of_pixels_is_kept_and_the_levels_are_the_references() {
        let (plane, reference) = (noise(2, 0.2), noise(3, 0.05));
        let matched = GreyLevels::of([&reference]).unwrap().matched(&plane);
        let mut order: Vec<usize> = (0..plane.pixels().len()).collect();
        order.sort_by(|i, j| plane.pixels()[*i].total_cmp(&plane.pixels()[*j]));
        assert!(order.windows(2).all(|two| matched.pixels()[two[0]] <= matched.pixels()[two[1]]));
        assert!(matched.pixels().iter().all(|value| reference.pixels().contains(value)));
        let mean = |plane: &Plane| plane.pixels().iter().sum::<f32>() / plane.pixels().len() as f32;
        assert!((mean(&matched) - mean(&reference)).abs() < 0.005, "{} {}", mean(&matched), mean(&reference));
    }

    #[test]
    fn no_pixels_have_no_levels() {
        assert_eq!(GreyLevels::of([]), None);
        assert_eq!(GreyLevels::of([&row(&[])]), None);
        let levels = GreyLevels::of([&row(&[0.5])]).unwrap();
        assert_eq!(levels.matched(&row(&[])), row(&[]));
    }
}
