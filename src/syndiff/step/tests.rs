use burn::optim::SgdConfig;
use burn::tensor::{DType, Device, TensorData};

use super::*;
use crate::diffusion::ScheduleConfig;
use crate::imaging::Plane;
use crate::metrics::correlation;
use crate::nn::published::{self, HostTensors};
use crate::nn::{
    Cast, DiffusiveGeneratorConfig, Init, PatchDiscriminatorConfig, Precision, TimeDiscriminatorConfig,
    TranslatorConfig,
};
use crate::random::Stream;
use crate::syndiff::SynDiffConfig;
use crate::tensors::{to_planes, to_tensor};

const CROP: usize = 32;
const LATENT: usize = 12;

fn narrow() -> SynDiffConfig {
    SynDiffConfig {
        crop: CROP,
        schedule: ScheduleConfig::default(),
        generator: DiffusiveGeneratorConfig {
            width: 8,
            multipliers: vec![1, 2, 2],
            blocks: 1,
            attention_at: vec![16],
            latent_dim: LATENT,
            style_dim: 16,
            mapping_layers: 2,
            ..DiffusiveGeneratorConfig::default()
        },
        translator: TranslatorConfig { width: 8, blocks: 2 },
        time_discriminator: TimeDiscriminatorConfig { width: 8, time_dim: 16 },
        patch_discriminator: PatchDiscriminatorConfig { width: 8, halvings: 2 },
    }
}

fn noise<const D: usize>(stream: &mut Stream, shape: [usize; D], dtype: DType) -> Tensor<D> {
    let values = TensorData::new(stream.normals(shape.iter().product()), shape);
    Tensor::<D>::from_data(values, (&Device::flex(), DType::F32)).cast(dtype)
}

/// The draws of an iteration on as many images as there are times.
fn draws(stream: &mut Stream, times: &[usize], dtype: DType) -> StepDraws {
    let image = [times.len(), 1, CROP, CROP];
    let mut half = || {
        Pair::from_fn(|_| DomainDraws {
            t: times.to_vec(),
            noise: noise(stream, image, dtype),
            next_noise: noise(stream, image, dtype),
            posterior_noise: noise(stream, image, dtype),
            latent: noise(stream, [times.len(), LATENT], dtype),
        })
    };
    StepDraws { discriminators: half(), generators: half() }
}

/// Small enough that the discriminators' step leaves the generators a sensible judge.
const RATE: f64 = 0.01;

/// The losses, and the weights before and after a step of plain gradient descent, of every network.
fn moved(dtype: DType, options: StepOptions) -> ([Option<f32>; 9], Vec<[HostTensors; 2]>) {
    let device = Device::flex();
    let config = narrow();
    let mut init = Init::new(Stream::new(3), &device, Precision::F32);
    let generators = Generators::new(&config, &mut init).map(&mut Cast(dtype));
    let discriminators = Discriminators::new(&config, &mut init).map(&mut Cast(dtype));
    let exported = |generators: &Generators, discriminators: &Discriminators| {
        Domain::BOTH.map(|domain| {
            [
                published::export(generators.diffusive_to(domain)),
                published::export(generators.translator_to(domain)),
                published::export(discriminators.time(domain)),
                published::export(discriminators.patch(domain)),
            ]
        })
    };
    let before = exported(&generators, &discriminators).into_iter().flatten();

    let mut stream = Stream::new(6);
    let batch = Pair::from_fn(|_| noise(&mut stream, [2, 1, CROP, CROP], dtype).tanh());
    let draws = draws(&mut stream, &[0, 2], dtype);
    let context = StepContext { schedule: config.schedule.init().unwrap(), embedding: Embedding::Positional, options };
    let mut state = StepState::new(generators, discriminators, &context.options);
    state.generator_optimiser = SgdConfig::new().init().into();
    state.discriminator_optimiser = SgdConfig::new().init();
    let losses =
        state.advance(&batch, &draws, &context, LearningRates { generators: RATE, discriminators: RATE }).read();
    let after = exported(&state.generators, &state.discriminators).into_iter().flatten();
    (losses, before.zip(after).map(|(before, after)| [before, after]).collect())
}

/// In 64 bits no kernel of ours takes part. (In 32 bits, some draws turn a rectifier over that is next to zero, with Burn's
/// operations as with ours; one rectifier is then 1e-2 of a translator's gradient. These draws turn none over.)
#[test]
fn gradients_of_a_whole_iteration_are_those_of_plain_operations() {
    let ((losses, ours), (plain_losses, plain)) =
        (moved(DType::F32, StepOptions::default()), moved(DType::F64, StepOptions::default()));
    for (name, (ours, plain)) in TERM_NAMES.iter().zip(losses.iter().zip(&plain_losses)) {
        let (ours, plain) = (ours.unwrap(), plain.unwrap());
        assert!((ours - plain).abs() < 1e-4 * plain.abs().max(1.0), "{name}: {ours} is not {plain}");
    }
    for ([before, after], [plain_before, plain_after]) in ours.iter().zip(&plain) {
        let gradient = |before: &HostTensors, after: &HostTensors| -> Vec<f64> {
            before
                .iter()
                .flat_map(|(name, tensor)| tensor.values.iter().zip(&after[name].values))
                .map(|(before, after)| (f64::from(*before) - f64::from(*after)) / RATE)
                .collect()
        };
        let (ours, plain) = (gradient(before, after), gradient(plain_before, plain_after));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let error = norm(&mut ours.iter().zip(&plain).map(|(a, b)| a - b));
        let size = norm(&mut plain.iter().copied());
        assert!(size > 1e-3 && error < 1e-4 * size, "the gradient of {size} is wrong by {error}");
    }
}

#[test]
fn what_is_computed_once_more_changes_no_bit() {
    let (losses, weights) = moved(DType::F32, StepOptions { recompute: true, ..StepOptions::default() });
    let (plain_losses, plain_weights) = moved(DType::F32, StepOptions::default());
    assert_eq!(losses, plain_losses);
    assert!(weights == plain_weights);
}

/// Translators into both looks after some iterations on stripes: how their output goes with their input.
fn correlations_after_training(contrast: Contrast) -> Pair<f64> {
    let device = Device::flex();
    let config = narrow();
    let mut init = Init::new(Stream::new(3), &device, Precision::F32);
    let options = StepOptions { contrast, contrast_iterations: 20, ..StepOptions::default() };
    let discriminators = Discriminators::new(&config, &mut init);
    let mut state = StepState::new(Generators::new(&config, &mut init), discriminators, &options);
    let stripes = |stream: &mut Stream| {
        let [period, shift] = [stream.between(6.0, 16.0), stream.between(0.0, 6.0)].map(|value| value as f32);
        Plane::from_fn(CROP, CROP, |y, x| 0.5 + 0.4 * ((y as f32 + 0.5 * x as f32) / period + shift).sin())
    };
    let mut stream = Stream::new(8);
    let context = StepContext { schedule: config.schedule.init().unwrap(), embedding: Embedding::Positional, options };
    for _ in 0..20 {
        let batch = Pair::from_fn(|_| to_tensor(&[stripes(&mut stream)], &device));
        let times = [stream.below(4)];
        let draws = draws(&mut stream, &times, DType::F32);
        state.advance(&batch, &draws, &context, LearningRates { generators: 2e-3, discriminators: 1e-4 });
    }
    let image = stripes(&mut stream);
    Pair::from_fn(|domain| {
        let translator = state.generators.valid().translator_to(domain).clone();
        correlation(&image, &to_planes(translator.forward(to_tensor(std::slice::from_ref(&image), &device)))[0])
            .unwrap()
    })
}

#[test]
fn a_training_begins_with_the_contrast_that_was_asked_for() {
    let kept = correlations_after_training(Contrast::Kept);
    assert!(kept.labelled > 0.8 && kept.target > 0.8, "{kept:?}");
    let inverted = correlations_after_training(Contrast::Inverted);
    assert!(inverted.labelled < -0.8 && inverted.target < -0.8, "{inverted:?}");
}
