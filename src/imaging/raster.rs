//! Grey images held as they are stored, for images whose [`Plane`] would not fit: one or two bytes for each pixel of an
//! 8- or 16-bit image instead of four.
//!
//! Grey keeps its stored values. The luma of a colour image falls between stored values, so a colour image is held in
//! 16 bits whatever its depth; its planes are within 1 / 131070 of those of [`read`](super::read()).

use super::read::decode_file;
use super::{
    BitDepth, Container, Histogram, Intensity, IntensityMap, Plane, ReadOptions, Sample, Samples, with_numbers,
};
use crate::error::Result;
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
        let range = Intensity::Full.fit_samples(samples.depth(), &samples).map;
        Self::with_range(height, width, samples, range)
    }

    fn with_range(height: usize, width: usize, samples: Samples, range: IntensityMap) -> Self {
        assert_eq!(samples.len(), height * width, "a {height} x {width} raster needs height * width samples");
        Self { height, width, samples, range }
    }

    /// Grey values of a file of this depth, which planes are to hold by `map`. The luma of colours is held in 16 bits.
    pub(super) fn of_file(height: usize, width: usize, samples: Samples, depth: BitDepth, map: IntensityMap) -> Self {
        match (depth, samples) {
            (BitDepth::Eight | BitDepth::Sixteen, Samples::Float(luma)) => {
                let (unit, white) = (IntensityMap::full(depth).high, f64::from(u16::MAX));
                let widened = luma.iter().map(|v| (f64::from(*v) / unit * white).round() as u16).collect();
                Self::with_range(height, width, Samples::Sixteen(widened), IntensityMap::full(BitDepth::Sixteen))
            }
            (_, samples) => Self::with_range(height, width, samples, map),
        }
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
        let raster = Self::of_file(decoded.height, decoded.width, decoded.samples, depth, fitted.map);
        Ok(RasterPicture { raster, depth, intensity: fitted.map, container, pixel_size_um, note })
    }

    /// The stored values where they are numbers of classes or objects: whole, and from 0 to 65535.
    pub(super) fn labels(&self) -> Option<Vec<u16>> {
        fn whole<T: Sample>(values: &[T]) -> Option<Vec<u16>> {
            let number =
                |value: f64| (value.fract() == 0.0 && (0.0..=65_535.0).contains(&value)).then_some(value as u16);
            values.iter().map(|value| number((*value).into())).collect()
        }
        match &self.samples {
            Samples::Eight(numbers) => Some(numbers.iter().copied().map(u16::from).collect()),
            Samples::Sixteen(numbers) => Some(numbers.clone()),
            Samples::Float(numbers) => whole(numbers),
            Samples::Double(numbers) => whole(numbers),
        }
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

    /// The stored values that planes hold as 0 and 1.
    pub(super) fn range(&self) -> IntensityMap {
        self.range
    }

    /// A window as a raster whose planes are those of this one.
    ///
    /// # Panics
    /// When the window reaches beyond the image.
    pub(super) fn cut(&self, window: &Window) -> Self {
        let samples = with_numbers!(&self.samples, numbers => self.cut_numbers(numbers, window));
        Self::with_range(window.height(), window.width(), samples, self.range)
    }

    fn cut_numbers<T: Sample>(&self, numbers: &[T], window: &Window) -> Samples {
        T::into_samples(self.rows(numbers, window).flatten().copied().collect())
    }

    /// Counts the stored values.
    ///
    /// # Panics
    /// When the image does not hold 8 or 16 bits.
    pub fn count(&self, histogram: &mut Histogram) {
        match &self.samples {
            Samples::Eight(numbers) => histogram.add(numbers),
            Samples::Sixteen(numbers) => histogram.add(numbers),
            Samples::Float(_) | Samples::Double(_) => panic!("values of {:?} cannot be counted", self.depth()),
        }
    }

    /// The stored values, row by row.
    pub fn values(&self) -> Vec<f64> {
        with_numbers!(&self.samples, numbers => numbers.iter().map(|value| Into::<f64>::into(*value)).collect())
    }

    /// Whether each stored value is 0, row by row.
    pub fn zeros(&self) -> Vec<bool> {
        with_numbers!(&self.samples, numbers => numbers.iter().map(|value| Into::<f64>::into(*value) == 0.0).collect())
    }

    /// The smallest window that holds every pixel that is not 0; nothing when all are.
    pub(super) fn bounds(&self) -> Option<Window> {
        with_numbers!(&self.samples, numbers => self.bounds_of(numbers))
    }

    fn bounds_of<T: Sample>(&self, samples: &[T]) -> Option<Window> {
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

#[cfg(test)]
mod tests;
