//! Adam (Kingma and Ba, arXiv 1412.6980) in one pass over weights, gradients and both moments.

use burn::optim::{
    Adam, AdamConfig, AdamState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer, RecordState,
    StateSink, StateSource,
};
use burn::tensor::{Device, Tensor};

use super::bridge::{Values, is_ours, plain_values};
#[cfg(feature = "card")]
use super::card;
use super::elementwise::combine_all;
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
}

/// Adam for a whole module, without state. What it saves is what Burn's own saves.
pub fn adam(betas: [f32; 2], epsilon: f32) -> ModuleOptimizer {
    let config = AdamConfig::new().with_beta_1(betas[0]).with_beta_2(betas[1]).with_epsilon(epsilon);
    FusedAdam { rates: Rates { betas, epsilon }, plain: config.build() }.into()
}

/// Both moments of a parameter.
#[derive(Clone)]
struct State<const D: usize>(AdamState<D>);

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
        let state = state.map(|State(state)| state);
        let moments = state.as_ref().map(|state| [&state.momentum.moment_1, &state.momentum.moment_2]);
        #[cfg(feature = "card")]
        if card::holds(&weights) && card::holds(&gradient) {
            let time = state.as_ref().map_or(0, |state| state.momentum.time) + 1;
            let [weights, first, second] = card::adam(self.rates, rate as f32, time, [&weights, &gradient], moments);
            return (weights, Some(State(AdamState::new(AdaptiveMomentumState::new(time, first, second)))));
        }
        let known = moments.iter().flatten().all(|moment| is_ours(moment));
        if !has_vectors() || !is_ours(&weights) || !is_ours(&gradient) || !known {
            let (weights, state) = self.plain.step(rate, weights, gradient, state);
            return (weights, state.map(State));
        }
        let time = state.as_ref().map_or(0, |state| state.momentum.time) + 1;
        let moments = moments.map(|moments| moments.map(plain_values));
        let (weights, gradient) = (plain_values(&weights), plain_values(&gradient));
        let [weights, first, second] =
            self.rates.moved(rate as f32, time, &weights, &gradient, moments.as_ref()).map(Values::into_tensor);
        let momentum = AdaptiveMomentumState::new(time, first, second);
        (weights, Some(State(AdamState::new(momentum))))
    }

    fn to_device<const D: usize>(State(state): State<D>, device: &Device) -> State<D> {
        State(Adam::to_device(state, device))
    }
}

impl Rates {
    /// What corrects both moments for having begun at 0: factors of the first one and of epsilon.
    pub fn corrections(self, time: usize) -> (f32, f32) {
        let root = (1.0 - self.betas[1].powi(time as i32)).sqrt();
        (root / (1.0 - self.betas[0].powi(time as i32)), root)
    }

    /// The weights after step `time`, and both moments.
    fn moved(
        self,
        rate: f32,
        time: usize,
        weights: &Values,
        gradient: &Values,
        moments: Option<&[Values; 2]>,
    ) -> [Values; 3] {
        let Self { betas: [beta_1, beta_2], epsilon } = self;
        let (factor, root) = self.corrections(time);
        let step = |weight: f32, gradient: f32, first: f32, second: f32| {
            let first = first * beta_1 + gradient * (1.0 - beta_1);
            let second = second * beta_2 + gradient * gradient * (1.0 - beta_2);
            let change = first * factor / (second.sqrt() + epsilon * root);
            [weight - change * rate, first, second]
        };
        let (values, gradient) = (weights.slice(), gradient.slice());
        let all = match moments {
            Some([first, second]) => combine_all(
                [values, gradient, first.slice(), second.slice()],
                #[inline(always)]
                |[weight, gradient, first, second]| step(weight, gradient, first, second),
            ),
            None => combine_all(
                [values, gradient],
                #[inline(always)]
                |[weight, gradient]| step(weight, gradient, 0.0, 0.0),
            ),
        };
        all.map(|values| Values::new(values, weights.shape()))
    }
}
