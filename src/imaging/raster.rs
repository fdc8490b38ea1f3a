//! Grey images held as they are stored, for images whose [`Plane`] would not fit: one or two bytes for each pixel of an
//! 8- or 16-bit image instead of four.
//!
//! Grey keeps its stored values. The luma of a colour image falls between stored values, so a colour image is held in
//! 16 bits whatever its depth; its planes are within 1 / 131070 of those of [`read`](super::read()). Resizing gives
//! the rows that are asked for and touches no others.

use super::read::{Decoded, decode_file};
use super::resize::resize_window;
use super::{
    BitDepth, Container, Histogram, Intensity, IntensityMap, Plane, ReadOptions, Sample, Samples, with_numbers,
};
use crate::error::{Error, Result};
use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;

/// The most pixels of a raster: 23 170 x 23 170, one gibibyte at 16 bits.
pub(super) const MAX_PIXELS: u64 = 1 << 29;

/// A rectangle of pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub columns: Range<usize>,
}

impl Window {
    /// Number of rows.
    pub fn height(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }
}

/// A grey image of `height` x `width` stored values.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    height: usize,
    width: usize,
    samples: Samples,
    /// The stored values that planes hold as 0 and 1.
    range: IntensityMap,
}

/// An image file as it was read into a raster; see [`Picture`](super::Picture).
#[derive(Debug, Clone, PartialEq)]
pub struct RasterPicture {
    /// The pixels. Those of an 8-bit colour image are held in 16 bits.
    pub raster: Raster,
    /// The numbers of the file; write the result with the same.
    pub depth: BitDepth,
    /// Which numbers of the file the raster's planes hold as 0 and 1.
    pub intensity: IntensityMap,
    /// Format of the file's content, whatever its name says.
    pub container: Container,
    /// Side of a pixel in micrometres, when the file says so.
    pub pixel_size_um: Option<f64>,
    /// What the user should know about the conversion ("colour image converted to grey").
    pub note: Option<String>,
}

impl Raster {
    /// A raster from its stored values, row by row. Planes hold the full range of `u8` and `u16` as [0, 1], of floats
    /// what lies between the least and the largest.
    ///
    /// # Panics
    /// When the number of values is not `height * width`.
    pub fn new<T: Sample>(height: usize, width: usize, samples: Vec<T>) -> Self {
        Self::of_samples(height, width, T::into_samples(samples))
    }

    fn of_samples(height: usize, width: usize, samples: Samples) -> Self {
        assert_eq!(samples.len(), height * width, "a {height} x {width} raster needs height * width samples");
        let range = Intensity::Full.fit_samples(samples.depth(), &samples).map;
        Self { height, width, samples, range }
    }

    /// Reads an image as [`read`](super::read()) does, up to twice the pixels.
    ///
    /// Grey takes its own size in memory while it is read, colour up to 6 bytes a pixel; an interlaced PNG takes that of
    /// the whole image once more.
    pub fn read(path: &Path) -> Result<RasterPicture> {
        Self::read_with(path, None)
    }

    /// The same for a page or slice, counted from 1, of a file with several.
    pub fn read_with(path: &Path, page: Option<usize>) -> Result<RasterPicture> {
        let options = ReadOptions::full(page);
        let decoded = decode_file(path, &options, MAX_PIXELS)?;
        let (depth, container, pixel_size_um) = (decoded.depth, decoded.container, decoded.pixel_size_um);
        let fitted = decoded.fit(Intensity::Full);
        let note = decoded.note(Intensity::Full, &fitted);
        let Decoded { height, width, samples, is_colour, .. } = decoded;
        let full = IntensityMap::full(depth);
        let held = match (depth, samples) {
            (BitDepth::Eight | BitDepth::Sixteen, Samples::Float(luma)) if is_colour => {
                let white = f64::from(u16::MAX);
                Samples::Sixteen(luma.iter().map(|v| (f64::from(*v) / full.high * white).round() as u16).collect())
            }
            (_, samples) => samples,
        };
        let raster = Self::of_samples(height, width, held);
        Ok(RasterPicture { raster, depth, intensity: fitted.map, container, pixel_size_um, note })
    }

    /// Reads an image of labels, whose stored values are numbers of classes or objects: whole, and from 0 to 65535. The
    /// raster holds 8 or 16 bits, whatever kind of number the file has.
    pub fn read_labels(path: &Path, page: Option<usize>) -> Result<RasterPicture> {
        let picture = Self::read_with(path, page)?;
        let raster = picture.raster.into_whole_numbers().ok_or_else(|| {
            Error::image(
                path,
                "it holds fractions, negative numbers or numbers above 65535, which are no labels; give the image of \
                 labels, with one whole number for each class or object",
            )
        })?;
        Ok(RasterPicture { raster, ..picture })
    }

    /// The same image in 8 or 16 bits; nothing when some value is no whole number that they hold.
    fn into_whole_numbers(self) -> Option<Self> {
        fn whole<T: Sample>(values: &[T]) -> Option<Vec<u16>> {
            let number =
                |value: f64| (value.fract() == 0.0 && (0.0..=65_535.0).contains(&value)).then_some(value as u16);
            values.iter().map(|value| number((*value).into())).collect()
        }
        let numbers = match &self.samples {
            Samples::Eight(_) | Samples::Sixteen(_) => return Some(self),
            Samples::Float(values) => whole(values)?,
            Samples::Double(values) => whole(values)?,
        };
        let bytes: Option<Vec<u8>> = numbers.iter().map(|number| u8::try_from(*number).ok()).collect();
        Some(match bytes {
            Some(bytes) => Self::new(self.height, self.width, bytes),
            None => Self::new(self.height, self.width, numbers),
        })
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bits of the values held.
    pub fn depth(&self) -> BitDepth {
        self.samples.depth()
    }

    /// The stored values.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The whole image as a window.
    pub fn window(&self) -> Window {
        Window { rows: 0..self.height, columns: 0..self.width }
    }

    /// The values of a window in [0, 1].
    ///
    /// # Panics
    /// When the window reaches beyond the image.
    pub fn plane(&self, window: &Window) -> Plane {
        let mut pixels = Vec::with_capacity(window.height() * window.width());
        with_numbers!(&self.samples, numbers => {
            self.rows(numbers, window).for_each(|row| pixels.extend(row.iter().map(|v| self.range.to_unit(*v))));
        });
        Plane::new(window.height(), window.width(), pixels)
    }

    /// How often each stored value occurs in a window.
    ///
    /// # Panics
    /// When the window reaches beyond the image, or the image does not hold 8 or 16 bits.
    pub fn histogram(&self, window: &Window) -> Histogram {
        let mut histogram = Histogram::default();
        match &self.samples {
            Samples::Eight(s) => self.rows(s, window).for_each(|row| histogram.add(row)),
            Samples::Sixteen(s) => self.rows(s, window).for_each(|row| histogram.add(row)),
            Samples::Float(_) | Samples::Double(_) => panic!("values of {:?} cannot be counted", self.depth()),
        }
        histogram
    }

    /// The stored values of a window, row by row.
    ///
    /// # Panics
    /// When the window reaches beyond the image.
    pub fn values(&self, window: &Window) -> Vec<f64> {
        let mut values = Vec::with_capacity(window.height() * window.width());
        with_numbers!(&self.samples, numbers => {
            self.rows(numbers, window).for_each(|row| values.extend(row.iter().map(|v| Into::<f64>::into(*v))));
        });
        values
    }

    /// Whether the stored value at row `y`, column `x` is 0.
    pub fn is_zero(&self, y: usize, x: usize) -> bool {
        let place = y * self.width + x;
        with_numbers!(&self.samples, numbers => Into::<f64>::into(numbers[place]) == 0.0)
    }

    /// The smallest window that holds every pixel that is not 0; nothing when all are.
    pub fn bounding_box(&self) -> Option<Window> {
        with_numbers!(&self.samples, numbers => self.bounding_box_of(numbers))
    }

    fn bounding_box_of<T: Sample>(&self, samples: &[T]) -> Option<Window> {
        let mut bounds: Option<Window> = None;
        let is_set = |value: &T| *value != T::default();
        for (y, row) in self.rows(samples, &self.window()).enumerate() {
            if let (Some(left), Some(right)) = (row.iter().position(is_set), row.iter().rposition(is_set)) {
                let found = bounds.get_or_insert(Window { rows: y..y, columns: left..right });
                found.rows.end = y + 1;
                found.columns = found.columns.start.min(left)..found.columns.end.max(right + 1);
            }
        }
        bounds
    }

    /// The rows of a window.
    fn rows<'a, T: Sample>(&self, samples: &'a [T], window: &'a Window) -> impl Iterator<Item = &'a [T]> {
        let inside = window.rows.end <= self.height && window.columns.end <= self.width;
        assert!(inside, "{window:?} reaches beyond an image of {} x {}", self.height, self.width);
        let width = self.width;
        window.rows.clone().map(move |y| &samples[y * width..][window.columns.clone()])
    }
}

/// A window of a raster at another size, made row by row.
#[derive(Debug, Clone)]
pub struct ScaledRaster<'a> {
    raster: &'a Raster,
    window: Window,
    height: usize,
    width: usize,
}

impl<'a> ScaledRaster<'a> {
    /// The window `window` of `raster` as `height` rows and `width` columns.
    ///
    /// # Panics
    /// When the window or the new size has no pixels.
    pub fn new(raster: &'a Raster, window: Window, height: usize, width: usize) -> Self {
        assert!(height > 0 && width > 0, "a raster cannot be resized to {height} x {width}: there must be a pixel");
        assert!(!window.rows.is_empty() && !window.columns.is_empty(), "an empty window cannot be resized");
        Self { raster, window, height, width }
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Some rows, those of [`resize`](super::resize()) of the window's plane.
    ///
    /// # Panics
    /// When `rows` is empty or reaches beyond the last row.
    pub fn rows(&self, rows: Range<usize>) -> Plane {
        let (old, new) = ([self.window.height(), self.window.width()], [self.height, self.width]);
        let (top, left) = (self.window.rows.start, self.window.columns.start);
        let moved = |range: &Range<usize>, by: usize| range.start + by..range.end + by;
        let source = |needed: &Window| {
            let window = Window { rows: moved(&needed.rows, top), columns: moved(&needed.columns, left) };
            Ok::<_, Infallible>(self.raster.plane(&window))
        };
        resize_window(old, new, &Window { rows, columns: 0..self.width }, source).unwrap_or_else(|never| match never {})
    }
}

#[cfg(test)]
mod tests;
