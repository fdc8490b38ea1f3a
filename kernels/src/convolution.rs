//! Convolutions of tensors. See [`conv`](super::conv) for the arithmetic.

use burn::tensor::Tensor;
use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PadMode};

use super::bridge::{Differentiable, Values, apply, is_ours};
use super::conv;
use super::geometry::{Border, Geometry, Weights};
use super::simd::{best, has_vectors};
use super::weights;

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
) -> Tensor<4> {
    let ours = has_vectors() && is_ours(&x) && is_ours(&weight) && bias.as_ref().is_none_or(is_ours);
    let [batch, inputs, height, width] = x.dims();
    let [outputs, _, kernel_height, kernel_width] = weight.dims();
    let geometry = Geometry {
        batch,
        inputs,
        outputs,
        size: [height, width],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
        border,
    };
    if !ours || !geometry.is_usual() {
        return convolve_plainly(x, weight, bias, &geometry);
    }
    let [height, width] = geometry.size_out();
    let shape = [batch, outputs, height, width];
    let forward = |x: &Values, weight: &Values, bias: Option<&Values>| {
        let output =
            conv::forward(best(), &geometry, x.slice(), Weights::Plain(weight.slice()), bias.map(Values::slice));
        let biases = bias.map_or(0, |bias| bias.shape()[0]);
        let kept = Convolution { geometry, x: x.clone(), weight: weight.clone(), biases };
        (Values::new(output, shape), kept)
    };
    match bias {
        Some(bias) => apply([x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()], |[x, weight, bias]| {
            forward(&x, &weight, Some(&bias))
        }),
        None => apply([x.into_dispatch(), weight.into_dispatch()], |[x, weight]| forward(&x, &weight, None)),
    }
}

/// By Burn's own operations.
fn convolve_plainly(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<2>>, geometry: &Geometry) -> Tensor<4> {
    let Geometry { stride, padding, border, .. } = *geometry;
    let [vertical, horizontal] = padding;
    let (x, padding) = match border {
        Border::Zero => (x, padding),
        Border::Reflect => (x.pad([(vertical, vertical), (horizontal, horizontal)], PadMode::Reflect), [0, 0]),
    };
    let options = ConvOptions::new(stride, padding, [1, 1], 1);
    match bias {
        Some(bias) if bias.dims()[0] > 1 => conv2d(x, weight, None, options) + bias.unsqueeze_dims(&[2, 3]),
        bias => conv2d(x, weight, bias.map(|bias| bias.flatten(0, 1)), options),
    }
}

/// The sums over the planes, and over the images too where there is one row of biases: `[rows, channels]`.
fn bias_gradient(gradient: &Values, area: usize, rows: usize, channels: usize) -> Vec<f32> {
    let sums = weights::plane_sums(gradient.slice(), area);
    if sums.len() == rows * channels {
        return sums;
    }
    (0..channels).map(|channel| sums.iter().skip(channel).step_by(channels).sum()).collect()
}

#[derive(Debug, Clone)]
struct Convolution {
    geometry: Geometry,
    x: Values,
    weight: Values,
    /// Rows of biases.
    biases: usize,
}

impl Convolution {
    fn input_gradient(&self, gradient: &Values) -> Values {
        let Geometry { batch, inputs, size: [height, width], .. } = self.geometry;
        let values = conv::input_gradient(best(), &self.geometry, gradient.slice(), self.weight.slice(), None);
        Values::new(values, [batch, inputs, height, width])
    }

    fn weight_gradient(&self, gradient: &Values) -> Values {
        let Geometry { inputs, outputs, kernel: [height, width], .. } = self.geometry;
        let values = weights::weight_gradient(best(), &self.geometry, self.x.slice(), gradient.slice());
        Values::new(values, [outputs, inputs, height, width])
    }

    fn bias_gradient(&self, gradient: &Values) -> Values {
        let (outputs, rows) = (self.geometry.outputs, self.biases);
        Values::new(bias_gradient(gradient, self.geometry.area_out(), rows, outputs), [rows, outputs])
    }
}

impl Differentiable<2> for Convolution {
    fn backward(self, gradient: Values, [x, weight]: [bool; 2]) -> [Option<Values>; 2] {
        [x.then(|| self.input_gradient(&gradient)), weight.then(|| self.weight_gradient(&gradient))]
    }
}

impl Differentiable<3> for Convolution {
    fn backward(self, gradient: Values, [x, weight, bias]: [bool; 3]) -> [Option<Values>; 3] {
        [
            x.then(|| self.input_gradient(&gradient)),
            weight.then(|| self.weight_gradient(&gradient)),
            bias.then(|| self.bias_gradient(&gradient)),
        ]
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
) -> Tensor<4> {
    let ours = has_vectors() && is_ours(&x) && is_ours(&weight) && bias.as_ref().is_none_or(is_ours);
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
    let (true, Some(geometry)) = (ours, geometry) else {
        let options = ConvTransposeOptions::new(stride, padding, padding_out, [1, 1], 1);
        return conv_transpose2d(x, weight, bias, options);
    };
    let [tall, wide] = geometry.size;
    let forward = |x: &Values, weight: &Values, bias: Option<&Values>| {
        let output = conv::input_gradient(best(), &geometry, x.slice(), weight.slice(), bias.map(Values::slice));
        let kept = Transposed { geometry, x: x.clone(), weight: weight.clone() };
        (Values::new(output, [batch, channels_out, tall, wide]), kept)
    };
    match bias {
        Some(bias) => apply([x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()], |[x, weight, bias]| {
            forward(&x, &weight, Some(&bias))
        }),
        None => apply([x.into_dispatch(), weight.into_dispatch()], |[x, weight]| forward(&x, &weight, None)),
    }
}

/// The transpose of the convolution of this geometry.
#[derive(Debug, Clone)]
struct Transposed {
    geometry: Geometry,
    x: Values,
    weight: Values,
}

impl Transposed {
    fn input_gradient(&self, gradient: &Values) -> Values {
        let [height, width] = self.geometry.size_out();
        let values = conv::forward(best(), &self.geometry, gradient.slice(), Weights::Plain(self.weight.slice()), None);
        Values::new(values, [self.geometry.batch, self.geometry.outputs, height, width])
    }

    fn weight_gradient(&self, gradient: &Values) -> Values {
        let Geometry { inputs, outputs, kernel: [height, width], .. } = self.geometry;
        let values = weights::weight_gradient(best(), &self.geometry, gradient.slice(), self.x.slice());
        Values::new(values, [outputs, inputs, height, width])
    }
}

impl Differentiable<2> for Transposed {
    fn backward(self, gradient: Values, [x, weight]: [bool; 2]) -> [Option<Values>; 2] {
        [x.then(|| self.input_gradient(&gradient)), weight.then(|| self.weight_gradient(&gradient))]
    }
}

impl Differentiable<3> for Transposed {
    fn backward(self, gradient: Values, [x, weight, bias]: [bool; 3]) -> [Option<Values>; 3] {
        let channels = self.geometry.inputs;
        let sums = || bias_gradient(&gradient, self.geometry.area(), 1, channels);
        [
            x.then(|| self.input_gradient(&gradient)),
            weight.then(|| self.weight_gradient(&gradient)),
            bias.then(|| Values::new(sums(), [channels])),
        ]
    }
}
