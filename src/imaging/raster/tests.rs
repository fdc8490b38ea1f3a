use super::super::{StoredImage, read, write};
use super::*;
use image::{DynamicImage, ImageBuffer, LumaA, Rgb, Rgba};
use std::path::PathBuf;
use tempfile::TempDir;

/// A raster without any regularity that a resampling filter could hide behind.
fn noise<T: Sample>(height: usize, width: usize, from: impl Fn(u16) -> T) -> Raster {
    let value = |i: usize| from(((i as u32).wrapping_mul(2_654_435_761) >> 13) as u16);
    Raster::new(height, width, (0..height * width).map(value).collect())
}

fn save(dir: &TempDir, name: &str, image: impl Into<DynamicImage>) -> PathBuf {
    let path = dir.path().join(name);
    image.into().save(&path).unwrap();
    path
}

#[test]
fn a_raster_of_a_grey_file_is_what_reading_gives() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::from_fn(9, 7, |y, x| (31 * y + 17 * x) as f32 / 400.0);
    for name in ["a.png", "a.tif"] {
        for depth in [BitDepth::Eight, BitDepth::Sixteen] {
            let path = dir.path().join(name);
            write(&path, &plane, depth, Some(0.5)).unwrap();
            let (found, expected) = (Raster::read(&path).unwrap(), read(&path).unwrap());
            assert_eq!(found.raster.plane(&found.raster.window()), expected.plane);
            assert_eq!((found.raster.depth(), found.depth), (depth, expected.depth));
            assert_eq!(found.container, expected.container);
            assert_eq!((found.pixel_size_um, found.note), (expected.pixel_size_um, expected.note));
        }
    }
}

#[test]
fn colour_is_held_in_16_bits_and_grey_with_alpha_or_as_colour_at_its_own_depth() {
    let dir = tempfile::tempdir().unwrap();
    let colours = ImageBuffer::<Rgb<u8>, _>::from_raw(3, 1, vec![9u8, 9, 9, 255, 0, 0, 0, 255, 0]).unwrap();
    let deep = ImageBuffer::<Rgba<u16>, _>::from_raw(1, 1, vec![500u16, 60_000, 7, 1]).unwrap();
    for name in ["a.png", "a.tif"] {
        let found = Raster::read(&save(&dir, name, colours.clone())).unwrap();
        assert_eq!(found.raster.samples(), &Samples::Sixteen(vec![9 * 257, 13933, 46871]));
        assert_eq!((found.depth, found.note.as_deref()), (BitDepth::Eight, Some("colour image converted to grey")));
        let found = Raster::read(&save(&dir, name, deep.clone())).unwrap();
        assert_eq!(found.raster.samples(), &Samples::Sixteen(vec![43_019]), "106.3 + 42912 + 0.5");
        let grey = ImageBuffer::<Rgb<u8>, _>::from_raw(2, 1, vec![5u8, 5, 5, 6, 6, 6]).unwrap();
        let found = Raster::read(&save(&dir, name, grey)).unwrap();
        assert_eq!((found.raster.samples(), found.note), (&Samples::Eight(vec![5, 6]), None));
    }
    let alpha = ImageBuffer::<LumaA<u8>, _>::from_raw(2, 1, vec![5u8, 0, 6, 255]).unwrap();
    let found = Raster::read(&save(&dir, "a.png", DynamicImage::from(alpha))).unwrap();
    assert_eq!(found.raster.samples(), &Samples::Eight(vec![5, 6]));
}

#[test]
fn channels_in_several_strips_land_in_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    // Its writer makes strips of about a megabyte.
    let image = ImageBuffer::from_fn(1000, 700, |x, y| Rgba([(x % 251) as u8, (y % 241) as u8, 0, 9]));
    let path = save(&dir, "a.tif", image);
    let (found, expected) = (Raster::read(&path).unwrap().raster, read(&path).unwrap().plane);
    let plane = found.plane(&found.window());
    assert!(plane.pixels().iter().zip(expected.pixels()).all(|(a, b)| (a - b).abs() < 8e-6));
    assert!((plane.get(650, 70) - (0.2126 * 70.0 + 0.7152 * 168.0) / 255.0).abs() < 8e-6);
}

#[test]
fn what_reading_refuses_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    for content in [b"".as_slice(), b"hello, world", b"\x89PNG\r\n\x1a\n", b"II*\0"] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(Raster::read(&path).unwrap_err().to_string(), read(&path).unwrap_err().to_string());
    }
}

#[test]
fn a_window_is_cut_out_in_units_of_white() {
    let raster = Raster::new(2, 3, vec![0u8, 51, 102, 153, 204, 255]);
    let window = Window { rows: 0..2, columns: 1..3 };
    assert_eq!(raster.plane(&window), Plane::new(2, 2, vec![0.2, 0.4, 0.8, 1.0]));
}

#[test]
#[should_panic(expected = "reaches beyond an image of 2 x 3")]
fn a_window_beyond_the_image_is_refused() {
    noise(2, 3, |v| v).plane(&Window { rows: 0..2, columns: 1..4 });
}

#[test]
fn the_bounding_box_holds_every_pixel_that_is_not_0() {
    #[rustfmt::skip]
    let mut samples = vec![
        0u16, 0, 0, 0, 0,
        0,    0, 0, 7, 0,
        0,    0, 0, 0, 0,
        0,    1, 0, 0, 0,
    ];
    let bounds = Raster::new(4, 5, samples.clone()).bounds();
    assert_eq!(bounds, Some(Window { rows: 1..4, columns: 1..4 }));
    samples.fill(0);
    assert_eq!(Raster::new(4, 5, samples).bounds(), None);
}

#[test]
fn a_histogram_knows_range_mean_spread_and_percentiles() {
    // The window of 2, 4, 4, 10: NumPy gives percentile 40 as 4.0, 75 as 5.5 and 10 as 2.6.
    let raster = Raster::new(2, 3, vec![99u8, 2, 4, 99, 4, 10]);
    let histogram = raster.histogram(&Window { rows: 0..2, columns: 1..3 }).unwrap();
    assert_eq!((histogram.count(), histogram.range()), (4, Some((2, 10))));
    assert_eq!((histogram.mean(), histogram.standard_deviation()), (5.0, 3.0));
    for (percent, expected) in [(0.0, 2.0), (10.0, 2.6), (40.0, 4.0), (75.0, 5.5), (100.0, 10.0)] {
        assert!((histogram.percentile(percent) - expected).abs() < 1e-12, "{percent} %");
    }
}

#[test]
fn the_spread_of_large_values_loses_no_digit() {
    let raster = Raster::new(1, 4, vec![65_535u16, 65_535, 65_535, 65_531]);
    let histogram = raster.histogram(&raster.window()).unwrap();
    assert_eq!((histogram.mean(), histogram.standard_deviation()), (65_534.0, 3f64.sqrt()));
    assert_eq!(Histogram::default().range(), None);
}
