//! Planes and label maps to PNG and TIFF files, each complete or not there at all.

use super::{BitDepth, Container, LabelMap, Plane};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use image::{ImageBuffer, ImageError, ImageFormat, Luma};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use tiff::encoder::colortype::{ColorType, Gray8, Gray16};
use tiff::encoder::{Rational, TiffEncoder, TiffValue};
use tiff::tags::ResolutionUnit;

/// Writes a plane as grey PNG (`.png`) or uncompressed TIFF (`.tif`, `.tiff`), values clamped to [0, 1] and rounded.
///
/// A TIFF carries the pixel size as its resolution, in pixels per centimetre; a PNG has no place for it that is read
/// back. Not-a-number is written as black.
pub fn write(path: &Path, plane: &Plane, depth: BitDepth, pixel_size_um: Option<f64>) -> Result<()> {
    let container = container_of(path)?;
    let per_cm = pixel_size_um.map(|size| pixels_per_cm(path, size)).transpose()?;
    let (width, height) = (plane.width() as u32, plane.height() as u32);
    let levels = plane.pixels().iter().map(|value| (value.clamp(0.0, 1.0) * depth.white()).round());
    write_atomically(path, |temporary| match (container, depth) {
        (Container::Png, BitDepth::Eight) => write_png(temporary, path, width, height, levels.map(|v| v as u8)),
        (Container::Png, BitDepth::Sixteen) => write_png(temporary, path, width, height, levels.map(|v| v as u16)),
        (Container::Tiff, BitDepth::Eight) => {
            let samples: Vec<u8> = levels.map(|v| v as u8).collect();
            write_tiff::<Gray8>(temporary, path, (width, height), &samples, per_cm)
        }
        (Container::Tiff, BitDepth::Sixteen) => {
            let samples: Vec<u16> = levels.map(|v| v as u16).collect();
            write_tiff::<Gray16>(temporary, path, (width, height), &samples, per_cm)
        }
    })
}

/// Writes the class numbers as an 8-bit grey PNG.
pub fn write_labels(path: &Path, labels: &LabelMap) -> Result<()> {
    if container_of(path)? != Container::Png {
        return Err(Error::image(path, "label maps are written as PNG; give a name that ends in .png"));
    }
    let (width, height) = (labels.width() as u32, labels.height() as u32);
    write_atomically(path, |temporary| write_png(temporary, path, width, height, labels.classes().iter().copied()))
}

pub(super) fn container_of(path: &Path) -> Result<Container> {
    match path.extension().map(|e| e.to_ascii_lowercase()).as_ref().and_then(|e| e.to_str()) {
        Some("png") => Ok(Container::Png),
        Some("tif" | "tiff") => Ok(Container::Tiff),
        _ => Err(Error::image(path, "images are written as PNG or TIFF; give a name that ends in .png, .tif or .tiff")),
    }
}

fn write_png<T>(temporary: &Path, path: &Path, width: u32, height: u32, samples: impl Iterator<Item = T>) -> Result<()>
where
    T: image::Primitive,
    Luma<T>: image::PixelWithColorType<Subpixel = T>,
    [T]: image::EncodableLayout,
{
    let buffer: ImageBuffer<Luma<T>, Vec<T>> =
        ImageBuffer::from_raw(width, height, samples.collect()).expect("a plane has height * width values");
    buffer.save_with_format(temporary, ImageFormat::Png).map_err(|error| match error {
        ImageError::IoError(source) => Error::io("write", path)(source),
        other => Error::image(path, format!("it cannot be written as PNG: {other}")),
    })
}

fn write_tiff<C: ColorType>(
    temporary: &Path,
    path: &Path,
    (width, height): (u32, u32),
    samples: &[C::Inner],
    per_cm: Option<Rational>,
) -> Result<()>
where
    [C::Inner]: TiffValue,
{
    let file = File::create(temporary).map_err(Error::io("write", path))?;
    let mut writer = BufWriter::new(file);
    let encode = || {
        let mut encoder = TiffEncoder::new(&mut writer)?;
        let mut image = encoder.new_image::<C>(width, height)?;
        if let Some(per_cm) = per_cm {
            image.resolution(ResolutionUnit::Centimeter, per_cm);
        }
        image.write_data(samples)
    };
    encode().map_err(|error| match error {
        tiff::TiffError::IoError(source) => Error::io("write", path)(source),
        other => Error::image(path, format!("it cannot be written as TIFF: {other}")),
    })?;
    writer.flush().map_err(Error::io("write", path))
}

/// 1 cm / `pixel_size_um` as a fraction of two 32-bit numbers with as many digits as fit.
pub(super) fn pixels_per_cm(path: &Path, pixel_size_um: f64) -> Result<Rational> {
    let per_cm = 1e4 / pixel_size_um;
    let fraction =
        (0..=9).rev().map(|digits| 10u32.pow(digits)).find(|d| per_cm * f64::from(*d) <= f64::from(u32::MAX));
    match fraction {
        Some(d) if pixel_size_um > 0.0 && (per_cm * f64::from(d)).round() >= 1.0 => {
            Ok(Rational { n: (per_cm * f64::from(d)).round() as u32, d })
        }
        _ => Err(Error::image(
            path,
            format!("its pixel size {pixel_size_um} um cannot be stored; give a positive size in micrometres"),
        )),
    }
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
    fn a_tiff_keeps_the_pixel_size_and_a_png_does_not() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0.0001, 0.0476, 0.093, 0.1, 0.18, 1.0 / 3.0, 2.5, 12.0, 5000.0] {
            let path = dir.path().join("a.tif");
            write(&path, &ramp(), BitDepth::Sixteen, Some(size)).unwrap();
            let found = read(&path).unwrap().pixel_size_um.unwrap();
            assert!((found / size - 1.0).abs() < 1e-8, "{size} became {found}");
        }
        let path = dir.path().join("a.png");
        write(&path, &ramp(), BitDepth::Eight, Some(0.1)).unwrap();
        assert_eq!(read(&path).unwrap().pixel_size_um, None);
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
