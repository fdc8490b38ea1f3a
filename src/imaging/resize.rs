//! Resizing: exact area averages when shrinking, Catmull–Rom cubics when enlarging, each axis for itself.

use super::stored::BAND_PIXELS;
use super::{Plane, Window};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use std::convert::Infallible;
use std::ops::Range;

/// The plane with `height` rows and `width` columns, values kept in [0, 1].
///
/// An axis that shrinks is averaged over the area each new pixel covers, parts of pixels included, so nothing aliases
/// and the mean is kept. (The box filter of `fast_image_resize` takes or leaves whole pixels, which moves edges by up
/// to half a pixel at ratios such as 1.3.) An axis that grows is interpolated with Catmull–Rom cubics.
///
/// # Panics
/// When the plane or the new size has no pixels.
pub fn resize(plane: &Plane, height: usize, width: usize) -> Plane {
    assert!(height > 0 && width > 0, "a plane cannot be resized to {height} x {width}: there must be a pixel");
    assert!(!plane.pixels().is_empty(), "an empty plane cannot be resized");
    let window = Window { rows: 0..height, columns: 0..width };
    let whole = |_: &Window| Ok::<_, Infallible>(plane.clone());
    resize_window([plane.height(), plane.width()], [height, width], &window, whole)
        .unwrap_or_else(|never| match never {})
}

/// A window of a plane resized from `old` to `new` rows and columns; `source` gives windows of the plane.
///
/// Only the window that the wanted one depends on is asked for, once.
///
/// # Panics
/// When the window is empty or reaches beyond the new size.
pub fn resize_window<E>(
    old: [usize; 2],
    new: [usize; 2],
    window: &Window,
    source: impl FnOnce(&Window) -> Result<Plane, E>,
) -> Result<Plane, E> {
    let Window { rows, columns } = window;
    assert!(!rows.is_empty() && !columns.is_empty(), "an empty window cannot be resized");
    assert!(rows.end <= new[0] && columns.end <= new[1], "there is no {window:?} in {} x {} pixels", new[0], new[1]);
    let [vertical, horizontal] = Axis::both(old, new);
    let needed = needed_window(old, new, window);
    let mut part = source(&needed)?;
    if vertical.shrinks() {
        part = average_rows(&part, needed.rows.start, vertical, rows);
    }
    if horizontal.shrinks() {
        part = transpose(&average_rows(&transpose(&part), needed.columns.start, horizontal, columns));
    }
    let mut resized = enlarge(part, &needed, [vertical, horizontal], window);
    resized.pixels_mut().iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    Ok(resized)
}

/// [`resize_window`] that asks for few rows at a time where a window shows much of a plane that shrinks. The result is the
/// same to the last digit.
///
/// # Panics
/// When the window is empty or reaches beyond the new size.
pub fn resize_in_bands<E>(
    old: [usize; 2],
    new: [usize; 2],
    window: &Window,
    mut source: impl FnMut(&Window) -> Result<Plane, E>,
) -> Result<Plane, E> {
    let row = Window { rows: window.rows.start..window.rows.start + 1, columns: window.columns.clone() };
    let row = needed_window(old, new, &row);
    let rows = (BAND_PIXELS / (row.height() * row.width())).max(1);
    if new[0] >= old[0] || rows >= window.height() {
        return resize_window(old, new, window, source);
    }
    let mut pixels = Vec::with_capacity(window.height() * window.width());
    for start in window.rows.clone().step_by(rows) {
        let band = Window { rows: start..(start + rows).min(window.rows.end), columns: window.columns.clone() };
        pixels.extend_from_slice(resize_window(old, new, &band, &mut source)?.pixels());
    }
    Ok(Plane::new(window.height(), window.width(), pixels))
}

/// The window of a plane of `old` rows and columns on which a window of it, resized to `new`, depends.
pub fn needed_window(old: [usize; 2], new: [usize; 2], window: &Window) -> Window {
    let [vertical, horizontal] = Axis::both(old, new);
    Window { rows: vertical.sources(&window.rows), columns: horizontal.sources(&window.columns) }
}

/// The plane at another pixel size: `from_um` is its own, `to_um` the wanted one. The size is rounded, and at least 1.
///
/// # Panics
/// When a pixel size is not a positive number.
pub fn rescale(plane: &Plane, from_um: f64, to_um: f64) -> Plane {
    let valid = |size: f64| size.is_finite() && size > 0.0;
    assert!(valid(from_um) && valid(to_um), "pixel sizes must be positive: {from_um} and {to_um} um");
    let scaled = |size: usize| ((size as f64 * from_um / to_um).round() as usize).max(1);
    resize(plane, scaled(plane.height()), scaled(plane.width()))
}

/// One direction of a plane that goes from `old` to `new` pixels.
#[derive(Debug, Clone, Copy)]
struct Axis {
    old: usize,
    new: usize,
}

impl Axis {
    /// The vertical and the horizontal one.
    fn both(old: [usize; 2], new: [usize; 2]) -> [Self; 2] {
        [0, 1].map(|axis| Self { old: old[axis], new: new[axis] })
    }

    fn shrinks(self) -> bool {
        self.new < self.old
    }

    fn grows(self) -> bool {
        self.new > self.old
    }

    /// Old pixels for each new one.
    fn ratio(self) -> f64 {
        self.old as f64 / self.new as f64
    }

    /// The old pixels that `wanted` new ones depend on.
    fn sources(self, wanted: &Range<usize>) -> Range<usize> {
        // A cubic reaches two pixels to each side.
        let reach = if self.grows() { 2.0 } else { 0.0 };
        let start = wanted.start as f64 * self.ratio() - reach;
        let end = wanted.end as f64 * self.ratio() + reach;
        start.max(0.0) as usize..(end.ceil() as usize).min(self.old)
    }

    /// Start and length of what `wanted` new pixels of an axis that grows show of `length` old pixels from `first` on.
    fn section(self, wanted: &Range<usize>, first: usize, length: usize) -> (f64, f64) {
        let start = wanted.start as f64 * self.ratio() - first as f64;
        // The last digit of their sum must not lead out of the pixels.
        (start, (wanted.len() as f64 * self.ratio()).min(length as f64 - start))
    }
}

/// Averages rows down to those `wanted`; new row i covers the old rows [i r, (i + 1) r) with r the ratio of `axis`.
/// The first row of `band` is old row number `first`.
fn average_rows(band: &Plane, first: usize, axis: Axis, wanted: &Range<usize>) -> Plane {
    let (width, ratio) = (band.width(), axis.ratio());
    let mut pixels = Vec::with_capacity(wanted.len() * width);
    for i in wanted.clone() {
        let (top, bottom) = (i as f64 * ratio, ((i + 1) as f64 * ratio).min(axis.old as f64));
        let mut sums = vec![0.0f64; width];
        for y in top as usize..bottom.ceil() as usize {
            let covered = bottom.min((y + 1) as f64) - top.max(y as f64);
            for (sum, value) in sums.iter_mut().zip(&band.pixels()[(y - first) * width..]) {
                *sum += covered * f64::from(*value);
            }
        }
        pixels.extend(sums.iter().map(|sum| (sum / (bottom - top)) as f32));
    }
    Plane::new(wanted.len(), width, pixels)
}

fn transpose(plane: &Plane) -> Plane {
    Plane::from_fn(plane.width(), plane.height(), |y, x| plane.get(x, y))
}

/// Interpolates along the axes that grow; `part` holds the window `needed` of the old plane, and along the axes that do not
/// grow the pixels of the wanted window already.
///
/// One axis after the other: asked for both at once, `fast_image_resize` 6.1 keeps too few rows between its two passes where
/// the last coefficient of the last row is 0, as with rows 0 to 512 of a plane three times as high, and takes zeros for them.
fn enlarge(mut part: Plane, needed: &Window, [vertical, horizontal]: [Axis; 2], wanted: &Window) -> Plane {
    if vertical.grows() {
        let (top, height) = vertical.section(&wanted.rows, needed.rows.start, part.height());
        let width = part.width();
        part = interpolate(&part, (0.0, top, width as f64, height), [wanted.height(), width]);
    }
    if horizontal.grows() {
        let (left, width) = horizontal.section(&wanted.columns, needed.columns.start, part.width());
        let height = part.height();
        part = interpolate(&part, (left, 0.0, width, height as f64), [height, wanted.width()]);
    }
    part
}

/// A section (left, top, width, height) of a plane as `size` rows and columns.
fn interpolate(plane: &Plane, (left, top, width, height): (f64, f64, f64, f64), size: [usize; 2]) -> Plane {
    let pixels: Vec<F32> = plane.pixels().iter().map(|value| F32::new(*value)).collect();
    let source = TypedImageRef::new(plane.width() as u32, plane.height() as u32, &pixels)
        .expect("the number of pixels is that of the plane");
    let mut target = TypedImage::<F32>::new(size[1] as u32, size[0] as u32);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
        .use_alpha(false)
        .crop(left, top, width, height);
    Resizer::new().resize_typed(&source, &mut target, &options).expect("the section is a part of the plane");
    Plane::new(size[0], size[1], target.pixels().iter().map(|pixel| pixel.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(plane: &Plane, expected: &[f32]) {
        assert_eq!(plane.pixels().len(), expected.len());
        assert!(plane.pixels().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", plane.pixels());
    }

    #[test]
    fn halving_averages_blocks_of_four() {
        #[rustfmt::skip]
        let plane = Plane::new(2, 4, vec![
            0.0, 0.4, 1.0, 1.0,
            0.0, 0.8, 0.0, 0.6,
        ]);
        assert_close(&resize(&plane, 1, 2), &[0.3, 0.65]);
    }

    #[test]
    fn shrinking_three_to_two_counts_half_of_the_middle_pixel_on_each_side() {
        let plane = Plane::new(1, 3, vec![0.0, 0.6, 0.9]);
        assert_close(&resize(&plane, 1, 2), &[0.2, 0.8]);
    }

    #[test]
    fn shrinking_keeps_the_mean_and_a_checkerboard_turns_grey() {
        let board = Plane::from_fn(130, 91, |y, x| ((y + x) % 2) as f32);
        let small = resize(&board, 20, 13);
        assert!(small.pixels().iter().all(|v| (v - 0.5).abs() < 0.02));
        let mean = |p: &Plane| p.pixels().iter().sum::<f32>() / p.pixels().len() as f32;
        assert!((mean(&small) - mean(&board)).abs() < 1e-5);
    }

    #[test]
    fn enlarging_keeps_a_ramp_and_stays_in_range_at_an_edge() {
        let ramp = Plane::from_fn(16, 16, |_, x| x as f32 / 15.0);
        let large = resize(&ramp, 32, 32);
        for x in 8..24 {
            let expected = ((x as f32 + 0.5) / 2.0 - 0.5) / 15.0;
            assert!((large.get(16, x) - expected).abs() < 1e-4, "column {x}");
        }
        let edge = Plane::from_fn(8, 8, |_, x| if x < 4 { 0.0 } else { 1.0 });
        assert!(resize(&edge, 29, 31).pixels().iter().all(|v| (0.0..=1.0).contains(v)));
    }

    #[test]
    fn one_axis_can_shrink_while_the_other_grows() {
        let plane = Plane::from_fn(4, 4, |y, _| y as f32 / 4.0);
        let resized = resize(&plane, 2, 9);
        assert_eq!((resized.height(), resized.width()), (2, 9));
        assert!((0..9).all(|x| (resized.get(0, x) - 0.125).abs() < 1e-6 && (resized.get(1, x) - 0.625).abs() < 1e-6));
    }

    #[test]
    fn windows_are_those_of_the_whole_plane_and_ask_for_few_pixels() {
        let plane = Plane::from_fn(60, 50, |y, x| ((7 * y + 3 * x) % 23) as f32 / 22.0);
        for (height, width) in [(60, 50), (25, 20), (97, 120), (25, 120), (97, 20), (60, 71), (180, 150)] {
            let whole = resize(&plane, height, width);
            for window in [
                // Where the centre of the last row of (180, 150) falls on that of an old pixel.
                Window { rows: 0..20, columns: 0..20 },
                Window { rows: 0..height, columns: 0..width },
                Window { rows: 3..9, columns: width - 8..width },
                Window { rows: height - 1..height, columns: 5..6 },
            ] {
                let part = resize_window([60, 50], [height, width], &window, |needed| {
                    let most = |pixels: usize, old: usize, new: usize| pixels * old / new + 6;
                    assert!(needed.height() <= most(window.height(), 60, height));
                    assert!(needed.width() <= most(window.width(), 50, width));
                    Ok::<_, Infallible>(plane.part(needed))
                });
                assert_close(&part.unwrap(), whole.part(&window).pixels());
            }
        }
    }

    #[test]
    fn bands_of_a_plane_that_shrinks_are_those_of_the_whole() {
        let size = [4100, 2050];
        let plane = Plane::from_fn(size[0], size[1], |y, x| ((3 * y + 7 * x) % 101) as f32 / 100.0);
        let window = Window { rows: 5..450, columns: 0..230 };
        let part = |window: &Window| Ok::<_, Infallible>(plane.part(window));
        let whole = resize_window(size, [455, 230], &window, part).unwrap();
        let mut most = 0;
        let bands = resize_in_bands(size, [455, 230], &window, |needed| {
            most = most.max(needed.height() * needed.width());
            part(needed)
        });
        assert_eq!(bands.unwrap(), whole);
        assert!(most <= BAND_PIXELS);
    }

    #[test]
    fn the_same_size_is_the_same_plane() {
        let plane = Plane::from_fn(7, 5, |y, x| (y * 5 + x) as f32 / 40.0);
        assert_eq!(resize(&plane, 7, 5), plane);
    }

    #[test]
    fn rescaling_rounds_the_size_and_leaves_at_least_one_pixel() {
        let plane = Plane::from_fn(100, 51, |_, _| 0.5);
        let half = rescale(&plane, 0.1, 0.2);
        assert_eq!((half.height(), half.width()), (50, 26));
        let finer = rescale(&plane, 0.1, 0.0476);
        assert_eq!((finer.height(), finer.width()), (210, 107));
        let dot = rescale(&plane, 0.1, 1000.0);
        assert_eq!((dot.height(), dot.width()), (1, 1));
    }

    #[test]
    #[should_panic(expected = "there must be a pixel")]
    fn resizing_to_nothing_is_refused() {
        resize(&Plane::new(1, 1, vec![0.0]), 0, 3);
    }
}
