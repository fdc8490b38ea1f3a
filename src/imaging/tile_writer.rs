//! Grey TIFF files written tile by tile in any order, so that an image is never held as a whole, each file complete or
//! not there at all.

use super::rows::{COMPRESSION, check_format};
use super::samples::{ByteOrder, to_bytes};
use super::tiff_file::{Layout, TiffWriter};
use super::write::{container_of, ome_name};
use super::{BitDepth, Container, Format, Plane, Sample, Window};
use crate::error::{Error, Result};
use crate::files::PendingFile;
use flate2::write::ZlibEncoder;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The side of a tile: 512 KiB at 16 bits, what viewers of large images expect.
pub const TILE_SIDE: usize = 512;

/// A grey TIFF (`.tif`, `.tiff`; OME-TIFF where the name ends in `.ome.tif` or `.ome.tiff`) of square tiles, compressed
/// without loss, that come in any order. It holds one tile and 16 bytes for each that is written. Until
/// [`finish`](Self::finish) it has a temporary name, and it is removed when dropped before.
///
/// A file that could grow beyond 4 GB is a BigTIFF.
pub struct TileWriter {
    // Dropped, and thereby closed, before the file is removed.
    writer: TiffWriter,
    file: PendingFile,
    layout: Layout,
    format: Format,
    /// Where each tile is and how many bytes it has; nothing for those that are missing.
    tiles: Vec<Option<(u64, u64)>>,
}

impl TileWriter {
    /// Begins a file of `height` x `width` pixels.
    ///
    /// # Panics
    /// When there are no pixels, or more than 2^31 - 1 to a side.
    pub fn create(path: &Path, height: usize, width: usize, format: &Format) -> Result<Self> {
        assert!(height > 0 && width > 0, "an image of {height} x {width} cannot be written: there must be a pixel");
        assert!(height.max(width) <= i32::MAX as usize, "a side of {height} x {width} pixels is too long");
        if container_of(path)? != Container::Tiff {
            let reason = "large images are written in tiles, which a PNG has not; give a name that ends in .ome.tif";
            return Err(Error::image(path, reason));
        }
        let Format { depth, pixel_size_um, .. } = *format;
        check_format(path, Container::Tiff, depth, pixel_size_um)?;
        // Differences shrink photographs by a third; those of floats have to be taken of their bytes.
        let has_differences = !matches!(depth, BitDepth::Float16 | BitDepth::Float32 | BitDepth::Float64);
        let (chunk, is_tiled, ome_name) = (TILE_SIDE, true, ome_name(path));
        let layout = Layout { height, width, depth, pixel_size_um, chunk, is_tiled, has_differences, ome_name };
        let file = PendingFile::new(path)?;
        let target = File::create(file.temporary()).map_err(Error::io("write", path))?;
        let writer = TiffWriter::begin(target, !layout.fits_classic_tiff()).map_err(Error::io("write", path))?;
        let tiles = vec![None; height.div_ceil(TILE_SIDE) * width.div_ceil(TILE_SIDE)];
        Ok(Self { writer, file, layout, format: *format, tiles })
    }

    /// How many tiles there are, row by row.
    pub fn count(&self) -> usize {
        self.tiles.len()
    }

    /// The pixels of a tile; those at the right and the lower border are smaller.
    ///
    /// # Panics
    /// When there is no such tile.
    pub fn window(&self, tile: usize) -> Window {
        assert!(tile < self.count(), "there is no tile {tile} of {}", self.count());
        let across = self.layout.width.div_ceil(TILE_SIDE);
        let (top, left) = (tile / across * TILE_SIDE, tile % across * TILE_SIDE);
        let (height, width) = (self.layout.height, self.layout.width);
        Window { rows: top..(top + TILE_SIDE).min(height), columns: left..(left + TILE_SIDE).min(width) }
    }

    /// Whether a tile was written.
    pub fn has(&self, tile: usize) -> bool {
        self.tiles[tile].is_some()
    }

    /// Writes a tile from grey values in [0, 1].
    ///
    /// # Panics
    /// When the plane has not the size of the tile's window, or the tile was written before.
    pub fn write_plane(&mut self, tile: usize, plane: &Plane) -> Result<()> {
        let window = self.window(tile);
        assert_eq!((plane.height(), plane.width()), (window.height(), window.width()), "tile {tile} has another size");
        self.write_values(tile, &self.format.stored(plane.pixels()))
    }

    /// Writes a tile from stored values, row by row.
    ///
    /// # Panics
    /// When the values are not of the kind of the file or not as many as the tile's window has, or the tile was written
    /// before.
    pub fn write_samples<T: Sample>(&mut self, tile: usize, samples: &[T]) -> Result<()> {
        assert_eq!(T::DEPTH, self.layout.depth.held(), "the samples must have the depth of the file");
        self.write_values(tile, samples)
    }

    fn write_values<T: Sample>(&mut self, tile: usize, values: &[T]) -> Result<()> {
        let window = self.window(tile);
        assert_eq!(values.len(), window.height() * window.width(), "tile {tile} has another size");
        assert!(!self.has(tile), "tile {tile} was written before");
        // Tiles at the border are filled up with zeros.
        let mut whole = vec![T::default(); TILE_SIDE * TILE_SIDE];
        for (to, from) in whole.chunks_exact_mut(TILE_SIDE).zip(values.chunks_exact(window.width())) {
            to[..from.len()].copy_from_slice(from);
        }
        let mut bytes = to_bytes(&whole, self.layout.depth, ByteOrder::NATIVE);
        if self.layout.has_differences {
            take_differences(&mut bytes, self.layout.depth.bytes());
        }
        self.tiles[tile] = Some(self.append(&bytes).map_err(Error::io("write", self.file.path()))?);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<(u64, u64)> {
        let mut compressed = ZlibEncoder::new(Vec::new(), COMPRESSION);
        compressed.write_all(bytes)?;
        let compressed = compressed.finish()?;
        Ok((self.writer.append(&compressed)?, compressed.len() as u64))
    }

    /// Ends the file and gives it its name.
    ///
    /// # Panics
    /// When tiles are missing.
    pub fn finish(self) -> Result<()> {
        let tiles: Option<Vec<_>> = self.tiles.into_iter().collect();
        let tiles = tiles.expect("every tile was written");
        self.writer.finish(&self.layout, &tiles).map_err(Error::io("write", self.file.path()))?;
        self.file.complete()
    }
}

/// Replaces each number of a row of a tile by its difference from the one to its left (TIFF 6.0, section 14).
fn take_differences(bytes: &mut [u8], size: usize) {
    fn rows<const N: usize>(bytes: &mut [u8], less: impl Fn([u8; N], [u8; N]) -> [u8; N]) {
        for row in bytes.chunks_exact_mut(TILE_SIDE * N) {
            let numbers = row.as_chunks_mut::<N>().0;
            (1..numbers.len()).rev().for_each(|i| numbers[i] = less(numbers[i], numbers[i - 1]));
        }
    }
    match size {
        1 => rows(bytes, |[a], [b]| [a.wrapping_sub(b)]),
        2 => rows(bytes, |a, b| u16::from_ne_bytes(a).wrapping_sub(u16::from_ne_bytes(b)).to_ne_bytes()),
        _ => rows(bytes, |a, b| u32::from_ne_bytes(a).wrapping_sub(u32::from_ne_bytes(b)).to_ne_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ImageSource, Raster};
    use super::*;
    use std::fs;

    const SIZE: [usize; 2] = [700, 1100];

    fn values<T>(from: impl Fn(u32) -> T) -> Vec<T> {
        (0..(SIZE[0] * SIZE[1]) as u32).map(|i| from(i.wrapping_mul(2_654_435_761) >> 8)).collect()
    }

    /// Writes the tiles from the last to the first.
    fn write_backwards<T: Sample>(path: &Path, format: &Format, all: &[T]) {
        let mut writer = TileWriter::create(path, SIZE[0], SIZE[1], format).unwrap();
        for tile in (0..writer.count()).rev() {
            let Window { rows, columns } = writer.window(tile);
            let part: Vec<T> = rows.flat_map(|y| &all[y * SIZE[1]..][columns.clone()]).copied().collect();
            writer.write_samples(tile, &part).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn tiles_in_any_order_make_the_image_at_every_depth() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ome.tif");
        let check = |depth, raster: Raster| {
            let format = Format::full(depth, Some(0.0476));
            super::super::with_numbers!(raster.samples(), numbers => write_backwards(&path, &format, numbers));
            let found = Raster::read(&path).unwrap();
            assert!(found.raster.samples() == raster.samples(), "{depth:?}");
            assert_eq!((found.depth, found.pixel_size_um), (depth, Some(0.0476)));
        };
        check(BitDepth::Eight, Raster::new(SIZE[0], SIZE[1], values(|v| v as u8)));
        check(BitDepth::Sixteen, Raster::new(SIZE[0], SIZE[1], values(|v| v as u16)));
        check(BitDepth::Signed16, Raster::new(SIZE[0], SIZE[1], values(|v| f32::from(v as i16))));
        check(BitDepth::Unsigned32, Raster::new(SIZE[0], SIZE[1], values(|v| f64::from(v * 251))));
        check(BitDepth::Float32, Raster::new(SIZE[0], SIZE[1], values(|v| v as f32 / 7.0)));
        check(BitDepth::Float64, Raster::new(SIZE[0], SIZE[1], values(|v| f64::from(v) / 7.0)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn an_image_goes_through_tiles_unchanged_in_its_own_format() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a.tif"), dir.path().join("b.ome.tif"));
        write_backwards(&from, &Format::full(BitDepth::Sixteen, Some(0.13)), &values(|v| v as u16 / 3 + 900));
        let source = ImageSource::open(&from, None).unwrap();
        let map = source.fit(super::super::Intensity::Percentile { low: 0.0, high: 100.0 }, &mut |_| {}).unwrap();
        let mut writer = TileWriter::create(&to, source.height(), source.width(), &source.format(map)).unwrap();
        for tile in 0..writer.count() {
            writer.write_plane(tile, &source.plane(&writer.window(tile), &map).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let [expected, found] = [&from, &to].map(|path| Raster::read(path).unwrap());
        assert!(found.raster == expected.raster && found.pixel_size_um == Some(0.13));
    }

    #[test]
    fn a_file_that_is_not_finished_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let mut writer = TileWriter::create(&path, 3, 3, &Format::full(BitDepth::Eight, None)).unwrap();
        writer.write_samples(0, &[1u8; 9]).unwrap();
        assert!(writer.has(0) && !path.exists());
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let refused = TileWriter::create(&dir.path().join("a.png"), 3, 3, &Format::full(BitDepth::Eight, None));
        assert!(refused.err().unwrap().to_string().contains(".ome.tif"));
    }
}
