//! Prediction of whole images: prepared, seen by the networks window by window, put back on the image's own grid. All of
//! it happens a band of rows at a time.

use std::ops::Range;

use super::ensemble::{Ensemble, Question, WHOLE_VOTE, softmax};
use super::margins::Margins;
use super::preparation::{Preparation, Values};
use super::regrid::Regrid;
use super::sliding::{Flow, SlidingWindow};
use crate::error::Result;
use crate::imaging::{ScaledRaster, StoredImage, Window};

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

/// Takes a row's class probabilities and its votes, both `[classes, width]`. Votes are the mean over networks and
/// mirrorings of each one's probabilities: where they disagree, no class has many, however sure each one is.
pub type VoteSink<'a> = dyn FnMut(&[f32], &[f32]) -> Result<()> + 'a;

impl Segmenter {
    /// The class probabilities of an image, row by row from the top. `pixel_size_um` is that of the image, if known; it
    /// is brought to the networks' pixel size when that is known too. `on_window` is called after each window.
    pub fn predict(
        &self,
        image: &impl StoredImage,
        pixel_size_um: Option<f64>,
        sink: &mut RowSink<'_>,
        on_window: &mut dyn FnMut(),
    ) -> Result<()> {
        self.ask(Question::Logits, image, pixel_size_um, &mut |probabilities, _| sink(probabilities), on_window)
    }

    /// The same with the votes of the networks and their mirrored looks.
    pub fn predict_with_votes(
        &self,
        image: &impl StoredImage,
        pixel_size_um: Option<f64>,
        sink: &mut VoteSink<'_>,
        on_window: &mut dyn FnMut(),
    ) -> Result<()> {
        self.ask(Question::LogitsAndVotes, image, pixel_size_um, sink, on_window)
    }

    fn ask(
        &self,
        question: Question,
        image: &impl StoredImage,
        pixel_size_um: Option<f64>,
        sink: &mut VoteSink<'_>,
        on_window: &mut dyn FnMut(),
    ) -> Result<()> {
        let classes = self.ensemble.classes;
        let background = background_row(classes, image.width());
        let Some(window) = self.window(image)? else {
            return (0..image.height()).try_for_each(|_| sink(&background, &background));
        };
        let size = self.working_size(&window, pixel_size_um);
        let values = self.preparation.fit(image, &window)?;
        (0..window.rows.start).try_for_each(|_| sink(&background, &background))?;
        let mut pass = Pass {
            segmenter: self,
            question,
            image: ScaledRaster::new(image, window.clone(), size[0], size[1]),
            values,
            regrids: [0, 1].map(|_| Regrid::new(size, [window.height(), window.width()], classes)),
            columns: window.columns.clone(),
            rows: [background.clone(), background.clone()],
            sink,
        };
        let channels = self.ensemble.channels(question);
        SlidingWindow::new(self.patch_size, self.step).run(size, channels, &mut pass, on_window)?;
        (window.rows.end..image.height()).try_for_each(|_| sink(&background, &background))
    }

    /// How many windows an image needs: what a progress bar counts.
    pub fn windows(&self, image: &impl StoredImage, pixel_size_um: Option<f64>) -> Result<usize> {
        let windows = |window: Window| {
            SlidingWindow::new(self.patch_size, self.step).count(self.working_size(&window, pixel_size_um))
        };
        Ok(self.window(image)?.map_or(0, windows))
    }

    /// The part of the image that the networks see; nothing when all of it is black margin.
    fn window(&self, image: &impl StoredImage) -> Result<Option<Window>> {
        match self.preparation {
            Preparation::Scheme { margins: Margins::Keep, .. } | Preparation::Steps(_) => Ok(Some(image.window())),
            Preparation::Scheme { .. } => image.bounding_box(),
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
}

/// A row that is background for certain.
fn background_row(classes: usize, width: usize) -> Vec<f32> {
    let mut row = vec![0.0; classes * width];
    row[..width].fill(1.0);
    row
}

/// One image on its way.
struct Pass<'a, 'b, I> {
    segmenter: &'a Segmenter,
    question: Question,
    image: ScaledRaster<'a, I>,
    values: Values,
    /// Of the logits and of the votes.
    regrids: [Regrid; 2],
    /// The columns of the image that the networks see.
    columns: Range<usize>,
    /// Probabilities and votes of a whole row; background outside of the columns.
    rows: [Vec<f32>; 2],
    sink: &'a mut VoteSink<'b>,
}

impl<I: StoredImage> Flow for Pass<'_, '_, I> {
    fn rows(&mut self, rows: Range<usize>) -> Result<Vec<f32>> {
        let first = rows.start;
        Ok(self.values.apply(&self.image.rows(rows)?, first, [self.image.height(), self.image.width()]))
    }

    fn logits(&mut self, patches: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
        self.segmenter.ensemble.ask(self.question, &patches, self.segmenter.patch_size)
    }

    fn take(&mut self, row: &[f32]) -> Result<()> {
        let ensemble = &self.segmenter.ensemble;
        let (logits, votes) = row.split_at(self.image.width() * ensemble.channels(Question::Logits));
        let [of_logits, of_votes] = &mut self.regrids;
        let logits = of_logits.push(&ensemble.combine(logits));
        let votes = if votes.is_empty() { vec![Vec::new(); logits.len()] } else { of_votes.push(votes) };
        for (mut probabilities, mut votes) in logits.into_iter().zip(votes) {
            softmax(&mut probabilities, ensemble.classes);
            normalise_votes(&mut votes, &probabilities, ensemble.classes);
            for (row, part) in self.rows.iter_mut().zip([probabilities, votes]) {
                let width = row.len() / ensemble.classes;
                for (whole, part) in row.chunks_exact_mut(width).zip(part.chunks_exact(self.columns.len())) {
                    whole[self.columns.clone()].copy_from_slice(part);
                }
            }
            (self.sink)(&self.rows[0], &self.rows[1])?;
        }
        Ok(())
    }
}

/// Makes the votes `[classes, width]` of each pixel add up to 1. Where rounding lost them all, which a very small patch
/// can bring about in the corner of an image, what the logits say stands in for them.
fn normalise_votes(votes: &mut [f32], probabilities: &[f32], classes: usize) {
    let width = votes.len() / classes;
    for x in 0..width {
        let sum: f32 = (0..classes).map(|class| votes[class * width + x]).sum();
        let is_lost = sum < WHOLE_VOTE / 2.0;
        for class in 0..classes {
            let vote = &mut votes[class * width + x];
            *vote = if is_lost { probabilities[class * width + x] } else { *vote / sum };
        }
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
    use std::path::Path;

    use burn::tensor::Device;
    use image::{ImageBuffer, Rgb};

    use super::*;
    use crate::imaging::{BitDepth, Container, IntensityMap, Plane, Raster, RasterFile, RasterPicture, write};
    use crate::nn::{Init, Precision, UnetConfig};
    use crate::random::Stream;
    use crate::segmentation::bioimage::Preprocessing;
    use crate::segmentation::ensemble::Network;
    use crate::segmentation::plan::Normalisation;

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
            intensity: IntensityMap::full(BitDepth::Eight),
            container: Container::Png,
            pixel_size_um: None,
            note: None,
        }
    }

    /// The same in [0, 1].
    fn plane() -> Plane {
        let raster = picture().raster;
        raster.plane(&raster.window())
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
        assert_eq!(model(Margins::CutOff).windows(&picture(), Some(0.1)).unwrap(), 6);
        assert_eq!(model(Margins::CutOff).windows(&picture(), Some(0.2)).unwrap(), 24);
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
    fn votes_of_one_network_that_looks_once_are_its_probabilities() {
        // An image of one window: where windows overlap, votes are blended after the softmax and logits before.
        let raster = Raster::new::<u8>(16, 16, (0..256).map(|i| ((7 * i) % 31) as u8 + 1).collect());
        let image = RasterPicture { raster, ..picture() };
        let mut rows = 0;
        let mut sink = |probabilities: &[f32], votes: &[f32]| {
            rows += 1;
            assert!(probabilities.iter().zip(votes).all(|(a, b)| (a - b).abs() < 0.02), "{probabilities:?} {votes:?}");
            Ok(())
        };
        model(Margins::CutOff).predict_with_votes(&image, None, &mut sink, &mut || ()).unwrap();
        assert_eq!(rows, 16);
    }

    /// Kinds of numbers, black margins and normalisations; read as a whole, and a part at a time in small tiles.
    #[test]
    fn a_file_read_in_parts_gives_every_digit_of_one_read_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let steps = vec![
            Preprocessing::ScaleRange { percentiles: [1.0, 99.0], epsilon: 1e-6 },
            Preprocessing::ZeroMeanUnitVariance { epsilon: 1e-6 },
        ];
        let scheme = |margins| model(margins).preparation;
        let preparations =
            [scheme(Margins::Keep), scheme(Margins::CutOff), scheme(Margins::LeaveOut), Preparation::Steps(steps)];
        let grey = |depth| move |path: &Path| write(path, &plane(), depth, Some(0.2)).unwrap();
        let coloured = |path: &Path| {
            let colour = |y: u32, x: u32| Rgb([(40 + y) as u8, x as u8, 9]);
            ImageBuffer::from_fn(20, 30, |x, y| if y < 4 { Rgb([0; 3]) } else { colour(y, x) }).save(path).unwrap();
        };
        let kinds: [&dyn Fn(&Path); 6] = [
            &grey(BitDepth::Eight),
            &grey(BitDepth::Sixteen),
            &grey(BitDepth::Unsigned32),
            &grey(BitDepth::Signed16),
            &grey(BitDepth::Float32),
            &coloured,
        ];
        for (kind, save) in kinds.iter().enumerate() {
            save(&path);
            let (whole, parts) = (Raster::read(&path).unwrap(), RasterFile::open(&path, None).unwrap());
            for preparation in &preparations {
                let model = Segmenter { preparation: preparation.clone(), ..model(Margins::Keep) };
                let [mut expected, mut found] = [Vec::new(), Vec::new()];
                predict_into(&model, &whole, Some(0.13), &mut expected);
                predict_into(&model, &parts, Some(0.13), &mut found);
                assert!(expected == found && expected.len() == 3 * 600, "kind {kind}, {preparation:?}");
                assert!(expected.iter().all(|value| value.is_finite()));
            }
        }
    }

    fn predict_into(model: &Segmenter, image: &impl StoredImage, pixel_size_um: Option<f64>, values: &mut Vec<f32>) {
        let mut sink = |row: &[f32]| {
            values.extend_from_slice(row);
            Ok(())
        };
        model.predict(image, pixel_size_um, &mut sink, &mut || ()).unwrap();
    }

    #[test]
    fn the_same_picture_in_other_numbers_is_seen_alike() {
        let dir = tempfile::tempdir().unwrap();
        let values = |depth: BitDepth| {
            let path = dir.path().join("a.tif");
            write(&path, &plane(), depth, None).unwrap();
            let mut values = Vec::new();
            let file = RasterFile::open(&path, None).unwrap();
            // At its own resolution: the overshoot of cubics is cut off at the ends of a range.
            predict_into(&model(Margins::CutOff), &file, None, &mut values);
            values
        };
        let expected = values(BitDepth::Eight);
        for depth in [BitDepth::Sixteen, BitDepth::Unsigned32, BitDepth::Signed16, BitDepth::Float32] {
            let differences = values(depth).iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>();
            assert!(differences.iter().all(|difference| *difference < 0.01), "{depth:?}");
        }
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
        let values = |margins| {
            let window = StoredImage::window(&picture);
            let whole = ScaledRaster::new(&picture, window.clone(), 30, 20).rows(0..30).unwrap();
            model(margins).preparation.fit(&picture, &window).unwrap().apply(&whole, 0, [30, 20])
        };
        let (all, rest) = (values(Margins::Keep), values(Margins::LeaveOut));
        assert!(all[0] < -1.0 && rest[0] == 0.0 && rest[19 + 20 * 10] == 0.0);
        let inside: Vec<f32> = (0..600).filter(|i| i / 20 >= 4 && i % 20 < 17).map(|i| rest[i]).collect();
        let mean = inside.iter().sum::<f32>() / inside.len() as f32;
        let variance = inside.iter().map(|v| v * v).sum::<f32>() / inside.len() as f32;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
    }

    #[test]
    fn votes_that_rounding_lost_are_replaced_and_others_add_up_to_one() {
        let mut votes = [0.2, 0.51, 0.0, 0.51].map(|vote| vote * WHOLE_VOTE);
        normalise_votes(&mut votes, &[0.7, 0.1, 0.3, 0.9], 2);
        assert_eq!(votes, [0.7, 0.5, 0.3, 0.5]);
    }

    #[test]
    fn of_two_equal_values_the_first_is_the_class() {
        assert_eq!(largest_class(&[0.2, 0.5, 0.4, 0.5, 0.4, 0.0], 3), [1, 0]);
    }
}
