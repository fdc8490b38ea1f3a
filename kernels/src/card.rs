//! Operations of ours on graphics cards, as kernels in CubeCL: what would read or write memory more than once otherwise.
//!
//! Matrix products are Burn's own there, and convolutions too unless the feature `matrix-units` is on. Burn's fusion, which
//! would join chains of operations by itself, is left out: with Burn 0.22.1 it makes training compute wrong numbers
//! (docs/gpu.md).

mod convolution;
mod curve;
mod elementwise;
mod norm;
mod resample;
#[cfg(test)]
pub mod tests;

use burn::backend::ops::FloatTensorOps;
use burn::backend::{BackendTensor, Cube, DispatchTensorKind};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::reshape;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, CubeDim};

use super::adam::Rates;
use super::bridge::{Numbers, Operation, apply, asked, into_tensor, is_of, numbers_of};
use super::convolution::{Convolution, Layer, Products, Transposed};
use super::curve::Activation;
use super::norm::Groups;
use super::stencil::Resize;

/// 32-bit floats on a card, in a row. Copies share them.
#[derive(Debug, Clone)]
pub struct OnCard(CubeTensor);

impl Numbers for OnCard {
    type Backend = Cube;

    fn is_kind(kind: &DispatchTensorKind) -> bool {
        matches!(kind, DispatchTensorKind::Cube(BackendTensor::Float(_) | BackendTensor::Autodiff(_)))
    }

    fn from_primitive(tensor: CubeTensor) -> Self {
        Self(into_contiguous(tensor))
    }

    fn into_primitive(self) -> CubeTensor {
        self.0
    }
}

/// A tensor on the card of another one, in a row and not yet written.
fn beside(x: &CubeTensor, shape: Shape) -> CubeTensor {
    empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape, DType::F32)
}

/// Units of a cube.
const UNITS: usize = 256;

/// This many cubes, in two dimensions since one is limited to 65535; a kernel must leave those behind the last alone.
fn cubes(count: usize) -> (CubeCount, CubeDim) {
    let count = count as u32;
    let across = count.min(65535);
    (CubeCount::Static(across, count.div_ceil(across), 1), CubeDim::new_1d(UNITS as u32))
}

/// Cubes with a unit for each value.
fn cubes_for_values(count: usize) -> (CubeCount, CubeDim) {
    cubes(count.div_ceil(UNITS))
}

/// Whether a tensor holds 32-bit floats on a card, at least one, with or without gradients.
pub fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_of::<OnCard, D>(tensor) && !tensor.dims().contains(&0)
}

/// Whether a card holds the inputs of a convolution, has units for matrix products, and is to use them (feature
/// `matrix-units`).
pub fn multiplies<const B: usize>(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<B>>,
    products: Products,
) -> bool {
    let held = holds(x) && holds(weight) && bias.is_none_or(holds);
    cfg!(feature = "matrix-units")
        && held
        && convolution::has_units(&numbers_of::<OnCard, 4>(weight.clone()).0, products)
}

impl Layer<OnCard> for Convolution {
    fn output(&self, x: &OnCard, weight: &OnCard, bias: Option<&OnCard>) -> OnCard {
        let bias = bias.map(|OnCard(bias)| bias.clone());
        OnCard(convolution::forward(x.0.clone(), weight.0.clone(), bias, &self.geometry, self.products))
    }

    fn input_gradient(&self, weight: &OnCard, gradient: &OnCard) -> OnCard {
        let (weight, gradient) = (weight.0.clone(), gradient.0.clone());
        OnCard(convolution::input_gradient(weight, gradient, None, &self.geometry, self.products))
    }

    fn weight_gradient(&self, x: &OnCard, gradient: &OnCard) -> OnCard {
        OnCard(convolution::weight_gradient(x.0.clone(), gradient.0.clone(), &self.geometry, self.products))
    }

    fn bias_gradient(&self, gradient: &OnCard) -> OnCard {
        let sums = convolution::plane_sums(gradient.0.clone());
        OnCard(if self.biases == self.geometry.batch { sums } else { Cube::float_sum_dim(sums, 0) })
    }
}

impl Layer<OnCard> for Transposed {
    fn output(&self, x: &OnCard, weight: &OnCard, bias: Option<&OnCard>) -> OnCard {
        let bias = bias.map(|OnCard(bias)| bias.clone());
        OnCard(convolution::input_gradient(weight.0.clone(), x.0.clone(), bias, &self.geometry, self.products))
    }

    fn input_gradient(&self, weight: &OnCard, gradient: &OnCard) -> OnCard {
        let (weight, gradient) = (weight.0.clone(), gradient.0.clone());
        OnCard(convolution::forward(gradient, weight, None, &self.geometry, self.products))
    }

    fn weight_gradient(&self, x: &OnCard, gradient: &OnCard) -> OnCard {
        OnCard(convolution::weight_gradient(gradient.0.clone(), x.0.clone(), &self.geometry, self.products))
    }

    fn bias_gradient(&self, gradient: &OnCard) -> OnCard {
        let sums = Cube::float_sum_dim(convolution::plane_sums(gradient.0.clone()), 0);
        let channels = self.geometry.inputs;
        OnCard(reshape(sums, Shape::new([channels])))
    }
}

/// See [`normalise`](super::normalise); of tensors that a card [`holds`].
pub fn normalise(x: Tensor<4>, affine: Option<[Tensor<2>; 2]>, groups: Groups) -> Tensor<4> {
    let [scale, shift] = affine.unwrap_or_else(|| {
        let device = &x.device().inner();
        [Tensor::ones([1, 1], device), Tensor::zeros([1, 1], device)]
    });
    apply([x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch()], Norm { groups })
}

#[derive(Debug, Clone)]
struct Norm {
    groups: Groups,
}

impl Operation<3, OnCard> for Norm {
    type Kept = CubeTensor;
    const ASKS_FOR: [bool; 3] = [true; 3];
    const IS_CHEAP: bool = true;

    fn forward(&self, inputs: [OnCard; 3]) -> (OnCard, CubeTensor) {
        let (output, moments) = norm::forward(inputs.map(|OnCard(input)| input), &self.groups);
        (OnCard(output), moments)
    }

    fn backward(
        self,
        moments: CubeTensor,
        inputs: [Option<OnCard>; 3],
        OnCard(gradient): OnCard,
        wanted: [bool; 3],
    ) -> [Option<OnCard>; 3] {
        let [x, scale, shift] = inputs.map(|input| asked(input).0);
        // There may be one row for all images.
        let rows = [x.meta.shape()[0], scale.meta.shape()[0], shift.meta.shape()[0]];
        let gradients = norm::backward([x, scale, shift, moments, gradient], &self.groups);
        let mut given = [const { None }; 3];
        for (i, gradient) in gradients.into_iter().enumerate().filter(|(i, _)| wanted[*i]) {
            let sums = if rows[i] == self.groups.batch { gradient } else { Cube::float_sum_dim(gradient, 0) };
            given[i] = Some(OnCard(sums));
        }
        given
    }
}

/// See [`resize`](super::resize); of a tensor that a card [`holds`].
pub fn resize(x: Tensor<4>, how: Resize) -> Tensor<4> {
    apply([x.into_dispatch()], Resized { how })
}

#[derive(Debug, Clone)]
struct Resized {
    how: Resize,
}

impl Operation<1, OnCard> for Resized {
    type Kept = ();
    const ASKS_FOR: [bool; 1] = [false];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x]: [OnCard; 1]) -> (OnCard, ()) {
        (OnCard(resample::resample(x.0, self.how, 1.0)), ())
    }

    fn backward(self, (): (), _: [Option<OnCard>; 1], gradient: OnCard, _: [bool; 1]) -> [Option<OnCard>; 1] {
        let (how, factor) = self.how.transpose();
        [Some(OnCard(resample::resample(gradient.0, how, factor)))]
    }
}

/// See [`activate`](super::activate); of a tensor that a card [`holds`].
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    apply([x.into_dispatch()], Activated { activation })
}

#[derive(Debug, Clone)]
struct Activated {
    activation: Activation,
}

impl Operation<1, OnCard> for Activated {
    type Kept = ();
    const ASKS_FOR: [bool; 1] = [true];
    const IS_CHEAP: bool = true;

    fn forward(&self, [x]: [OnCard; 1]) -> (OnCard, ()) {
        (OnCard(elementwise::activate(x.0, self.activation)), ())
    }

    fn backward(self, (): (), [x]: [Option<OnCard>; 1], gradient: OnCard, _: [bool; 1]) -> [Option<OnCard>; 1] {
        [Some(OnCard(elementwise::activate_back(asked(x).0, gradient.0, self.activation)))]
    }
}

/// See [`add_scaled`](super::add_scaled); of tensors of one shape that a card [`holds`].
pub fn add_scaled<const D: usize>(a: Tensor<D>, b: Tensor<D>, factor: f32) -> Tensor<D> {
    apply([a.into_dispatch(), b.into_dispatch()], Sum { factor })
}

#[derive(Debug, Clone)]
struct Sum {
    factor: f32,
}

impl Operation<2, OnCard> for Sum {
    type Kept = ();
    const ASKS_FOR: [bool; 2] = [false; 2];
    const IS_CHEAP: bool = true;

    fn forward(&self, [a, b]: [OnCard; 2]) -> (OnCard, ()) {
        (OnCard(elementwise::sum(a.0, b.0, [self.factor; 2])), ())
    }

    fn backward(self, (): (), _: [Option<OnCard>; 2], gradient: OnCard, [a, b]: [bool; 2]) -> [Option<OnCard>; 2] {
        let scaled = OnCard(Cube::float_mul_scalar(gradient.0, self.factor.into()));
        [a.then(|| scaled.clone()), b.then(|| scaled.clone())]
    }
}

/// See [`blend`](super::blend); of tensors of one shape that a card [`holds`].
pub fn blend<const D: usize>(old: &Tensor<D>, new: &Tensor<D>, decay: f64) -> Tensor<D> {
    let [OnCard(old), OnCard(new)] = [old, new].map(|tensor| numbers_of(tensor.clone()));
    into_tensor(OnCard(elementwise::sum(old, new, [decay as f32, (1.0 - decay) as f32])))
}

/// The weights after step `time` of Adam, and both moments; of weights, gradient and moments that a card [`holds`].
pub fn adam<const D: usize>(rates: Rates, rate: f32, time: usize, tensors: [Tensor<D>; 4]) -> [Tensor<D>; 3] {
    let numbers = tensors.map(|tensor| numbers_of::<OnCard, D>(tensor).0);
    elementwise::adam(rates, rate, time, numbers).map(|tensor| into_tensor(OnCard(tensor)))
}

/// As [`adam`], with the running average of the weights, which is moved towards the new ones; a card [`holds`] it too.
pub fn averaged_adam<const D: usize>(
    rates: Rates,
    rate: f32,
    time: usize,
    tensors: [Tensor<D>; 5],
    decay: f64,
) -> [Tensor<D>; 4] {
    let numbers = tensors.map(|tensor| numbers_of::<OnCard, D>(tensor).0);
    elementwise::averaged_adam(rates, rate, time, numbers, decay).map(|tensor| into_tensor(OnCard(tensor)))
}
