//! Images as they are stored, a part at a time: those in memory, and files that need not fit there.
//!
//! A part of a [`RasterFile`] is, to the last digit, what the same part of [`Raster::read`] would be.

use super::intensity::Fitted;
use super::read::{DIM, DIM_NOTE, remark_on_invalid};
use super::{
    BitDepth, Histogram, ImageSource, Intensity, IntensityMap, Raster, RasterPicture, Samples, Window, with_numbers,
};
use crate::error::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// Pixels that are in memory at a time while one looks at all of an image.
pub(super) const BAND_PIXELS: usize = 1 << 22;

/// A grey image of which any part can be had as it is stored.
pub trait StoredImage {
    /// Number of rows.
    fn height(&self) -> usize;

    /// Number of columns.
    fn width(&self) -> usize;

    /// Bits of the values that parts hold; a file may have fewer.
    fn held(&self) -> BitDepth;

    /// Which numbers of the file planes hold as 0 and 1.
    fn intensity(&self) -> IntensityMap;

    /// A window, whose planes are those of the whole image.
    ///
    /// # Panics
    /// When the window reaches beyond the image.
    fn part(&self, window: &Window) -> Result<Raster>;

    /// The whole image as a window.
    fn window(&self) -> Window {
        Window { rows: 0..self.height(), columns: 0..self.width() }
    }

    /// Looks at a window from its first row to its last, some rows at a time.
    fn each_band(&self, window: &Window, look: &mut dyn FnMut(&Raster)) -> Result<()> {
        bands(window).try_for_each(|rows| {
            look(&self.part(&Window { rows, columns: window.columns.clone() })?);
            Ok(())
        })
    }

    /// How often each stored value occurs in a window.
    ///
    /// # Panics
    /// When the window reaches beyond the image, or the image does not hold 8 or 16 bits.
    fn histogram(&self, window: &Window) -> Result<Histogram> {
        let mut histogram = Histogram::default();
        self.each_band(window, &mut |band| band.count(&mut histogram))?;
        Ok(histogram)
    }

    /// The smallest window that holds every pixel that is not 0; nothing when all are.
    fn bounding_box(&self) -> Result<Option<Window>> {
        let (mut bounds, mut top) = (None, 0);
        self.each_band(&self.window(), &mut |band| {
            if let Some(found) = band.bounds() {
                let rows = found.rows.start + top..found.rows.end + top;
                let bounds = bounds.get_or_insert(Window { rows: rows.clone(), columns: found.columns.clone() });
                bounds.rows.end = rows.end;
                bounds.columns =
                    bounds.columns.start.min(found.columns.start)..bounds.columns.end.max(found.columns.end);
            }
            top += band.height();
        })?;
        Ok(bounds)
    }
}

/// The rows of a window, as many at a time as one holds in memory.
pub fn bands(window: &Window) -> impl Iterator<Item = Range<usize>> + use<> {
    let (rows, step) = (window.rows.clone(), (BAND_PIXELS / window.width().max(1)).max(1));
    rows.clone().step_by(step).map(move |start| start..(start + step).min(rows.end))
}

impl StoredImage for Raster {
    fn height(&self) -> usize {
        Self::height(self)
    }

    fn width(&self) -> usize {
        Self::width(self)
    }

    fn held(&self) -> BitDepth {
        self.depth()
    }

    fn intensity(&self) -> IntensityMap {
        self.range()
    }

    fn part(&self, window: &Window) -> Result<Raster> {
        Ok(self.cut(window))
    }
}

impl StoredImage for RasterPicture {
    fn height(&self) -> usize {
        self.raster.height()
    }

    fn width(&self) -> usize {
        self.raster.width()
    }

    fn held(&self) -> BitDepth {
        self.raster.depth()
    }

    fn intensity(&self) -> IntensityMap {
        self.intensity
    }

    fn part(&self, window: &Window) -> Result<Raster> {
        Ok(self.raster.cut(window))
    }
}

/// An image file of which parts are read as they are needed; [`ImageSource`] says of which formats, and how large.
#[derive(Debug)]
pub struct RasterFile {
    source: ImageSource,
    held: BitDepth,
    is_coloured: bool,
    intensity: IntensityMap,
    note: Option<String>,
}

impl RasterFile {
    /// Opens an image; `page` is needed, counted from 1, where there are several. Images of colours and floats, and dark
    /// ones of 16 bits, are looked through from beginning to end.
    pub fn open(path: &Path, page: Option<usize>) -> Result<Self> {
        let mut source = ImageSource::open(path, page)?;
        let is_coloured = source.settle_colours()?;
        let depth = source.depth();
        let held = match depth {
            BitDepth::Eight | BitDepth::Sixteen if is_coloured => BitDepth::Sixteen,
            _ if is_coloured => BitDepth::Float32,
            _ => depth.held(),
        };
        let Fitted { map: intensity, invalid } = source.fitted(Intensity::Full, &mut |_| ())?;
        let is_bright =
            |samples: &Samples| with_numbers!(samples, numbers => numbers.iter().any(|v| Into::<f64>::into(*v) >= DIM));
        let is_dim = depth == BitDepth::Sixteen && !source.any(&mut |samples, _| is_bright(samples))?;
        let mut notes = source.notes().to_vec();
        notes.extend(remark_on_invalid(invalid));
        notes.extend(is_dim.then(|| DIM_NOTE.to_string()));
        Ok(Self { source, held, is_coloured, intensity, note: (!notes.is_empty()).then(|| notes.join("; ")) })
    }

    /// What the user should know about the image ("colour image converted to grey").
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Side of a pixel in micrometres, when the file says so.
    pub fn pixel_size_um(&self) -> Option<f64> {
        self.source.pixel_size_um()
    }

    /// Whether some pixel had a colour, of which parts hold the luma.
    pub fn is_coloured(&self) -> bool {
        self.is_coloured
    }

    /// Some rows of an image of labels, whose stored values are numbers of classes or objects: whole, and from 0 to
    /// 65535, in whatever kind of number.
    ///
    /// # Panics
    /// When the rows reach beyond the image.
    pub fn labels(&self, rows: Range<usize>) -> Result<Vec<u16>> {
        self.part(&Window { rows, columns: 0..self.width() })?.labels().ok_or_else(|| {
            Error::image(
                self.source.path(),
                "it holds fractions, negative numbers or numbers above 65535, which are no labels; give the image of \
                 labels, with one whole number for each class or object",
            )
        })
    }
}

impl StoredImage for RasterFile {
    fn height(&self) -> usize {
        self.source.height()
    }

    fn width(&self) -> usize {
        self.source.width()
    }

    fn held(&self) -> BitDepth {
        self.held
    }

    fn intensity(&self) -> IntensityMap {
        self.intensity
    }

    fn part(&self, window: &Window) -> Result<Raster> {
        let samples = self.source.samples(window)?;
        Ok(Raster::of_file(window.height(), window.width(), samples, self.source.depth(), self.intensity))
    }
}

#[cfg(test)]
mod tests;
