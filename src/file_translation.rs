//! Images of any size translated: a window at a time, or a whole file block by block, with what is done kept on disk.
//!
//! Only parts of the image are ever in memory, and what a block shows depends on nothing but its place, so blocks may be
//! made after a stop and on several machines, and join without a seam. They go through the networks in groups: where the
//! networks work at a coarser resolution, a single block is smaller than a tile there, and most of each tile would be
//! translated in vain.

use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::blocks::{BlockFolder, BlockGrid, BlockGroups, Shard};
use crate::domain::Domain;
use crate::error::Result;
use crate::imaging::{
    Container, Format, ImageSource, IntensityMap, Plane, TILE_SIDE, TileWriter, Window, needed_window, resize_in_bands,
    resize_window, write_as,
};
use crate::random::Stream;
use crate::syndiff::ImageTranslator;

/// Side at the networks' resolution, in pixels, up to which blocks go through the networks as one group. With tiles of
/// 64 pixels, 2.6 pixels are translated for each that is wanted (24 for a single block of 26 pixels, 1.8 in an image
/// without end); larger groups would leave less to share out, and lose more at a stop.
const GROUP_SIDE: f64 = 256.0;

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
    /// Which stored numbers of the image the networks see as 0 and 1.
    pub intensity: IntensityMap,
    /// How the result, and the spread of its draws, is stored.
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
    /// How many groups the images before this one have.
    pub groups_before: usize,
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

/// The draws of a window at the networks' resolution.
struct Draws {
    /// The size of the image.
    size: [usize; 2],
    /// The size at which the networks see it.
    working: [usize; 2],
    /// Where the planes lie in that.
    window: Window,
    planes: Vec<Plane>,
}

impl Draws {
    /// A window of the image at its own resolution; all that it depends on must be there.
    fn at(&self, window: &Window) -> Drawn {
        let from = |start: usize, range: &Range<usize>| range.start - start..range.end - start;
        let resized = |plane: &Plane| {
            let part = |needed: &Window| {
                let rows = from(self.window.rows.start, &needed.rows);
                let columns = from(self.window.columns.start, &needed.columns);
                Ok::<_, Infallible>(plane.part(&Window { rows, columns }))
            };
            resize_window(self.working, self.size, window, part).unwrap_or_else(|never| match never {})
        };
        Drawn::of(&self.planes.iter().map(resized).collect::<Vec<Plane>>())
    }
}

impl Translation<'_> {
    /// How a large image is divided; a share of the work is a share of the groups.
    pub fn groups(&self, size: [usize; 2], pixel_size_um: Option<f64>) -> BlockGroups {
        let working = self.working_size(size, pixel_size_um);
        let block = TILE_SIDE as f64 * working[0] as f64 / size[0] as f64;
        BlockGroups::new(BlockGrid::new(size, TILE_SIDE), (GROUP_SIDE / block).max(1.0) as usize)
    }

    /// A window of the translation of an image of `size` rows and columns; `source` gives windows of the image.
    pub fn window(
        &self,
        size: [usize; 2],
        pixel_size_um: Option<f64>,
        window: &Window,
        noise: &Stream,
        source: impl Fn(&Window) -> Result<Plane>,
    ) -> Result<Drawn> {
        Ok(self.draws(size, pixel_size_um, window, noise, source)?.at(window))
    }

    /// All draws that a window depends on.
    fn draws(
        &self,
        size: [usize; 2],
        pixel_size_um: Option<f64>,
        window: &Window,
        noise: &Stream,
        source: impl Fn(&Window) -> Result<Plane>,
    ) -> Result<Draws> {
        let working = self.working_size(size, pixel_size_um);
        let window = needed_window(working, size, window);
        // All draws need the same part of the image, so it is read once.
        let mut read: Option<Plane> = None;
        let mut draw = |number: u64| {
            let scaled = |needed: &Window| match &read {
                Some(plane) => Ok(plane.clone()),
                None => Ok(read.insert(resize_in_bands(size, working, needed, &source)?).clone()),
            };
            self.translator.translate_window(working, &window, scaled, self.to, &noise.child(number))
        };
        let planes = (0..self.draws).map(&mut draw).collect::<Result<_>>()?;
        Ok(Draws { size, working, window, planes })
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
        let size = image.size();
        let groups = self.groups(size, image.pixel_size_um);
        let means = BlockFolder::open(&image.mean, &image.settings)?;
        let deviations = image.deviation.as_ref().map(|path| BlockFolder::open(path, &image.settings)).transpose()?;
        for group in 0..groups.count() {
            let is_ours = part.shard.is_none_or(|shard| shard.holds(part.groups_before + group));
            let mut draws = None;
            for index in groups.blocks_of(group) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(Standing::Stopped);
                }
                if is_ours && !means.has(index) {
                    let source = |window: &Window| image.source.plane(window, &image.intensity);
                    let draw = || self.draws(size, image.pixel_size_um, &groups.window(group), noise, source);
                    let draws = match &mut draws {
                        Some(draws) => draws,
                        none => none.insert(draw()?),
                    };
                    let drawn = draws.at(&groups.blocks().window(index));
                    image.write_block(index, &drawn, &means, deviations.as_ref())?;
                }
                on_block();
            }
        }
        if part.shard.is_some() {
            return Ok(Standing::ShareFinished);
        }
        image.join(means, deviations, groups.blocks())?;
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
    /// Rows and columns.
    fn size(&self) -> [usize; 2] {
        [self.source.height(), self.source.width()]
    }

    /// Writes a block. The mean comes last: where it is, the deviation is.
    fn write_block(
        &self,
        index: usize,
        drawn: &Drawn,
        means: &BlockFolder,
        deviations: Option<&BlockFolder>,
    ) -> Result<()> {
        if let Some(deviations) = deviations {
            write_as(&deviations.block(index), &drawn.deviation, &self.format)?;
        }
        write_as(&means.block(index), &drawn.mean, &self.format)
    }

    /// Puts the finished blocks together.
    fn join(&self, means: BlockFolder, deviations: Option<BlockFolder>, grid: BlockGrid) -> Result<()> {
        let container = self.source.container();
        if let (Some(path), Some(deviations)) = (&self.deviation, deviations) {
            join(path, &deviations, grid, self.size(), container, &self.format)?;
            deviations.remove()?;
        }
        join(&self.mean, &means, grid, self.size(), container, &self.format)?;
        means.remove()
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
mod tests;
