//! Files whose pixels can be read chunk by chunk: TIFF, NIfTI and NumPy arrays.

use super::{Decoded, GreyImage, Input, Reason, Refusal, check_size, nifti, numpy};
use crate::imaging::tiff_file::{self, Chunk, Geometry, Page, PixelSize, TiffFile};
use crate::imaging::{BitDepth, Container, Samples};

/// Pixels up to which an image may be read whole that is nothing but strips or tiles left out as zeros: a file of some
/// hundred bytes must not take a gigabyte.
const MOST_WITHOUT_BYTES: usize = 1 << 24;

/// A file that is open, and the page or slice that is the image.
pub(in crate::imaging) struct Chunked {
    input: Input,
    page: Page,
    pub(in crate::imaging) container: Container,
    pub(in crate::imaging) size: PixelSize,
    /// Slope and intercept of a NIfTI file whose numbers stand for others.
    pub(super) scaling: Option<[f64; 2]>,
}

/// Opens a file of a kind that is read in chunks.
pub(in crate::imaging) fn open_chunked(input: Input, container: Container, page: Option<usize>) -> Reason<Chunked> {
    match container {
        Container::Nifti => nifti::open(input, page),
        Container::Numpy => numpy::open(input, page),
        _ => {
            let mut file = TiffFile::open(input)?;
            let (page, size) = tiff_file::choose(&mut file, page)?;
            Ok(Chunked { input: file.input, page, container, size, scaling: None })
        }
    }
}

impl Chunked {
    /// A file whose rows follow each other.
    pub(super) fn of_rows(input: Input, page: Page, container: Container, size: PixelSize) -> Self {
        Self { input, page, container, size, scaling: None }
    }

    /// Size and chunks of the image.
    pub(in crate::imaging) fn geometry(&self) -> Geometry {
        self.page.geometry
    }

    /// The kind of its numbers.
    pub(in crate::imaging) fn depth(&self) -> BitDepth {
        if self.scaling.is_some() { BitDepth::Float32 } else { self.page.depth }
    }

    /// Whether pixels are stored as colours.
    pub(in crate::imaging) fn has_colours(&self) -> bool {
        self.page.has_colours()
    }

    /// What the user should know of the way it is stored.
    pub(in crate::imaging) fn notes(&self) -> Vec<String> {
        self.page.note.iter().chain(&self.size.note).cloned().collect()
    }

    /// Decodes a chunk.
    pub(in crate::imaging) fn decode(&mut self, chunk: usize) -> Reason<Chunk> {
        let mut decoded = self.page.decode(&mut self.input, chunk)?;
        if let Some([slope, intercept]) = self.scaling {
            decoded.samples = scaled(decoded.samples, slope, intercept);
        }
        Ok(decoded)
    }

    /// Decodes the whole image, of up to `most_pixels`.
    pub(super) fn decode_all(mut self, most_pixels: u64) -> Reason<Decoded> {
        let (geometry, depth) = (self.geometry(), self.depth());
        let (height, width) = (geometry.height, geometry.width);
        check_size(width as u64, height as u64, most_pixels)?;
        if height * width > MOST_WITHOUT_BYTES && self.page.has_no_bytes() {
            return Err(Refusal::Sentence(format!(
                "all of its {width} x {height} pixels (width x height) are left out of the file, so it shows nothing; export \
                 the image again"
            )));
        }
        // The first chunk of a damaged file shows it before the memory of an image is taken.
        let mut grey: Option<GreyImage> = None;
        for number in 0..geometry.count() {
            let chunk = self.decode(number)?;
            let grey = grey.get_or_insert_with(|| GreyImage::new(height * width, depth));
            grey.mark_colour(chunk.is_colour);
            let window = geometry.window(number);
            for (row, y) in window.rows.clone().enumerate() {
                let from = row * chunk.width;
                grey.put(y * width + window.columns.start, &chunk.samples, from, from + window.width());
            }
        }
        let (samples, is_colour) =
            grey.map(GreyImage::finish).ok_or_else(|| Refusal::Damaged("it has no strips or tiles".into()))?;
        Ok(Decoded {
            height,
            width,
            samples,
            is_colour,
            depth,
            container: self.container,
            pixel_size_um: self.size.um,
            notes: self.notes(),
        })
    }
}

/// What numbers stand for: slope times number plus intercept.
fn scaled(samples: Samples, slope: f64, intercept: f64) -> Samples {
    let real = |number: f64| (slope * number + intercept) as f32;
    Samples::Float(match samples {
        Samples::Eight(numbers) => numbers.into_iter().map(|number| real(number.into())).collect(),
        Samples::Sixteen(numbers) => numbers.into_iter().map(|number| real(number.into())).collect(),
        Samples::Float(numbers) => numbers.into_iter().map(|number| real(number.into())).collect(),
        Samples::Double(numbers) => numbers.into_iter().map(real).collect(),
    })
}
