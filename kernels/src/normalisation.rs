//! Norms of tensors. See [`norm`](super::norm) for the arithmetic.

use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, relu, silu};

use super::bridge::{Differentiable, Values, apply, is_ours};
use super::curve::Activation;
use super::norm::{self, Groups, Moments};
use super::simd::{best, has_vectors};

/// activation(scale·(x − mean)/√(variance + eps) + shift), mean and (biased) variance over each of `groups` groups of
/// channels of each image.
///
/// # Shapes
/// - x, output: `[batch, channels, height, width]`
/// - affine: scale and shift, each `[1, channels]` or `[batch, channels]`
pub fn normalise(
    x: Tensor<4>,
    affine: Option<[Tensor<2>; 2]>,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let ours = has_vectors() && is_ours(&x) && affine.iter().flatten().all(is_ours);
    if !ours || batch * channels * height * width == 0 {
        let normed = standardise(x, groups, eps);
        let spread = |table: Tensor<2>| table.unsqueeze_dims::<4>(&[2, 3]);
        let normed = match affine {
            Some([scale, shift]) => normed * spread(scale) + spread(shift),
            None => normed,
        };
        return activate_plainly(normed, activation);
    }
    let (area, eps) = (height * width, eps as f32);
    let groups = Groups { batch, channels, area, groups, eps, activation };
    let forward = |x: Values, affine: Option<[Values; 2]>| {
        let [scale, shift] = affine.as_ref().map_or([None, None], |[scale, shift]| [Some(scale), Some(shift)]);
        let (output, moments) =
            norm::forward(best(), &groups, x.slice(), scale.map(Values::slice), shift.map(Values::slice));
        (Values::new(output, [batch, channels, height, width]), Norm { groups, x, affine, moments })
    };
    match affine {
        Some([scale, shift]) => {
            let inputs = [x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch()];
            apply(inputs, |[x, scale, shift]| forward(x, Some([scale, shift])))
        }
        None => apply([x.into_dispatch()], |[x]| forward(x, None)),
    }
}

/// (x − mean)/√(variance + eps) by Burn's own operations.
fn standardise(x: Tensor<4>, groups: usize, eps: f64) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let grouped = x.reshape([batch * groups, channels / groups * height * width]);
    let centred = grouped.clone() - grouped.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    (centred * (variance + eps).sqrt().recip()).reshape([batch, channels, height, width])
}

/// An activation by Burn's own operations.
pub fn activate_plainly<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::Identity => x,
        Activation::Relu => relu(x),
        Activation::LeakyRelu(slope) => leaky_relu(x, slope),
        Activation::Silu => silu(x),
    }
}

#[derive(Debug, Clone)]
struct Norm {
    groups: Groups,
    x: Values,
    affine: Option<[Values; 2]>,
    moments: Vec<Moments>,
}

impl Norm {
    fn gradients(&self, gradient: &Values) -> norm::Gradients {
        let affine = self.affine.as_ref().map_or([None, None], |affine| affine.each_ref().map(|t| Some(t.slice())));
        norm::backward(best(), &self.groups, self.x.slice(), affine, &self.moments, gradient.slice())
    }

    fn x_gradient(&self, values: Vec<f32>) -> Values {
        Values::new(values, self.x.shape())
    }

    /// The gradient of one of the tables, of which there may be one row for all images.
    fn table_gradient(&self, place: usize, values: Vec<f32>) -> Values {
        let shape = self.affine.as_ref().expect("there are tables")[place].shape();
        if shape[0] == self.groups.batch {
            return Values::new(values, shape);
        }
        let mut sums = vec![0.0; self.groups.channels];
        for row in values.chunks_exact(self.groups.channels) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        Values::new(sums, shape)
    }
}

impl Differentiable<1> for Norm {
    fn backward(self, gradient: Values, _: [bool; 1]) -> [Option<Values>; 1] {
        [Some(self.x_gradient(self.gradients(&gradient).x))]
    }
}

impl Differentiable<3> for Norm {
    fn backward(self, gradient: Values, [x, scale, shift]: [bool; 3]) -> [Option<Values>; 3] {
        let gradients = self.gradients(&gradient);
        [
            x.then(|| self.x_gradient(gradients.x)),
            scale.then(|| self.table_gradient(0, gradients.scale)),
            shift.then(|| self.table_gradient(1, gradients.shift)),
        ]
    }
}
