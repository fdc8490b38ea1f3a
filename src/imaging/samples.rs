//! The numbers that images store: the kinds that files have, and the four that memory holds without losing a digit.

use super::BitDepth;
use half::f16;

/// Which byte of a number comes first in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant.
    Little,
    /// The most significant.
    Big,
}

impl ByteOrder {
    /// That of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

/// A number as memory holds it: `u8`, `u16`, `f32` or `f64`.
pub trait Sample: Copy + Default + PartialEq + PartialOrd + Into<f64> + Send + Sync + 'static {
    /// The kind of a file that stores it as it is.
    const DEPTH: BitDepth;

    /// The numbers as the samples of a raster.
    fn into_samples(numbers: Vec<Self>) -> Samples;
}

impl Sample for u8 {
    const DEPTH: BitDepth = BitDepth::Eight;

    fn into_samples(numbers: Vec<Self>) -> Samples {
        Samples::Eight(numbers)
    }
}

impl Sample for u16 {
    const DEPTH: BitDepth = BitDepth::Sixteen;

    fn into_samples(numbers: Vec<Self>) -> Samples {
        Samples::Sixteen(numbers)
    }
}

impl Sample for f32 {
    const DEPTH: BitDepth = BitDepth::Float32;

    fn into_samples(numbers: Vec<Self>) -> Samples {
        Samples::Float(numbers)
    }
}

impl Sample for f64 {
    const DEPTH: BitDepth = BitDepth::Float64;

    fn into_samples(numbers: Vec<Self>) -> Samples {
        Samples::Double(numbers)
    }
}

/// The stored numbers of an image, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// 8 bits each.
    Eight(Vec<u8>),
    /// 16 bits each.
    Sixteen(Vec<u16>),
    /// Signed numbers of up to 16 bits, floats of up to 32, and the grey of colours.
    Float(Vec<f32>),
    /// Integers of 32 bits and floats of 64.
    Double(Vec<f64>),
}

/// Does the same with the numbers of [`Samples`], whatever their type.
macro_rules! with_numbers {
    ($samples:expr, $numbers:ident => $action:expr) => {
        match $samples {
            $crate::imaging::Samples::Eight($numbers) => $action,
            $crate::imaging::Samples::Sixteen($numbers) => $action,
            $crate::imaging::Samples::Float($numbers) => $action,
            $crate::imaging::Samples::Double($numbers) => $action,
        }
    };
}
pub(super) use with_numbers;

impl Samples {
    /// `count` zeros in the form that holds numbers of a file of this depth.
    pub(super) fn zeros(count: usize, depth: BitDepth) -> Self {
        match depth.held() {
            BitDepth::Eight => Self::Eight(vec![0; count]),
            BitDepth::Sixteen => Self::Sixteen(vec![0; count]),
            BitDepth::Float32 => Self::Float(vec![0.0; count]),
            _ => Self::Double(vec![0.0; count]),
        }
    }

    /// The numbers of a file of this depth, from its bytes.
    pub(super) fn from_bytes(bytes: &[u8], depth: BitDepth, order: ByteOrder) -> Self {
        /// The numbers of `N` bytes each, as `T`.
        fn numbers<const N: usize, T>(bytes: &[u8], order: ByteOrder, number: impl Fn([u8; N]) -> T) -> Vec<T> {
            let little = |mut bytes: [u8; N]| {
                if order == ByteOrder::Big {
                    bytes.reverse();
                }
                number(bytes)
            };
            bytes.as_chunks().0.iter().map(|bytes| little(*bytes)).collect()
        }
        match depth {
            BitDepth::Eight => Self::Eight(bytes.to_vec()),
            BitDepth::Sixteen => Self::Sixteen(numbers(bytes, order, u16::from_le_bytes)),
            BitDepth::Unsigned32 => Self::Double(numbers(bytes, order, |b| u32::from_le_bytes(b).into())),
            BitDepth::Signed8 => Self::Float(numbers(bytes, order, |b| i8::from_le_bytes(b).into())),
            BitDepth::Signed16 => Self::Float(numbers(bytes, order, |b| i16::from_le_bytes(b).into())),
            BitDepth::Signed32 => Self::Double(numbers(bytes, order, |b| i32::from_le_bytes(b).into())),
            BitDepth::Float16 => Self::Float(numbers(bytes, order, |b| f16::from_le_bytes(b).into())),
            BitDepth::Float32 => Self::Float(numbers(bytes, order, f32::from_le_bytes)),
            BitDepth::Float64 => Self::Double(numbers(bytes, order, f64::from_le_bytes)),
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        with_numbers!(self, numbers => numbers.len())
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of a file that stores them as they are.
    pub fn depth(&self) -> BitDepth {
        match self {
            Self::Eight(_) => BitDepth::Eight,
            Self::Sixteen(_) => BitDepth::Sixteen,
            Self::Float(_) => BitDepth::Float32,
            Self::Double(_) => BitDepth::Float64,
        }
    }

    /// The memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.len() * self.depth().bytes()
    }

    /// The numbers from one place to another.
    pub(super) fn part(&self, from: usize, to: usize) -> Self {
        match self {
            Self::Eight(numbers) => Self::Eight(numbers[from..to].to_vec()),
            Self::Sixteen(numbers) => Self::Sixteen(numbers[from..to].to_vec()),
            Self::Float(numbers) => Self::Float(numbers[from..to].to_vec()),
            Self::Double(numbers) => Self::Double(numbers[from..to].to_vec()),
        }
    }

    /// The same numbers as floats.
    pub(super) fn into_float(self) -> Vec<f32> {
        match self {
            Self::Eight(numbers) => numbers.into_iter().map(f32::from).collect(),
            Self::Sixteen(numbers) => numbers.into_iter().map(f32::from).collect(),
            Self::Float(numbers) => numbers,
            Self::Double(numbers) => numbers.into_iter().map(|number| number as f32).collect(),
        }
    }
}

/// The bytes of numbers for a file of this depth; integers are rounded, and what a kind cannot hold becomes the nearest
/// it can. Not-a-number is stored as 0 where there is none.
pub(super) fn to_bytes<T: Sample>(numbers: &[T], depth: BitDepth, order: ByteOrder) -> Vec<u8> {
    fn bytes<const N: usize, T: Sample>(numbers: &[T], order: ByteOrder, number: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
        let ordered = |value: T| {
            let mut bytes = number(value.into());
            if order == ByteOrder::Big {
                bytes.reverse();
            }
            bytes
        };
        numbers.iter().flat_map(|value| ordered(*value)).collect()
    }
    // Casts from floats to integers saturate.
    match depth {
        BitDepth::Eight => bytes(numbers, order, |v| (v.round() as u8).to_le_bytes()),
        BitDepth::Sixteen => bytes(numbers, order, |v| (v.round() as u16).to_le_bytes()),
        BitDepth::Unsigned32 => bytes(numbers, order, |v| (v.round() as u32).to_le_bytes()),
        BitDepth::Signed8 => bytes(numbers, order, |v| (v.round() as i8).to_le_bytes()),
        BitDepth::Signed16 => bytes(numbers, order, |v| (v.round() as i16).to_le_bytes()),
        BitDepth::Signed32 => bytes(numbers, order, |v| (v.round() as i32).to_le_bytes()),
        BitDepth::Float16 => bytes(numbers, order, |v| f16::from_f64(v).to_le_bytes()),
        BitDepth::Float32 => bytes(numbers, order, |v| (v as f32).to_le_bytes()),
        BitDepth::Float64 => bytes(numbers, order, f64::to_le_bytes),
    }
}

/// Numbers of up to 16 bits that are packed from the highest bit on, each row from a new byte.
pub(super) fn unpack(bytes: &[u8], bits: u32, per_row: usize) -> Vec<u16> {
    let row_bytes = (per_row * bits as usize).div_ceil(8).max(1);
    let number = |row: &[u8], i: usize| {
        let first = i * bits as usize;
        // Three bytes hold 16 bits wherever they begin.
        let window = (0..3).fold(0u32, |sum, k| sum << 8 | u32::from(row.get(first / 8 + k).copied().unwrap_or(0)));
        ((window >> (24 - bits - first as u32 % 8)) & ((1 << bits) - 1)) as u16
    };
    bytes.chunks_exact(row_bytes).flat_map(|row| (0..per_row).map(move |i| number(row, i))).collect()
}

/// The bytes of numbers in another order; nothing is copied where it is the same.
pub(super) fn reordered(bytes: Vec<u8>, number_bytes: usize, from: ByteOrder) -> Vec<u8> {
    if from == ByteOrder::NATIVE || number_bytes < 2 {
        return bytes;
    }
    bytes.chunks_exact(number_bytes).flat_map(|number| number.iter().rev().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_number_survives_the_way_to_bytes_and_back() {
        let extremes = [
            (BitDepth::Eight, [0.0, 255.0, 7.0]),
            (BitDepth::Sixteen, [0.0, 65_535.0, 258.0]),
            (BitDepth::Unsigned32, [0.0, 4_294_967_295.0, 16_777_217.0]),
            (BitDepth::Signed8, [-128.0, 127.0, -1.0]),
            (BitDepth::Signed16, [-32_768.0, 32_767.0, -2.0]),
            (BitDepth::Signed32, [-2_147_483_648.0, 2_147_483_647.0, 16_777_217.0]),
            (BitDepth::Float16, [-65_504.0, 0.000_061_035_156_25, 1.5]),
            (BitDepth::Float32, [f64::from(f32::MIN), f64::from(f32::MAX), 0.5]),
            (BitDepth::Float64, [f64::MIN, 0.1, 1.0 / 3.0]),
        ];
        for (depth, values) in extremes {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let bytes = to_bytes(&values, depth, order);
                assert_eq!(bytes.len(), 3 * depth.bytes());
                let samples = Samples::from_bytes(&bytes, depth, order);
                assert_eq!(samples.depth(), depth.held());
                let found: Vec<f64> = with_numbers!(&samples, n => n.iter().map(|v| Into::<f64>::into(*v)).collect());
                assert_eq!(found, values, "{depth:?} {order:?}");
            }
        }
    }

    #[test]
    fn what_a_kind_cannot_hold_becomes_the_nearest_it_can() {
        assert_eq!(to_bytes(&[-3.0, 300.0, 0.5, f64::NAN], BitDepth::Eight, ByteOrder::Little), [0, 255, 1, 0]);
        assert_eq!(to_bytes(&[-300.0], BitDepth::Signed8, ByteOrder::Little), [128]);
    }

    #[test]
    fn packed_bits_are_taken_from_the_highest_on_and_rows_begin_at_bytes() {
        assert_eq!(unpack(&[0b1010_0000, 0b0110_0000], 1, 3), [1, 0, 1, 0, 1, 1]);
        assert_eq!(unpack(&[0x12, 0x30], 4, 3), [1, 2, 3]);
        assert_eq!(unpack(&[0xab, 0xcd, 0xef], 12, 2), [0xabc, 0xdef]);
    }
}
