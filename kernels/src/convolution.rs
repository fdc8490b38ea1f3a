//! Convolutions of tensors. See [`conv`](super::conv) for the arithmetic.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor};
use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PadMode};
use burn::tensor::{DType, Tensor};

use super::bridge::{Numbers, Operation, Values, apply, asked, is_ours};
#[cfg(feature = "card")]
use super::card;
use super::conv::{self, After};
use super::elementwise::{add_scaled, scaled};
use super::geometry::{Border, Geometry, Weights};
use super::simd::{best, has_vectors};
use super::weights;

/// The format in which numbers are multiplied; sums are of 32 bits in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// 32 bits. Cards round factors to TF32 (10 bits of mantissa) where they have units for it.
    F32,
    /// bfloat16.
    Bf16,
}

impl Products {
    /// A factor in this format.
    pub fn lower<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        if self == Self::Bf16 { x.cast(DType::BF16) } else { x }
    }

    /// What comes of it in 32 bits.
    pub fn raise<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        if self == Self::Bf16 { x.cast(DType::F32) } else { x }
    }
}

/// A convolution without dilation.
///
/// # Shapes
/// - x: `[batch, channels_in, height, width]`
/// - weight: `[channels_out, channels_in, kernel height, kernel width]`
/// - bias: `[1, channels_out]` or `[batch, channels_out]`
/// - output: `[batch, channels_out, height_out, width_out]`
pub fn convolve(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<2>>,
    stride: [usize; 2],
    padding: [usize; 2],
    border: Border,
    products: Products,
) -> Tensor<4> {
    #[cfg(feature = "card")]
    if border == Border::Reflect && card::multiplies(&x, &weight, bias.as_ref(), products) {
        return convolve(mirrored(x, padding), weight, bias, stride, [0, 0], Border::Zero, products);
    }
    let geometry = geometry_of(&x, &weight, stride, padding, border);
    let operation = Convolution { geometry, biases: bias.as_ref().map_or(0, |bias| bias.dims()[0]), products };
    #[cfg(feature = "card")]
    if geometry.is_usual() && card::multiplies(&x, &weight, bias.as_ref(), products) {
        return record::<card::OnCard, _, _>(x, weight, bias, operation);
    }
    let ours = has_vectors() && is_ours(&x) && is_ours(&weight) && bias.as_ref().is_none_or(is_ours);
    if !ours || !geometry.is_usual() || products == Products::Bf16 {
        let bias = bias.map(|bias| products.lower(bias));
        return products.raise(convolve_plainly(products.lower(x), products.lower(weight), bias, &geometry));
    }
    record::<Values, _, _>(x, weight, bias, operation)
}

/// Of a convolution of these tensors.
fn geometry_of(x: &Tensor<4>, weight: &Tensor<4>, stride: [usize; 2], padding: [usize; 2], border: Border) -> Geometry {
    let ([batch, inputs, height, width], [outputs, _, kernel_height, kernel_width]) = (x.dims(), weight.dims());
    Geometry {
        batch,
        inputs,
        outputs,
        size: [height, width],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
        border,
    }
}

/// What is added to a convolution, and what the sum is multiplied by.
#[derive(Debug, Clone)]
pub struct Residual {
    /// Of the shape of the output.
    pub rest: Tensor<4>,
    /// Of the sum.
    pub factor: f64,
}

/// (rest + convolution)·factor, without stride.
///
/// # Shapes
/// As [`convolve`].
pub fn convolve_residual(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<2>>,
    Residual { rest, factor }: Residual,
    padding: [usize; 2],
    products: Products,
) -> Tensor<4> {
    let geometry = geometry_of(&x, &weight, [1, 1], padding, Border::Zero);
    let ours = has_vectors() && is_ours(&x) && is_ours(&weight) && is_ours(&rest);
    match bias {
        Some(bias) if ours && is_ours(&bias) && geometry.is_usual() && products == Products::F32 => {
            let [height, width] = geometry.size_out();
            assert_eq!(
                rest.dims(),
                [geometry.batch, geometry.outputs, height, width],
                "the rest has the shape of the output"
            );
            let layer = Convolution { geometry, biases: bias.dims()[0], products };
            let inputs = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), rest.into_dispatch()];
            apply(inputs, WithResidual { layer, factor: factor as f32 })
        }
        bias => add_scaled(rest, convolve(x, weight, bias, [1, 1], padding, Border::Zero, products), factor),
    }
}

/// A convolution with bias, and what is added.
#[derive(Debug, Clone)]
struct WithResidual {
    layer: Convolution,
    factor: f32,
}

impl Operation<4> for WithResidual {
    type Kept = ();
    const ASKS_FOR: [bool; 4] = [true, true, false, false];
    const IS_CHEAP: bool = false;

    fn forward(&self, [x, weight, bias, rest]: [Values; 4]) -> (Values, ()) {
        let after = After { bias: Some(bias.slice()), residual: Some((rest.slice(), self.factor)) };
        (self.layer.computed(&x, &weight, after), ())
    }

    fn backward(
        self,
        (): (),
        [x, weight, bias, _]: [Option<Values>; 4],
        gradient: Values,
        [of_x, of_weight, of_bias, of_rest]: [bool; 4],
    ) -> [Option<Values>; 4] {
        let gradient = scaled(gradient, self.factor);
        let rest = of_rest.then(|| gradient.clone());
        let recorded = Recorded(self.layer);
        let [x, weight, bias] = recorded.backward((), [x, weight, bias], gradient, [of_x, of_weight, of_bias]);
        [x, weight, bias, rest]
    }
}

/// Does a layer on tensors of a kind of device.
pub fn record<V: Numbers, const B: usize, L: Layer<V>>(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<B>>,
    layer: L,
) -> Tensor<4>
where
    DispatchTensor: DispatchKindConversion<V::Backend>
        + DispatchKindConversion<Autodiff<V::Backend>>
        + DispatchKindConversion<Autodiff<V::Backend, BalancedCheckpointing>>,
{
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    match bias {
        Some(bias) => apply::<3, 4, V, _>([x, weight, bias.into_dispatch()], Recorded(layer)),
        None => apply::<2, 4, V, _>([x, weight], Recorded(layer)),
    }
}

/// Images continued by their mirror images.
fn mirrored(x: Tensor<4>, [vertical, horizontal]: [usize; 2]) -> Tensor<4> {
    x.pad([(vertical, vertical), (horizontal, horizontal)], PadMode::Reflect)
}

/// By Burn's own operations.
fn convolve_plainly(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<2>>, geometry: &Geometry) -> Tensor<4> {
    let Geometry { stride, padding, border, .. } = *geometry;
    let (x, padding) = match border {
        Border::Zero => (x, padding),
        Border::Reflect => (mirrored(x, padding), [0, 0]),
    };
    let options = ConvOptions::new(stride, padding, [1, 1], 1);
    match bias {
        Some(bias) if bias.dims()[0] > 1 => conv2d(x, weight, None, options) + bias.unsqueeze_dims(&[2, 3]),
        bias => conv2d(x, weight, bias.map(|bias| bias.flatten(0, 1)), options),
    }
}

/// The gradient of the biases, `[rows, channels]`, from the sums of the planes: those of all images together where there is one
/// row.
fn of_biases(plane_sums: Vec<f32>, rows: usize, channels: usize) -> Vec<f32> {
    if plane_sums.len() == rows * channels {
        return plane_sums;
    }
    (0..channels).map(|channel| plane_sums.iter().skip(channel).step_by(channels).sum()).collect()
}

/// A convolution.
#[derive(Debug, Clone)]
pub struct Convolution {
    pub geometry: Geometry,
    /// Rows of biases.
    pub biases: usize,
    /// The format of factors.
    #[cfg_attr(not(feature = "card"), expect(dead_code, reason = "the processor knows one only"))]
    pub products: Products,
}

impl Layer<Values> for Convolution {
    fn output(&self, x: &Values, weight: &Values, bias: Option<&Values>) -> Values {
        self.computed(x, weight, After { bias: bias.map(Values::slice), ..After::default() })
    }

    fn input_gradient(&self, weight: &Values, gradient: &Values) -> Values {
        let Geometry { batch, inputs, size: [height, width], .. } = self.geometry;
        let values = conv::input_gradient(best(), &self.geometry, gradient.slice(), weight.slice(), None);
        Values::new(values, [batch, inputs, height, width])
    }

    fn weight_gradient(&self, x: &Values, gradient: &Values) -> Values {
        let Geometry { inputs, outputs, kernel: [height, width], .. } = self.geometry;
        let values = weights::weight_gradient(best(), &self.geometry, x.slice(), gradient.slice());
        Values::new(values, [outputs, inputs, height, width])
    }

    fn bias_gradient(&self, gradient: &Values) -> Values {
        self.of_biases(weights::plane_sums(best(), gradient.slice(), self.geometry.area_out()))
    }

    fn parameter_gradients(&self, x: &Values, gradient: &Values) -> [Values; 2] {
        let Geometry { inputs, outputs, kernel: [height, width], .. } = self.geometry;
        let (weights, sums) =
            weights::weight_gradient_and_plane_sums(best(), &self.geometry, x.slice(), gradient.slice());
        [Values::new(weights, [outputs, inputs, height, width]), self.of_biases(sums)]
    }
}

impl Convolution {
    fn computed(&self, x: &Values, weight: &Values, after: After) -> Values {
        let Geometry { batch, outputs, .. } = self.geometry;
        let [height, width] = self.geometry.size_out();
        let weights = Weights::Plain(weight.slice());
        let values = conv::forward(best(), &self.geometry, x.slice(), weights, after);
        Values::new(values, [batch, outputs, height, width])
    }

    /// The gradient of the biases from the sums of the planes.
    fn of_biases(&self, plane_sums: Vec<f32>) -> Values {
        let (outputs, rows) = (self.geometry.outputs, self.biases);
        Values::new(of_biases(plane_sums, rows, outputs), [rows, outputs])
    }
}

/// A convolution or a transposed one, on one kind of device.
pub trait Layer<V>: Debug + Clone + Send + 'static {
    /// Of input, kernels and bias.
    fn output(&self, x: &V, weight: &V, bias: Option<&V>) -> V;
    /// From the gradient of the output.
    fn input_gradient(&self, weight: &V, gradient: &V) -> V;
    /// From the gradient of the output.
    fn weight_gradient(&self, x: &V, gradient: &V) -> V;
    /// From the gradient of the output.
    fn bias_gradient(&self, gradient: &V) -> V;
    /// Of weights and bias together, where that is faster than each alone.
    fn parameter_gradients(&self, x: &V, gradient: &V) -> [V; 2] {
        [self.weight_gradient(x, gradient), self.bias_gradient(gradient)]
    }
}

/// As an operation on input and weights, and a bias where there is one.
#[derive(Debug, Clone)]
struct Recorded<L>(L);

impl<V: Numbers, L: Layer<V>> Operation<2, V> for Recorded<L> {
    type Kept = ();
    const ASKS_FOR: [bool; 2] = [true; 2];
    const IS_CHEAP: bool = false;

    fn forward(&self, [x, weight]: [V; 2]) -> (V, ()) {
        (self.0.output(&x, &weight, None), ())
    }

    fn backward(self, (): (), inputs: [Option<V>; 2], gradient: V, wanted: [bool; 2]) -> [Option<V>; 2] {
        let [x, weight] = inputs.map(asked);
        [
            wanted[0].then(|| self.0.input_gradient(&weight, &gradient)),
            wanted[1].then(|| self.0.weight_gradient(&x, &gradient)),
        ]
    }
}

impl<V: Numbers, L: Layer<V>> Operation<3, V> for Recorded<L> {
    type Kept = ();
    const ASKS_FOR: [bool; 3] = [true, true, false];
    const IS_CHEAP: bool = false;

    fn forward(&self, [x, weight, bias]: [V; 3]) -> (V, ()) {
        (self.0.output(&x, &weight, Some(&bias)), ())
    }

    fn backward(self, (): (), [x, weight, _]: [Option<V>; 3], gradient: V, wanted: [bool; 3]) -> [Option<V>; 3] {
        let (x, weight) = (asked(x), asked(weight));
        let of_input = wanted[0].then(|| self.0.input_gradient(&weight, &gradient));
        if wanted[1] && wanted[2] {
            let [of_weights, of_bias] = self.0.parameter_gradients(&x, &gradient);
            return [of_input, Some(of_weights), Some(of_bias)];
        }
        let of_weights = wanted[1].then(|| self.0.weight_gradient(&x, &gradient));
        [of_input, of_weights, wanted[2].then(|| self.0.bias_gradient(&gradient))]
    }
}

/// A transposed convolution without dilation that multiplies height and width by its stride.
///
/// # Shapes
/// - x: `[batch, channels_in, height, width]`
/// - weight: `[channels_in, channels_out, kernel height, kernel width]`
/// - bias: `[channels_out]`
/// - output: `[batch, channels_out, stride * height, stride * width]`
pub fn convolve_transposed(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
    padding_out: [usize; 2],
    products: Products,
) -> Tensor<4> {
    let [batch, channels_in, height, width] = x.dims();
    let [_, channels_out, kernel_height, kernel_width] = weight.dims();
    let kernel = [kernel_height, kernel_width];
    let enlarged = |axis: usize, side: usize| {
        ((side - 1) * stride[axis] + kernel[axis] + padding_out[axis]).checked_sub(2 * padding[axis])
    };
    // The convolution that this one is the transpose of: from the output to the input.
    let geometry = [enlarged(0, height), enlarged(1, width)];
    let geometry = geometry[0].zip(geometry[1]).map(|(tall, wide)| Geometry {
        batch,
        inputs: channels_out,
        outputs: channels_in,
        size: [tall, wide],
        kernel,
        stride,
        padding,
        border: Border::Zero,
    });
    let geometry = geometry.filter(|geometry| geometry.is_usual() && geometry.size_out() == [height, width]);
    #[cfg(feature = "card")]
    if let Some(geometry) = geometry.filter(|_| card::multiplies(&x, &weight, bias.as_ref(), products)) {
        return record::<card::OnCard, _, _>(x, weight, bias, Transposed { geometry, products });
    }
    let ours = has_vectors() && is_ours(&x) && is_ours(&weight) && bias.as_ref().is_none_or(is_ours);
    let (true, Products::F32, Some(geometry)) = (ours, products, geometry) else {
        let options = ConvTransposeOptions::new(stride, padding, padding_out, [1, 1], 1);
        let bias = bias.map(|bias| products.lower(bias));
        return products.raise(conv_transpose2d(products.lower(x), products.lower(weight), bias, options));
    };
    record::<Values, _, _>(x, weight, bias, Transposed { geometry, products })
}

/// A linear map of the channels of each pixel.
///
/// # Shapes
/// - x: `[batch, channels_in, height, width]`
/// - weight: `[channels_in, channels_out]`
/// - bias: `[channels_out]`
/// - output: `[batch, channels_out, height, width]`
pub fn map_channels(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>, products: Products) -> Tensor<4> {
    let ([batch, inputs, height, width], [_, outputs]) = (x.dims(), weight.dims());
    if has_vectors() && is_ours(&x) && is_ours(&weight) && is_ours(&bias) {
        let weight = weight.reshape([inputs, outputs, 1, 1]);
        return convolve_transposed(x, weight, Some(bias), [1, 1], [0, 0], [0, 0], products);
    }
    let positions = height * width;
    let pixels = x.reshape([batch, inputs, positions]).swap_dims(1, 2).reshape([batch * positions, inputs]);
    let pixels = products.raise(products.lower(pixels).matmul(products.lower(weight))) + bias.unsqueeze();
    pixels.reshape([batch, positions, outputs]).swap_dims(1, 2).reshape([batch, outputs, height, width])
}

/// The transpose of the convolution of this geometry.
#[derive(Debug, Clone)]
pub struct Transposed {
    pub geometry: Geometry,
    /// The format of factors.
    #[cfg_attr(not(feature = "card"), expect(dead_code, reason = "the processor knows one only"))]
    pub products: Products,
}

impl Layer<Values> for Transposed {
    fn output(&self, x: &Values, weight: &Values, bias: Option<&Values>) -> Values {
        let Geometry { batch, inputs, size: [tall, wide], .. } = self.geometry;
        let bias = bias.map(Values::slice);
        let values = conv::input_gradient(best(), &self.geometry, x.slice(), weight.slice(), bias);
        Values::new(values, [batch, inputs, tall, wide])
    }

    fn input_gradient(&self, weight: &Values, gradient: &Values) -> Values {
        let [height, width] = self.geometry.size_out();
        let weights = Weights::Plain(weight.slice());
        let values = conv::forward(best(), &self.geometry, gradient.slice(), weights, After::default());
        Values::new(values, [self.geometry.batch, self.geometry.outputs, height, width])
    }

    fn weight_gradient(&self, x: &Values, gradient: &Values) -> Values {
        let Geometry { inputs, outputs, kernel: [height, width], .. } = self.geometry;
        let values = weights::weight_gradient(best(), &self.geometry, gradient.slice(), x.slice());
        Values::new(values, [outputs, inputs, height, width])
    }

    fn bias_gradient(&self, gradient: &Values) -> Values {
        let channels = self.geometry.inputs;
        let sums = weights::plane_sums(best(), gradient.slice(), self.geometry.area());
        Values::new(of_biases(sums, 1, channels), [channels])
    }
}
