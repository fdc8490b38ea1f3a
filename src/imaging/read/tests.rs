use super::super::{Raster, Samples, write, write_as};
use super::*;
use image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use tiff::encoder::{Rational, TiffEncoder, colortype};
use tiff::tags::{ExtraSamples, ResolutionUnit, Tag};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn refusal(path: &Path) -> String {
    read(path).unwrap_err().to_string()
}

/// Saves the same image as PNG and as TIFF.
fn save(dir: &TempDir, image: impl Into<DynamicImage>) -> [PathBuf; 2] {
    let image = image.into();
    ["a.png", "a.tif"].map(|name| {
        let path = dir.path().join(name);
        image.save(&path).unwrap();
        path
    })
}

/// A TIFF of 2 x 1 pixels, black and white, on each of its pages, with a description and a resolution.
fn tiff_with(path: &Path, pages: usize, description: Option<&str>, resolution: Option<(ResolutionUnit, u32, u32)>) {
    let mut encoder = TiffEncoder::new(File::create(path).unwrap()).unwrap();
    for _ in 0..pages {
        let mut page = encoder.new_image::<colortype::Gray16>(2, 1).unwrap();
        if let Some(text) = description {
            page.encoder().write_tag(Tag::ImageDescription, text).unwrap();
        }
        if let Some((unit, n, d)) = resolution {
            page.resolution(unit, Rational { n, d });
        }
        page.write_data(&[0, 65535]).unwrap();
    }
}

#[test]
fn stored_values_are_divided_by_the_white_of_their_depth() {
    let dir = folder();
    for path in save(&dir, ImageBuffer::from_raw(2, 1, vec![51u8, 255]).map(DynamicImage::ImageLuma8).unwrap()) {
        let picture = read(&path).unwrap();
        assert_eq!((picture.plane.pixels(), picture.depth), ([0.2, 1.0].as_slice(), BitDepth::Eight));
    }
    for path in save(&dir, ImageBuffer::<Luma<u16>, _>::from_raw(2, 1, vec![13107u16, 65535]).unwrap()) {
        let picture = read(&path).unwrap();
        assert_eq!((picture.plane.pixels(), picture.depth), ([0.2, 1.0].as_slice(), BitDepth::Sixteen));
    }
}

#[test]
fn alpha_is_ignored_in_grey_and_colour_at_both_depths() {
    let dir = folder();
    let deep = save(&dir, ImageBuffer::<Rgba<u16>, _>::from_raw(1, 1, vec![13107u16, 13107, 13107, 7]).unwrap());
    assert!(deep.iter().all(|path| read(path).unwrap().plane.pixels() == [0.2]));
    let shallow = save(&dir, ImageBuffer::<Rgba<u8>, _>::from_raw(1, 1, vec![51u8, 51, 51, 7]).unwrap());
    assert!(shallow.iter().all(|path| read(path).unwrap().plane.pixels() == [0.2]));
    let path = dir.path().join("grey_alpha.png");
    ImageBuffer::<LumaA<u8>, _>::from_raw(1, 1, vec![51u8, 7]).unwrap().save(&path).unwrap();
    assert_eq!(read(&path).unwrap().plane.pixels(), [0.2]);
    ImageBuffer::<LumaA<u16>, _>::from_raw(1, 1, vec![13107u16, 7]).unwrap().save(&path).unwrap();
    assert_eq!(read(&path).unwrap().plane.pixels(), [0.2]);
}

#[test]
fn colour_becomes_luma_and_the_note_says_so() {
    let dir = folder();
    let image: ImageBuffer<Rgb<u8>, _> = ImageBuffer::from_raw(3, 1, vec![255u8, 0, 0, 0, 255, 0, 9, 9, 9]).unwrap();
    for path in save(&dir, image) {
        let picture = read(&path).unwrap();
        let expected = [0.2126, 0.7152, 9.0 / 255.0];
        assert!(picture.plane.pixels().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(picture.note.as_deref(), Some("colour image converted to grey"));
    }
}

#[test]
fn grey_stored_as_colour_needs_no_note() {
    let dir = folder();
    let image: ImageBuffer<Rgb<u8>, _> = ImageBuffer::from_raw(1, 1, vec![51u8, 51, 51]).unwrap();
    assert!(save(&dir, image).iter().all(|path| read(path).unwrap().note.is_none()));
}

#[test]
fn a_16_bit_image_of_a_12_bit_camera_is_noted_as_dark() {
    let dir = folder();
    let image: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_raw(2, 1, vec![0u16, 4095]).unwrap();
    let picture = read(&save(&dir, image)[1]).unwrap();
    assert!(picture.note.unwrap().contains("dark"));
}

/// Two pixels with palette indices 0 and 1, said to be `width` x 1, as PNG: the signature, then chunks with CRC-32.
fn palette_png(width: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], content: &[u8]| {
        let body = [kind, content].concat();
        let crc = !body.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
        });
        file.extend([&(content.len() as u32).to_be_bytes(), body.as_slice(), &crc.to_be_bytes()].concat());
    };
    chunk(b"IHDR", &[width.to_be_bytes().as_slice(), &[0, 0, 0, 1, 8, 3, 0, 0, 0]].concat());
    chunk(b"PLTE", &[255, 0, 0, 51, 51, 51]);
    // One stored block (zlib) with the filter byte, the two indices and their Adler-32.
    chunk(b"IDAT", &[0x78, 0x01, 1, 3, 0, 0xfc, 0xff, 0, 0, 1, 0, 5, 0, 2]);
    chunk(b"IEND", &[]);
    file
}

#[test]
fn palettes_of_png_and_tiff_are_looked_up() {
    let dir = folder();
    let png = dir.path().join("a.png");
    fs::write(&png, palette_png(2)).unwrap();
    let tiff = dir.path().join("a.tif");
    let mut table = vec![0u16; 768];
    (table[0], table[1], table[257], table[513]) = (65535, 51 * 257, 51 * 257, 51 * 257);
    let mut encoder = TiffEncoder::new(File::create(&tiff).unwrap()).unwrap();
    let mut image = encoder.new_image::<colortype::Gray8>(2, 1).unwrap();
    image.encoder().write_tag(Tag::PhotometricInterpretation, 3u16).unwrap();
    image.encoder().write_tag(Tag::ColorMap, table.as_slice()).unwrap();
    image.write_data(&[0, 1]).unwrap();
    for path in [png, tiff] {
        let picture = read(&path).unwrap();
        assert!((picture.plane.get(0, 0) - 0.2126).abs() < 1e-6 && picture.plane.get(0, 1) == 0.2, "{picture:?}");
        assert_eq!(picture.note.as_deref(), Some("colour image converted to grey"));
    }
}

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
    let labels = Raster::read_labels(&path, None).unwrap().raster;
    assert_eq!(labels.samples(), &Samples::Sixteen(vec![0, 2, 300]));
    image_encoder(&path).write_image::<colortype::GrayI32>(3, 1, &[0, 2, 255]).unwrap();
    let labels = Raster::read_labels(&path, None).unwrap().raster;
    assert_eq!(labels.samples(), &Samples::Eight(vec![0, 2, 255]));
    for wrong in [[0.5, 1.0], [-1.0, 1.0], [0.0, 65_536.0]] {
        image_encoder(&path).write_image::<colortype::Gray32Float>(2, 1, &wrong).unwrap();
        let message = Raster::read_labels(&path, None).unwrap_err().to_string();
        assert!(message.contains("are no labels"), "{message}");
    }
}

#[test]
fn jpeg_is_read_with_a_warning_and_bmp_without() {
    let dir = folder();
    let grey = ImageBuffer::<Luma<u8>, _>::from_raw(8, 8, vec![100u8; 64]).unwrap();
    let path = dir.path().join("a.jpg");
    grey.save(&path).unwrap();
    let picture = read(&path).unwrap();
    assert_eq!((picture.container, picture.depth), (Container::Jpeg, BitDepth::Eight));
    assert!(picture.plane.pixels().iter().all(|value| (value * 255.0 - 100.0).abs() < 2.0));
    assert!(picture.note.unwrap().contains("JPEG alters the pixels"));
    assert_eq!(picture.container.written_as(), Container::Png);
    let path = dir.path().join("a.bmp");
    let colour = ImageBuffer::<Rgb<u8>, _>::from_raw(2, 1, vec![51u8, 51, 51, 255, 255, 255]).unwrap();
    bmp(&path, &colour);
    let picture = read(&path).unwrap();
    assert_eq!((picture.plane.pixels(), picture.note), ([0.2, 1.0].as_slice(), None));
}

/// A BMP of 24 bits a pixel: its two headers, then rows from the lowest up, each padded to four bytes.
fn bmp(path: &Path, image: &ImageBuffer<Rgb<u8>, Vec<u8>>) {
    let row_bytes = (3 * image.width() as usize).next_multiple_of(4);
    let size = 54 + row_bytes * image.height() as usize;
    let mut file = b"BM".to_vec();
    file.extend([size as u32, 0, 54, 40, image.width(), image.height()].map(u32::to_le_bytes).as_flattened());
    file.extend([1u16, 24].map(u16::to_le_bytes).as_flattened());
    file.extend([0u32; 6].map(u32::to_le_bytes).as_flattened());
    for row in image.rows().rev() {
        let mut bytes: Vec<u8> = row.flat_map(|Rgb([r, g, b])| [*b, *g, *r]).collect();
        bytes.resize(row_bytes, 0);
        file.extend(bytes);
    }
    fs::write(path, file).unwrap();
}

#[test]
fn images_are_recognised_by_the_ends_of_their_names() {
    for name in ["a.png", "b.TIFF", "c.ome.tif", "d.nii.gz", "e.nii", "f.JPG", "g.bmp", "h.npy"] {
        assert!(has_image_extension(Path::new(name)), "{name}");
    }
    for name in ["a.json", "b.gz", "c.tif.gz", "png", ".png", "d.tar.gz", "e", "cell_seg.npy"] {
        assert!(!has_image_extension(Path::new(name)), "{name}");
    }
}

#[test]
fn files_that_are_no_images_are_refused_with_the_reason() {
    let dir = folder();
    for (content, part) in [
        (b"".as_slice(), "empty"),
        (b"hello, world", "it is no PNG, TIFF, JPEG"),
        (b"\xff\xd8\xff\xe0", "cut short or damaged"),
        (b"\x1f\x8b\x08", "cut short or damaged"),
        (b"BM", "cut short or damaged"),
        (b"\x93NUMPY\x01\0", "cut short or damaged"),
        (b"\x89PNG\r\n\x1a\n", "cut short or damaged"),
        (b"II*\0", "cut short or damaged"),
    ] {
        let path = dir.path().join("a.png");
        fs::write(&path, content).unwrap();
        assert!(refusal(&path).contains(part), "{}", refusal(&path));
    }
    assert!(refusal(&dir.path().join("missing.png")).contains("cannot read"));
    assert!(read(dir.path()).is_err(), "a folder is no image");
}

#[test]
fn a_file_cut_short_anywhere_is_refused_without_a_panic() {
    let dir = folder();
    let plane = Plane::from_fn(20, 20, |y, x| ((y * 31 + x * 17) % 256) as f32 / 255.0);
    for name in ["a.png", "a.tif"] {
        let path = dir.path().join(name);
        write(&path, &plane, BitDepth::Eight, Some(0.1)).unwrap();
        let whole = fs::read(&path).unwrap();
        // The last bytes of a PNG (its end marker) and of a TIFF hold no pixels.
        for length in (0..whole.len() * 9 / 10).step_by(7) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "{name} cut to {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn absurd_sizes_are_refused_before_any_pixel_is_read() {
    let dir = folder();
    let png = dir.path().join("a.png");
    fs::write(&png, palette_png(300_000_000)).unwrap();
    let tiff = dir.path().join("a.tif");
    tiff_with(&tiff, 1, None, None);
    let mut bytes = fs::read(&tiff).unwrap();
    // The entry ImageWidth (tag 256, one LONG), whose value follows.
    let place = bytes.windows(8).position(|window| window == [0, 1, 4, 0, 1, 0, 0, 0]).unwrap() + 8;
    bytes[place..place + 4].copy_from_slice(&300_000_000u32.to_le_bytes());
    fs::write(&tiff, bytes).unwrap();
    for path in [png, tiff] {
        assert!(refusal(&path).contains("300000000 x 1 pixels"), "{}", refusal(&path));
    }
    assert!(check_size(20_000, 20_000, MAX_PIXELS).is_err());
    assert!(check_size(16_384, 16_384, MAX_PIXELS).is_ok());
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

#[test]
fn every_image_of_the_real_sets_is_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !data.is_dir() {
        println!("skipped: {} is not there", data.display());
        return;
    }
    let mut count = 0;
    for entry in walkdir::WalkDir::new(&data).into_iter().map(|entry| entry.unwrap()) {
        if has_image_extension(entry.path()) {
            let is_stack = entry.path().extension().is_some_and(|end| end == "npy");
            Raster::read_with(entry.path(), is_stack.then_some(25)).unwrap();
            count += 1;
        }
    }
    assert!(count > 600, "{count} images");
}
