//! Adam (Kingma and Ba, arXiv 1412.6980) in one pass over weights, gradients and both moments, and over the running average
//! of the weights where there is one.

use burn::optim::{
    Adam, AdamConfig, AdamState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer, RecordState,
    StateSink, StateSource,
};
use burn::tensor::{Device, Tensor};

use super::averaging::{Average, Averaging, Beside};
use super::bridge::{Values, is_ours, numbers_of, plain_values};
#[cfg(feature = "card")]
use super::card;
use super::elementwise::replace_all;
use super::simd::has_vectors;

/// Decay rates of the two moments, and what keeps the division finite.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Of the first and of the second moment.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

/// Burn's Adam with its state; on the processor and on cards all values of a parameter are moved in one pass.
#[derive(Clone)]
struct FusedAdam {
    rates: Rates,
    plain: Adam,
    beside: Beside,
}

impl FusedAdam {
    fn new(betas: [f32; 2], epsilon: f32, beside: Beside) -> Self {
        let config = AdamConfig::new().with_beta_1(betas[0]).with_beta_2(betas[1]).with_epsilon(epsilon);
        Self { rates: Rates { betas, epsilon }, plain: config.build(), beside }
    }
}

/// Adam for a whole module, without state. What it saves is what Burn's own saves.
pub fn adam(betas: [f32; 2], epsilon: f32) -> ModuleOptimizer {
    FusedAdam::new(betas, epsilon, Beside::default()).into()
}

/// The same, with a running average of the weights in the same pass.
pub fn averaged_adam(betas: [f32; 2], epsilon: f32) -> Averaging {
    let beside = Beside::default();
    Averaging::new(FusedAdam::new(betas, epsilon, beside.clone()).into(), beside)
}

/// Both moments of a parameter.
#[derive(Clone)]
struct State<const D: usize>(AdamState<D>);

impl<const D: usize> State<D> {
    fn new(time: usize, first: Tensor<D>, second: Tensor<D>) -> Self {
        Self(AdamState::new(AdaptiveMomentumState::new(time, first, second)))
    }
}

impl<const D: usize> RecordState for State<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.0.state_flatten(prefix, out);
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _: &Device) -> Option<Self> {
        // Burn asks for the best kind of device that the build knows, which this computer may lack; the first step takes
        // the state to where the gradient is.
        AdamState::state_unflatten(prefix, src, &Device::flex()).map(Self)
    }
}

impl Optimizer for FusedAdam {
    type State<const D: usize> = State<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<State<D>>,
    ) -> (Tensor<D>, Option<State<D>>) {
        let time = state.as_ref().map_or(0, |State(state)| state.momentum.time) + 1;
        #[cfg(feature = "card")]
        if card::holds(&weights) && card::holds(&gradient) {
            let [first, second] = moments(state, &gradient);
            let (rates, rate) = (self.rates, rate as f32);
            let [weights, first, second] = match self.beside.waiting(card::holds) {
                None => card::adam(rates, rate, time, [weights, gradient, first, second]),
                Some(Average { values, decay }) => {
                    let tensors = [weights, gradient, first, second, values];
                    let [weights, first, second, average] = card::averaged_adam(rates, rate, time, tensors, decay);
                    self.beside.moved(average);
                    [weights, first, second]
                }
            };
            return (weights, Some(State::new(time, first, second)));
        }
        if !has_vectors() || !is_ours(&weights) || !is_ours(&gradient) {
            let (weights, state) = self.plain.step(rate, weights, gradient, state.map(|State(state)| state));
            return (weights, state.map(State));
        }
        let [first, second] = moments(state, &gradient);
        let step = self.rates.step(rate as f32, time);
        let (weights, places) = (plain_values(&weights), [gradient, first, second].map(numbers_of));
        let [weights, first, second] = match self.beside.waiting(is_ours::<D>) {
            None => step.moved(&weights, places),
            Some(Average { values, decay }) => {
                let (moved, average) = step.moved_with_average(&weights, places, numbers_of(values), decay);
                self.beside.moved::<D>(average.into_tensor());
                moved
            }
        };
        (weights.into_tensor(), Some(State::new(time, first.into_tensor(), second.into_tensor())))
    }

    fn to_device<const D: usize>(State(state): State<D>, device: &Device) -> State<D> {
        State(Adam::to_device(state, device))
    }
}

/// Both moments, zero before the first step.
fn moments<const D: usize>(state: Option<State<D>>, gradient: &Tensor<D>) -> [Tensor<D>; 2] {
    match state {
        Some(State(AdamState { momentum })) => [momentum.moment_1, momentum.moment_2],
        None => [gradient.zeros_like(), gradient.zeros_like()],
    }
}

impl Rates {
    /// What corrects both moments for having begun at 0: factors of the first one and of epsilon.
    pub fn corrections(self, time: usize) -> (f32, f32) {
        let root = (1.0 - self.betas[1].powi(time as i32)).sqrt();
        (root / (1.0 - self.betas[0].powi(time as i32)), root)
    }

    /// What all values of a parameter have in common in step `time`.
    fn step(self, rate: f32, time: usize) -> Step {
        let (factor, root) = self.corrections(time);
        Step { betas: self.betas, epsilon: self.epsilon * root, factor, rate }
    }
}

/// One step of one parameter.
#[derive(Clone, Copy)]
struct Step {
    betas: [f32; 2],
    epsilon: f32,
    factor: f32,
    rate: f32,
}

impl Step {
    /// The weight and both moments after the step.
    #[inline(always)]
    fn value(self, weight: f32, [gradient, first, second]: [f32; 3]) -> [f32; 3] {
        let [beta_1, beta_2] = self.betas;
        let first = first * beta_1 + gradient * (1.0 - beta_1);
        let second = second * beta_2 + gradient * gradient * (1.0 - beta_2);
        let change = first * self.factor / (second.sqrt() + self.epsilon);
        [weight - change * self.rate, first, second]
    }

    /// The weights after the step, in the place of the gradient, and both moments in theirs: fresh memory would cost as much
    /// as the step.
    fn moved(self, weights: &Values, [mut gradient, mut first, mut second]: [Values; 3]) -> [Values; 3] {
        replace_all(
            [weights.slice()],
            [gradient.slice_mut(), first.slice_mut(), second.slice_mut()],
            #[inline(always)]
            move |[weight], values| self.value(weight, values),
        );
        [gradient, first, second]
    }

    /// The same, and the average moved towards the new weights, in its place.
    fn moved_with_average(
        self,
        weights: &Values,
        [mut gradient, mut first, mut second]: [Values; 3],
        mut average: Values,
        decay: f64,
    ) -> ([Values; 3], Values) {
        let (keep, take) = (decay as f32, (1.0 - decay) as f32);
        replace_all(
            [weights.slice()],
            [gradient.slice_mut(), first.slice_mut(), second.slice_mut(), average.slice_mut()],
            #[inline(always)]
            move |[weight], [gradient, first, second, average]| {
                let [weight, first, second] = self.value(weight, [gradient, first, second]);
                [weight, first, second, average * keep + weight * take]
            },
        );
        ([gradient, first, second], average)
    }
}
