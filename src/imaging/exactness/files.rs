//! The files of the table, put together from the definitions of their formats and from nothing of this crate.

use super::super::{BitDepth, Container};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::Write;

/// Rows and columns: no side is a multiple of a tile.
pub const SIZE: [usize; 2] = [37, 53];

/// A file and what is in it.
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
    pub depth: BitDepth,
    pub container: Container,
    pub numbers: Vec<f64>,
    pub size_um: Option<f64>,
}

/// Numbers of a kind without order, its least and largest among them.
pub fn numbers(depth: BitDepth) -> Vec<f64> {
    let [low, high] = match depth {
        BitDepth::Eight => [0.0, 255.0],
        BitDepth::Sixteen => [0.0, 65_535.0],
        BitDepth::Unsigned32 => [0.0, 4_294_967_295.0],
        BitDepth::Signed8 => [-128.0, 127.0],
        BitDepth::Signed16 => [-32_768.0, 32_767.0],
        BitDepth::Signed32 => [-2_147_483_648.0, 2_147_483_647.0],
        BitDepth::Float16 => [-65_504.0, 65_504.0],
        BitDepth::Float32 => [f64::from(f32::MIN), 1e-30_f32.into()],
        BitDepth::Float64 => [-1e300, 1e-300],
    };
    let is_float = matches!(depth, BitDepth::Float16 | BitDepth::Float32 | BitDepth::Float64);
    let place = |i: usize| f64::from((i as u32).wrapping_mul(2_654_435_761)) / 4_294_967_296.0;
    (0..SIZE[0] * SIZE[1])
        .map(|i| match i {
            5 => low,
            900 => high,
            // Steps that floats of 16 bits hold.
            _ if is_float => (place(i) * 2000.0).round() / 8.0 - 100.0,
            _ => (low + place(i) * (high - low)).floor(),
        })
        .collect()
}

/// The bytes of numbers, the lowest or the highest first.
pub fn encoded(numbers: &[f64], depth: BitDepth, is_little: bool) -> Vec<u8> {
    let bytes = |number: &f64| -> Vec<u8> {
        match depth {
            BitDepth::Eight => vec![*number as u8],
            BitDepth::Signed8 => (*number as i8).to_be_bytes().to_vec(),
            BitDepth::Sixteen => (*number as u16).to_be_bytes().to_vec(),
            BitDepth::Signed16 => (*number as i16).to_be_bytes().to_vec(),
            BitDepth::Unsigned32 => (*number as u32).to_be_bytes().to_vec(),
            BitDepth::Signed32 => (*number as i32).to_be_bytes().to_vec(),
            BitDepth::Float16 => half(*number as f32).to_be_bytes().to_vec(),
            BitDepth::Float32 => (*number as f32).to_be_bytes().to_vec(),
            BitDepth::Float64 => number.to_be_bytes().to_vec(),
        }
    };
    let turned = |mut bytes: Vec<u8>| {
        if is_little {
            bytes.reverse();
        }
        bytes
    };
    numbers.iter().flat_map(|number| turned(bytes(number))).collect()
}

/// A number that half precision holds, and that is 0 or normal there (IEEE 754: 1, 5 and 10 bits, bias 15).
fn half(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    if number == 0.0 {
        return sign;
    }
    let exponent = (bits >> 23 & 0xff) as u16 - (127 - 15);
    sign | exponent << 10 | (bits >> 13) as u16 & 0x3ff
}

/// How a TIFF is laid out.
#[derive(Debug, Clone, Copy)]
struct Layout {
    is_little: bool,
    is_big: bool,
    /// Rows and columns of strips and tiles.
    chunk: [usize; 2],
    packing: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Packing {
    None,
    Deflate,
    /// Deflate of each number less the one before it in its row.
    DeflateDifferences,
}

/// TIFF and BigTIFF in both byte orders, in strips and tiles, packed and not.
pub fn tiffs(depth: BitDepth) -> impl Iterator<Item = File> {
    let is_integer = !matches!(depth, BitDepth::Float16 | BitDepth::Float32 | BitDepth::Float64);
    let mut all = Vec::new();
    for (is_little, is_big) in [(true, false), (false, false), (true, true), (false, true)] {
        for chunk in [[1, SIZE[1]], [10, SIZE[1]], [SIZE[0], SIZE[1]], [16, 32]] {
            for packing in [Packing::None, Packing::Deflate, Packing::DeflateDifferences] {
                if is_integer || packing != Packing::DeflateDifferences {
                    all.push(Layout { is_little, is_big, chunk, packing });
                }
            }
        }
    }
    all.into_iter().map(move |layout| tiff(depth, layout))
}

fn tiff(depth: BitDepth, layout: Layout) -> File {
    let numbers = numbers(depth);
    let mut writer = TiffBytes { bytes: Vec::new(), layout };
    writer.begin();
    let [chunk_height, chunk_width] = layout.chunk;
    let is_tiled = chunk_width < SIZE[1];
    let (mut places, mut lengths) = (Vec::new(), Vec::new());
    for top in (0..SIZE[0]).step_by(chunk_height) {
        // The last strip has the rows that are left; tiles are filled up.
        let height = if is_tiled { chunk_height } else { chunk_height.min(SIZE[0] - top) };
        for left in (0..SIZE[1]).step_by(chunk_width) {
            let rows = (top..top + height).map(|y| {
                let number = |x: usize| if y < SIZE[0] && x < SIZE[1] { numbers[y * SIZE[1] + x] } else { 0.0 };
                (left..left + chunk_width).map(number).collect::<Vec<f64>>()
            });
            let packed = pack(&rows.collect::<Vec<_>>(), depth, layout);
            places.push(writer.bytes.len() as u64);
            lengths.push(packed.len() as u64);
            writer.bytes.extend(packed);
        }
    }
    // In one byte order the pixel size is a resolution in centimetres, in the other the description of OME.
    let size_um = if layout.is_little { 0.25 } else { 0.0476 };
    let ome = r#"<OME><Image><Pixels PhysicalSizeX="0.0476" PhysicalSizeY="0.0476"/></Image></OME>"#;
    let [short, long] = [3, if layout.is_big { 16 } else { 4 }];
    let format = match depth {
        BitDepth::Eight | BitDepth::Sixteen | BitDepth::Unsigned32 => 1,
        BitDepth::Signed8 | BitDepth::Signed16 | BitDepth::Signed32 => 2,
        BitDepth::Float16 | BitDepth::Float32 | BitDepth::Float64 => 3,
    };
    let [chunk_places, chunk_lengths] = if is_tiled { [324, 325] } else { [273, 279] };
    let mut tags = vec![
        (256, short, vec![SIZE[1] as u64]),
        (257, short, vec![SIZE[0] as u64]),
        (258, short, vec![8 * depth.bytes() as u64]),
        (259, short, vec![if layout.packing == Packing::None { 1 } else { 8 }]),
        (262, short, vec![1]),
        (277, short, vec![1]),
        (317, short, vec![if layout.packing == Packing::DeflateDifferences { 2 } else { 1 }]),
        (339, short, vec![format]),
        (chunk_places, long, places),
        (chunk_lengths, long, lengths),
    ];
    if is_tiled {
        tags.extend([(322, short, vec![chunk_width as u64]), (323, short, vec![chunk_height as u64])]);
    } else {
        tags.push((278, short, vec![chunk_height as u64]));
    }
    if layout.is_little {
        tags.extend([(282, 5, vec![40_000, 1]), (283, 5, vec![40_000, 1]), (296, short, vec![3])]);
    } else {
        tags.push((270, 2, ome.bytes().chain([0]).map(u64::from).collect()));
    }
    tags.sort_by_key(|(tag, ..)| *tag);
    writer.end(&tags);
    let name = format!("TIFF of {depth:?}, {layout:?}");
    let (bytes, size_um) = (writer.bytes, Some(size_um));
    File { name, bytes, depth, container: Container::Tiff, numbers, size_um }
}

/// The rows of a chunk as they are stored.
fn pack(rows: &[Vec<f64>], depth: BitDepth, layout: Layout) -> Vec<u8> {
    let mut plain = Vec::new();
    for row in rows {
        if layout.packing == Packing::DeflateDifferences {
            // Differences leave the range of the kind and are taken modulo its size.
            let modulus = 2f64.powi(8 * depth.bytes() as i32);
            let unsigned = |number: f64| number.rem_euclid(modulus);
            let before = std::iter::once(&0.0).chain(row);
            let differences: Vec<f64> =
                row.iter().zip(before).map(|(number, before)| unsigned(number - before)).collect();
            let kind = [BitDepth::Eight, BitDepth::Sixteen, BitDepth::Unsigned32][depth.bytes().ilog2() as usize];
            plain.extend(encoded(&differences, kind, layout.is_little));
        } else {
            plain.extend(encoded(row, depth, layout.is_little));
        }
    }
    if layout.packing == Packing::None {
        return plain;
    }
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&plain).unwrap();
    packed.finish().unwrap()
}

/// A TIFF in the making (TIFF 6.0, section 2; BigTIFF has offsets of 8 bytes).
struct TiffBytes {
    bytes: Vec<u8>,
    layout: Layout,
}

impl TiffBytes {
    /// An integer of so many bytes.
    fn integer(&self, value: u64, count: usize) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..count].to_vec();
        if !self.layout.is_little {
            bytes.reverse();
        }
        bytes
    }

    fn put(&mut self, value: u64, count: usize) {
        self.bytes.extend(self.integer(value, count));
    }

    fn offset_bytes(&self) -> usize {
        if self.layout.is_big { 8 } else { 4 }
    }

    fn begin(&mut self) {
        self.bytes.extend(if self.layout.is_little { b"II" } else { b"MM" });
        if self.layout.is_big {
            self.put(43, 2);
            self.put(8, 2);
            self.put(0, 2);
        } else {
            self.put(42, 2);
        }
        // The place of the directory, known at the end.
        self.put(0, self.offset_bytes());
    }

    /// Writes the directory: tag, type and values each.
    fn end(&mut self, tags: &[(u16, u16, Vec<u64>)]) {
        let offset_bytes = self.offset_bytes();
        let mut entries = Vec::new();
        for (tag, kind, values) in tags {
            let bytes_each = [0, 1, 1, 2, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8][usize::from(*kind)];
            let mut stored: Vec<u8> = values.iter().flat_map(|value| self.integer(*value, bytes_each)).collect();
            if stored.len() > offset_bytes {
                let place = self.bytes.len() as u64;
                self.bytes.extend(stored);
                stored = self.integer(place, offset_bytes);
            }
            stored.resize(offset_bytes, 0);
            // A fraction is two numbers.
            let count = values.len() as u64 / if *kind == 5 { 2 } else { 1 };
            entries.push((u64::from(*tag), u64::from(*kind), count, stored));
        }
        let place = self.integer(self.bytes.len() as u64, offset_bytes);
        let at = if self.layout.is_big { 8 } else { 4 };
        self.bytes[at..at + offset_bytes].copy_from_slice(&place);
        self.put(entries.len() as u64, if self.layout.is_big { 8 } else { 2 });
        for (tag, kind, count, stored) in entries {
            self.put(tag, 2);
            self.put(kind, 2);
            self.put(count, offset_bytes);
            self.bytes.extend(stored);
        }
        self.put(0, offset_bytes);
    }
}

/// NIfTI-1 in both byte orders, packed and not; it has no half precision.
pub fn niftis(depth: BitDepth) -> impl Iterator<Item = File> {
    let code = match depth {
        BitDepth::Eight => Some(2),
        BitDepth::Signed16 => Some(4),
        BitDepth::Signed32 => Some(8),
        BitDepth::Float32 => Some(16),
        BitDepth::Float64 => Some(64),
        BitDepth::Signed8 => Some(256),
        BitDepth::Sixteen => Some(512),
        BitDepth::Unsigned32 => Some(768),
        BitDepth::Float16 => None,
    };
    let layouts = [(true, false), (true, true), (false, false), (false, true)];
    code.into_iter().flat_map(move |code| {
        layouts.into_iter().map(move |(is_little, is_packed)| nifti(depth, code, is_little, is_packed))
    })
}

fn nifti(depth: BitDepth, code: i16, is_little: bool, is_packed: bool) -> File {
    let mut header = vec![0; 352];
    let mut put = |place: usize, mut bytes: Vec<u8>| {
        if !is_little {
            bytes.reverse();
        }
        header[place..place + bytes.len()].copy_from_slice(&bytes);
    };
    put(0, 348i32.to_le_bytes().to_vec());
    for (i, side) in [2, SIZE[1] as i16, SIZE[0] as i16].into_iter().enumerate() {
        put(40 + 2 * i, side.to_le_bytes().to_vec());
    }
    put(70, code.to_le_bytes().to_vec());
    put(72, (8 * depth.bytes() as i16).to_le_bytes().to_vec());
    for (place, number) in [(80, 0.25f32), (84, 0.25), (108, 352.0)] {
        put(place, number.to_le_bytes().to_vec());
    }
    // Micrometres.
    header[123] = 3;
    header[344..348].copy_from_slice(b"n+1\0");
    let numbers = numbers(depth);
    let mut bytes = [header, encoded(&numbers, depth, is_little)].concat();
    if is_packed {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&bytes).unwrap();
        bytes = packed.finish().unwrap();
    }
    let name = format!("NIfTI of {depth:?}, little {is_little}, packed {is_packed}");
    File { name, bytes, depth, container: Container::Nifti, numbers, size_um: Some(0.25) }
}

/// Arrays of NumPy in both byte orders, which tell no pixel size.
pub fn arrays(depth: BitDepth) -> impl Iterator<Item = File> {
    let kind = match depth {
        BitDepth::Eight => "u1",
        BitDepth::Sixteen => "u2",
        BitDepth::Unsigned32 => "u4",
        BitDepth::Signed8 => "i1",
        BitDepth::Signed16 => "i2",
        BitDepth::Signed32 => "i4",
        BitDepth::Float16 => "f2",
        BitDepth::Float32 => "f4",
        BitDepth::Float64 => "f8",
    };
    [true, false].into_iter().map(move |is_little| {
        let order = if is_little { '<' } else { '>' };
        let [height, width] = SIZE;
        let header = format!("{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({height}, {width}), }}\n");
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        let numbers = numbers(depth);
        bytes.extend(encoded(&numbers, depth, is_little));
        let name = format!("NumPy of {depth:?}, little {is_little}");
        File { name, bytes, depth, container: Container::Numpy, numbers, size_um: None }
    })
}

/// PNG of 8 and 16 bits with each filter, with and without a resolution.
pub fn pngs(depth: BitDepth) -> impl Iterator<Item = File> {
    let bits = match depth {
        BitDepth::Eight => Some(png::BitDepth::Eight),
        BitDepth::Sixteen => Some(png::BitDepth::Sixteen),
        _ => None,
    };
    let filters = [png::Filter::NoFilter, png::Filter::Sub, png::Filter::Up, png::Filter::Avg, png::Filter::Paeth];
    bits.into_iter().flat_map(move |bits| {
        filters.into_iter().map(move |filter| {
            let size_um = (filter != png::Filter::Up).then_some(0.0476);
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, SIZE[1] as u32, SIZE[0] as u32);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.set_depth(bits);
            encoder.set_filter(filter);
            // 10^6 / 0.0476 pixels per metre.
            let resolution = png::PixelDimensions { xppu: 21_008_403, yppu: 21_008_403, unit: png::Unit::Meter };
            encoder.set_pixel_dims(size_um.map(|_| resolution));
            let numbers = numbers(depth);
            encoder.write_header().unwrap().write_image_data(&encoded(&numbers, depth, false)).unwrap();
            let name = format!("PNG of {depth:?}, {filter:?}");
            File { name, bytes, depth, container: Container::Png, numbers, size_um }
        })
    })
}
