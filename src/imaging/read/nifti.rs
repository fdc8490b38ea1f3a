//! NIfTI-1 files (`.nii`, `.nii.gz`): an image, or one slice of a volume along its third axis.
//!
//! Rows run along the second axis and columns along the first, as stored, neither turned nor mirrored: what SimpleITK
//! and nnU-Net see. Where a file has a slope and an intercept, the values are what they stand for.

use super::{Chunked, Input, Reason, Refusal};
use crate::imaging::samples::ByteOrder;
use crate::imaging::tiff_file::{Page, PixelSize, checked_page};
use crate::imaging::{BitDepth, Container};
use flate2::read::MultiGzDecoder;
use std::io::{self, BufReader, Cursor, Read, Seek};

/// Bytes of a header, by whose number in its first four a file is known.
pub(super) const HEADER_BYTES: u64 = 348;

/// The most bytes of a slice of a compressed volume, which is held in memory.
const MAX_SLICE_BYTES: u64 = 1 << 31;

/// Whether a file begins with a header: its size, and "n+1" or "ni1" near its end.
pub(super) fn is_header(start: &[u8]) -> bool {
    let size = start.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let magic = start.get(344..348);
    [Some(348), Some(348u32.swap_bytes())].contains(&size) && matches!(magic, Some([b'n', b'+' | b'i', b'1', 0]))
}

/// Opens a file and chooses a slice.
pub(super) fn open(mut input: Input, page: Option<usize>) -> Reason<Chunked> {
    let mut start = [0; 2];
    input.read_exact(&mut start)?;
    input.rewind()?;
    if start == [0x1f, 0x8b] {
        let mut stream = MultiGzDecoder::new(BufReader::new(input));
        let header = Header::read(&mut stream)?;
        let slice = header.slice(page)?;
        let bytes = header.slice_bytes()?;
        if bytes > MAX_SLICE_BYTES {
            return Err(Refusal::Sentence("a slice of it is larger than 2 GB; save it uncompressed, as .nii".into()));
        }
        let before = header.place(slice)? - HEADER_BYTES;
        if io::copy(&mut stream.by_ref().take(before), &mut io::sink())? < before {
            return Err(Refusal::Damaged("it ends too early".into()));
        }
        let mut held = Vec::new();
        stream.take(bytes).read_to_end(&mut held)?;
        return header.chunked(Box::new(Cursor::new(held)), 0);
    }
    let header = Header::read(&mut input)?;
    let place = header.slice(page).and_then(|slice| header.place(slice))?;
    header.chunked(input, place)
}

/// What a header says.
struct Header {
    order: ByteOrder,
    height: usize,
    width: usize,
    /// All slices, whatever axes they lie along.
    slices: usize,
    depth: BitDepth,
    /// Where the first slice begins.
    start: u64,
    scaling: Option<[f64; 2]>,
    size: PixelSize,
}

impl Header {
    fn read(input: &mut dyn Read) -> Reason<Self> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        input.read_exact(&mut bytes)?;
        if !is_header(&bytes) {
            return Err(Refusal::Sentence(
                "it is compressed and no NIfTI file; unpack it, or export it as PNG or TIFF".into(),
            ));
        }
        // Places of the fields as nifti1.h has them.
        let order = if bytes[0] == 0 { ByteOrder::Big } else { ByteOrder::Little };
        let short = |place: usize| {
            let bytes = [bytes[place], bytes[place + 1]];
            if order == ByteOrder::Big { i16::from_be_bytes(bytes) } else { i16::from_le_bytes(bytes) }
        };
        let float = |place: usize| {
            let bytes = [bytes[place], bytes[place + 1], bytes[place + 2], bytes[place + 3]];
            f64::from(if order == ByteOrder::Big { f32::from_be_bytes(bytes) } else { f32::from_le_bytes(bytes) })
        };
        if bytes[345] == b'i' {
            return Err(Refusal::Sentence("its pixels lie in an .img file; convert the pair to one .nii file".into()));
        }
        let axes = short(40);
        let sides: Vec<usize> =
            (1..=axes.clamp(0, 7) as usize).map(|axis| usize::try_from(short(40 + 2 * axis)).unwrap_or(0)).collect();
        let [width, height, rest @ ..] = sides.as_slice() else {
            return Err(Refusal::Damaged(format!("it says it has {axes} axes")));
        };
        let slices = rest.iter().fold(1usize, |product, side| product.saturating_mul(*side));
        let (slope, intercept) = (float(112), float(116));
        let is_scaled = slope != 0.0 && slope.is_finite() && intercept.is_finite() && (slope, intercept) != (1.0, 0.0);
        Ok(Self {
            order,
            height: *height,
            width: *width,
            slices,
            depth: depth_of(short(70))?,
            start: (float(108) as u64).max(HEADER_BYTES),
            scaling: is_scaled.then_some([slope, intercept]),
            size: pixel_size(bytes[123], float(80), float(84)),
        })
    }

    /// The index of the slice that is meant.
    fn slice(&self, page: Option<usize>) -> Reason<u64> {
        checked_page(page, self.slices).map(|slice| slice as u64)
    }

    fn slice_bytes(&self) -> Reason<u64> {
        let bytes = (self.height as u64).checked_mul(self.width as u64 * self.depth.bytes() as u64);
        bytes.ok_or_else(|| Refusal::Damaged("it claims an impossible size".into()))
    }

    /// Where a slice begins.
    fn place(&self, slice: u64) -> Reason<u64> {
        let before = self.slice_bytes()?.checked_mul(slice).and_then(|before| before.checked_add(self.start));
        before.ok_or_else(|| Refusal::Damaged("it claims an impossible size".into()))
    }

    /// The slice that begins at a place of `input`.
    fn chunked(self, input: Input, place: u64) -> Reason<Chunked> {
        let page = Page::of_rows([self.height, self.width], self.depth, self.order, place)?;
        let mut chunked = Chunked::of_rows(input, page, Container::Nifti, self.size);
        chunked.scaling = self.scaling;
        Ok(chunked)
    }
}

/// Values of the field `datatype`.
fn depth_of(datatype: i16) -> Reason<BitDepth> {
    Ok(match datatype {
        2 => BitDepth::Eight,
        4 => BitDepth::Signed16,
        8 => BitDepth::Signed32,
        16 => BitDepth::Float32,
        64 => BitDepth::Float64,
        256 => BitDepth::Signed8,
        512 => BitDepth::Sixteen,
        768 => BitDepth::Unsigned32,
        other => return Err(Refusal::Unread(format!("NIfTI numbers of kind {other}"))),
    })
}

/// Sides of a pixel by the field `xyzt_units`; without a unit they are no sizes.
fn pixel_size(units: u8, width: f64, height: f64) -> PixelSize {
    let um = match units & 7 {
        1 => 1e6,
        2 => 1e3,
        3 => 1.0,
        _ => return PixelSize::default(),
    };
    PixelSize::of_sides(Some(decimal(width) * um), Some(decimal(height) * um))
}

/// The decimal number that was stored as a float of 32 bits.
fn decimal(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::super::super::{Intensity, Picture, ReadOptions, Samples, read_bytes};
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;
    use std::path::Path;

    /// A volume of 3 columns, 2 rows and `slices` slices of 16-bit signed numbers that count up from -2.
    fn volume(slices: i16, order: ByteOrder, slope: f32, units: u8) -> Vec<u8> {
        let mut header = vec![0; 352];
        let mut put = |place: usize, mut bytes: Vec<u8>| {
            if order == ByteOrder::Big {
                bytes.reverse();
            }
            header[place..place + bytes.len()].copy_from_slice(&bytes);
        };
        put(0, 348i32.to_le_bytes().to_vec());
        for (i, side) in [if slices == 1 { 2 } else { 3 }, 3, 2, slices].into_iter().enumerate() {
            put(40 + 2 * i, side.to_le_bytes().to_vec());
        }
        put(70, 4i16.to_le_bytes().to_vec());
        put(72, 16i16.to_le_bytes().to_vec());
        for (place, number) in [(80, 0.05f32), (84, 0.05), (108, 352.0), (112, slope), (116, 0.5)] {
            put(place, number.to_le_bytes().to_vec());
        }
        header[123] = units;
        header[344..348].copy_from_slice(b"n+1\0");
        let numbers = (0..6 * slices).map(|i| i - 2);
        let bytes = |n: i16| if order == ByteOrder::Big { n.to_be_bytes() } else { n.to_le_bytes() };
        header.extend(numbers.flat_map(bytes));
        header
    }

    fn read(bytes: Vec<u8>, page: Option<usize>) -> crate::error::Result<Picture> {
        let options = ReadOptions { page, intensity: Intensity::Range { low: -2.0, high: 20.0 } };
        read_bytes(Path::new("a.nii"), bytes, &options)
    }

    fn stored(picture: &Picture) -> Vec<f64> {
        picture.plane.pixels().iter().map(|value| (f64::from(*value) * 22.0 - 2.0).round()).collect()
    }

    #[test]
    fn an_image_or_a_chosen_slice_is_read_in_both_byte_orders_packed_or_not() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let plain = volume(3, order, 0.0, 2);
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&plain).unwrap();
            for bytes in [plain, packed.finish().unwrap()] {
                let picture = read(bytes.clone(), Some(2)).unwrap();
                assert_eq!(stored(&picture), [4.0, 5.0, 6.0, 7.0, 8.0, 9.0], "{order:?}");
                assert_eq!((picture.plane.height(), picture.plane.width()), (2, 3));
                assert_eq!((picture.depth, picture.container), (BitDepth::Signed16, Container::Nifti));
                // Stored in millimetres.
                assert_eq!(picture.pixel_size_um, Some(50.0));
                let message = read(bytes, None).unwrap_err().to_string();
                assert!(message.contains("it has 3 pages or slices"), "{message}");
            }
        }
        assert_eq!(
            stored(&read(volume(1, ByteOrder::Little, 0.0, 3), None).unwrap()),
            [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
        );
        assert_eq!(read(volume(1, ByteOrder::Little, 0.0, 3), None).unwrap().pixel_size_um, Some(0.05));
        assert_eq!(read(volume(1, ByteOrder::Little, 0.0, 0), None).unwrap().pixel_size_um, None);
    }

    #[test]
    fn a_slope_gives_the_numbers_that_are_meant() {
        let mut input: Input = Box::new(Cursor::new(volume(1, ByteOrder::Little, 2.0, 2)));
        input.rewind().unwrap();
        let mut chunked = open(input, None).unwrap();
        assert_eq!(chunked.depth(), BitDepth::Float32);
        assert_eq!(chunked.decode(0).unwrap().samples, Samples::Float(vec![-3.5, -1.5, 0.5, 2.5, 4.5, 6.5]));
    }
}
