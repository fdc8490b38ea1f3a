use super::super::write;
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
fn the_first_page_is_read_and_the_others_are_counted() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    tiff_with(&path, 3, None, None);
    let picture = read(&path).unwrap();
    assert_eq!(picture.plane.pixels(), [0.0, 1.0]);
    assert!(picture.note.unwrap().contains("2 ignored"));
}

#[test]
fn floating_point_and_32_bit_values_are_refused_with_the_remedy() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    let encoder = |path: &Path| TiffEncoder::new(File::create(path).unwrap()).unwrap();
    encoder(&path).write_image::<colortype::Gray32Float>(1, 1, &[0.5]).unwrap();
    assert!(refusal(&path).contains("floating-point values; convert to 8- or 16-bit"), "{}", refusal(&path));
    encoder(&path).write_image::<colortype::Gray32>(1, 1, &[5]).unwrap();
    assert!(refusal(&path).contains("convert to 8- or 16-bit"), "{}", refusal(&path));
    encoder(&path).write_image::<colortype::GrayI16>(1, 1, &[5]).unwrap();
    assert!(refusal(&path).contains("signed values; convert to 8- or 16-bit"), "{}", refusal(&path));
}

#[test]
fn files_that_are_no_images_are_refused_with_the_reason() {
    let dir = folder();
    for (content, part) in [
        (b"".as_slice(), "empty"),
        (b"hello, world", "neither a PNG nor a TIFF"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
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
    fs::write(&png, palette_png(1_000_000)).unwrap();
    let tiff = dir.path().join("a.tif");
    tiff_with(&tiff, 1, None, None);
    let mut bytes = fs::read(&tiff).unwrap();
    // The entry ImageWidth (tag 256, one LONG), whose value follows.
    let place = bytes.windows(8).position(|window| window == [0, 1, 4, 0, 1, 0, 0, 0]).unwrap() + 8;
    bytes[place..place + 4].copy_from_slice(&1_000_000u32.to_le_bytes());
    fs::write(&tiff, bytes).unwrap();
    for path in [png, tiff] {
        assert!(refusal(&path).contains("1000000 x 1 pixels"), "{}", refusal(&path));
    }
    assert!(check_size(Path::new("a"), (20_000, 20_000), MAX_PIXELS).is_err());
    assert!(check_size(Path::new("a"), (16_384, 16_384), MAX_PIXELS).is_ok());
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
fn planes_in_tiles_are_read_and_refused_when_the_tiles_reach_beyond_the_last_row() {
    let dir = folder();
    let path = dir.path().join("a.tif");
    planes_in_tiles(&path, 32);
    let plane = read(&path).unwrap().plane;
    assert!((plane.get(31, 19) - 0.2126).abs() < 1e-6);
    assert!(plane.pixels()[..31 * 20 + 19].iter().all(|value| *value == 0.0));
    planes_in_tiles(&path, 20);
    assert!(refusal(&path).contains("tiles that reach beyond the image"), "{}", refusal(&path));
}
