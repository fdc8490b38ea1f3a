use super::super::{Sample, write};
use super::*;
use crate::imaging::Plane;
use image::{DynamicImage, ImageBuffer, Rgb};
use std::path::PathBuf;

const SIZE: [usize; 2] = [41, 67];

fn value(i: usize) -> u16 {
    ((i as u32).wrapping_mul(2_654_435_761) >> 16) as u16
}

/// Files of grey are compared in `exactness`.
fn assert_parts_are_those_of_the_whole(path: &Path) {
    let (whole, parts) = (Raster::read(path).unwrap(), RasterFile::open(path, None).unwrap());
    let name = path.display();
    let kinds = (parts.held(), parts.intensity(), parts.pixel_size_um());
    assert_eq!(kinds, (whole.held(), whole.intensity, whole.pixel_size_um), "{name}");
    assert_eq!(parts.bounding_box().unwrap(), whole.bounding_box().unwrap(), "{name}");
    for (rows, columns) in [(0..SIZE[0], 0..SIZE[1]), (3..4, 60..67), (17..41, 1..66)] {
        let window = Window { rows, columns };
        let [found, expected] = [parts.part(&window).unwrap(), whole.part(&window).unwrap()];
        assert_eq!(found, expected, "{window:?} of {name}");
        assert_eq!(found.plane(&found.window()), whole.raster.plane(&window), "{window:?} of {name}");
    }
}

#[test]
fn parts_of_files_in_colours_are_those_of_the_whole_whether_or_not_a_pixel_has_one() {
    fn saved<T: Sample + image::Primitive>(dir: &Path, name: &str, pixel: impl Fn(usize) -> [T; 3]) -> PathBuf
    where
        Rgb<T>: image::PixelWithColorType<Subpixel = T>,
        DynamicImage: From<ImageBuffer<Rgb<T>, Vec<T>>>,
    {
        let path = dir.join(name);
        let [height, width] = SIZE.map(|side| side as u32);
        let image = ImageBuffer::from_fn(width, height, |x, y| Rgb(pixel((y * width + x) as usize)));
        DynamicImage::from(image).save(&path).unwrap();
        path
    }
    let dir = tempfile::tempdir().unwrap();
    for kind in ["png", "tif"] {
        let coloured = saved(dir.path(), &format!("a.{kind}"), |i| [value(i) as u8, (value(i) >> 8) as u8, 7]);
        let grey = saved(dir.path(), &format!("b.{kind}"), |i| [value(i) as u8; 3]);
        let deep = saved(dir.path(), &format!("c.{kind}"), |i| [value(i), value(i + 1), value(i + 2)]);
        let late = saved(dir.path(), &format!("d.{kind}"), |i| [9, 9, 9 + u8::from(i == 2700)]);
        [coloured, grey, deep, late].iter().for_each(|path| assert_parts_are_those_of_the_whole(path));
    }
}

#[test]
fn what_is_to_be_known_of_a_file_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let note = |plane: Plane, depth| {
        write(&path, &plane, depth, None).unwrap();
        RasterFile::open(&path, None).unwrap().note().map(str::to_string)
    };
    assert_eq!(note(Plane::new(1, 2, vec![0.1, 0.3]), BitDepth::Sixteen), None);
    assert_eq!(note(Plane::new(1, 2, vec![0.1, 0.2]), BitDepth::Sixteen).as_deref(), Some(DIM_NOTE));
    assert_eq!(note(Plane::new(1, 2, vec![0.1, 0.2]), BitDepth::Eight), None);
}

#[test]
fn bands_show_each_row_once_and_what_is_counted_in_them_is_that_of_the_whole() {
    // Two bands and a half of an image of one column of values and black rows at both ends.
    let (height, width) = (BAND_PIXELS / 1024 * 5 / 2, 1024);
    let row = |y: usize| if (100..height - 7).contains(&y) { (1 + y % 250) as u8 } else { 0 };
    let pixel = |i: usize| if i % width == 5 { row(i / width) } else { 0 };
    let raster = Raster::new(height, width, (0..height * width).map(pixel).collect::<Vec<u8>>());
    let mut seen = Vec::new();
    raster.each_band(&raster.window(), &mut |band| seen.push(band.height())).unwrap();
    assert_eq!((seen.len(), seen.iter().sum::<usize>()), (3, height));
    let expected = Window { rows: 100..height - 7, columns: 5..6 };
    assert_eq!(raster.bounding_box().unwrap(), Some(expected.clone()));
    assert_eq!(raster.bounding_box().unwrap(), raster.bounds());
    let histogram = raster.histogram(&expected).unwrap();
    assert_eq!((histogram.count(), histogram.range()), ((height - 107) as u64, Some((1, 250))));
}
