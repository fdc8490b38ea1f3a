//! Images laid out for a convolution: with their borders, in rows of one pitch, so that each tap of a kernel is a fixed
//! distance away and the pixels of several short rows make one vector.

use super::geometry::{Border, Geometry};

/// How a band of an image is laid out.
///
/// With a stride, the pixels are parted by the remainder of their row and column (their phase), so that the pixels which
/// one tap sees lie side by side in any case.
#[derive(Debug, Clone)]
pub struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    border: Border,
    /// Rows of one phase.
    rows: usize,
    /// Floats from one row to the next.
    pub pitch: usize,
}

/// Floats behind the last plane that vectors may read and nothing depends on.
const SLACK: usize = 64;

impl Window {
    /// For `rows` rows of output of this convolution.
    pub fn new(geometry: &Geometry, rows: usize) -> Self {
        let Geometry { size, kernel, stride, padding, border, .. } = *geometry;
        Self::of(size, [rows, geometry.size_out()[1]], kernel, stride, padding, border)
    }

    /// For an output of this many rows and columns; the padding stands above and to the left, and what is needed below
    /// and to the right.
    pub fn of(
        size: [usize; 2],
        out: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        border: Border,
    ) -> Self {
        let needed = [0, 1].map(|axis| (out[axis] - 1) * stride[axis] + kernel[axis]);
        let columns = if border == Border::Zero && stride == [1, 1] {
            // The zeros before a row serve the row above as the zeros behind it.
            (needed[1].saturating_sub(padding[1])).max(needed[1].min(padding[1] + size[1]))
        } else {
            needed[1]
        };
        let [rows, pitch] = [needed[0].div_ceil(stride[0]), columns.div_ceil(stride[1])];
        Self { size, stride, padding, border, rows, pitch }
    }

    /// Floats of one channel.
    pub fn plane(&self) -> usize {
        self.stride[0] * self.stride[1] * self.rows * self.pitch
    }

    /// Floats of several channels, with room to read beyond.
    pub fn length(&self, channels: usize) -> usize {
        channels * self.plane() + SLACK
    }

    /// How far the value under a tap is from the value under the first.
    pub fn tap(&self, row: usize, column: usize) -> usize {
        let [down, across] = self.stride;
        let phase = (row % down) * across + column % across;
        (phase * self.rows + row / down) * self.pitch + column / across
    }

    /// Distances of all taps of all channels from the first.
    pub fn offsets(&self, channels: usize, [height, width]: [usize; 2]) -> Vec<usize> {
        let taps = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let taps: Vec<usize> = taps.map(|(row, column)| self.tap(row, column)).collect();
        (0..channels).flat_map(|channel| taps.iter().map(move |tap| channel * self.plane() + tap)).collect()
    }

    /// Lays out channels, `[channels, height, width]`, from row `first` of the output on.
    pub fn fill(&self, image: &[f32], channels: usize, first: usize, laid_out: &mut [f32]) {
        let [height, width] = self.size;
        let [down, across] = self.stride;
        for channel in 0..channels {
            let image = &image[channel * height * width..][..height * width];
            let plane = &mut laid_out[channel * self.plane()..][..self.plane()];
            for row in 0..self.rows * down {
                let source = self.border.place(first * down + row, self.padding[0], height);
                let source = source.map(|y| &image[y * width..][..width]);
                for phase in 0..across {
                    let start = (((row % down) * across + phase) * self.rows + row / down) * self.pitch;
                    self.fill_row(source, phase, &mut plane[start..][..self.pitch]);
                }
            }
        }
        laid_out[channels * self.plane()..self.length(channels)].fill(0.0);
    }

    fn fill_row(&self, source: Option<&[f32]>, phase: usize, row: &mut [f32]) {
        let Some(source) = source else {
            row.fill(0.0);
            return;
        };
        let [_, across] = self.stride;
        let [_, before] = self.padding;
        if across == 1 {
            let inner = source.len().min(row.len() - before);
            row[before..before + inner].copy_from_slice(&source[..inner]);
            for i in (0..before).chain(before + inner..row.len()) {
                row[i] = self.border.place(i, before, source.len()).map_or(0.0, |x| source[x]);
            }
            return;
        }
        for (i, value) in row.iter_mut().enumerate() {
            *value = self.border.place(i * across + phase, before, source.len()).map_or(0.0, |x| source[x]);
        }
    }
}
