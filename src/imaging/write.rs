//! Planes and label maps to PNG and TIFF files, each complete or not there at all.

use super::{BitDepth, Container, IntensityMap, LabelMap, Plane, RowWriter};
use crate::error::{Error, Result};
use std::path::Path;

/// How an image is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Format {
    /// The kind of number of a pixel.
    pub depth: BitDepth,
    /// The stored numbers that stand for 0 and 1.
    pub intensity: IntensityMap,
    /// Side of a pixel in micrometres, if known.
    pub pixel_size_um: Option<f64>,
}

impl Format {
    /// The full range of a kind of number: 0 to the largest integer, or to 1 for floats.
    pub fn full(depth: BitDepth, pixel_size_um: Option<f64>) -> Self {
        Self { depth, intensity: IntensityMap::full(depth), pixel_size_um }
    }

    /// The numbers that store grey values.
    pub(super) fn stored(&self, values: &[f32]) -> Vec<f64> {
        values.iter().map(|value| self.intensity.to_stored(*value)).collect()
    }
}

/// Writes a plane as grey PNG (`.png`) or TIFF (`.tif`, `.tiff`) over the full range of `depth`, values clamped to
/// [0, 1] and rounded. See [`write_as`].
pub fn write(path: &Path, plane: &Plane, depth: BitDepth, pixel_size_um: Option<f64>) -> Result<()> {
    write_as(path, plane, &Format::full(depth, pixel_size_um))
}

/// Writes a plane as grey PNG (`.png`) or TIFF (`.tif`, `.tiff`; `.ome.tif` as OME-TIFF), compressed without loss.
///
/// With the [`Picture::format`](super::Picture::format) of an input, the result has the input's kind of numbers and its
/// grey scale: 0 and 1 become the numbers that were read as 0 and 1, so that an image that nothing was done to comes
/// back as it was, but for what lay beyond them.
///
/// A TIFF carries the pixel size as ImageJ has it, or as OME has it; a PNG as its resolution (seven digits), below 21 um:
/// beyond, it could be a printer's. Not-a-number is written as 0.
pub fn write_as(path: &Path, plane: &Plane, format: &Format) -> Result<()> {
    let mut writer = RowWriter::create(path, plane.height(), plane.width(), format.depth, format.pixel_size_um)?;
    // In bands: the numbers of a row take up to twice the memory of the plane.
    for band in plane.pixels().chunks(64 * plane.width()) {
        writer.write_values(&format.stored(band))?;
    }
    writer.finish()
}

/// Writes the class numbers as an 8-bit grey PNG.
pub fn write_labels(path: &Path, labels: &LabelMap) -> Result<()> {
    if container_of(path)? != Container::Png {
        return Err(Error::image(path, "label maps are written as PNG; give a name that ends in .png"));
    }
    let mut writer = RowWriter::create(path, labels.height(), labels.width(), BitDepth::Eight, None)?;
    writer.write_rows(labels.classes())?;
    writer.finish()
}

/// The format that the name of a file to write asks for.
pub(super) fn container_of(path: &Path) -> Result<Container> {
    match path.extension().map(|e| e.to_ascii_lowercase()).as_ref().and_then(|e| e.to_str()) {
        Some("png") => Ok(Container::Png),
        Some("tif" | "tiff") => Ok(Container::Tiff),
        _ => Err(Error::image(path, "images are written as PNG or TIFF; give a name that ends in .png, .tif or .tiff")),
    }
}

/// The name that an OME-TIFF gives its image, for files whose names end in `.ome.tif` or `.ome.tiff`.
pub(super) fn ome_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let lower = name.to_lowercase();
    let end = [".ome.tif", ".ome.tiff"].into_iter().find(|end| lower.ends_with(end))?;
    Some(name[..name.len() - end.len()].to_string())
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    /// Every 8-bit value in a plane that is not square.
    fn ramp() -> Plane {
        Plane::from_fn(8, 32, |y, x| (32 * y + x) as f32 / 255.0)
    }

    #[test]
    fn every_container_and_depth_restores_the_plane() {
        let dir = tempfile::tempdir().unwrap();
        for (name, container) in [("a.png", Container::Png), ("a.TIF", Container::Tiff), ("b.tiff", Container::Tiff)] {
            for depth in [BitDepth::Eight, BitDepth::Sixteen] {
                let path = dir.path().join(name);
                write(&path, &ramp(), depth, None).unwrap();
                let picture = read(&path).unwrap();
                assert_eq!((picture.depth, picture.container), (depth, container));
                assert_eq!((picture.pixel_size_um, picture.note), (None, None));
                assert_eq!((picture.plane.height(), picture.plane.width()), (8, 32));
                let pairs = picture.plane.pixels().iter().zip(ramp().pixels().to_vec());
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6), "{name} {depth:?}");
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "no temporary file stays");
    }

    #[test]
    fn values_are_clamped_and_rounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        write(&path, &Plane::new(1, 4, vec![-0.5, 1.5, 0.5, f32::NAN]), BitDepth::Eight, None).unwrap();
        assert_eq!(read(&path).unwrap().plane.pixels(), [0.0, 1.0, 128.0 / 255.0, 0.0]);
    }

    #[test]
    fn a_tiff_keeps_the_pixel_size_to_the_last_digit_and_a_png_below_that_of_printers() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0.0001, 0.0476, 0.093, 0.1, 0.18, 1.0 / 3.0, 2.5, 12.0, 5000.0] {
            for name in ["a.tif", "a.ome.tif"] {
                let path = dir.path().join(name);
                write(&path, &ramp(), BitDepth::Sixteen, Some(size)).unwrap();
                assert_eq!(read(&path).unwrap().pixel_size_um, Some(size), "{name}");
            }
        }
        let path = dir.path().join("a.png");
        for (size, kept) in [(0.0476, Some(0.0476)), (2.5, Some(2.5)), (25.0, None)] {
            write(&path, &ramp(), BitDepth::Eight, Some(size)).unwrap();
            assert_eq!(read(&path).unwrap().pixel_size_um, kept);
        }
    }

    #[test]
    fn impossible_pixel_sizes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9] {
            let path = dir.path().join("a.tif");
            let error = write(&path, &ramp(), BitDepth::Eight, Some(size)).unwrap_err();
            assert!(error.to_string().contains("pixel size"), "{error}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn other_extensions_are_refused_with_those_that_work() {
        for name in ["a.jpg", "a", "a.bmp"] {
            let error = write(Path::new(name), &ramp(), BitDepth::Eight, None).unwrap_err();
            assert!(error.to_string().contains(".png, .tif or .tiff"), "{error}");
        }
        let error = write_labels(Path::new("a.tif"), &LabelMap::new(1, 1, vec![0])).unwrap_err();
        assert!(error.to_string().contains(".png"), "{error}");
    }

    #[test]
    fn labels_are_stored_as_their_class_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.png");
        write_labels(&path, &LabelMap::new(2, 2, vec![0, 1, 2, 255])).unwrap();
        assert_eq!(image::open(&path).unwrap().as_luma8().unwrap().as_raw(), &[0, 1, 2, 255]);
    }
}
