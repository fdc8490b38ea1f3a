//! Files that were changed at random: read or refused, never a panic.

use super::super::{BitDepth, Plane, write};
use super::*;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb};
use std::fs;
use std::io::Cursor;
use tiff::encoder::{Compression, TiffEncoder, colortype};

/// Small files of every format.
fn seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::from_fn(20, 24, |y, x| ((y * 31 + x * 17) % 256) as f32 / 255.0);
    let mut seeds = Vec::new();
    for name in ["a.png", "a.tif", "a.ome.tif"] {
        for depth in [BitDepth::Eight, BitDepth::Sixteen] {
            write(&dir.path().join(name), &plane, depth, Some(0.1)).unwrap();
            seeds.push(fs::read(dir.path().join(name)).unwrap());
        }
    }
    for compression in [Compression::Lzw, Compression::Packbits, Compression::Uncompressed] {
        let mut file = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut file).unwrap().with_compression(compression);
        encoder.write_image::<colortype::RGB16>(8, 8, &[500; 192]).unwrap();
        encoder.write_image::<colortype::Gray32Float>(8, 8, &[0.5; 64]).unwrap();
        seeds.push(file.into_inner());
    }
    let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_fn(16, 16, |x, y| Luma([(x * y) as u8]));
    let colour: ImageBuffer<Rgb<u8>, _> = ImageBuffer::from_fn(16, 16, |x, y| Rgb([x as u8, y as u8, 9]));
    for image in [DynamicImage::from(grey), DynamicImage::from(colour)] {
        for format in [ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Png] {
            let mut file = Cursor::new(Vec::new());
            image.write_to(&mut file, format).unwrap();
            seeds.push(file.into_inner());
        }
    }
    let mut array = b"\x93NUMPY\x01\0\x3e\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 2), } ".to_vec();
    array.resize(128 + 32, b'\n');
    seeds.push(array);
    seeds
}

#[test]
fn files_that_were_changed_anywhere_are_read_or_refused_without_a_panic() {
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for seed in seeds() {
        for _ in 0..60 {
            let mut bytes = seed.clone();
            for _ in 0..=random(4) {
                let place = random(bytes.len());
                match random(3) {
                    0 => bytes[place] = random(256) as u8,
                    1 => bytes[place] ^= 1 << random(8),
                    // A number that lists and offsets may not believe.
                    _ => bytes[place..].iter_mut().take(1 + random(4)).for_each(|byte| *byte = 0xff),
                }
            }
            if random(8) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            for page in [None, Some(1)] {
                let options = ReadOptions { page, intensity: Intensity::Automatic };
                read += usize::from(read_bytes(Path::new("a"), bytes.clone(), &options).is_ok());
            }
        }
    }
    // Changes that do no harm are among them: the files are not refused at their first byte.
    assert!(read > 100, "{read}");
}
