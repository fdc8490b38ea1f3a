use burn::module::{ModuleMapper, Param};
use burn::optim::SgdConfig;
use burn::tensor::{DType, Device, TensorData};

use super::*;
use crate::diffusion::ScheduleConfig;
use crate::nn::published::{self, HostTensors};
use crate::nn::{
    DiffusiveGeneratorConfig, Init, PatchDiscriminatorConfig, Precision, TimeDiscriminatorConfig, TranslatorConfig,
};
use crate::random::Stream;
use crate::syndiff::SynDiffConfig;

const CROP: usize = 32;
const BATCH: usize = 2;

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

fn narrow() -> SynDiffConfig {
    SynDiffConfig {
        crop: CROP,
        schedule: ScheduleConfig::default(),
        generator: DiffusiveGeneratorConfig {
            width: 8,
            multipliers: vec![1, 2, 2],
            blocks: 1,
            attention_at: vec![16],
            latent_dim: 12,
            style_dim: 16,
            mapping_layers: 2,
            ..DiffusiveGeneratorConfig::default()
        },
        translator: TranslatorConfig { width: 8, blocks: 2 },
        time_discriminator: TimeDiscriminatorConfig { width: 8, time_dim: 16 },
        patch_discriminator: PatchDiscriminatorConfig { width: 8, halvings: 2 },
    }
}

/// Small enough that the discriminators' step leaves the generators a sensible judge.
const RATE: f64 = 0.01;

/// The losses, and the weights before and after a step of plain gradient descent, of every network.
fn moved(dtype: DType) -> ([Option<f32>; 9], Vec<[HostTensors; 2]>) {
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
    let mut draw = |shape: [usize; 4]| {
        let values = TensorData::new(stream.normals(shape.iter().product()), shape);
        Tensor::<4>::from_data(values, (&device, DType::F32)).cast(dtype)
    };
    let image = [BATCH, 1, CROP, CROP];
    let batch = Pair::from_fn(|_| draw(image).tanh());
    let mut draws = || {
        Pair::from_fn(|_| DomainDraws {
            t: vec![0, 2],
            noise: draw(image),
            next_noise: draw(image),
            posterior_noise: draw(image),
            latent: draw([BATCH, 12, 1, 1]).flatten(1, 3),
        })
    };
    let draws = StepDraws { discriminators: draws(), generators: draws() };
    let options = StepOptions::default();
    let context = StepContext { schedule: config.schedule.init().unwrap(), embedding: Embedding::Positional, options };
    let mut state = StepState::new(generators, discriminators, &context.options);
    state.generator_optimiser = SgdConfig::new().init().into();
    state.discriminator_optimiser = SgdConfig::new().init().into();
    let losses =
        state.advance(&batch, &draws, &context, LearningRates { generators: RATE, discriminators: RATE }).read();
    let after = exported(&state.generators, &state.discriminators).into_iter().flatten();
    (losses, before.zip(after).map(|(before, after)| [before, after]).collect())
}

/// In 64 bits no kernel of ours takes part. (In 32 bits, some draws turn a rectifier over that is next to zero, with Burn's
/// operations as with ours; one rectifier is then 1e-2 of a translator's gradient. These draws turn none over.)
#[test]
fn gradients_of_a_whole_iteration_are_those_of_plain_operations() {
    let ((losses, ours), (plain_losses, plain)) = (moved(DType::F32), moved(DType::F64));
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
