//! Convolutions of tensors. See [`conv`](super::conv) for the arithmetic.

use std::fmt::Debug;

use burn::tensor::Tensor;
use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PadMode};

use super::bridge::{Operation, Values, apply, asked, is_ours};
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
    match bias {
        Some(bias) => {
            let operation = Convolution { geometry, biases: bias.dims()[0] };
            apply([x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()], Recorded(operation))
        }
        None => apply([x.into_dispatch(), weight.into_dispatch()], Recorded(Convolution { geometry, biases: 0 })),
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
    let sums = weights::plane_sums(best(), gradient.slice(), area);
    if sums.len() == rows * channels {
        return sums;
    }
    (0..channels).map(|channel| sums.iter().skip(channel).step_by(channels).sum()).collect()
}

#[derive(Debug, Clone)]
struct Convolution {
    geometry: Geometry,
    /// Rows of biases.
    biases: usize,
}

impl Layer for Convolution {
    fn output(&self, x: &Values, weight: &Values, bias: Option<&Values>) -> Values {
        let Geometry { batch, outputs, .. } = self.geometry;
        let [height, width] = self.geometry.size_out();
        let weights = Weights::Plain(weight.slice());
        let values = conv::forward(best(), &self.geometry, x.slice(), weights, bias.map(Values::slice));
        Values::new(values, [batch, outputs, height, width])
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
        let (outputs, rows) = (self.geometry.outputs, self.biases);
        Values::new(bias_gradient(gradient, self.geometry.area_out(), rows, outputs), [rows, outputs])
    }
}

/// A convolution or a transposed one.
trait Layer: Debug + Clone + Send + 'static {
    fn output(&self, x: &Values, weight: &Values, bias: Option<&Values>) -> Values;
    fn input_gradient(&self, weight: &Values, gradient: &Values) -> Values;
    fn weight_gradient(&self, x: &Values, gradient: &Values) -> Values;
    fn bias_gradient(&self, gradient: &Values) -> Values;
}

/// As an operation on input and weights, and a bias where there is one.
#[derive(Debug, Clone)]
struct Recorded<L>(L);

impl<L: Layer> Operation<2> for Recorded<L> {
    type Kept = ();
    const ASKS_FOR: [bool; 2] = [true; 2];
    const IS_CHEAP: bool = false;

    fn forward(&self, [x, weight]: &[Values; 2]) -> (Values, ()) {
        (self.0.output(x, weight, None), ())
    }

    fn backward(self, (): (), inputs: [Option<Values>; 2], gradient: Values, wanted: [bool; 2]) -> [Option<Values>; 2] {
        let [x, weight] = inputs.map(asked);
        [
            wanted[0].then(|| self.0.input_gradient(&weight, &gradient)),
            wanted[1].then(|| self.0.weight_gradient(&x, &gradient)),
        ]
    }
}

impl<L: Layer> Operation<3> for Recorded<L> {
    type Kept = ();
    const ASKS_FOR: [bool; 3] = [true, true, false];
    const IS_CHEAP: bool = false;

    fn forward(&self, [x, weight, bias]: &[Values; 3]) -> (Values, ()) {
        (self.0.output(x, weight, Some(bias)), ())
    }

    fn backward(
        self,
        (): (),
        [x, weight, _]: [Option<Values>; 3],
        gradient: Values,
        wanted: [bool; 3],
    ) -> [Option<Values>; 3] {
        let (x, weight) = (asked(x), asked(weight));
        [
            wanted[0].then(|| self.0.input_gradient(&weight, &gradient)),
            wanted[1].then(|| self.0.weight_gradient(&x, &gradient)),
            wanted[2].then(|| self.0.bias_gradient(&gradient)),
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
    match bias {
        Some(bias) => {
            apply([x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()], Recorded(Transposed { geometry }))
        }
        None => apply([x.into_dispatch(), weight.into_dispatch()], Recorded(Transposed { geometry })),
    }
}

/// The transpose of the convolution of this geometry.
#[derive(Debug, Clone)]
struct Transposed {
    geometry: Geometry,
}

impl Layer for Transposed {
    fn output(&self, x: &Values, weight: &Values, bias: Option<&Values>) -> Values {
        let Geometry { batch, inputs, size: [tall, wide], .. } = self.geometry;
        let bias = bias.map(Values::slice);
        let values = conv::input_gradient(best(), &self.geometry, x.slice(), weight.slice(), bias);
        Values::new(values, [batch, inputs, tall, wide])
    }

    fn input_gradient(&self, weight: &Values, gradient: &Values) -> Values {
        let [height, width] = self.geometry.size_out();
        let weights = Weights::Plain(weight.slice());
        let values = conv::forward(best(), &self.geometry, gradient.slice(), weights, None);
        Values::new(values, [self.geometry.batch, self.geometry.outputs, height, width])
    }

    fn weight_gradient(&self, x: &Values, gradient: &Values) -> Values {
        let Geometry { inputs, outputs, kernel: [height, width], .. } = self.geometry;
        let values = weights::weight_gradient(best(), &self.geometry, gradient.slice(), x.slice());
        Values::new(values, [outputs, inputs, height, width])
    }

    fn bias_gradient(&self, gradient: &Values) -> Values {
        let channels = self.geometry.inputs;
        Values::new(bias_gradient(gradient, self.geometry.area(), 1, channels), [channels])
    }
}
