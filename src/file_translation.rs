//! Images of any size translated: a window at a time, or a whole file block by block, with what is done kept on disk.
//!
//! Only the parts of the image under a block and its tiles are ever in memory, and what a block shows depends on nothing
//! but its place, so blocks may be made after a stop and on several machines, and join without a seam.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::blocks::{BlockFolder, BlockGrid, Shard};
use crate::domain::Domain;
use crate::error::Result;
use crate::imaging::{Container, Format, ImageSource, Plane, TILE_SIDE, TileWriter, Window, resize_window, write_as};
use crate::random::Stream;
use crate::syndiff::ImageTranslator;

/// How images are translated.
#[derive(Debug)]
pub struct Translation<'a> {
    /// The networks.
    pub translator: &'a ImageTranslator,
    /// The look to translate into.
    pub to: Domain,
    /// Micrometres per pixel at which the networks work, if that is known.
    pub working_um: Option<f64>,
    /// Draws of the noise.
    pub draws: u64,
}

/// What the draws of a window have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The mean of each pixel.
    pub mean: Plane,
    /// The (population) standard deviation of each pixel.
    pub deviation: Plane,
}

/// An image file to be translated block by block.
#[derive(Debug)]
pub struct LargeImage<'a, S> {
    /// The image.
    pub source: &'a ImageSource,
    /// Micrometres per pixel of the image, if that is known.
    pub pixel_size_um: Option<f64>,
    /// How the result is stored.
    pub format: Format,
    /// Where the mean goes.
    pub mean: PathBuf,
    /// Where the standard deviation goes, if it is wanted.
    pub deviation: Option<PathBuf>,
    /// What the blocks depend on; those of other settings are not gone on with.
    pub settings: S,
}

/// Which blocks are to be made.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The share of this process; none makes all blocks and puts them together.
    pub shard: Option<Shard>,
    /// How many blocks the images before this one have.
    pub blocks_before: usize,
}

/// How far a large image has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is written.
    Finished,
    /// The blocks of this share are made.
    ShareFinished,
    /// It was asked to stop; the blocks made so far are kept.
    Stopped,
}

/// The blocks of an image of `size` rows and columns.
pub fn blocks_of(size: [usize; 2]) -> BlockGrid {
    BlockGrid::new(size, TILE_SIDE)
}

impl Translation<'_> {
    /// A window of the translation of an image of `size` rows and columns; `source` gives windows of the image.
    pub fn window(
        &self,
        size: [usize; 2],
        pixel_size_um: Option<f64>,
        window: &Window,
        noise: &Stream,
        source: impl Fn(&Window) -> Result<Plane>,
    ) -> Result<Drawn> {
        let working = self.working_size(size, pixel_size_um);
        let scaled = |needed: &Window| resize_window(size, working, needed, &source);
        let draw = |number: u64| {
            let noise = noise.child(number);
            let translated =
                |needed: &Window| self.translator.translate_window(working, needed, scaled, self.to, &noise);
            resize_window(working, size, window, translated)
        };
        Ok(Drawn::of(&(0..self.draws).map(draw).collect::<Result<Vec<Plane>>>()?))
    }

    /// Makes the missing blocks of a large image, and puts all together where that is to be done.
    /// `on_block` is called after each block.
    pub fn large_image(
        &self,
        image: &LargeImage<'_, impl Serialize>,
        part: Part,
        noise: &Stream,
        stop: &AtomicBool,
        on_block: &mut dyn FnMut(),
    ) -> Result<Standing> {
        let source = image.source;
        let size = [source.height(), source.width()];
        let grid = blocks_of(size);
        let means = BlockFolder::open(&image.mean, &image.settings)?;
        let deviations = image.deviation.as_ref().map(|path| BlockFolder::open(path, &image.settings)).transpose()?;
        for index in 0..grid.count() {
            if stop.load(Ordering::Relaxed) {
                return Ok(Standing::Stopped);
            }
            let is_ours = part.shard.is_none_or(|shard| shard.holds(part.blocks_before + index));
            // The mean is written last: where it is, the deviation is.
            if is_ours && !means.has(index) {
                let part = |window: &Window| source.plane(window, &image.format.intensity);
                let drawn = self.window(size, image.pixel_size_um, &grid.window(index), noise, part)?;
                if let Some(deviations) = &deviations {
                    write_as(&deviations.block(index), &drawn.deviation, &image.spread_format())?;
                }
                write_as(&means.block(index), &drawn.mean, &image.format)?;
            }
            on_block();
        }
        if part.shard.is_some() {
            return Ok(Standing::ShareFinished);
        }
        if let (Some(path), Some(deviations)) = (&image.deviation, deviations) {
            join(path, &deviations, grid, size, source.container(), &image.spread_format())?;
            deviations.remove()?;
        }
        join(&image.mean, &means, grid, size, source.container(), &image.format)?;
        means.remove()?;
        Ok(Standing::Finished)
    }

    /// Rows and columns at which the networks work.
    fn working_size(&self, size: [usize; 2], pixel_size_um: Option<f64>) -> [usize; 2] {
        match (pixel_size_um, self.working_um) {
            (Some(from), Some(to)) => size.map(|side| ((side as f64 * from / to).round() as usize).max(1)),
            _ => size,
        }
    }
}

impl<S> LargeImage<'_, S> {
    /// A spread has no grey scale of the image: it is stored over the full range.
    fn spread_format(&self) -> Format {
        Format::full(self.format.depth, self.format.pixel_size_um)
    }
}

impl Drawn {
    /// Mean and standard deviation of draws of one size.
    fn of(draws: &[Plane]) -> Self {
        let (height, width) = (draws[0].height(), draws[0].width());
        let count = draws.len() as f32;
        let mean = Plane::from_fn(height, width, |y, x| draws.iter().map(|draw| draw.get(y, x)).sum::<f32>() / count);
        let deviation = Plane::from_fn(height, width, |y, x| {
            let squares: f32 = draws.iter().map(|draw| (draw.get(y, x) - mean.get(y, x)).powi(2)).sum();
            (squares / count).sqrt()
        });
        Self { mean, deviation }
    }
}

/// Puts finished blocks together: a TIFF tile by tile; other formats, which are read as a whole too, as a whole.
fn join(
    path: &Path,
    blocks: &BlockFolder,
    grid: BlockGrid,
    size: [usize; 2],
    container: Container,
    format: &Format,
) -> Result<()> {
    let block = |index: usize| {
        let source = ImageSource::open(&blocks.block(index), None)?;
        source.plane(&source.window(), &format.intensity)
    };
    if container.written_as() == Container::Tiff {
        let mut writer = TileWriter::create(path, size[0], size[1], format)?;
        for index in 0..grid.count() {
            writer.write_plane(index, &block(index)?)?;
        }
        return writer.finish();
    }
    let mut whole = Plane::new(size[0], size[1], vec![0.0; size[0] * size[1]]);
    for index in 0..grid.count() {
        let (window, block) = (grid.window(index), block(index)?);
        for (row, pixels) in window.rows.zip(block.pixels().chunks_exact(block.width())) {
            whole.pixels_mut()[row * size[1]..][window.columns.clone()].copy_from_slice(pixels);
        }
    }
    write_as(path, &whole, format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{self, BitDepth, Intensity};

    #[test]
    fn blocks_made_after_a_stop_and_in_shares_join_to_what_one_go_gives() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let image = Plane::from_fn(600, 540, |y, x| ((3 * y + 7 * x) % 101) as f32 / 100.0);
        imaging::write(&at("in.tif"), &image, BitDepth::Sixteen, Some(0.1)).unwrap();
        let source = ImageSource::open(&at("in.tif"), None).unwrap();
        let format = source.format(source.fit(Intensity::Automatic, &mut |_| ()).unwrap());
        let translator = ImageTranslator::tiny(64);
        // At a third of the resolution, so that the test is quick.
        let job = Translation { translator: &translator, to: Domain::Target, working_um: Some(0.3), draws: 2 };
        let noise = Stream::new(5);
        let large = |name: &str| LargeImage {
            source: &source,
            pixel_size_um: Some(0.1),
            format,
            mean: at(name),
            deviation: Some(at(&format!("sd_{name}"))),
            settings: "these",
        };
        let run = |name: &str, shard: Option<&str>, blocks: usize| {
            let part = Part { shard: shard.map(|text| text.parse().unwrap()), blocks_before: 0 };
            let (stop, mut made) = (AtomicBool::new(false), 0);
            let mut on_block = || {
                made += 1;
                stop.store(made == blocks, Ordering::Relaxed);
            };
            job.large_image(&large(name), part, &noise, &stop, &mut on_block).unwrap()
        };
        assert_eq!(run("once.tif", None, 99), Standing::Finished);
        assert_eq!(run("parts.tif", Some("2/2"), 1), Standing::Stopped);
        assert_eq!(run("parts.tif", Some("2/2"), 99), Standing::ShareFinished);
        assert!(!at("parts.tif").exists());
        assert_eq!(run("parts.tif", None, 99), Standing::Finished);
        assert_eq!(std::fs::read(at("once.tif")).unwrap(), std::fs::read(at("parts.tif")).unwrap());
        assert!(!BlockFolder::beside(&at("parts.tif")).exists() && at("sd_parts.tif").is_file());

        let whole = |window: &Window| source.plane(window, &format.intensity);
        let drawn = job.window([600, 540], Some(0.1), &source.window(), &noise, whole).unwrap();
        let written = ImageSource::open(&at("once.tif"), None).unwrap();
        assert_eq!((written.depth(), written.pixel_size_um()), (BitDepth::Sixteen, Some(0.1)));
        let written = written.plane(&source.window(), &format.intensity).unwrap();
        let differences = drawn.mean.pixels().iter().zip(written.pixels()).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, f32::max);
        assert!(largest < 1e-4, "{largest}: more than 16-bit steps and the last digits of sums");
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_draws() {
        let drawn = Drawn::of(&[Plane::new(1, 2, vec![0.2, 0.5]), Plane::new(1, 2, vec![0.6, 0.5])]);
        let close =
            |plane: &Plane, expected: [f32; 2]| plane.pixels().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(&drawn.mean, [0.4, 0.5]) && close(&drawn.deviation, [0.2, 0.0]));
    }
}
