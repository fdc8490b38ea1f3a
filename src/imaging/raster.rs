//! Grey images held as they are stored, for images whose [`Plane`] would not fit: one or two bytes for each pixel
//! instead of four.
//!
//! Grey keeps its stored values. The luma of a colour image falls between stored values, so a colour image is held in
//! 16 bits whatever its depth; its planes are within 1 / 131070 of those of [`read`](super::read()). Resizing gives
//! the rows that are asked for and touches no others.

use super::read::{Decoded, Grey, decode};
use super::resize::resize_window;
use super::{BitDepth, Container, Plane};
use crate::error::Result;
use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;
use tiff::tags::ByteOrder;

/// The most pixels of a raster: 23 170 x 23 170, one gibibyte at 16 bits.
const MAX_PIXELS: u64 = 1 << 29;

/// A number as images store it, `u8` or `u16`.
pub trait Sample: Copy + Default + PartialEq + Into<f32> + Into<u16> + 'static {
    /// Bits of the number.
    const DEPTH: BitDepth;

    /// The numbers as the samples of a raster.
    fn into_samples(numbers: Vec<Self>) -> Samples;

    /// Numbers from the bytes of a file.
    fn from_bytes(bytes: &[u8], order: ByteOrder) -> Cow<'_, [Self]>;

    /// The bytes of numbers for a file.
    fn to_bytes(numbers: &[Self], order: ByteOrder) -> Cow<'_, [u8]>;
}

impl Sample for u8 {
    const DEPTH: BitDepth = BitDepth::Eight;

    fn into_samples(numbers: Vec<Self>) -> Samples {
        Samples::Eight(numbers)
    }

    fn from_bytes(bytes: &[u8], _: ByteOrder) -> Cow<'_, [Self]> {
        Cow::Borrowed(bytes)
    }

    fn to_bytes(numbers: &[Self], _: ByteOrder) -> Cow<'_, [u8]> {
        Cow::Borrowed(numbers)
    }
}

impl Sample for u16 {
    const DEPTH: BitDepth = BitDepth::Sixteen;

    fn into_samples(numbers: Vec<Self>) -> Samples {
        Samples::Sixteen(numbers)
    }

    fn from_bytes(bytes: &[u8], order: ByteOrder) -> Cow<'_, [Self]> {
        let number = match order {
            ByteOrder::LittleEndian => Self::from_le_bytes,
            ByteOrder::BigEndian => Self::from_be_bytes,
        };
        bytes.as_chunks().0.iter().map(|pair| number(*pair)).collect()
    }

    fn to_bytes(numbers: &[Self], order: ByteOrder) -> Cow<'_, [u8]> {
        let bytes = match order {
            ByteOrder::LittleEndian => Self::to_le_bytes,
            ByteOrder::BigEndian => Self::to_be_bytes,
        };
        numbers.iter().flat_map(|number| bytes(*number)).collect()
    }
}

/// The stored numbers of an image, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// 8 bits each.
    Eight(Vec<u8>),
    /// 16 bits each.
    Sixteen(Vec<u16>),
}

impl Samples {
    /// Bits of each number.
    pub fn depth(&self) -> BitDepth {
        match self {
            Self::Eight(_) => BitDepth::Eight,
            Self::Sixteen(_) => BitDepth::Sixteen,
        }
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Eight(samples) => samples.len(),
            Self::Sixteen(samples) => samples.len(),
        }
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raster {
    height: usize,
    width: usize,
    samples: Samples,
}

/// An image file as it was read into a raster; see [`Picture`](super::Picture).
#[derive(Debug, Clone, PartialEq)]
pub struct RasterPicture {
    /// The pixels. Those of an 8-bit colour image are held in 16 bits.
    pub raster: Raster,
    /// Bits per pixel of the file; write the result with the same.
    pub depth: BitDepth,
    /// Format of the file's content, whatever its name says.
    pub container: Container,
    /// Side of a pixel in micrometres, when the file says so.
    pub pixel_size_um: Option<f64>,
    /// What the user should know about the conversion ("colour image converted to grey").
    pub note: Option<String>,
}

impl Raster {
    /// A raster from its stored values, row by row.
    ///
    /// # Panics
    /// When the number of values is not `height * width`.
    pub fn new<T: Sample>(height: usize, width: usize, samples: Vec<T>) -> Self {
        assert_eq!(samples.len(), height * width, "a {height} x {width} raster needs height * width samples");
        Self { height, width, samples: T::into_samples(samples) }
    }

    /// Reads an image as [`read`](super::read()) does, up to twice the pixels.
    ///
    /// Grey takes its own size in memory while it is read, colour up to 3 bytes a pixel; a TIFF of several channels
    /// also the size of its largest strip or tile, and an interlaced PNG that of the whole image once more.
    pub fn read(path: &Path) -> Result<RasterPicture> {
        let Decoded { height, width, grey, depth, container, pixel_size_um, notes } = decode::<u16>(path, MAX_PIXELS)?;
        let samples = match grey {
            Grey::Stored(samples) => samples,
            Grey::Colour(luma) => Samples::Sixteen(luma),
        };
        let raster = Self { height, width, samples };
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(RasterPicture { raster, depth, container, pixel_size_um, note })
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
        let white = self.depth().white();
        let mut pixels = Vec::with_capacity(window.height() * window.width());
        match &self.samples {
            Samples::Eight(s) => {
                self.rows(s, window).for_each(|row| pixels.extend(row.iter().map(|v| f32::from(*v) / white)));
            }
            Samples::Sixteen(s) => {
                self.rows(s, window).for_each(|row| pixels.extend(row.iter().map(|v| f32::from(*v) / white)));
            }
        }
        Plane::new(window.height(), window.width(), pixels)
    }

    /// How often each stored value occurs in a window.
    ///
    /// # Panics
    /// When the window reaches beyond the image.
    pub fn histogram(&self, window: &Window) -> Histogram {
        let mut histogram = Histogram::default();
        match &self.samples {
            Samples::Eight(s) => self.rows(s, window).for_each(|row| histogram.add(row)),
            Samples::Sixteen(s) => self.rows(s, window).for_each(|row| histogram.add(row)),
        }
        histogram
    }

    /// The smallest window that holds every pixel that is not 0; nothing when all are.
    pub fn bounding_box(&self) -> Option<Window> {
        match &self.samples {
            Samples::Eight(samples) => self.bounding_box_of(samples),
            Samples::Sixteen(samples) => self.bounding_box_of(samples),
        }
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

/// How often each stored value occurs; all that follows from it is exact, in units of the stored values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    /// The histogram of no values.
    fn default() -> Self {
        Self { counts: vec![0; 1 << u16::BITS] }
    }
}

impl Histogram {
    /// Counts further values.
    pub fn add<T: Sample>(&mut self, values: &[T]) {
        values.iter().for_each(|value| self.counts[usize::from(Into::<u16>::into(*value))] += 1);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each value that occurs with how often, from the least on.
    pub fn occurring(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(value, count)| (value as u16, *count))
    }

    /// The least and the largest value; nothing when there are none.
    pub fn range(&self) -> Option<(u16, u16)> {
        let occurs = |count: &u64| *count > 0;
        let (least, largest) = (self.counts.iter().position(occurs)?, self.counts.iter().rposition(occurs)?);
        Some((least as u16, largest as u16))
    }

    /// The mean; not a number when there are no values.
    pub fn mean(&self) -> f64 {
        self.moment(1) as f64 / self.count() as f64
    }

    /// The standard deviation of the values themselves (divided by their number, not one less).
    pub fn standard_deviation(&self) -> f64 {
        let (count, sum) = (u128::from(self.count()), self.moment(1));
        ((count * self.moment(2) - sum * sum) as f64).sqrt() / count as f64
    }

    /// The value that `percent` % of the values lie below, between neighbours by a straight line: order statistic
    /// number `percent / 100 (n - 1)`, counted from 0, as NumPy has it.
    ///
    /// # Panics
    /// When there are no values, or `percent` is not in [0, 100].
    pub fn percentile(&self, percent: f64) -> f64 {
        assert!((0.0..=100.0).contains(&percent), "{percent} is no percentage");
        let count = self.count();
        assert!(count > 0, "no values have no percentiles");
        let place = percent / 100.0 * (count - 1) as f64;
        let (lower, upper) = (self.ranked(place.floor() as u64), self.ranked(place.ceil() as u64));
        lower + (upper - lower) * place.fract()
    }

    /// The sum of the values to a power; whole numbers, so no digit is lost.
    fn moment(&self, power: u32) -> u128 {
        self.counts.iter().enumerate().map(|(value, count)| (value as u128).pow(power) * u128::from(*count)).sum()
    }

    /// The value at a place, counted from 0, of all values in order.
    fn ranked(&self, place: u64) -> f64 {
        let mut before = 0;
        let reaches = |count: &u64| {
            before += count;
            before > place
        };
        self.counts.iter().position(reaches).expect("the place is less than the count") as f64
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
