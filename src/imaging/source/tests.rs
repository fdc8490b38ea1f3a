use super::super::{Raster, read_with, write};
use super::*;
use ::tiff::encoder::{Compression, TiffEncoder, colortype};
use image::{DynamicImage, ImageBuffer, Luma, Rgb};
use std::fs::File;

const SIZE: [usize; 2] = [90, 130];

fn value(y: usize, x: usize) -> u16 {
    ((y * SIZE[1] + x) as u32).wrapping_mul(2_654_435_761).rotate_left(9) as u16
}

/// Windows that begin, end and lie within and between chunks of every size.
fn windows() -> Vec<Window> {
    let spans = |side: usize| [0..side, 0..1, side - 1..side, 15..17, 16..32, 7..side - 3];
    let all = spans(SIZE[0]).into_iter().flat_map(|rows| spans(SIZE[1]).map(|columns| (rows.clone(), columns)));
    let mut all: Vec<Window> = all.map(|(rows, columns)| Window { rows, columns }).collect();
    // An order without any order.
    all.sort_by_key(|window| value(window.rows.start + 3, window.columns.end));
    all
}

fn assert_windows_are_those_of_the_whole(path: &Path, cache_bytes: usize) {
    for intensity in [Intensity::Automatic, Intensity::Full, Intensity::Range { low: 5.0, high: 200.0 }] {
        let whole = read_with(path, &ReadOptions { page: None, intensity }).unwrap();
        let source = ImageSource::with_cache(path, None, cache_bytes).unwrap();
        assert_eq!((source.height(), source.width(), source.depth()), (SIZE[0], SIZE[1], whole.depth));
        assert_eq!((source.container(), source.pixel_size_um()), (whole.container, whole.pixel_size_um));
        let map = source.fit(intensity, &mut |_| {}).unwrap();
        assert_eq!(map, whole.intensity, "{intensity}");
        for window in windows() {
            let part = source.plane(&window, &map).unwrap();
            let expected = Plane::from_fn(window.height(), window.width(), |y, x| {
                whole.plane.get(window.rows.start + y, window.columns.start + x)
            });
            assert!(part == expected, "{intensity} {window:?} of {}", path.display());
        }
    }
}

/// A 16-bit TIFF in strips of some rows.
fn strips(path: &Path, rows: u32, compression: Compression) {
    let samples: Vec<u16> = (0..SIZE[0] * SIZE[1]).map(|i| value(i / SIZE[1], i % SIZE[1])).collect();
    let mut encoder = TiffEncoder::new(File::create(path).unwrap()).unwrap().with_compression(compression);
    let mut image = encoder.new_image::<colortype::Gray16>(SIZE[1] as u32, SIZE[0] as u32).unwrap();
    image.rows_per_strip(rows).unwrap();
    image.write_data(&samples).unwrap();
}

#[test]
fn windows_of_strips_in_any_order_equal_those_of_the_whole_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    for (rows, compression) in [(7, Compression::Lzw), (90, Compression::Uncompressed), (1, Compression::Packbits)] {
        strips(&path, rows, compression);
        for cache_bytes in [0, 1 << 20] {
            assert_windows_are_those_of_the_whole(&path, cache_bytes);
        }
    }
}

#[test]
fn windows_of_formats_that_are_held_and_of_colours_equal_those_of_the_whole_image() {
    let dir = tempfile::tempdir().unwrap();
    let [height, width] = SIZE.map(|side| side as u32);
    let grey = ImageBuffer::from_fn(width, height, |x, y| Luma([value(y as usize, x as usize)]));
    let colour = ImageBuffer::from_fn(width, height, |x, y| {
        let [low, high] = value(y as usize, x as usize).to_le_bytes();
        // The upper half is grey.
        if y < 40 { Rgb([low, low, low]) } else { Rgb([low, high, 7]) }
    });
    for (name, image) in [
        ("a.png", DynamicImage::ImageLuma16(grey)),
        ("b.tif", DynamicImage::ImageRgb8(colour.clone())),
        ("c.jpg", DynamicImage::ImageRgb8(colour)),
    ] {
        let path = dir.path().join(name);
        image.save(&path).unwrap();
        assert_windows_are_those_of_the_whole(&path, 1 << 20);
    }
}

#[test]
fn a_small_cache_holds_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    strips(&path, 5, Compression::Lzw);
    let strip_bytes = 5 * SIZE[1] * 2;
    let source = ImageSource::with_cache(&path, None, 3 * strip_bytes).unwrap();
    for window in windows() {
        source.samples(&window).unwrap();
        let Pixels::Stored(_, cache) = &*source.pixels() else { panic!("a TIFF is not held") };
        let held: usize = cache.chunks.values().map(|(chunk, _)| chunk.samples.bytes()).sum();
        assert_eq!(held, cache.bytes);
        assert!(held <= 3 * strip_bytes, "{held} bytes are held");
    }
}

#[test]
fn what_reading_refuses_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    for content in [b"".as_slice(), b"hello, world", b"II*\0", b"\x89PNG\r\n\x1a\n"] {
        std::fs::write(&path, content).unwrap();
        let refusal = ImageSource::open(&path, None).err().unwrap().to_string();
        assert_eq!(refusal, Raster::read(&path).unwrap_err().to_string());
    }
    write(&path, &Plane::new(1, 1, vec![0.5]), BitDepth::Eight, None).unwrap();
    assert!(ImageSource::open(&path, Some(2)).err().unwrap().to_string().contains("page or slice 2"));
}

#[test]
#[should_panic(expected = "reaches beyond an image of 1 x 1")]
fn a_window_beyond_the_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    write(&path, &Plane::new(1, 1, vec![0.5]), BitDepth::Eight, None).unwrap();
    let _ = ImageSource::open(&path, None).unwrap().samples(&Window { rows: 0..1, columns: 0..2 });
}
