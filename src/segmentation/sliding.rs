//! Sliding-window prediction as nnU-Net does it, a band of rows at a time: the memory does not grow with the height.
//!
//! Windows overlap by half or more and are mixed with Gaussian weights, since a network knows least about a window's
//! edge. This module only moves numbers: it knows no network and no file.
//!
//! nnU-Net adds up in 16-bit floats, which shows in the third digit of its probabilities. So does this module: users
//! expect its very numbers, and a band takes half the memory.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::Result;

/// How windows are laid over an image.
#[derive(Debug, Clone, PartialEq)]
pub struct SlidingWindow {
    patch: [usize; 2],
    step: f64,
    /// Row by row; shared by all windows.
    weights: Vec<f16>,
}

/// Where numbers come from and go to while windows slide.
pub trait Flow {
    /// Rows of the normalised image, `[rows, width]`.
    fn rows(&mut self, rows: Range<usize>) -> Result<Vec<f32>>;

    /// Logits `[channels, height, width]` of each patch `[height, width]`.
    fn logits(&mut self, patches: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>>;

    /// Takes the next finished row of logits, `[channels, width]`; rows come in order.
    fn take(&mut self, row: &[f32]) -> Result<()>;
}

/// The weight in the middle of a window, as high as nnU-Net has it to keep the lowest ones above the least 16-bit float.
const HEIGHT: f64 = 10.0;

/// Patches handed to the network together.
const TOGETHER: usize = 4;

impl SlidingWindow {
    /// Windows of `patch` rows and columns that advance by at most `step` of their size (nnU-Net: 0.5).
    ///
    /// # Panics
    /// When `step` is not in (0, 1] or the patch is empty.
    pub fn new(patch: [usize; 2], step: f64) -> Self {
        assert!(step > 0.0 && step <= 1.0, "windows advance by a part of their size, not {step} of it");
        assert!(patch[0] > 0 && patch[1] > 0, "a window needs pixels");
        let [rows, columns] = patch.map(gaussian);
        let weight = |row: f64, column: f64| f16::from_f64(HEIGHT * row * column).max(f16::MIN_POSITIVE_SUBNORMAL);
        let weights = rows.iter().flat_map(|row| columns.iter().map(move |column| weight(*row, *column))).collect();
        Self { patch, step, weights }
    }

    /// How many windows cover an image of this height and width.
    pub fn count(&self, size: [usize; 2]) -> usize {
        [0, 1].map(|axis| starts(size[axis].max(self.patch[axis]), self.patch[axis], self.step).len()).iter().product()
    }

    /// Slides over an image of `size`. An image smaller than a window is surrounded by zeros. `on_window` is called
    /// after each window.
    pub fn run(
        &self,
        size: [usize; 2],
        channels: usize,
        flow: &mut impl Flow,
        on_window: &mut dyn FnMut(),
    ) -> Result<()> {
        let padded = [0, 1].map(|axis| size[axis].max(self.patch[axis]));
        let before = [0, 1].map(|axis| (padded[axis] - size[axis]) / 2);
        let tops = starts(padded[0], self.patch[0], self.step);
        let lefts = starts(padded[1], self.patch[1], self.step);
        let mut band = Band::new(channels, self.patch[0], padded[1]);
        for (place, top) in tops.iter().enumerate() {
            let image = self.image_rows(*top, size, before, padded[1], flow)?;
            for lefts in lefts.chunks(TOGETHER) {
                let patches = lefts.iter().map(|left| self.cut(&image, *left, padded[1])).collect();
                for (left, logits) in lefts.iter().zip(flow.logits(patches)?) {
                    band.add(*left, &logits, &self.weights, self.patch);
                    on_window();
                }
            }
            let finished = tops.get(place + 1).map_or(self.patch[0], |next| next - top);
            for row in 0..finished {
                if (before[0]..before[0] + size[0]).contains(&(top + row)) {
                    flow.take(&band.mean(row, before[1]..before[1] + size[1]))?;
                }
            }
            band.advance(finished);
        }
        Ok(())
    }

    /// The rows under a row of windows, with zeros around the image.
    fn image_rows(
        &self,
        top: usize,
        size: [usize; 2],
        before: [usize; 2],
        padded_width: usize,
        flow: &mut impl Flow,
    ) -> Result<Vec<f32>> {
        let first = top.max(before[0]);
        let last = (top + self.patch[0]).min(before[0] + size[0]);
        let rows = flow.rows(first - before[0]..last - before[0])?;
        let mut image = vec![0.0; self.patch[0] * padded_width];
        for (row, values) in rows.chunks_exact(size[1]).enumerate() {
            let start = (first - top + row) * padded_width + before[1];
            image[start..start + size[1]].copy_from_slice(values);
        }
        Ok(image)
    }

    fn cut(&self, image: &[f32], left: usize, width: usize) -> Vec<f32> {
        image.chunks_exact(width).flat_map(|row| &row[left..left + self.patch[1]]).copied().collect()
    }
}

/// Weighted sums of logits over as many rows as a window has.
struct Band {
    channels: usize,
    height: usize,
    width: usize,
    /// `[height, channels, width]`
    sums: Vec<f16>,
    /// `[height, width]`
    weights: Vec<f16>,
}

impl Band {
    fn new(channels: usize, height: usize, width: usize) -> Self {
        let zeros = |count| vec![f16::ZERO; count];
        Self { channels, height, width, sums: zeros(channels * height * width), weights: zeros(height * width) }
    }

    fn add(&mut self, left: usize, logits: &[f32], weights: &[f16], [height, width]: [usize; 2]) {
        let (mut row_weights, mut sums) = (vec![0.0; width], vec![0.0; width]);
        for y in 0..height {
            weights[y * width..(y + 1) * width].convert_to_f32_slice(&mut row_weights);
            let place = &mut self.weights[y * self.width + left..][..width];
            place.convert_to_f32_slice(&mut sums);
            sums.iter_mut().zip(&row_weights).for_each(|(sum, weight)| *sum += weight);
            place.convert_from_f32_slice(&sums);
            for channel in 0..self.channels {
                let logits = &logits[(channel * height + y) * width..][..width];
                let place = &mut self.sums[(y * self.channels + channel) * self.width + left..][..width];
                place.convert_to_f32_slice(&mut sums);
                let weighted = logits.iter().zip(&row_weights);
                sums.iter_mut().zip(weighted).for_each(|(sum, (logit, weight))| *sum += logit * weight);
                place.convert_from_f32_slice(&sums);
            }
        }
    }

    /// The mean logits of a row, `[channels, columns]`.
    fn mean(&self, row: usize, columns: Range<usize>) -> Vec<f32> {
        let weights = &self.weights[row * self.width..][columns.clone()];
        let sums = self.sums[row * self.channels * self.width..].chunks_exact(self.width).take(self.channels);
        let divide = |(sum, weight): (&f16, &f16)| (*sum / *weight).to_f32();
        sums.flat_map(|sums| sums[columns.clone()].iter().zip(weights).map(divide)).collect()
    }

    /// Moves the band down.
    fn advance(&mut self, rows: usize) {
        let shift = |values: &mut Vec<f16>, row_length: usize| {
            values.copy_within(rows * row_length.., 0);
            let kept = values.len() - rows * row_length;
            values[kept..].fill(f16::ZERO);
        };
        debug_assert!(rows <= self.height);
        shift(&mut self.sums, self.channels * self.width);
        shift(&mut self.weights, self.width);
    }
}

/// First pixels of the windows on one axis: evenly spread, the last ends with the image.
fn starts(length: usize, patch: usize, step: f64) -> Vec<usize> {
    let last = length - patch;
    let steps = (last as f64 / (patch as f64 * step)).ceil();
    let stride = if steps > 0.0 { last as f64 / steps } else { 0.0 };
    // Halves go to the even number, as numpy rounds.
    (0..=steps as usize).map(|i| (stride * i as f64).round_ties_even() as usize).collect()
}

/// A Gaussian of height 1 around the middle pixel, with standard deviation an eighth of the length.
fn gaussian(length: usize) -> Vec<f64> {
    let deviation = length as f64 / 8.0;
    let middle = (length / 2) as f64;
    (0..length).map(|i| (-0.5 * ((i as f64 - middle) / deviation).powi(2)).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that says the pixel itself, and twice it, for two classes.
    struct Echo {
        size: [usize; 2],
        seen: Vec<f32>,
        calls: usize,
    }

    fn value(y: usize, x: usize) -> f32 {
        ((7 * y + 3 * x) % 17) as f32 - 4.0
    }

    impl Flow for Echo {
        fn rows(&mut self, rows: Range<usize>) -> Result<Vec<f32>> {
            Ok(rows.flat_map(|y| (0..self.size[1]).map(move |x| value(y, x))).collect())
        }

        fn logits(&mut self, patches: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
            self.calls += patches.len();
            Ok(patches.into_iter().map(|p| p.iter().copied().chain(p.iter().map(|v| 2.0 * v)).collect()).collect())
        }

        fn take(&mut self, row: &[f32]) -> Result<()> {
            self.seen.extend(row);
            Ok(())
        }
    }

    #[test]
    fn every_pixel_comes_back_in_its_place_whatever_the_size() {
        for size in [[1, 1], [5, 40], [16, 16], [17, 15], [33, 47], [64, 20]] {
            let window = SlidingWindow::new([16, 16], 0.5);
            let mut echo = Echo { size, seen: Vec::new(), calls: 0 };
            window.run(size, 2, &mut echo, &mut || ()).unwrap();
            assert_eq!(echo.calls, window.count(size));
            let expected = (0..size[0])
                .flat_map(|y| [1.0, 2.0].into_iter().flat_map(move |c| (0..size[1]).map(move |x| c * value(y, x))));
            assert_eq!(echo.seen.len(), 2 * size[0] * size[1]);
            assert!(echo.seen.iter().zip(expected).all(|(seen, e)| (seen - e).abs() < 0.05), "{size:?}");
        }
    }

    #[test]
    fn windows_start_where_those_of_nnunet_do() {
        assert_eq!(starts(96, 96, 0.5), [0]);
        assert_eq!(starts(160, 96, 0.5), [0, 32, 64]);
        assert_eq!(starts(176, 96, 0.5), [0, 40, 80]);
        // 5 / 2 = 2.5 goes to 2.
        assert_eq!(starts(13, 8, 0.5), [0, 2, 5]);
    }

    #[test]
    fn weights_are_largest_in_the_middle_and_nowhere_zero() {
        let window = SlidingWindow::new([8, 16], 0.5);
        let weight = |y: usize, x: usize| window.weights[y * 16 + x].to_f32();
        assert_eq!(weight(4, 8), 10.0);
        let one_deviation = 10.0 * (-0.5f32).exp();
        assert!((weight(5, 8) - one_deviation).abs() < 0.01 && (weight(4, 10) - one_deviation).abs() < 0.01);
        assert!(window.weights.iter().all(|weight| *weight > f16::ZERO));
        // The corners of a large window have weights near the least 16-bit float.
        assert!(SlidingWindow::new([512, 512], 0.5).weights.iter().all(|weight| *weight > f16::ZERO));
    }

    #[test]
    fn where_windows_disagree_the_nearer_middle_counts_more() {
        struct Numbered(f32, Vec<f32>);
        impl Flow for Numbered {
            fn rows(&mut self, rows: Range<usize>) -> Result<Vec<f32>> {
                Ok(vec![0.0; 24 * rows.len()])
            }
            fn logits(&mut self, patches: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
                let answers = patches.iter().map(|patch| {
                    self.0 += 1.0;
                    vec![self.0; patch.len()]
                });
                Ok(answers.collect())
            }
            fn take(&mut self, row: &[f32]) -> Result<()> {
                self.1.extend(row);
                Ok(())
            }
        }
        let mut flow = Numbered(0.0, Vec::new());
        SlidingWindow::new([16, 16], 0.5).run([16, 24], 1, &mut flow, &mut || ()).unwrap();
        let row = &flow.1[..24];
        assert_eq!((row[0], row[23]), (1.0, 2.0));
        // Column 12 lies 4 from both middles, 8 and 16.
        assert!((row[12] - 1.5).abs() < 1e-3);
        assert!(row.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
