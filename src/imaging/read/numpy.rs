//! Arrays of NumPy (format versions 1 to 3): two axes, or a stack of images along the first of three.

use super::{Chunked, Input, Reason, Refusal};
use crate::imaging::samples::ByteOrder;
use crate::imaging::tiff_file::{Page, PixelSize, checked_page};
use crate::imaging::{BitDepth, Container};
use std::io::Read;

/// The header is text of a few hundred bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Opens an array and chooses one of its images.
pub(super) fn open(mut input: Input, page: Option<usize>) -> Reason<Chunked> {
    let mut start = [0; 8];
    input.read_exact(&mut start)?;
    // Version 1 has a length of two bytes, the later ones of four.
    let length_bytes = if start[6] == 1 { 2 } else { 4 };
    let mut length = [0; 4];
    input.read_exact(&mut length[..length_bytes])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER_BYTES {
        return Err(Refusal::Damaged("its header is too long".into()));
    }
    let mut header = vec![0; length];
    input.read_exact(&mut header)?;
    let header = String::from_utf8_lossy(&header);
    let (depth, order) = kind(&header)?;
    if value(&header, "fortran_order").is_none_or(|value| !value.starts_with("False")) {
        return Err(Refusal::Sentence("its columns come before its rows; save it with numpy.ascontiguousarray".into()));
    }
    let (images, height, width) = shape(&header)?;
    let chosen = checked_page(page, images)? as u64;
    let place = (8 + length_bytes + length) as u64;
    let image = (height as u64).checked_mul(width as u64).and_then(|pixels| pixels.checked_mul(depth.bytes() as u64));
    let place = image.and_then(|bytes| bytes.checked_mul(chosen)).and_then(|before| before.checked_add(place));
    let place = place.ok_or_else(|| Refusal::Damaged("it claims an impossible size".into()))?;
    let page = Page::of_rows([height, width], depth, order, place)?;
    Ok(Chunked::of_rows(input, page, Container::Numpy, PixelSize::default()))
}

/// What stands behind a key of the header, a Python dictionary.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    rest.trim_start().strip_prefix(':').map(str::trim_start)
}

fn kind(header: &str) -> Reason<(BitDepth, ByteOrder)> {
    let name = value(header, "descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next()).unwrap_or_default();
    let order = if name.starts_with('>') { ByteOrder::Big } else { ByteOrder::Little };
    let depth = match name.trim_start_matches(['<', '>', '|', '=']) {
        "u1" | "b1" => BitDepth::Eight,
        "u2" => BitDepth::Sixteen,
        "u4" => BitDepth::Unsigned32,
        "i1" => BitDepth::Signed8,
        "i2" => BitDepth::Signed16,
        "i4" => BitDepth::Signed32,
        "f2" => BitDepth::Float16,
        "f4" => BitDepth::Float32,
        "f8" => BitDepth::Float64,
        _ => return Err(Refusal::Unread(format!("an array of {name}"))),
    };
    Ok((depth, order))
}

/// Images, rows and columns.
fn shape(header: &str) -> Reason<(usize, usize, usize)> {
    let inner = value(header, "shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next());
    let sides: Option<Vec<usize>> = inner
        .and_then(|text| text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| t.parse().ok()).collect());
    match sides.as_deref() {
        Some([height, width]) => Ok((1, *height, *width)),
        Some([images, height, width]) => Ok((*images, *height, *width)),
        _ => Err(Refusal::Unread("an array that has neither two nor three axes".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{ReadOptions, read_bytes};
    use super::*;
    use std::path::Path;

    #[test]
    fn an_image_of_a_stack_is_read() {
        let header = "{'descr': '>u2', 'fortran_order': False, 'shape': (2, 1, 3), }\n";
        let mut file = b"\x93NUMPY\x01\0".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend([1u16, 2, 3, 0, 13_107, 65_535].map(u16::to_be_bytes).as_flattened());
        let options = ReadOptions { page: Some(2), intensity: "full".parse().unwrap() };
        let picture = read_bytes(Path::new("a.npy"), file, &options).unwrap();
        assert_eq!((picture.plane.pixels(), picture.depth), ([0.0, 0.2, 1.0].as_slice(), BitDepth::Sixteen));
    }

    #[test]
    fn headers_tell_kind_and_shape() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (25, 152, 256), }   \n";
        assert_eq!(kind(header).unwrap(), (BitDepth::Float32, ByteOrder::Little));
        assert_eq!(shape(header).unwrap(), (25, 152, 256));
        assert_eq!(shape("{'shape': (3, 4)}").unwrap(), (1, 3, 4));
        assert!(shape("{'shape': (3,)}").is_err() && kind("{'descr': '<c8'}").is_err());
    }
}
