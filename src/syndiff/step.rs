//! One training iteration of SynDiff: the discriminators' half, then the generators'. Method §4.
//!
//! The published code runs the generators with gradients in the discriminators' half and throws the gradients away, and
//! translates once for each kind of discriminator and once more for the generators' half. Nothing between the halves
//! changes the translators, so here they translate once for all; the numbers are the same.
//!
//! The losses of the two domains meet only in the translators' estimates, which both judge. Everything before and after
//! is computed for both domains side by side on the processor, so that small kernels need not be shared by all threads.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use synlabel_kernels::{Averaging, adam, averaged_adam, both};

use super::networks::{Discriminators, Generators};
use crate::diffusion::Schedule;
use crate::domain::{Domain, Pair};
use crate::losses;
use crate::nn::{Embedding, Recompute, constant};

/// What becomes of light and dark in a translation. Without pairs nothing tells whether the dark rings of one look are the
/// dark or the bright rings of the other: a translator that turns light and dark over, and turns them back on its way
/// home, loses nothing. Which of the two a training falls into is decided in its first iterations and mostly by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contrast {
    /// Whatever comes, as published.
    #[default]
    Free,
    /// What is light in one look is light in the other.
    Kept,
    /// What is light in one look is dark in the other.
    Inverted,
}

impl Contrast {
    /// By what a translator begins: images in [-1, 1] times this.
    fn sign(self) -> Option<f64> {
        match self {
            Self::Free => None,
            Self::Kept => Some(1.0),
            Self::Inverted => Some(-1.0),
        }
    }
}

/// The weight of the images themselves, or of their negatives, as a translator's aim in its first iterations: that of the
/// cycle in CycleGAN, beside adversarial losses of weight 1.
const START_WEIGHT: f64 = 10.0;

/// What keeps Adam's division finite.
const EPSILON: f32 = 1e-8;

/// The weights of the losses and the optimiser's numbers. The defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepOptions {
    /// λ, the weight of the cycle and of the reconstruction loss.
    pub l1_weight: f64,
    /// γ of the R1 penalty.
    pub r1_gamma: f64,
    /// The R1 penalty is applied every so many iterations, from the first on.
    pub r1_every: u64,
    /// Decay rates of Adam's two moments.
    pub adam_betas: [f32; 2],
    /// Decay of the running average of the generators' weights.
    pub ema_decay: f64,
    /// What becomes of light and dark: other than free, translators begin by learning their input or its negative.
    pub contrast: Contrast,
    /// For how many iterations they do.
    pub contrast_iterations: u64,
    /// Norms, activations and resampling are done once more on the way back instead of being kept: less memory, more
    /// time, the same numbers.
    pub recompute: bool,
}

impl Default for StepOptions {
    fn default() -> Self {
        Self {
            l1_weight: 0.5,
            r1_gamma: 1.0,
            r1_every: 10,
            adam_betas: [0.5, 0.9],
            ema_decay: 0.999,
            contrast: Contrast::Free,
            contrast_iterations: 100,
            recompute: false,
        }
    }
}

impl StepOptions {
    /// The generators' Adam with this configuration and no state.
    pub fn generator_optimiser(&self) -> Averaging {
        averaged_adam(self.adam_betas, EPSILON)
    }

    /// The discriminators' Adam with this configuration and no state.
    pub fn discriminator_optimiser(&self) -> ModuleOptimizer {
        adam(self.adam_betas, EPSILON)
    }
}

/// The learning rates of one iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRates {
    /// For generators and translators.
    pub generators: f64,
    /// For all discriminators.
    pub discriminators: f64,
}

/// The random numbers that one domain needs in one half of an iteration.
#[derive(Debug, Clone)]
pub struct DomainDraws {
    /// t, one in 0..T for each sample.
    pub t: Vec<usize>,
    /// The noise in x_t, `[batch, 1, height, width]`.
    pub noise: Tensor<4>,
    /// The noise from x_t to x_{t+1}, same shape.
    pub next_noise: Tensor<4>,
    /// The noise of the posterior sample, same shape.
    pub posterior_noise: Tensor<4>,
    /// z, `[batch, latent_dim]`.
    pub latent: Tensor<2>,
}

/// The random numbers of one iteration.
#[derive(Debug, Clone)]
pub struct StepDraws {
    /// For the discriminators' half.
    pub discriminators: Pair<DomainDraws>,
    /// For the generators' half.
    pub generators: Pair<DomainDraws>,
}

/// The names of the loss terms, in the order of [`LossTerms::read`].
pub const TERM_NAMES: [&str; 9] = [
    "time_real",
    "time_fake",
    "r1",
    "patch_real",
    "patch_fake",
    "adversarial",
    "patch_adversarial",
    "cycle",
    "reconstruction",
];

/// The loss terms of one iteration, each the sum over both domains (cycle and reconstruction without λ). Off the graph
/// and still on the device.
#[derive(Debug, Clone)]
pub struct LossTerms {
    terms: Vec<Tensor<1>>,
    regularised: bool,
}

impl LossTerms {
    /// The values in the order of [`TERM_NAMES`]; `None` for the R1 penalty where it was not applied.
    pub fn read(self) -> [Option<f32>; TERM_NAMES.len()] {
        let values = Tensor::cat(self.terms, 0).into_data().convert::<f32>();
        let values = values.as_slice::<f32>().expect("the data was just converted to f32").to_vec();
        std::array::from_fn(|i| (TERM_NAMES[i] != "r1" || self.regularised).then_some(values[i]))
    }
}

/// Everything that an iteration changes.
pub struct StepState {
    /// The generators, with gradients.
    pub generators: Generators,
    /// The discriminators, with gradients.
    pub discriminators: Discriminators,
    /// The running average of the generators, without gradients: the weights for use.
    pub average: Generators,
    /// Adam of the generators, which moves their average too.
    pub generator_optimiser: Averaging,
    /// Adam of the discriminators.
    pub discriminator_optimiser: ModuleOptimizer,
    /// Iterations done.
    pub step: u64,
}

impl StepState {
    /// The state before the first iteration.
    pub fn new(generators: Generators, discriminators: Discriminators, options: &StepOptions) -> Self {
        Self {
            average: generators.valid(),
            generators: generators.train(),
            discriminators: discriminators.train(),
            generator_optimiser: options.generator_optimiser(),
            discriminator_optimiser: options.discriminator_optimiser(),
            step: 0,
        }
    }

    /// One iteration on an unpaired batch.
    ///
    /// # Shapes
    /// - batch: `[batch, 1, crop, crop]` in [-1, 1] for each domain
    pub fn advance(
        &mut self,
        batch: &Pair<Tensor<4>>,
        draws: &StepDraws,
        context: &StepContext,
        rates: LearningRates,
    ) -> LossTerms {
        if context.options.recompute {
            // The optimiser's new weights do not know of it.
            self.generators = self.generators.clone().map(&mut Recompute);
            self.discriminators = self.discriminators.clone().map(&mut Recompute);
        }
        let estimates = self.estimates(batch);
        let mut terms =
            self.step_discriminators(batch, &estimates, &draws.discriminators, context, rates.discriminators);
        terms.extend(self.step_generators(batch, estimates, &draws.generators, context, rates.generators));
        let regularised = context.regularises(self.step);
        self.step += 1;
        LossTerms { terms, regularised }
    }

    /// The batch in each look, by the translators, with gradients.
    fn estimates(&self, batch: &Pair<Tensor<4>>) -> Pair<Tensor<4>> {
        let makers = &self.generators;
        of_both(batch, |domain| makers.translator_to(domain).forward(batch.of(domain.other()).clone()))
    }

    /// Teaches the discriminators to tell real images from the generators' of this moment.
    fn step_discriminators(
        &mut self,
        batch: &Pair<Tensor<4>>,
        estimates: &Pair<Tensor<4>>,
        draws: &Pair<DomainDraws>,
        context: &StepContext,
        rate: f64,
    ) -> Vec<Tensor<1>> {
        let (makers, estimates) =
            (self.generators.valid(), estimates.map(|estimate| estimate.clone().without_autodiff()));
        let (judges, regularises) = (&self.discriminators, context.regularises(self.step));
        let learnt = of_both(batch, |domain| {
            let mut sums = TermSums::default();
            let judge = judges.time(domain);
            let draws = draws.of(domain);
            let pair = context.noisy_pair(batch.of(domain), draws);
            let source = estimates.of(domain.other()).clone();
            let (_, sample) = context.generate(&makers, domain, &pair, source, draws);
            let fake = if regularises {
                let gradient = judge.input_gradient(pair.x_t.clone(), &pair.times, pair.x_next.clone());
                let (real, change) = judge.forward_dual(pair.x_t, gradient.clone(), &pair.times, pair.x_next.clone());
                sums.add("time_real", losses::real(real));
                // The value is reported; the gradient comes from the surrogate.
                sums.report("r1", losses::r1(gradient, context.options.r1_gamma));
                sums.learn(losses::r1_surrogate(change, context.options.r1_gamma));
                judge.forward(sample, &pair.times, pair.x_next)
            } else {
                let [real, fake] = judge.forward_two([pair.x_t, sample], &pair.times, pair.x_next);
                sums.add("time_real", losses::real(real));
                sums.report("r1", constant(vec![0.0], [1], batch.of(domain)));
                fake
            };
            sums.add("time_fake", losses::fake(fake));
            let [real, fake] =
                judges.patch(domain).forward_two([batch.of(domain).clone(), estimates.of(domain).clone()]);
            sums.add("patch_real", losses::real(real));
            sums.add("patch_fake", losses::fake(fake));
            let (total, terms) = sums.finish(&TERM_NAMES[..5]);
            Learnt { terms, gradients: GradientsParams::from_grads(total.backward(), judges) }
        });
        let (terms, gradients) = Learnt::together(learnt, judges);
        self.discriminators = self.discriminator_optimiser.step(rate, self.discriminators.clone(), gradients);
        terms
    }

    /// Teaches generators and translators to deceive the discriminators, to come back to where they started, and to
    /// estimate the clean image.
    fn step_generators(
        &mut self,
        batch: &Pair<Tensor<4>>,
        estimates: Pair<Tensor<4>>,
        draws: &Pair<DomainDraws>,
        context: &StepContext,
        rate: f64,
    ) -> Vec<Tensor<1>> {
        let (makers, judges) = (&self.generators, self.discriminators.clone().no_grad());
        let weight = context.options.l1_weight;
        let starting_sign = context.starting_sign(self.step);
        // Both domains learn from both estimates. So that each has a graph of its own, the estimates begin anew in it.
        let begun = of_both(batch, |domain| {
            let [estimate, source] =
                [domain, domain.other()].map(|domain| estimates.of(domain).clone().detach().require_grad());
            let mut sums = TermSums::default();
            let real = batch.of(domain);
            let draws = draws.of(domain);
            let pair = context.noisy_pair(real, draws);
            let (clean, sample) = context.generate(makers, domain, &pair, source.clone(), draws);
            let logits = judges.time(domain).forward(sample, &pair.times, pair.x_next);
            sums.add("adversarial", losses::real(logits));
            let logits = judges.patch(domain).forward(estimate.clone());
            sums.add("patch_adversarial", losses::real(logits));
            let cycled = makers.translator_to(domain).forward(source.clone());
            sums.add_weighted("cycle", losses::l1(cycled, real.clone()), weight);
            sums.add_weighted("reconstruction", losses::l1(clean, real.clone()), weight);
            if let Some(sign) = starting_sign {
                let start = batch.of(domain.other()).clone() * sign;
                sums.learn(losses::l1(estimate.clone(), start) * START_WEIGHT);
            }
            let (total, terms) = sums.finish(&TERM_NAMES[5..]);
            let mut gradients = total.backward();
            let slopes =
                [estimate, source].map(|image| image.grad_remove(&mut gradients).expect("the losses use both"));
            (Learnt { terms, gradients: GradientsParams::from_grads(gradients, makers) }, slopes)
        });
        let slopes = Pair::from_fn(|domain| {
            let (_, [of_estimate, _]) = begun.of(domain);
            let (_, [_, of_source]) = begun.of(domain.other());
            of_estimate.clone() + of_source.clone()
        });
        // What the losses of both domains say of an estimate goes on into the translator that made it.
        let inputs = begun.zip(estimates).zip(slopes);
        let learnt = with_both(batch, inputs, |_, (((learnt, _), estimate), slope)| {
            let total = (estimate * slope).sum();
            let gradients = GradientsParams::from_grads(total.backward(), makers);
            Learnt { gradients: sum_of([learnt.gradients, gradients], makers), ..learnt }
        });
        let (terms, gradients) = Learnt::together(learnt, makers);
        // The average begins where the first iteration ends.
        let decay = if self.step == 0 { 0.0 } else { context.options.ema_decay };
        self.generator_optimiser.step(rate, &mut self.generators, gradients, &mut self.average, decay);
        terms
    }
}

/// What `work` gives for each domain.
fn of_both<T: Send>(batch: &Pair<Tensor<4>>, work: impl Fn(Domain) -> T + Sync) -> Pair<T> {
    with_both(batch, Pair::from_fn(|_| ()), |domain, ()| work(domain))
}

/// What `work` makes of the input of each domain; on the processor of both at a time.
fn with_both<I: Send, T: Send>(
    batch: &Pair<Tensor<4>>,
    inputs: Pair<I>,
    work: impl Fn(Domain, I) -> T + Sync,
) -> Pair<T> {
    let Pair { labelled, target } = inputs;
    let (first, second) = (|| work(Domain::Labelled, labelled), || work(Domain::Target, target));
    let on_processor = batch.labelled.device() == Device::flex();
    let (labelled, target) = if on_processor { both(first, second) } else { (first(), second()) };
    Pair { labelled, target }
}

/// What the losses of one domain say: their terms, and how parameters should move.
struct Learnt {
    terms: Vec<Tensor<1>>,
    gradients: GradientsParams,
}

impl Learnt {
    /// The sums over both domains.
    fn together<M: Module>(learnt: Pair<Self>, networks: &M) -> (Vec<Tensor<1>>, GradientsParams) {
        let Pair { labelled, target } = learnt;
        let terms = labelled.terms.into_iter().zip(target.terms).map(|(labelled, target)| labelled + target).collect();
        (terms, sum_of([labelled.gradients, target.gradients], networks))
    }
}

fn sum_of<M: Module>(gradients: [GradientsParams; 2], networks: &M) -> GradientsParams {
    let mut sum = GradientsAccumulator::new();
    gradients.into_iter().for_each(|gradients| sum.accumulate(networks, gradients));
    sum.grads()
}

/// What stays the same over all iterations.
#[derive(Debug, Clone)]
pub struct StepContext {
    /// The noise schedule.
    pub schedule: Schedule,
    /// How a step becomes the generators' time input.
    pub embedding: Embedding,
    /// Loss weights.
    pub options: StepOptions,
}

/// A noisy pair and the t of each sample.
struct NoisyPair {
    x_t: Tensor<4>,
    x_next: Tensor<4>,
    times: Vec<f32>,
}

impl StepContext {
    fn regularises(&self, step: u64) -> bool {
        step.is_multiple_of(self.options.r1_every)
    }

    /// The sign of the images by which translators begin, in the iterations in which they do.
    fn starting_sign(&self, step: u64) -> Option<f64> {
        self.options.contrast.sign().filter(|_| step < self.options.contrast_iterations)
    }

    fn noisy_pair(&self, clean: &Tensor<4>, draws: &DomainDraws) -> NoisyPair {
        let (x_t, x_next) = self.schedule.pair(clean.clone(), &draws.t, draws.noise.clone(), draws.next_noise.clone());
        NoisyPair { x_t, x_next, times: draws.t.iter().map(|t| *t as f32).collect() }
    }

    /// The estimate of the clean image, and a sample of x_t from it.
    fn generate(
        &self,
        makers: &Generators,
        domain: Domain,
        pair: &NoisyPair,
        source: Tensor<4>,
        draws: &DomainDraws,
    ) -> (Tensor<4>, Tensor<4>) {
        let times: Vec<f32> = draws.t.iter().map(|t| self.embedding.time_of_step(*t)).collect();
        let clean = makers.diffusive_to(domain).forward(pair.x_next.clone(), source, &times, draws.latent.clone());
        let sample =
            self.schedule.posterior(clean.clone(), pair.x_next.clone(), &draws.t, draws.posterior_noise.clone());
        (clean, sample)
    }
}

/// Loss terms under way: what is reported, summed over the domains by name, and what is differentiated.
#[derive(Default)]
struct TermSums {
    reported: Vec<(&'static str, Tensor<1>)>,
    total: Option<Tensor<1>>,
}

impl TermSums {
    fn add(&mut self, name: &'static str, term: Tensor<1>) {
        self.add_weighted(name, term, 1.0);
    }

    /// A term that is reported as it is and enters the total with a weight.
    fn add_weighted(&mut self, name: &'static str, term: Tensor<1>, weight: f64) {
        self.learn(term.clone() * weight);
        self.report(name, term.without_autodiff());
    }

    fn report(&mut self, name: &'static str, term: Tensor<1>) {
        match self.reported.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum = sum.clone() + term,
            None => self.reported.push((name, term)),
        }
    }

    fn learn(&mut self, term: Tensor<1>) {
        self.total = Some(match self.total.take() {
            Some(total) => total + term,
            None => term,
        });
    }

    /// The total to differentiate, and the reported terms in the order of `names`.
    fn finish(self, names: &[&str]) -> (Tensor<1>, Vec<Tensor<1>>) {
        let reported = names
            .iter()
            .map(|name| {
                let found = self.reported.iter().find(|(known, _)| known == name);
                found.expect("every term was reported").1.clone()
            })
            .collect();
        (self.total.expect("an iteration has loss terms"), reported)
    }
}

#[cfg(test)]
mod tests;
