//! Stochastic gradient descent with Nesterov's momentum and weight decay in one pass over weights, gradients and velocities.

use burn::optim::{LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource, join_path};
use burn::tensor::{Device, Tensor};

use super::bridge::{Values, is_ours, plain_values};
use super::elementwise::combine_all;
use super::simd::has_vectors;

/// v ← m·v + g + d·w; w ← w − rate·(m·v + g + d·w), with the gradient g and the new v; v begins as g + d·w.
#[derive(Debug, Clone)]
struct Nesterov {
    /// m
    momentum: f32,
    /// d
    decay: f32,
}

/// Nesterov's descent for a whole module, without state. What it saves is what Burn's own with momentum saves.
pub fn nesterov(momentum: f32, decay: f32) -> ModuleOptimizer {
    Nesterov { momentum, decay }.into()
}

#[derive(Clone)]
struct NesterovState<const D: usize> {
    velocity: Tensor<D>,
}

impl<const D: usize> RecordState for NesterovState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(&join_path(prefix, "momentum"), "velocity", self.velocity.to_data());
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _: &Device) -> Option<Self> {
        let data = src.take_tensor(&join_path(prefix, "momentum"), "velocity")?;
        let dtype = data.dtype();
        // Not on the best kind of device that the build knows: this computer may lack it. The first step moves it.
        Some(Self { velocity: Tensor::from_data(data, (&Device::flex(), dtype)) })
    }
}

impl Optimizer for Nesterov {
    type State<const D: usize> = NesterovState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<NesterovState<D>>,
    ) -> (Tensor<D>, Option<NesterovState<D>>) {
        let Self { momentum, decay } = *self;
        let old = state.map(|state| state.velocity);
        let ours = has_vectors() && is_ours(&weights) && is_ours(&gradient) && old.as_ref().is_none_or(is_ours);
        let (weights, velocity) = if ours {
            let old = old.as_ref().map(plain_values);
            let [weights, velocity] =
                self.moved(rate as f32, &plain_values(&weights), &plain_values(&gradient), old.as_ref());
            (weights.into_tensor(), velocity.into_tensor())
        } else {
            let gradient = gradient + weights.clone() * decay;
            let velocity = match old {
                Some(old) => old * momentum + gradient.clone(),
                None => gradient.clone(),
            };
            (weights - (velocity.clone() * momentum + gradient) * rate, velocity)
        };
        (weights, Some(NesterovState { velocity }))
    }

    fn to_device<const D: usize>(state: NesterovState<D>, device: &Device) -> NesterovState<D> {
        NesterovState { velocity: state.velocity.to_device(device) }
    }
}

impl Nesterov {
    /// The new weights and the new velocity.
    fn moved(&self, rate: f32, weights: &Values, gradient: &Values, old: Option<&Values>) -> [Values; 2] {
        let Self { momentum, decay } = *self;
        let step = |weight: f32, gradient: f32, old: f32| {
            let gradient = gradient + weight * decay;
            let velocity = old * momentum + gradient;
            [weight - (velocity * momentum + gradient) * rate, velocity]
        };
        let (values, gradient) = (weights.slice(), gradient.slice());
        let both = match old {
            Some(old) => combine_all(
                [values, gradient, old.slice()],
                #[inline(always)]
                |[weight, gradient, old]| step(weight, gradient, old),
            ),
            None => combine_all(
                [values, gradient],
                #[inline(always)]
                |[weight, gradient]| step(weight, gradient, 0.0),
            ),
        };
        both.map(|values| Values::new(values, weights.shape()))
    }
}
