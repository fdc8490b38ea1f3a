//! Prediction of whole images: prepared, seen by the networks window by window, put back on the image's own grid. All of
//! it happens a band of rows at a time.

use std::ops::Range;

use super::bioimage::{self, Pointwise, Preprocessing};
use super::ensemble::Ensemble;
use super::margins::{Margins, surroundings};
use super::normalisation::{Affine, Intensities};
use super::plan::Normalisation;
use super::regrid::Regrid;
use super::sliding::{Flow, SlidingWindow};
use crate::error::Result;
use crate::imaging::{BitDepth, Plane, Raster, RasterPicture, ScaledRaster, Window};

/// How images are prepared for the networks of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Preparation {
    /// As in training by us or by nnU-Net.
    Scheme {
        /// The normalisation.
        normalisation: Normalisation,
        /// What is done about black pixels around the image.
        margins: Margins,
    },
    /// The steps of a BioImage.IO description.
    Steps(Vec<Preprocessing>),
}

/// A model ready to segment images.
#[derive(Debug)]
pub struct Segmenter {
    /// The networks.
    pub ensemble: Ensemble,
    /// Names of the labels 1, 2, …; label 0 is the background.
    pub class_names: Vec<String>,
    /// Rows and columns of a window.
    pub patch_size: [usize; 2],
    /// How images are prepared.
    pub preparation: Preparation,
    /// Micrometres per pixel at which the networks work, if that is known.
    pub pixel_size_um: Option<f64>,
    /// How far windows advance, as a part of their size; 0.5 is nnU-Net's.
    pub step: f64,
}

/// Takes the class probabilities of one row of the image, `[classes, width]`.
pub type RowSink<'a> = dyn FnMut(&[f32]) -> Result<()> + 'a;

impl Segmenter {
    /// The class probabilities of an image, row by row from the top. `pixel_size_um` is that of the image, if known; it
    /// is brought to the networks' pixel size when that is known too. `on_window` is called after each window.
    pub fn predict(
        &self,
        image: &RasterPicture,
        pixel_size_um: Option<f64>,
        sink: &mut RowSink<'_>,
        on_window: &mut dyn FnMut(),
    ) -> Result<()> {
        let raster = &image.raster;
        let (classes, width) = (self.ensemble.classes, raster.width());
        let background = background_row(classes, width);
        let Some(window) = self.window(raster) else {
            return (0..raster.height()).try_for_each(|_| sink(&background));
        };
        let size = self.working_size(&window, pixel_size_um);
        let values = self.values(raster, &window, image.depth);
        (0..window.rows.start).try_for_each(|_| sink(&background))?;
        let mut pass = Pass {
            segmenter: self,
            image: ScaledRaster::new(raster, window.clone(), size[0], size[1]),
            values,
            regrid: Regrid::new(size, [window.height(), window.width()], classes),
            columns: window.columns.clone(),
            row: background.clone(),
            sink,
        };
        SlidingWindow::new(self.patch_size, self.step).run(size, self.ensemble.channels(), &mut pass, on_window)?;
        (window.rows.end..raster.height()).try_for_each(|_| sink(&background))
    }

    /// How many windows an image needs: what a progress bar counts.
    pub fn windows(&self, image: &Raster, pixel_size_um: Option<f64>) -> usize {
        let windows = |window: Window| {
            SlidingWindow::new(self.patch_size, self.step).count(self.working_size(&window, pixel_size_um))
        };
        self.window(image).map_or(0, windows)
    }

    /// The part of the image that the networks see; nothing when all of it is black margin.
    fn window(&self, raster: &Raster) -> Option<Window> {
        match self.preparation {
            Preparation::Scheme { margins: Margins::Keep, .. } | Preparation::Steps(_) => Some(raster.window()),
            Preparation::Scheme { .. } => raster.bounding_box(),
        }
    }

    /// Rows and columns of the window at the networks' resolution.
    fn working_size(&self, window: &Window, pixel_size_um: Option<f64>) -> [usize; 2] {
        let ratio = match (pixel_size_um, self.pixel_size_um) {
            (Some(from), Some(to)) => from / to,
            _ => 1.0,
        };
        [window.height(), window.width()].map(|side| ((side as f64 * ratio).round() as usize).max(1))
    }

    fn values(&self, raster: &Raster, window: &Window, depth: BitDepth) -> Values {
        match &self.preparation {
            Preparation::Scheme { normalisation, margins } => {
                let mut intensities = Intensities::of_histogram(&raster.histogram(window), raster.depth(), depth);
                if *margins != Margins::LeaveOut {
                    return Values::Affine(normalisation.fit(&intensities));
                }
                let outside = surroundings(raster, window);
                let zeros = outside.iter().filter(|outside| **outside).count();
                intensities = intensities.without_zeros(outside.len(), zeros);
                Values::Masked(normalisation.fit(&intensities), outside, [window.height(), window.width()])
            }
            Preparation::Steps(steps) => Values::Steps(fitted(steps, raster, window, depth), depth.white()),
        }
    }
}

/// A row that is background for certain.
fn background_row(classes: usize, width: usize) -> Vec<f32> {
    let mut row = vec![0.0; classes * width];
    row[..width].fill(1.0);
    row
}

/// The steps with the numbers of this image, in stored units.
fn fitted(steps: &[Preprocessing], raster: &Raster, window: &Window, depth: BitDepth) -> Vec<Pointwise> {
    let unit = depth.white() / raster.depth().white();
    let histogram = raster.histogram(window);
    bioimage::fit(steps, histogram.occurring().map(|(value, count)| (f32::from(value) * unit, count)).collect())
}

/// From a plane's value in [0, 1] to what a network sees.
enum Values {
    Affine(Affine),
    /// Pixels of the window, whose height and width are given, that stay 0.
    Masked(Affine, Vec<bool>, [usize; 2]),
    Steps(Vec<Pointwise>, f32),
}

impl Values {
    /// Rows of the working image, which has height and width `size`.
    fn apply(&self, plane: &Plane, first_row: usize, size: [usize; 2]) -> Vec<f32> {
        let pixels = plane.pixels().iter();
        match self {
            Self::Affine(affine) => pixels.map(|value| affine.apply(*value)).collect(),
            Self::Masked(affine, outside, [height, width]) => {
                let value = |(i, value): (usize, &f32)| {
                    // The nearest pixel of the window.
                    let y = (2 * (first_row + i / size[1]) + 1) * height / (2 * size[0]);
                    let x = (2 * (i % size[1]) + 1) * width / (2 * size[1]);
                    if outside[y * width + x] { 0.0 } else { affine.apply(*value) }
                };
                pixels.enumerate().map(value).collect()
            }
            Self::Steps(steps, white) => {
                pixels.map(|value| steps.iter().fold(value * white, |value, step| step.apply(value))).collect()
            }
        }
    }
}

/// One image on its way.
struct Pass<'a, 'b> {
    segmenter: &'a Segmenter,
    image: ScaledRaster<'a>,
    values: Values,
    regrid: Regrid,
    /// The columns of the image that the networks see.
    columns: Range<usize>,
    /// Probabilities of a whole row; background outside of the columns.
    row: Vec<f32>,
    sink: &'a mut RowSink<'b>,
}

impl Flow for Pass<'_, '_> {
    fn rows(&mut self, rows: Range<usize>) -> Vec<f32> {
        let first = rows.start;
        self.values.apply(&self.image.rows(rows), first, [self.image.height(), self.image.width()])
    }

    fn logits(&mut self, patches: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
        self.segmenter.ensemble.logits(&patches, self.segmenter.patch_size)
    }

    fn take(&mut self, row: &[f32]) -> Result<()> {
        let classes = self.segmenter.ensemble.classes;
        for mut logits in self.regrid.push(&self.segmenter.ensemble.combine(row)) {
            softmax(&mut logits, classes);
            let width = self.row.len() / classes;
            for (whole, part) in self.row.chunks_exact_mut(width).zip(logits.chunks_exact(self.columns.len())) {
                whole[self.columns.clone()].copy_from_slice(part);
            }
            (self.sink)(&self.row)?;
        }
        Ok(())
    }
}

/// Logits `[classes, width]` to probabilities.
pub fn softmax(row: &mut [f32], classes: usize) {
    let width = row.len() / classes;
    for x in 0..width {
        let largest = (0..classes).map(|class| row[class * width + x]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for class in 0..classes {
            let value = &mut row[class * width + x];
            *value = (*value - largest).exp();
            sum += *value;
        }
        (0..classes).for_each(|class| row[class * width + x] /= sum);
    }
}

/// The class of the largest value of each pixel of `[classes, width]`, the first one where two are equal.
pub fn largest_class(row: &[f32], classes: usize) -> Vec<u8> {
    let width = row.len() / classes;
    (0..width)
        .map(|x| {
            let best = (1..classes)
                .fold(0, |best, class| if row[class * width + x] > row[best * width + x] { class } else { best });
            best as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::imaging::Container;
    use crate::nn::{Init, Precision, UnetConfig};
    use crate::random::Stream;
    use crate::segmentation::ensemble::Network;

    /// A model of random weights that works at 0.1 um per pixel.
    fn model(margins: Margins) -> Segmenter {
        let config = UnetConfig::plain(3, vec![4, 4], vec![[1, 1], [2, 2]]);
        let network = config.init(&mut Init::new(Stream::new(1), &Device::flex(), Precision::F32));
        Segmenter {
            ensemble: Ensemble {
                networks: vec![Network::Unet(Box::new(network), Device::flex())],
                classes: 3,
                mirror_axes: Vec::new(),
            },
            class_names: vec!["a".into(), "b".into()],
            patch_size: [16, 16],
            preparation: Preparation::Scheme { normalisation: Normalisation::ZScore, margins },
            pixel_size_um: Some(0.1),
            step: 0.5,
        }
    }

    /// 30 x 20 pixels of texture; the first 4 rows and the last 3 columns are black.
    fn picture() -> RasterPicture {
        let inside = |y: usize, x: usize| if y < 4 || x >= 17 { 0 } else { (1 + (7 * y + 3 * x) % 31) as u8 };
        let samples = (0..600).map(|i| inside(i / 20, i % 20)).collect();
        RasterPicture {
            raster: Raster::new::<u8>(30, 20, samples),
            depth: BitDepth::Eight,
            container: Container::Png,
            pixel_size_um: None,
            note: None,
        }
    }

    fn rows(pixel_size_um: Option<f64>) -> Vec<Vec<f32>> {
        let mut rows = Vec::new();
        let mut sink = |row: &[f32]| {
            rows.push(row.to_vec());
            Ok(())
        };
        model(Margins::CutOff).predict(&picture(), pixel_size_um, &mut sink, &mut || ()).unwrap();
        rows
    }

    #[test]
    fn images_of_another_pixel_size_come_back_on_their_own_grid() {
        // 26 x 17 pixels at 0.2 um are 52 x 34 at the model's 0.1 um: 6 x 4 windows instead of 3 x 2.
        assert_eq!(model(Margins::CutOff).windows(&picture().raster, Some(0.1)), 6);
        assert_eq!(model(Margins::CutOff).windows(&picture().raster, Some(0.2)), 24);
        for size in [None, Some(0.1), Some(0.2), Some(0.05)] {
            let rows = rows(size);
            assert_eq!((rows.len(), rows[0].len()), (30, 3 * 20));
            let sums = rows.iter().flat_map(|row| (0..20).map(|x| row[x] + row[20 + x] + row[40 + x]));
            assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        }
        assert_eq!(rows(None), rows(Some(0.1)));
        assert_ne!(rows(None), rows(Some(0.2)));
    }

    #[test]
    fn black_margins_are_background_for_certain() {
        for (y, row) in rows(None).iter().enumerate() {
            for (x, background) in row[..20].iter().enumerate() {
                let margin = y < 4 || x >= 17;
                assert_eq!(*background == 1.0, margin, "row {y}, column {x}");
            }
        }
    }

    #[test]
    fn what_is_left_out_stays_zero_and_out_of_the_statistics() {
        let picture = picture();
        let raster = &picture.raster;
        let values = |margins| {
            let window = raster.window();
            let whole = ScaledRaster::new(raster, window.clone(), 30, 20).rows(0..30);
            model(margins).values(raster, &window, BitDepth::Eight).apply(&whole, 0, [30, 20])
        };
        let (all, rest) = (values(Margins::Keep), values(Margins::LeaveOut));
        assert!(all[0] < -1.0 && rest[0] == 0.0 && rest[19 + 20 * 10] == 0.0);
        let inside: Vec<f32> = (0..600).filter(|i| i / 20 >= 4 && i % 20 < 17).map(|i| rest[i]).collect();
        let mean = inside.iter().sum::<f32>() / inside.len() as f32;
        let variance = inside.iter().map(|v| v * v).sum::<f32>() / inside.len() as f32;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
    }

    #[test]
    fn probabilities_add_up_to_one_and_large_logits_do_not_overflow() {
        let mut row = vec![0.0, 500.0, 2f32.ln(), 500.0, 0.0, -500.0];
        softmax(&mut row, 3);
        let expected = [0.25, 0.5, 0.5, 0.5, 0.25, 0.0];
        assert!(row.iter().zip(expected).all(|(value, e)| (value - e).abs() < 1e-6), "{row:?}");
        assert_eq!(largest_class(&row, 3), [1, 0]);
    }
}
