//! Strided convolutions from output to input: which taps lead to which of the input's pixels.

use pulp::Arch;

use super::geometry::Geometry;
use super::sharing::Task;
use super::simd::{Shared, vectorised};
use super::team::each_chunk;
use super::window::Window;

/// The taps of a convolution by the remainder of the input's row and column by the stride: with a stride of 2, even rows see
/// other taps than odd ones.
pub struct Phases {
    pub all: Vec<Phase>,
    /// Rows and columns of the gradient that pixels of one row and column see, of any phase.
    pub reach: [usize; 2],
    /// How many of them come before that of the same number.
    pub before: [usize; 2],
}

/// The taps of one phase.
pub struct Phase {
    /// Rows and columns of taps.
    taps: [usize; 2],
    /// The row and column of the reach that the first tap leads to; the next tap leads to the one before.
    first: [usize; 2],
    /// `[inputs, outputs, taps]`
    pub weights: Vec<f32>,
}

/// Of the pixels of one remainder, in one dimension.
struct Line {
    /// The first tap, and how many there are, a stride apart.
    tap: usize,
    taps: usize,
    /// How far the output that the first tap leads to is behind that of the pixel's number.
    ahead: usize,
}

impl Line {
    fn new(remainder: usize, kernel: usize, stride: usize, padding: usize) -> Self {
        let place = remainder + padding;
        let tap = place % stride;
        Self { tap, taps: kernel.saturating_sub(tap).div_ceil(stride), ahead: place / stride }
    }

    /// Outputs that come before that of the pixel's number.
    fn before(&self) -> usize {
        self.taps.saturating_sub(1 + self.ahead)
    }
}

impl Phases {
    pub fn new(geometry: &Geometry, weights: &[f32]) -> Self {
        let Geometry { inputs, outputs, kernel, stride, padding, .. } = *geometry;
        let [rows, columns] = [0, 1].map(|axis| {
            let line = |remainder| Line::new(remainder, kernel[axis], stride[axis], padding[axis]);
            (0..stride[axis]).map(line).collect::<Vec<Line>>()
        });
        let most = |of: fn(&Line) -> usize| [&rows, &columns].map(|lines| lines.iter().map(of).max().unwrap_or(0));
        let (before, ahead) = (most(Line::before), most(|line| line.ahead));
        let phases = rows.iter().flat_map(|row| columns.iter().map(move |column| [row, column]));
        let all = phases.map(|[row, column]| {
            let taps = [row.taps, column.taps];
            let places: Vec<usize> = (0..row.taps)
                .flat_map(|i| (0..column.taps).map(move |j| (row.tap + i * stride[0], column.tap + j * stride[1])))
                .map(|(row, column)| row * kernel[1] + column)
                .collect();
            let count = places.len();
            let mut turned = vec![0.0; inputs * outputs * count];
            each_chunk(&mut turned, (outputs * count).max(1), |input, line| {
                let kernels = weights[input * geometry.taps()..].chunks(inputs * geometry.taps());
                for (turned, kernel) in line.chunks_exact_mut(count).zip(kernels) {
                    for (value, place) in turned.iter_mut().zip(&places) {
                        *value = kernel[*place];
                    }
                }
            });
            Phase { taps, first: [before[0] + row.ahead, before[1] + column.ahead], weights: turned }
        });
        Self { all: all.collect(), reach: [0, 1].map(|axis| before[axis] + ahead[axis] + 1), before }
    }

    /// Puts the pixels of the phases of a task, `[phases, channels, images, rows, columns]`, where they belong.
    ///
    /// # Safety
    /// `target` must be images of the geometry's inputs.
    pub unsafe fn merge(
        &self,
        arch: Arch,
        geometry: &Geometry,
        task: &Task,
        columns: usize,
        results: &[f32],
        target: Shared,
    ) {
        vectorised(
            arch,
            #[inline(always)]
            // SAFETY: the caller's promise.
            || unsafe { self.merge_lines(geometry, task, columns, results, target) },
        );
    }

    /// # Safety
    /// As [`merge`](Self::merge).
    #[inline(always)]
    unsafe fn merge_lines(&self, geometry: &Geometry, task: &Task, columns: usize, results: &[f32], target: Shared) {
        let Geometry { inputs, size: [height, width], stride: [down, across], .. } = *geometry;
        let lines = task.channels * task.images * task.rows;
        // The phases of one remainder of the row together: their columns come by turns.
        for (remainder, results) in results.chunks_exact(across * lines * columns).enumerate() {
            for line in 0..lines {
                let (plane, row) = (line / task.rows, line % task.rows);
                let (channel, image) = (task.channel + plane / task.images, task.image + plane % task.images);
                let y = (task.first + row) * down + remainder;
                if y >= height {
                    continue;
                }
                // SAFETY: a row of the image, which no other line has.
                let to = unsafe {
                    let start = target.at(((image * inputs + channel) * height + y) * width);
                    std::slice::from_raw_parts_mut(start, width)
                };
                let phase = |phase: usize| &results[(phase * lines + line) * columns..][..columns];
                if across == 2 {
                    by_turns(phase(0), phase(1), to);
                    continue;
                }
                for x in 0..across.min(width) {
                    to[x..].iter_mut().step_by(across).zip(phase(x)).for_each(|(to, value)| *to = *value);
                }
            }
        }
    }
}

/// The values of two lists by turns.
#[inline(always)]
fn by_turns(firsts: &[f32], seconds: &[f32], out: &mut [f32]) {
    let (pairs, last) = out.as_chunks_mut::<2>();
    if let [last] = last {
        *last = firsts[pairs.len()];
    }
    for ((pair, first), second) in pairs.iter_mut().zip(firsts).zip(seconds) {
        *pair = [*first, *second];
    }
}

impl Phase {
    /// Distances of the taps of all channels in a window over the gradient.
    pub fn offsets(&self, window: &Window, channels: usize) -> Vec<usize> {
        let [down, across] = self.first;
        let taps = (0..self.taps[0]).flat_map(|row| (0..self.taps[1]).map(move |column| (row, column)));
        let taps: Vec<usize> = taps.map(|(row, column)| window.tap(down - row, across - column)).collect();
        (0..channels).flat_map(|channel| taps.iter().map(move |tap| channel * window.plane() + tap)).collect()
    }
}
