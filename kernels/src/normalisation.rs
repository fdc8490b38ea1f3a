//! Norms of tensors. See [`norm`](super::norm) for the arithmetic.

use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, relu, silu, softplus};

use super::bridge::{Operation, Values, apply, asked, is_ours};
#[cfg(feature = "card")]
use super::card;
use super::curve::Activation;
use super::norm::{self, Groups, Moments};
use super::resizing::resize;
use super::simd::{Shared, best, has_vectors, written};
use super::stencil::Resize;

/// A norm over groups of channels, and what follows it in the same pass.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Groups of channels; each group of each image is normalised by itself.
    pub groups: usize,
    /// Keeps flat groups finite.
    pub eps: f64,
    /// What follows.
    pub activation: Activation,
    /// What becomes of the size after that.
    pub resize: Option<Resize>,
}

/// activation(scale·(x − mean)/√(variance + eps) + shift), resized; mean and (biased) variance over each group of channels of
/// each image.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - affine: scale and shift, each `[1, channels]` or `[batch, channels]`
/// - output: that of x, or `[batch, channels, how.length(height), how.length(width)]`
pub fn normalise(x: Tensor<4>, affine: Option<[Tensor<2>; 2]>, norm: &Norm) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let Norm { groups, eps, activation, resize: how } = *norm;
    let sides = [height, width];
    let groups = Groups { batch, channels, sides, groups, eps: eps as f32, activation, resize: how };
    #[cfg(feature = "card")]
    if card::holds(&x) && affine.iter().flatten().all(card::holds) {
        return card::normalise(x, affine, groups);
    }
    let ours = has_vectors() && is_ours(&x) && affine.iter().flatten().all(is_ours);
    if !ours || x.dims().contains(&0) {
        let normed = standardise(x, groups.groups, eps);
        let spread = |table: Tensor<2>| table.unsqueeze_dims::<4>(&[2, 3]);
        let normed = match affine {
            Some([scale, shift]) => normed * spread(scale) + spread(shift),
            None => normed,
        };
        let activated = activate_plainly(normed, activation);
        return how.into_iter().fold(activated, resize);
    }
    let operation = Normalised { groups };
    match affine {
        Some([scale, shift]) => apply([x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch()], operation),
        None => apply([x.into_dispatch()], operation),
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
        Activation::Softplus => softplus(x, 1.0),
        Activation::Tanh => x.tanh(),
    }
}

#[derive(Debug, Clone)]
struct Normalised {
    groups: Groups,
}

impl Normalised {
    fn shape(&self, [height, width]: [usize; 2]) -> [usize; 4] {
        [self.groups.batch, self.groups.channels, height, width]
    }

    fn output(&self, x: &Values, affine: [Option<&Values>; 2]) -> (Values, Vec<Moments>) {
        let [scale, shift] = affine.map(|table| table.map(Values::slice));
        let (output, moments) = norm::forward(best(), &self.groups, x.slice(), scale, shift);
        (Values::new(output, self.shape(self.groups.sides_after())), moments)
    }

    /// The gradients of x, and of scale and shift, each `[batch, channels]`.
    fn gradients(
        &self,
        moments: &[Moments],
        x: &Values,
        affine: [Option<&Values>; 2],
        mut gradient: Values,
    ) -> (Values, [Vec<f32>; 2]) {
        let affine = affine.map(|table| table.map(Values::slice));
        let backward = |resized, target| {
            // SAFETY: there is room for the gradient of x, and without a change of size that of the output is there.
            unsafe { norm::backward(best(), &self.groups, x.slice(), affine, moments, resized, target) }
        };
        if self.groups.resize.is_none() {
            let tables = backward(None, Shared(gradient.slice_mut().as_mut_ptr()));
            return (gradient, tables);
        }
        let mut tables = Default::default();
        // SAFETY: all of the gradient of x is written.
        let of_x = unsafe { written(x.slice().len(), |target| tables = backward(Some(gradient.slice()), target)) };
        (Values::new(of_x, self.shape(self.groups.sides)), tables)
    }

    /// The gradient of a table, of which there may be one row for all images.
    fn table_gradient(&self, table: &Values, values: Vec<f32>) -> Values {
        let shape = table.shape();
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

impl Operation<1> for Normalised {
    type Kept = Vec<Moments>;
    const ASKS_FOR: [bool; 1] = [true];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x]: [Values; 1]) -> (Values, Vec<Moments>) {
        self.output(&x, [None, None])
    }

    fn backward(
        self,
        moments: Vec<Moments>,
        [x]: [Option<Values>; 1],
        gradient: Values,
        _: [bool; 1],
    ) -> [Option<Values>; 1] {
        [Some(self.gradients(&moments, &asked(x), [None, None], gradient).0)]
    }
}

impl Operation<3> for Normalised {
    type Kept = Vec<Moments>;
    const ASKS_FOR: [bool; 3] = [true; 3];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x, scale, shift]: [Values; 3]) -> (Values, Vec<Moments>) {
        self.output(&x, [Some(&scale), Some(&shift)])
    }

    fn backward(
        self,
        moments: Vec<Moments>,
        inputs: [Option<Values>; 3],
        gradient: Values,
        wanted: [bool; 3],
    ) -> [Option<Values>; 3] {
        let [x, scale, shift] = inputs.map(asked);
        let (of_x, [of_scale, of_shift]) = self.gradients(&moments, &x, [Some(&scale), Some(&shift)], gradient);
        [
            wanted[0].then_some(of_x),
            wanted[1].then(|| self.table_gradient(&scale, of_scale)),
            wanted[2].then(|| self.table_gradient(&shift, of_shift)),
        ]
    }
}
