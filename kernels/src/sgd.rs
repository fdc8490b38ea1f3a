//! Stochastic gradient descent with Nesterov's momentum and weight decay in one pass over weights, gradients and velocities.

use burn::optim::{LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource, join_path};
use burn::tensor::{Device, Tensor};

use super::bridge::{Values, is_ours, numbers_of, plain_values};
use super::elementwise::replace_all;
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
        let (weights, velocity) = if has_vectors() && is_ours(&weights) && is_ours(&gradient) {
            let old = old.unwrap_or_else(|| gradient.zeros_like());
            let [weights, velocity] = self.moved(rate as f32, &plain_values(&weights), [gradient, old].map(numbers_of));
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
    /// The new weights in the place of the gradient, and the new velocity in that of the old one.
    fn moved(&self, rate: f32, weights: &Values, [mut gradient, mut velocity]: [Values; 2]) -> [Values; 2] {
        let Self { momentum, decay } = *self;
        replace_all(
            [weights.slice()],
            [gradient.slice_mut(), velocity.slice_mut()],
            #[inline(always)]
            move |[weight], [gradient, old]| {
                let gradient = gradient + weight * decay;
                let velocity = old * momentum + gradient;
                [weight - (velocity * momentum + gradient) * rate, velocity]
            },
        );
        [gradient, velocity]
    }
}
