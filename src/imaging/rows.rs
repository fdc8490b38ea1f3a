//! Grey PNG and TIFF files written row by row, so that an image is never held as a whole, each file complete or not
//! there at all.

use super::read::png_resolution;
use super::samples::{ByteOrder, to_bytes};
use super::tiff_file::{Layout, TiffWriter, can_be_stored};
use super::write::{container_of, ome_name};
use super::{BitDepth, Container, Sample};
use crate::error::{Error, Result};
use crate::files::PendingFile;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// A grey image file that is written from its first row to its last: PNG (`.png`) or TIFF (`.tif`, `.tiff`; OME-TIFF
/// where the name ends in `.ome.tif` or `.ome.tiff`), compressed without loss. Until [`finish`](Self::finish) it has a
/// temporary name, and it is removed when dropped before.
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
    /// Begins a file of `height` x `width` pixels. It carries the pixel size as [`write_as`](super::write_as()) has it.
    /// A PNG holds unsigned integers of 8 or 16 bits only.
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
        check_format(path, container, depth, pixel_size_um)?;
        let file = PendingFile::new(path)?;
        let target = File::create(file.temporary()).map_err(Error::io("write", path))?;
        let encoder = match container {
            Container::Png => PngRows::begin(target, [height, width], depth, pixel_size_um),
            _ => {
                let chunk = TiffRows::STRIP_BYTES.div_ceil(width * depth.bytes()).min(height);
                let (ome_name, is_tiled, has_differences) = (ome_name(path), false, false);
                TiffRows::begin(
                    target,
                    Layout { height, width, depth, pixel_size_um, chunk, is_tiled, has_differences, ome_name },
                )
            }
        };
        let encoder = encoder.map_err(Error::io("write", path))?;
        Ok(Self { encoder, file, depth, width, missing_rows: height })
    }

    /// Writes the next rows.
    ///
    /// # Panics
    /// When the samples are not of the depth of the file, do not make whole rows, or are more than the image has.
    pub fn write_rows<T: Sample>(&mut self, samples: &[T]) -> Result<()> {
        assert_eq!(T::DEPTH, self.depth.held(), "the samples must have the depth of the file");
        self.write_values(samples)
    }

    /// Writes the next rows from numbers that are rounded to those of the file.
    ///
    /// # Panics
    /// When the numbers do not make whole rows, or are more than the image has.
    pub(super) fn write_values<T: Sample>(&mut self, values: &[T]) -> Result<()> {
        assert_eq!(values.len() % self.width, 0, "samples must be whole rows of {}", self.width);
        let rows = values.len() / self.width;
        assert!(rows <= self.missing_rows, "{rows} rows are too many, {} are missing", self.missing_rows);
        self.missing_rows -= rows;
        let bytes = to_bytes(values, self.depth, self.encoder.byte_order());
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

/// Refuses what a format cannot hold.
pub(super) fn check_format(path: &Path, container: Container, depth: BitDepth, size_um: Option<f64>) -> Result<()> {
    if let Some(size) = size_um.filter(|size| !can_be_stored(*size)) {
        let reason = format!("its pixel size {size} um cannot be stored; give a positive size in micrometres");
        return Err(Error::image(path, reason));
    }
    if container == Container::Png && ![BitDepth::Eight, BitDepth::Sixteen].contains(&depth) {
        let reason = "a PNG holds integers from 0 on, of 8 or 16 bits; give a name that ends in .tif";
        return Err(Error::image(path, reason));
    }
    Ok(())
}

/// Zlib's fastest level: label maps shrink to a few hundredths with it.
pub(super) const COMPRESSION: Compression = Compression::fast();

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

    fn begin(
        target: File,
        [height, width]: [usize; 2],
        depth: BitDepth,
        pixel_size_um: Option<f64>,
    ) -> io::Result<Box<dyn RowEncoder>> {
        let mut encoder = png::Encoder::new(target, width as u32, height as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(if depth == BitDepth::Eight { png::BitDepth::Eight } else { png::BitDepth::Sixteen });
        encoder.set_pixel_dims(pixel_size_um.and_then(png_resolution));
        let stream = ZlibEncoder::new(Vec::new(), COMPRESSION);
        Ok(Box::new(Self { chunks: encoder.write_header()?, stream, previous: vec![0; width * depth.bytes()] }))
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        self.chunks.write_chunk(png::chunk::IDAT, self.stream.get_ref())?;
        self.stream.get_mut().clear();
        Ok(())
    }
}

impl RowEncoder for PngRows {
    fn byte_order(&self) -> ByteOrder {
        ByteOrder::Big
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
struct TiffRows {
    writer: TiffWriter,
    layout: Layout,
    /// The rows of the strip that is not full yet.
    strip: Vec<u8>,
    /// Where the strips are and how many bytes they have.
    strips: Vec<(u64, u64)>,
}

impl TiffRows {
    const STRIP_BYTES: usize = 1 << 18;

    fn begin(target: File, layout: Layout) -> io::Result<Box<dyn RowEncoder>> {
        let writer = TiffWriter::begin(target, !layout.fits_classic_tiff())?;
        Ok(Box::new(Self { writer, layout, strip: Vec::new(), strips: Vec::new() }))
    }

    fn row_bytes(&self) -> usize {
        self.layout.width * self.layout.depth.bytes()
    }

    fn write_strip(&mut self) -> io::Result<()> {
        let mut compressed = ZlibEncoder::new(Vec::new(), COMPRESSION);
        compressed.write_all(&self.strip)?;
        let compressed = compressed.finish()?;
        self.strip.clear();
        let place = self.writer.append(&compressed)?;
        self.strips.push((place, compressed.len() as u64));
        Ok(())
    }
}

impl RowEncoder for TiffRows {
    fn byte_order(&self) -> ByteOrder {
        ByteOrder::NATIVE
    }

    fn write(&mut self, rows: &[u8]) -> io::Result<()> {
        let full = self.layout.chunk * self.row_bytes();
        for row in rows.chunks_exact(self.row_bytes()) {
            self.strip.extend_from_slice(row);
            if self.strip.len() == full {
                self.write_strip()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.strip.is_empty() {
            self.write_strip()?;
        }
        self.writer.finish(&self.layout, &self.strips)
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
            assert_eq!(picture.pixel_size_um, Some(0.25));
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
        let layout = |height, width| {
            let (depth, pixel_size_um, chunk) = (BitDepth::Sixteen, None, 1);
            let (is_tiled, has_differences, ome_name) = (false, false, None);
            Layout { height, width, depth, pixel_size_um, chunk, is_tiled, has_differences, ome_name }
        };
        assert!(layout(40_000, 40_000).fits_classic_tiff() && !layout(50_000, 50_000).fits_classic_tiff());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let mut writer = TiffWriter::begin(File::create(&path).unwrap(), true).unwrap();
        let mut strip = ZlibEncoder::new(Vec::new(), COMPRESSION);
        strip.write_all(&to_bytes(&[7u16, 65_535], BitDepth::Sixteen, ByteOrder::NATIVE)).unwrap();
        let strip = strip.finish().unwrap();
        let place = writer.append(&strip).unwrap();
        writer.finish(&layout(1, 2), &[(place, strip.len() as u64)]).unwrap();
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
