//! The replay of whole training iterations: every draw is given, every loss and the weights after are compared.

use burn::module::Module;
use burn::tensor::{DType, Device};
use serde::Deserialize;

use super::Check;
use super::golden::{Golden, Outcome, Worst, relative_error};
use super::networks::any_init;
use crate::diffusion::ScheduleConfig;
use crate::domain::{Domain, Pair};
use crate::nn::published::{self, HostTensor, HostTensors};
use crate::nn::{Cast, Embedding};
use crate::syndiff::published_options::{
    PublishedGeneratorOptions, PublishedPatchDiscriminatorOptions, PublishedTimeDiscriminatorOptions,
    PublishedTranslatorOptions,
};
use crate::syndiff::{
    Discriminators, DomainDraws, Generators, LearningRates, StepContext, StepDraws, StepOptions, StepState,
    SynDiffConfig, TERM_NAMES,
};

/// What rounding allows a loss, and the change of a weight, over these few iterations.
const LOSS_TOLERANCE: f64 = 1e-3;
const UPDATE_TOLERANCE: f64 = 1e-2;
/// The share of a network's weights that rounding in f32 may turn round.
const TURNED_IN_F32: f64 = 0.01;

#[derive(Deserialize)]
struct Config {
    image_size: usize,
    iterations: usize,
    lazy_reg: u64,
    lr_g: f64,
    lr_d: f64,
    betas: [f32; 2],
    r1_gamma: f64,
    lambda_l1: f64,
    num_timesteps: usize,
    beta_min: f64,
    beta_max: f64,
    #[serde(rename = "gen")]
    generator: PublishedGeneratorOptions,
    resnet: PublishedTranslatorOptions,
    disc: PublishedTimeDiscriminatorOptions,
    patchgan: PublishedPatchDiscriminatorOptions,
}

impl Config {
    fn to_syndiff(&self) -> Outcome<SynDiffConfig> {
        let config = SynDiffConfig {
            crop: self.image_size,
            schedule: ScheduleConfig {
                steps: self.num_timesteps,
                beta_min: self.beta_min,
                beta_max: self.beta_max,
                ..ScheduleConfig::default()
            },
            generator: self.generator.to_config().map_err(|error| error.to_string())?,
            translator: self.resnet.to_config(),
            time_discriminator: self.disc.to_config(),
            patch_discriminator: self.patchgan.to_config(),
        };
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    fn context(&self, config: &SynDiffConfig) -> Outcome<StepContext> {
        Ok(StepContext {
            schedule: config.schedule.init().map_err(|error| error.to_string())?,
            embedding: Embedding::Positional,
            options: StepOptions {
                l1_weight: self.lambda_l1,
                r1_gamma: self.r1_gamma,
                r1_every: self.lazy_reg,
                adam_betas: self.betas,
                ..StepOptions::default()
            },
        })
    }
}

/// Losses are compared in f32 and in f64. Updates are compared in f64 where the device has it: Adam's first step is
/// little more than the sign of the gradient, and rounding in f32 flips a rectifier here and there and with it the sign
/// of some nearly vanishing gradients, differently on each processor. In f64 no such chance is left (measured on the
/// published numbers: 1e-3 in f64, single elements flipped in f32). Where there is no f64, those
/// of the first iteration are compared but for the worst in a hundred of each network: what a step in the wrong
/// direction does to the next iterations is no rounding any more (a few in ten thousand weights after the first
/// iteration, one in twenty after the third, with losses within 3e-5; measured with a Vulkan driver in software).
pub fn iterations(golden: &Golden, device: &Device) -> Outcome<Vec<Check>> {
    let [losses, _, of_most] = replay(golden, device, DType::F32)?;
    if device.supports_dtype(DType::F64) {
        let [losses_in_f64, by_tensor, _] = replay(golden, device, DType::F64)?;
        return Ok(vec![losses, losses_in_f64, by_tensor]);
    }
    Ok(vec![losses, of_most])
}

/// Losses, updates tensor by tensor, and the first updates of most weights of a network.
fn replay(golden: &Golden, device: &Device, dtype: DType) -> Outcome<[Check; 3]> {
    let config: Config = golden.metadata("config")?;
    let sizes = config.to_syndiff()?;
    let context = config.context(&sizes)?;
    let (generators, discriminators) = networks(golden, &sizes, device, dtype)?;
    let mut state = StepState::new(generators, discriminators, &context.options);
    let rates = LearningRates { generators: config.lr_g, discriminators: config.lr_d };
    let (mut losses, mut by_tensor, mut of_most) = (Worst::default(), Worst::default(), None);
    for iteration in 0..config.iterations {
        let batch = Pair {
            labelled: golden.tensor(&format!("draw.{iteration}.real_1"), device)?.cast(dtype),
            target: golden.tensor(&format!("draw.{iteration}.real_2"), device)?.cast(dtype),
        };
        let draws = StepDraws {
            discriminators: draws(golden, iteration, "d", device, dtype)?,
            generators: draws(golden, iteration, "g", device, dtype)?,
        };
        let terms = state.advance(&batch, &draws, &context, rates).read();
        compare_losses(golden, iteration, terms, config.lambda_l1 as f32, &mut losses)?;
        let prefix = format!("weights.after.{iteration}.");
        if golden.names().any(|name| name.starts_with(&prefix)) {
            let updates = compare_updates(golden, &prefix, &state)?;
            by_tensor.take(&updates.by_tensor.tensor, updates.by_tensor.error);
            of_most.get_or_insert(updates.of_most);
        }
    }
    Ok([
        Check::new("losses", losses, LOSS_TOLERANCE),
        Check::new("updates", by_tensor, UPDATE_TOLERANCE),
        Check::new("first updates", of_most.ok_or("no weights after an iteration are given")?, UPDATE_TOLERANCE),
    ])
}

fn networks(
    golden: &Golden,
    config: &SynDiffConfig,
    device: &Device,
    dtype: DType,
) -> Outcome<(Generators, Discriminators)> {
    let mut init = any_init(device);
    let loaded = |name: &str| golden.under(&format!("weights.before.{name}."));
    let generators = Generators::new(config, &mut init);
    let discriminators = Discriminators::new(config, &mut init);
    let generators = generators.clone().with(
        Pair::try_from_fn(|domain| published::load(generators.diffusive_to(domain).clone(), loaded(names(domain)[0])))?,
        Pair::try_from_fn(|domain| {
            published::load(generators.translator_to(domain).clone(), loaded(names(domain)[1]))
        })?,
    );
    let discriminators = discriminators.clone().with(
        Pair::try_from_fn(|domain| published::load(discriminators.time(domain).clone(), loaded(names(domain)[2])))?,
        Pair::try_from_fn(|domain| published::load(discriminators.patch(domain).clone(), loaded(names(domain)[3])))?,
    );
    Ok((generators.map(&mut Cast(dtype)), discriminators.map(&mut Cast(dtype))))
}

/// The published names of a domain's diffusive generator, translator, time and patch discriminator.
fn names(domain: Domain) -> [&'static str; 4] {
    match domain {
        Domain::Labelled => {
            ["gen_diffusive_1", "gen_non_diffusive_2to1", "disc_diffusive_1", "disc_non_diffusive_cycle1"]
        }
        Domain::Target => {
            ["gen_diffusive_2", "gen_non_diffusive_1to2", "disc_diffusive_2", "disc_non_diffusive_cycle2"]
        }
    }
}

fn draws(golden: &Golden, iteration: usize, half: &str, device: &Device, dtype: DType) -> Outcome<Pair<DomainDraws>> {
    Pair::try_from_fn(|domain| {
        let number = if domain == Domain::Labelled { 1 } else { 2 };
        let prefix = format!("draw.{iteration}.{half}");
        Ok(DomainDraws {
            t: golden.host(&format!("{prefix}.t{number}"))?.values.iter().map(|&t| t as usize).collect(),
            noise: golden.tensor(&format!("{prefix}.{number}.noise_t"), device)?.cast(dtype),
            next_noise: golden.tensor(&format!("{prefix}.{number}.noise_tp1"), device)?.cast(dtype),
            posterior_noise: golden.tensor(&format!("{prefix}.{number}.noise_posterior"), device)?.cast(dtype),
            latent: golden.tensor(&format!("{prefix}.z{number}"), device)?.cast(dtype),
        })
    })
}

/// The published names of our loss terms, in the order of [`TERM_NAMES`].
const LOSS_NAMES: [&str; TERM_NAMES.len()] =
    ["d_real", "d_fake", "r1_penalty", "cycle_d_real", "cycle_d_fake", "g_adv", "g_cycle_adv", "g_cycle", "g_l1"];

fn compare_losses(
    golden: &Golden,
    iteration: usize,
    terms: [Option<f32>; TERM_NAMES.len()],
    weight: f32,
    worst: &mut Worst,
) -> Outcome<()> {
    let [.., adversarial, patch, cycle, reconstruction] = terms.map(Option::unwrap_or_default);
    let total = adversarial + patch + weight * (cycle + reconstruction);
    let named = LOSS_NAMES.iter().zip(terms).chain([(&"g_total", Some(total))]);
    for (name, ours) in named {
        let name = format!("loss.{iteration}.{name}");
        let theirs = golden.host(&name)?;
        let ours = HostTensor { shape: vec![1], values: vec![ours.unwrap_or(0.0)] };
        worst.compare(&name, &ours, theirs, 0.0);
    }
    Ok(())
}

/// The worst disagreements over what training changed.
#[derive(Default)]
struct Updates {
    by_tensor: Worst,
    /// Of each network, but for [`TURNED_IN_F32`].
    of_most: Worst,
}

/// Compares what training changed: a tolerance on the weights themselves would hide an update that is wrong by a tenth.
fn compare_updates(golden: &Golden, prefix: &str, state: &StepState) -> Outcome<Updates> {
    let mut worst = Updates::default();
    for domain in Domain::BOTH {
        let ours = [
            published::export(state.generators.diffusive_to(domain)),
            published::export(state.generators.translator_to(domain)),
            published::export(state.discriminators.time(domain)),
            published::export(state.discriminators.patch(domain)),
        ];
        for (network, ours) in names(domain).into_iter().zip(ours) {
            let before = golden.under(&format!("weights.before.{network}."));
            let after = golden.under(&format!("{prefix}{network}."));
            compare_network(network, &before, &after, &ours, &mut worst)?;
        }
    }
    Ok(worst)
}

fn compare_network(
    network: &str,
    before: &HostTensors,
    after: &HostTensors,
    ours: &HostTensors,
    worst: &mut Updates,
) -> Outcome<()> {
    let (mut all_ours, mut all_theirs) = (Vec::new(), Vec::new());
    let last_bias = last_bias(after.keys().map(String::as_str));
    for (name, theirs) in after {
        // A gradient that is zero but for rounding becomes a step of ±lr in Adam, and changes no output.
        let unused_bias = network.contains("non_diffusive")
            && name.ends_with(".bias")
            && *name != last_bias
            && !(network.starts_with("disc") && name == "model.0.bias");
        if unused_bias || name.ends_with("NIN_1.b") {
            continue;
        }
        let missing = || format!("{network}.{name} is not in both states");
        let (before, ours) = (before.get(name).ok_or_else(missing)?, ours.get(name).ok_or_else(missing)?);
        let change =
            |after: &HostTensor| -> Vec<f32> { after.values.iter().zip(&before.values).map(|(a, b)| a - b).collect() };
        let (ours, theirs) = (change(ours), change(theirs));
        worst.by_tensor.take(&format!("{network}.{name}"), relative_error(&ours, &theirs, 0.0));
        all_ours.extend(ours);
        all_theirs.extend(theirs);
    }
    let mut pairs: Vec<(f32, f32)> = all_ours.into_iter().zip(all_theirs).collect();
    pairs.sort_by(|a, b| (a.0 - a.1).abs().total_cmp(&(b.0 - b.1).abs()));
    pairs.truncate(pairs.len() - (pairs.len() as f64 * TURNED_IN_F32) as usize);
    let (ours, theirs): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
    worst.of_most.take(network, relative_error(&ours, &theirs, 0.0));
    Ok(())
}

/// The bias of the last layer of a published list "model.N", from the names of its parameters.
fn last_bias<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let place = |name: &str| name.strip_prefix("model.")?.split('.').next()?.parse::<usize>().ok();
    format!("model.{}.bias", names.filter_map(place).max().unwrap_or(0))
}
