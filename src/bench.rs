//! How fast this computer trains and translates: whole iterations and passes, timed, with the memory that they fill.
//!
//! Images and draws are noise: no time depends on what they show. Each part is done once to warm up and then a number of
//! times; the median counts.

use std::time::Instant;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::Serialize;

use crate::config::TrainConfig;
use crate::domain::{Domain, Pair};
use crate::error::Result;
use crate::imaging::Plane;
use crate::nn::{Init, Precision, Unet, UnetConfig};
use crate::random::Stream;
use crate::segmentation::patch::Patch;
use crate::segmentation::step::{Batch, SegmenterState, SgdOptions};
use crate::syndiff::{Discriminators, Generators, ImageTranslator, LearningRates, StepContext, StepState};
use crate::training::Batches;

/// What can be timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// One iteration of SynDiff: all eight networks, forth and back, and their optimisers.
    Iteration,
    /// One pass of a diffusive generator over one batch, without gradients.
    Generator,
    /// The translation of one image of two tiles by two.
    Translation,
    /// One iteration of the segmentation network.
    SegmentationStep,
    /// One pass of the segmentation network over one batch, without gradients.
    SegmentationPrediction,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 5] =
        [Self::Iteration, Self::Generator, Self::Translation, Self::SegmentationStep, Self::SegmentationPrediction];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iteration => "SynDiff iteration",
            Self::Generator => "generator, forward",
            Self::Translation => "translation",
            Self::SegmentationStep => "segmentation, training step",
            Self::SegmentationPrediction => "segmentation, prediction",
        }
    }
}

/// What was measured of a part.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The part.
    pub part: Part,
    /// Seconds of each round, in their order.
    pub seconds: Vec<f64>,
    /// Their median.
    pub median_seconds: f64,
    /// Megapixels of images that go through in a second.
    pub megapixels_per_second: f64,
    /// The most memory that the process held while this part ran, in bytes; none where the system does not say.
    pub peak_bytes: Option<u64>,
    /// The memory of a graphics card that was set aside for this part, in bytes, as of its end; none on the processor.
    pub card_bytes: Option<u64>,
}

/// Times one part `rounds` times.
pub fn measure(part: Part, config: &TrainConfig, device: &Device, rounds: usize) -> Result<Figure> {
    reset_peak_memory();
    device.memory_cleanup();
    let (pixels, seconds) = match part {
        Part::Iteration => time_iterations(config, device, rounds)?,
        Part::Generator => time_generator(config, device, rounds),
        Part::Translation => time_translation(config, device, rounds)?,
        Part::SegmentationStep => time_segmentation_steps(config, device, rounds),
        Part::SegmentationPrediction => time_segmentation_prediction(config, device, rounds),
    };
    let median_seconds = median(&seconds);
    let megapixels_per_second = pixels as f64 / 1e6 / median_seconds;
    // What was set aside is kept until the next clean-up.
    let card_bytes = device.memory_pool_usage().map(|usage| usage.bytes_reserved);
    Ok(Figure { part, seconds, median_seconds, megapixels_per_second, peak_bytes: peak_memory(), card_bytes })
}

/// Once to warm up, then `rounds` times.
fn time(rounds: usize, mut work: impl FnMut()) -> Vec<f64> {
    work();
    let once = |_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    };
    (0..rounds).map(once).collect()
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Waits until a device has done its work.
fn finish<const D: usize>(result: Tensor<D>) {
    drop(result.into_data());
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(1).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

fn generators(config: &TrainConfig, device: &Device) -> Generators {
    Generators::new(&config.networks, &mut Init::new(Stream::new(2), device, config.precision))
}

fn time_iterations(config: &TrainConfig, device: &Device, rounds: usize) -> Result<(usize, Vec<f64>)> {
    let networks = &config.networks;
    let discriminators = Discriminators::new(networks, &mut Init::new(Stream::new(3), device, config.precision));
    let mut state = StepState::new(generators(config, device), discriminators, &config.step);
    let context = StepContext {
        schedule: networks.schedule.init()?,
        embedding: networks.generator.embedding,
        options: config.step.clone(),
    };
    let images =
        Pair::from_fn(|_| vec![Plane::from_fn(networks.crop, networks.crop, |y, x| ((y ^ x) & 7) as f32 / 7.0)]);
    let batches = Batches::new(&images, 4, config.batch, networks.crop, 1)
        .with_draws(networks.generator.latent_dim, networks.schedule.steps);
    let (batch, draws) = batches.iteration(0).on(device);
    let rates = LearningRates {
        generators: config.learning_rate.generators,
        discriminators: config.learning_rate.discriminators,
    };
    let seconds = time(rounds, || {
        state.advance(&batch, &draws, &context, rates).read();
    });
    Ok((config.batch * networks.crop * networks.crop, seconds))
}

fn time_generator(config: &TrainConfig, device: &Device, rounds: usize) -> (usize, Vec<f64>) {
    let (crop, options) = (config.networks.crop, &config.networks.generator);
    let generators = generators(config, device);
    let image = noise([config.batch, 1, crop, crop], device);
    let latent = noise([config.batch, options.latent_dim], device);
    let times = vec![options.embedding.time_of_step(1); config.batch];
    let seconds = time(rounds, || {
        let generator = generators.diffusive_to(Domain::Target);
        finish(generator.forward(image.clone(), image.clone(), &times, latent.clone()));
    });
    (config.batch * crop * crop, seconds)
}

fn time_translation(config: &TrainConfig, device: &Device, rounds: usize) -> Result<(usize, Vec<f64>)> {
    let crop = config.networks.crop;
    let translator = ImageTranslator::new(generators(config, device), &config.networks, crop, device)?;
    let image = Plane::from_fn(2 * crop, 2 * crop, |y, x| ((y ^ x) & 7) as f32 / 7.0);
    let seconds = time(rounds, || {
        translator.translate(&image, Domain::Target, &Stream::new(5));
    });
    Ok((4 * crop * crop, seconds))
}

/// Foreground classes of the network that is timed.
const CLASSES: usize = 3;
/// Patches that it sees together: nnU-Net's least.
const PATCHES: usize = 2;

/// nnU-Net's default for patches of a side: halved until 4 px are left, twice the features each time up to 512.
fn segmenter(config: &TrainConfig, device: &Device) -> (UnetConfig, Unet) {
    let stages = (config.networks.crop / 4).ilog2() as usize + 1;
    let features = (0..stages).map(|stage| (32 << stage).min(512)).collect();
    let strides = (0..stages).map(|stage| if stage == 0 { [1, 1] } else { [2, 2] }).collect();
    let options = UnetConfig::plain(CLASSES + 1, features, strides);
    let network = options.init(&mut Init::new(Stream::new(6), device, Precision::F32));
    (options, network)
}

fn time_segmentation_steps(config: &TrainConfig, device: &Device, rounds: usize) -> (usize, Vec<f64>) {
    let (options, network) = segmenter(config, device);
    let side = config.networks.crop;
    let patch = Patch {
        height: side,
        width: side,
        intensities: Stream::new(7).normals(side * side),
        labels: (0..side * side).map(|i| (i % (CLASSES + 1)) as u8).collect(),
    };
    let batch = Batch::new(&vec![patch; PATCHES], CLASSES + 1, &options.head_strides(), device);
    let mut state = SegmenterState::new(network, &SgdOptions { momentum: 0.99, weight_decay: 3e-5 });
    let seconds = time(rounds, || {
        state.advance(&batch, 0.01);
    });
    (PATCHES * side * side, seconds)
}

fn time_segmentation_prediction(config: &TrainConfig, device: &Device, rounds: usize) -> (usize, Vec<f64>) {
    let (_, network) = segmenter(config, device);
    let side = config.networks.crop;
    let image = noise([PATCHES, 1, side, side], device);
    let seconds = time(rounds, || finish(network.forward(image.clone())));
    (PATCHES * side * side, seconds)
}

/// Lets the system count the most memory from now on. Where it cannot, the count goes on from the start of the process.
fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most resident memory of this process, as Linux counts it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    #[test]
    fn the_median_is_the_middle_of_the_sorted() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn every_part_is_timed_on_networks_of_any_size() {
        let mut config = TrainConfig::preset(Preset::Demo);
        config.batch = 1;
        for part in Part::ALL {
            let figure = measure(part, &config, &Device::flex(), 1).unwrap();
            assert_eq!(figure.seconds.len(), 1);
            assert!(figure.median_seconds > 0.0 && figure.megapixels_per_second > 0.0);
            assert_eq!(figure.card_bytes, None);
        }
    }
}
