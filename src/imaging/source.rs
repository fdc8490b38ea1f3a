//! Images that need not fit in memory: an [`ImageSource`] reads any window of a file.
//!
//! TIFF, `.nii` and `.npy` files are decoded strip by strip or tile by tile on demand, and the decoded ones are kept up
//! to a bound. Formats that can only be decoded from their beginning (PNG, JPEG, BMP) are held as a whole, in the size
//! of their stored values, and refused above 2^29 pixels; a `.nii.gz` holds the chosen slice.

use super::intensity::Fitted;
use super::raster::MAX_PIXELS;
use super::read::{Chunked, Decoded, GreyImage, Reason, decode_file, open, open_chunked, recognise, remarks};
use super::tiff_file::Chunk;
use super::{BitDepth, Container, Format, Intensity, IntensityMap, Plane, ReadOptions, Samples, Window, with_numbers};
use crate::error::Result;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of decoded strips and tiles that a source keeps unless told otherwise: a row of tiles of 512 x 512 of an image
/// of 50 000 x 50 000 pixels of 16 bits takes a fifth of it.
const CACHE_BYTES: usize = 1 << 28;

/// An image file that is read window by window. It can be shared between threads, which decode one at a time.
pub struct ImageSource {
    path: PathBuf,
    height: usize,
    width: usize,
    depth: BitDepth,
    /// The kind in which memory holds its grey values.
    held: BitDepth,
    /// Whether pixels may be colours.
    has_colours: bool,
    container: Container,
    pixel_size_um: Option<f64>,
    notes: Vec<String>,
    pixels: Mutex<Pixels>,
}

/// Where the pixels are.
enum Pixels {
    /// In the file.
    Stored(Box<Chunked>, Cache),
    /// In memory.
    Held(Samples),
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} x {} pixels", self.path.display(), self.height, self.width)
    }
}

impl ImageSource {
    /// Opens an image and reads what its header says; `page` is needed, counted from 1, where there are several.
    pub fn open(path: &Path, page: Option<usize>) -> Result<Self> {
        Self::with_cache(path, page, CACHE_BYTES)
    }

    /// The same with another bound for the decoded strips and tiles that are kept. The one in use is kept whatever its
    /// size.
    pub fn with_cache(path: &Path, page: Option<usize>, cache_bytes: usize) -> Result<Self> {
        let refuse = |refusal: super::read::Refusal| refusal.of(path);
        let mut input = open(path)?;
        let container = recognise(&mut input).map_err(refuse)?;
        if !matches!(container, Container::Tiff | Container::Nifti | Container::Numpy) {
            drop(input);
            return Ok(Self::of_decoded(path, decode_file(path, &ReadOptions::full(page), MAX_PIXELS)?));
        }
        let chunked = open_chunked(input, container, page).map_err(refuse)?;
        let (geometry, depth, has_colours) = (chunked.geometry(), chunked.depth(), chunked.has_colours());
        let mut notes = chunked.notes();
        if has_colours {
            notes.push("it is stored in colours, which are converted to grey".to_string());
        }
        Ok(Self {
            path: path.to_path_buf(),
            height: geometry.height,
            width: geometry.width,
            depth,
            held: if has_colours { BitDepth::Float32 } else { depth.held() },
            has_colours,
            container,
            pixel_size_um: chunked.size.um,
            notes,
            pixels: Mutex::new(Pixels::Stored(Box::new(chunked), Cache::new(cache_bytes))),
        })
    }

    fn of_decoded(path: &Path, decoded: Decoded) -> Self {
        let Decoded { height, width, samples, is_colour, depth, container, pixel_size_um, mut notes } = decoded;
        notes.extend(remarks(container, is_colour, 0));
        let (path, held, has_colours) = (path.to_path_buf(), samples.depth(), is_colour);
        let pixels = Mutex::new(Pixels::Held(samples));
        Self { path, height, width, depth, held, has_colours, container, pixel_size_um, notes, pixels }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The kind of numbers of the file.
    pub fn depth(&self) -> BitDepth {
        self.depth
    }

    /// Format of the file's content.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Side of a pixel in micrometres, when the file says so.
    pub fn pixel_size_um(&self) -> Option<f64> {
        self.pixel_size_um
    }

    /// What the user should know of the file.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The whole image as a window.
    pub fn window(&self) -> Window {
        Window { rows: 0..self.height, columns: 0..self.width }
    }

    /// How the result for this image is stored, given what [`fit`](Self::fit) found.
    pub fn format(&self, intensity: IntensityMap) -> Format {
        Format { depth: self.depth, intensity, pixel_size_um: self.pixel_size_um }
    }

    /// The map of an intensity rule, one and the same for all windows.
    ///
    /// Percentiles are exact and need passes over the whole image: one for integers of up to 16 bits, two for floats of
    /// 32 bits, signed and colour images, four for other numbers; 8 bits and given ranges need none. `on_share` is told
    /// now and then which share of its pass is done.
    pub fn fit(&self, intensity: Intensity, on_share: &mut dyn FnMut(f64)) -> Result<IntensityMap> {
        Ok(self.fitted(intensity, on_share)?.map)
    }

    /// The same, and how many pixels are no numbers.
    pub(super) fn fitted(&self, intensity: Intensity, on_share: &mut dyn FnMut(f64)) -> Result<Fitted> {
        intensity.fit(self.depth, self.held, &mut |look| {
            let mut look_and_tell = |samples: &Samples, _, share| {
                look(samples);
                on_share(share);
                false
            };
            self.find(&mut look_and_tell).map(|_| ())
        })
    }

    /// Looks whether an image that is stored in colours has a pixel that is not grey. One that has none is from then on
    /// held at its own depth, as a whole image is.
    pub(super) fn settle_colours(&mut self) -> Result<bool> {
        let is_coloured = self.has_colours && self.any(&mut |_, is_colour| is_colour)?;
        if !is_coloured {
            self.held = self.depth.held();
        }
        Ok(is_coloured)
    }

    /// Whether any part of the image passes a test, which is given its grey values and whether some of them were
    /// colours. Nothing more is read once one does.
    pub(super) fn any(&self, passes: &mut dyn FnMut(&Samples, bool) -> bool) -> Result<bool> {
        self.find(&mut |samples, is_colour, _| passes(samples, is_colour))
    }

    /// The same with the share of the image that has been read.
    fn find(&self, passes: &mut dyn FnMut(&Samples, bool, f64) -> bool) -> Result<bool> {
        match &mut *self.pixels() {
            Pixels::Held(samples) => Ok(passes(samples, self.has_colours, 1.0)),
            Pixels::Stored(chunked, _) => {
                let geometry = chunked.geometry();
                for number in 0..geometry.count() {
                    let chunk = chunked.decode(number).map_err(|refusal| refusal.of(&self.path))?;
                    let (window, share) = (geometry.window(number), (number + 1) as f64 / geometry.count() as f64);
                    let mut row = |row| passes(&chunk.row(row, 0, window.width()), chunk.is_colour, share);
                    if (0..window.height()).any(&mut row) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// The grey values of a window in units of the stored values.
    ///
    /// # Panics
    /// When the window reaches beyond the image.
    pub fn samples(&self, window: &Window) -> Result<Samples> {
        let inside = window.rows.end <= self.height && window.columns.end <= self.width;
        assert!(inside, "{window:?} reaches beyond an image of {} x {}", self.height, self.width);
        let mut grey = GreyImage::new(window.height() * window.width(), self.held);
        match &mut *self.pixels() {
            Pixels::Held(samples) => {
                for (row, y) in window.rows.clone().enumerate() {
                    let from = y * self.width + window.columns.start;
                    grey.put(row * window.width(), samples, from, from + window.width());
                }
            }
            Pixels::Stored(chunked, cache) => {
                for number in chunked.geometry().chunks_of(window) {
                    let chunk = cache.chunk(chunked, number).map_err(|refusal| refusal.of(&self.path))?;
                    put_overlap(&mut grey, window, &chunk, &chunked.geometry().window(number));
                }
            }
        }
        Ok(grey.finish().0)
    }

    /// The grey values of a window in [0, 1]: what the same part of the whole image would be with this map.
    ///
    /// # Panics
    /// When the window reaches beyond the image.
    pub fn plane(&self, window: &Window, map: &IntensityMap) -> Result<Plane> {
        let samples = self.samples(window)?;
        let pixels = with_numbers!(&samples, numbers => numbers.iter().map(|value| map.to_unit(*value)).collect());
        Ok(Plane::new(window.height(), window.width(), pixels))
    }

    fn pixels(&self) -> MutexGuard<'_, Pixels> {
        // A thread that panicked left nothing half done: chunks are whole or absent.
        self.pixels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts what lies in both `window` and `place`, where the chunk is, into the pixels of the window.
fn put_overlap(grey: &mut GreyImage, window: &Window, chunk: &Chunk, place: &Window) {
    let rows = window.rows.start.max(place.rows.start)..window.rows.end.min(place.rows.end);
    let columns = window.columns.start.max(place.columns.start)..window.columns.end.min(place.columns.end);
    for y in rows {
        let from = (y - place.rows.start) * chunk.width + columns.start - place.columns.start;
        let to = (y - window.rows.start) * window.width() + columns.start - window.columns.start;
        grey.put(to, &chunk.samples, from, from + columns.len());
    }
}

/// The chunks that were decoded last.
struct Cache {
    most_bytes: usize,
    bytes: usize,
    /// Each with the moment of its last use.
    chunks: HashMap<usize, (Arc<Chunk>, u64)>,
    now: u64,
}

impl Cache {
    fn new(most_bytes: usize) -> Self {
        Self { most_bytes, bytes: 0, chunks: HashMap::new(), now: 0 }
    }

    /// A chunk, decoded if it is not there.
    fn chunk(&mut self, chunked: &mut Chunked, number: usize) -> Reason<Arc<Chunk>> {
        self.now += 1;
        if let Some((chunk, used)) = self.chunks.get_mut(&number) {
            *used = self.now;
            return Ok(chunk.clone());
        }
        let chunk = Arc::new(chunked.decode(number)?);
        self.bytes += chunk.samples.bytes();
        while self.bytes > self.most_bytes && !self.chunks.is_empty() {
            self.forget_oldest();
        }
        self.chunks.insert(number, (chunk.clone(), self.now));
        Ok(chunk)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.chunks.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number);
        if let Some((chunk, _)) = oldest.and_then(|number| self.chunks.remove(&number)) {
            self.bytes -= chunk.samples.bytes();
        }
    }
}

#[cfg(test)]
mod tests;
