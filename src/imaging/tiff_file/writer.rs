//! TIFF files to write: data in any order, the directory at the end.

use super::tag;
use crate::imaging::BitDepth;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// What a directory says of a grey image.
#[derive(Debug, Clone)]
pub(in crate::imaging) struct Layout {
    pub(in crate::imaging) height: usize,
    pub(in crate::imaging) width: usize,
    pub(in crate::imaging) depth: BitDepth,
    pub(in crate::imaging) pixel_size_um: Option<f64>,
    /// Rows of a strip, or the side of a tile.
    pub(in crate::imaging) chunk: usize,
    pub(in crate::imaging) is_tiled: bool,
    /// Whether numbers are stored as differences.
    pub(in crate::imaging) has_differences: bool,
    /// The name of an OME-TIFF; others are described as ImageJ does.
    pub(in crate::imaging) ome_name: Option<String>,
}

impl Layout {
    /// Whether 32-bit offsets are enough even for pixels that do not compress; a tenth is left for what is around them.
    pub(in crate::imaging) fn fits_classic_tiff(&self) -> bool {
        self.height as u128 * self.width as u128 * self.depth.bytes() as u128 <= u128::from(u32::MAX / 10 * 9)
    }
}

/// A TIFF file of one page in the byte order of this machine that grows at its end.
pub(in crate::imaging) struct TiffWriter {
    file: File,
    is_big: bool,
    length: u64,
}

impl TiffWriter {
    /// Begins a file, as BigTIFF where offsets need 64 bits.
    pub(in crate::imaging) fn begin(mut file: File, is_big: bool) -> io::Result<Self> {
        let order = if cfg!(target_endian = "big") { b"MM" } else { b"II" };
        let mut header = order.to_vec();
        if is_big {
            header.extend([43u16, 8, 0].map(u16::to_ne_bytes).as_flattened());
            header.extend(0u64.to_ne_bytes());
        } else {
            header.extend(42u16.to_ne_bytes());
            header.extend(0u32.to_ne_bytes());
        }
        file.write_all(&header)?;
        Ok(Self { file, is_big, length: header.len() as u64 })
    }

    /// Appends bytes and says where they begin.
    pub(in crate::imaging) fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let place = self.length;
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        // Directories and their values begin at even places.
        if self.length % 2 == 1 {
            self.file.write_all(&[0])?;
            self.length += 1;
        }
        Ok(place)
    }

    /// Writes the directory for chunks at places with lengths, and closes the file.
    pub(in crate::imaging) fn finish(mut self, layout: &Layout, chunks: &[(u64, u64)]) -> io::Result<()> {
        let fields = fields(layout, chunks, self.is_big);
        let mut entries = Vec::new();
        let offset_bytes = if self.is_big { 8 } else { 4 };
        for (tag, value) in &fields {
            let mut bytes = value.bytes();
            let count = value.count();
            if bytes.len() > offset_bytes {
                let place = self.append(&bytes)?;
                bytes = self.offset(place)?;
            }
            bytes.resize(offset_bytes, 0);
            entries.extend(tag.to_ne_bytes());
            entries.extend(value.kind().to_ne_bytes());
            entries.extend(self.offset(count)?);
            entries.extend(bytes);
        }
        let count = if self.is_big {
            (fields.len() as u64).to_ne_bytes().to_vec()
        } else {
            (fields.len() as u16).to_ne_bytes().to_vec()
        };
        let last = self.offset(0)?;
        let place = self.append(&[count, entries, last].concat())?;
        let place = self.offset(place)?;
        self.file.seek(SeekFrom::Start(if self.is_big { 8 } else { 4 }))?;
        self.file.write_all(&place)
    }

    /// A number of the size that offsets have.
    fn offset(&self, number: u64) -> io::Result<Vec<u8>> {
        if self.is_big {
            return Ok(number.to_ne_bytes().to_vec());
        }
        let number = u32::try_from(number).map_err(|_| io::Error::other("the file grew beyond 4 GB"))?;
        Ok(number.to_ne_bytes().to_vec())
    }
}

/// The values of a tag.
enum Value {
    Short(Vec<u16>),
    Long(Vec<u32>),
    Long8(Vec<u64>),
    Text(String),
    Fraction([u32; 2]),
}

impl Value {
    fn kind(&self) -> u16 {
        match self {
            Self::Text(_) => 2,
            Self::Short(_) => 3,
            Self::Long(_) => 4,
            Self::Fraction(_) => 5,
            Self::Long8(_) => 16,
        }
    }

    fn count(&self) -> u64 {
        let count = match self {
            Self::Short(values) => values.len(),
            Self::Long(values) => values.len(),
            Self::Long8(values) => values.len(),
            Self::Text(text) => text.len() + 1,
            Self::Fraction(_) => 1,
        };
        count as u64
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Short(values) => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Self::Long(values) => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Self::Long8(values) => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Self::Text(text) => [text.as_bytes(), &[0]].concat(),
            Self::Fraction(parts) => parts.iter().flat_map(|part| part.to_ne_bytes()).collect(),
        }
    }
}

/// The fields of a directory, by rising tags as the specification wants them.
fn fields(layout: &Layout, chunks: &[(u64, u64)], is_big: bool) -> Vec<(u16, Value)> {
    const BLACK_IS_ZERO: u16 = 1;
    const DEFLATE: u16 = 8;
    const HORIZONTAL_DIFFERENCES: u16 = 2;
    let numbers = |values: &mut dyn Iterator<Item = u64>| {
        if is_big { Value::Long8(values.collect()) } else { Value::Long(values.map(|value| value as u32).collect()) }
    };
    let places = numbers(&mut chunks.iter().map(|(place, _)| *place));
    let lengths = numbers(&mut chunks.iter().map(|(_, length)| *length));
    let mut fields = vec![
        (tag::IMAGE_WIDTH, Value::Long(vec![layout.width as u32])),
        (tag::IMAGE_LENGTH, Value::Long(vec![layout.height as u32])),
        (tag::BITS_PER_SAMPLE, Value::Short(vec![8 * layout.depth.bytes() as u16])),
        (tag::COMPRESSION, Value::Short(vec![DEFLATE])),
        (tag::PHOTOMETRIC_INTERPRETATION, Value::Short(vec![BLACK_IS_ZERO])),
        (tag::SAMPLES_PER_PIXEL, Value::Short(vec![1])),
        (tag::SOFTWARE, Value::Text(concat!("synlabel ", env!("CARGO_PKG_VERSION")).into())),
        (tag::SAMPLE_FORMAT, Value::Short(vec![sample_format(layout.depth)])),
    ];
    let side = layout.chunk as u32;
    if layout.is_tiled {
        fields.extend([
            (tag::TILE_WIDTH, Value::Long(vec![side])),
            (tag::TILE_LENGTH, Value::Long(vec![side])),
            (tag::TILE_OFFSETS, places),
            (tag::TILE_BYTE_COUNTS, lengths),
        ]);
    } else {
        fields.extend([
            (tag::ROWS_PER_STRIP, Value::Long(vec![side])),
            (tag::STRIP_OFFSETS, places),
            (tag::STRIP_BYTE_COUNTS, lengths),
        ]);
    }
    if layout.has_differences {
        fields.push((tag::PREDICTOR, Value::Short(vec![HORIZONTAL_DIFFERENCES])));
    }
    fields.extend(scale(layout));
    fields.sort_by_key(|(tag, _)| *tag);
    fields
}

/// The description and the resolution.
fn scale(layout: &Layout) -> Vec<(u16, Value)> {
    // Values of ResolutionUnit (TIFF 6.0, page 18).
    const NO_UNIT: u16 = 1;
    const CENTIMETRE: u16 = 3;
    const PER_CM: f64 = 1e4;
    let resolution = |unit: u16, per_unit: f64, size_um: f64| {
        let [numerator, denominator] = fraction(size_um / per_unit);
        let resolution = [denominator, numerator];
        [
            (tag::RESOLUTION_UNIT, Value::Short(vec![unit])),
            (tag::X_RESOLUTION, Value::Fraction(resolution)),
            (tag::Y_RESOLUTION, Value::Fraction(resolution)),
        ]
    };
    let mut fields = Vec::new();
    match (&layout.ome_name, layout.pixel_size_um) {
        (Some(name), size) => {
            fields.push((tag::IMAGE_DESCRIPTION, Value::Text(ome_description(layout, name))));
            fields.extend(size.into_iter().flat_map(|size| resolution(CENTIMETRE, PER_CM, size)));
        }
        // ImageJ takes the resolution as pixels per unit of its description.
        (None, Some(size)) => {
            fields.push((tag::IMAGE_DESCRIPTION, Value::Text("ImageJ=1.54f\nimages=1\nunit=micron\n".into())));
            fields.extend(resolution(NO_UNIT, 1.0, size));
        }
        (None, None) => {}
    }
    fields
}

/// A value of the tag SampleFormat (TIFF 6.0, section 19).
fn sample_format(depth: BitDepth) -> u16 {
    match depth {
        BitDepth::Eight | BitDepth::Sixteen | BitDepth::Unsigned32 => 1,
        BitDepth::Signed8 | BitDepth::Signed16 | BitDepth::Signed32 => 2,
        BitDepth::Float16 | BitDepth::Float32 | BitDepth::Float64 => 3,
    }
}

/// The XML of an OME-TIFF of one grey image (OME schema 2016-06).
fn ome_description(layout: &Layout, name: &str) -> String {
    let kind = match layout.depth {
        BitDepth::Eight => "uint8",
        BitDepth::Sixteen => "uint16",
        BitDepth::Unsigned32 => "uint32",
        BitDepth::Signed8 => "int8",
        BitDepth::Signed16 => "int16",
        BitDepth::Signed32 => "int32",
        // OME has no floats of 16 bits; readers take the kind from the tags.
        BitDepth::Float16 | BitDepth::Float32 => "float",
        BitDepth::Float64 => "double",
    };
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let size = layout.pixel_size_um.map_or(String::new(), |size| {
        let [x, y] = ["X", "Y"].map(|axis| format!(r#" PhysicalSize{axis}="{size}" PhysicalSize{axis}Unit="&#181;m""#));
        x + &y
    });
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" "#,
            r#"xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="#,
            r#""http://www.openmicroscopy.org/Schemas/OME/2016-06 "#,
            r#"http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd" Creator="synlabel">"#,
            r#"<Image ID="Image:0" Name="{name}"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="{kind}" "#,
            r#"SizeX="{width}" SizeY="{height}" SizeZ="1" SizeC="1" SizeT="1"{size}>"#,
            r#"<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>"#
        ),
        name = escape(name),
        kind = kind,
        width = layout.width,
        height = layout.height,
        size = size
    )
}

/// The fraction of two 32-bit numbers that is nearest to a positive number: continued fractions until they fit.
pub(super) fn fraction(number: f64) -> [u32; 2] {
    let (mut previous, mut current) = ([0u64, 1], [1u64, 0]);
    let mut rest = number;
    loop {
        let whole = rest.floor();
        let next = [0, 1].map(|i| (whole as u64).saturating_mul(current[i]).saturating_add(previous[i]));
        if next.iter().any(|part| *part > u64::from(u32::MAX)) {
            break;
        }
        (previous, current) = (current, next);
        // The number itself, to its last digit.
        if current[0] as f64 / current[1] as f64 == number || rest - whole < 1e-9 {
            break;
        }
        rest = 1.0 / (rest - whole);
    }
    current.map(|part| part as u32)
}

/// Whether a pixel size has a fraction that stands for it.
pub(in crate::imaging) fn can_be_stored(pixel_size_um: f64) -> bool {
    let stands = |size: f64| {
        let [numerator, denominator] = fraction(size);
        denominator > 0 && (f64::from(numerator) / f64::from(denominator) / size - 1.0).abs() < 1e-6
    };
    pixel_size_um.is_finite() && pixel_size_um > 0.0 && stands(pixel_size_um) && stands(pixel_size_um / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_give_numbers_back_to_the_last_digit() {
        for number in [0.0476, 0.093, 0.1, 0.18, 1.0 / 3.0, 2.5, 12.0, 5000.0, 0.0001, 0.065, 3.4e-3, 0.123_456_789] {
            let [numerator, denominator] = fraction(number);
            assert_eq!(f64::from(numerator) / f64::from(denominator), number);
        }
        assert_eq!(fraction(0.0476), [119, 2500]);
        let [numerator, denominator] = fraction(std::f64::consts::PI);
        assert!((f64::from(numerator) / f64::from(denominator) - std::f64::consts::PI).abs() < 1e-15);
    }

    #[test]
    fn sizes_that_are_none_or_have_no_fraction_cannot_be_stored() {
        for size in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e15] {
            assert!(!can_be_stored(size), "{size}");
        }
        assert!([0.0001, 0.0476, 1.0 / 3.0, 5000.0].into_iter().all(can_be_stored));
    }
}
