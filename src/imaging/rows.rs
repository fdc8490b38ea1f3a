//! Grey PNG and TIFF files written row by row, so that an image is never held as a whole, each file complete or not
//! there at all.

use super::write::{container_of, pixels_per_cm};
use super::{BitDepth, Container, Sample};
use crate::error::{Error, Result};
use crate::files::PendingFile;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::Path;
use tiff::encoder::{Rational, TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard};
use tiff::tags::{ByteOrder, CompressionMethod, PhotometricInterpretation, ResolutionUnit, Tag};
use tiff::{TiffError, TiffResult};

/// A grey image file that is written from its first row to its last: PNG (`.png`) or TIFF (`.tif`, `.tiff`), compressed
/// without loss. Until [`finish`](Self::finish) it has a temporary name, and it is removed when dropped before.
///
/// Several can be open at the same time. A TIFF that could grow beyond 4 GB is a BigTIFF.
pub struct RowWriter {
    // Dropped, and thereby closed, before the file is removed.
    encoder: Box<dyn RowEncoder>,
    file: PendingFile,
    depth: BitDepth,
    width: usize,
    missing_rows: usize,
}

impl RowWriter {
    /// Begins a file of `height` x `width` pixels. A TIFF carries the pixel size as [`write`](super::write()) has it.
    ///
    /// # Panics
    /// When there are no pixels, or more than 2^31 - 1 to a side.
    pub fn create(
        path: &Path,
        height: usize,
        width: usize,
        depth: BitDepth,
        pixel_size_um: Option<f64>,
    ) -> Result<Self> {
        assert!(height > 0 && width > 0, "an image of {height} x {width} cannot be written: there must be a pixel");
        assert!(height.max(width) <= i32::MAX as usize, "a side of {height} x {width} pixels is too long");
        let container = container_of(path)?;
        let per_cm = pixel_size_um.map(|size| pixels_per_cm(path, size)).transpose()?;
        let file = PendingFile::new(path)?;
        let target = File::create(file.temporary()).map_err(Error::io("write", path))?;
        let layout = Layout { height, width, depth, per_cm };
        let encoder = match container {
            Container::Png => PngRows::begin(target, &layout),
            Container::Tiff if layout.fits_classic_tiff() => TiffRows::<TiffKindStandard>::begin(target, layout),
            Container::Tiff => TiffRows::<TiffKindBig>::begin(target, layout),
        };
        let encoder = encoder.map_err(Error::io("write", path))?;
        Ok(Self { encoder, file, depth, width, missing_rows: height })
    }

    /// Writes the next rows.
    ///
    /// # Panics
    /// When the samples are not of the depth of the file, do not make whole rows, or are more than the image has.
    pub fn write_rows<T: Sample>(&mut self, samples: &[T]) -> Result<()> {
        assert_eq!(T::DEPTH, self.depth, "the samples must have the depth of the file");
        assert_eq!(samples.len() % self.width, 0, "samples must be whole rows of {}", self.width);
        let rows = samples.len() / self.width;
        assert!(rows <= self.missing_rows, "{rows} rows are too many, {} are missing", self.missing_rows);
        self.missing_rows -= rows;
        let bytes = T::to_bytes(samples, self.encoder.byte_order());
        self.encoder.write(&bytes).map_err(Error::io("write", self.file.path()))
    }

    /// Ends the file and gives it its name.
    ///
    /// # Panics
    /// When rows are missing.
    pub fn finish(self) -> Result<()> {
        assert_eq!(self.missing_rows, 0, "rows are missing");
        self.encoder.finish().map_err(Error::io("write", self.file.path()))?;
        self.file.complete()
    }
}

/// What an encoder must know before the first row.
struct Layout {
    height: usize,
    width: usize,
    depth: BitDepth,
    per_cm: Option<Rational>,
}

impl Layout {
    fn row_bytes(&self) -> usize {
        match self.depth {
            BitDepth::Eight => self.width,
            BitDepth::Sixteen => 2 * self.width,
        }
    }

    /// Whether 32-bit offsets are enough even for pixels that do not compress; a tenth is left for what is around them.
    fn fits_classic_tiff(&self) -> bool {
        self.height * self.row_bytes() <= u32::MAX as usize / 10 * 9
    }
}

/// Zlib's fastest level: label maps shrink to a few hundredths with it.
const COMPRESSION: Compression = Compression::fast();

/// A file format that takes rows as bytes. It writes to the file in large pieces, so nothing waits in a buffer for a
/// destructor, where a full disk would go unnoticed.
trait RowEncoder {
    /// The order of the bytes of a 16-bit sample.
    fn byte_order(&self) -> ByteOrder;

    /// Takes the bytes of whole rows.
    fn write(&mut self, rows: &[u8]) -> io::Result<()>;

    /// Writes what is left and closes the file.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// PNG: rows, each after the number of its filter, in one zlib stream cut into `IDAT` chunks.
struct PngRows {
    chunks: png::Writer<File>,
    stream: ZlibEncoder<Vec<u8>>,
    /// The row before the next one; zeros above the first.
    previous: Vec<u8>,
}

impl PngRows {
    const CHUNK_BYTES: usize = 1 << 18;

    /// Each byte less the one above it: a third smaller than plain bytes, for label maps as for photographs.
    const FILTER_UP: u8 = 2;

    fn begin(target: File, layout: &Layout) -> io::Result<Box<dyn RowEncoder>> {
        let mut encoder = png::Encoder::new(target, layout.width as u32, layout.height as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(match layout.depth {
            BitDepth::Eight => png::BitDepth::Eight,
            BitDepth::Sixteen => png::BitDepth::Sixteen,
        });
        let stream = ZlibEncoder::new(Vec::new(), COMPRESSION);
        Ok(Box::new(Self { chunks: encoder.write_header()?, stream, previous: vec![0; layout.row_bytes()] }))
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        self.chunks.write_chunk(png::chunk::IDAT, self.stream.get_ref())?;
        self.stream.get_mut().clear();
        Ok(())
    }
}

impl RowEncoder for PngRows {
    fn byte_order(&self) -> ByteOrder {
        ByteOrder::BigEndian
    }

    fn write(&mut self, rows: &[u8]) -> io::Result<()> {
        for row in rows.chunks_exact(self.previous.len()) {
            let filtered: Vec<u8> =
                row.iter().zip(&self.previous).map(|(byte, above)| byte.wrapping_sub(*above)).collect();
            self.stream.write_all(&[Self::FILTER_UP])?;
            self.stream.write_all(&filtered)?;
            self.previous.copy_from_slice(row);
            if self.stream.get_ref().len() >= Self::CHUNK_BYTES {
                self.write_chunk()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.stream.try_finish()?;
        self.write_chunk()?;
        Ok(self.chunks.finish()?)
    }
}

/// TIFF: strips of about 256 kB, each compressed for itself, and the directory behind them.
struct TiffRows<K: TiffKind> {
    encoder: TiffEncoder<File, K>,
    layout: Layout,
    rows_per_strip: usize,
    /// The rows of the strip that is not full yet.
    strip: Vec<u8>,
    offsets: Vec<K::OffsetType>,
    byte_counts: Vec<K::OffsetType>,
}

impl<K: TiffKind + 'static> TiffRows<K> {
    const STRIP_BYTES: usize = 1 << 18;

    fn begin(target: File, layout: Layout) -> io::Result<Box<dyn RowEncoder>> {
        let encoder = TiffEncoder::new_generic(target).map_err(to_io_error)?;
        let rows_per_strip = Self::STRIP_BYTES.div_ceil(layout.row_bytes()).min(layout.height);
        let (strip, offsets, byte_counts) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Box::new(Self { encoder, layout, rows_per_strip, strip, offsets, byte_counts }))
    }

    fn write_strip(&mut self) -> TiffResult<()> {
        let mut compressed = ZlibEncoder::new(Vec::new(), COMPRESSION);
        compressed.write_all(&self.strip)?;
        let compressed = compressed.finish()?;
        self.strip.clear();
        // The encoder writes strips by way of a directory only. This one is to hold nothing else, and would be
        // written into the file when dropped.
        let mut passage = ManuallyDrop::new(self.encoder.extra_directory()?);
        let offset = passage.write_data(compressed.as_slice())?;
        self.offsets.push(K::convert_offset(offset)?);
        self.byte_counts.push(K::convert_offset(compressed.len() as u64)?);
        Ok(())
    }

    fn write_directory(&mut self) -> TiffResult<()> {
        let mut directory = self.encoder.image_directory()?;
        directory.write_tag(Tag::ImageWidth, self.layout.width as u32)?;
        directory.write_tag(Tag::ImageLength, self.layout.height as u32)?;
        directory.write_tag(
            Tag::BitsPerSample,
            match self.layout.depth {
                BitDepth::Eight => 8u16,
                BitDepth::Sixteen => 16,
            },
        )?;
        directory.write_tag(Tag::SamplesPerPixel, 1u16)?;
        directory.write_tag(Tag::PhotometricInterpretation, PhotometricInterpretation::BlackIsZero.to_u16())?;
        directory.write_tag(Tag::Compression, CompressionMethod::Deflate.to_u16())?;
        directory.write_tag(Tag::RowsPerStrip, self.rows_per_strip as u32)?;
        directory.write_tag(Tag::StripOffsets, K::convert_slice(&self.offsets))?;
        directory.write_tag(Tag::StripByteCounts, K::convert_slice(&self.byte_counts))?;
        if let Some(per_cm) = &self.layout.per_cm {
            directory.write_tag(Tag::ResolutionUnit, ResolutionUnit::Centimeter.to_u16())?;
            directory.write_tag(Tag::XResolution, per_cm.clone())?;
            directory.write_tag(Tag::YResolution, per_cm.clone())?;
        }
        directory.finish()
    }
}

impl<K: TiffKind + 'static> RowEncoder for TiffRows<K> {
    fn byte_order(&self) -> ByteOrder {
        ByteOrder::native()
    }

    fn write(&mut self, rows: &[u8]) -> io::Result<()> {
        let full = self.rows_per_strip * self.layout.row_bytes();
        for row in rows.chunks_exact(self.layout.row_bytes()) {
            self.strip.extend_from_slice(row);
            if self.strip.len() == full {
                self.write_strip().map_err(to_io_error)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.strip.is_empty() {
            self.write_strip().map_err(to_io_error)?;
        }
        self.write_directory().map_err(to_io_error)
    }
}

fn to_io_error(error: TiffError) -> io::Error {
    match error {
        TiffError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Raster, Samples};
    use super::*;
    use std::fs;

    /// More than a strip of a TIFF and a chunk of a PNG.
    const SIZE: (usize, usize) = (200, 2000);

    fn values() -> Vec<u16> {
        (0..SIZE.0 * SIZE.1).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 13) as u16).collect()
    }

    fn write_in_bands<T: Sample>(writer: &mut RowWriter, samples: &[T]) {
        samples.chunks(3 * SIZE.1).for_each(|rows| writer.write_rows(rows).unwrap());
    }

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_written_in_bands_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = values().iter().map(|value| (value >> 8) as u8).collect();
        for name in ["a.png", "a.tif"] {
            let path = dir.path().join(name);
            let mut writer = RowWriter::create(&path, SIZE.0, SIZE.1, BitDepth::Eight, None).unwrap();
            write_in_bands(&mut writer, &bytes);
            writer.finish().unwrap();
            assert_eq!(Raster::read(&path).unwrap().raster, Raster::new(SIZE.0, SIZE.1, bytes.clone()), "{name}");
            let mut writer = RowWriter::create(&path, SIZE.0, SIZE.1, BitDepth::Sixteen, Some(0.25)).unwrap();
            write_in_bands(&mut writer, &values());
            writer.finish().unwrap();
            let picture = Raster::read(&path).unwrap();
            assert_eq!(picture.raster, Raster::new(SIZE.0, SIZE.1, values()), "{name}");
            assert_eq!(picture.pixel_size_um, (name == "a.tif").then_some(0.25));
        }
        assert_eq!(names(dir.path()).len(), 2, "no temporary file stays");
    }

    #[test]
    fn several_files_grow_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let path = |class: u8| dir.path().join(format!("{class}.tif"));
        let create = |class| RowWriter::create(&path(class), 3, 2, BitDepth::Eight, None).unwrap();
        let mut writers: Vec<_> = (0..4).map(create).collect();
        for row in 0..3u8 {
            writers.iter_mut().zip(0..).for_each(|(writer, class)| writer.write_rows(&[class, row]).unwrap());
        }
        writers.into_iter().for_each(|writer| writer.finish().unwrap());
        for class in 0..4 {
            let expected = Samples::Eight(vec![class, 0, class, 1, class, 2]);
            assert_eq!(Raster::read(&path(class)).unwrap().raster.samples(), &expected);
        }
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "a.tif"] {
            let path = dir.path().join(name);
            fs::write(&path, "old").unwrap();
            let mut writer = RowWriter::create(&path, 2, 2, BitDepth::Eight, None).unwrap();
            writer.write_rows(&[1u8, 2]).unwrap();
            assert_eq!(names(dir.path()).len(), 2);
            drop(writer);
            assert_eq!((names(dir.path()), fs::read_to_string(&path).unwrap()), (vec![name.into()], "old".into()));
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_tiff_that_could_pass_4_gb_is_a_bigtiff_and_can_be_read() {
        let layout = |height, width| Layout { height, width, depth: BitDepth::Sixteen, per_cm: None };
        assert!(layout(40_000, 40_000).fits_classic_tiff() && !layout(50_000, 50_000).fits_classic_tiff());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let mut encoder = TiffRows::<TiffKindBig>::begin(File::create(&path).unwrap(), layout(1, 2)).unwrap();
        encoder.write(&u16::to_bytes(&[7, 65_535], encoder.byte_order())).unwrap();
        encoder.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap()[2..4], 43u16.to_ne_bytes());
        assert_eq!(Raster::read(&path).unwrap().raster, Raster::new(1, 2, vec![7u16, 65_535]));
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_the_work() {
        let create = |name: &str, size| RowWriter::create(Path::new(name), 2, 2, BitDepth::Eight, size).err().unwrap();
        assert!(create("a.jpg", None).to_string().contains(".png, .tif or .tiff"));
        assert!(create("a.tif", Some(0.0)).to_string().contains("pixel size"));
        assert!(create("missing folder/a.tif", None).to_string().contains("missing folder"));
    }

    #[test]
    #[should_panic(expected = "rows are missing")]
    fn a_file_with_missing_rows_cannot_be_finished() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = RowWriter::create(&dir.path().join("a.png"), 2, 2, BitDepth::Eight, None).unwrap();
        writer.write_rows(&[1u8, 2]).unwrap();
        let _ = writer.finish();
    }
}
