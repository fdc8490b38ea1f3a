//! TIFF: pages, kinds of numbers, channels, tiles, pixel sizes.

use super::*;

#[test]
fn a_tiff_gives_its_pixel_size_in_three_ways() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    let imagej = Some("ImageJ=1.53t\nunit=micron\n");
    for (description, resolution) in [
        (None, (ResolutionUnit::Inch, 254_000, 1)),
        (None, (ResolutionUnit::Centimeter, 1_000_000, 10)),
        (imagej, (ResolutionUnit::None, 100, 10)),
    ] {
        tiff_with(&path, 1, description, Some(resolution));
        let size = read(&path).unwrap().pixel_size_um.unwrap();
        assert!((size - 0.1).abs() < 1e-9, "{description:?} {size}");
    }
    tiff_with(&path, 1, None, Some((ResolutionUnit::Inch, 300, 1)));
    assert_eq!(read(&path).unwrap().pixel_size_um, None);
    tiff_with(&path, 1, imagej, Some((ResolutionUnit::None, 1, 0)));
    assert_eq!(read(&path).unwrap().pixel_size_um, None, "division by zero is no size");
}

#[test]
fn of_several_pages_one_must_be_chosen_and_smaller_copies_do_not_count() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    let mut encoder = TiffEncoder::new(File::create(&path).unwrap()).unwrap();
    for (value, is_copy) in [(1u16, false), (2, true), (3, false)] {
        let mut page = encoder.new_image::<colortype::Gray16>(1, 1).unwrap();
        page.encoder().write_tag(Tag::NewSubfileType, u32::from(is_copy)).unwrap();
        page.write_data(&[value]).unwrap();
    }
    assert!(refusal(&path).contains("it has 2 pages or slices") && refusal(&path).contains("a file of its own"));
    let page = |number| Raster::read_with(&path, Some(number)).map(|picture| picture.raster.samples().clone());
    assert_eq!(page(1).unwrap(), Samples::Sixteen(vec![1]));
    assert_eq!(page(2).unwrap(), Samples::Sixteen(vec![3]));
    assert!(page(3).unwrap_err().to_string().contains("give a number from 1 to 2"));
    tiff_with(&path, 1, None, None);
    assert_eq!(page(1).unwrap(), Samples::Sixteen(vec![0, 65_535]));
}

#[test]
fn floats_and_signed_numbers_are_spread_over_their_range_and_keep_it() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    let encoder = |path: &Path| TiffEncoder::new(File::create(path).unwrap()).unwrap();
    encoder(&path).write_image::<colortype::Gray32Float>(4, 1, &[-0.5, f32::NAN, 0.5, 1.5]).unwrap();
    let picture = read(&path).unwrap();
    assert_eq!((picture.plane.pixels(), picture.depth), ([0.0, 0.0, 0.5, 1.0].as_slice(), BitDepth::Float32));
    assert_eq!((picture.intensity.low, picture.intensity.high), (-0.5, 1.5));
    assert!(picture.note.unwrap().contains("1 pixel is infinite or not a number"));
    encoder(&path).write_image::<colortype::GrayI16>(3, 1, &[-100, 0, 100]).unwrap();
    let picture = read(&path).unwrap();
    assert_eq!((picture.plane.pixels(), picture.depth), ([0.0, 0.5, 1.0].as_slice(), BitDepth::Signed16));
    encoder(&path).write_image::<colortype::Gray32>(2, 1, &[0, u32::MAX]).unwrap();
    assert_eq!(read(&path).unwrap().plane.pixels(), [0.0, 1.0]);
}

#[test]
fn the_rule_that_is_asked_for_decides_what_is_black_and_white() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    let values: Vec<u16> = (0..=2000).map(|value| value + 1000).collect();
    image_encoder(&path).write_image::<colortype::Gray16>(2001, 1, &values).unwrap();
    let map = |intensity: &str| {
        let options = ReadOptions { page: None, intensity: intensity.parse().unwrap() };
        let picture = read_with(&path, &options).unwrap();
        assert!(picture.note.is_none() || intensity == "full", "{:?}", picture.note);
        (picture.intensity.low, picture.intensity.high)
    };
    assert_eq!(map("auto"), (1002.0, 2998.0));
    assert_eq!(map("full"), (0.0, 65_535.0));
    assert_eq!(map("percentile:10,90"), (1200.0, 2800.0));
    assert_eq!(map("range:5,4095"), (5.0, 4095.0));
    let default = read_with(&path, &ReadOptions::default()).unwrap();
    let back = dir.path().join("b.tif");
    write_as(&back, &default.plane, &default.format()).unwrap();
    let expected: Vec<u16> = values.iter().map(|value| (*value).clamp(1002, 2998)).collect();
    assert_eq!(Raster::read(&back).unwrap().raster.samples(), &Samples::Sixteen(expected));
}

fn image_encoder(path: &Path) -> TiffEncoder<File> {
    TiffEncoder::new(File::create(path).unwrap()).unwrap()
}

#[test]
fn masks_keep_their_stored_numbers_whatever_their_kind() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    image_encoder(&path).write_image::<colortype::Gray32Float>(3, 1, &[0.0, 2.0, 300.0]).unwrap();
    let labels = || RasterFile::open(&path, None).unwrap().labels(0..1);
    assert_eq!(labels().unwrap(), [0, 2, 300]);
    image_encoder(&path).write_image::<colortype::GrayI32>(3, 1, &[0, 2, 255]).unwrap();
    assert_eq!(labels().unwrap(), [0, 2, 255]);
    for wrong in [[0.5, 1.0], [-1.0, 1.0], [0.0, 65_536.0]] {
        image_encoder(&path).write_image::<colortype::Gray32Float>(2, 1, &wrong).unwrap();
        let message = labels().unwrap_err().to_string();
        assert!(message.contains("are no labels"), "{message}");
    }
}

#[test]
fn grey_with_alpha_in_a_tiff_keeps_the_grey_and_extra_channels_are_noted() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    let noted = Some("only the first of 2 channels is used".to_string());
    for (extra, note) in [(ExtraSamples::UnassociatedAlpha, None), (ExtraSamples::Unspecified, noted)] {
        let mut encoder = TiffEncoder::new(File::create(&path).unwrap()).unwrap();
        let mut image = encoder.new_image::<colortype::Gray8>(2, 1).unwrap();
        image.extra_samples(&[extra]).unwrap();
        image.write_data(&[51, 7, 255, 9]).unwrap();
        let picture = read(&path).unwrap();
        assert_eq!((picture.plane.pixels(), picture.note), ([0.2, 1.0].as_slice(), note));
    }
}

/// A TIFF of 20 x `height` pixels of red, green and blue planes in tiles of 16 x 16, one red pixel in the last row.
fn planes_in_tiles(path: &Path, height: u32) {
    let mut encoder = TiffEncoder::new(File::create(path).unwrap()).unwrap();
    let mut page = encoder.image_directory().unwrap();
    let tiles = 2 * height.div_ceil(16) as usize;
    let mut offsets = Vec::new();
    for tile in 0..3 * tiles {
        let mut samples = [0u8; 256];
        samples[255 - 12] = if tile == tiles - 1 { 255 } else { 0 };
        offsets.push(page.write_data(samples.as_slice()).unwrap() as u32);
    }
    for (tag, value) in [(Tag::ImageWidth, 20), (Tag::ImageLength, height), (Tag::TileWidth, 16), (Tag::TileLength, 16)]
    {
        page.write_tag(tag, value).unwrap();
    }
    for (tag, value) in
        [(Tag::PhotometricInterpretation, 2u16), (Tag::SamplesPerPixel, 3), (Tag::PlanarConfiguration, 2)]
    {
        page.write_tag(tag, value).unwrap();
    }
    page.write_tag(Tag::BitsPerSample, [8u16; 3].as_slice()).unwrap();
    page.write_tag(Tag::TileOffsets, offsets.as_slice()).unwrap();
    page.write_tag(Tag::TileByteCounts, vec![256u32; 3 * tiles].as_slice()).unwrap();
    page.finish().unwrap();
}

#[test]
fn planes_in_tiles_are_read_also_where_the_tiles_reach_beyond_the_image() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    for height in [32, 20] {
        planes_in_tiles(&path, height);
        let plane = read(&path).unwrap().plane;
        // Pixel (15, 3) of the last tile of the reds is red where it lies in the image.
        let red = |y: usize, x: usize| if (height, y, x) == (32, 31, 19) { 0.2126 } else { 0.0 };
        let expected = Plane::from_fn(height as usize, 20, red);
        assert!(plane.pixels().iter().zip(expected.pixels()).all(|(a, b)| (a - b).abs() < 1e-6), "{height}");
    }
}

/// A TIFF of 8 bits with one strip, of which nothing is stored.
fn left_out(width: u32, height: u32) -> Vec<u8> {
    let tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 0), (277, 1), (278, height), (279, 0)];
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        bytes.extend((tag as u16).to_le_bytes());
        bytes.extend(4u16.to_le_bytes());
        [1, value].iter().for_each(|number: &u32| bytes.extend(number.to_le_bytes()));
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn an_image_of_nothing_but_left_out_zeros_is_read_up_to_a_size_that_does_no_harm() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    fs::write(&path, left_out(30, 20)).unwrap();
    assert_eq!(Raster::read(&path).unwrap().raster, Raster::new(20, 30, vec![0u8; 600]));
    fs::write(&path, left_out(4097, 4096)).unwrap();
    let message = Raster::read(&path).unwrap_err().to_string();
    assert!(message.contains("a.tif") && message.contains("all of its 4097 x 4096 pixels"), "{message}");
    let source = ImageSource::open(&path, None).unwrap();
    let part = Window { rows: 4095..4096, columns: 0..2 };
    assert_eq!(source.samples(&part).unwrap(), Samples::Eight(vec![0; 2]), "a part takes little memory");
}
