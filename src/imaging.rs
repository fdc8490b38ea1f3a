//! Grey images: the [`Plane`] every other module works on, the [`LabelMap`] of a segmentation, and their files.
//!
//! Reads the image files of a laboratory and writes PNG and TIFF, whole or in parts, and resizes to another pixel size.
//! A plane is always one channel in [0, 1], whatever the file held: an [`Intensity`] rule says which stored numbers
//! become 0 and 1. Pixel sizes are in micrometres. Normalisation of contrast is not done here.

#[cfg(test)]
mod exactness;
mod histogram;
mod intensity;
#[cfg(test)]
mod judged;
mod ranks;
mod raster;
mod read;
mod resize;
mod rows;
mod samples;
mod scaled;
mod source;
mod stored;
mod tiff_file;
mod tile_writer;
mod write;

pub use histogram::Histogram;
pub use intensity::{Intensity, IntensityMap};
pub use ranks::percentiles;
pub use raster::{Raster, RasterPicture, Window};
pub use read::{ReadOptions, has_image_extension, read, read_bytes, read_with};
pub use resize::{needed_window, rescale, resize, resize_in_bands, resize_window};
pub use rows::RowWriter;
use samples::with_numbers;
pub use samples::{Sample, Samples};
pub use scaled::ScaledRaster;
pub use source::ImageSource;
pub use stored::{RasterFile, StoredImage, bands};
pub use tile_writer::{TILE_SIDE, TileWriter};
pub use write::{Format, write, write_as, write_labels};

/// The kind of number that a pixel is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitDepth {
    /// 8 bits: value 255 is white.
    Eight,
    /// 16 bits: value 65535 is white.
    Sixteen,
    /// 32 bits without a sign.
    Unsigned32,
    /// 8 bits with a sign.
    Signed8,
    /// 16 bits with a sign.
    Signed16,
    /// 32 bits with a sign.
    Signed32,
    /// Floating point of 16 bits.
    Float16,
    /// Floating point of 32 bits.
    Float32,
    /// Floating point of 64 bits.
    Float64,
}

impl BitDepth {
    /// The stored value that stands for 1 where nothing is known of an image: the largest integer, 1 for floats.
    pub fn white(self) -> f32 {
        self.largest() as f32
    }

    /// The same with all digits.
    fn largest(self) -> f64 {
        match self {
            Self::Eight => u8::MAX.into(),
            Self::Sixteen => u16::MAX.into(),
            Self::Unsigned32 => u32::MAX.into(),
            Self::Signed8 => i8::MAX.into(),
            Self::Signed16 => i16::MAX.into(),
            Self::Signed32 => i32::MAX.into(),
            Self::Float16 | Self::Float32 | Self::Float64 => 1.0,
        }
    }

    /// How many bytes a number takes in a file.
    pub fn bytes(self) -> usize {
        match self {
            Self::Eight | Self::Signed8 => 1,
            Self::Sixteen | Self::Signed16 | Self::Float16 => 2,
            Self::Unsigned32 | Self::Signed32 | Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// The kind that holds its numbers in memory, all digits kept: 8 or 16 bits, or a float of 32 or 64.
    pub fn held(self) -> Self {
        match self {
            Self::Eight => Self::Eight,
            Self::Sixteen => Self::Sixteen,
            Self::Signed8 | Self::Signed16 | Self::Float16 | Self::Float32 => Self::Float32,
            Self::Unsigned32 | Self::Signed32 | Self::Float64 => Self::Float64,
        }
    }
}

/// The file formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Portable Network Graphics; says nothing of the pixel size as a rule.
    Png,
    /// Tagged Image File Format, OME-TIFF and BigTIFF included.
    Tiff,
    /// JPEG, whose compression alters the pixels.
    Jpeg,
    /// Windows bitmap.
    Bmp,
    /// NIfTI-1, of which one slice is read.
    Nifti,
    /// An array of NumPy.
    Numpy,
}

impl Container {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Tiff => "TIFF",
            Self::Jpeg => "JPEG",
            Self::Bmp => "BMP",
            Self::Nifti => "NIfTI",
            Self::Numpy => "NumPy",
        }
    }

    /// The format in which the result for such an image is written: PNG for PNG, JPEG (which would alter it) and BMP
    /// (which has 8 bits only), TIFF for all others, which may hold numbers that a PNG cannot.
    pub fn written_as(self) -> Self {
        match self {
            Self::Png | Self::Jpeg | Self::Bmp => Self::Png,
            Self::Tiff | Self::Nifti | Self::Numpy => Self::Tiff,
        }
    }

    /// The usual end of file names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Tiff => "tif",
            Self::Jpeg => "jpg",
            Self::Bmp => "bmp",
            Self::Nifti => "nii.gz",
            Self::Numpy => "npy",
        }
    }
}

/// An image file as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The pixels as grey values.
    pub plane: Plane,
    /// The numbers of the file; write the result with the same.
    pub depth: BitDepth,
    /// Which stored numbers became 0 and 1; write the result with the same.
    pub intensity: IntensityMap,
    /// Format of the file's content, whatever its name says.
    pub container: Container,
    /// Side of a pixel in micrometres, when the file says so.
    pub pixel_size_um: Option<f64>,
    /// What the user should know about the conversion ("colour image converted to grey").
    pub note: Option<String>,
}

impl Picture {
    /// How the result for this image is stored.
    pub fn format(&self) -> Format {
        Format { depth: self.depth, intensity: self.intensity, pixel_size_um: self.pixel_size_um }
    }
}

/// Whether the plane shows nothing: all values lie within half a step of an 8-bit image.
pub fn is_blank(plane: &Plane) -> bool {
    let low = plane.pixels().iter().copied().fold(f32::INFINITY, f32::min);
    let high = plane.pixels().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    high - low < 0.5 / 255.0
}

/// The most distinct values a mask is expected to have: background and up to three classes.
const MASK_VALUES: usize = 4;

/// Whether the plane looks like a mask given as an image: not blank, and at most four distinct grey values, which no
/// photograph has.
pub fn looks_like_mask(plane: &Plane) -> bool {
    let mut values: Vec<f32> = Vec::with_capacity(MASK_VALUES + 1);
    for value in plane.pixels() {
        if !values.contains(value) {
            values.push(*value);
            if values.len() > MASK_VALUES {
                return false;
            }
        }
    }
    !is_blank(plane)
}

/// A grey image: `height` x `width` values in [0, 1], row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    height: usize,
    width: usize,
    pixels: Vec<f32>,
}

impl Plane {
    /// A plane from its pixels, row by row.
    ///
    /// # Panics
    /// When the number of pixels is not `height * width`.
    pub fn new(height: usize, width: usize, pixels: Vec<f32>) -> Self {
        assert_eq!(pixels.len(), height * width, "a {height} x {width} plane needs height * width pixels");
        Self { height, width, pixels }
    }

    /// A plane whose pixel at row `y`, column `x` is `value(y, x)`.
    pub fn from_fn(height: usize, width: usize, mut value: impl FnMut(usize, usize) -> f32) -> Self {
        let pixels = (0..height * width).map(|i| value(i / width, i % width)).collect();
        Self { height, width, pixels }
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The pixels, row by row.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// The pixels, row by row, to write to.
    pub fn pixels_mut(&mut self) -> &mut [f32] {
        &mut self.pixels
    }

    /// The pixel at row `y`, column `x`.
    pub fn get(&self, y: usize, x: usize) -> f32 {
        self.pixels[y * self.width + x]
    }

    /// All of it as a window.
    pub fn window(&self) -> Window {
        Window { rows: 0..self.height, columns: 0..self.width }
    }

    /// The pixels of a window.
    ///
    /// # Panics
    /// When the window reaches beyond the plane.
    pub fn part(&self, window: &Window) -> Self {
        let rows = window.rows.clone().map(|y| &self.pixels[y * self.width..][..self.width][window.columns.clone()]);
        Self::new(window.height(), window.width(), rows.flatten().copied().collect())
    }
}

/// The label of pixels that nobody judged: neither learnt from nor scored.
pub const IGNORE: u8 = 255;

/// A segmentation: one class number, or [`IGNORE`], for each pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    height: usize,
    width: usize,
    classes: Vec<u8>,
}

impl LabelMap {
    /// A label map from its classes, row by row.
    ///
    /// # Panics
    /// When the number of classes is not `height * width`.
    pub fn new(height: usize, width: usize, classes: Vec<u8>) -> Self {
        assert_eq!(classes.len(), height * width, "a {height} x {width} label map needs height * width classes");
        Self { height, width, classes }
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The class of each pixel, row by row.
    pub fn classes(&self) -> &[u8] {
        &self.classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_of_one_value_is_blank_and_no_mask() {
        let plane = Plane::new(2, 2, vec![0.5; 4]);
        assert!(is_blank(&plane) && !looks_like_mask(&plane));
        let dust = Plane::new(2, 2, vec![0.5, 0.5, 0.501, 0.5]);
        assert!(is_blank(&dust) && !looks_like_mask(&dust));
    }

    #[test]
    fn one_step_of_an_8_bit_image_is_not_blank() {
        assert!(!is_blank(&Plane::new(1, 2, vec![100.0 / 255.0, 101.0 / 255.0])));
    }

    #[test]
    fn four_values_make_a_mask_and_five_a_photograph() {
        let levels = |n: usize| Plane::from_fn(8, 8, move |y, x| ((8 * y + x) % n) as f32 / 10.0);
        assert!((2..=4).all(|n| looks_like_mask(&levels(n))));
        assert!(!looks_like_mask(&levels(5)));
    }
}
