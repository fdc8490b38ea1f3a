//! Tests over a table of files: every format, kind of number and layout, made byte by byte here (`files`), is read whole
//! and in windows to the last digit, and everything that is written is read again.

mod files;

use super::*;
use files::{File, SIZE, encoded, numbers};
use std::path::Path;

const KINDS: [BitDepth; 9] = [
    BitDepth::Eight,
    BitDepth::Sixteen,
    BitDepth::Unsigned32,
    BitDepth::Signed8,
    BitDepth::Signed16,
    BitDepth::Signed32,
    BitDepth::Float16,
    BitDepth::Float32,
    BitDepth::Float64,
];

/// Windows that lie in one chunk, across several, and at the ends.
fn windows() -> [Window; 4] {
    let [height, width] = SIZE;
    [
        Window { rows: 0..height, columns: 0..width },
        Window { rows: 15..17, columns: 3..width - 1 },
        Window { rows: height - 1..height, columns: width - 1..width },
        Window { rows: 2..height - 3, columns: 16..32 },
    ]
}

/// Reads a file in every way and compares with what was put into it.
fn assert_is_read(path: &Path, file: &File) {
    let name = &file.name;
    let picture = Raster::read(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(
        (picture.depth, picture.container, picture.pixel_size_um),
        (file.depth, file.container, file.size_um),
        "{name}"
    );
    assert_eq!([picture.raster.height(), picture.raster.width()], SIZE, "{name}");
    assert!(picture.raster.values() == file.numbers, "{name}: other numbers");
    let parts = RasterFile::open(path, None).unwrap();
    assert_eq!((parts.held(), parts.intensity()), (picture.held(), picture.intensity), "{name}");
    for window in windows() {
        assert!(parts.part(&window).unwrap() == picture.part(&window).unwrap(), "{name}, {window:?}");
    }
    let source = ImageSource::open(path, None).unwrap();
    assert_eq!(
        (source.depth(), source.container(), source.pixel_size_um()),
        (file.depth, file.container, file.size_um)
    );
    for intensity in [Intensity::Full, Intensity::Automatic, Intensity::Range { low: 3.0, high: 77.0 }] {
        let whole = read_with(path, &ReadOptions { page: None, intensity }).unwrap();
        let map = source.fit(intensity, &mut |_| ()).unwrap();
        assert_eq!(map, whole.intensity, "{name}, {intensity}");
        for window in windows() {
            let of_whole = whole.plane.part(&window);
            assert!(source.plane(&window, &map).unwrap() == of_whole, "{name}, {intensity}, {window:?}");
            let first = file.numbers[window.rows.start * SIZE[1] + window.columns.start];
            assert_eq!(of_whole.get(0, 0), map.to_unit(first), "{name}, {intensity}");
        }
    }
}

#[test]
fn every_format_kind_and_layout_is_read_to_the_last_digit_whole_and_in_windows() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for depth in KINDS {
        for file in
            files::tiffs(depth).chain(files::niftis(depth)).chain(files::arrays(depth)).chain(files::pngs(depth))
        {
            let path = dir.path().join("image");
            std::fs::write(&path, &file.bytes).unwrap();
            assert_is_read(&path, &file);
            count += 1;
        }
    }
    assert!(count > 250, "{count} files");
}

/// Numbers as memory holds them.
fn held(numbers: &[f64], depth: BitDepth) -> Samples {
    match depth.held() {
        BitDepth::Eight => Samples::Eight(numbers.iter().map(|number| *number as u8).collect()),
        BitDepth::Sixteen => Samples::Sixteen(numbers.iter().map(|number| *number as u16).collect()),
        BitDepth::Float32 => Samples::Float(numbers.iter().map(|number| *number as f32).collect()),
        _ => Samples::Double(numbers.to_vec()),
    }
}

/// Writes the numbers in rows, or in tiles from the last to the first.
fn write_numbers(path: &Path, samples: &Samples, depth: BitDepth, size_um: Option<f64>, in_tiles: bool) {
    let [height, width] = SIZE;
    with_numbers!(samples, numbers => {
        if in_tiles {
            let mut writer = TileWriter::create(path, height, width, &Format::full(depth, size_um)).unwrap();
            (0..writer.count()).rev().for_each(|tile| writer.write_samples(tile, numbers).unwrap());
            writer.finish().unwrap();
        } else {
            let mut writer = RowWriter::create(path, height, width, depth, size_um).unwrap();
            numbers.chunks(7 * width).for_each(|rows| writer.write_rows(rows).unwrap());
            writer.finish().unwrap();
        }
    });
}

#[test]
fn every_kind_is_written_to_the_last_digit_with_its_pixel_size() {
    let dir = tempfile::tempdir().unwrap();
    for depth in KINDS {
        let numbers = numbers(depth);
        let samples = held(&numbers, depth);
        for (name, in_tiles, size_um) in [
            ("a.tif", false, None),
            ("b.tiff", true, Some(0.1)),
            ("c.ome.tif", false, Some(0.0476)),
            ("d.ome.tif", true, Some(0.0476)),
            ("e.png", false, Some(0.0476)),
        ] {
            let container = if name == "e.png" { Container::Png } else { Container::Tiff };
            if container == Container::Png && !matches!(depth, BitDepth::Eight | BitDepth::Sixteen) {
                continue;
            }
            let path = dir.path().join(name);
            write_numbers(&path, &samples, depth, size_um, in_tiles);
            let (name, bytes, numbers) = (format!("{name} of {depth:?}"), Vec::new(), numbers.clone());
            assert_is_read(&path, &File { name, bytes, depth, container, numbers, size_um });
        }
    }
}

#[test]
fn a_stored_image_comes_back_through_a_plane_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    // Grey values are floats of 32 bits, which hold all the numbers of up to 16.
    for depth in [BitDepth::Eight, BitDepth::Sixteen, BitDepth::Signed8, BitDepth::Signed16] {
        let numbers = numbers(depth);
        write_numbers(&path, &held(&numbers, depth), depth, Some(0.2), false);
        let picture = read(&path).unwrap();
        write_as(&path, &picture.plane, &picture.format()).unwrap();
        let again = Raster::read(&path).unwrap();
        assert!(again.raster.values() == numbers, "{depth:?}");
        assert_eq!((again.depth, again.pixel_size_um), (depth, Some(0.2)));
    }
}

#[test]
fn the_files_of_the_table_hold_what_they_say() {
    // The encodings of one number, by hand.
    let little = |number: f64, depth| encoded(&[number], depth, true);
    assert_eq!(little(-2.0, BitDepth::Signed16), [0xfe, 0xff]);
    assert_eq!(little(-1.5, BitDepth::Float16), [0x00, 0xbe]);
    assert_eq!(little(1.0, BitDepth::Float32), [0, 0, 0x80, 0x3f]);
    assert_eq!(encoded(&[258.0], BitDepth::Unsigned32, false), [0, 0, 1, 2]);
}
