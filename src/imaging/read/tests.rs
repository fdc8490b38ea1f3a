mod tiffs;

use super::super::{ImageSource, Raster, RasterFile, Samples, Window, write, write_as};
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
