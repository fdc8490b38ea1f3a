//! A turned and scaled look at an image: intensities between pixels are interpolated, labels decided by majority.

use crate::segmentation::patch::Patch;

/// A pixel near a point: how much of the point's value comes from it, and its place in the image unless it lies outside.
type Neighbour = (f32, Option<usize>);

/// The patch of `size` (rows, columns) around `centre` of an image, with a sampling grid that is first scaled by `scale`
/// (above 1, structures look smaller) and then turned by `angle` radians about the centre.
///
/// A point v of the grid, (row, column) from its middle, is looked up at `centre + R(angle)·scale·v` with
/// R = ((cos, −sin), (sin, cos)). Centres are in pixels from the image's upper left corner: pixel i reaches from i to i + 1.
pub(super) fn sample(image: &Patch, centre: [f64; 2], size: [usize; 2], angle: f64, scale: f64) -> Patch {
    let [height, width] = size;
    let (sin, cos) = (scale * angle.sin(), scale * angle.cos());
    let mut patch = Patch::background(height, width);
    for y in 0..height {
        let down = y as f64 - (height as f64 - 1.0) / 2.0;
        for x in 0..width {
            let right = x as f64 - (width as f64 - 1.0) / 2.0;
            // The middle of pixel i is at i + 1/2.
            let row = centre[0] - 0.5 + cos * down - sin * right;
            let column = centre[1] - 0.5 + sin * down + cos * right;
            let neighbours = neighbours(image, row, column);
            patch.intensities[y * width + x] = intensity(image, &neighbours);
            patch.labels[y * width + x] = label(image, &neighbours);
        }
    }
    patch
}

/// The four pixels about a point, with the weights of bilinear interpolation.
fn neighbours(image: &Patch, row: f64, column: f64) -> [Neighbour; 4] {
    let (top, left) = (row.floor(), column.floor());
    let (below, beside) = ((row - top) as f32, (column - left) as f32);
    // Negative indices become larger than any image.
    let (top, left) = (top as isize as usize, left as isize as usize);
    let place = |y: usize, x: usize| (y < image.height && x < image.width).then(|| y * image.width + x);
    let (bottom, right) = (top.wrapping_add(1), left.wrapping_add(1));
    [
        ((1.0 - below) * (1.0 - beside), place(top, left)),
        ((1.0 - below) * beside, place(top, right)),
        (below * (1.0 - beside), place(bottom, left)),
        (below * beside, place(bottom, right)),
    ]
}

/// The weighted mean, with 0 outside.
fn intensity(image: &Patch, neighbours: &[Neighbour; 4]) -> f32 {
    neighbours.iter().filter_map(|(weight, place)| place.map(|place| weight * image.intensities[place])).sum()
}

/// The class with the most weight; on a draw, that of the nearest pixel. What lies outside votes as a class of its own,
/// which then counts as background.
fn label(image: &Patch, neighbours: &[Neighbour; 4]) -> u8 {
    let classes = neighbours.map(|(_, place)| place.map(|place| image.labels[place]));
    if classes.iter().all(|class| *class == classes[0]) {
        return classes[0].unwrap_or(0);
    }
    let votes = |class: Option<u8>| -> f32 {
        neighbours.iter().zip(classes).filter(|(_, other)| *other == class).map(|((weight, _), _)| weight).sum()
    };
    let nearest = (1..4).fold(0, |best, i| if neighbours[i].0 > neighbours[best].0 { i } else { best });
    let first = classes[nearest];
    classes.into_iter().fold(first, |best, class| if votes(class) > votes(best) { class } else { best }).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_PI_2, PI};

    fn image(height: usize, width: usize, labels: &[u8]) -> Patch {
        Patch::new(height, width, labels.iter().map(|label| f32::from(*label)).collect(), labels.to_vec())
    }

    fn assert_close(patch: &Patch, expected: &[f32]) {
        assert_eq!(patch.intensities.len(), expected.len());
        for (value, expected) in patch.intensities.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{:?} is not {expected}", patch.intensities);
        }
    }

    #[test]
    fn a_quarter_turn_of_the_grid_turns_the_image_the_other_way() {
        let turned = sample(&image(2, 3, &[1, 2, 3, 4, 5, 6]), [1.0, 1.5], [3, 2], FRAC_PI_2, 1.0);
        // The upper left of the patch looks at the lower left of the image.
        assert_eq!(turned.labels, [4, 1, 5, 2, 6, 3]);
        assert_close(&turned, &[4.0, 1.0, 5.0, 2.0, 6.0, 3.0]);
        let half = sample(&image(2, 3, &[1, 2, 3, 4, 5, 6]), [1.0, 1.5], [2, 3], PI, 1.0);
        assert_eq!(half.labels, [6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn without_turn_and_scale_a_sample_is_a_crop() {
        let image = image(3, 3, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(sample(&image, [1.0, 2.0], [4, 4], 0.0, 1.0), image.crop([-1, 0], [4, 4]));
    }

    #[test]
    fn a_grid_of_twice_the_size_averages_pixels_and_lets_them_vote() {
        let image = image(2, 4, &[1, 1, 0, 2, 1, 0, 2, 2]);
        let patch = sample(&image, [1.0, 2.0], [1, 2], 0.0, 2.0);
        assert_close(&patch, &[0.75, 1.5]);
        assert_eq!(patch.labels, [1, 2]);
    }

    #[test]
    fn the_border_fades_to_zero_and_a_label_ends_half_a_pixel_beyond_its_middle() {
        let image = image(1, 1, &[4]);
        // Points at 0, 1/4, 1/2, 3/4 and 1 pixel from the pixel's middle.
        let patch = sample(&image, [0.5, 1.0], [1, 5], 0.0, 0.25);
        assert_close(&patch, &[4.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!([&patch.labels[..2], &patch.labels[3..]], [[4, 4], [0, 0]]);
    }
}
