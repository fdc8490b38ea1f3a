//! How the work of a convolution is shared out among threads.

use super::spots::Spots;
use super::team::threads;

/// Floats of laid-out input that stay in the second cache beside everything else.
pub const BAND: usize = 1 << 17;
/// Pixels that make it worth to read the weights once more.
const PIXELS: usize = 96;
/// Output channels that the inner loop computes together.
pub const ROWS: usize = 8;

/// How the work of a convolution is shared out: every task has some images, or a band of one, and some output channels.
pub struct Split {
    /// Images of a task, at most.
    pub images: usize,
    /// Rows of pixels of a task.
    pub band: usize,
    /// Output channels of a task.
    channels: usize,
}

/// The part of one task.
#[derive(Clone, Copy)]
pub struct Task {
    /// The first image, and how many there are.
    pub image: usize,
    pub images: usize,
    /// The first row of pixels, and how many there are.
    pub first: usize,
    pub rows: usize,
    /// The first channel, and how many there are.
    pub channel: usize,
    pub channels: usize,
}

impl Split {
    /// For `batch` images of `rows` x `columns` results of `channels`, whose input takes `floats_a_row`.
    ///
    /// `bias` has a value for each channel, or one for each channel of each image: then a task has one image.
    pub fn new(
        batch: usize,
        [rows, columns]: [usize; 2],
        channels: usize,
        floats_a_row: usize,
        bias: Option<&[f32]>,
    ) -> Self {
        // More than threads, to even out how long they take.
        let wanted = if threads() == 1 { 1 } else { 2 * threads() };
        let fits = (BAND / floats_a_row).max(1);
        let alone = rows > fits || bias.is_some_and(|bias| bias.len() != channels);
        let images = if alone { 1 } else { (PIXELS / (rows * columns)).clamp(1, batch).min(fits / rows) };
        let smallest = PIXELS.div_ceil(columns);
        let bands = wanted.div_ceil(batch).min(rows.div_ceil(smallest));
        let band = if images > 1 { rows } else { rows.div_ceil(bands).min(fits) };
        let tasks = batch.div_ceil(images) * rows.div_ceil(band);
        let parts = wanted.div_ceil(tasks).min(channels.div_ceil(2 * ROWS)).max(1);
        Self { images, band, channels: channels.div_ceil(parts).next_multiple_of(ROWS).min(channels) }
    }

    pub fn tasks(&self, batch: usize, rows: usize, channels: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        for image in (0..batch).step_by(self.images) {
            for first in (0..rows).step_by(self.band) {
                for channel in (0..channels).step_by(self.channels) {
                    tasks.push(Task {
                        image,
                        images: self.images.min(batch - image),
                        first,
                        rows: self.band.min(rows - first),
                        channel,
                        channels: self.channels.min(channels - channel),
                    });
                }
            }
        }
        tasks
    }
}

/// The vectors of full tasks and of those at the end.
pub struct SpotsOfTasks(Vec<([usize; 2], Spots)>);

impl SpotsOfTasks {
    pub fn new(tasks: &[Task], of: impl Fn(usize, usize) -> Spots) -> Self {
        let mut all: Vec<([usize; 2], Spots)> = Vec::new();
        for task in tasks {
            let size = [task.images, task.rows];
            if all.iter().all(|(known, _)| *known != size) {
                all.push((size, of(task.images, task.rows)));
            }
        }
        Self(all)
    }

    pub fn of(&self, task: &Task) -> &Spots {
        let found = self.0.iter().find(|(size, _)| *size == [task.images, task.rows]);
        &found.expect("the vectors of every task are there").1
    }
}
